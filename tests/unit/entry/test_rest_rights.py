"""Every route, asked by everybody: nobody comes further than they may, and the table lacks no route."""

from __future__ import annotations

import ast
import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.routing import Mount, Route

from fakes.secured import Secured
from fakes.tls import AGENT, SERVER, credential
from skerry.entry.rest.rights import RIGHTS, right_of
from skerry.fleet.access.caller import KeyRight, PersonRole
from skerry.fleet.trust.certificates import DAY_S, Authority
from skerry.fleet.trust.identity import Identity, Role

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Sequence

    from starlette.routing import BaseRoute

REST = Path(__file__).resolve().parents[3] / "src/skerry/entry/rest"
OTHER = Identity("b" * 32, Role.AGENT)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
REFUSED = (401, 403)


def declared(routes: Iterable[BaseRoute], prefix: str = "") -> list[tuple[str, set[str] | None]]:
    """Every route of an application with its methods; None where it takes them all."""
    found: list[tuple[str, set[str] | None]] = []
    for route in routes:
        if isinstance(route, Mount):
            found += declared(route.routes, prefix + route.path)
        elif isinstance(route, Route):
            found.append((prefix + route.path, route.methods))
    return found


def test_every_route_of_the_application_has_a_right(tmp_path: Path) -> None:
    missing = [
        (path, method)
        for path, methods in declared(Secured(tmp_path).app.routes)
        for method in (methods or {"GET"})
        if right_of(path, method) is None
    ]
    assert missing == [], "add them to RIGHTS in skerry/entry/rest/rights.py"


def written_routes() -> list[tuple[str, str, str]]:
    """Route("/…", …, methods=[…]) as the sources have it, also of what no application has mounted yet."""
    found = []
    for path in sorted(REST.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "Route" or not node.args:
                continue
            first = node.args[0]
            if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
                continue
            methods = [k.value for k in node.keywords if k.arg == "methods"]
            names = [ast.literal_eval(m) for m in methods if isinstance(m, ast.List | ast.Tuple)]
            found += [(path.name, first.value, method) for method in (names[0] if names else ["GET"])]
    return found


@pytest.mark.parametrize(("file", "path", "method"), written_routes())
def test_every_route_that_is_written_has_a_right(file: str, path: str, method: str) -> None:
    assert right_of(path, method) is not None, f"{file}: add {method} {path} to RIGHTS in rights.py"


@dataclass(frozen=True)
class Somebody:
    """A caller; `may` are the marks of the table's rights that let them in."""

    name: str
    context: ssl.SSLContext | None = None
    token: str | None = None
    handshake: bool = True


async def everybody(w: Secured, directory: Path) -> list[Somebody]:
    """All that the issue names, and more."""
    now = w.clock.now()
    strangers = Authority.create("theirs", now)

    def by_certificate(
        name: str, authority: Authority, identity: Identity, at: float = now, *, fine: bool = True
    ) -> Somebody:
        path = directory / f"{name}.pem"
        path.write_text(credential(authority, identity, at).pem)
        return Somebody(name, w.connecting(path), handshake=fine)

    async def by_token(
        role: PersonRole, name: str, keys: Sequence[KeyRight] = (), ttl_s: float | None = None
    ) -> str:
        _, token, revision = await w.tokens.create_person(name, role, ttl_s=ttl_s, keys=keys)
        await w.known.saw_people(revision)
        return token.text

    bare = w.connecting()
    expiring = await by_token(PersonRole.ADMIN, "expired", ttl_s=60)
    revoked = await by_token(PersonRole.ADMIN, "revoked")
    await w.known.saw_people(await w.tokens.revoke_person("revoked"))
    await w.clock.advance(61)
    removed = by_certificate("removed", w.authority, Identity("c" * 32, Role.SERVER))
    await w.known.saw_revoked(await w.members.remove("c" * 32, by="test"))
    good = await by_token(PersonRole.ADMIN, "admin")
    return [
        Somebody("nobody", bare),
        Somebody("nonsense", bare, "x"),
        Somebody("expired token", bare, expiring),
        Somebody("revoked token", bare, revoked),
        Somebody("changed token", bare, good[:-1] + ("0" if good[-1] != "0" else "1")),
        removed,
        by_certificate("expired", w.authority, AGENT, now - 60 * DAY_S, fine=False),
        by_certificate("to come", w.authority, AGENT, now + 60 * DAY_S, fine=False),
        by_certificate("strange", strangers, SERVER, fine=False),
        by_certificate("agent", w.authority, AGENT),
        by_certificate("another agent", w.authority, OTHER),
        by_certificate("server", w.authority, Identity("6" * 32, Role.SERVER)),
        Somebody("viewer", bare, await by_token(PersonRole.VIEWER, "viewer")),
        Somebody("operator", bare, await by_token(PersonRole.OPERATOR, "operator")),
        Somebody("admin", bare, good),
        Somebody("program", bare, await by_token(PersonRole.KEYS, "program", [KeyRight("/app", write=True)])),
        Somebody("root"),
    ]


# What each may, in words of its own: an independent reading of the design, not of the table.
KNOWN = {"agent", "another agent", "server", "viewer", "operator", "admin", "program", "root"}
PEOPLE = {"viewer": 1, "operator": 2, "admin": 3, "root": 3}
OPEN = {"/v1/cluster/authority", "/v1/cluster/join", "/v1/cluster/token"}
FOR_ADMINS = re.compile(r"/v1/(tokens|cluster/tokens|audit)(/|$)")
FOR_OPERATORS = re.compile(r"/v1/(units|nodes)(/|$)|/v2/keys|/fleet/v1/|/v1-alpha/")


def may(name: str, path: str, method: str) -> bool:
    """Whether this caller may, by the design; the agent's id stands in the paths of agents."""
    if path in OPEN:
        return True
    if name not in KNOWN:
        return False
    if path.startswith("/v1/agents/"):
        return name in ("agent", "root")
    if path == "/v1/presence/heard":
        return name in ("server", "root")
    if path == "/v1/cluster/renew":
        return name in ("agent", "another agent", "server", "root")
    if path in ("/v1/whoami", "/version"):
        return True
    if path in ("/v1/cluster", "/v1/cluster/servers"):
        return name != "program"
    if path.startswith("/v1/host/cluster/"):
        return name == "root"
    if name == "agent" and (path, method) == (f"/v1/nodes/{AGENT.node}", "DELETE"):
        return True  # itself: it leaves
    if name == "program":
        return path.startswith("/v2/keys/app/")
    if name not in PEOPLE:
        return False
    if FOR_ADMINS.match(path) or (method == "DELETE" and path.startswith("/v1/nodes/")):
        return PEOPLE[name] >= 3
    if method in ("GET", "HEAD") or path == "/v1/verify":
        return True
    return PEOPLE[name] >= 2 and FOR_OPERATORS.match(path) is not None


def filled(path: str, method: str) -> str:
    """A declared path with something in its places; a key for each method, for a directory is no file."""
    path = (
        re.sub(r"\{id\}", AGENT.node, path)
        .replace("{path:path}", f"app/{method}")
        .replace("{rest:path}", "x")
    )
    return re.sub(r"\{[^}]*\}", "hello.service", path)


async def _walk(directory: Path) -> None:
    w = Secured(directory)
    async with w.running():
        wrong = []
        people = await everybody(w, directory)
        asked = 0
        for path, methods in declared(w.app.routes):
            for method in sorted(methods or METHODS[:-1]):
                right = right_of(path, method)
                for who in people:
                    asked += 1
                    target = filled(path, method)
                    try:
                        reply = await w.ask(
                            method, target, {}, context=who.context, token=who.token, head_only=True
                        )
                    except OSError:
                        if who.handshake:
                            wrong.append((who.name, method, target, "no connection"))
                        continue
                    if not who.handshake:
                        wrong.append((who.name, method, target, "connected"))
                    allowed = right is not None and may(who.name, target, method)
                    refused = reply.status in REFUSED or (right is None and reply.status in (404, 405))
                    if path == "/v1/cluster/renew" and who.name == "root":
                        continue  # root is no node, and is told so
                    if allowed is refused or reply.status >= 500:
                        wrong.append((who.name, method, target, str(reply.status)))
        assert wrong == []
        assert asked > 500
        unknown = [
            (await w.ask("GET", path, context=who.context, token=who.token)).status
            for who in people
            if who.handshake
            for path in ("/", "/v1/nothing", "/v1/units/", "//v1/units", "/V1/units", "/v1/%2e%2e/units")
        ]
        assert set(unknown) == {401, 404}


@pytest.mark.timeout(300)
def test_nobody_comes_further_than_they_may(tmp_path: Path) -> None:
    asyncio.run(_walk(tmp_path))


def test_the_table_is_no_wider_than_the_design() -> None:
    public = {path for path, rights in RIGHTS.items() if any(r.public for r in rights.values())}
    assert public == OPEN
