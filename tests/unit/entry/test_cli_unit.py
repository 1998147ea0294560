"""`skerry unit` and `skerry host`, against a daemon with a systemd in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fakes.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

SRC = Path(__file__).parents[3] / "src"
HELLO = "[Unit]\nDescription=Hello\n[Service]\nExecStart=/bin/sleep 100\n"
WHERE = "01234567..."


class Shell:
    """A directory with files of a person, and `skerry` to type."""

    def __init__(self, daemon: Daemon, directory: Path) -> None:
        self.daemon = daemon
        self.directory = directory

    def write(self, name: str, text: str = HELLO) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def skerry(self, *words: str, status: int = 0, directory: str = ".") -> tuple[str, str]:
        """(stdout, stderr) of a command that must exit with `status`."""
        environment = {**os.environ, **self.daemon.environment, "PYTHONPATH": str(SRC)}
        done = subprocess.run(
            [sys.executable, "-m", "skerry.entry.cli.main", *words],
            env=environment,
            cwd=self.directory / directory,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, words) == (status, words), done.stderr
        return done.stdout, done.stderr

    def unit(self, *words: str, status: int = 0) -> tuple[str, str]:
        return self.skerry("unit", *words, status=status)

    def column(self, field: str, verb: str = "list-files") -> list[str]:
        return self.unit(verb, f"--fields={field}", "--no-legend")[0].split()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon")) as running:
        yield running


@pytest.fixture
def shell(daemon: Daemon, tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(daemon, tmp_path)
    yield shell
    names = shell.column("unit")
    if names:
        shell.unit("destroy", *names)


def test_a_unit_goes_through_its_life(shell: Shell) -> None:
    shell.write("hello.service")
    said = [
        shell.unit(*words)[0]
        for words in (
            ("submit", "hello"),
            ("load", "hello"),
            ("start", "hello"),
            ("stop", "hello"),
            ("unload", "hello"),
            ("destroy", "hello"),
        )
    ]
    assert [line.split(f" on {WHERE}")[0].strip() for line in said] == [
        "Unit hello.service inactive",
        "Unit hello.service loaded",
        "Unit hello.service launched",
        "Unit hello.service loaded",
        "Unit hello.service inactive",
        "Destroyed hello.service",
    ]


def test_lists_have_fleetctls_columns(shell: Shell) -> None:
    shell.write("hello.service")
    shell.write("g.service", HELLO + "[X-Fleet]\nGlobal=true\n")
    shell.unit("start", "hello", "g")
    listed = shell.unit("list")[0].splitlines()
    files = shell.unit("list-files")[0].splitlines()
    assert listed[0].split() == ["UNIT", "MACHINE", "ACTIVE", "SUB"]
    assert [line.split()[-2:] for line in listed[1:]] == [["active", "running"]] * 2
    assert files[0].split() == ["UNIT", "HASH", "DSTATE", "STATE", "TARGET"]
    assert files[1].split() == ["g.service", files[1].split()[1], "launched", "launched", "global"]
    assert files[2].split()[:4] == ["hello.service", "cf96eb9", "launched", "launched"]
    assert shell.unit("list-files", "--full", "--no-legend", "--fields=hash")[0].split()[1] == (
        "cf96eb9f64b04bb56ad64db2940dee7454c30f5b"
    )


def test_several_units_and_globs_are_one_command(shell: Shell) -> None:
    shell.write("t@.service")
    shell.write("other.service")
    shell.unit("start", "t@1", "t@2", "other")
    shell.unit("stop", "t@*", "other")
    assert shell.column("state") == ["loaded"] * 3


def test_a_path_names_a_file_elsewhere(shell: Shell) -> None:
    shell.write("sub/deep.service")
    shell.unit("submit", "sub/deep")
    assert shell.column("unit") == ["deep.service"]


def test_drop_ins_and_companions_go_along(shell: Shell) -> None:
    shell.write("web.container", "[Container]\nImage=x\nEnvironmentFile=./web.env\n")
    shell.write("web.env", "A=1\n")
    shell.write("web.container.d/10-more.conf", "[Service]\nRestart=always\n")
    shell.unit("submit", "web.container")
    text = shell.unit("cat", "web.container")[0]
    assert "# web.container.d/10-more.conf\n[Service]\nRestart=always\n" in text
    assert "# web.env\nA=1\n" in text


def test_a_quadlet_brings_the_quadlets_that_it_names(shell: Shell) -> None:
    shell.write("web.container", "[Container]\nImage=x\nVolume=data.volume:/data\nNetwork=net.network\n")
    shell.write("data.volume", "[Volume]\n")
    shell.write("net.network", "[Network]\nDNS=10.0.0.1\n")
    shell.write("other.volume", "[Volume]\n")
    shell.unit("load", "--no-block", "web.container")
    assert shell.column("unit") == ["data.volume", "net.network", "web.container"]
    assert shell.column("dstate") == ["loaded"] * 3


def test_a_file_that_differs_is_said_and_replaced_on_demand(shell: Shell) -> None:
    shell.write("hello.service")
    shell.unit("start", "hello")
    shell.write("hello.service", HELLO.replace("100", "200"))
    _, warning = shell.unit("start", "hello")
    assert "Add --replace to override." in warning
    shell.unit("start", "--replace", "hello")
    assert "sleep 200" in shell.unit("cat", "hello")[0]
    assert shell.column("active", "list") == ["active"]


def test_a_unit_that_fails_fails_the_command(shell: Shell) -> None:
    shell.write("bad.service", "[Service]\nExecStart=/bin/false\n")
    out, error = shell.unit("start", "bad", status=1)
    assert out == ""
    assert "error: unit bad.service: it failed (exit-code)\nhint: `skerry unit status bad.service`" in error


def test_no_block_only_triggers(shell: Shell) -> None:
    shell.write("hello.service")
    assert shell.unit("start", "--no-block", "hello")[0] == "Triggered unit hello.service start\n"


def test_stop_of_an_inactive_unit_fails(shell: Shell) -> None:
    shell.write("hello.service")
    shell.unit("submit", "hello")
    assert "there is nothing to stop" in shell.unit("stop", "hello", status=1)[1]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("start", "nowhere"), 1, "error: unit nowhere.service does not exist\nhint: "),
        (("start", "./nowhere"), 1, "error: there is no file ./nowhere.service"),
        (("status", "nowhere"), 1, "error: unit nowhere.service does not exist"),
        (("start", "a b"), 1, "must not contain ' '"),
        (("start",), 2, "error: Missing argument 'UNIT...'"),
        (("list", "--fields=colour"), 2, "no field is called colour; known are unit, machine"),
        (("fly", "x"), 2, "error: No such command 'fly'"),
    ],
)
def test_refuses_with_a_sentence(shell: Shell, words: tuple[str, ...], status: int, message: str) -> None:
    out, error = shell.unit(*words, status=status)
    assert (out, message in error) == ("", True), error


def test_problems_are_shown_on_the_authors_lines(shell: Shell) -> None:
    shell.write("bad.service", "[Service]\nnonsense\n")
    assert (
        "bad.service:2: error: expected Name=value, found 'nonsense'"
        in shell.unit("submit", "bad", status=1)[1]
    )
    out, error = shell.unit("verify", "bad.service", status=1)
    assert "bad.service:2: error: " in out
    assert "not acceptable: bad.service" in error


def test_status_and_journal_show_what_a_unit_wrote(shell: Shell) -> None:
    shell.write("hello.service")
    shell.unit("start", "hello")
    status = shell.unit("status", "hello")[0]
    assert "● hello.service - Hello\n" in status
    assert "Active: active (running)\n" in status
    assert "here fake[7]: hello.service says 1\n" in status
    assert shell.unit("journal", "-n1", "-f", "--output=cat", "hello")[0] == (
        "hello.service says 0\nhello.service says 1\n"
    )


def test_everything_answers_in_json(shell: Shell) -> None:
    shell.write("hello.service")
    started = json.loads(shell.unit("start", "--json", "hello")[0])
    assert (started["changed"], started["outcomes"][-1]["done"]) == (["hello.service"], True)
    for words in (
        ("list",),
        ("list-files",),
        ("status", "hello"),
        ("cat", "hello"),
        ("verify", "hello.service"),
    ):
        assert json.loads(shell.unit(*words, "--json")[0])
    assert json.loads(shell.unit("journal", "-n1", "--json", "hello")[0])["message"] == "hello.service says 0"


@pytest.mark.parametrize("verb", ["list-files", "list"])
def test_a_list_goes_on_with_what_changes(shell: Shell, verb: str) -> None:
    shell.write("first.service")
    shell.write("second.service")
    shell.unit("start", "first")
    words = [sys.executable, "-m", "skerry.entry.cli.main", "unit", verb, "--watch", "--json"]
    environment = {**os.environ, **shell.daemon.environment, "PYTHONPATH": str(SRC)}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["name"] == "first.service"
        shell.unit("start", "second")
        assert json.loads(watching.stdout.readline())["name"] == "second.service"
        watching.kill()


def test_completion_knows_the_stored_units(shell: Shell) -> None:
    shell.write("hello.service")
    shell.unit("submit", "hello")
    script = shell.skerry("completion", "bash")[0]
    assert "_SKERRY_COMPLETE=bash_complete" in script
    environment = {
        **os.environ,
        **shell.daemon.environment,
        "PYTHONPATH": str(SRC),
        "_SKERRY_COMPLETE": "bash_complete",
        "COMP_WORDS": "skerry unit start he",
        "COMP_CWORD": "3",
    }
    done = subprocess.run(
        [sys.executable, "-c", "from skerry.entry.cli.main import main; main()"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "plain,hello.service" in done.stdout


def test_host_status_tells_of_the_machine(shell: Shell) -> None:
    out = shell.skerry("host", "status")[0]
    assert "Machine: 0123456789abcdef0123456789abcdef\n" in out
    assert json.loads(shell.skerry("host", "status", "--json")[0])["healthy"] is True
