"""What the boot says of provisioning, and `skerry provision` on a workstation."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from skerry.entry import provision as boot
from skerry.entry.cli import main
from skerry.entry.cli.provision import provision
from skerry.host.provision.report import Outcome, Report, read_report, write_report
from skerry.kit.errors import Problem, Severity

DOCUMENTS = Path(__file__).parents[2] / "documents" / "cloud-config"
PROBLEMS = (
    Problem("cloud-config", 3, "a thing is wrong", hint="mend it"),
    Problem("cloud-config", 5, "a thing is odd", severity=Severity.WARNING),
)
STEPS = (
    Outcome("write /etc/a", "it differs", 7, done=True),
    Outcome("write /etc/b", "it differs", 8, done=False, message="no room"),
)


def report(steps: tuple[Outcome, ...] = STEPS, problems: tuple[Problem, ...] = PROBLEMS) -> Report:
    return Report("partly", "early", "credential", "0" * 64, "boot", 1.5, steps, problems, ("a note",))


class Terminal:
    """Runs `skerry provision …` and tells status, stdout and stderr."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        status = main.run(provision, list(arguments), name="skerry provision")
        output = self._captured.readouterr()
        return status, output.out, output.err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


def test_the_journal_gets_a_line_and_a_level_each() -> None:
    assert list(boot.journal_lines(report())) == [
        ("<6>", "write /etc/a: it differs"),
        ("<3>", "cloud-config:8: no room"),
        ("<3>", "cloud-config:3: error: a thing is wrong (mend it)"),
        ("<4>", "cloud-config:5: warning: a thing is odd"),
        ("<6>", "cloud-config from credential: partly"),
    ]


def test_the_console_gets_errors_only_and_not_many() -> None:
    assert boot.console_lines(report((), (PROBLEMS[1],))) == []
    assert boot.console_lines(report())[:2] == [
        "cloud-config:8: no room",
        "cloud-config:3: error: a thing is wrong (mend it)",
    ]
    many = boot.console_lines(report((), (PROBLEMS[0],) * 50))
    assert len(many) == boot.MOST_CONSOLE_LINES + 2
    assert many[-2] == "… and 44 more"


def test_the_console_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "console"
    boot.tell_console(["one", "two"], lambda: os.open(path, os.O_WRONLY | os.O_CREAT))
    assert path.read_bytes() == b"skerry: one\r\nskerry: two\r\n"


def test_no_console_is_no_fault() -> None:
    def absent() -> int:
        raise FileNotFoundError

    boot.tell_console(["one"], absent)


def test_wrong_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert boot.main(["--nonsense"]) == 2
    assert "usage" in capsys.readouterr().err


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_report(tmp_path) is None
    (tmp_path / "var/lib/skerry/provision").mkdir(parents=True)
    write_report(report(), tmp_path)
    assert read_report(tmp_path) == report()
    assert (tmp_path / "var/lib/skerry/provision/report.json").stat().st_mode & 0o777 == 0o600


def test_a_report_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    from skerry.host.provision.errors import ProvisionError

    path = tmp_path / "var/lib/skerry/provision/report.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"version": 2}')
    with pytest.raises(ProvisionError, match="is of version 2, and this Skerry reads version 1"):
        read_report(tmp_path)


def test_check_shows_each_problem_on_its_line(run: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "doc.yaml"
    file.write_text("#cloud-config\nhostname: a_b\nruncmd: [ls]\n")
    status, stdout, stderr = run("check", str(file))
    assert status == 1
    assert f"{file}:2: error: 'a_b' is not a host name\n    hint: letters" in stdout
    assert f"{file}:3: warning: 'runcmd' is a key of the other cloud-init\n    hint: write a unit" in stdout
    assert stderr == f"{file}: 1 error, 1 warning\n"


def test_check_is_content_with_warnings(run: Terminal) -> None:
    status, _, stderr = run("check", str(DOCUMENTS / "cluster-member.yaml"))
    assert (status, stderr.strip().rpartition(": ")[2]) == (0, "6 warnings")


def test_check_reads_standard_input_and_answers_in_json(
    run: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"#cloud-config\nhostname: a_b\n")))
    status, stdout, _ = run("check", "-", "--json")
    assert status == 1
    answer = json.loads(stdout)
    assert (answer["file"], answer["errors"], answer["warnings"]) == ("<stdin>", 1, 0)
    assert answer["problems"][0]["line"] == 2
    assert answer["problems"][0]["where"] == "hostname"


def test_apply_can_be_tried_without_effect(run: Terminal, tmp_path: Path) -> None:
    status, stdout, _ = run("apply", "--dry-run", "--root", str(tmp_path), str(DOCUMENTS / "skerry.yaml"))
    assert status == 0
    assert stdout.startswith("name the machine web1.example.com: the document gives the name\n")
    assert list(tmp_path.iterdir()) == []
