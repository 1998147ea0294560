"""The merge of /etc as an update asks for it."""

from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest

from fakes.clock import FakeClock
from fakes.trees import tree, write
from skerry.host.etc.stage import Stager
from skerry.host.etc.update import EtcForUpdates

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.host.update.around import EtcStager

OLD, NEW = "2026.10.0", "2026.11.0"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    write(tree({"a": "1\n", "b": "1\n"}), tmp_path / f"{OLD}.defaults")
    write(tree({"a": "2\n", "b": "2\n"}), tmp_path / OLD)
    return tmp_path


def stager(state: Path, policy: str) -> EtcStager:
    clock = FakeClock()
    return EtcForUpdates(clock, policy, Stager(clock, state, state / OLD, frozenset()))


def defaults() -> io.BytesIO:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in (("etc/a", b"3\n"), ("etc/b", b"1\n")):
            info = tarfile.TarInfo(name)
            info.size, info.uid, info.gid = len(data), os.getuid(), os.getgid()
            tar.addfile(info, io.BytesIO(data))
    made.seek(0)
    return made


@pytest.mark.parametrize(("policy", "refused"), [("mine", False), ("theirs", False), ("refuse", True)])
def test_a_preview_says_what_changes_and_what_conflicts(state: Path, policy: str, *, refused: bool) -> None:
    found = stager(state, policy).preview(defaults(), NEW, OLD)
    assert {one.path: one.result for one in found.changes if one.path != "."} == {
        "a": "conflict",
        "b": "kept",
    }
    assert [one.path for one in found.conflicts] == ["a"]
    assert (found.policy, found.refused) == (policy, refused)


def test_staging_twice_is_staging_once(state: Path) -> None:
    made = stager(state, "mine")
    made.stage(NEW, OLD)
    once = (state / f"{NEW}.plan").read_bytes()
    made.stage(NEW, OLD)
    assert (state / f"{NEW}.plan").read_bytes() == once
    made.unstage(NEW)
    made.unstage(NEW)
    assert not (state / f"{NEW}.plan").exists()


def test_pruning_keeps_what_it_is_told(state: Path) -> None:
    write(tree({}), state / "2026.9.0")
    stager(state, "mine").prune({OLD})
    assert sorted(path.name for path in state.iterdir()) == [OLD, f"{OLD}.defaults"]


def test_a_policy_that_is_none_is_refused(state: Path) -> None:
    with pytest.raises(ValueError, match="nobody"):
        stager(state, "nobody")
