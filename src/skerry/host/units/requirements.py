"""What a unit asks of the machines it may run on: [X-Fleet] with fleet's meanings, and [X-Skerry].

The specifiers %n %N %p %i are replaced in every value. A value in double quotes, `"a=b" "c=d"`, is
several values. Unknown keys are warnings, as they were in fleet's client; combinations that contradict
each other are errors. What [X-Skerry] holds stands in skerry_section.py.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from skerry.host.units.glob import compile_glob, glob_matches
from skerry.host.units.skerry_section import KEYS as SKERRY_KEYS
from skerry.host.units.skerry_section import SECTION as SKERRY
from skerry.host.units.skerry_section import Wishes, wishes
from skerry.host.units.specifiers import expand
from skerry.kit.errors import Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from skerry.host.units.name import UnitName
    from skerry.host.units.unit_file import Option, UnitFile

FLEET = "X-Fleet"

# What each recognised key means today; the aliases are those that fleet itself called deprecated.
KEYS = {
    "MachineID": "MachineID",
    "X-ConditionMachineID": "MachineID",
    "X-ConditionMachineBootID": "MachineID",
    "MachineOf": "MachineOf",
    "X-ConditionMachineOf": "MachineOf",
    "MachineMetadata": "MachineMetadata",
    "X-ConditionMachineMetadata": "MachineMetadata",
    "Conflicts": "Conflicts",
    "X-Conflicts": "Conflicts",
    "Global": "Global",
    "Replaces": "Replaces",
}
_MACHINE_ID_ORDER = ("MachineID", "X-ConditionMachineID", "X-ConditionMachineBootID")
_TRUE = frozenset({"true", "yes", "1", "on", "t"})
_FALSE = frozenset({"false", "no", "0", "off", "f", ""})
_QUOTED_WORDS = re.compile(r'"([^"]*)"')
_FORBIDDEN_PAIRS = (
    ("MachineID", "MachineOf"),
    ("MachineID", "Conflicts"),
    ("MachineID", "Global"),
    ("MachineID", "Replaces"),
    ("Global", "MachineOf"),
    ("Global", "Replaces"),
    ("Conflicts", "Replaces"),
    ("MachineID", "Prefer"),
    ("MachineID", "Spread"),
    ("MachineOf", "Prefer"),
    ("MachineOf", "Spread"),
    ("Global", "Prefer"),
    ("Global", "Spread"),
    ("Global", "Fence"),
)


@dataclass(frozen=True, slots=True)
class Requirements(Wishes):
    """What [X-Fleet] asks for, and [X-Skerry] beside it; empty tuples and None ask for nothing.

    `metadata` is a list of keys with the values allowed for each: or between values, and between keys.
    `conflicts` and `replaces` are globs of unit names.
    """

    machine_id: str | None = None
    machine_of: tuple[str, ...] = ()
    metadata: tuple[tuple[str, frozenset[str]], ...] = ()
    conflicts: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    is_global: bool = False


def requirements(unit: UnitFile, name: UnitName) -> tuple[Requirements, tuple[Problem, ...]]:
    """The requirements of a unit, and everything that is wrong with them, on the author's lines."""
    problems = _unknown(unit)
    values: dict[str, list[tuple[str, Option]]] = {}
    for option in unit.options:
        if option.section == FLEET and option.name in KEYS:
            for value in _split(expand(option.joined, name)):
                values.setdefault(KEYS[option.name], []).append((value, option))
    metadata = _metadata(unit, values.get("MachineMetadata", []), problems)
    wishing, wished, wrong = wishes(unit, name)
    problems.extend(wrong)
    wanted = Requirements(
        machine_id=_machine_id(values.get("MachineID", [])),
        machine_of=tuple(v for v, _ in values.get("MachineOf", []) if v),
        metadata=metadata,
        conflicts=tuple(word for v, _ in values.get("Conflicts", []) for word in v.split()),
        replaces=tuple(v for v, _ in values.get("Replaces", []) if v),
        is_global=_global(unit, values.get("Global", []), problems),
        **{field.name: getattr(wishing, field.name) for field in fields(Wishes)},
    )
    present = {key: found[0][1] for key, found in values.items() if key != "Global" or wanted.is_global}
    present.update(wished)
    _globs(unit, values, problems)
    _combinations(unit, wanted, present, problems)
    return wanted, tuple(problems)


def matches(pattern: str, name: str) -> bool:
    """Whether a glob of Conflicts= or Replaces= means this unit."""
    return glob_matches(pattern, name)


def _split(value: str) -> list[str]:
    if len(value) >= 2 and value.startswith('"') and value.endswith('"'):
        return _QUOTED_WORDS.findall(value)
    return [value]


def _machine_id(values: list[tuple[str, Option]]) -> str | None:
    for key in _MACHINE_ID_ORDER:
        for value, option in values:
            if option.name == key and value:
                return value
    return None


def _metadata(
    unit: UnitFile, values: list[tuple[str, Option]], problems: list[Problem]
) -> tuple[tuple[str, frozenset[str]], ...]:
    allowed: dict[str, set[str]] = {}
    for value, option in values:
        parts = value.split("=")
        if len(parts) == 2 and all(parts):
            allowed.setdefault(parts[0], set()).add(parts[1])
        else:
            message = f"{option.name}={value} is not key=value and is ignored"
            problems.append(Problem(unit.file, option.line, message, severity=Severity.WARNING))
    return tuple((key, frozenset(allowed[key])) for key in allowed)


def _global(unit: UnitFile, values: list[tuple[str, Option]], problems: list[Problem]) -> bool:
    if not values:
        return False
    value, option = values[-1]
    if value.lower() not in _TRUE | _FALSE:
        message = f"Global={value} is neither true nor false and counts as false"
        problems.append(Problem(unit.file, option.line, message, severity=Severity.WARNING))
    return value.lower() in _TRUE


def _globs(unit: UnitFile, values: dict[str, list[tuple[str, Option]]], problems: list[Problem]) -> None:
    for key in ("Conflicts", "Replaces"):
        for value, option in values.get(key, []):
            for glob in value.split() if key == "Conflicts" else [value]:
                if compile_glob(glob) is None:
                    message = f"{key}={glob} is no glob and matches no unit"
                    problems.append(Problem(unit.file, option.line, message, severity=Severity.WARNING))


def _combinations(
    unit: UnitFile, wanted: Requirements, present: dict[str, Option], problems: list[Problem]
) -> None:
    for one, other in _FORBIDDEN_PAIRS:
        if one in present and other in present:
            line = max(present[one].line, present[other].line)
            problems.append(Problem(unit.file, line, f"{one}= and {other}= cannot stand together"))
    for peer in wanted.machine_of:
        for key, globs in (("Conflicts", wanted.conflicts), ("Replaces", wanted.replaces)):
            if any(matches(glob, peer) for glob in globs):
                message = f"MachineOf={peer} is also meant by {key}="
                problems.append(Problem(unit.file, present["MachineOf"].line, message))


def _unknown(unit: UnitFile) -> list[Problem]:
    known = {FLEET: tuple(KEYS), SKERRY: SKERRY_KEYS}
    return [
        Problem(
            unit.file,
            option.line,
            f"{option.name}= in [{option.section}] is not known and has no effect",
            near_name(option.name, known[option.section]),
            severity=Severity.WARNING,
        )
        for option in unit.options
        if option.section in known and option.name not in known[option.section]
    ]


def near_name(name: str, known: Sequence[str], show: Callable[[str], str] = lambda n: f"{n}=") -> str | None:
    """A hint with the known name that was probably meant, None where nothing is near."""
    lowered = {k.lower(): k for k in reversed(known)}
    near = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.6)
    return f"did you mean {show(lowered[near[0]])}?" if near else None
