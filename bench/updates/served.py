"""A web server on the loopback that counts what it sends: files of a directory, whole or by ranges."""

from __future__ import annotations

import contextlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOUNDARY = "skerry-bench"


class Served:
    """The server's address, and the bytes of bodies and the requests since `reset`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bytes = 0
        self.requests = 0
        self._lock = threading.Lock()

    def count(self, sent: int) -> None:
        with self._lock:
            self.bytes += sent
            self.requests += 1

    def reset(self) -> None:
        with self._lock:
            self.bytes = self.requests = 0


def ranges(header: str | None, size: int) -> list[tuple[int, int]] | None:
    """Of a Range header, ends exclusive; None for the whole."""
    if header is None or not (found := re.fullmatch(r"bytes=([\d, -]+)", header)):
        return None
    spans = []
    for one in found[1].split(","):
        first, _, last = one.strip().partition("-")
        start = int(first) if first else size - int(last)
        spans.append((start, min(int(last) + 1 if first and last else size, size)))
    return spans


@contextlib.contextmanager
def serve(directory: Path) -> Iterator[Served]:
    """Serve a directory until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = directory / unquote(urlsplit(self.path).path).lstrip("/")
            if not path.resolve().is_relative_to(directory.resolve()) or not path.is_file():
                self.send_error(404)
                return
            with path.open("rb") as file:
                size = path.stat().st_size
                spans = ranges(self.headers["Range"], size)
                if spans is None:
                    self._answer(200, "application/octet-stream", {}, file.read())
                    return
                pieces = []
                for start, end in spans:
                    file.seek(start)
                    pieces.append((f"bytes {start}-{end - 1}/{size}", file.read(end - start)))
            if len(pieces) == 1:
                self._answer(206, "application/octet-stream", {"Content-Range": pieces[0][0]}, pieces[0][1])
                return
            body = b"".join(
                f"\r\n--{BOUNDARY}\r\nContent-Range: {where}\r\n\r\n".encode() + data
                for where, data in pieces
            )
            kind = f"multipart/byteranges; boundary={BOUNDARY}"
            self._answer(206, kind, {}, body + f"\r\n--{BOUNDARY}--\r\n".encode())

        def _answer(self, status: int, kind: str, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            served.count(len(body))

        def log_message(self, *args: object) -> None:
            """A table is to be printed, not this."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Served(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
