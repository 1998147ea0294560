"""[X-Skerry]: room, host ports, preferences and fencing, and what the rest of a unit says of them."""

from __future__ import annotations

import pytest

from skerry.host.units.name import parse_name
from skerry.host.units.ports import HostPort
from skerry.host.units.requirements import Requirements, requirements
from skerry.host.units.unit_file import parse_unit
from skerry.kit.errors import Problem, Severity

MIB = 1024 * 1024


def read(text: str, name: str = "web@1.container") -> tuple[Requirements, tuple[Problem, ...]]:
    return requirements(parse_unit(text, name), parse_name(name))


def section(*lines: str, name: str = "web@1.container") -> tuple[Requirements, tuple[Problem, ...]]:
    return read("\n".join(["[X-Skerry]", *lines]), name)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), Requirements()),
        (("Memory=512M",), Requirements(memory_bytes=512 * MIB)),
        (("Memory=1.5G",), Requirements(memory_bytes=1536 * MIB)),
        (("Memory=1GiB", "Memory=1048576"), Requirements(memory_bytes=MIB)),
        (("CPU=0.5",), Requirements(cpu_millis=500)),
        (("CPU=2",), Requirements(cpu_millis=2000)),
        (("CPU=50%",), Requirements(cpu_millis=500)),
        (("HostPort=80 53/udp",), Requirements(ports=(HostPort("tcp", 80, 80), HostPort("udp", 53, 53)))),
        (("HostPort=80%i",), Requirements(ports=(HostPort("tcp", 801, 801),))),
        (("HostPort=80", "HostPort=80"), Requirements(ports=(HostPort("tcp", 80, 80),))),
        (
            ("Prefer=disk=ssd", 'Prefer="a=b" "c=d"'),
            Requirements(prefer=(("disk", "ssd"), ("a", "b"), ("c", "d"))),
        ),
        (("Spread=zone rack",), Requirements(spread=("zone", "rack"))),
        (("Fence=yes",), Requirements(fence=True)),
        (("Fence=yes", "Fence=no"), Requirements(fence=False)),
    ],
)
def test_meanings(lines: tuple[str, ...], expected: Requirements) -> None:
    assert section(*lines) == (expected, ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[Service]\nMemoryMax=64M\nCPUQuota=150%\n", Requirements(memory_bytes=64 * MIB, cpu_millis=1500)),
        ("[Service]\nMemoryLimit=64M\n", Requirements(memory_bytes=64 * MIB)),
        ("[Container]\nMemory=64m\n", Requirements(memory_bytes=64 * MIB)),
        ("[Container]\nMemory=64m\n[X-Skerry]\nMemory=1M\n", Requirements(memory_bytes=MIB)),
        ("[Container]\nMemory=64m\n[X-Skerry]\nMemory=0\n", Requirements()),
        ("[Service]\nCPUQuota=50%\n[X-Skerry]\nCPU=1\n", Requirements(cpu_millis=1000)),
        ("[Service]\nMemoryMax=infinity\n", Requirements()),
        ("[Service]\nMemoryMax=20%\n", Requirements()),
        ("[Container]\nPublishPort=8080:80\n", Requirements(ports=(HostPort("tcp", 8080, 8080),))),
        ("[Pod]\nPublishPort=90%i:80/udp\n", Requirements(ports=(HostPort("udp", 901, 901),))),
        ("[Container]\nPublishPort=80\n", Requirements()),
        ("[Service]\nPublishPort=80:80\n", Requirements()),
    ],
)
def test_what_the_rest_of_a_unit_says(text: str, expected: Requirements) -> None:
    assert read(text) == (expected, ())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Memory=lots", "Memory=lots is no size"),
        ("Memory=", "Memory= is no size"),
        ("Memory=-1", "is no size"),
        ("Memory=99999999E", "is no size"),
        ("CPU=all", "CPU=all is no number of processors"),
        ("CPU=-1", "is no number"),
        ("HostPort=http", "is neither a port nor a range"),
        ("HostPort=70000", "the highest port"),
        ("HostPort=80 70-90", "clashes with 80/tcp of the same unit"),
        ("Prefer=ssd", "Prefer=ssd is not key=value"),
        ("Spread=zone=a", "is not the key of a label"),
        ("Fence=maybe", "neither yes nor no"),
    ],
)
def test_a_wrong_value_is_an_error_on_its_line(line: str, said: str) -> None:
    problems = section("# the line before", line)[1]
    assert [(p.severity, p.line) for p in problems] == [(Severity.ERROR, 3)]
    assert said in problems[0].message


@pytest.mark.parametrize(
    ("fleet", "skerry"),
    [
        ("MachineID=a", "Prefer=a=b"),
        ("MachineID=a", "Spread=a"),
        ("MachineOf=a.service", "Prefer=a=b"),
        ("MachineOf=a.service", "Spread=a"),
        ("Global=yes", "Prefer=a=b"),
        ("Global=yes", "Spread=a"),
        ("Global=yes", "Fence=yes"),
    ],
)
def test_what_cannot_stand_together(fleet: str, skerry: str) -> None:
    problems = read(f"[X-Fleet]\n{fleet}\n[X-Skerry]\n{skerry}\n")[1]
    assert [(p.severity, p.line) for p in problems] == [(Severity.ERROR, 4)]
    assert "cannot stand together" in problems[0].message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[X-Skerry]\nReplicas=2\n", "Replicas= in [X-Skerry] is not known"),
        ("[Container]\nPublishPort=${PORT}:80\n", "no host port is kept for it"),
    ],
)
def test_what_has_no_effect_is_a_warning(text: str, said: str) -> None:
    problems = read(text)[1]
    assert [(p.severity, p.line) for p in problems] == [(Severity.WARNING, 2)]
    assert said in problems[0].message


def test_spread_of_a_single_unit_is_a_warning() -> None:
    assert section("Spread=zone", name="web.container")[1][0].severity is Severity.WARNING


def test_a_misspelt_key_gets_a_hint() -> None:
    assert section("Memroy=1G")[1][0].hint == "did you mean Memory=?"


def test_a_template_is_not_blamed_for_what_its_instances_will_say() -> None:
    assert section("HostPort=%i", "Memory=%i", name="web@.container") == (Requirements(), ())
