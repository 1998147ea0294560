"""[X-Fleet]: what each key means, and which combinations contradict each other."""

from __future__ import annotations

import pytest

from skerry.host.units.name import parse_name
from skerry.host.units.requirements import Requirements, requirements
from skerry.host.units.specifiers import expand
from skerry.host.units.unit_file import parse_unit
from skerry.kit.errors import Problem, Severity


def read(
    *lines: str, name: str = "web@1.service", section: str = "X-Fleet"
) -> tuple[Requirements, tuple[Problem, ...]]:
    text = "\n".join(["[Service]", "ExecStart=/bin/true", f"[{section}]", *lines])
    return requirements(parse_unit(text, name), parse_name(name))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), Requirements()),
        (("MachineID=abc",), Requirements(machine_id="abc")),
        (("MachineID=a", "MachineID=b"), Requirements(machine_id="a")),
        (("X-ConditionMachineBootID=b", "X-ConditionMachineID=a"), Requirements(machine_id="a")),
        (("MachineOf=a b.service",), Requirements(machine_of=("a b.service",))),
        (('MachineOf="a.service" "b.service"',), Requirements(machine_of=("a.service", "b.service"))),
        (("MachineOf=%p@2.service",), Requirements(machine_of=("web@2.service",))),
        (("Conflicts=a.* b.*", "X-Conflicts=%p@*"), Requirements(conflicts=("a.*", "b.*", "web@*"))),
        (("Replaces=a b",), Requirements(replaces=("a b",))),
        (("Global=true",), Requirements(is_global=True)),
        (("Global=ON",), Requirements(is_global=True)),
        (("Global=true", "Global=no"), Requirements(is_global=False)),
        (
            ("MachineMetadata=region=us", 'MachineMetadata="region=eu" "disk=ssd"'),
            Requirements(metadata=(("region", frozenset({"us", "eu"})), ("disk", frozenset({"ssd"})))),
        ),
        (
            ("Global=true", "MachineMetadata=a=b", "Conflicts=x*"),
            Requirements(is_global=True, metadata=(("a", frozenset({"b"})),), conflicts=("x*",)),
        ),
    ],
)
def test_meanings(lines: tuple[str, ...], expected: Requirements) -> None:
    assert read(*lines) == (expected, ())


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("MachineID=a", "MachineOf=b.service"), "MachineID= and MachineOf="),
        (("MachineID=a", "Conflicts=b"), "MachineID= and Conflicts="),
        (("MachineID=a", "Global=true"), "MachineID= and Global="),
        (("MachineID=a", "Replaces=b"), "MachineID= and Replaces="),
        (("Global=true", "MachineOf=b.service"), "Global= and MachineOf="),
        (("Global=true", "Replaces=b"), "Global= and Replaces="),
        (("Conflicts=a", "Replaces=b"), "Conflicts= and Replaces="),
        (("MachineOf=b.service", "Conflicts=b.*"), "MachineOf=b.service is also meant by Conflicts="),
        (("MachineOf=b.service", "Replaces=b*"), "MachineOf=b.service is also meant by Replaces="),
    ],
)
def test_contradictions_are_errors_on_their_line(lines: tuple[str, ...], said: str) -> None:
    problems = read(*lines)[1]
    assert [p.severity for p in problems] == [Severity.ERROR]
    assert said in problems[0].message
    assert problems[0].line in (4, 5)


@pytest.mark.parametrize("lines", [("MachineID=a", "MachineMetadata=b=c"), ("MachineID=a", "Global=false")])
def test_these_go_together(lines: tuple[str, ...]) -> None:
    assert read(*lines)[1] == ()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("MachineIDs=a", "MachineIDs= in [X-Fleet] is not known"),
        ("MachineMetadata=a=b=c", "is not key=value"),
        ("MachineMetadata=a=", "is not key=value"),
        ("Global=perhaps", "neither true nor false"),
    ],
)
def test_what_has_no_effect_is_a_warning(line: str, said: str) -> None:
    problems = read(line)[1]
    assert [(p.severity, p.line) for p in problems] == [(Severity.WARNING, 4)]
    assert said in problems[0].message


def test_a_misspelt_key_gets_a_hint() -> None:
    assert read("MachineMetadatas=a=b")[1][0].hint == "did you mean MachineMetadata=?"


def test_a_glob_that_is_none_is_a_warning() -> None:
    problems = read("Conflicts=a* b[")[1]
    assert [(p.severity, p.line) for p in problems] == [(Severity.WARNING, 4)]
    assert "Conflicts=b[ is no glob" in problems[0].message


def test_specifiers() -> None:
    name = parse_name("web@1.service")
    assert expand("%n %N %p %i %z %", name) == "web@1.service web@1 web 1 %z %"
    assert expand("%p-%i", parse_name("web.service")) == "web-"
