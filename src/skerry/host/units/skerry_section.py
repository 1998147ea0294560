"""What [X-Skerry] asks, and what the rest of a unit says to the same end.

    Memory=512M             taken for this unit alone; else MemoryMax=, or Memory= of [Container]
    CPU=0.5  CPU=50%        processors; else CPUQuota=
    HostPort=8080 53/udp    ports, beside those that PublishPort= names
    Prefer=disk=ssd         rather where the label is so
    Spread=zone             instances of one template evenly over the values of a label
    Fence=yes               never on two machines, not even when one of them is cut off

The specifiers of [X-Fleet] are replaced here, too. Here a wrong value is an error: nothing was ever written
for this section that must be put up with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.host.units.ports import HostPort, PortError, parse_host_port, published_port
from skerry.host.units.specifiers import expand
from skerry.kit.errors import Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from skerry.host.units.name import UnitName
    from skerry.host.units.unit_file import Option, UnitFile

SECTION = "X-Skerry"
KEYS = ("Memory", "CPU", "HostPort", "Prefer", "Spread", "Fence")

_TRUE = frozenset({"true", "yes", "1", "on", "t"})
_FALSE = frozenset({"false", "no", "0", "off", "f"})
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTPE]?)(?:i?B)?", re.IGNORECASE)
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)(%?)")
_QUOTED_WORDS = re.compile(r'"([^"]*)"')
_PUBLISHING = ("Container", "Pod", "Kube")
_LIMITED = ("Service", "Slice", "Socket", "Mount", "Swap")
_LARGEST_BYTES = 2**60
_MOST_PROCESSORS = 2**20


@dataclass(frozen=True, slots=True)
class Wishes:
    """The part of Requirements that comes from here; defaults ask for nothing.

    Room and ports are taken for the unit alone. Wishes keep a unit from no machine: `prefer` labels, the more
    of them the better, and `spread` the instances of a template over a label's values.
    """

    memory_bytes: int = 0
    cpu_millis: int = 0
    ports: tuple[HostPort, ...] = ()
    prefer: tuple[tuple[str, str], ...] = ()
    spread: tuple[str, ...] = ()
    fence: bool = False


def wishes(unit: UnitFile, name: UnitName) -> tuple[Wishes, dict[str, Option], list[Problem]]:
    """What is asked; the option by which each key that asks for something does so; and what is wrong."""
    reader = _Reader(unit, name)
    memory, cpu = reader.memory_bytes(), reader.cpu_millis()
    ports, prefer, spread = reader.ports(), reader.prefer(), reader.spread()
    found = Wishes(memory, cpu, ports, prefer, spread, reader.fence())
    return found, reader.present, reader.problems


def parse_size(text: str) -> int | None:
    """Bytes, as systemd and Podman write them: 512M, 1.5G, 1048576; None for anything else."""
    found = _SIZE.fullmatch(text)
    if found is None:
        return None
    size = float(found[1]) * 1024 ** " KMGTPE".index(found[2].upper() or " ")
    return int(size) if size <= _LARGEST_BYTES else None


class _Reader:
    """One unit; what is wrong is collected on the way."""

    def __init__(self, unit: UnitFile, name: UnitName) -> None:
        self.unit = unit
        self.name = name
        self.present: dict[str, Option] = {}
        self.problems: list[Problem] = []
        self._by_name: dict[tuple[str, str], list[Option]] = {}
        for option in unit.options:
            self._by_name.setdefault((option.section, option.name), []).append(option)

    def memory_bytes(self) -> int:
        for text, option in self._last("Memory"):
            size = parse_size(text)
            if size is None:
                self._error(option, f"Memory={text} is no size", "write it like 512M or 2G")
            return size or 0
        places = [(section, key) for key in ("MemoryMax", "MemoryLimit") for section in _LIMITED]
        limits = [self._value_at(*place) for place in (*places, ("Container", "Memory"))]
        # What is no size here (infinity, a share of the machine) asks for no room of its own.
        return next((size for text in limits if text and (size := parse_size(text))), 0)

    def cpu_millis(self) -> int:
        for text, option in self._last("CPU"):
            found = _NUMBER.fullmatch(text)
            if found is None or float(found[1]) > _MOST_PROCESSORS:
                self._error(option, f"CPU={text} is no number of processors", "write it like 0.5, 2 or 50%")
                return 0
            return round(float(found[1]) * (10 if found[2] else 1000))
        quotas = [self._value_at(section, "CPUQuota") for section in _LIMITED]
        found_quota = next((q for text in quotas if text and (q := _NUMBER.fullmatch(text)) and q[2]), None)
        return round(float(found_quota[1]) * 10) if found_quota else 0

    def ports(self) -> tuple[HostPort, ...]:
        taken: dict[HostPort, None] = {}
        for option in self.unit.options:
            if option.name == "PublishPort" and option.section in _PUBLISHING:
                text = self._value(option)
                try:
                    self._take(None if text is None else published_port(text), option, taken)
                except PortError as error:
                    message = f"{error}; no host port is kept for it"
                    hint = f"name the port with HostPort= in [{SECTION}]"
                    self._add(option, message, hint, severity=Severity.WARNING)
        for text, option in self._words("HostPort"):
            try:
                self._take(parse_host_port(text), option, taken)
            except PortError as error:
                self._error(option, f"HostPort={error}")
        return tuple(sorted(taken))

    def _take(self, port: HostPort | None, option: Option, taken: dict[HostPort, None]) -> None:
        if port is None or port in taken:
            return
        other = next((other for other in taken if other.clashes(port)), None)
        if other is not None:
            self._error(option, f"{option.name}= takes {port}, which clashes with {other} of the same unit")
        taken[port] = None

    def prefer(self) -> tuple[tuple[str, str], ...]:
        wanted: dict[tuple[str, str], None] = {}
        for text, option in self._quoted("Prefer"):
            key, _, value = text.partition("=")
            if not key or not value or "=" in value:
                self._error(option, f"Prefer={text} is not key=value")
            else:
                wanted[key, value] = None
                self.present["Prefer"] = option
        return tuple(wanted)

    def spread(self) -> tuple[str, ...]:
        wanted: dict[str, None] = {}
        for text, option in self._words("Spread"):
            if "=" in text:
                self._error(
                    option,
                    f"Spread={text} is not the key of a label",
                    f"write Spread={text.partition('=')[0]}",
                )
                continue
            wanted[text] = None
            self.present["Spread"] = option
            if self.name.instance is None:
                message = "Spread= spreads the instances of a template, and this unit is none"
                self._add(option, message, severity=Severity.WARNING)
        return tuple(wanted)

    def fence(self) -> bool:
        for text, option in self._last("Fence"):
            if text.lower() not in _TRUE | _FALSE:
                self._error(option, f"Fence={text} is neither yes nor no")
            if text.lower() in _TRUE:
                self.present["Fence"] = option
                return True
        return False

    def _all(self, key: str) -> Iterator[tuple[str, Option]]:
        for option in self._by_name.get((SECTION, key), ()):
            text = self._value(option)
            if text is not None:
                yield text, option

    def _value_at(self, section: str, key: str) -> str | None:
        found = self._by_name.get((section, key))
        return found[-1].joined if found else None

    def _last(self, key: str) -> list[tuple[str, Option]]:
        return list(self._all(key))[-1:]

    def _words(self, key: str) -> Iterator[tuple[str, Option]]:
        for text, option in self._all(key):
            for word in text.replace('"', " ").split():
                yield word, option

    def _quoted(self, key: str) -> Iterator[tuple[str, Option]]:
        for text, option in self._all(key):
            if len(text) >= 2 and text.startswith('"') and text.endswith('"'):
                yield from ((word, option) for word in _QUOTED_WORDS.findall(text))
            else:
                yield text, option

    def _value(self, option: Option) -> str | None:
        """None where the value of a template is only known of its instances."""
        if self.name.is_template and any(s in option.value for s in ("%i", "%n", "%N")):
            return None
        return expand(option.joined, self.name)

    def _error(self, option: Option, message: str, hint: str | None = None) -> None:
        self._add(option, message, hint)

    def _add(
        self, option: Option, message: str, hint: str | None = None, *, severity: Severity = Severity.ERROR
    ) -> None:
        self.problems.append(Problem(self.unit.file, option.line, message, hint, severity=severity))
