"""The guard before the API: what it writes down, whom it cuts off, and what it never shows."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import TYPE_CHECKING

from fakes.clock import settle
from fakes.secured import Secured
from fakes.tls import AGENT, credential
from skerry.entry.rest.auth import Guard
from skerry.fleet.access.audit import Series
from skerry.fleet.access.caller import KeyRight, PersonRole

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

STREAM = f"/v1/agents/{AGENT.node}/stream"
UNIT = {
    "verb": "submit",
    "names": ["a.service"],
    "offers": [{"name": "a.service", "text": "[Service]\nExecStart=/bin/true\n"}],
}


async def token_of(w: Secured, role: PersonRole, name: str, *keys: KeyRight) -> str:
    _, token, revision = await w.tokens.create_person(name, role, ttl_s=3600, keys=keys)
    await w.known.saw_people(revision)
    return token.text


async def _audited(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    w = Secured(directory)
    async with w.running():
        ann, vic = await token_of(w, PersonRole.OPERATOR, "ann"), await token_of(w, PersonRole.VIEWER, "vic")
        bare = w.connecting()
        await w.ask("GET", "/v1/units", context=bare, token=ann)
        assert (await w.ask("POST", "/v1/units", UNIT, context=bare, token=vic)).status == 403
        assert (await w.ask("DELETE", "/v1/units/a.service?secret=1", context=bare, token=ann)).status == 404
        created = await w.ask("POST", "/v1/tokens", {"name": "bob", "role": "viewer"})
        await w.ask("PUT", "/v2/keys/password?value=hunter2", context=bare, token=ann)
        await w.ask("POST", "/v1/units", UNIT, context=bare)
        changes = [(r.kind, r.who, r.what, r.outcome) for _, r in await w.audit.newest()]
        assert changes == [
            ("root", "root", "POST /v1/tokens", 201),
            ("person", "ann", "DELETE /v1/units/a.service", 404),
            ("person", "vic", "POST /v1/units", 403),
        ]
        await w.audit.flush()
        keys = [r for _, r in await w.audit.newest(Series.KEYS)]
        assert [(r.who, r.what, r.address) for r in keys] == [("ann", "PUT /v2/keys/password", "127.0.0.1")]
        page = await w.ask("GET", "/v1/audit?limit=1")
        assert page.json["records"][0]["what"] == "POST /v1/tokens"  # type: ignore[index,call-overload]
        assert "viewer bob" in page.body.decode()
        everything = b"".join(e.value for e in (await w.store.list("/skerry/v1/audit")).entries).decode()
        told = everything + caplog.text
        secret = str(created.json["token"])  # type: ignore[index,call-overload]
        for hidden in (ann, vic, secret, ann.split(".")[3], secret.split(".")[3], "hunter2", "secret=1"):
            assert hidden not in told


def test_changes_are_written_down_without_secrets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="skerry")
    asyncio.run(_audited(tmp_path, caplog))


async def _pasted(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    w = Secured(directory)
    async with w.running():
        ann = await token_of(w, PersonRole.ADMIN, "ann")
        assert (await w.ask("DELETE", f"/v1/tokens/{ann}")).status == 404
        assert (await w.ask("DELETE", "/v1/units/a%0A<2>root:%20all%20is%20well.service")).status in (
            400,
            404,
        )
        records = [record.what for _, record in await w.audit.newest()]
    told = "\n".join([*records, *(record.getMessage() for record in caplog.records)])
    assert len(records) == 2
    assert ann.split(".")[2] in told
    assert ann.split(".")[3] not in told
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_neither_a_token_in_a_path_nor_a_second_line_comes_into_a_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="skerry.access")
    asyncio.run(_pasted(tmp_path, caplog))


async def _silent(directory: Path) -> None:
    w = Secured(directory, keep_alive_s=0)
    async with w.running(), asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", w.port, ssl=w.connecting())
        assert await reader.read() == b""
        writer.close()


def test_a_connection_that_asks_nothing_is_not_kept(tmp_path: Path) -> None:
    asyncio.run(_silent(tmp_path))


async def _removed(directory: Path) -> None:
    w = Secured(directory)
    async with w.running(), asyncio.timeout(10):
        told: list[str] = []
        w.known.on_removed(told.append)
        path = directory / "agent.pem"
        path.write_text(credential(w.authority, AGENT, w.clock.now()).pem)
        context = w.connecting(path)
        async with w.opened("POST", STREAM, context=context) as (status, _, reader):
            assert (status, await reader.readuntil(b"{}\n\r\n")) == (200, b"3\r\n{}\n\r\n")
            await w.known.saw_revoked(await w.members.remove(AGENT.node, by="ann"))
            assert (await reader.read(), told) == (b"", [AGENT.node])
            await w.agents.closed.wait()
        assert (await w.ask("POST", STREAM, context=context, head_only=True)).status == 401


def test_a_removed_node_loses_its_stream_at_once(tmp_path: Path) -> None:
    asyncio.run(_removed(tmp_path))
    assert AGENT.node in (tmp_path / "pki/removed.json").read_text()  # kept, whatever becomes of the store


async def _own_token(directory: Path) -> None:
    w = Secured(directory)
    async with w.running(), asyncio.timeout(10):
        ann = await token_of(w, PersonRole.ADMIN, "ann")
        bare = w.connecting()
        vic = await token_of(w, PersonRole.VIEWER, "vic")
        async with (
            w.opened("GET", "/v1/events", context=bare, token=ann) as (_, _, events),
            w.opened("GET", "/v1/events", context=bare, token=vic) as (_, _, others),
        ):
            assert (await w.ask("DELETE", "/v1/tokens/ann", context=bare, token=ann)).status == 204
            await events.read()
            assert not others.at_eof()
        assert (await w.ask("GET", "/v1/whoami", context=bare, token=ann)).status == 401


def test_whoever_revokes_their_own_token_gets_the_answer_and_loses_the_rest(tmp_path: Path) -> None:
    asyncio.run(_own_token(tmp_path))


async def _expired(directory: Path) -> None:
    w = Secured(directory)
    async with w.running(), asyncio.timeout(10):
        ann = await token_of(w, PersonRole.VIEWER, "ann")
        async with w.opened("GET", "/v1/events", context=w.connecting(), token=ann) as (_, _, events):
            await w.clock.advance(3700)
            await events.read()


def test_a_stream_ends_with_the_time_of_its_token(tmp_path: Path) -> None:
    asyncio.run(_expired(tmp_path))


async def _outlived(directory: Path) -> None:
    w = Secured(directory)
    async with w.running(), asyncio.timeout(30):
        path = directory / "agent.pem"
        path.write_text(credential(w.authority, AGENT, w.clock.now(), lifetime_s=3600).pem)
        context = w.connecting(path)
        kept = await asyncio.open_connection("127.0.0.1", w.port, ssl=context)
        assert await whoami(*kept) == 200
        async with w.opened("POST", STREAM, context=context) as (status, _, reader):
            assert (status, await reader.readuntil(b"{}\n\r\n")) == (200, b"3\r\n{}\n\r\n")
            await w.clock.advance(3500)
            assert not reader.at_eof()
            await w.clock.advance(200)
            assert await reader.read() == b""
        assert await whoami(*kept) == 401
        await kept[0].read()  # until the server hangs up
        kept[1].close()


async def whoami(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """The status of one more request on a connection that is kept, its body being small."""
    writer.write(b"GET /v1/whoami HTTP/1.1\r\nhost: x\r\n\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r")[0]))
    return int(head.split()[1])


def test_stream_and_connection_of_a_node_end_with_the_time_of_its_certificate(tmp_path: Path) -> None:
    asyncio.run(_outlived(tmp_path))


async def _prefixes(directory: Path) -> None:
    w = Secured(directory)
    async with w.running():
        app = await token_of(
            w, PersonRole.KEYS, "app", KeyRight("/app", write=True), KeyRight("/shared", write=False)
        )
        bare = w.connecting()

        async def status(method: str, path: str) -> int:
            return (await w.ask(method, f"/v2/keys{path}", context=bare, token=app)).status

        assert await status("PUT", "/app/x?value=1") == 201
        assert await status("GET", "/app/x") == 200
        assert await status("GET", "/shared") == 404
        for method, path in (
            ("GET", ""),
            ("GET", "/?recursive=true"),
            ("GET", "/apple"),
            ("PUT", "/shared/x?value=1"),
            ("DELETE", "/shared?recursive=true"),
            ("PUT", "/app/../other?value=1"),
            ("PUT", "/app/%2e%2e/other?value=1"),
            ("PUT", "//app/..//other?value=1"),
            ("GET", "/_skerry"),
        ):
            assert await status(method, path) == 403, (method, path)
        refused = await w.ask("GET", "/v2/keys/other", context=bare, token=app)
        assert refused.json["errorCode"] == 110  # type: ignore[index,call-overload]


def test_a_programs_token_reaches_its_prefixes_only(tmp_path: Path) -> None:
    asyncio.run(_prefixes(tmp_path))


async def _headers(directory: Path) -> None:
    w = Secured(directory)
    async with w.running():
        ann = await token_of(w, PersonRole.VIEWER, "ann")
        bare = w.connecting()

        async def status(value: str) -> int:
            return (await w.ask("GET", "/v1/whoami", context=bare, headers={"authorization": value})).status

        basic = base64.b64encode(f"ann:{ann}".encode()).decode()
        assert [await status(v) for v in (f"Bearer {ann}", f"bearer  {ann}", f"Basic {basic}")] == [200] * 3
        bad = ["", ann, f"Digest {ann}", "Basic %%%", "Basic /w==", f"Bearer {ann}x", "Bearer " + "x" * 9000]
        assert [await status(v) for v in bad] == [401] * len(bad)
        forged = {"x-forwarded-for": "::1", "x-real-ip": "127.0.0.1", "forwarded": "for=unix"}
        assert (await w.ask("GET", "/v1/units", context=bare, headers=forged)).status == 401
        local = (await w.ask("GET", "/v1/whoami")).json
        assert local["role"] == "admin"  # type: ignore[index,call-overload]


def test_a_token_comes_as_bearer_or_as_basic_password(tmp_path: Path) -> None:
    asyncio.run(_headers(tmp_path))


async def _forms(directory: Path) -> None:
    w = Secured(directory)
    async with w.running():
        bare = w.connecting()
        ours = await w.ask("GET", "/v1/units", context=bare)
        fleets = await w.ask("GET", "/fleet/v1/units", context=bare)
        etcds = await w.ask("GET", "/v2/keys/", context=bare)
        assert ours.json["error"]["code"] == "unauthenticated"  # type: ignore[index,call-overload]
        assert fleets.json["error"]["code"] == 401  # type: ignore[index,call-overload]
        assert etcds.json["errorCode"] == 110  # type: ignore[index,call-overload]
        assert {r.headers["www-authenticate"] for r in (ours, fleets, etcds)} == {'Bearer realm="skerry"'}


def test_refusals_have_the_form_of_their_api(tmp_path: Path) -> None:
    asyncio.run(_forms(tmp_path))


async def _no_store(directory: Path) -> None:
    w = Secured(directory)
    w.guard = Guard(w.app, w.clock, None, None)
    async with w.running():
        assert (await w.ask("GET", "/v1/host", context=w.connecting(), token="x")).status == 503
        assert (await w.ask("GET", "/v1/host")).status == 200
        await settle()


def test_without_a_store_only_root_is_let_in(tmp_path: Path) -> None:
    asyncio.run(_no_store(tmp_path))
