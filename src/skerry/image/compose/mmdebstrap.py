"""The one caller of mmdebstrap: packages of a suite, with their dependencies, into a tar.

It runs in namespaces of its own, so that its mounts are never seen outside and everything it started ends
with it, whichever way we end; a user who is not root is root in there. What it leaves then is in the
archive's directory. Its errors are turned into ours: a package that is unknown, a mirror that does not
answer, a disk that is full.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.image.compose.errors import ComposeError, NoMirrorError, NoSpaceError
from skerry.image.compose.mirror import KEYRING, POCKETS
from skerry.image.compose.sandbox import clear, identity_prefix
from skerry.image.compose.workshop import ROOM
from skerry.kit.progress import Phase, Progress
from skerry.kit.run import ProgramError, environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skerry.image.compose.mirror import Mirror
    from skerry.kit.progress import Reporter

TIMEOUT_S = 1800
STAGES = (
    "running apt-get update",
    "downloading packages with apt",
    "extracting archives",
    "installing essential packages",
    "downloading apt",
    "installing remaining packages",
    "cleaning package lists",
    "creating tarball",
)
NAMES = "skerry: the suite's packages are"
# mmdebstrap finds an unknown package only when all that is essential is installed; this is in seconds.
CHECK = (
    "export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG; "
    "apt-get update -o APT::Update::Error-Mode=any && "
    "{{ apt-get --simulate install {packages} >/dev/null || "
    "{{ echo {names}; apt-cache pkgnames; exit 1; }}; }}"
)
# Who passes on an image passes on the licences of what is in it.
KEPT = ("/usr/share/doc/*/copyright",)
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


class UnknownPackageError(ComposeError):
    """Packages that the suite does not have; `known` are those that it has, () where apt did not say."""

    def __init__(self, names: Sequence[str], known: Sequence[str]) -> None:
        self.names = tuple(names)
        self.known = tuple(known)
        super().__init__(f"unknown package: {', '.join(names)}")


def bootstrap(
    archive: Path,
    suite: str,
    mirror: Mirror,
    packages: Sequence[str],
    *,
    pockets: tuple[str, ...] = POCKETS,
    variant: str,
    step: str,
    hooks: Sequence[str] = (),
    report: Reporter,
) -> None:
    """Write a tar of the installed packages to `archive`.

    Raises UnknownPackageError, NoMirrorError, NoSpaceError, ProgramError; then there is no archive.
    """
    # Killed when we are, and the whole of its process namespace with it: left alone, mmdebstrap answers a
    # signal only when what it started has ended.
    argv = ["setpriv", "--pdeathsig=KILL", "--", *identity_prefix(), "unshare", "--mount", "--pid", "--fork"]
    argv += ["--kill-child=KILL", "--", "mmdebstrap", "--mode=root", f"--variant={variant}", "--format=tar"]
    argv += [f"--include={','.join(packages)}", f"--keyring={KEYRING}"]
    argv += [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    argv += [f"--dpkgopt=path-include={pattern}" for pattern in KEPT]
    argv += ["--aptopt=Acquire::Retries 3", "--aptopt=Acquire::Languages none"]
    check = CHECK.format(packages=shlex.join(packages), names=shlex.quote(NAMES))
    argv += [f"--setup-hook={check}", *(f"--extract-hook={hook}" for hook in hooks)]
    argv += [suite, str(archive), *mirror.sources(suite, pockets=pockets)]
    scratch = archive.with_name("scratch")
    scratch.mkdir()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=environment({"SOURCE_DATE_EPOCH": "0", "TMPDIR": str(scratch)}),
        )
        try:
            _follow(process, said.fileno(), step, report)
        except BaseException:
            _end(process)
            archive.unlink(missing_ok=True)
            raise
        finally:
            clear(scratch)
        said.seek(0)
        output = said.read()
    if process.returncode != 0:
        archive.unlink(missing_ok=True)
        raise _explain(argv, process.returncode, output, mirror)


def _follow(process: subprocess.Popen[bytes], output: int, step: str, report: Reporter) -> None:
    """Report the stages as they come, until the program ends."""
    started, at = time.monotonic(), 0
    # Not wait() with a timeout: it takes a lock outside of any `try`, and an interrupt that comes right then
    # leaves it taken, so that the last wait() never returns.
    ended = os.pidfd_open(process.pid)
    try:
        while not select.select([ended], [], [], 0.2)[0]:
            if time.monotonic() - started > TIMEOUT_S:
                raise ComposeError(f"mmdebstrap did not end within {TIMEOUT_S} s")
            size = os.fstat(output).st_size
            text = os.pread(output, size - at, at).decode(errors="replace") if size > at else ""
            at = size
            for number, stage in enumerate(STAGES):
                if stage in text:
                    report(Progress(step, Phase.ADVANCED, number, len(STAGES), unit="stages", note=stage))
    finally:
        os.close(ended)
    process.wait()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the namespace by its first process; `unshare` ends when nothing in there runs any more."""
    inside = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with suppress(ProcessLookupError, FileNotFoundError):
        for child in inside.read_text().split() or [str(process.pid)]:
            os.kill(int(child), signal.SIGKILL)
    process.wait()


def _explain(argv: Sequence[str], status: int, output: bytes, mirror: Mirror) -> ComposeError | ProgramError:
    text = output.decode(errors="replace")
    unknown = re.findall(r"Unable to locate package (\S+)", text)
    unknown += re.findall(r"Package '?([^\s']+)'? has no installation candidate", text)
    if unknown:
        return UnknownPackageError(sorted(set(unknown)), text.partition(NAMES)[2].split())
    if re.search("No space left on device|You don't have enough free space", text):
        return NoSpaceError("no space left while installing packages", hint=ROOM)
    failures = (
        r"Failed to fetch|Could not resolve|Could not connect|Temporary failure|does not have a Release"
    )
    if re.search(failures, text):
        why = re.search(r"^(?:E|W|Err):? .*$", text, re.MULTILINE)
        return NoMirrorError(
            f"the mirror {mirror.archive} could not be used{': ' + why.group(0) if why else ''}",
            hint="check the address and the network; SKERRY_MIRROR names another",
        )
    return ProgramError(argv, f"failed with status {status}", output)
