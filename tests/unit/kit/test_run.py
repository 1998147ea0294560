"""Programs: what they are given, what is kept of them, and that they end."""

from __future__ import annotations

import asyncio
import os
import select
import shlex
from typing import TYPE_CHECKING

import pytest

from skerry.kit.run import ProgramError, environment, run, run_async

if TYPE_CHECKING:
    from pathlib import Path

SH = ["sh", "-c"]


def test_output_is_returned() -> None:
    assert run([*SH, "echo out; echo err >&2"]).text == "out\n"


def test_stdin_is_closed_unless_given() -> None:
    assert run(["cat"]).stdout == b""


def test_stdin_is_what_was_given() -> None:
    assert run(["cat"], stdin=b"words").stdout == b"words"


def test_environment_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("SECRET", "x")
    seen = run(["env"], env={"MORE": "y"}).text.splitlines()
    assert {"LC_ALL=C.UTF-8", "MORE=y"} <= set(seen)
    assert not any(line.startswith(("SECRET=", "LANG=")) for line in seen)


def test_environment_has_a_path_of_its_own_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATH")
    assert environment()["PATH"] == "/usr/sbin:/usr/bin:/sbin:/bin"


def test_failure_shows_a_command_to_paste_and_the_output() -> None:
    argv = [*SH, "echo 'it broke' >&2; exit 3", "two words"]
    with pytest.raises(ProgramError) as failed:
        run(argv)
    assert shlex.join(argv) in failed.value.message
    assert "it broke" in failed.value.message
    assert "3" in failed.value.message


def test_failure_is_an_answer_where_it_is_not_checked() -> None:
    assert run([*SH, "exit 3"], check=False).status == 3


def test_missing_program_is_a_sentence() -> None:
    with pytest.raises(ProgramError, match="could not be started"):
        run(["/nonexistent/program"])


def test_deadline_ends_the_children_too(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(ProgramError, match="did not end within"):
        run([*SH, f"sleep 600 & echo $! > {pid_file}; wait"], timeout_s=0.5)
    assert _ends(int(pid_file.read_text()))


def test_deadline_keeps_what_was_said() -> None:
    with pytest.raises(ProgramError, match="it began"):
        run([*SH, "echo it began >&2; exec sleep 600"], timeout_s=0.5)


def test_output_may_go_to_a_file(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        assert run([*SH, "echo out"], stdout=file).stdout == b""
    assert (tmp_path / "out").read_text() == "out\n"


def test_async_output_is_returned() -> None:
    assert asyncio.run(run_async([*SH, "cat; echo out"], stdin=b"in ")).text == "in out\n"


def test_async_deadline_ends_the_children_too(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(ProgramError, match="did not end within"):
        asyncio.run(run_async([*SH, f"sleep 600 & echo $! > {pid_file}; wait"], timeout_s=0.5))
    assert _ends(int(pid_file.read_text()))


def _ends(pid: int) -> bool:
    """Whether a process has ended, or does so within a moment: it was killed but not waited for."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 5)[0])
    finally:
        os.close(descriptor)
