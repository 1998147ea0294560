"""How machines come into the cluster, and stay: /v1/cluster/authority, token, join, renew.

Anybody may ask the first three, with nothing but a token in hand; so the token is looked at before anything
that costs. Why somebody was refused is told to them and to the journal. What is said is described in
skerry.fleet.trust.joining; a server joins with the keys of both authorities, for it is to sign, too.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from skerry.entry.rest.auth import caller_of, note
from skerry.entry.rest.codec import decode, respond
from skerry.entry.rest.openapi import described
from skerry.fleet.access.errors import AccessError, ForbiddenError
from skerry.fleet.access.hosts import check_hosts
from skerry.fleet.access.records import AuditRecord
from skerry.fleet.cluster.membership import API_PORT, url_of
from skerry.fleet.store.errors import StoreError
from skerry.fleet.trust.certificates import NODE_LIFETIME_S, SigningRequest, read_certificate, read_request
from skerry.fleet.trust.errors import CertificateError
from skerry.fleet.trust.founding import LOOPBACK
from skerry.fleet.trust.identity import Identity, Role
from skerry.fleet.trust.joining import (
    AUTHORITY_PATH,
    JOIN_PATH,
    RENEW_PATH,
    TOKEN_PATH,
    Joined,
    JoinRequest,
    Renewed,
    RenewRequest,
    StoreShare,
    TokenInfo,
    TokenRequest,
)
from skerry.fleet.trust.token_text import TokenKind, parse_token

if TYPE_CHECKING:
    from starlette.requests import Request

    from skerry.fleet.access.audit import Audit
    from skerry.fleet.access.caller import Caller
    from skerry.fleet.access.members import Members
    from skerry.fleet.cluster.membership import Membership
    from skerry.fleet.trust.files import Pki
    from skerry.kit.clock import Clock

log = logging.getLogger("skerry.access")

Enlist = Callable[[str, str], Awaitable[dict[str, str]]]
"""Makes room in etcd for a new server (node id, address); what to tell it. Called again for a second try."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the handlers work with. `enlist` None: this cluster cannot have more servers (SQLite)."""

    membership: Callable[[], Membership]
    members: Members
    pki: Pki
    audit: Audit
    clock: Clock
    enlist: Enlist | None = None
    lifetime_s: float = NODE_LIFETIME_S


class Joining:
    """The handlers."""

    def __init__(self, parts: Parts) -> None:
        self._cluster = parts
        self._members = parts.members

    def routes(self) -> list[Route]:
        return [
            Route(AUTHORITY_PATH, self.authority, methods=["GET"]),
            Route(TOKEN_PATH, self.token, methods=["POST"]),
            Route(JOIN_PATH, self.join, methods=["POST"]),
            Route(RENEW_PATH, self.renew, methods=["POST"]),
        ]

    @described(media_type="application/x-pem-file")
    async def authority(self, request: Request) -> Response:
        """The certificate of the cluster's authority, for those who know its hash."""
        return PlainTextResponse(self._cluster.pki.read_ca(), media_type="application/x-pem-file")

    @described(takes=TokenRequest, gives=TokenInfo)
    async def token(self, request: Request) -> Response:
        """What a token to join with is for."""
        asked = await decode(request, TokenRequest)
        record = await self._members.check_token(parse_token(asked.token, TokenKind.JOIN))
        membership = self._cluster.membership()
        return respond(TokenInfo(record.role, membership.cluster, membership.name))

    @described(takes=JoinRequest, gives=Joined)
    async def join(self, request: Request) -> Response:
        """Let a machine in that holds a token, and give it its certificate."""
        asked = await decode(request, JoinRequest)
        caller = caller_of(request)
        try:
            return respond(await self._join(asked, caller))
        except (AccessError, CertificateError) as error:
            log.warning("a machine at %s could not join: %s", caller.address or "here", error.message)
            raise

    async def _join(self, asked: JoinRequest, caller: Caller) -> Joined:
        token = parse_token(asked.token, TokenKind.JOIN)
        await self._members.check_token(token, asked.role, expired=True)
        csr = read_request(asked.csr)
        identity = Identity(csr.identity.node, asked.role)
        if identity.role is Role.SERVER and self._cluster.enlist is None:
            raise ForbiddenError(
                "this cluster has one server and its store in a file: it can have agents, no more servers",
                hint="`skerry cluster migrate` moves the store to etcd",
            )
        members, now = await self._members.members(), self._cluster.clock.now()
        said = check_hosts(identity, asked.address or caller.address, asked.names, members, now)
        if said.left_out:
            log.info("node %s is also called as others: %s", identity.node, ", ".join(said.left_out))
        hosts = (said.address, *said.names, *LOOPBACK)
        admitted = await self._members.admit(
            token, identity, csr, self._signer(hosts), address=said.address, names=said.names
        )
        share = None
        if identity.role is Role.SERVER:
            share = await self._share(csr, identity, hosts, said.address)
        membership = self._cluster.membership()
        joined = Joined(
            self._cluster.pki.read_ca(),
            admitted.certificate,
            await self._servers(),
            membership.cluster,
            membership.name,
            identity.node,
            identity.role,
            share,
        )
        log.info("node %s joined as %s from %s", identity.node, identity.role, caller.address or "here")
        await self._write_down(identity, caller, f"as {identity.role}, with token {token.id}")
        return joined

    @described(takes=RenewRequest, gives=Renewed)
    async def renew(self, request: Request) -> Response:
        """A new certificate for the node that asks."""
        caller = caller_of(request)
        if caller.node_role is None:
            raise ForbiddenError("only nodes have certificates to renew")
        asked = await decode(request, RenewRequest)
        identity = Identity(caller.name, caller.node_role)
        serial = caller.principal.rpartition(":")[2]
        renewed = await self._renewed(identity, serial, asked, caller.address)
        note(request, "certificate renewed")
        return respond(renewed)

    async def renew_here(self, asked: RenewRequest) -> Renewed:
        """For this server itself, which can sign: what its Renewal asks. Raises SkerryError."""
        facts = read_certificate(self._cluster.pki.read_node().certificate_pem)
        address = self._cluster.membership().address
        return await self._renewed(facts.identity, facts.serial, asked, address)

    async def _renewed(self, identity: Identity, serial: str, asked: RenewRequest, address: str) -> Renewed:
        found = [m for m in await self._members.members() if m.node == identity.node]
        if found and found[0].address:
            address = found[0].address
        hosts = (address, *found[0].names, *LOOPBACK) if found else (address, *LOOPBACK)
        pem = await self._members.renew(identity, serial, read_request(asked.csr), self._signer(hosts))
        store = ""
        if asked.store_csr:
            store = self._sign_store(read_request(asked.store_csr), identity, hosts)
        return Renewed(pem, await self._servers(), store)

    def _signer(self, hosts: tuple[str, ...]) -> Callable[[SigningRequest, Identity], str]:
        authority = self._cluster.pki.authority()

        def sign(request: SigningRequest, identity: Identity) -> str:
            now = self._cluster.clock.now()
            return authority.issue(
                request, identity, now, hosts=_distinct(hosts), lifetime_s=self._cluster.lifetime_s
            )

        return sign

    def _sign_store(self, request: SigningRequest, identity: Identity, hosts: tuple[str, ...]) -> str:
        return self._cluster.pki.store_authority().issue_store(
            request,
            identity,
            self._cluster.clock.now(),
            hosts=_distinct(hosts),
            lifetime_s=self._cluster.lifetime_s,
        )

    async def _share(
        self, request: SigningRequest, identity: Identity, hosts: tuple[str, ...], address: str
    ) -> StoreShare:
        assert self._cluster.enlist is not None  # noqa: S101  asked before
        etcd = await self._cluster.enlist(identity.node, address)
        store = self._cluster.pki.store_authority()
        certificate = self._sign_store(request, identity, hosts)
        return StoreShare(store.pem, store.key_pem, certificate, self._cluster.pki.authority().key_pem, etcd)

    async def _servers(self) -> tuple[str, ...]:
        """The URLs of all servers: those that this one knew, and those that joined."""
        members = await self._members.members()
        joined = [url_of(m.address, API_PORT) for m in members if m.role is Role.SERVER and m.address]
        return tuple(dict.fromkeys([*self._cluster.membership().servers, *sorted(joined)]))

    async def _write_down(self, identity: Identity, caller: Caller, detail: str) -> None:
        """Joining is open to strangers, so the guard does not write it down: success is, here."""
        record = AuditRecord(
            self._cluster.clock.now(), "node", identity.node, caller.address, f"POST {JOIN_PATH}", 200, detail
        )
        try:
            await self._cluster.audit.append(record)
        except StoreError as error:
            log.warning("the audit log does not have this yet: %s", error.message)


def _distinct(hosts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(host for host in hosts if host))
