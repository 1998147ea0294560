"""The key API as served: long polls, streams, their end, and what no request may do to the server."""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from fakes.served import listening, served_keys
from skerry.kit.http import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    with listening(tmp_path / "api.sock") as listener, served_keys(listener, wait_limit_s=0.2, keep=20):
        yield tmp_path / "api.sock"


@pytest.fixture
def put(path: Path) -> Callable[[str, str], int]:
    """Set a key; its index."""

    def put(key: str, form: str) -> int:
        answer = Client(str(path)).request("PUT", f"/v2/keys{key}", body=form.encode(), content_type=FORM)
        return int(answer.headers["x-etcd-index"])

    return put


def test_a_wait_that_nothing_ends_is_answered_empty(path: Path) -> None:
    answer = Client(str(path)).request("GET", "/v2/keys/none?wait=true")
    assert (answer.status, answer.body, answer.headers["x-etcd-index"]) == (200, b"", "0")


def test_a_stream_tells_one_event_a_line(path: Path, put: Callable[[str, str], int]) -> None:
    begin = put("/a", "value=1")
    put("/a", "value=2")
    put("/a", "value=3")
    url = f"/v2/keys/a?wait=true&stream=true&waitIndex={begin}"
    lines = list(Client(str(path)).lines("GET", url))
    assert [json.loads(line)["node"]["value"] for line in lines] == ["1", "2", "3"]


def test_a_wait_is_told_at_once_that_the_history_is_gone(path: Path, put: Callable[[str, str], int]) -> None:
    for n in range(60):
        put("/a", f"value={n}")
    answer = Client(str(path)).request("GET", "/v2/keys/a?wait=true&waitIndex=1")
    document = answer.json()
    assert isinstance(document, dict)
    assert (answer.status, document["errorCode"], document["index"]) == (400, 401, 60)


def test_a_client_that_goes_away_ends_its_wait(path: Path, put: Callable[[str, str], int]) -> None:
    before = threading.active_count()
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(b"GET /v2/keys/a?wait=true HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
    assert put("/a", "value=1") == 1
    assert threading.active_count() == before


def test_the_version_is_told(path: Path) -> None:
    assert Client(str(path)).request("GET", "/version").json() == {
        "etcdserver": "2.3.8",
        "etcdcluster": "2.3.0",
    }


def test_other_methods_are_refused(path: Path) -> None:
    answer = Client(str(path)).request("PATCH", "/v2/keys/a")
    assert answer.status == 405
    assert {"GET", "PUT", "POST", "DELETE"} <= set(answer.headers["allow"].replace(" ", "").split(","))


def test_a_head_has_the_index_and_no_body(path: Path, put: Callable[[str, str], int]) -> None:
    put("/a", "value=1")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"HEAD /v2/keys/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        said = connection.makefile("rb").read()
    assert said.startswith(b"HTTP/1.1 200 OK")
    assert b"x-etcd-index: 1" in said.lower()
    assert said.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("target", "form", "status"),
    [
        ("/v2/keys/%FF%FE", "value=1", 201),
        ("/v2/keys/" + "long" * 2000, "value=1", 201),
        ("/v2/keys/" + "deep/" * 500, "value=1", 201),
        ("/v2/keys/a%00b", "value=%00", 201),
        ("/v2/keys/a", "value=%FF", 201),
        ("/v2/keys/a", "&&&===", 201),
        ("/v2/keys/a?ttl=" + "9" * 5000, "value=1", 400),
        ("/v2/keys/a?prevIndex=%D9%A3", "value=1", 400),
    ],
)
def test_odd_requests_are_answered(path: Path, target: str, form: str, status: int) -> None:
    answer = Client(str(path)).request("PUT", target, body=form.encode(), content_type=FORM)
    assert answer.status == status, answer.text
