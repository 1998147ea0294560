"""The command as a whole: its help, its errors, its exit codes, its output."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from skerry.entry.cli.main import NOUNS, cli, run
from skerry.entry.cli.output import show_duration, show_size, table
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Callable

SRC = Path(__file__).parents[3] / "src"
HEAVY = ("asyncio", "msgspec", "rich", "starlette", "uvicorn", "yaml", "http.client", "ssl")


def test_help_names_every_noun_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cli, ["--help"], name="skerry") == 0
    said = capsys.readouterr().out
    assert all(f"  {noun} " in said and line in said for noun, line in NOUNS.items())


def test_every_noun_has_its_file() -> None:
    assert all(importlib.util.find_spec(f"skerry.entry.cli.{noun}") for noun in NOUNS)


@pytest.mark.parametrize(
    "words",
    [["--help"], ["unit", "start", "--help"], ["host", "status", "--help"], ["cluster", "init", "--help"]],
)
def test_starting_imports_nothing_heavy(words: list[str]) -> None:
    code = f"import sys\nfrom skerry.entry.cli.main import cli, run\nrun(cli, {words!r}, name='skerry')\n"
    code += f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["unti"],
            "error: No such noun 'unti'. Did you mean 'unit'?\nhint: `skerry --help` tells how it is used\n",
        ),
        (["--colour"], "error: No such option: --colour\n"),
        (["unit", "fly"], "hint: `skerry unit --help` tells how it is used\n"),
    ],
)
def test_misuse_exits_with_2(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert run(cli, words, name="skerry") == 2
    captured = capsys.readouterr()
    assert (captured.out, message in captured.err) == ("", True), captured.err


def _raising(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (
            SkerryError("slot B is too small", hint="grow it"),
            1,
            "error: slot B is too small\nhint: grow it\n",
        ),
        (SkerryError("no"), 1, "error: no\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_errors_are_sentences(
    capsys: pytest.CaptureFixture[str], error: BaseException, status: int, said: str
) -> None:
    assert run(click.command()(_raising(error)), [], name="x") == status
    assert capsys.readouterr().err.strip("\n") == said.strip("\n")


def test_a_table_is_aligned_and_has_no_holes(capsys: pytest.CaptureFixture[str]) -> None:
    table([["a.service", ""], ["b", "x"]], ["unit", "state"])
    assert capsys.readouterr().out == "UNIT       STATE\na.service  -\nb          x\n"


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")]
)
def test_sizes(size: int, shown: str) -> None:
    assert show_size(size) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.04, "0.0 s"), (12.7, "12 s"), (75, "1 min 15 s"), (3 * 86400 + 7200, "3 d 2 h")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert show_duration(seconds) == shown
