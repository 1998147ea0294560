"""A web server on loopback that misbehaves as it is told: one fault for each connection, then none.

no ranges     answers 200 with everything, whatever was asked
cut           sends half of what it promised, and hangs up
dribble       sends a few bytes and hangs up
says less     promises half, and sends that
says more     promises more than it has
endless       promises nothing and never stops sending
wrong         sends the right number of wrong bytes
other range   answers another range than was asked
500, 404      are what they are
silent        hangs up without a word
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FAULTS = (
    "no ranges", "cut", "dribble", "says less", "says more",
    "endless", "wrong", "other range", "500", "silent",
)  # fmt: skip
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class FaultyServer:
    """`files` by path. `faults` are used up one by one; the last stays when `for_ever`."""

    def __init__(
        self, files: dict[str, bytes], faults: Sequence[str] = (), *, for_ever: bool = False
    ) -> None:
        self.files = files
        self.faults = list(faults)
        self.for_ever = for_ever
        self.asked: list[tuple[str, str | None]] = []
        self.url = ""

    def fault(self) -> str | None:
        if not self.faults:
            return None
        return self.faults[0] if self.for_ever and len(self.faults) == 1 else self.faults.pop(0)


@contextmanager
def serving(server: FaultyServer) -> Iterator[FaultyServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.asked.append((self.path, wanted))
            self.close_connection = True
            _answer(self, server.files.get(self.path), wanted, server.fault())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is given
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = False
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.url = f"http://127.0.0.1:{listener.server_address[1]}"
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()


def _answer(to: BaseHTTPRequestHandler, data: bytes | None, wanted: str | None, fault: str | None) -> None:
    if fault == "silent":
        return
    if data is None or fault in ("404", "500"):
        to.send_error(404 if data is None or fault == "404" else 500)
        return
    found = None if fault == "no ranges" else _RANGE.fullmatch(wanted or "")
    start, end = 0, len(data)
    if found:
        start, end = int(found[1]), min(len(data), int(found[2]) + 1 if found[2] else len(data))
        if start >= len(data):
            to.send_error(416)
            return
    if fault == "other range":
        start, found = min(len(data) - 1, start + 100), found or _RANGE.fullmatch("bytes=0-")
    body = data[start:end]
    if fault == "wrong":
        body = bytes(byte ^ 255 for byte in body)
    promised = {"says less": len(body) // 2, "says more": len(body) + 1000}.get(fault or "", len(body))
    to.send_response(206 if found else 200)
    if found:
        to.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
    if fault != "endless":
        to.send_header("Content-Length", str(promised))
    to.end_headers()
    limit = {"cut": len(body) // 2, "dribble": 10, "says less": promised}.get(fault or "", len(body))
    try:
        to.wfile.write(body[:limit])
        while fault == "endless":
            to.wfile.write(bytes(65536))
    except OSError:
        pass  # the other side had enough
