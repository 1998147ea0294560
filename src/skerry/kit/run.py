"""The one door through which programs start.

Argument lists only, stdin closed unless given, a clean environment, a deadline, the output kept for
the error, and the command shown so that it can be pasted. Refuses shells.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from pathlib import Path

KEPT_OUTPUT_BYTES = 4096
PASSED_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "XDG_RUNTIME_DIR", "SOURCE_DATE_EPOCH")


class ProgramError(SkerryError):
    """A program failed, could not be started, or did not end in time."""

    def __init__(self, argv: Sequence[str], why: str, output: bytes, *, hint: str | None = None) -> None:
        self.argv = tuple(argv)
        self.output = output
        tail = output[-KEPT_OUTPUT_BYTES:].decode(errors="replace").strip()
        said = "".join(f"\n  | {line}" for line in tail.splitlines()[-20:])
        super().__init__(f"{argv[0]} {why}: {show(argv)}{said}", hint=hint)


@dataclass(frozen=True, slots=True)
class Completed:
    """What a program wrote, and its exit status; of those killed, minus the signal's number."""

    stdout: bytes
    stderr: bytes
    status: int = 0

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")


def show(argv: Sequence[str]) -> str:
    """The command as it can be pasted into a shell."""
    return shlex.join(argv)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What every program is given: a fixed locale, and no more of ours than it needs."""
    kept = {name: os.environ[name] for name in PASSED_ENVIRONMENT if name in os.environ}
    return {"LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"} | kept | dict(extra or {})


def run(
    argv: Sequence[str],
    *,
    timeout_s: float = 60,
    stdin: bytes | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdout: IO[bytes] | None = None,
    check: bool = True,
) -> Completed:
    """Run a program to its end and return its output; `stdout` sends that to a file instead.

    Without `check`, a program that fails is no error of ours: its status is in what is returned.

    The program leads a session of its own, so that at the deadline, or when we are interrupted, it
    ends with all of its children. Raises ProgramError.
    """
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=environment(env),
            start_new_session=True,
        )
    except OSError as error:
        raise ProgramError(argv, f"could not be started ({error.strerror})", b"") from error
    with process:
        try:
            out, err = process.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            _end(process)
            raise ProgramError(argv, f"did not end within {timeout_s:g} s", error.stderr or b"") from error
        except BaseException:
            _end(process)
            raise
    if check and process.returncode != 0:
        raise ProgramError(argv, _how(process.returncode), err or out or b"")
    return Completed(out or b"", err, process.returncode)


async def run_async(
    argv: Sequence[str],
    *,
    timeout_s: float = 60,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
) -> Completed:
    """The same for an event loop; cancelling the caller ends the program."""
    import asyncio  # heavy, and most programs start without it

    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(env),
            start_new_session=True,
        )
    except OSError as error:
        raise ProgramError(argv, f"could not be started ({error.strerror})", b"") from error
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin), timeout_s)
    except TimeoutError as error:
        _kill_group(process.pid)
        await process.wait()
        raise ProgramError(argv, f"did not end within {timeout_s:g} s", b"") from error
    except BaseException:
        _kill_group(process.pid)
        await process.wait()
        raise
    if process.returncode:
        raise ProgramError(argv, _how(process.returncode), err or out)
    return Completed(out, err)


async def lines_async(
    argv: Sequence[str], *, longest_bytes: int = 1024 * 1024, env: Mapping[str, str] | None = None
) -> AsyncGenerator[bytes, None]:
    """The lines that a program writes, as it writes them and without their ends; close it to end the program.

    There is no deadline: this is for programs that follow something. A line longer than
    `longest_bytes` is left out. Raises ProgramError when the program fails by itself.
    """
    import asyncio

    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(env),
            start_new_session=True,
        )
    except OSError as error:
        raise ProgramError(argv, f"could not be started ({error.strerror})", b"") from error
    assert process.stdout is not None  # noqa: S101  it was asked for above
    assert process.stderr is not None  # noqa: S101
    # Read at the same time, or a program that complains a lot would wait for us for ever.
    complaints = asyncio.create_task(_last(process.stderr))
    try:
        async for line in _split(process.stdout, longest_bytes):
            yield line
        await process.wait()
        if process.returncode:
            raise ProgramError(argv, _how(process.returncode), await complaints)
    finally:
        if process.returncode is None:
            _kill_group(process.pid)
            await process.wait()
        complaints.cancel()
        await asyncio.gather(complaints, return_exceptions=True)


async def _split(stream: asyncio.StreamReader, longest_bytes: int) -> AsyncGenerator[bytes, None]:
    """Lines of a stream; one that is too long is dropped while it is read, not kept."""
    kept, dropping = b"", False
    while chunk := await stream.read(64 * 1024):
        *whole, kept = (kept + chunk).split(b"\n")
        for line in whole:
            if not dropping and len(line) <= longest_bytes:
                yield line
            dropping = False
        if len(kept) > longest_bytes:
            kept, dropping = b"", True
    if kept and not dropping:
        yield kept


async def _last(stream: asyncio.StreamReader) -> bytes:
    kept = b""
    while chunk := await stream.read(4096):
        kept = (kept + chunk)[-KEPT_OUTPUT_BYTES:]
    return kept


def _how(returncode: int) -> str:
    if returncode < 0:
        return f"was ended by {signal.Signals(-returncode).name}"
    return f"failed with status {returncode}"


def _end(process: subprocess.Popen[bytes]) -> None:
    _kill_group(process.pid)
    process.wait()


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
