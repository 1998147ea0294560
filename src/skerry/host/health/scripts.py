"""A machine's own checks: executables that end with 0 where all is well, and say why where it is not.

    /etc/skerry/health.d/required.d/NAME    /usr/lib/skerry/health.d/required.d/NAME
    /etc/skerry/health.d/wanted.d/NAME      /usr/lib/skerry/health.d/wanted.d/NAME

One in /etc hides that of the same name in /usr; a link to /dev/null hides it and checks nothing. A file that
is not executable fails as wanted, so that a forgotten chmod is seen. Each is given a time, and is ended with
all that it started when that is over. It sees SKERRY_HEALTH (see record.Occasion) and SKERRY_VERSION.
"""

from __future__ import annotations

import os
import tempfile
from functools import partial
from typing import TYPE_CHECKING

from skerry.host.health.check import Check, Outcome, Weight, failed, ok
from skerry.kit.run import ProgramError, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

DIRECTORIES = ("etc/skerry/health.d", "usr/lib/skerry/health.d")
KEPT_BYTES = 4096


def find(root: Path, environment: Mapping[str, str], *, timeout_s: float) -> Iterator[Check]:
    """A check for each executable, required ones first, in the order of their names."""
    for weight in (Weight.REQUIRED, Weight.WANTED):
        for name, path in sorted(_files(root, f"{weight}.d").items()):
            if path.exists() and not path.is_file():
                continue  # /dev/null
            named = f"{weight}.d/{name}"
            if os.access(path, os.X_OK):
                yield Check(named, weight, partial(look, path, environment, timeout_s=timeout_s))
            else:
                yield Check(named, Weight.WANTED, partial(failed, f"{path} is not executable", final=True))


def look(path: Path, environment: Mapping[str, str], *, timeout_s: float) -> Outcome:
    """Run one, and keep the end of what it wrote."""
    with tempfile.TemporaryFile() as written:
        try:
            done = run([str(path)], timeout_s=timeout_s, env=environment, stdout=written, check=False)
        except ProgramError as error:
            said = f"did not end within {timeout_s:g} s" if "did not end" in error.message else error.message
            return failed(said, output=_tail(written.fileno(), error.output), final=True)
        output = _tail(written.fileno(), done.stderr)
    if done.status == 0:
        return Outcome(ok("").status, "ended with 0", output)
    how = f"ended with {done.status}" if done.status > 0 else f"was ended by signal {-done.status}"
    last = output.strip().splitlines()[-1:]
    return failed(": ".join([how, *last]), output=output)


def _files(root: Path, folder: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for directory in DIRECTORIES:
        try:
            paths = list((root / directory / folder).iterdir())
        except OSError:
            continue
        for path in paths:
            if not path.name.startswith(".") and not path.name.endswith("~"):
                found.setdefault(path.name, path)
    return found


def _tail(descriptor: int, errors: bytes) -> str:
    size = os.lseek(descriptor, 0, os.SEEK_END)
    written = os.pread(descriptor, KEPT_BYTES, max(0, size - KEPT_BYTES))
    return (written + errors)[-KEPT_BYTES:].decode(errors="replace")
