"""python-tuf's network, over kit.transport: counts bytes, and remembers what metadata it brought."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface  # type: ignore[attr-defined]

from skerry.kit.transport import NotFoundError, RefusedError, TransportError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from skerry.kit.transport import Transport

_NAME = re.compile(r"/(?:(\d+)\.)?([^/]+)\.json$")
KEPT_BYTES = 512_000


class Fetcher(FetcherInterface):
    """`last` is the URL asked for last; `roots` and `seen` are what came, by number and by role."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.last = ""
        self.bytes_fetched = 0
        self.roots: dict[int, bytes] = {}
        self.seen: dict[str, bytes] = {}

    def role(self) -> str:
        """The role that `last` is of, by its name."""
        found = _NAME.search(self.last)
        return found[2] if found else self.last

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.last = url
        kept = bytearray()
        try:
            with self._transport.open(url) as body:
                for chunk in body.chunks():
                    self.bytes_fetched += len(chunk)
                    if len(kept) <= KEPT_BYTES:
                        kept += chunk
                    yield chunk
        except TransportError as error:
            if self.role() == "root" and _is_absent(error):
                # That there is no next root is how the chain of them ends, and no failure.
                raise DownloadHTTPError(f"no {url}", 404) from error
            raise
        found = _NAME.search(url)
        if found is not None:
            self.seen[found[2]] = bytes(kept)
            if found[2] == "root" and found[1]:
                self.roots[int(found[1])] = bytes(kept)


def _is_absent(error: TransportError) -> bool:
    """Object stores that may not be listed answer 403 for what is not there."""
    forbidden = isinstance(error, RefusedError) and getattr(error.__cause__, "code", None) == 403
    return forbidden or isinstance(error, NotFoundError)
