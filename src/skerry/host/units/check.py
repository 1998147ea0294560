"""Everything that can be said of a unit before it is accepted, on its author's lines.

Errors refuse a unit; warnings do not. The order is: the name, the text, what [X-Fleet] asks, then
systemd's or Podman's own opinion. Programs run, so call this from a thread where an event loop runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.host.units.errors import UnitFileError, UnitNameError, UnitRefusedError
from skerry.host.units.name import QUADLET_SUFFIXES, UnitName, is_file_name, parse_name
from skerry.host.units.quadlet import verify_quadlet
from skerry.host.units.requirements import requirements
from skerry.host.units.unit_file import parse_unit
from skerry.host.units.verify import verify
from skerry.kit.errors import Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Kinds that fleet took and that no file can make today.
_GONE = {
    "busname": "systemd has no .busname units since version 232",
    "snapshot": "systemd has no .snapshot units since version 228",
    "scope": "a .scope unit is made by a program, not by a file",
}


def check_unit(
    name: str,
    text: str,
    companions: Mapping[str, str] | None = None,
    *,
    file: str | None = None,
    drop_ins: Iterable[tuple[str, str]] = (),
) -> list[Problem]:
    """All problems of a unit, sorted by line; `file` is how they name it (the unit's name if None).

    `companions` maps the names of other Quadlet files to their texts: those of the store and those
    submitted together with this one. `drop_ins` are (file name, text).
    """
    file = file or name
    try:
        unit_name = parse_name(name)
    except UnitNameError as error:
        return [Problem(file, None, error.message, error.hint)]
    if unit_name.suffix in _GONE:
        return [Problem(file, None, _GONE[unit_name.suffix])]
    problems = _check_drop_ins(unit_name, drop_ins)
    try:
        unit = parse_unit(text, file)
    except UnitFileError as error:
        return [*error.problems, *problems]
    if not unit.sections or not (unit.options or unit_name.is_quadlet):
        return [Problem(file, None, "the unit is empty"), *problems]
    problems.extend(requirements(unit, unit_name)[1])
    if unit_name.is_quadlet:
        problems.extend(verify_quadlet(unit_name, unit, companions or {}))
    else:
        problems.extend(verify(unit_name, unit, text))
    return sorted(problems, key=lambda p: (p.file != file, p.file, p.line or 0))


def refuse(name: str, problems: Iterable[Problem]) -> None:
    """Raise UnitRefusedError with all problems where one of them is an error."""
    found = list(problems)
    if any(p.severity is Severity.ERROR for p in found):
        raise UnitRefusedError(f"unit {name} is refused", found)


def _check_drop_ins(name: UnitName, drop_ins: Iterable[tuple[str, str]]) -> list[Problem]:
    problems = []
    for drop_in, text in drop_ins:
        file = f"{name}.d/{drop_in}"
        if not is_file_name(drop_in) or not drop_in.endswith(".conf"):
            problems.append(Problem(file, None, "a drop-in is a file name that ends in .conf"))
            continue
        try:
            parse_unit(text, file)
        except UnitFileError as error:
            problems.extend(error.problems)
    return problems


def check_files(name: str, files: Iterable[tuple[str, str]]) -> list[Problem]:
    """The files beside a Quadlet file, as (file name, text): plain names, and no units themselves."""
    problems = []
    for file, _ in files:
        if not name.endswith(tuple(f".{suffix}" for suffix in QUADLET_SUFFIXES)):
            problems.append(Problem(name, None, f"only Quadlet files have files beside them, not {name}"))
        elif not is_file_name(file):
            problems.append(Problem(name, None, f"{file!r} is not a plain file name"))
        elif file.endswith(tuple(f".{suffix}" for suffix in QUADLET_SUFFIXES)):
            message = f"{file} is a unit of its own"
            problems.append(Problem(name, None, message, f"submit {file} as a unit"))
    return problems
