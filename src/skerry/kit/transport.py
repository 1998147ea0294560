"""Bytes from a URL: https, http, or a file on this machine, whole or from one byte to another.

Synchronous, and of the standard library alone; proxies come from the environment as every program has them.
Refuses redirects that leave TLS, compressed answers, and answers that trickle so slowly that they never end.
Promises nothing about what arrives: whoever asks knows the size and the hash, and checks.

    TransportError
    ├── NotFoundError               the server has no such thing
    ├── RangeError                  … or not this range of it; without a range it may
    ├── RefusedError                asking again changes nothing
    ├── TooLongError                more bytes than the caller allows
    └── InterruptedTransferError    cut, refused for now, too slow: worth trying again

`import urllib.request` takes 50 ms, so it waits for the first URL that needs it.
"""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    import http.client
    import urllib.error
    import urllib.request
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import IO

CHUNK_BYTES = 128 * 1024
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)", re.ASCII)


class TransportError(SkerryError):
    """Bytes could not be had from a URL."""


class NotFoundError(TransportError):
    """There is nothing at this URL."""


class RangeError(TransportError):
    """The server does not give this range."""


class RefusedError(TransportError):
    """The server, or we, will not do this, however often it is tried."""


class TooLongError(TransportError):
    """An answer has more bytes than it may."""


class InterruptedTransferError(TransportError):
    """The network or the server failed on the way; another try may succeed."""


class Body(Protocol):
    """An answer that is being read. `start` is where it begins: 0 where the server ignored the range asked.

    `total` is the size of the whole thing, as the server says; None where it does not.
    """

    start: int
    total: int | None

    def chunks(self) -> Iterator[bytes]:
        """What arrives, once, in pieces of at most CHUNK_BYTES.

        Raises InterruptedTransferError where it ends before the server said it would.
        """


class Transport(Protocol):
    def open(
        self, url: str, *, start: int = 0, end: int | None = None
    ) -> AbstractContextManager[Body]:  # pragma: no cover
        """Ask for the bytes from `start` to `end` (exclusive; None is the end). Raises TransportError."""


class UrlTransport:
    """Speaks to real servers.

    `timeout_s` is the longest silence; an answer that brings less than `least_rate` bytes a second for
    `patience_s` is given up, since a trickle would hold an update for ever.
    """

    def __init__(
        self,
        *,
        timeout_s: float = 30,
        least_rate: int = 512,
        patience_s: float = 60,
        ca_file: Path | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout_s = timeout_s
        self._pace = _Pace(least_rate, patience_s, monotonic)
        self._ca_file = ca_file
        self._opener: urllib.request.OpenerDirector | None = None

    @contextlib.contextmanager
    def open(self, url: str, *, start: int = 0, end: int | None = None) -> Iterator[Body]:
        scheme, _, rest = url.partition(":")
        scheme = scheme.lower()
        if scheme == "file":
            with _open_file(url, start, end) as body:
                yield body
            return
        if scheme not in ("http", "https") or not rest.strip("/"):
            raise RefusedError(
                f"{url} is not a URL that can be fetched", hint="use https://, http:// or file:///"
            )
        response = self._ask(url, start, end)
        with response:
            yield _answer(url, response, start, end, self._pace)

    def _ask(self, url: str, start: int, end: int | None) -> http.client.HTTPResponse:
        import http.client
        import urllib.error
        import urllib.request

        if self._opener is None:
            self._opener = _make_opener(self._ca_file)
        headers = {"User-Agent": "skerry", "Accept-Encoding": "identity"}
        if start or end is not None:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        try:
            request = urllib.request.Request(url, headers=headers)  # noqa: S310  open() looked at the scheme
            response: http.client.HTTPResponse = self._opener.open(request, timeout=self._timeout_s)
        except urllib.error.HTTPError as error:
            error.close()
            raise _of_status(url, error) from error
        except urllib.error.URLError as error:
            raise _of_reason(url, error.reason) from error
        except (OSError, http.client.HTTPException) as error:
            raise InterruptedTransferError(f"{url}: {_said(error)}") from error
        except ValueError as error:
            raise RefusedError(f"{url} is not a URL: {error}") from error
        return response


def read(transport: Transport, url: str, *, limit: int) -> bytes:
    """A whole small thing. Raises TransportError, TooLongError where it has more than `limit` bytes."""
    held = bytearray()
    with transport.open(url) as body:
        for chunk in body.chunks():
            held += chunk
            if len(held) > limit:
                raise TooLongError(f"{url} has more than the {limit} bytes it may have")
    return bytes(held)


class _Pace:
    """How slow is too slow."""

    def __init__(self, least_rate: int, patience_s: float, monotonic: Callable[[], float]) -> None:
        self._least = least_rate * patience_s
        self._patience_s = patience_s
        self._monotonic = monotonic

    def watch(self, url: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The chunks, as long as enough of them come; only the time spent waiting for them counts."""
        waited_s, brought = 0.0, 0
        asked = self._monotonic()
        for chunk in chunks:
            waited_s += self._monotonic() - asked
            brought += len(chunk)
            if waited_s >= self._patience_s:
                if brought < self._least:
                    raise InterruptedTransferError(f"{url} is too slow: {brought} bytes in {waited_s:.0f} s")
                waited_s, brought = 0.0, 0
            yield chunk
            asked = self._monotonic()


class _HttpBody:
    def __init__(
        self, url: str, response: http.client.HTTPResponse, start: int, total: int | None, pace: _Pace
    ) -> None:
        self.start = start
        self.total = total
        self._url = url
        self._response = response
        self._pace = pace

    def chunks(self) -> Iterator[bytes]:
        return self._pace.watch(self._url, self._arriving())

    def _arriving(self) -> Iterator[bytes]:
        import http.client

        promised = self._response.length  # what is left of Content-Length; None where chunked or unknown
        read = 0
        try:
            while chunk := self._response.read1(CHUNK_BYTES):
                read += len(chunk)
                yield chunk
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise InterruptedTransferError(f"{self._url}: cut after {read} bytes: {_said(error)}") from error
        if promised is not None and read < promised:
            raise InterruptedTransferError(f"{self._url}: ended after {read} of {promised} bytes")


class _FileBody:
    def __init__(self, file: IO[bytes], start: int, end: int, total: int) -> None:
        self.start = start
        self.total: int | None = total
        self._file = file
        self._end = end

    def chunks(self) -> Iterator[bytes]:
        left = self._end - self.start
        while left > 0 and (chunk := self._file.read(min(left, CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk
        if left > 0:
            raise InterruptedTransferError(f"{self._file.name} became shorter while it was read")


@contextlib.contextmanager
def _open_file(url: str, start: int, end: int | None) -> Iterator[Body]:
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise RefusedError(f"{url} names another machine", hint="a file has three slashes: file:///srv/…")
    path = Path(url2pathname(parts.path))
    try:
        with path.open("rb") as file:
            total = file.seek(0, 2)
            if start and start >= total:
                raise RangeError(f"{path} has {total} bytes; there is nothing at {start}")
            file.seek(start)
            yield _FileBody(file, start, total if end is None else min(end, total), total)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"there is no {path}") from error
    except OSError as error:
        raise RefusedError(f"{path} cannot be read: {error.strerror}") from error


def _answer(
    url: str, response: http.client.HTTPResponse, start: int, end: int | None, pace: _Pace
) -> _HttpBody:
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("", "identity"):
        raise RefusedError(
            f"{url} comes in the encoding {encoding!r}, which was not asked for",
            hint="have the web server send blobs as they are",
        )
    if response.status == 206:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if found is None:
            raise RangeError(f"{url}: the server sent a part without saying which")
        return _HttpBody(url, response, int(found[1]), None if found[2] == "*" else int(found[2]), pace)
    if response.status != 200:
        raise RefusedError(f"{url}: the server answers {response.status}")
    return _HttpBody(url, response, 0, response.length, pace)


def _make_opener(ca_file: Path | None) -> urllib.request.OpenerDirector:
    import ssl
    import urllib.request as requests

    class Redirects(requests.HTTPRedirectHandler):
        def redirect_request(
            self,
            req: requests.Request,
            fp: IO[bytes],
            code: int,
            msg: str,
            headers: http.client.HTTPMessage,
            newurl: str,
        ) -> requests.Request | None:
            scheme = newurl.partition(":")[0].lower()
            if scheme not in ("http", "https") or (req.type == "https" and scheme != "https"):
                fp.close()
                raise RefusedError(
                    f"{req.full_url} leads to {newurl}, and that is refused",
                    hint="name the right address in the settings",
                )
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    opener = requests.OpenerDirector()
    context = ssl.create_default_context(cafile=ca_file)
    for handler in (
        requests.ProxyHandler(),
        requests.UnknownHandler(),
        requests.HTTPHandler(),
        requests.HTTPSHandler(context=context),
        requests.HTTPDefaultErrorHandler(),
        Redirects(),
        requests.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _of_status(url: str, error: urllib.error.HTTPError) -> TransportError:
    code = error.code
    if code in (404, 410):
        return NotFoundError(
            f"{url} does not exist (the server answers {code})",
            hint="is the repository's address right, and was everything copied to the server?",
        )
    if code == 416:
        return RangeError(f"{url}: the server does not have the range asked for")
    if code in (401, 403):
        return RefusedError(f"{url}: the server does not let us ({code})")
    if code == 407:
        return RefusedError(f"{url}: the proxy wants a password", hint="put it into https_proxy")
    if code in _PASSING:
        return InterruptedTransferError(f"{url}: the server answers {code} for now")
    return RefusedError(f"{url}: the server answers {code}")


def _of_reason(url: str, reason: object) -> TransportError:
    import ssl

    if isinstance(reason, ssl.SSLCertVerificationError):
        return RefusedError(
            f"{url}: the server's certificate is not trusted: {reason.verify_message}",
            hint="a wrong clock does this too; see timedatectl",
        )
    return InterruptedTransferError(f"{url} cannot be reached: {_said(reason)}")


def _said(error: object) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
