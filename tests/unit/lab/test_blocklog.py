"""A recording of writes is read as QEMU makes it, and replayed to what a power cut would leave."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.kit.run import run
from skerry_lab import blocklog
from skerry_lab.blocklog import Epoch, Replay, Write, cuts, read
from skerry_lab.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

KIB = 1024
SIZE = 256 * KIB
STORY = (
    ("write -P 1 0 4k", "write -P 2 64k 512", "flush"),
    ("write -P 3 0 2k", "discard 64k 64k", "flush"),
    ("flush",),
    ("write -z 128k 8k", "write -P 4 8k 16k"),
)


@pytest.fixture
def recording(tmp_path: Path) -> tuple[Path, Path]:
    """A disk of nines, and what QEMU recorded of the story above."""
    if shutil.which("qemu-io") is None:
        pytest.skip("QEMU's tools are not installed (package qemu-utils)")
    disk, work, log = tmp_path / "disk", tmp_path / "work", tmp_path / "log"
    disk.write_bytes(b"\x09" * SIZE)
    shutil.copy(disk, work)
    log.touch()
    commands = [word for epoch in STORY for command in epoch for word in ("-c", command)]
    options = f"driver=blklogwrites,discard=unmap,file.driver=file,file.filename={work}"
    options += f",file.discard=unmap,log.driver=file,log.filename={log}"
    run(["qemu-io", *commands, "--image-opts", options])
    return disk, log


def content(*ranges: tuple[int, int, int]) -> bytes:
    data = bytearray(b"\x09" * SIZE)
    for value, start, length in ranges:
        data[start : start + length] = bytes([value]) * length
    return bytes(data)


AFTER_FIRST = ((1, 0, 4 * KIB), (2, 64 * KIB, 512))
AFTER_SECOND = (*AFTER_FIRST, (3, 0, 2 * KIB), (0, 64 * KIB, 64 * KIB))


def test_epochs_end_at_flushes_that_had_something_to_flush(recording: tuple[Path, Path]) -> None:
    epochs = read(recording[1])
    shape = [[(w.start, w.length) for w in epoch.writes] for epoch in epochs]
    assert shape[:2] == [[(0, 4 * KIB), (64 * KIB, 512)], [(0, 2 * KIB), (64 * KIB, 64 * KIB)]]
    assert shape[2] == [(128 * KIB, 8 * KIB), (8 * KIB, 16 * KIB)]


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(0, content()), (1, content(*AFTER_FIRST)), (2, content(*AFTER_SECOND))],
)
def test_a_replay_stands_at_the_flush(recording: tuple[Path, Path], epoch: int, expected: bytes) -> None:
    replay = Replay(*recording, lambda _start, _end: None)
    replay.go(epoch)
    assert recording[0].read_bytes() == expected
    replay.close()


def test_a_trial_is_undone(recording: tuple[Path, Path]) -> None:
    touched: list[tuple[int, int]] = []
    replay = Replay(*recording, lambda start, end: touched.append((start, end)))
    replay.go(1)
    touched.clear()
    first, second = replay.epochs[1].writes
    with replay.trial((first.torn(512), second)):
        within = recording[0].read_bytes()
    assert within == content(*AFTER_FIRST, (3, 0, 512), (0, 64 * KIB, 64 * KIB))
    assert recording[0].read_bytes() == content(*AFTER_FIRST)
    assert touched == [(0, 512), (64 * KIB, 128 * KIB), (64 * KIB, 128 * KIB), (0, 512)]
    replay.close()


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(bytes(4096))
    with pytest.raises(LabError, match="no log of writes"):
        read(tmp_path / "log")


writes = st.builds(Write, st.integers(0, 99).map(lambda n: n * 512), st.integers(1, 9).map(lambda n: n * 512),
                   st.just(512), st.booleans())  # fmt: skip
histories = st.lists(st.lists(writes, max_size=8), min_size=1, max_size=8).map(
    lambda found: tuple(
        Epoch(number, tuple(replace(write, data_at=at) for at, write in enumerate(one)))
        for number, one in enumerate(found)
    )
)


@given(histories, st.integers(0, 20), st.integers())
def test_cuts_are_every_boundary_in_order_and_possible_states_between(
    epochs: tuple[Epoch, ...], sampled: int, seed: int
) -> None:
    found = list(cuts(epochs, seed=seed, sampled=sampled))
    assert found == list(cuts(epochs, seed=seed, sampled=sampled))
    assert [cut.epoch for cut in found if cut.kind == "flushed"] == list(range(len(epochs) + 1))
    assert all(a.epoch <= b.epoch for a, b in pairwise(found))
    between = [cut for cut in found if cut.kind != "flushed"]
    assert len(between) == (sampled if any(epoch.writes for epoch in epochs) else 0)
    for cut in between:
        whole = list(epochs[cut.epoch].writes)
        for write in cut.writes:  # in order, each at most once, and torn only what may be
            while (source := whole.pop(0)).data_at != write.data_at:
                assert cut.kind == "reordered"
                assert not source.durable
            assert write == source or (write == source.torn(write.length) and not write.durable)
            assert write.length <= source.length
        if cut.kind == "torn" and cut.writes:
            assert cut.writes[:-1] == epochs[cut.epoch].writes[: len(cut.writes) - 1]


def test_a_seed_names_the_cuts() -> None:
    epochs = (Epoch(0, tuple(Write(n * 512, 4096, 512) for n in range(40))),)
    assert list(cuts(epochs, seed=1, sampled=9)) != list(cuts(epochs, seed=2, sampled=9))


def test_a_cut_off_recording_is_read_as_far_as_it_goes(recording: tuple[Path, Path]) -> None:
    whole = read(recording[1])
    data = recording[1].read_bytes()
    recording[1].write_bytes(data[: len(data) - 5 * KIB])
    assert read(recording[1])[:2] == whole[:2]
    assert blocklog.read(recording[1])[-1].writes != whole[-1].writes
