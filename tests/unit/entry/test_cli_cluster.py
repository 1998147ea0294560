"""`skerry cluster init`, `join`, `leave` and the care of the store: what is asked, and what is said."""

from __future__ import annotations

import asyncio
import io
import json
import re
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette

from fakes.served import listening
from skerry.entry.cli.cluster_build import TokenFileError, read_token
from skerry.entry.cli.main import cli, run
from skerry.entry.daemon.server import make_server, serve
from skerry.entry.rest.codec import on_error
from skerry.entry.rest.here import Here, HereOrder, HereView, not_here
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Verbs:
    """Answers every verb but those of `fitless`, and keeps what was asked."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[tuple[str, HereOrder]] = []
        self.fitless: set[str] = set()
        self.snapshot = folder / "skerry-7.snapshot"
        self.snapshot.write_bytes(b"held")

    async def do(self, verb: str, asked: HereOrder) -> HereView:
        self.asked.append((verb, asked))
        if verb in self.fitless:
            raise not_here(verb, "a member of no cluster", hint="init first")
        role = "agent" if verb == "join" else "server"
        return HereView(
            "c1", "home", "5" * 32, role, "10.0.0.1", ("https://10.0.0.1:7443",), str(self.snapshot)
        )


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Verbs]:
    folder = Path(tempfile.mkdtemp(prefix="sk-"))
    made = Verbs(folder)
    server = make_server(Starlette(routes=Here(made).routes(), exception_handlers={SkerryError: on_error}))
    with listening(folder / "api.sock") as listener:
        thread = threading.Thread(target=lambda: asyncio.run(serve(server, [listener])))
        thread.start()
        monkeypatch.setenv("SKERRY_API", str(folder / "api.sock"))
        try:
            yield made
        finally:
            server.should_exit = True
            thread.join()
    shutil.rmtree(folder)


def skerry(*words: str) -> int:
    return run(cli, ["cluster", *words], name="skerry")


def test_what_is_typed_reaches_the_daemon(verbs: Verbs, capsys: pytest.CaptureFixture[str]) -> None:
    assert skerry("init", "--name=home", "--address=10.0.0.1") == 0
    said = capsys.readouterr()
    assert "first server of home, at https://10.0.0.1:7443." in said.out
    assert re.fullmatch(r"  init: [0-9.]+ s\n", said.err)
    assert skerry("init", "--file", "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["name"] == "home"
    assert [json.loads(line)["phase"] for line in said.err.splitlines()][-1] == "done"
    assert skerry("join", "T", "--server=https://a:7443", "--server=https://b:7443", "--role=agent") == 0
    assert "This machine is an agent of home" in capsys.readouterr().out
    assert skerry("leave", "--force") == 0
    assert skerry("migrate") == 0
    assert skerry("member", "remove", "7" * 32) == 0
    assert skerry("restore", "--yes") == 0
    assert "home begins anew with this server" in capsys.readouterr().out
    (_, first), (_, file), (_, join), (_, leave), (migrate, _), (_, member), (rescue, _) = verbs.asked
    assert first == HereOrder(name="home", address="10.0.0.1")
    assert (file.name, file.etcd) == ("skerry", False)
    assert (join.token, join.servers, join.role) == ("T", ("https://a:7443", "https://b:7443"), "agent")
    assert (leave.force, migrate, member.node, rescue) == (True, "migrate", "7" * 32, "rescue")


def test_a_refusal_is_said_with_its_hint(verbs: Verbs, capsys: pytest.CaptureFixture[str]) -> None:
    verbs.fitless.add("leave")
    assert skerry("leave") == 1
    said = capsys.readouterr().err
    assert "this machine is a member of no cluster" in said
    assert "init first" in said


def test_nothing_begins_anew_without_a_yes(verbs: Verbs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert skerry("restore") != 0
    assert verbs.asked == []


def test_a_snapshot_is_copied_for_its_owner_alone_and_over_nothing(
    verbs: Verbs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    assert skerry("snapshot") == 0
    assert capsys.readouterr().out == f"{verbs.snapshot}\n"
    assert skerry("snapshot", str(copy)) == 0
    assert (copy.read_bytes(), copy.stat().st_mode & 0o777) == (b"held", 0o600)
    copy.write_text("mine")
    assert skerry("snapshot", str(copy)) == 1
    assert (copy.read_text(), "File exists" in capsys.readouterr().err) == ("mine", True)


def test_a_token_comes_from_the_words_stdin_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("from-stdin\nmore\n"))
    there = tmp_path / "token"
    there.write_text("from-file\n")
    assert [read_token(said) for said in ("plain", "-", f"@{there}")] == ["plain", "from-stdin", "from-file"]
    with pytest.raises(TokenFileError, match="cannot be read: No such file"):
        read_token(f"@{tmp_path / 'none'}")
    there.write_bytes(b"\xff\xfe")
    with pytest.raises(TokenFileError, match="no text"):
        read_token(f"@{there}")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n"), encoding="utf-8"))
    with pytest.raises(TokenFileError, match="standard input holds no token"):
        read_token("-")
