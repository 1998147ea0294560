"""A node's journal as values, and which of its lines a test accepts.

Reads `journalctl -o json`, see systemd.journal-fields(7). A line is unexpected if its priority is `err` or
worse and no rule below explains it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ERR = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `time_us` is wall clock time in microseconds; `unit` is empty for the kernel's lines.

    `container` is the name of the container that wrote it, empty where none did.
    """

    priority: int
    unit: str
    identifier: str
    message: str
    time_us: int
    container: str = ""

    def __str__(self) -> str:
        return f"{self.identifier or self.unit}: {self.message}"


@dataclass(frozen=True, slots=True)
class Allowed:
    """A line that a test passes over: who writes it, a regular expression for the message, and why."""

    identifier: str
    message: str
    why: str


# Lines of machines that are not whole, as the lab's are. What a real machine would show has no place here.
ALLOWED: dict[str, tuple[Allowed, ...]] = {
    "qemu": (
        Allowed(
            "kernel", r"RETBleed|Spectre|MDS CPU bug|Speculative", "emulated processors lack mitigations"
        ),
        Allowed(
            "kernel", r"^watchdog: watchdog0: watchdog did not stop!", "systemd leaves it on for the reboot"
        ),
        Allowed(
            "sshd-session",
            r"^fatal: chroot\(\"/run/sshd\"\): No such file",
            "the lab knocks while the machine goes down",
        ),
        Allowed("kernel", r"i8042: (No controller found|Can't read CTR)", "the machines have no keyboard"),
    ),
    "nspawn": (
        Allowed(
            "systemd",
            r"^Failed unmounting var\.mount",
            "journald lets go of /var only where it is another device than /, and here it is not",
        ),
    ),
}


def parse(text: str) -> list[Entry]:
    """The entries of `journalctl -o json`, in its order."""
    entries = []
    for line in text.splitlines():
        if not line.startswith("{"):
            continue
        fields = json.loads(line)
        entries.append(
            Entry(
                priority=int(fields.get("PRIORITY") or 6),
                unit=_text(fields.get("UNIT") or fields.get("_SYSTEMD_UNIT")),
                identifier=_text(fields.get("SYSLOG_IDENTIFIER") or fields.get("_COMM")),
                message=_text(fields.get("MESSAGE")),
                time_us=int(fields.get("__REALTIME_TIMESTAMP") or 0),
                container=_text(fields.get("CONTAINER_NAME")) if fields.get("_COMM") == "conmon" else "",
            )
        )
    return entries


def unexpected(entries: Iterable[Entry], allowed: Iterable[Allowed]) -> list[Entry]:
    """The errors among the entries that no rule explains.

    What containers write is passed over: all that comes from their standard error has priority `err`.
    """
    rules = tuple(allowed)
    ours = [entry for entry in entries if entry.priority <= ERR and not entry.container]
    return [entry for entry in ours if not any(_explains(rule, entry) for rule in rules)]


def _explains(rule: Allowed, entry: Entry) -> bool:
    return rule.identifier == entry.identifier and re.search(rule.message, entry.message) is not None


def _text(value: object) -> str:
    """A field; journalctl gives those that are not UTF-8 as a list of bytes, and repeated ones as a list."""
    if isinstance(value, list):
        if all(isinstance(item, int) for item in value):
            return bytes(value).decode(errors="replace")
        return " ".join(_text(item) for item in value)
    return value if isinstance(value, str) else ""
