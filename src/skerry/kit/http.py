"""A small HTTP/1.1 client for our own API, over a Unix socket, to a loopback address, or to a cluster by TLS.

One request a connection, JSON in and out, answers whole or line by line. It is what `skerry` starts
with every time, so it imports almost nothing: `http.client` alone brings `email` and `ssl` and costs
20 ms, more than the whole of an answer. It speaks to servers of ours and refuses what those never send:
redirects and compression. Without TLS it reaches this machine only; with it, the caller's context decides
whom it trusts, and a token goes to nobody else.

Messages: https://www.rfc-editor.org/rfc/rfc9112 (status line 4, header fields 5, chunked 7.1).
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeAlias

from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping, Sequence
    from io import BufferedReader

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
Query: TypeAlias = "Mapping[str, str | Sequence[str]]"

DEFAULT_SOCKET = "/run/skerry/api.sock"
MAX_LINE_BYTES = 64 * 1024
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class HttpError(SkerryError):
    """The server cannot be reached, or did not speak HTTP."""


class ApiError(HttpError):
    """The server answered with an error; its own message and hint.

    `status` is the HTTP status, `code` the word (or number) that the server gave for programs.
    """

    def __init__(self, status: int, code: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def json(self) -> Json:
        """The body's value. Raises HttpError where it is not JSON."""
        try:
            value: Json = json.loads(self.body)
        except ValueError as error:
            raise HttpError(f"the server's answer is not JSON: {self.text[:80]!r}") from error
        return value

    def checked(self) -> Answer:
        """This answer; raises ApiError for a status of 400 and above."""
        if self.status >= 400:
            raise _api_error(self)
        return self


class Client:
    """Speaks to one server: `/path/to.sock`, `unix:/path/to.sock`, `http://127.0.0.1:PORT` or `https://…`.

    `timeout_s` bounds each wait for bytes, not a whole stream; None waits for ever. `context` is for https,
    and must check the server by itself; `token` is sent to a server that it trusts.
    """

    def __init__(
        self,
        target: str = DEFAULT_SOCKET,
        *,
        timeout_s: float | None = 60,
        context: ssl.SSLContext | None = None,
        token: str | None = None,
    ) -> None:
        self.target = target
        self.timeout_s = timeout_s
        self._context = context
        self._token = token
        self._path: str | None = None
        self._address = ("", 0)
        if target.startswith("https://"):
            self._address = _host_and_port(target, context)
        elif target.startswith("http://"):
            self._address = _loopback(target)
        else:
            self._path = target.removeprefix("unix://").removeprefix("unix:")

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request and read the whole answer, whatever its status. Raises HttpError."""
        with self._send(method, path, query, body, content_type, headers) as stream:
            return Answer(stream.status, stream.headers, b"".join(stream.chunks()))

    def call(self, method: str, path: str, value: Json = None, *, query: Query | None = None) -> Json:
        """Send JSON (None for no body), return the JSON that came back. Raises ApiError, HttpError."""
        body = None if value is None else json.dumps(value, ensure_ascii=False).encode()
        answer = self.request(method, path, query=query, body=body).checked()
        return answer.json() if answer.body else None

    def lines(
        self, method: str, path: str, value: Json = None, *, query: Query | None = None
    ) -> Iterator[bytes]:
        """The lines of a streamed answer as they come, without their ends. Raises ApiError, HttpError."""
        body = None if value is None else json.dumps(value, ensure_ascii=False).encode()
        accept = {"Accept": "application/x-ndjson"}
        with self._send(method, path, query, body, "application/json", accept) as stream:
            if stream.status >= 400:
                raise _api_error(Answer(stream.status, stream.headers, b"".join(stream.chunks())))
            rest = b""
            for chunk in stream.chunks():
                *whole, rest = (rest + chunk).split(b"\n")
                yield from whole
            if rest:
                yield rest

    def _send(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: bytes | None,
        content_type: str,
        headers: Mapping[str, str] | None,
    ) -> _Stream:
        connection = self._connect()
        target = path if query is None else f"{path}?{encode_query(query)}"
        head = [f"{method} {target} HTTP/1.1", "Host: skerry", "Connection: close"]
        if self._token is not None and self._context is not None:
            head.append(f"Authorization: Bearer {self._token}")
        head += [f"{name}: {text}" for name, text in (headers or {}).items()]
        if body is not None:
            head += [f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
        elif method in {"POST", "PUT", "PATCH"}:
            head.append("Content-Length: 0")
        try:
            connection.sendall("\r\n".join([*head, "", ""]).encode() + (body or b""))
            return _Stream(connection)
        except OSError as error:
            connection.close()
            raise self._broken(error) from error
        except BaseException:
            connection.close()
            raise

    def _connect(self) -> socket.socket:
        if self._context is not None and self._path is None:
            return self._secured(self._context)
        family = socket.AF_UNIX if self._path is not None else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(self.timeout_s)
        try:
            connection.connect(self._path if self._path is not None else self._address)
        except OSError as error:
            connection.close()
            raise self._unreachable(error) from error
        return connection

    def _secured(self, context: ssl.SSLContext) -> socket.socket:
        try:
            connection = socket.create_connection(self._address, self.timeout_s)
        except OSError as error:
            raise self._unreachable(error) from error
        try:
            return context.wrap_socket(connection, server_hostname=self._address[0])
        except OSError as error:
            connection.close()
            if isinstance(error, TimeoutError):
                raise self._broken(error) from error
            raise HttpError(
                f"{self.target} is not trusted: {getattr(error, 'verify_message', '') or error}",
                hint="it is not a server of the cluster that is meant, or a clock is wrong",
            ) from error

    def _unreachable(self, error: OSError) -> HttpError:
        if isinstance(error, PermissionError):
            return HttpError(f"you may not use {self.target}", hint="become root, for instance with run0")
        if self._path is None:
            return HttpError(f"cannot reach {self.target}: {error.strerror or error}")
        why = "nobody listens there" if isinstance(error, ConnectionRefusedError) else error.strerror
        return HttpError(
            f"cannot reach skerryd at {self._path}: {why}",
            hint="is skerryd running? `systemctl status skerryd` tells; on a workstation, "
            "`skerry context add` names a cluster to speak to",
        )

    def _broken(self, error: OSError) -> HttpError:
        if isinstance(error, TimeoutError):
            return HttpError(f"{self.target} did not answer within {self.timeout_s:g} s")
        return HttpError(f"the connection to {self.target} broke: {error.strerror or error}")


class _Stream:
    """An answer whose head has been read; a context manager that closes the connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._file: BufferedReader = connection.makefile("rb")
        version, _, rest = self._line().partition(" ")
        code = rest[:3]
        if not version.startswith("HTTP/1.") or not code.isdigit():
            raise HttpError("the server does not speak HTTP/1.1")
        self.status = int(code)
        self.headers: dict[str, str] = {}
        while line := self._line():
            name, _, text = line.partition(":")
            self.headers[name.strip().lower()] = text.strip()

    def chunks(self) -> Iterator[bytes]:
        """The body, piece by piece as it arrives, without its framing."""
        try:
            yield from self._framed()
        except TimeoutError as error:
            raise HttpError("the server went silent in the middle of its answer") from error
        except OSError as error:
            raise HttpError(f"the connection broke: {error.strerror}") from error

    def _framed(self) -> Iterator[bytes]:
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := self._chunk_size():
                yield self._exactly(size)
                self._line()
            return
        left = int(self.headers.get("content-length", "0"))
        while left > 0:
            piece = self._exactly(min(left, 1 << 16))
            left -= len(piece)
            yield piece

    def _chunk_size(self) -> int:
        line = self._line()
        try:
            return int(line.partition(";")[0], 16)
        except ValueError as error:
            raise HttpError("the server stopped in the middle of its answer") from error

    def _exactly(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise HttpError("the server stopped in the middle of its answer")
        return data

    def _line(self) -> str:
        line = self._file.readline(MAX_LINE_BYTES)
        return line.decode("latin-1").rstrip("\r\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._connection.close()


def quote(text: str) -> str:
    """Percent-encode one segment of a path, or a word of a query; '/' as well."""
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in text.encode())


def encode_query(query: Query) -> str:
    """`a=1&b=2&b=3` from a mapping of words to a text or several."""
    pairs: list[str] = []
    for name, value in query.items():
        values = [value] if isinstance(value, str) else value
        pairs += [f"{quote(name)}={quote(item)}" for item in values]
    return "&".join(pairs)


def _host_and_port(target: str, context: ssl.SSLContext | None) -> tuple[str, int]:
    host, colon, port = target.removeprefix("https://").rstrip("/").rpartition(":")
    if not host or not colon or not port.isdigit() or not 0 < int(port) < 65536 or "/" in host:
        raise HttpError(f"{target} has no host and port", hint="write it as https://HOST:7443")
    if context is None:
        raise HttpError(
            f"{target} cannot be trusted yet", hint="`skerry context add` names a cluster to speak to"
        )
    return (host.strip("[]"), int(port))


def _loopback(target: str) -> tuple[str, int]:
    host, _, port = target.removeprefix("http://").rstrip("/").rpartition(":")
    if host not in _LOOPBACK or not port.isdigit():
        raise HttpError(
            f"{target} is not a loopback address with a port",
            hint="plain HTTP is spoken within one machine only: http://127.0.0.1:PORT",
        )
    return ("127.0.0.1", int(port))


def _api_error(answer: Answer) -> ApiError:
    """Read `{"error": {"code", "message", "hint"}}`; anything else becomes the message as it stands."""
    try:
        value: Json = json.loads(answer.body)
    except ValueError:
        value = None
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict):
        said = answer.text.strip()[:200] or "no reason given"
        return ApiError(answer.status, str(answer.status), f"the server answered {answer.status}: {said}")
    hint = error.get("hint")
    return ApiError(
        answer.status,
        str(error.get("code", answer.status)),
        str(error.get("message", "no reason given")),
        hint=hint if isinstance(hint, str) else None,
    )
