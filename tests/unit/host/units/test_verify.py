"""The messages of systemd-analyze and of Podman's generator, on the author's lines."""

from __future__ import annotations

import pytest

from skerry.host.units.check import check_files, check_unit, refuse
from skerry.host.units.errors import UnitRefusedError
from skerry.host.units.name import is_file_name, parse_name
from skerry.host.units.quadlet import companions_of, service_of
from skerry.host.units.unit_file import parse_unit
from skerry.host.units.verify import read_messages
from skerry.kit.errors import Problem, Severity

UNIT = parse_unit(
    "[Unit]\nAfterr=x\n[Service]\nExecStart=/bin/none \\\n a\nExecStop=-/bin/gone b\n", "mine/a.service"
)
NAME = parse_name("a.service")


@pytest.mark.parametrize(
    ("said", "line", "severity", "message"),
    [
        (
            "/tmp/x/a.service:2: Unknown key 'Afterr' in section [Unit], ignoring.",
            2,
            Severity.WARNING,
            "Unknown key 'Afterr' in section [Unit], ignoring",
        ),
        (
            "a.service: Command /bin/none is not executable: No such file or directory",
            4,
            Severity.WARNING,
            "/bin/none is not an executable file on this machine",
        ),
        (
            "a.service: Command /bin/gone is not executable: No such file or directory",
            6,
            Severity.WARNING,
            "/bin/gone is not an executable file on this machine",
        ),
        (
            "a.service: Service has no ExecStart=, ExecStop=, or SuccessAction=. Refusing.",
            None,
            Severity.ERROR,
            "Service has no ExecStart=, ExecStop=, or SuccessAction=",
        ),
    ],
)
def test_messages_of_systemd(said: str, line: int | None, severity: Severity, message: str) -> None:
    assert list(read_messages([said, said], NAME, UNIT)) == [
        Problem("mine/a.service", line, message, severity=severity)
    ]


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Unit a.service has a bad unit file setting.",
        "/usr/lib/systemd/system/other.service:5: Unknown key",
        "other.service: Command /bin/none is not executable",
    ],
)
def test_messages_about_other_things_are_dropped(said: str) -> None:
    assert list(read_messages([said], NAME, UNIT)) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (
            "[Container]\nImage=app.image\nVolume=data.volume:/data:ro\nVolume=/srv:/srv",
            ("app.image", "data.volume"),
        ),
        ("[Container]\nImage=x\nNetwork=net.network:ip=10.0.0.2\nPod=my.pod", ("my.pod", "net.network")),
        ("[Container]\nImage=x\nMount=type=volume,source=data.volume,destination=/x", ("data.volume",)),
        ("[Container]\nImage=built.build", ("built.build",)),
        ("[Container]\nImage=docker.io/library/x.volume.y:1\nVolume=named:/data", ()),
        ("[Pod]\nNetwork=net.network\nVolume=v.volume:/v", ("net.network", "v.volume")),
    ],
)
def test_companions(text: str, names: tuple[str, ...]) -> None:
    assert companions_of(parse_unit(text)) == names


@pytest.mark.parametrize(
    ("name", "text", "service"),
    [
        ("app.container", "[Container]\nImage=x", "app.service"),
        ("app.container", "[Container]\nImage=x\nServiceName=shop", "shop.service"),
        ("data.volume", "[Volume]", "data-volume.service"),
        ("a.timer", "[Timer]", "a.timer"),
    ],
)
def test_the_service_that_runs(name: str, text: str, service: str) -> None:
    assert service_of(parse_name(name), parse_unit(text)) == service


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("nosuffix", "[A]\nb=c", "no suffix"),
        ("a.busname", "[A]\nb=c", "since version"),
        ("a.service", "", "empty"),
        ("a.service", "nonsense", "expected Name=value"),
        ("a.container", "[Service]\nType=simple", "needs a [Container] section"),
    ],
)
def test_units_that_need_no_program_to_be_refused(name: str, text: str, said: str) -> None:
    problems = check_unit(name, text, file="mine")
    assert [p.severity for p in problems] == [Severity.ERROR]
    assert problems[0].file == "mine"
    assert said in problems[0].message
    with pytest.raises(UnitRefusedError, match="is refused: 1 problem"):
        refuse(name, problems)


def test_drop_ins_are_checked_too() -> None:
    problems = check_unit("a.scope", "", drop_ins=[("../x.conf", ""), ("a.txt", ""), ("ok.conf", "[A]\nbad")])
    assert len(problems) == 1  # the unit itself is out of the question
    problems = check_unit(
        "a.service", "nonsense", drop_ins=[("../x.conf", ""), ("a.txt", ""), ("ok.conf", "[A]\nbad")]
    )
    assert [p.file for p in problems] == [
        "a.service",
        "a.service.d/../x.conf",
        "a.service.d/a.txt",
        "a.service.d/ok.conf",
    ]


def test_warnings_refuse_nothing() -> None:
    refuse("a.service", [Problem("a", 1, "odd", severity=Severity.WARNING)])


@pytest.mark.parametrize(
    ("name", "plain"),
    [("10-a.conf", True), ("a/b", False), ("..", False), (".a", False), ("", False), ("a" * 256, False)],
)
def test_file_names(name: str, *, plain: bool) -> None:
    assert is_file_name(name) is plain


@pytest.mark.parametrize(
    ("name", "file", "said"),
    [
        ("a.container", "a.env", None),
        ("a.kube", "../../etc/passwd", "not a plain file name"),
        ("a.container", "b.volume", "is a unit of its own"),
        ("a.service", "a.env", "only Quadlet files"),
    ],
)
def test_files_beside_a_quadlet(name: str, file: str, said: str | None) -> None:
    problems = check_files(name, [(file, "")])
    assert [said in p.message for p in problems if said] == ([True] if said else [])
    assert bool(problems) is bool(said)
