"""A cluster from a workstation: contexts kept for their owner alone, tokens that no argument ever holds."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.shell_completion import ShellComplete

from fakes.secured import Secured
from skerry.entry.cli.context import url_of_server
from skerry.entry.cli.contexts import (
    LOCAL,
    Context,
    ContextError,
    Contexts,
    check_name,
    contexts_file,
    read_contexts,
    write_contexts,
)
from skerry.entry.cli.main import cli, run
from skerry.entry.cli.token import ttl_seconds
from skerry.fleet.access.caller import PersonRole

if TYPE_CHECKING:
    from collections.abc import Iterator

HOME = Context("home", ("https://10.0.0.1:7443", "https://b:7443"), "-----BEGIN\n-----\n", "skerryp1.x.y.z")
AWAY = Context("away", ("https://[fd00::1]:7443",), 'quo"te\\', "t")


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("SKERRY_CONTEXT", "SKERRY_API"):
        monkeypatch.setenv(name, "")
    return


def test_contexts_are_kept_for_their_owner_alone() -> None:
    path = contexts_file()
    before = os.umask(0)
    try:
        write_contexts(path, Contexts().adding(HOME).adding(AWAY))
    finally:
        os.umask(before)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    read = read_contexts(path)
    assert (dict(read.contexts), read.current) == ({"home": HOME, "away": AWAY}, "home")
    path.chmod(0o640)
    with pytest.raises(ContextError, match="others than you"):
        read_contexts(path)


@pytest.mark.parametrize("text", ["x", "[contexts.a]\n", "contexts = 1", "[contexts.a]\nservers = 1\n"])
def test_another_file_is_refused_whole(text: str) -> None:
    path = contexts_file()
    path.parent.mkdir(parents=True)
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(ContextError, match="not in its form"):
        read_contexts(path)


def test_contexts_come_go_and_are_chosen() -> None:
    two = Contexts().adding(HOME).adding(AWAY)
    assert [two.current, two.using("away").current, two.using(LOCAL).current] == ["home", "away", None]
    assert (two.without("home").current, two.without("away").current) == (None, "home")
    for wrong in (lambda: two.get("x"), lambda: two.using("x"), lambda: two.without("x")):
        with pytest.raises(ContextError, match="no context is called x"):
            wrong()
    for name in ("local", "", "a b", "../x", "ä", 'a"'):
        with pytest.raises(ContextError):
            check_name(name)


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("10.0.0.1", "https://10.0.0.1:7443"),
        ("one.example:443", "https://one.example:443"),
        ("https://one.example:7443/", "https://one.example:7443"),
        ("fd00::1", "https://[fd00::1]:7443"),
        ("[fd00::1]:7000", "https://[fd00::1]:7000"),
        ("[fd00::1]", "https://[fd00::1]:7443"),
    ],
)
def test_a_server_is_named_in_short(server: str, url: str) -> None:
    assert url_of_server(server) == url


@pytest.mark.parametrize("server", ["http://10.0.0.1", "a:b", "a/b", "", ":7443"])
def test_what_is_no_server_is_refused(server: str) -> None:
    with pytest.raises(ContextError):
        url_of_server(server)


def test_spans_of_time() -> None:
    assert [ttl_seconds(t) for t in ("30min", "12h", "90d", "never")] == [1800, 43200, 7776000, None]


async def skerry(words: list[str], said: str = "") -> int:
    """Run the command in a thread, `said` on its standard input."""
    sys.stdin = io.StringIO(said)
    return await asyncio.to_thread(run, cli, words, name="skerry")


def completed(*words: str) -> list[str]:
    """What a shell offers for the last of the words."""
    found = ShellComplete(cli, {}, "skerry", "_SKERRY_COMPLETE").get_completions([*words[:-1]], words[-1])
    return [item.value for item in found]


async def _from_a_workstation(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    w = Secured(directory)
    async with w.running():
        _, token, revision = await w.tokens.create_person("ann", PersonRole.ADMIN, ttl_s=3600)
        await w.known.saw_people(revision)
        assert await skerry(["context", "add", "home", w.url], token.text + "\n") == 0
        assert "home: you are ann (admin) on the cluster home" in capsys.readouterr().err

        assert await skerry(["token", "create", "bob", "--role", "viewer", "--ttl", "1h"]) == 0
        bob = capsys.readouterr()
        assert re.fullmatch(r"skerryp1(\.[0-9a-f]+){3}\n", bob.out)
        assert bob.out.strip() not in bob.err
        kept = directory / "bob.token"
        kept.write_text(bob.out)
        assert await skerry(["context", "add", "as-bob", w.url, "--token-file", str(kept)]) == 0
        capsys.readouterr()

        assert await skerry(["token", "list", "--json"]) == 0
        listed = capsys.readouterr().out
        assert [t["name"] for t in json.loads(listed)["tokens"]] == ["ann", "bob"]
        assert await skerry(["context", "list"]) == 0
        listed += capsys.readouterr().out
        assert "sha256" not in listed
        assert token.secret not in listed

        assert await skerry(["--context", "as-bob", "unit", "list"]) == 0
        assert await skerry(["--context", "as-bob", "token", "list"]) == 1
        assert "it is a viewer's" in capsys.readouterr().err
        assert await skerry(["--context", "home", "kv", "set", "/app/x", "hello"]) == 0
        assert await skerry(["kv", "get", "/app/x"]) == 0
        assert capsys.readouterr().out == "hello\nhello\n"

        out = directory / "join.token"
        create = ["cluster", "token", "create", "--role", "server", "--uses", "3", "--output", str(out)]
        assert await skerry(create) == 0
        assert (out.stat().st_mode & 0o777, out.read_text()[:8]) == (0o600, "skerry1.")
        assert await skerry(create) == 1, "a file that is there is not written over"
        assert await skerry(["cluster", "token", "list"]) == 0
        shown = capsys.readouterr()
        assert "server" in shown.out
        assert out.read_text().split(".")[3].strip() not in shown.out + shown.err

        assert await asyncio.to_thread(completed, "--context", "") == ["local", "home", "as-bob"]
        assert await asyncio.to_thread(completed, "context", "use", "h") == ["home"]
        assert await asyncio.to_thread(completed, "token", "revoke", "b") == ["bob"]
        joins = [record.id for record in await w.tokens.joins()]
        assert await asyncio.to_thread(completed, "cluster", "token", "revoke", "") == joins

        assert await skerry(["token", "revoke", "bob"]) == 0
        assert await skerry(["--context", "as-bob", "unit", "list"]) == 1
        assert "nobody has this token" in capsys.readouterr().err
        assert await skerry(["--context", "home", "cluster", "audit"]) == 0
        audited = capsys.readouterr().out
        assert [w in audited for w in ("DELETE /v1/tokens/bob", "viewer bob", "127.0.0.1")] == [True] * 3


def test_a_workstation_speaks_to_a_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", sys.stdin)
    asyncio.run(_from_a_workstation(tmp_path, capsys))


async def _refused(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    w, other = Secured(directory), Secured(directory / "other")
    async with w.running(), other.running():
        _, token, _ = await w.tokens.create_person("ann", PersonRole.ADMIN, ttl_s=3600)
        for words, said in (
            (["context", "add", "x", other.url], "another authority"),
            (["context", "add", "x", "127.0.0.1:1"], "no server answered"),
            (["context", "add", "local", w.url], "is no name"),
            (["--context", "y", "unit", "list"], "no context is called y"),
        ):
            assert await skerry(words, token.text) == 1
            told = capsys.readouterr()
            assert said in told.err
            assert token.secret not in told.err
        assert await skerry(["context", "add", "x", w.url], token.text[:-3]) == 1
        assert "not a whole token" in capsys.readouterr().err
        assert not contexts_file().exists()


def test_a_context_that_cannot_be_is_not_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", sys.stdin)
    asyncio.run(_refused(tmp_path, capsys))


@pytest.mark.parametrize("words", [["context", "add"], ["token", "create"], ["cluster", "token", "create"]])
def test_no_command_takes_a_token_as_an_argument(words: list[str]) -> None:
    code = f"from skerry.entry.cli.main import cli, run\nrun(cli, {[*words, '--help']!r}, name='skerry')\n"
    src = Path(__file__).parents[3] / "src"
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(src)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert not re.search(r"--(token|secret|password)\b(?!-)", told)
