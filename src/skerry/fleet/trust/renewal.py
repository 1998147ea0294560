"""A node's certificate renews itself at two thirds of its life, with a new key, without a person.

    wait until due ─→ new key, request ─→ ask a server ─→ check ─→ node.pem (one rename) ─→ take it into use
                        ↑────────── not now: again in 1 min … 1 h ──────────┘

Dates are wall-clock dates, so the clock is looked at again at least every hour: it may have been set.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from skerry.fleet.trust.certificates import Credential, Facts, make_request, new_key, read_certificate, verify
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from skerry.fleet.trust.files import Pki
    from skerry.kit.clock import Clock

log = logging.getLogger("skerry.trust")

SHARE = 2 / 3
FIRST_RETRY_S = 60.0
LONGEST_WAIT_S = 3600.0


def due_at(facts: Facts) -> float:
    """When a certificate is to be renewed, in seconds since 1970."""
    return facts.issued + (facts.expires - facts.issued) * SHARE


class Renewal:
    """`ask` takes a request (PEM) to a server and brings the certificate (PEM); `renewed` is called after."""

    def __init__(
        self,
        pki: Pki,
        clock: Clock,
        ask: Callable[[str], Awaitable[str]],
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
        left_s = due_at(facts) - self._clock.now()
        if left_s > 0:
            return left_s
        key = new_key()
        pem = await self._ask(make_request(key, facts.identity))
        fresh = verify(pem, self._pki.read_ca(), facts.identity, self._clock.now())
        self._pki.write_node(Credential.parse(key + pem))
        self._renewed()
        log.info("renewed the certificate of this node")
        return due_at(fresh) - self._clock.now()
