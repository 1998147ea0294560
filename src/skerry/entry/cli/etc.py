"""`skerry etc`: what you changed in /etc, what the last update made of it, and conflicts to settle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skerry.host.etc.changes import Open
    from skerry.host.etc.report import Report
    from skerry.host.etc.resolve import Step
    from skerry.host.etc.tree import Tree
    from skerry.kit.http import Json

_JSON = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
_DRY = click.option("--dry-run", is_flag=True, help="Only show what would be done.")
_PATHS = click.argument("paths", nargs=-1, required=True, metavar="PATH…")


class Place:
    """The /etc that is looked at: this machine's, or that of a tree in a directory."""

    def __init__(self, root: Path) -> None:
        self.root, self.etc = root, root / "etc"
        self.state = root / "var/lib/skerry/etc"

    def version(self) -> str:
        """The version that runs. Raises SkerryError where this is no Skerry host."""
        try:
            lines = (self.root / "usr/lib/os-release").read_text().splitlines()
        except OSError as error:
            raise SkerryError(f"which version this is cannot be read: {error}") from error
        values = dict(line.split("=", 1) for line in lines if "=" in line)
        version = values.get("IMAGE_VERSION", "").strip("\"'")
        if not version or not (self.state / f"{version}.defaults").is_dir():
            raise SkerryError(
                "the defaults of this version are not here, so nothing can be compared with them",
                hint="this works on a Skerry host; the boot of a version puts its defaults there",
            )
        return version

    def defaults(self) -> Tree:
        from skerry.host.etc.scan import scan_directory

        return scan_directory(self.state / f"{self.version()}.defaults")

    def yours(self) -> Tree:
        from skerry.host.etc.scan import scan_directory

        return scan_directory(self.etc)

    def report(self, version: str) -> Report | None:
        from skerry.host.etc.report import read_report

        return read_report(self.state / f"{version}.report.json")

    def conflicts(self, yours: Tree) -> tuple[Open, ...]:
        """Those that are still open."""
        from skerry.host.etc.changes import open_conflicts

        report = self.report(self.version())
        beside = {c.beside: c.path for c in report.changes if c.beside} if report else {}
        return open_conflicts(yours, beside)

    def relative(self, path: str) -> str:
        """A path as a person gives it, relative to /etc. Raises SkerryError where it is not in it."""
        etc = os.path.abspath(self.etc)  # noqa: PTH100 - links are not followed
        if path == "/etc" or path.startswith("/etc/"):
            path = etc + path[4:]
        for candidate in (os.path.abspath(path), os.path.normpath(os.path.join(etc, path))):  # noqa: PTH100, PTH118
            if candidate == etc or candidate.startswith(f"{etc}/"):
                return candidate[len(etc) + 1 :]
        raise SkerryError(f"{path} is not in {etc}")


@click.group()
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("/"),
    help="Look at the tree in this directory, not at this machine.",
)
@click.pass_context
def etc(ctx: click.Context, root: Path) -> None:
    """Compare /etc with its defaults; settle what an update left open."""
    ctx.obj = Place(root.absolute())


@etc.command()
@click.option("-p", "--patch", "as_patch", is_flag=True, help="Show the lines that differ.")
@_JSON
@click.pass_obj
def diff(place: Place, *, as_patch: bool, as_json: bool) -> None:
    """Show what you changed against the defaults of this version.

    Of keys, passwords and files that others may not read the content is never shown.
    """
    from skerry.entry.cli.output import emit_json, say, table
    from skerry.host.etc.changes import differences, patch
    from skerry.host.etc.provisioned import provisioned_paths
    from skerry.host.etc.tree import shown

    defaults, yours = place.defaults(), place.yours()
    found = differences(defaults, yours, provisioned_paths(place.root))
    if as_json:
        emit_json(
            [
                {
                    "path": shown(one.path),
                    "kind": str(one.kind),
                    "what": list(one.what),
                    "note": one.note,
                    "secret": one.secret,
                    **({"patch": list(patch(one, defaults, yours))} if as_patch else {}),
                }
                for one in found
            ]
        )
    elif as_patch:
        for one in found:
            for line in patch(one, defaults, yours):
                print(_coloured(line))
    elif found:
        rows = [(shown(one.path), ", ".join(one.what), str(one.kind), one.note) for one in found]
        table(rows, ("path", "what", "kind", "note"))
    else:
        say("nothing differs from the defaults of this version")


def _coloured(line: str) -> str:
    from skerry.entry.cli.output import BOLD, GREEN, RED, colour

    if line.startswith(("---", "+++")):
        return colour(line, BOLD)
    return (
        colour(line, RED) if line.startswith("-") else colour(line, GREEN) if line.startswith("+") else line
    )


@etc.command()
@click.argument("version", required=False)
@_JSON
@click.pass_obj
def show(place: Place, version: str | None, *, as_json: bool) -> None:
    """Show what the update to VERSION (default: the one that runs) made of /etc, and what is still open."""
    import msgspec

    from skerry.entry.cli.output import YELLOW, colour, emit_json, say, table
    from skerry.host.etc.tree import shown

    running = place.version()
    version = version or running
    report = place.report(version)
    if report is None and version != running:
        raise SkerryError(
            f"there is no report of {version}", hint="the versions of the two slots have one, after an update"
        )
    still_open = place.conflicts(place.yours()) if version == running else ()
    if as_json:
        opened: list[Json] = [
            {"path": shown(one.path), "beside": shown(one.beside), "side": one.side} for one in still_open
        ]
        emit_json({"version": version, "report": msgspec.to_builtins(report), "open": opened})
        return
    if report is None:
        say(f"{version} was installed, not updated to: its /etc began as the defaults")
    else:
        rows = [
            (change.path, _result(str(change.result)), change.why)
            for change in report.changes
            if change.result != "beside"
        ]
        if rows:
            table(rows, ("path", "result", "why"))
        for note in report.notes:
            print(f"{colour('note', YELLOW)}  {note}")
        counts = ", ".join(f"{number} {result}" for result, number in report.counts().items()) or "no change"
        say(f"/etc of {version} comes from that of {report.from_version} (policy {report.policy}): {counts}")
    for one in still_open:
        say(f"still open: /etc/{shown(one.path)}; the other side is in {shown(one.beside)}")
    if still_open:
        say("settle it with: skerry etc merge PATH --take mine|theirs")


def _result(result: str) -> str:
    from skerry.entry.cli.output import RED, colour

    return colour(result, RED) if result == "conflict" else result


@etc.command()
@_PATHS
@click.option(
    "--take",
    type=click.Choice(["mine", "theirs", "edit"]),
    help="Your side, the new default, or both in your editor ($VISUAL, $EDITOR).",
)
@click.option(
    "--file", "file", type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="The merged content, of one PATH; - is standard input.",
)  # fmt: skip
@_DRY
@_JSON
@click.pass_obj
def merge(
    place: Place, paths: tuple[str, ...], take: str | None, file: str | None, *, dry_run: bool, as_json: bool
) -> None:
    """Settle the open conflicts at PATH….

    Without --take or --file it shows both sides in one text, with markers where they conflict.
    """
    from skerry.host.etc import resolve
    from skerry.host.etc.rules import is_secret
    from skerry.host.etc.tree import shown

    if take and file:
        raise click.UsageError("give --take or --file, not both")
    if file and len(paths) > 1:
        raise click.UsageError("--file is for one PATH")
    yours = place.yours()
    found = {one.path: one for one in place.conflicts(yours)}
    steps: list[Step] = []
    for path in map(place.relative, paths):
        conflict = found.get(path)
        if conflict is None:
            raise SkerryError(
                f"there is no open conflict at /etc/{shown(path)}", hint="see `skerry etc show`"
            )
        if take in ("mine", "theirs"):
            steps += resolve.take(conflict, resolve.Take(take))
            continue
        if file:
            data = _read(file)
        else:
            data = resolve.to_edit(conflict, yours, _base(place))
            if take is None and is_secret(path, yours.entries[path].mode):
                raise SkerryError(f"/etc/{shown(path)} is not for a screen", hint="use --take edit")
            if take is None:
                click.echo(data, nl=False)
                continue
            data = _edit(data, path)
        steps += resolve.put(conflict, yours, data)
    if take or file:
        _carry_out(place, steps, dry_run=dry_run, as_json=as_json)


def _base(place: Place) -> Tree | None:
    """The defaults that both sides of an open conflict came from, where they are still here."""
    from skerry.host.etc.scan import scan_directory

    report = place.report(place.version())
    directory = place.state / f"{report.from_version}.defaults" if report else None
    return scan_directory(directory) if directory is not None and directory.is_dir() else None


def _read(file: str) -> bytes:
    return click.get_binary_stream("stdin").read() if file == "-" else Path(file).read_bytes()


def _edit(data: bytes, path: str) -> bytes:
    """What a person makes of it in an editor. Raises SkerryError."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="skerry-etc-") as directory:
        name = Path(directory, path.rpartition("/")[2][:200])
        name.write_bytes(data)
        if not (os.environ.get("VISUAL") or os.environ.get("EDITOR")):
            raise SkerryError(
                "no editor is set",
                hint="set EDITOR; or save what `skerry etc merge PATH` prints, edit that elsewhere, "
                "and give it back with --file",
            )
        click.edit(filename=str(name))
        return name.read_bytes()


@etc.command()
@_PATHS
@_DRY
@_JSON
@click.pass_obj
def reset(place: Place, paths: tuple[str, ...], *, dry_run: bool, as_json: bool) -> None:
    """Set PATH… back to the defaults of this version.

    Of a directory, every default in it; your own files there stay.
    """
    from skerry.host.etc import resolve

    defaults, yours = place.defaults(), place.yours()
    steps = [step for path in paths for step in resolve.reset(place.relative(path), defaults, yours)]
    _carry_out(place, steps, dry_run=dry_run, as_json=as_json)


def _carry_out(place: Place, steps: Sequence[Step], *, dry_run: bool, as_json: bool) -> None:
    from skerry.entry.cli.output import emit_json, say
    from skerry.host.etc.resolve import carry_out
    from skerry.host.etc.tree import shown

    if not dry_run:
        carry_out(steps, place.etc)
    if as_json:
        emit_json(
            [
                {"do": str(step.do), "path": shown(step.path), "why": step.why, "done": not dry_run}
                for step in steps
            ]
        )
        return
    for step in steps:
        print(f"{step.do} /etc/{shown(step.path)}: {step.why}")
    if not steps:
        say("nothing to do")
