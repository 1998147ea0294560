"""Fetching from servers that do all that servers do, over real connections."""

from __future__ import annotations

import hashlib
import itertools
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.faulty_server import FAULTS, FaultyServer, serving
from skerry.image.content.errors import MismatchError, NoRoomError
from skerry.image.content.fetch import Fetcher, coalesced
from skerry.image.release.manifest import Blob
from skerry.kit.transport import NotFoundError, TransportError, UrlTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from skerry.kit.progress import Progress

DATA = random.Random(1).randbytes(700_001)  # noqa: S311
BLOB = Blob(hashlib.sha256(DATA).hexdigest(), len(DATA))
SPANS = [(0, 10), (40_000, 90_000), (95_000, 95_100), (300_000, 300_001), (650_000, 700_001)]
WANTED = b"".join(DATA[at:to] for at, to in SPANS)


@pytest.fixture
def serve() -> Iterator[Callable[..., FaultyServer]]:
    running = []

    def start(*faults: str, for_ever: bool = False) -> FaultyServer:
        context = serving(FaultyServer({f"/{BLOB.path}": DATA}, faults, for_ever=for_ever))
        server = context.__enter__()
        running.append(context)
        return server

    yield start
    for context in running:
        context.__exit__(None, None, None)


@pytest.fixture
def make_fetcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Fetcher]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def make(url: str, *, free: int = 1 << 40, slept: list[float] | None = None) -> Fetcher:
        naps = [] if slept is None else slept
        return Fetcher(
            UrlTransport(timeout_s=5), url, tmp_path / "blobs", sleep=naps.append, free=lambda _: free
        )

    return make


Make = "Callable[..., Fetcher]"


def test_a_whole_blob_comes_in_one_request(serve: Callable[..., FaultyServer], make_fetcher: Make) -> None:
    server = serve()
    assert make_fetcher(server.url).blob(BLOB).read_bytes() == DATA
    assert server.asked == [(f"/{BLOB.path}", None)]


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_survived(serve: Callable[..., FaultyServer], make_fetcher: Make, fault: str) -> None:
    fetcher = make_fetcher(serve(fault).url)
    assert fetcher.blob(BLOB).read_bytes() == DATA
    assert [path.name for path in fetcher.directory.iterdir()] == [BLOB.sha256]


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in ("wrong", "endless")])
def test_each_fault_is_survived_in_ranges(
    serve: Callable[..., FaultyServer], make_fetcher: Make, fault: str
) -> None:
    assert make_fetcher(serve(fault).url).ranges(BLOB, SPANS).read_bytes() == WANTED


@pytest.mark.parametrize(
    "faults", [("cut", "silent", "cut", "500", "cut"), ("dribble",) * 4, ("cut", "no ranges")]
)
def test_faults_may_follow_each_other(
    serve: Callable[..., FaultyServer], make_fetcher: Make, faults: Sequence[str]
) -> None:
    assert make_fetcher(serve(*faults).url).blob(BLOB).read_bytes() == DATA


@pytest.mark.parametrize("fault", ["silent", "500", "dribble", "other range", "says less"])
def test_a_server_that_never_gets_better_is_given_up(
    serve: Callable[..., FaultyServer], make_fetcher: Make, fault: str
) -> None:
    slept: list[float] = []
    fetcher = make_fetcher(serve(fault, for_ever=True).url, slept=slept)
    with pytest.raises(TransportError):
        fetcher.blob(BLOB)
    assert slept[-5:] == [1, 2, 4, 8, 16]
    assert len(slept) < 12


def test_wrong_bytes_are_asked_for_once_more_and_then_refused(
    serve: Callable[..., FaultyServer], make_fetcher: Make
) -> None:
    server = serve("wrong", for_ever=True)
    fetcher = make_fetcher(server.url)
    with pytest.raises(MismatchError, match="not what was signed"):
        fetcher.blob(BLOB)
    assert len(server.asked) == 2
    assert list(fetcher.directory.iterdir()) == []


def test_a_blob_that_is_not_there_is_said_at_once(
    make_fetcher: Make, serve: Callable[..., FaultyServer]
) -> None:
    slept: list[float] = []
    with pytest.raises(NotFoundError) as caught:
        make_fetcher(serve().url, slept=slept).blob(Blob("0" * 64, 5))
    assert caught.value.hint is not None
    assert slept == []


@pytest.mark.parametrize("had", [0, 1, 65_536, len(DATA) - 1, len(DATA)])
def test_what_an_earlier_run_brought_is_not_fetched_again(
    serve: Callable[..., FaultyServer], make_fetcher: Make, had: int
) -> None:
    server = serve()
    fetcher = make_fetcher(server.url)
    fetcher.directory.mkdir()
    (fetcher.directory / f"{BLOB.sha256}.part").write_bytes(DATA[:had])
    assert fetcher.blob(BLOB).read_bytes() == DATA
    assert fetcher.fetched_bytes == len(DATA) - had
    assert make_fetcher(server.url).blob(BLOB).read_bytes() == DATA
    assert len(server.asked) == (had < len(DATA))


@pytest.mark.parametrize("left", [b"\0" * 4096, DATA + b"more", DATA[:-1] + b"\0", b"x" * 700_001])
def test_what_an_earlier_run_left_wrong_is_fetched_again(
    serve: Callable[..., FaultyServer], make_fetcher: Make, left: bytes
) -> None:
    fetcher = make_fetcher(serve().url)
    fetcher.directory.mkdir()
    (fetcher.directory / f"{BLOB.sha256}.part").write_bytes(left)
    assert fetcher.blob(BLOB).read_bytes() == DATA


def test_a_kept_blob_that_rots_is_fetched_again(
    serve: Callable[..., FaultyServer], make_fetcher: Make
) -> None:
    fetcher = make_fetcher(serve().url)
    fetcher.blob(BLOB).write_bytes(DATA[:-1] + b"\0")
    assert fetcher.blob(BLOB).read_bytes() == DATA


def test_ranges_that_lie_near_are_one_request(serve: Callable[..., FaultyServer], make_fetcher: Make) -> None:
    server = serve()
    fetcher = make_fetcher(server.url)
    assert fetcher.ranges(BLOB, SPANS).read_bytes() == WANTED
    assert [asked for _, asked in server.asked] == [
        "bytes=0-9", "bytes=40000-95099", "bytes=300000-300000", "bytes=650000-700000",
    ]  # fmt: skip
    assert fetcher.fetched_bytes == sum(to - at for at, to in coalesced(SPANS))


def test_a_full_disk_is_said_before_anything_is_fetched(
    serve: Callable[..., FaultyServer], make_fetcher: Make
) -> None:
    server = serve()
    with pytest.raises(NoRoomError, match="MiB free"):
        make_fetcher(server.url, free=1 << 20).blob(BLOB)
    assert server.asked == []


def test_progress_never_goes_back(serve: Callable[..., FaultyServer], make_fetcher: Make) -> None:
    told: list[Progress] = []
    make_fetcher(serve("cut", "no ranges").url).blob(BLOB, told.append)
    done = [event.done for event in told if event.done is not None]
    assert done == sorted(done)
    assert (done[-1], told[-1].total) == (len(DATA), len(DATA))


def test_clear_leaves_nothing(serve: Callable[..., FaultyServer], make_fetcher: Make) -> None:
    fetcher = make_fetcher(serve().url)
    fetcher.clear()
    fetcher.ranges(BLOB, SPANS)
    fetcher.clear()
    assert list(fetcher.directory.iterdir()) == []


@given(st.lists(st.integers(1, 500), max_size=30), st.integers(0, 300))
def test_requests_bring_all_and_little_else(steps: list[int], gap: int) -> None:
    edges = [sum(steps[: one + 1]) for one in range(len(steps))]
    spans = list(zip(edges[::2], edges[1::2], strict=False))
    requests = coalesced(spans, gap)
    brought = {byte for at, to in requests for byte in range(at, to)}
    wanted = {byte for at, to in spans for byte in range(at, to)}
    assert wanted <= brought
    assert len(brought - wanted) <= gap * max(0, len(spans) - 1)
    assert all(after[0] - before[1] > gap for before, after in itertools.pairwise(requests))
