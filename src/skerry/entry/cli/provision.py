"""`skerry provision`: check a cloud-config anywhere, apply one here or to a tree, see what was applied."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.kit.errors import Problem, Severity, SkerryError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from skerry.host.provision.report import Report
    from skerry.kit.http import Json

STDIN = "-"


@click.group()
def provision() -> None:
    """Check a cloud-config, or apply it."""


@provision.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def check(file: str, *, as_json: bool) -> int:
    """Show all that is wrong with FILE (or - for standard input), each on its line.

    Exits with 1 where there are errors; warnings alone are fine.
    """
    from skerry.entry.cli.output import emit_json, say
    from skerry.host.provision.reading import read_config

    name, data = _read(file)
    _, problems = read_config(data, name)
    errors = sum(p.severity is Severity.ERROR for p in problems)
    if as_json:
        found: list[Json] = [_plain(p) for p in problems]
        emit_json({"file": name, "errors": errors, "warnings": len(problems) - errors, "problems": found})
    else:
        _print(problems)
        say(f"{name}: {_count(errors, len(problems) - errors)}")
    return 1 if errors else 0


@provision.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Change the tree in this directory, not this machine.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be done, and why.")
def apply(file: str, *, root: Path | None, dry_run: bool) -> int:
    """Make this machine as FILE says, now; as at boot, what is invalid is left out.

    A document that another source gives at the next boot is applied then. Exits with 1 where a part was
    left out.
    """
    import os

    from skerry.entry.cli.output import say
    from skerry.host.provision.apply import Surroundings, prepare
    from skerry.host.provision.apply import apply as apply_document
    from skerry.host.provision.carry_out import Target
    from skerry.host.provision.report import write_report
    from skerry.host.provision.sources import Found

    name, data = _read(file)
    if os.geteuid() != 0 and not dry_run:
        raise SkerryError("only root may provision a machine", hint="use sudo, or see --dry-run")
    target = Target() if root is None else Target(root=root.absolute(), live=False)
    around = Surroundings(target=target)
    found = Found(f"the file {name}", data)
    if dry_run:
        prepared = prepare(found, around)
        for step in prepared.steps:
            print(f"{step.what}: {step.why}")
        _print(prepared.problems, to_stderr=True)
        if not prepared.steps:
            say("nothing to do")
        return 0
    report = apply_document(found, around)
    write_report(report, target.root)
    _show(report)
    return 1 if report.errors else 0


@provision.command()
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def show(*, as_json: bool) -> int:
    """Show what this boot applied, and what it left out. Exits with 1 where a part was left out."""
    from skerry.entry.cli.output import emit_json, say
    from skerry.host.provision.plan import Stage
    from skerry.host.provision.report import read_report

    reports = [report for stage in Stage if (report := read_report(stage=stage)) is not None]
    if as_json:
        emit_json([_report(report) for report in reports])
    elif not reports:
        say("this machine was given no cloud-config")
    else:
        for report in reports:
            _show(report)
    return 1 if any(report.errors for report in reports) else 0


def _read(file: str) -> tuple[str, bytes]:
    if file == STDIN:
        return "<stdin>", sys.stdin.buffer.read()
    try:
        return file, Path(file).read_bytes()
    except OSError as error:
        raise SkerryError(f"cannot read {file}: {error.strerror}") from error


def _show(report: Report) -> None:
    from skerry.entry.cli.output import GREEN, RED, YELLOW, colour, say

    for step in report.steps:
        place = "" if step.line is None else f" (line {step.line})"
        if step.done:
            print(f"{colour('done', GREEN)}     {step.what}{place}: {step.why}")
        else:
            print(f"{colour('failed', RED)}   {step.message}{place}")
    _print(report.problems)
    for note in report.notes:
        print(f"{colour('note', YELLOW)}     {note}")
    say(f"{report.stage}, from {report.source}: {report.result}; {_count(report.errors, report.warnings)}")


def _print(problems: Iterable[Problem], *, to_stderr: bool = False) -> None:
    from skerry.entry.cli.output import RED, YELLOW, colour

    stream = sys.stderr if to_stderr else sys.stdout
    for problem in problems:
        place = problem.file if problem.line is None else f"{problem.file}:{problem.line}"
        word = colour(f"{problem.severity}:", RED if problem.severity is Severity.ERROR else YELLOW, stream)
        print(f"{place}: {word} {problem.message}", file=stream)
        if problem.hint:
            print(f"    hint: {problem.hint}", file=stream)


def _count(errors: int, warnings: int) -> str:
    if not errors and not warnings:
        return "no problems"
    parts = [
        f"{n} {word}{'s' if n != 1 else ''}" for n, word in ((errors, "error"), (warnings, "warning")) if n
    ]
    return ", ".join(parts)


def _plain(problem: Problem) -> Json:
    return {
        "line": problem.line,
        "severity": str(problem.severity),
        "message": problem.message,
        "hint": problem.hint,
        "where": problem.where,
    }


def _report(report: Report) -> Json:
    return {
        "result": report.result,
        "stage": report.stage,
        "source": report.source,
        "document": report.document,
        "boot_id": report.boot_id,
        "finished_at": report.finished_at,
        "steps": [asdict(step) for step in report.steps],
        "problems": [_plain(problem) for problem in report.problems],
        "notes": list(report.notes),
    }
