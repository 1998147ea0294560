"""`skerryd`: one machine's daemon. Starts what the settings ask for and runs it until it is told to stop.

SIGTERM and SIGINT end it, units keep running; SIGHUP reads the settings again. What it logs goes to
stderr with systemd's priorities, for the journal. Exit codes: 0 stopped, 1 failed, 2 misused.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from skerry.entry.daemon.machine import Paths
from skerry.entry.daemon.settings import LogLevel, read_settings
from skerry.entry.daemon.wiring import run
from skerry.kit.errors import SkerryError

USAGE = "usage: skerryd [--root DIRECTORY]"
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}

log = logging.getLogger("skerry.daemon")


class JournalFormatter(logging.Formatter):
    """`<6>sentence`, sd-daemon(3)'s prefix on every line, so that the journal knows the priority."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


def set_up_logging(level: LogLevel) -> None:
    """Everything of ours to stderr; other libraries from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JournalFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("skerry").setLevel(level.upper())
    # uvicorn writes a cut stream at the end down as an error; it is how streams end.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


def main(argv: list[str] | None = None) -> None:
    """The program."""
    arguments = sys.argv[1:] if argv is None else argv
    root = Path("/")
    match arguments:
        case []:
            pass
        case ["--root", directory]:
            root = Path(directory)
        case _:
            print(USAGE, file=sys.stderr)  # noqa: T201  nobody else is there to say it
            sys.exit(2)
    paths = Paths.under(root)
    set_up_logging(LogLevel.INFO)
    try:
        settings = read_settings(paths.settings)
        set_up_logging(settings.log_level)
        asyncio.run(run(paths, settings, on_settings=lambda new: set_up_logging(new.log_level)))
    except SkerryError as error:
        log.critical("%s", error.message if error.hint is None else f"{error.message} ({error.hint})")
        sys.exit(1)


if __name__ == "__main__":
    main()
