"""`units` and `coreos.units` as values: where each file belongs, and what systemd will call the unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.host.provision.config import DropIn, Place, Unit
from skerry.host.provision.document import Mapping, Scalar
from skerry.host.provision.keys import COMMANDS, REPLACED_SERVICES
from skerry.host.provision.values import flag, tables, text
from skerry.host.units.errors import UnitFileError, UnitNameError
from skerry.host.units.name import UnitName, generated_service, parse_name
from skerry.host.units.unit_file import UnitFile, parse_unit

if TYPE_CHECKING:
    from skerry.host.provision.check import Problems

_NETWORK_SUFFIXES = (".network", ".netdev", ".link")


def units(written: list[tuple[Mapping, str]], problems: Problems) -> tuple[Unit, ...]:
    """All units in order; `written` pairs each mapping with its place in the document."""
    first: dict[str, int] = {}
    found = []
    for table, where in written:
        unit = _unit(table, where, problems)
        if unit is None:
            continue
        if unit.name in first:
            said = f"the unit {unit.name} stands twice, first on line {first[unit.name]}"
            problems.warning(unit.line, said, "join both", where=where)
        first.setdefault(unit.name, unit.line)
        found.append(unit)
    return tuple(found)


def _unit(table: Mapping, where: str, problems: Problems) -> Unit | None:
    name = text(table, "name")
    if name is None:
        problems.error(table.line, "a unit needs a name", "as in `name: web.service`", where=where)
        return None
    content = text(table, "content")
    parsed = _parsed(table, name, where, problems)
    placed = _placed(name, parsed, table.line_of("name"), where, problems)
    if placed is None:
        return None
    place, service = placed
    if name in REPLACED_SERVICES and content is None and not flag(table, "mask"):
        said = f"{name} is CoreOS's own and does not exist here; this entry is not used"
        problems.warning(table.line_of("name"), said, REPLACED_SERVICES[name], where=where)
        return None
    mask, enable = flag(table, "mask"), flag(table, "enable")
    if mask and content is not None:
        problems.warning(
            table.line_of("content"), f"{name} is masked, so its content is not used", where=where
        )
        content = None
    if enable and place is Place.SYSTEMD and parsed is not None and not parsed.has_section("Install"):
        said = f"{name} has no [Install] section, so `enable` does nothing"
        problems.warning(table.line_of("enable"), said, "add `WantedBy=multi-user.target`", where=where)
        enable = False
    if mask or place is not Place.SYSTEMD:
        enable = False
    return Unit(
        line=table.line,
        name=name,
        place=place,
        service=service,
        content=content,
        drop_ins=_drop_ins(table, name, where, problems),
        command=_command(table, place, where, problems),
        mask=mask,
        enable=enable,
        runtime=flag(table, "runtime"),
    )


def _parsed(table: Mapping, name: str, where: str, problems: Problems) -> UnitFile | None:
    node = table.get("content")
    if not isinstance(node, Scalar):
        return None
    return _read_unit(node, name, f"{where}.content", problems)


def _read_unit(node: Scalar, name: str, where: str, problems: Problems) -> UnitFile | None:
    """The parsed text. systemd skips what it cannot read, so that is a warning and the text is kept."""
    try:
        return parse_unit(node.text, name)
    except UnitFileError as error:
        for problem in error.problems:
            line = node.line + (problem.line or 0) if node.literal else node.line
            problems.warning(line, f"in {name}: {problem.message}", problem.hint, where=where)
    return None


def _placed(
    name: str, parsed: UnitFile | None, line: int, where: str, problems: Problems
) -> tuple[Place, str] | None:
    stem, _, suffix = name.rpartition(".")
    sections = None if parsed is None else {header for header, _ in parsed.sections}
    quadlet_network = suffix == "network" and sections is not None and "Match" not in sections
    if name.endswith(_NETWORK_SUFFIXES) and not quadlet_network:
        if stem and "/" not in name and name.isprintable():
            return Place.NETWORK, name
        problems.error(line, f"{name!r} is not the name of a network file", where=f"{where}.name")
        return None
    try:
        parsed_name = parse_name(name)
    except UnitNameError as error:
        problems.error(line, error.message, error.hint, where=f"{where}.name")
        return None
    return (Place.QUADLET if parsed_name.is_quadlet else Place.SYSTEMD), _service(parsed_name, parsed)


def _service(name: UnitName, parsed: UnitFile | None) -> str:
    section = name.suffix.capitalize()
    chosen = parsed.last(section, "ServiceName") if parsed is not None and name.is_quadlet else None
    return generated_service(name, chosen)


def _drop_ins(table: Mapping, unit: str, where: str, problems: Problems) -> tuple[DropIn, ...]:
    found: dict[str, DropIn] = {}
    for number, entry in enumerate(tables(table, "drop_ins")):
        place = f"{where}.drop_ins[{number}]"
        name, content = text(entry, "name"), text(entry, "content")
        if name is None:
            problems.error(entry.line, "a drop-in needs a name", "as in `name: 10-limits.conf`", where=place)
        elif "/" in name or name.startswith(".") or not name.isprintable() or len(name) > 255:
            problems.error(entry.line_of("name"), f"{name!r} is not a file name", where=f"{place}.name")
        else:
            if not name.endswith(".conf"):
                said = f"systemd reads no drop-in whose name does not end in .conf: {name}"
                problems.warning(entry.line_of("name"), said, f"name it {name}.conf", where=f"{place}.name")
            if name in found:
                said = f"the drop-in {name} stands twice, first on line {found[name].line}"
                problems.warning(entry.line, said, "the last is taken", where=place)
            node = entry.get("content")
            if isinstance(node, Scalar):
                _read_unit(node, f"{unit}.d/{name}", f"{place}.content", problems)
            found[name] = DropIn(entry.line, name, content or "")
    return tuple(found.values())


def _command(table: Mapping, place: Place, where: str, problems: Problems) -> str | None:
    command = text(table, "command")
    if command is None or command == "":
        return None
    line = table.line_of("command")
    if command not in COMMANDS:
        said = f"{command!r} is not a command for a unit"
        problems.error(line, said, f"one of {', '.join(COMMANDS)}", where=f"{where}.command")
        return None
    return None if place is Place.NETWORK else command
