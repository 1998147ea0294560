"""Bytes from URLs: from files, and from a server on loopback that says exactly what a test wants."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from skerry.kit.transport import (
    InterruptedTransferError,
    NotFoundError,
    RangeError,
    RefusedError,
    TooLongError,
    TransportError,
    UrlTransport,
    read,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DATA = bytes(range(256)) * 4


@pytest.fixture
def says() -> Iterator[Callable[[bytes], str]]:
    """Serves one connection with fixed bytes; returns the URL."""
    running: list[tuple[socket.socket, threading.Thread]] = []

    def start(answer: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=run)
        thread.start()
        running.append((listener, thread))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/blob"

    yield start
    for listener, thread in running:
        thread.join(10)
        listener.close()


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> UrlTransport:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return UrlTransport(timeout_s=5)


def get(transport: UrlTransport, url: str, start: int = 0, end: int | None = None) -> tuple[int, bytes]:
    with transport.open(url, start=start, end=end) as body:
        return body.start, b"".join(body.chunks())


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode() + body


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [(0, None, DATA), (0, 10, DATA[:10]), (7, None, DATA[7:]), (7, 9, DATA[7:9]), (1000, 9999, DATA[1000:])],
)
def test_a_file_gives_what_is_asked(
    transport: UrlTransport, tmp_path: Path, start: int, end: int | None, wanted: bytes
) -> None:
    (tmp_path / "a b").write_bytes(DATA)
    url = (tmp_path / "a b").as_uri()
    assert get(transport, url, start, end) == (start, wanted)
    with transport.open(url) as body:
        assert body.total == len(DATA)


FILE_FAULTS: list[tuple[str, type[TransportError]]] = [
    ("file:///there/is/no/such/file", NotFoundError),
    ("file://elsewhere/srv/file", RefusedError),
    ("file:///", RefusedError),
    ("ftp://example.org/x", RefusedError),
    ("/srv/file", RefusedError),
    ("http://", RefusedError),
]


@pytest.mark.parametrize(("url", "error"), FILE_FAULTS)
def test_a_url_that_cannot_be_had(transport: UrlTransport, url: str, error: type[TransportError]) -> None:
    with pytest.raises(error):
        get(transport, url)


def test_nothing_is_after_the_end_of_a_file(transport: UrlTransport, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    with pytest.raises(RangeError):
        get(transport, (tmp_path / "f").as_uri(), len(DATA))


def test_a_range_of_a_server(transport: UrlTransport, says: Callable[[bytes], str]) -> None:
    url = says(answer("206 Partial", "Content-Range: bytes 3-5/1024", "Content-Length: 3", body=DATA[3:6]))
    with transport.open(url, start=3, end=6) as body:
        assert (body.start, body.total, b"".join(body.chunks())) == (3, 1024, DATA[3:6])


def test_a_server_without_ranges_begins_at_0(transport: UrlTransport, says: Callable[[bytes], str]) -> None:
    url = says(answer("200 OK", f"Content-Length: {len(DATA)}", body=DATA))
    assert get(transport, url, 3, 6) == (0, DATA)


def test_a_body_may_end_with_the_connection(transport: UrlTransport, says: Callable[[bytes], str]) -> None:
    assert get(transport, says(answer("200 OK", body=DATA))) == (0, DATA)


FAULTS: dict[str, tuple[bytes, type[TransportError]]] = {
    "nothing": (b"", InterruptedTransferError),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n", InterruptedTransferError),
    "404": (answer("404 Not Found"), NotFoundError),
    "410": (answer("410 Gone"), NotFoundError),
    "403": (answer("403 Forbidden"), RefusedError),
    "407": (answer("407 Proxy"), RefusedError),
    "416": (answer("416 Range"), RangeError),
    "429": (answer("429 Slow Down"), InterruptedTransferError),
    "500": (answer("500 Oops"), InterruptedTransferError),
    "501": (answer("501 What"), RefusedError),
    "204": (answer("204 No Content"), RefusedError),
    "206 without saying which": (answer("206 Partial", "Content-Length: 1", body=b"x"), RangeError),
    "cut": (answer("200 OK", "Content-Length: 2000", body=DATA), InterruptedTransferError),
    "cut in a chunk": (
        answer("200 OK", "Transfer-Encoding: chunked", body=b"10\r\nabc"), InterruptedTransferError,
    ),
    "chunks that are none": (
        answer("200 OK", "Transfer-Encoding: chunked", body=b"zz\r\nabc"), InterruptedTransferError,
    ),
    "compressed": (answer("200 OK", "Content-Encoding: gzip", "Content-Length: 1", body=b"x"), RefusedError),
    "to a file": (answer("302 Found", "Location: file:///etc/passwd"), RefusedError),
    "to FTP": (answer("301 Moved", "Location: ftp://example.org/x"), RefusedError),
    "to nowhere": (answer("302 Found"), RefusedError),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_its_error(transport: UrlTransport, says: Callable[[bytes], str], fault: str) -> None:
    said, error = FAULTS[fault]
    with pytest.raises(TransportError) as caught:
        get(transport, says(said))
    assert type(caught.value) is error


def test_a_redirect_is_followed(transport: UrlTransport, says: Callable[[bytes], str]) -> None:
    there = says(answer("200 OK", "Content-Length: 3", body=b"abc"))
    assert get(transport, says(answer("302 Found", f"Location: {there}"))) == (0, b"abc")


def test_nobody_listens(transport: UrlTransport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(InterruptedTransferError, match="cannot be reached"):
        get(transport, f"http://127.0.0.1:{port}/")


def test_a_trickle_is_given_up(says: Callable[[bytes], str], transport: UrlTransport) -> None:
    ticks = iter(range(0, 100_000, 40))
    slow = UrlTransport(timeout_s=5, least_rate=512, patience_s=60, monotonic=lambda: float(next(ticks)))
    with pytest.raises(InterruptedTransferError, match="too slow"):
        get(slow, says(answer("200 OK", "Transfer-Encoding: chunked", body=b"1\r\nx\r\n" * 9)))


def test_a_small_thing_has_a_limit(transport: UrlTransport, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    url = (tmp_path / "f").as_uri()
    assert read(transport, url, limit=len(DATA)) == DATA
    with pytest.raises(TooLongError):
        read(transport, url, limit=len(DATA) - 1)
