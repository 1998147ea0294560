"""The small server: ranges as RFC 9110 has them, and nothing served that is not the repository's."""

from __future__ import annotations

import http.client
import threading
from typing import TYPE_CHECKING

import pytest

from fakes.clock import FakeClock
from fakes.releases import Releases
from skerry.image.release.client import Client
from skerry.image.release.errors import ReleaseError
from skerry.image.release.mirror import mirror
from skerry.image.release.repository import Repository
from skerry.image.release.serve import Server
from skerry.image.release.verify import verify
from skerry.kit.transport import UrlTransport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = bytes(range(256)) * 4
BLOB = "/blobs/ab/" + "ab" * 32


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    top = tmp_path / "repository"
    for name in ("blobs/ab", "metadata", "targets"):
        (top / name).mkdir(parents=True)
    (top / BLOB[1:]).write_bytes(CONTENT)
    (top / "metadata" / "timestamp.json").write_text("{}")
    (top / "metadata" / ".hidden.json").write_text("secret")
    (top / ".lock").write_text("secret")
    (top / "blobs" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "secret").write_text("secret")
    with Server(top, "127.0.0.1", 0) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    try:
        connection.request(
            method, path, headers={name.replace("_", "-"): text for name, text in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_a_whole_file(server: Server) -> None:
    status, headers, body = ask(server, BLOB)
    assert (status, body) == (200, CONTENT)
    assert (headers["Accept-Ranges"], headers["Content-Length"]) == ("bytes", "1024")


RANGES = [
    ("bytes=0-0", 206, CONTENT[:1], "bytes 0-0/1024"),
    ("bytes=10-19", 206, CONTENT[10:20], "bytes 10-19/1024"),
    ("bytes=1000-", 206, CONTENT[1000:], "bytes 1000-1023/1024"),
    ("bytes=1000-9999", 206, CONTENT[1000:], "bytes 1000-1023/1024"),
    ("bytes=-24", 206, CONTENT[-24:], "bytes 1000-1023/1024"),
    ("bytes=-9999", 206, CONTENT, "bytes 0-1023/1024"),
    ("bytes=1024-", 416, b"", "bytes */1024"),
    ("bytes=5000-6000", 416, b"", "bytes */1024"),
    ("bytes=-0", 416, b"", "bytes */1024"),
    ("bytes=20-10", 416, b"", "bytes */1024"),
    ("bytes=0-1,5-6", 200, CONTENT, None),
    ("bytes=-", 200, CONTENT, None),
    ("bytes=a-b", 200, CONTENT, None),
    ("lines=0-1", 200, CONTENT, None),
]


@pytest.mark.parametrize(("asked", "status", "body", "told"), RANGES, ids=[row[0] for row in RANGES])
def test_ranges(server: Server, asked: str, status: int, body: bytes, told: str | None) -> None:
    found, headers, data = ask(server, BLOB, Range=asked)
    assert (found, data, headers.get("Content-Range")) == (status, body, told)
    assert headers["Content-Length"] == str(len(body))


def test_a_range_of_what_changed_is_the_whole(server: Server) -> None:
    _, headers, _ = ask(server, BLOB)
    for known in (headers["ETag"], headers["Last-Modified"]):
        assert ask(server, BLOB, Range="bytes=0-9", If_Range=known)[0] == 206
    assert ask(server, BLOB, Range="bytes=0-9", If_Range='"another"')[0] == 200


def test_what_is_known_is_not_sent_again(server: Server) -> None:
    _, headers, _ = ask(server, "/metadata/timestamp.json")
    status, _, body = ask(server, "/metadata/timestamp.json", If_None_Match=headers["ETag"])
    assert (status, body) == (304, b"")


def test_what_never_changes_may_be_kept_for_ever(server: Server) -> None:
    assert "immutable" in ask(server, BLOB)[1]["Cache-Control"]
    assert ask(server, "/metadata/timestamp.json")[1]["Cache-Control"] == "no-cache"


def test_a_head_has_no_body(server: Server) -> None:
    status, headers, body = ask(server, BLOB, method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, "1024", b"")


@pytest.mark.parametrize(
    "path",
    ["/", "/metadata", "/metadata/", "/blobs/ab", "/.lock", "/metadata/.hidden.json", "/blobs/out", "/secret",
     "/../secret", "/blobs/../../secret", "/blobs/%2e%2e/%2e%2e/secret", "/blobs//ab", "/blobs/%00",
     "/nothing"],
)  # fmt: skip
def test_nothing_else_is_served(server: Server, path: str) -> None:
    status, _, body = ask(server, path)
    assert (status, body) == (404, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nobody_changes_anything(server: Server, method: str) -> None:
    assert ask(server, BLOB, method=method)[0] == 501


def test_many_at_once(server: Server) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(ask(server, BLOB)[0])) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [200] * 16


def test_an_address_that_is_taken_is_said(server: Server) -> None:
    with pytest.raises(ReleaseError, match="cannot listen"):
        Server(server.directory, "127.0.0.1", server.server_address[1])


def test_hosts_and_mirrors_are_content_with_it(tmp_path: Path) -> None:
    clock = FakeClock()
    releases = Releases(tmp_path, clock)
    releases.publish("2026.10.0")
    with Server(releases.repository.directory, "127.0.0.1", 0) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            client = Client(tmp_path / "host", UrlTransport(), made.url, releases.first_root, clock)
            client.refresh()
            assert client.manifest("stable", "2026.10.0").version == "2026.10.0"
            mirror(Repository(tmp_path / "mirror"), UrlTransport(), made.url, releases.first_root, clock)
        finally:
            made.shutdown()
            thread.join()
    assert verify(Repository(tmp_path / "mirror"), clock, trusted=releases.first_root).findings == ()
