"""Pages of long lists.

fleet's: a token is the URL-safe base64 of two little-endian 16-bit numbers, limit and page.

    (100, 2) → "ZAACAA=="

The limit is the server's own; a token that says another, or page 0, is refused. Those of /v1: the token is
that of the last item, URL-safe base64 of its name, so that a page stays right while others come and go.
"""

from __future__ import annotations

import base64
import binascii
import bisect
import struct
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_LIMIT = 100
LONGEST_PAGE = 1000  # items of a page of /v1
LAST_PAGE = 0xFFFF
_TOKEN = struct.Struct("<HH")

T = TypeVar("T")


def encode_token(limit: int, page: int) -> str:
    """The token of a page; pages count from 1."""
    return base64.urlsafe_b64encode(_TOKEN.pack(limit, page)).decode()


def decode_page(tokens: Sequence[str], limit: int) -> int:
    """The page that a request's `nextPageToken` values ask for. Raises ValueError with the reason."""
    if not tokens:
        return 1
    if len(tokens) > 1:
        raise ValueError("too many values for nextPageToken")
    try:
        raw = base64.b64decode(tokens[0], altchars=b"-_", validate=True)
        said, page = _TOKEN.unpack(raw)
    except (binascii.Error, struct.error, ValueError):
        raise ValueError(f"invalid nextPageToken {tokens[0]!r}") from None
    if said != limit:
        raise ValueError(f"nextPageToken asks for pages of {said}, this server has pages of {limit}")
    if page == 0:
        raise ValueError("nextPageToken asks for page 0, pages count from 1")
    return int(page)


def cut(items: Sequence[T], limit: int, page: int) -> tuple[list[T], str | None]:
    """The items of one page, and the token of the next where there is one."""
    stop = page * limit
    more = stop < len(items) and page < LAST_PAGE
    return list(items[stop - limit : stop]), encode_token(limit, page + 1) if more else None


def page_after(names: Sequence[str], query: Mapping[str, str]) -> tuple[list[str], str | None]:
    """The part of sorted `names` that ?limit= and ?token= ask for, and the next token. Raises ValueError."""
    said = query.get("limit", str(LONGEST_PAGE))
    if not said.isascii() or not said.isdigit() or not 1 <= int(said) <= LONGEST_PAGE:
        raise ValueError(f"limit={said!r} is not a number from 1 to {LONGEST_PAGE}")
    token = query.get("token", "")
    try:
        last = base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise ValueError(f"invalid token {token!r}: it is what the page before gave as `next`") from None
    start = bisect.bisect_right(names, last) if token else 0
    found = list(names[start : start + int(said)])
    if start + int(said) >= len(names):
        return found, None
    return found, base64.urlsafe_b64encode(found[-1].encode()).decode()
