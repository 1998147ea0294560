"""skerry-provision: what systemd starts at boot to make this machine as its cloud-config says.

    skerry-provision            before the network: skerry-provision.service
    skerry-provision --network  what needs an address: skerry-provision-network.service

Never fails the boot: it ends with status 0 whatever the document is, and says in the journal and, where
something was wrong, in a few lines on the console what was left out. `skerry provision show` tells more.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from skerry.host.provision.report import Report
    from skerry.host.provision.sources import Source

CONSOLE = Path("/dev/console")
MOST_CONSOLE_LINES = 6
_ERROR, _WARNING, _NOTE = "<3>", "<4>", "<6>"  # sd-daemon(3)


def main(argv: list[str] | None = None) -> int:
    """Provision this machine; always 0, unless the arguments are wrong."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments not in ([], ["--network"]):
        sys.stderr.write("usage: skerry-provision [--network]\n")
        return 2
    os.umask(0o022)
    try:
        _provision(network=bool(arguments))
    except Exception as error:  # the boot goes on, whatever happens here
        import traceback

        say(_ERROR, f"provisioning ended early: {error}")
        for line in traceback.format_exc().splitlines():
            say(_WARNING, line)
        tell_console(["provisioning ended early; see `journalctl -u skerry-provision`"])
    return 0


def _provision(*, network: bool) -> None:
    from skerry.host.provision.apply import Surroundings, apply, machine_addresses
    from skerry.host.provision.plan import Stage
    from skerry.host.provision.report import state_directory, write_report
    from skerry.host.provision.sources import KeptSource, first, on_this_machine

    sources: tuple[Source, ...] = (KeptSource(state_directory()),) if network else on_this_machine()
    found, notes = first(sources)
    for note in notes:
        say(_WARNING, note)
    if found is None:
        say(_NOTE, "there is no cloud-config")
        if notes:
            tell_console(list(notes))
        return
    around = Surroundings(
        stage=Stage.NETWORK if network else Stage.EARLY,
        machine_addresses=machine_addresses,
    )
    report = apply(found, around, notes)
    for level, line in journal_lines(report):
        say(level, line)
    write_report(report)
    if lines := console_lines(report):
        tell_console(lines)


def journal_lines(report: Report) -> Iterator[tuple[str, str]]:
    """Each step and each problem on a line of its own, with its level."""
    for step in report.steps:
        if step.done:
            yield _NOTE, f"{step.what}: {step.why}"
        else:
            yield _ERROR, f"{_place(step.line)}{step.message}"
    for problem in report.problems:
        yield (_ERROR if problem.severity == "error" else _WARNING), str(problem)
    yield _NOTE, f"cloud-config from {report.source}: {report.result}"


def console_lines(report: Report) -> list[str]:
    """A few lines for the person at the console; none where all went well."""
    failed = [f"{_place(s.line)}{s.message}" for s in report.steps if not s.done]
    lines = failed + [str(p) for p in report.problems if p.severity == "error"]
    if not lines:
        return []
    more = len(lines) - MOST_CONSOLE_LINES
    shown = lines[:MOST_CONSOLE_LINES] + ([f"… and {more} more"] if more > 0 else [])
    return [*shown, "the rest was applied; `skerry provision show` tells all"]


def _place(line: int | None) -> str:
    return "" if line is None else f"cloud-config:{line}: "


def say(level: str, text: str) -> None:
    """One line to the journal."""
    sys.stderr.write("".join(f"{level}{line}\n" for line in text.splitlines()))


def tell_console(lines: list[str], open_console: Callable[[], int] | None = None) -> None:
    """Lines on the console, if there is one; a console that does not read never holds up the boot."""

    def default() -> int:
        return os.open(CONSOLE, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)

    with contextlib.suppress(OSError):
        descriptor = (open_console or default)()
        try:
            os.write(descriptor, "".join(f"skerry: {line}\r\n" for line in lines).encode())
        finally:
            os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
