"""The same requests to our key API, over either store, and to a real etcd with --enable-v2: the same answers.

Both begin at different indexes, so indexes are compared as distances from where each story began; moments
by whether they are there. What differs on purpose stands in DIFFERENT with its reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import pytest

from fakes.etcd import real_etcd
from fakes.served import listening, served_keys
from skerry.kit.http import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from skerry.kit.http import Answer, Json

FORM = "application/x-www-form-urlencoded"

Request: TypeAlias = "tuple[str, str, str]"
"""Method, path with query below /v2/keys (`{n}` is the index of the story's n-th change), form."""


@dataclass(frozen=True)
class Peers:
    ours: Client
    etcd: Client


@pytest.fixture(scope="module", params=["memory", "etcd"])
def peers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    directory = tmp_path_factory.mktemp("peers")
    with (
        listening(directory / "api.sock") as listener,
        served_keys(listener, over_etcd=request.param == "etcd"),
        real_etcd(directory) as url,
    ):
        yield Peers(Client(str(directory / "api.sock")), Client(url))


STORIES: dict[str, list[Request]] = {
    "a file's life": [
        ("PUT", "/a", "value=1"),
        ("GET", "/a", ""),
        ("PUT", "/a", "value=2"),
        ("GET", "/a?quorum=true", ""),
        ("PUT", "/a", ""),
        ("DELETE", "/a", ""),
        ("GET", "/a", ""),
        ("DELETE", "/a", ""),
    ],
    "values are text": [
        ("PUT", "/v", "value=a+b%26c%3D%C3%A9%20%3Cx%3E%0A"),
        ("GET", "/v", ""),
        ("PUT", "/v?value=query", ""),
        ("PUT", "/v?value=query", "value=body"),
        ("PUT", "/v", "value=first&value=second"),
        ("PUT", "/%C3%A9%20x", "value=1"),
        ("GET", "/%C3%A9%20x", ""),
    ],
    "directories": [
        ("PUT", "/d/e/f", "value=1"),
        ("GET", "/d", ""),
        ("GET", "/d?recursive=true", ""),
        ("PUT", "/d", "value=1"),
        ("PUT", "/d", "dir=true"),
        ("PUT", "/d/e/f/g", "value=1"),
        ("PUT", "/d/e/f/g/h", "value=1"),
        ("GET", "/d/e/f/g", ""),
        ("GET", "/d/none/f", ""),
        ("DELETE", "/d", ""),
        ("DELETE", "/d?dir=true", ""),
        ("DELETE", "/d/e/f/g", ""),
        ("DELETE", "/d?recursive=true", ""),
        ("GET", "/d", ""),
        ("PUT", "/d", "dir=true"),
        ("GET", "/d", ""),
        ("DELETE", "/d", ""),
        ("DELETE", "/d?dir=true", ""),
        ("PUT", "/d", "value=1"),
        ("DELETE", "/d?dir=true", ""),
        ("PUT", "/d", "value=1"),
        ("PUT", "/d", "dir=true"),
        ("DELETE", "/d?recursive=true", ""),
    ],
    "a sorted tree": [
        ("PUT", "/t/b", "value=1"),
        ("PUT", "/t/a.x", "value=1"),
        ("PUT", "/t/a", "dir=true"),
        ("PUT", "/t/a/2", "value=1"),
        ("PUT", "/t/a/1", "value=1"),
        ("PUT", "/t/empty", "dir=true"),
        ("GET", "/t?sorted=true", ""),
        ("GET", "/t?sorted=true&recursive=true", ""),
    ],
    "hidden": [
        ("PUT", "/h/_secret", "value=1"),
        ("PUT", "/h/_dir/inside", "value=1"),
        ("PUT", "/h/shown", "value=1"),
        ("GET", "/h", ""),
        ("GET", "/h?recursive=true", ""),
        ("GET", "/h/_secret", ""),
        ("GET", "/h/_dir", ""),
        ("DELETE", "/h?recursive=true", ""),
        ("GET", "/h/_secret", ""),
    ],
    "create and update": [
        ("PUT", "/c?prevExist=true", "value=1"),
        ("PUT", "/c?prevExist=false", "value=1"),
        ("PUT", "/c?prevExist=false", "value=2"),
        ("PUT", "/c?prevExist=true", "value=3"),
        ("GET", "/c", ""),
        ("PUT", "/c?prevExist=true", ""),
        ("PUT", "/cd?prevExist=false", "dir=true"),
        ("PUT", "/cd?prevExist=false", "dir=true"),
        ("PUT", "/cd?prevExist=true", "dir=true"),
        ("PUT", "/cd?prevExist=true", "value=1"),
        ("PUT", "/c/below?prevExist=true", "value=1"),
        ("PUT", "/c/below?prevExist=false", "value=1"),
    ],
    "compare and swap": [
        ("PUT", "/s?prevValue=1", "value=2"),
        ("PUT", "/s", "value=1"),
        ("PUT", "/s?prevValue=2", "value=3"),
        ("PUT", "/s?prevValue=1", "value=3"),
        ("PUT", "/s?prevIndex={0}", "value=4"),
        ("PUT", "/s?prevIndex={1}", "value=4"),
        ("PUT", "/s?prevIndex={1}&prevValue=9", "value=5"),
        ("PUT", "/s?prevIndex={2}&prevValue=9", "value=5"),
        ("PUT", "/s?prevIndex={2}&prevValue=4", "value=5"),
        ("PUT", "/s?prevIndex=0", "value=6"),
        ("PUT", "/s?prevExist=true&prevValue=6", "value=7"),
        ("PUT", "/s?prevExist=false&prevValue=7", "value=8"),
        ("GET", "/s", ""),
        ("PUT", "/sd", "dir=true"),
        ("PUT", "/sd?prevValue=1", "value=2"),
    ],
    "compare and delete": [
        ("DELETE", "/x?prevValue=1", ""),
        ("PUT", "/x", "value=1"),
        ("DELETE", "/x?prevValue=2", ""),
        ("DELETE", "/x?prevIndex=1", ""),
        ("DELETE", "/x?prevIndex=1&prevValue=2", ""),
        ("DELETE", "/x?prevValue=1", ""),
        ("PUT", "/x", "value=1"),
        ("DELETE", "/x?prevIndex={2}", ""),
        ("PUT", "/xd", "dir=true"),
        ("DELETE", "/xd?prevIndex={3}", ""),
        ("DELETE", "/xd?prevIndex={3}&dir=true", ""),
    ],
    "in order": [
        ("POST", "/q", "value=1"),
        ("POST", "/q", "value=2"),
        ("POST", "/q/deeper", "value=3"),
        ("POST", "/q", "dir=true"),
        ("GET", "/q?sorted=true&recursive=true", ""),
        ("PUT", "/qf", "value=1"),
        ("POST", "/qf", "value=1"),
    ],
    "time to live": [
        ("PUT", "/l", "value=1&ttl=100"),
        ("GET", "/l", ""),
        ("PUT", "/l?prevExist=true", "value=2"),
        ("PUT", "/l?prevExist=true", "value=3&ttl=50"),
        ("PUT", "/l?prevExist=true", "value=3&ttl="),
        ("PUT", "/l", "ttl=100&refresh=true&prevExist=true"),
        ("GET", "/l", ""),
        ("PUT", "/l", "ttl=100&refresh=true"),
        ("PUT", "/l", "ttl=100&refresh=true&prevValue=3"),
        ("PUT", "/none", "ttl=100&refresh=true"),
        ("PUT", "/none", "ttl=100&refresh=true&prevExist=true"),
        ("PUT", "/l", "ttl=100&refresh=true&value=4"),
        ("PUT", "/l", "refresh=true"),
        ("PUT", "/l", "value=5"),
        ("GET", "/l", ""),
        ("PUT", "/ld", "dir=true&ttl=100"),
        ("PUT", "/ld/in", "value=1"),
        ("PUT", "/ld/own", "value=1&ttl=50"),
        ("GET", "/ld?recursive=true", ""),
        ("PUT", "/ld", "dir=true&ttl=10"),
        ("PUT", "/long", "value=1&ttl=99999999999999"),
    ],
    "a short answer": [
        ("PUT", "/n?noValueOnSuccess=true", "value=1"),
        ("PUT", "/n?noValueOnSuccess=true", "value=2"),
        ("PUT", "/n?noValueOnSuccess=true&prevExist=true", "value=3"),
        ("PUT", "/n?noValueOnSuccess=true&prevExist=false", "value=3"),
        ("GET", "/n?noValueOnSuccess=true", ""),
        ("DELETE", "/n?noValueOnSuccess=true", ""),
    ],
    "the root": [
        ("PUT", "/", "value=1"),
        ("PUT", "", "value=1"),
        ("PUT", "/", "dir=true&prevExist=true"),
        ("PUT", "/?prevValue=1", "value=1"),
        ("DELETE", "/?recursive=true", ""),
        ("DELETE", "/?prevValue=1", ""),
        ("POST", "/", "value=1"),
    ],
    "what is refused": [
        ("PUT", "/r", "value=1&ttl=x"),
        ("PUT", "/r", "value=1&ttl=-1"),
        ("PUT", "/r", "value=1&ttl=1.5"),
        ("PUT", "/r", "value=1&ttl=99999999999999999999999"),
        ("PUT", "/r?prevIndex=x", "value=1"),
        ("PUT", "/r?prevIndex=", "value=1"),
        ("PUT", "/r?prevValue=", "value=1"),
        ("PUT", "/r?prevExist=maybe", "value=1"),
        ("PUT", "/r?dir=maybe", "value=1"),
        ("PUT", "/r?dir=", "value=1"),
        ("PUT", "/r?refresh=maybe", "value=1"),
        ("PUT", "/r?wait=true", "value=1"),
        ("GET", "/r?wait=maybe", ""),
        ("GET", "/r?recursive=x", ""),
        ("GET", "/r?sorted=x", ""),
        ("GET", "/r?quorum=x", ""),
        ("GET", "/r?stream=x", ""),
        ("GET", "/r?waitIndex=x", ""),
        ("GET", "/r?noValueOnSuccess=x", ""),
        ("GET", "/r?recursive=TRUE", ""),
        ("GET", "/r?recursive=yes&prevIndex=x", ""),
        ("GET", "/r", ""),
    ],
    "what was is told again": [
        ("PUT", "/w/a", "value=1"),
        ("PUT", "/w/b", "value=1"),
        ("PUT", "/w/a?prevExist=true", "value=2"),
        ("PUT", "/w/a?prevExist=true", "ttl=100&refresh=true"),
        ("PUT", "/w/a?prevValue=2", "value=3"),
        ("POST", "/w", "value=4"),
        ("PUT", "/w/_h", "value=5"),
        ("DELETE", "/w/a?prevValue=3", ""),
        ("DELETE", "/w/b", ""),
        ("PUT", "/w/d", "dir=true"),
        ("PUT", "/w/d/deep", "value=6"),
        ("DELETE", "/w/d?recursive=true", ""),
        ("GET", "/w/a?wait=true&waitIndex={0}", ""),
        ("GET", "/w/a?wait=true&waitIndex={1}", ""),
        ("GET", "/w/a?wait=true&waitIndex={3}", ""),
        ("GET", "/w?wait=true&waitIndex={0}&recursive=true", ""),
        ("GET", "/w?wait=true&waitIndex={3}&recursive=true", ""),
        ("GET", "/w?wait=true&waitIndex={5}&recursive=true", ""),
        ("GET", "/w?wait=true&waitIndex={7}&recursive=true", ""),
        ("GET", "/w?wait=true&waitIndex={8}&recursive=true", ""),
        ("GET", "/w?wait=true&waitIndex={9}&recursive=true", ""),
        ("GET", "/w?wait=true&waitIndex={11}&recursive=true", ""),
        ("GET", "/w/d/deep?wait=true&waitIndex={11}", ""),
        ("GET", "/w/_h?wait=true&waitIndex={0}", ""),
    ],
}

DIFFERENT = {
    ("time to live", 20): "etcd's seconds overflow into some other time; ours are then without end",
}


@pytest.mark.parametrize("name", STORIES)
def test_the_answers_are_etcds(peers: Peers, name: str) -> None:
    story = STORIES[name]
    ours, etcd = _told(peers.ours, story), _told(peers.etcd, story)
    for number, (request, our_answer, their_answer) in enumerate(zip(story, ours, etcd, strict=True)):
        if (name, number) not in DIFFERENT:
            assert our_answer == their_answer, f"{number}: {request}"


def _told(client: Client, story: list[Request]) -> list[object]:
    begin = _index(client.request("GET", "/v2/keys"))
    changes: list[int] = []
    answers = []
    for method, path, form in story:
        asked = re.sub(r"\{(\d+)\}", lambda match: str(changes[int(match[1])]), path)
        body = form.encode() if form else None
        answer = client.request(method, "/v2/keys" + asked, body=body, content_type=FORM)
        if method != "GET" and answer.status < 400:
            changes.append(_index(answer))
        answers.append(_comparable(answer, begin))
    return answers


def _index(answer: Answer) -> int:
    return int(answer.headers["x-etcd-index"])


def _comparable(answer: Answer, begin: int) -> object:
    document = answer.json()
    index = _index(answer)
    return answer.status, _relative(document, begin), index and index - begin, answer.headers["content-type"]


def _relative(value: Json, begin: int) -> Json:
    if isinstance(value, list):
        return [_relative(item, begin) for item in value]
    if not isinstance(value, dict):
        return value
    out: dict[str, Json] = {}
    for name, item in value.items():
        if name in ("modifiedIndex", "createdIndex", "index") and isinstance(item, int):
            out[name] = item and item - begin
        elif name in ("expiration", "ttl"):
            out[name] = "some"
        elif name == "key" and isinstance(item, str):
            out[name] = re.sub(r"\d{20}$", lambda match: f"in order {int(match[0]) - begin}", item)
        elif name == "cause" and isinstance(item, str):
            out[name] = re.sub(r"\[(\d{2,}|\d+) != (\d+)\]$", "[indexes]", item)
        else:
            out[name] = _relative(item, begin)
    if isinstance(out.get("nodes"), list):
        out["nodes"] = sorted(out["nodes"], key=lambda node: str(node["key"]))  # type: ignore
    return out


EXPIRIES: list[tuple[list[Request], str, str]] = [
    ([("PUT", "/e", "value=1&ttl=1")], "/e", ""),
    ([("PUT", "/e", "value=1&ttl=0")], "/e", ""),
    ([("PUT", "/e/f", "value=1&ttl=1")], "/e", "&recursive=true"),
    (
        [
            ("PUT", "/ed", "dir=true&ttl=1"),
            ("PUT", "/ed/in/deep", "value=1"),
            ("PUT", "/ed/other", "value=1"),
        ],
        "/ed/in",
        "&recursive=true",
    ),
]


@pytest.mark.parametrize(("before", "path", "query"), EXPIRIES)
def test_what_expires_is_told(peers: Peers, before: list[Request], path: str, query: str) -> None:
    """By the real clock, since etcd has no other: a second each."""
    ours, etcd = (_expiry(client, before, path, query) for client in (peers.ours, peers.etcd))
    assert ours == etcd


def _expiry(client: Client, before: list[Request], path: str, query: str) -> object:
    begin = since = _index(client.request("GET", "/v2/keys"))
    for method, asked, form in before:
        since = _index(client.request(method, "/v2/keys" + asked, body=form.encode(), content_type=FORM))
    told = client.request("GET", f"/v2/keys{path}?wait=true&waitIndex={since + 1}{query}").json()
    gone = client.request("GET", f"/v2/keys{path}").status
    client.request("DELETE", f"/v2/keys{before[0][1]}?recursive=true")
    return gone, _relative(told, begin)
