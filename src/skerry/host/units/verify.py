"""systemd's own opinion of a unit, from `systemd-analyze verify`, on the author's lines.

systemd refuses a unit that it could not load (an error here) and ignores what it does not understand
(a warning). A command that is not installed is a warning too: the unit may be meant for another
machine. Messages about other units are dropped.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.kit.errors import Problem, Severity
from skerry.kit.run import ProgramError, run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from skerry.host.units.name import UnitName
    from skerry.host.units.unit_file import UnitFile

PROGRAM = "systemd-analyze"
DEADLINE_S = 20

_ON_LINE = re.compile(r"^(?P<path>/\S+?):(?P<line>\d+): (?P<what>.*)$")
_ON_UNIT = re.compile(r"^(?P<unit>[^\s:/]+\.[a-z]+): (?P<what>.*)$")
_COMMAND = re.compile(r"^Command (?P<command>\S+) is not executable")
_REFUSALS = ("Refusing.", "has fatal error")
# Said once more of what has been said before.
_ECHO = re.compile(r"^Unit \S+ has a bad unit file setting\.$")


def verify(name: UnitName, unit: UnitFile, text: str) -> list[Problem]:
    """Ask systemd-analyze about one systemd unit. Where there is none, that is the only problem."""
    if shutil.which(PROGRAM) is None:
        message = f"not checked by systemd: {PROGRAM} is not installed"
        return [Problem(unit.file, None, message, severity=Severity.WARNING)]
    with tempfile.TemporaryDirectory(prefix="skerry-verify-") as folder:
        path = Path(folder) / name.full
        path.write_text(text)
        argv = [PROGRAM, "verify", "--man=no", "--generators=no", "--recursive-errors=no", str(path)]
        try:
            said = run(argv, timeout_s=DEADLINE_S).stderr
        except ProgramError as error:
            said = error.output
    lines = said.decode(errors="replace").splitlines()
    return list(read_messages(lines, name, unit))


def read_messages(lines: Iterable[str], name: UnitName, unit: UnitFile) -> Iterable[Problem]:
    """The problems among what systemd-analyze said, with the lines that they are on."""
    seen = set()
    for text in lines:
        problem = _read(text.strip(), name, unit)
        if problem is not None and problem not in seen:
            seen.add(problem)
            yield problem


def _read(text: str, name: UnitName, unit: UnitFile) -> Problem | None:
    if not text or _ECHO.match(text):
        return None
    severity = Severity.ERROR if any(word in text for word in _REFUSALS) else Severity.WARNING
    if found := _ON_LINE.match(text):
        if Path(found["path"]).name != name.full:
            return None
        return Problem(unit.file, int(found["line"]), _sentence(found["what"]), severity=severity)
    if found := _ON_UNIT.match(text):
        # A template is verified as an instance that systemd-analyze makes up.
        if not found["unit"].startswith(name.prefix):
            return None
        what, hint = found["what"], None
        line = None
        if command := _COMMAND.match(what):
            line = _line_of_command(unit, command["command"])
            what = f"{command['command']} is not an executable file on this machine"
            if not command["command"].startswith("/"):
                hint = "write the whole path"
        return Problem(unit.file, line, _sentence(what), hint, severity=severity)
    return None


def _line_of_command(unit: UnitFile, command: str) -> int | None:
    for option in unit.options:
        if option.name.startswith("Exec") and option.joined.lstrip("-@:+!|").split(maxsplit=1)[:1] == [
            command
        ]:
            return option.line
    return None


def _sentence(text: str) -> str:
    for tail in (" Refusing.", " Ignoring.", "."):
        text = text.removesuffix(tail)
    return text.strip()
