"""A repository over HTTP/1.1, for laboratories, small networks and tests: static files, with ranges.

GET and HEAD of what is below metadata/, targets/ and blobs/, and nothing else: no listings, no hidden files,
no way out by `..` or a symbolic link. One range is honoured (206, or 416 with the size), several are answered
with the whole; If-Range and If-None-Match compare entity tags. TLS is for whatever stands in front.

Ranges: https://www.rfc-editor.org/rfc/rfc9110#section-14
"""

from __future__ import annotations

import email.utils
import re
import socket
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from skerry.image.release.errors import ReleaseError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from io import BufferedIOBase
    from pathlib import Path

SERVED = ("metadata", "targets", "blobs")
SILENCE_S = 60
COPY_BYTES = 256 * 1024
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
_HASHED = re.compile(r"/blobs/|/\d+\.[^/]+\.json$|/[0-9a-f]{64}\.[^/]+$", re.ASCII)


class Server(ThreadingHTTPServer):
    """Serves one directory; `log` is told of every request. `port` 0 lets the system choose."""

    daemon_threads = True

    def __init__(
        self, directory: Path, host: str, port: int, *, log: Callable[[str], None] | None = None
    ) -> None:
        self.directory = directory.resolve()
        self.log = log
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), Handler)
        except OSError as error:
            raise ReleaseError(f"cannot listen on {host} port {port}: {error.strerror}") from error

    @property
    def url(self) -> str:
        """Where it answers."""
        host, port = self.server_address[:2]
        name = str(host)
        return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away in the middle is no event."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "skerry"
    sys_version = ""
    timeout = SILENCE_S

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        if self.server.log is not None:
            self.server.log(f"{self.address_string()} {format % args}")

    def _answer(self, *, body: bool) -> None:
        path = self._path()
        if path is None:
            self._empty(HTTPStatus.NOT_FOUND)
            return
        try:
            file = path.open("rb")
        except OSError:
            self._empty(HTTPStatus.NOT_FOUND)
            return
        with file:
            self._file(file, body=body)

    def _file(self, file: IO[bytes], *, body: bool) -> None:
        import os

        facts = os.fstat(file.fileno())
        tag = _tag(facts)
        if tag in (self.headers.get("If-None-Match") or "").replace(",", " ").split():
            self._empty(HTTPStatus.NOT_MODIFIED, tag)
            return
        asked = self._asked(tag, facts.st_mtime)
        if asked is None:
            start, end, status = 0, facts.st_size, HTTPStatus.OK
        else:
            found = _resolve(asked, facts.st_size)
            if found is None:
                self._empty(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, tag, f"bytes */{facts.st_size}")
                return
            (start, end), status = found, HTTPStatus.PARTIAL_CONTENT
        self.send_response(status)
        self.send_header(
            "Content-Type", "application/json" if self.path.endswith(".json") else "application/octet-stream"
        )
        self.send_header("Content-Length", str(end - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", tag)
        self.send_header("Last-Modified", email.utils.formatdate(facts.st_mtime, usegmt=True))
        kept = "public, max-age=31536000, immutable" if _HASHED.search(self.path) else "no-cache"
        self.send_header("Cache-Control", kept)
        if status is HTTPStatus.PARTIAL_CONTENT:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{facts.st_size}")
        self.end_headers()
        if body:
            file.seek(start)
            _copy(file, self.wfile, end - start)

    def _path(self) -> Path | None:
        """The file that is meant; None for whatever is not served."""
        parts = unquote(urlsplit(self.path).path).split("/")[1:]
        if not parts or parts[0] not in SERVED or any(not part or part.startswith(".") for part in parts):
            return None
        if any("\0" in part for part in parts):
            return None
        path = self.server.directory.joinpath(*parts)
        if not path.is_file() or not path.resolve().is_relative_to(self.server.directory):
            return None
        return path

    def _asked(self, tag: str, modified: float) -> str | None:
        """The Range that is to be honoured; None where the whole is to be sent."""
        asked = self.headers.get("Range")
        only_if = self.headers.get("If-Range")
        if asked is None or not _RANGE.fullmatch(asked.strip()) or asked.strip() == "bytes=-":
            return None
        if only_if is not None and only_if.strip() not in (
            tag,
            email.utils.formatdate(modified, usegmt=True),
        ):
            return None
        return asked.strip()

    def _empty(self, status: HTTPStatus, tag: str | None = None, content_range: str | None = None) -> None:
        self.send_response(status)
        if status is not HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", "0")
        if tag is not None:
            self.send_header("ETag", tag)
        if content_range is not None:
            self.send_header("Content-Range", content_range)
        self.end_headers()


def _resolve(asked: str, size: int) -> tuple[int, int] | None:
    """`bytes=A-B`, `A-` or `-LAST` as (start, end exclusive); None where no byte of the file is in it."""
    first, last = asked.removeprefix("bytes=").split("-")
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
    return (start, end) if start < end else None


def _tag(facts: os.stat_result) -> str:
    return f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'


def _copy(source: IO[bytes], target: BufferedIOBase, left: int) -> None:
    while left > 0 and (piece := source.read(min(left, COPY_BYTES))):
        target.write(piece)
        left -= len(piece)
