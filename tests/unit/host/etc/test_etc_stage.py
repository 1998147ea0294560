"""Staging and the first boot of a version: whole or not at all, wherever it is cut off."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.clock import FakeClock
from fakes.trees import three_trees, tree, write
from skerry.entry import etc as hook
from skerry.host.etc.actions import Policy
from skerry.host.etc.errors import EtcError, PlanError
from skerry.host.etc.hands import Hands
from skerry.host.etc.plan import plan
from skerry.host.etc.report import read_report
from skerry.host.etc.scan import scan_directory
from skerry.host.etc.stage import Stager, first_boot, leftovers, prune, read_plan

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.host.etc.tree import Entry, Tree

OLD, NEW = "2026.10.0", "2026.11.0"


class PowerCutError(Exception):
    """The machine went off."""


class Cut(Hands):
    """Hands that stop before their `after`-th effect. Syncing costs a test nothing."""

    def __init__(self, after: int = 1 << 30) -> None:
        self.left = after

    def _one(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise PowerCutError

    def place(self, place: Path, entry: Entry, data: bytes = b"") -> list[str]:
        self._one()
        return super().place(place, entry, data)

    def rename(self, source: Path, goal: Path) -> None:
        self._one()
        super().rename(source, goal)

    def remove(self, place: Path) -> None:
        self._one()
        super().remove(place)

    def write(self, place: Path, data: bytes) -> None:
        self._one()
        super().write(place, data)

    def sync(self) -> None:
        self._one()


class Host:
    """The directory of a host that runs OLD, with the three trees of a merge."""

    def __init__(self, path: Path, old: Tree, yours: Tree, new: Tree) -> None:
        self.path = path
        self.directory = path / "var/lib/skerry/etc"
        self.directory.mkdir(parents=True)
        write(old, self.directory / f"{OLD}.defaults")
        write(yours, self.directory / OLD)
        write(new, path / "etc")
        self.stager = Stager(FakeClock(), self.directory, self.directory / OLD, frozenset(), Cut())

    def boot(self, hands: Hands | None = None) -> None:
        first_boot(NEW, self.directory, self.path / "etc", 0.0, hands or Cut())

    def names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())

    def made(self) -> dict[str, Entry]:
        return dict(scan_directory(self.directory / NEW).entries)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    old, yours = tree({"a": "1\n", "b": "1\n"}), tree({"a": "2\n", "b": "2\n"})
    return Host(tmp_path, old, yours, tree({"a": "1\n", "b": "3\n", "c": "new\n"}))


def test_the_first_boot_does_what_the_preview_said(host: Host) -> None:
    said = host.stager.preview(host.path / "etc", NEW, OLD)
    host.stager.stage(NEW, OLD)
    host.boot()
    done = read_report(host.directory / f"{NEW}.report.json")
    assert done is not None
    assert done.changes == said.changes
    assert done.counts() == {"added": 1, "kept": 1, "conflict": 1, "beside": 1}


def test_the_preview_of_an_archive_is_that_of_its_directory(host: Host) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(host.path / "etc", "etc")
    archive.seek(0)
    assert host.stager.preview(archive, NEW, OLD) == host.stager.preview(host.path / "etc", NEW, OLD)


def test_a_policy_that_refuses_says_so_in_the_preview(host: Host) -> None:
    assert host.stager.preview(host.path / "etc", NEW, OLD, Policy.REFUSE).refused
    assert not host.stager.preview(host.path / "etc", NEW, OLD, Policy.MINE).refused


def test_staging_leaves_everything_but_a_plan_alone(host: Host) -> None:
    before = host.names()
    host.stager.stage(NEW, OLD, Policy.THEIRS)
    assert host.names() == sorted([*before, f"{NEW}.plan"])
    found = read_plan(host.directory / f"{NEW}.plan")
    assert found is not None
    assert (found.from_version, found.policy) == (OLD, Policy.THEIRS)
    host.stager.unstage(NEW)
    assert host.names() == before


def test_a_boot_leaves_the_merged_folder_its_defaults_and_a_report(host: Host) -> None:
    host.stager.stage(NEW, OLD)
    host.boot()
    assert host.names() == [OLD, f"{OLD}.defaults", NEW, f"{NEW}.defaults", f"{NEW}.report.json"]
    assert dict(scan_directory(host.directory / f"{NEW}.defaults").entries) == dict(
        scan_directory(host.path / "etc").entries
    )


def test_an_earlier_try_is_made_anew(host: Host) -> None:
    write(tree({"a": "of the earlier try\n"}), host.directory / NEW)
    host.stager.stage(NEW, OLD)
    host.boot()
    assert (host.directory / NEW / "a").read_text() == "2\n"
    assert f"{NEW}.old" not in host.names()


def test_a_conflict_that_came_after_planning_does_not_fail_the_boot(host: Host) -> None:
    host.stager.stage(NEW, OLD, Policy.REFUSE)
    host.boot()
    assert (host.directory / NEW / "b").read_text() == "2\n"
    assert (host.directory / NEW / "b.skerry-new").read_text() == "3\n"


def test_what_staging_needs_is_said(host: Host) -> None:
    with pytest.raises(PlanError, match=r"defaults of 2026\.9\.0"):
        host.stager.stage(NEW, "2026.9.0")
    with pytest.raises(PlanError, match="into itself"):
        host.stager.stage(OLD, OLD)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "cannot be read"),
        ('{"format": 2}', "format 2"),
        ('{"format": 1, "from": "1", "policy": "x"}', "policy"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_an_error(host: Host, text: str, why: str) -> None:
    (host.directory / f"{NEW}.plan").write_text(text)
    with pytest.raises(PlanError, match=why):
        host.boot()


def test_a_merge_without_its_base_is_an_error_and_makes_nothing(host: Host) -> None:
    host.stager.stage(NEW, OLD)
    (host.directory / f"{OLD}.defaults").rename(host.path / "gone")
    with pytest.raises(PlanError, match=r"2026\.10\.0\.defaults is not there"):
        host.boot()
    assert NEW not in host.names()


def test_a_file_that_changes_meanwhile_is_an_error(host: Host) -> None:
    class Changing(Cut):
        def place(self, place: Path, entry: Entry, data: bytes = b"") -> list[str]:
            (host.directory / OLD / "b").write_text("meanwhile\n")
            return super().place(place, entry, data)

    host.stager.stage(NEW, OLD)
    with pytest.raises(EtcError, match="b changed while it was merged"):
        host.boot(Changing())


@pytest.mark.parametrize("earlier", [False, True], ids=["first try", "after an earlier try"])
def test_cut_off_anywhere_the_next_boot_comes_to_the_same(tmp_path: Path, *, earlier: bool) -> None:
    old = tree({"a": "1\n", "d/b": "1\n", "d/gone": "1\n"})
    yours = tree({"a": "2\n", "d/b": "2\n", "d/mine": "x", "d/gone": "1\n"})
    new = tree({"a": "1\n", "d/b": "3\n", "e/f": ""})
    after, complete = 0, False
    while not complete:
        host = Host(tmp_path / str(after), old, yours, new)
        if earlier:
            write(tree({"a": "of the earlier try\n"}), host.directory / NEW)
        host.stager.stage(NEW, OLD)
        try:
            host.boot(Cut(after))
            complete = True
        except PowerCutError:
            _what_stands_is_whole(host, earlier=earlier)
        host.boot()
        host.stager.prune({OLD, NEW})
        assert host.names() == [OLD, f"{OLD}.defaults", NEW, f"{NEW}.defaults", f"{NEW}.report.json"]
        assert (host.directory / NEW / "d/b").read_text() == "2\n"
        assert sorted(host.made()) == ["", "a", "d", "d/b", "d/b.skerry-new", "d/mine", "e", "e/f"]
        assert dict(scan_directory(host.directory / OLD).entries) == dict(yours.entries)
        after += 1
    assert after > 20


def _what_stands_is_whole(host: Host, *, earlier: bool) -> None:
    """Without a plan the initrd takes the folder as it stands: then it must be the merged one."""
    planned = (host.directory / f"{NEW}.plan").exists()
    if not planned:
        assert (host.directory / NEW / "a").read_text() == "2\n"
        assert (host.directory / f"{NEW}.defaults").is_dir()
    elif (host.directory / NEW).exists() and not earlier:
        assert "d/b.skerry-new" in host.made()


@settings(max_examples=20, deadline=None)
@given(three_trees(), st.integers(0, 40), st.sampled_from([Policy.MINE, Policy.THEIRS]))
def test_any_trees_cut_off_anywhere(
    tmp_path_factory: pytest.TempPathFactory, three: tuple[Tree, Tree, Tree], after: int, policy: Policy
) -> None:
    host = Host(tmp_path_factory.mktemp("host"), *three)
    host.stager.stage(NEW, OLD, policy)
    try:
        host.boot(Cut(after))
    except PowerCutError:
        host.boot()
    expected = {a.path: a.entry for a in plan(*three, policy) if a.entry is not None}
    assert host.made() == expected


# Old folders.


def test_what_is_left_over_is_of_other_versions_or_a_stray() -> None:
    names = [
        "2026.9.0", "2026.9.0.defaults", "2026.9.0.report.json", "2026.9.0.plan", "2026.9.0.new",
        OLD, f"{OLD}.defaults", f"{OLD}.old", f"{OLD}.defaults.gone", NEW,
        f"{NEW}.plan", f"{NEW}.new", f"{NEW}.old", "new", ".2026.11.0.plan.x1", "notes", "2026.10.0.mine",
    ]  # fmt: skip
    kept = {OLD, f"{OLD}.defaults", NEW, f"{NEW}.plan", f"{NEW}.old", "notes", "2026.10.0.mine"}
    assert set(leftovers(names, {OLD, NEW})) == set(names) - kept


def test_a_sweep_that_was_cut_off_leaves_no_half_that_looks_whole(host: Host) -> None:
    after, complete = 0, False
    while not complete:
        write(tree({"a": "1\n"}), host.directory / "2026.9.0")
        try:
            prune({OLD, NEW}, host.directory, Cut(after))
            complete = True
        except PowerCutError:
            left = host.directory / "2026.9.0"
            assert not left.exists() or (left / "a").exists()
        prune({OLD, NEW}, host.directory, Cut())
        assert host.names() == [OLD, f"{OLD}.defaults"]
        after += 1
    assert after > 2


def test_keeping_nothing_is_refused(host: Host) -> None:
    with pytest.raises(ValueError, match="always kept"):
        prune(set(), host.directory)


# What the initrd starts.


def test_the_hook_merges_and_says_what_became_of_it(host: Host, capfd: pytest.CaptureFixture[str]) -> None:
    host.stager.stage(NEW, OLD)
    assert hook.merge(NEW, host.path) == 0
    said = capfd.readouterr().err.splitlines()
    assert said == [
        f"<6>skerry-etc: /etc of {NEW} made from {OLD}: 1 added, 1 kept, 1 conflict, 1 beside",
        "<4>skerry-etc: /etc/b: both changed it; by policy, yours stays",
    ]


def test_the_hook_fails_without_a_plan(host: Host, capfd: pytest.CaptureFixture[str]) -> None:
    assert hook.merge(NEW, host.path) == 1
    assert "there is no plan" in capfd.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["--help"]])
def test_the_hook_is_told_one_version(arguments: list[str]) -> None:
    assert hook.main(arguments) == 2


def test_the_hook_ends_in_one_line_whatever_happens(capfd: pytest.CaptureFixture[str]) -> None:
    assert hook.main(["no\0name"]) == 1
    assert capfd.readouterr().err.startswith("<3>skerry-etc: /etc of no\0name could not be merged: ")
