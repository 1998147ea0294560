"""Our etcdctl over our API, and etcd's own over a real etcd: the same words give the same texts and codes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from fakes.etcd import real_etcd
from fakes.served import listening, served_keys
from skerry.kit.http import Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OURS = [sys.executable, "-c", "from skerry.entry.cli.etcdctl import main; main()"]


@dataclass(frozen=True)
class Program:
    """An etcdctl with the server it speaks to; indexes are shown as distances from `begin`."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    server: Client

    def run(self, words: list[str], stdin: str = "") -> tuple[int, str, str]:
        done = subprocess.run(
            [*self.argv, *words],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def index(self) -> int:
        return int(self.server.request("GET", "/v2/keys").headers["x-etcd-index"])


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Program, Program]]:
    directory = tmp_path_factory.mktemp("etcdctl")
    path = str(directory / "api.sock")
    with (
        listening(directory / "api.sock") as listener,
        served_keys(listener),
        real_etcd(directory) as url,
    ):
        common = {"PATH": os.environ["PATH"]}
        ours = common | {"PYTHONPATH": os.pathsep.join(sys.path), "ETCDCTL_PEERS": path}
        theirs = common | {"ETCDCTL_API": "2", "ETCDCTL_ENDPOINTS": url}
        yield Program(tuple(OURS), ours, Client(path)), Program(("etcdctl",), theirs, Client(url))


STORIES: dict[str, list[list[str]]] = {
    "my advanced service": [
        ["set", "/domains/example.com/10.10.10.123:8081", "running"],
        ["get", "/domains/example.com/10.10.10.123:8081"],
        ["ls", "--recursive", "/domains"],
        ["rm", "/domains/example.com/10.10.10.123:8081"],
        ["rm", "/domains/example.com/10.10.10.123:8081"],
        ["get", "/domains/example.com/10.10.10.123:8081"],
    ],
    "keys": [
        ["set", "/a", "hello world"],
        ["get", "a"],
        ["-o", "extended", "get", "/a"],
        ["--output", "json", "get", "/a"],
        ["-o", "json", "set", "/a", "x<y&é", "--ttl", "50"],
        ["get", "/a"],
        ["-o", "extended", "set", "/a", "z"],
        ["set", "/a", "-5"],
        ["set", "--", "/a", "-x"],
        ["update", "/a", "2"],
        ["-o", "extended", "update", "--ttl=100", "/a", "3"],
        ["update", "/none", "2"],
        ["mk", "/a", "1"],
        ["mk", "/b", "1"],
        ["mk", "--ttl", "5", "/c", "1"],
        ["mk", "--in-order", "/q", "1"],
        ["-o", "extended", "rm", "/b"],
        ["rm", "/c"],
        ["rm", "/none"],
        ["-o", "json", "rm", "/none"],
        ["-o", "json", "rm", "/a"],
    ],
    "comparing": [
        ["set", "/s", "one"],
        ["set", "/s", "two", "--swap-with-value", "none"],
        ["set", "/s", "two", "--swap-with-value", "one"],
        ["set", "/s", "three", "--swap-with-index", "{0}"],
        ["set", "/s", "three", "--swap-with-index", "{2}"],
        ["rm", "--with-value", "none", "/s"],
        ["rm", "--with-index", "{2}", "/s"],
        ["rm", "--with-value", "three", "/s"],
    ],
    "directories": [
        ["mkdir", "/d"],
        ["mkdir", "/d"],
        ["get", "/d"],
        ["set", "/d", "1"],
        ["rm", "/d"],
        ["set", "/d/e/f", "1"],
        ["set", "/d/a", "1"],
        ["mkdir", "/d/z", "--ttl", "100"],
        ["ls", "--sort", "/d"],
        ["ls", "--sort", "-p", "/d"],
        ["ls", "--sort", "-p", "-r", "/d"],
        ["ls", "/d/a"],
        ["ls", "/none"],
        ["ls", "--sort", "-recursive=false", "/d"],
        ["-o", "json", "ls", "/d/e"],
        ["rmdir", "/d"],
        ["rmdir", "/d/a"],
        ["rm", "--dir", "/d"],
        ["rm", "--recursive", "/d"],
        ["rmdir", "/d"],
        ["setdir", "/d"],
        ["setdir", "/d"],
        ["updatedir", "/none"],
        ["-o", "json", "updatedir", "/d", "-ttl", "100"],
        ["-o", "json", "mkdir", "/d2"],
        ["-o", "json", "setdir", "/d3"],
        ["rm", "--dir", "/d"],
        ["-o", "json", "rm", "-r", "/d2"],
        ["-o", "json", "rmdir", "/d3"],
    ],
    "what is missing": [
        ["get"],
        ["set"],
        ["set", "/a"],
        ["mk", "/a"],
        ["update", "/a"],
        ["rm"],
        ["rmdir"],
        ["mkdir"],
        ["watch"],
        ["frob"],
    ],
    "watching what was": [
        ["set", "/w/a", "1"],
        ["set", "/w/a", "2"],
        ["rm", "/w/a"],
        ["watch", "--after-index", "{0}", "/w/a"],
        ["-o", "extended", "watch", "--after-index", "{0}", "/w/a"],
        ["watch", "--after-index", "{1}", "/w/a"],
        ["-o", "json", "watch", "--after-index", "{1}", "/w/a"],
        ["watch", "--recursive", "--after-index", "{0}", "/w"],
    ],
}


@pytest.mark.parametrize("name", STORIES)
def test_the_same_words_give_the_same_answers(programs: tuple[Program, Program], name: str) -> None:
    ours, theirs = (_told(program, STORIES[name]) for program in programs)
    for words, our_answer, their_answer in zip(STORIES[name], ours, theirs, strict=True):
        assert our_answer == their_answer, f"etcdctl {' '.join(words)}"


def _told(program: Program, story: list[list[str]]) -> list[object]:
    begin = program.index()
    after: list[int] = []
    answers: list[object] = []
    for words in story:
        asked = [re.sub(r"^\{(\d+)\}$", lambda match: str(after[int(match[1])]), word) for word in words]
        status, out, err = program.run(asked)
        after.append(program.index())
        answers.append((status, _relative(out, begin), _relative(err, begin)))
    return answers


def _relative(text: str, begin: int) -> str:
    """The text with its indexes as distances and its moments blotted out."""
    text = re.sub(r'"expiration":"[^"]*"', '"expiration":"a moment"', text)
    text = re.sub(r'(?<="ttl":)[1-9]\d*|(?<=TTL: )[1-9]\d*', "some", text)
    pattern = r'(?<=Index":)\d+|(?<=Index: )\d+|(?<= \[)\d+(?=\]$)|(?<=\(\[)\d+(?= != )|(?<= != )\d+(?=\]\))'
    return re.sub(
        pattern, lambda match: f"+{int(match[0]) - begin}" if int(match[0]) else "0", text, flags=re.MULTILINE
    )


def test_a_value_may_come_from_stdin(programs: tuple[Program, Program]) -> None:
    ours, theirs = (
        [program.run(["set", "/piped"], stdin="two\nlines\n"), program.run(["get", "/piped"])]
        for program in programs
    )
    assert ours == theirs


def test_a_watch_tells_what_happens(programs: tuple[Program, Program]) -> None:
    program = programs[0]
    with subprocess.Popen(
        [*program.argv, "watch", "--forever", "--recursive", "--after-index", str(program.index()), "/live"],
        env=program.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        for value in ("1", "2"):
            program.run(["set", "/live/a", value])
        program.run(["rm", "/live/a"])
        said = [watching.stdout.readline() for _ in range(6)]
        watching.send_signal(signal.SIGINT)
    assert "".join(said) == "[set] /live/a\n1\n[set] /live/a\n2\n[delete] /live/a\nPrevNode.Value: 2\n"
    assert watching.returncode == 0


def test_a_command_runs_at_each_change(programs: tuple[Program, Program]) -> None:
    program = programs[0]
    after = program.index()
    program.run(["set", "/x", "1"])
    show = 'echo "$ETCD_WATCH_ACTION $ETCD_WATCH_KEY $ETCD_WATCH_VALUE $1"'
    with subprocess.Popen(
        [
            *program.argv,
            "exec-watch",
            "--after-index",
            str(after),
            "/x",
            "--",
            "sh",
            "-c",
            show,
            "sh",
            "-arg",
        ],
        env=program.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        first = watching.stdout.readline()
        watching.terminate()
    assert first == "set /x 1 -arg\n"


@pytest.mark.parametrize(
    ("words", "status"),
    [(["get", "/a"], 2), (["--no-sync", "get", "/a"], 4), (["-o", "nope", "set", "/a", "1"], 1)],
)
def test_no_server_and_no_format(tmp_path: Path, words: list[str], status: int) -> None:
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    program = Program(tuple(OURS), environment, Client("unused"))
    got = program.run(["--peers", str(tmp_path / "none.sock"), *words])
    assert got[0] == status
    assert got[1] == ""
    assert got[2].startswith("Error:  client: etcd cluster is unavailable" if status != 1 else "Unsupported")


def test_the_next_server_is_asked_where_one_is_down(
    programs: tuple[Program, Program], tmp_path: Path
) -> None:
    program = programs[0]
    both = f"{tmp_path / 'none.sock'},{program.environment['ETCDCTL_PEERS']}"
    assert program.run(["--endpoints", both, "set", "/next", "1"]) == (0, "1\n", "")


@pytest.mark.parametrize(
    "words", [["set", "--nope", "/a", "1"], ["--nope", "ls"], ["set", "--ttl=x", "/a", "1"]]
)
def test_what_is_no_flag_is_refused(programs: tuple[Program, Program], words: list[str]) -> None:
    ours, theirs = (program.run(words) for program in programs)
    assert ours[0] == theirs[0] == 1
    assert ours[2].startswith("Incorrect Usage: ")


@pytest.mark.parametrize("words", [[], ["--help"], ["help", "set"], ["set", "--help"], ["--version"]])
def test_help_is_at_hand(programs: tuple[Program, Program], words: list[str]) -> None:
    ours, theirs = (program.run(words) for program in programs)
    assert ours[0] == theirs[0] == 0
    assert (
        ours[1].split("\n", maxsplit=1)[0].split(":")[0] == theirs[1].split("\n", maxsplit=1)[0].split(":")[0]
    )


def test_many_at_once(programs: tuple[Program, Program]) -> None:
    """A burst of units starting at the same time: none is refused, none is lost."""
    program = programs[0]
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: statuses.append(program.run(["mk", f"/burst/{n}", "1"])[0]))
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0] * 12
    assert len(program.run(["ls", "/burst"])[1].splitlines()) == 12
