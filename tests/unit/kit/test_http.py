"""The client against a server that says exactly what the test wants."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from skerry.kit.http import ApiError, Client, HttpError, encode_query, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[bytes], Server]]:
    servers: list[Server] = []

    def start(answer: bytes) -> Server:
        servers.append(Server(tmp_path / f"{len(servers)}.sock", answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


class Server:
    """Answers one connection with fixed bytes and keeps what it was asked."""

    def __init__(self, path: Path, answer: bytes) -> None:
        self.client = Client(str(path), timeout_s=10)
        self.asked = b""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._run, args=(answer,))
        self._thread.start()

    def _run(self, answer: bytes) -> None:
        connection, _ = self._listener.accept()
        with connection:
            self.asked = connection.recv(65536)
            connection.sendall(answer)

    def close(self) -> None:
        self._thread.join(10)
        self._listener.close()


def plain(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(body), body)


def chunked(*chunks: bytes) -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


def test_sends_and_reads_json(serve: Callable[[bytes], Server]) -> None:
    server = serve(plain(b'{"b": "\xc3\xa4"}'))
    assert server.client.call("POST", "/v1/x", {"a": "ä"}, query={"q": "1 2"}) == {"b": "ä"}
    assert server.asked.startswith(b"POST /v1/x?q=1%202 HTTP/1.1\r\nHost: skerry\r\n")
    assert server.asked.endswith('{"a": "ä"}'.encode())


def test_lines_come_whole_however_they_were_cut(serve: Callable[[bytes], Server]) -> None:
    server = serve(chunked(b"on", b"e\ntwo\nth", b"ree"))
    assert list(server.client.lines("GET", "/")) == [b"one", b"two", b"three"]


def test_an_error_is_the_servers_own_sentence(serve: Callable[[bytes], Server]) -> None:
    body = b'{"error": {"code": "gone", "message": "it is gone", "hint": "make one"}}'
    with pytest.raises(ApiError, match="it is gone") as caught:
        serve(plain(body, "404 Not Found")).client.call("GET", "/")
    assert (caught.value.status, caught.value.code, caught.value.hint) == (404, "gone", "make one")


def test_an_error_in_another_form_is_shown_as_it_is(serve: Callable[[bytes], Server]) -> None:
    with pytest.raises(ApiError, match="the server answered 500: oops"):
        list(serve(plain(b"oops", "500 Bad")).client.lines("GET", "/"))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "does not speak HTTP"),
        (b"SSH-2.0-x\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "stopped in the middle"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "stopped in the middle"),
        (plain(b"<html>"), "not JSON"),
    ],
)
def test_what_is_no_answer_is_an_error(serve: Callable[[bytes], Server], answer: bytes, message: str) -> None:
    with pytest.raises(HttpError, match=message):
        serve(answer).client.call("GET", "/")


def test_a_daemon_that_is_not_there_is_named_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(HttpError, match="cannot reach skerryd") as caught:
        Client(str(tmp_path / "no.sock")).call("GET", "/")
    assert "systemctl status skerryd" in str(caught.value.hint)


@pytest.mark.parametrize("target", ["http://example.com:80", "http://127.0.0.1", "http://127.0.0.1:x"])
def test_plain_http_stays_on_this_machine(target: str) -> None:
    with pytest.raises(HttpError, match="loopback"):
        Client(target)


def test_quotes_what_has_a_meaning_in_addresses() -> None:
    assert (quote("a/b c@é"), encode_query({"a": ["1", "&"]})) == ("a%2Fb%20c%40%C3%A9", "a=1&a=%26")
