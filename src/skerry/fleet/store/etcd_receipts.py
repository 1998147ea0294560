"""Which receipts of our transactions lie in etcd, and which of them may be removed.

That of a transaction which was answered at once is removed with the next change. That of one which was sent
twice stays for a while: the first of the two may still arrive, and must find it.
"""

from __future__ import annotations

import collections
import itertools
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.kit.clock import Clock

CLEARED_AT_ONCE = 64
LATE_S = 600.0
"""Longer than a member that was stopped, and goes on, could still act on an old request."""


class Receipts:
    """All of one process; `prefix` is what their keys begin with."""

    def __init__(self, prefix: bytes, clock: Clock) -> None:
        self.prefix = prefix
        self._clock = clock
        self._nonce = secrets.token_hex(8)
        self._count = itertools.count()
        self._done: collections.deque[bytes] = collections.deque()
        self._late: collections.deque[tuple[float, bytes]] = collections.deque()

    def fresh(self) -> bytes:
        """A key that no transaction has had."""
        return self.prefix + f"{self._nonce}{next(self._count):x}".encode()

    def kept(self, receipt: bytes, *, late: bool) -> None:
        """The transaction is over; `late` where an attempt of it may still be on its way."""
        if late:
            self._late.append((self._clock.monotonic() + LATE_S, receipt))
        else:
            self._done.append(receipt)

    def to_clear(self) -> list[bytes]:
        """Receipts that may go now; those that did not go after all are to be put back."""
        now = self._clock.monotonic()
        while self._late and self._late[0][0] <= now:
            self._done.append(self._late.popleft()[1])
        return [self._done.popleft() for _ in range(min(len(self._done), CLEARED_AT_ONCE))]

    def put_back(self, receipts: list[bytes]) -> None:
        self._done.extend(receipts)
