"""A node's certificate renews itself at two thirds of its life, with a new key, without a person.

    wait until due ─→ new key, request ─→ ask a server ─→ check ─→ store.pem, node.pem ─→ take them into use
                        ↑────────── not now: again in 1 min … 1 h ──────────┘

A server has a second certificate, of the store's authority, and renews both; it signs for itself, for nobody
else can where it is the only one and was off for long. Each file is one rename: killed in between, the other
one is still due, and both are renewed again. Dates are wall-clock dates, so the clock is looked at again at
least every hour: it may have been set.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from skerry.fleet.trust.certificates import Credential, Facts, make_request, new_key, read_certificate, verify
from skerry.fleet.trust.errors import NoServerError
from skerry.fleet.trust.joining import RENEW_PATH, Renewed, RenewRequest
from skerry.kit.errors import SkerryError
from skerry.kit.http import HttpError
from skerry.kit.wire import Wire

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from skerry.fleet.trust.files import Pki
    from skerry.kit.clock import Clock

Ask = Callable[[RenewRequest], Awaitable[Renewed]]
JSON = {"Content-Type": "application/json"}
ASK_S = 30.0

log = logging.getLogger("skerry.trust")

SHARE = 2 / 3
FIRST_RETRY_S = 60.0
LONGEST_WAIT_S = 3600.0


def due_at(facts: Facts) -> float:
    """When a certificate is to be renewed, in seconds since 1970."""
    return facts.issued + (facts.expires - facts.issued) * SHARE


class Renewal:
    """`ask` takes a request to a server and brings certificates; `renewed` is called when they are there."""

    def __init__(
        self,
        pki: Pki,
        clock: Clock,
        ask: Ask,
        renewed: Callable[[], None] = lambda: None,
    ) -> None:
        self._pki = pki
        self._clock = clock
        self._ask = ask
        self._renewed = renewed

    async def run(self) -> None:
        """For as long as the node runs; what fails is logged and tried again."""
        retry_s = FIRST_RETRY_S
        while True:
            try:
                left_s = await self.turn()
                retry_s = FIRST_RETRY_S
            except SkerryError as error:
                log.warning("the certificate of this node is not renewed yet: %s", error.message)
                left_s, retry_s = retry_s, min(retry_s * 2, LONGEST_WAIT_S)
            await self._clock.sleep(min(left_s, LONGEST_WAIT_S))

    async def turn(self) -> float:
        """Renew where it is due; seconds until it is due next. Raises SkerryError."""
        facts = read_certificate(self._pki.read_node().certificate_pem)
        has_store = self._pki.store.exists()
        due = due_at(facts)
        if has_store:
            due = min(due, due_at(read_certificate(self._pki.read_store().certificate_pem)))
        if (left_s := due - self._clock.now()) > 0:
            return left_s
        key = new_key()
        request = make_request(key, facts.identity)
        answer = await self._ask(RenewRequest(request, request if has_store else ""))
        now = self._clock.now()
        fresh = verify(answer.certificate, self._pki.read_ca(), facts.identity, now)
        node = Credential.parse(key + answer.certificate)
        if has_store:
            verify(answer.store_certificate, self._pki.read_store_ca(), facts.identity, now)
            self._pki.write_store(Credential.parse(key + answer.store_certificate))
        self._pki.write_node(node)
        self._renewed()
        log.info("renewed the certificate of this node")
        return due_at(fresh) - now


def ask_servers(servers: Callable[[], Sequence[str]], tls: Callable[[], ssl.SSLContext]) -> Ask:
    """Asks the first server that answers, with this node's certificate. Raises HttpError, TrustError."""

    async def ask(request: RenewRequest) -> Renewed:
        body = msgspec.json.encode(request)
        failure: SkerryError = NoServerError("no server is known to renew the certificate")
        for url in servers():
            wire = Wire(url, tls)
            try:
                answer = await wire.request("POST", RENEW_PATH, body, headers=JSON, timeout_s=ASK_S)
                return msgspec.json.decode(answer.checked().body, type=Renewed)
            except msgspec.DecodeError:
                failure = NoServerError(f"the answer of {url} cannot be read; is it of another version?")
            except HttpError as error:
                failure = error
            finally:
                wire.close()
        raise failure

    return ask
