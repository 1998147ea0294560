"""An update from plan to bless, and all the ways in which it does not come to that."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest

from fakes.update import (
    MIB,
    NAME,
    NEW,
    NEWER,
    NOTHING,
    OLD,
    FakeHost,
    Fuse,
    PowerCut,
    release,
    root_of,
    verity_of,
)  # fmt: skip
from skerry.host.update.around import EtcChange, EtcPreview
from skerry.host.update.entries import label_of
from skerry.host.update.errors import DiskError, RefusedError, VerifyError
from skerry.host.update.gate import Permission
from skerry.host.update.journal import Journal, State, Step
from skerry.host.update.machine import NO_REPORT
from skerry.host.update.settings import Strategy, WindowSettings
from skerry.host.update.wish import Wish
from skerry.image.release.errors import StaleError
from skerry.image.release.manifest import Part

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


def updated(host: FakeHost, wish: Wish | None = None) -> FakeHost:
    """Stage, reboot into it, bless it, and let the probation hour pass."""
    host.engine().stage(wish)
    host.engine().reboot(asked=True)
    host.boot()
    host.engine().arrive()
    host.bless()
    host.engine().arrive()
    host.clock._passed += 4000
    host.engine().arrive()
    return host


def test_a_release_is_staged_tried_and_blessed(host: FakeHost) -> None:
    assert host.engine().stage().target == NEW
    assert host.state.step is Step.STAGED
    host.engine().reboot(asked=True)
    assert host.around.reboots
    assert host.boot() == NEW
    host.engine().arrive()
    assert host.state.step is Step.TRYING
    host.bless()
    host.engine().arrive()
    assert host.state.step is Step.BLESSED
    host.clock._passed += 3601
    host.engine().arrive()
    assert host.state.step is Step.IDLE
    assert [event.what for event in host.journal.history()] == [
        "planned", "staged", "rebooting", "trying", "blessed",
    ]  # fmt: skip


def test_staging_again_changes_nothing(host: FakeHost) -> None:
    host.engine().stage()
    before = host.fuse.effects[:]
    preview = host.engine().stage()
    assert preview.staged
    assert not [e for e in host.fuse.effects[len(before) :] if "journal" not in e]


def test_the_third_version_replaces_the_first(tmp_path: Path) -> None:
    host = updated(FakeHost(tmp_path, OLD, NEW))
    host.source = type(host.source)(host.fuse, release(OLD), release(NEW), release(NEWER))
    updated(host)
    assert host.machine.running == NEWER
    assert host.disk.labels == {"A": label_of(NAME, NEWER), "B": label_of(NAME, NEW)}
    assert sorted(host.disk.files) == [f"skerry_{NEW}.efi", f"skerry_{NEWER}.efi"]


def test_a_preview_touches_nothing(host: FakeHost) -> None:
    preview = host.engine().preview()
    assert (preview.target, preview.fetch, preview.slot) == (NEW, 2000, "B")
    assert preview.packages is not None
    assert [change.name for change in preview.packages.changed] == ["podman"]
    assert preview.reboot is not None
    assert not preview.reboot.now
    assert host.fuse.effects == []


@pytest.mark.parametrize("health_says", [None, "skerryd: does not answer"])
def test_a_version_that_fails_is_left_and_not_tried_again(host: FakeHost, health_says: str | None) -> None:
    from skerry.host.update import machine

    host.engine().stage()
    host.engine().reboot(asked=True)
    for _ in range(3):
        assert host.boot() == NEW
        if health_says:
            host.engine().arrive()
            host.journal.write(machine.failed(host.state, health_says, 0))
    assert host.boot() == OLD
    host.engine().arrive()
    assert host.state.step is Step.ROLLED_BACK
    assert host.state.reason == (health_says or NO_REPORT)
    assert host.engine().stage().target is None
    assert host.engine().check().why.startswith(f"{NEW} failed on this host")


def test_what_pstore_kept_is_the_reason(host: FakeHost) -> None:
    host.engine().stage()
    host.engine().reboot(asked=True)
    for _ in range(3):
        host.boot()
    host.boot()
    host.evidence = "Kernel panic - not syncing: VFS"
    host.engine().arrive()
    assert "VFS" in host.state.reason


def test_force_tries_a_failed_version_again(host: FakeHost) -> None:
    test_what_pstore_kept_is_the_reason(host)
    assert host.engine().stage(Wish(force=True)).target == NEW
    assert host.boot() == NEW


def test_a_rollback_boots_the_other_slot(host: FakeHost) -> None:
    updated(host)
    host.engine().rollback()
    assert host.boot() == OLD
    host.engine().arrive()
    assert host.state.step is Step.ROLLED_BACK
    host.bless()
    assert host.boot() == OLD, "it stays there"
    assert host.engine().stage().target is None, "what was left by hand does not come back by itself"


def test_a_rollback_to_a_slot_that_is_damaged_is_refused(host: FakeHost) -> None:
    updated(host)
    (host.disk.directory / "A.root").write_bytes(root_of(NEWER))
    with pytest.raises(VerifyError, match="slot A is damaged"):
        host.engine().rollback()
    assert host.boot() == NEW


def test_a_rollback_to_an_empty_slot_is_refused(host: FakeHost) -> None:
    with pytest.raises(RefusedError, match="slot B holds no version"):
        host.engine().rollback()


def test_a_rollback_that_fails_ends_where_it_began(host: FakeHost) -> None:
    updated(host)
    host.engine().rollback()
    for _ in range(3):
        assert host.boot() == OLD
    assert host.boot() == NEW
    host.engine().arrive()
    assert host.loader_chooses().version == NEW
    assert host.loader_chooses().left is None


def test_an_older_version_by_name_needs_the_word(host: FakeHost) -> None:
    updated(host)
    host.disk.labels["A"] = None
    host.disk.files.pop(f"skerry_{OLD}.efi")
    with pytest.raises(RefusedError, match="older than"):
        host.engine().stage(Wish(version=OLD))
    host.engine().stage(Wish(version=OLD, allow_downgrade=True))
    host.engine().reboot(asked=True)
    assert host.boot() == OLD
    host.engine().arrive()
    host.bless()
    host.engine().arrive()
    assert host.state.step is Step.BLESSED
    assert NEW in host.state.refused


def test_an_older_version_that_fails_leads_back(host: FakeHost) -> None:
    updated(host)
    host.engine().stage(Wish(version=OLD, allow_downgrade=True))
    host.engine().reboot(asked=True)
    for _ in range(3):
        assert host.boot() == OLD
    assert host.boot() == NEW
    host.engine().arrive()
    assert host.state.step is Step.ROLLED_BACK
    assert set(host.state.refused) == {OLD}
    assert host.loader_chooses().left is None


def test_a_spoilt_slot_never_boots(host: FakeHost) -> None:
    host.source.spoil = root_of(NEWER)
    with pytest.raises(VerifyError, match="slot B is not what is read from it"):
        host.engine().stage()
    assert host.disk.labels["B"] is None
    assert host.loader_chooses().version == OLD
    assert host.state.step is Step.REFUSED
    host.source.spoil = None
    host.engine().stage()
    assert host.boot() == NEW


def test_a_uki_of_another_root_is_refused_before_the_slot_is_touched(host: FakeHost) -> None:
    other = release(NEWER).part("root").verity
    parts = tuple(
        msgspec.structs.replace(part, verity=other) if part.name == "root" else part
        for part in release(NEW).parts
    )
    host.source.manifests[NEW] = release(NEW, parts=parts)
    with pytest.raises(VerifyError, match="not made for its root"):
        host.engine().stage()
    assert not [effect for effect in host.fuse.effects if "relabel" in effect or "half" in effect]


OBSTACLES = {
    "clock": (lambda h: setattr(h, "machine", replace(h.machine, built=2e9)), "the clock says"),
    "var": (lambda h: setattr(h, "var_free", 10 * MIB), "/var has 10 MiB free"),
    "esp": (lambda h: setattr(h.disk, "free", 1000), "the ESP has 0 MiB free"),
    "slot": (lambda h: setattr(h.disk, "slot_bytes", 4096), "slot B has 0 MiB"),
    "disk": (lambda h: setattr(h.disk, "broken", "the disk /dev/vda is read-only"), "read-only"),
    "pinned": (lambda h: h.engine().pin(OLD), "pinned to"),
    "trial": (lambda h: h.disk.recount(label_of(NAME, OLD), 2), "still being tried"),
    "extension": (
        lambda h: setattr(h, "settings", replace(h.settings, extensions=("tools",))),
        "has no extension tools",
    ),
    "etc": (
        lambda h: setattr(
            h.etc, "answer", EtcPreview(conflicts=(EtcChange("hosts", "conflict"),), refused=True)
        ),
        "/etc/hosts: changed here and in",
    ),
    "name": (lambda h: h.source.manifests.update({NEW: release(NEW, name="other")}), "is of other"),
}


@pytest.mark.parametrize("case", OBSTACLES)
def test_an_update_does_not_start_when_it_cannot_end(host: FakeHost, case: str) -> None:
    arrange, said = OBSTACLES[case]
    arrange(host)
    files = dict(host.disk.files)
    with pytest.raises(RefusedError, match=said) as refused:
        host.engine().stage()
    assert refused.value.hint
    assert host.disk.files == files
    assert host.disk.labels["B"] is None


def test_a_preview_tells_the_obstacles(host: FakeHost) -> None:
    host.var_free = 0
    (obstacle,) = host.engine().preview().obstacles
    assert "/var has 0 MiB free" in obstacle.reason


def test_metadata_that_is_refused_is_kept_for_status(host: FakeHost) -> None:
    host.source.fail = StaleError("the timestamp expired", role="timestamp", expired=1.0)
    with pytest.raises(StaleError):
        host.engine().stage()
    checked = host.engine().keep.checked()
    assert checked is not None
    assert checked.error == "the timestamp expired"


class TestStrategies:
    def test_manual_only_looks(self, host: FakeHost) -> None:
        assert NEW in host.engine().turn()
        assert host.disk.labels["B"] is None

    def test_immediate_reboots(self, host: FakeHost) -> None:
        host.settings = replace(host.settings, strategy=Strategy.IMMEDIATE)
        host.engine().turn()
        assert host.around.reboots
        assert host.state.step is Step.REBOOTING

    def test_a_kernel_that_rotted_since_is_not_booted(self, host: FakeHost) -> None:
        host.engine().stage()
        (entry,) = (one for one in host.disk.entries() if one.label.endswith(NEW))
        host.disk.entry_path(entry).write_bytes(b"rotten")
        with pytest.raises(VerifyError, match="not what was written"):
            host.engine().reboot(asked=True)
        assert not host.around.reboots
        assert host.state.step is Step.REFUSED
        assert [one.label for one in host.disk.entries()] == [f"skerry_{OLD}"]
        assert host.engine().stage().target == NEW
        assert host.engine().reboot(asked=True).now

    def test_a_window_that_is_closed_is_waited_for(self, host: FakeHost) -> None:
        # The fake's clock begins at 22:13:20 UTC on a Tuesday.
        host.settings = replace(
            host.settings, strategy=Strategy.WINDOW, window=WindowSettings(start="23:00", length="1h")
        )
        host.engine().turn()
        assert host.state.step is Step.WAITING
        assert host.around.alarms == [2800.0]
        host.clock._passed += 2800
        host.engine().turn()
        assert len(host.around.reboots) == 1

    def test_the_gate_may_say_no(self, host: FakeHost) -> None:
        class Closed:
            def acquire(self, reason: str) -> Permission:
                return Permission(False, "two others are away")

            def release(self) -> None:
                return None

        engine = host.engine()
        engine.gate = Closed()
        engine.stage()
        assert engine.reboot(asked=True).why == "two others are away"
        assert host.state.reason == "two others are away"
        assert not host.around.reboots


def test_a_loader_that_always_takes_the_other_entry_is_not_fought(host: FakeHost) -> None:
    host.settings = replace(host.settings, strategy=Strategy.IMMEDIATE)
    host.engine().turn()
    host.machine = replace(host.machine, boot_id="boot 2")
    assert "another entry was chosen" in host.engine().turn()
    assert len(host.around.reboots) == 1
    host.engine().reboot(asked=True)
    assert len(host.around.reboots) == 2


def test_a_journal_that_cannot_be_written_stops_it_before_anything_is_touched(host: FakeHost) -> None:
    class Full(Journal):
        def write(self, state: State) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    engine = host.engine()
    engine.journal = Full(host.directory / "update")
    with pytest.raises(DiskError, match="journal of updates cannot be written: No space left"):
        engine.stage()
    assert host.fuse.effects == []


def test_a_damaged_journal_is_begun_anew(host: FakeHost) -> None:
    (host.directory / "update").mkdir()
    (host.directory / "update/state.json").write_text('{"format": 99}')
    assert host.engine().stage().target == NEW
    assert "has format 99" in host.said[0]


def test_extensions_go_with_their_version(host: FakeHost) -> None:
    tools = Part("extension:tools", 4096, "3" * 64, NOTHING, NOTHING, NOTHING, verity=verity_of(NEW)[0])
    host.source.manifests[NEW] = release(NEW, parts=(*release(NEW).parts, tools))
    host.settings = replace(host.settings, extensions=("tools",))
    host.engine().stage()
    place = host.directory / "extensions" / NEW
    assert sorted(path.name for path in place.iterdir()) == ["tools.raw", "tools.roothash", "tools.verity"]
    assert (place / "tools.roothash").read_text().strip() == verity_of(NEW)[0].root_hash
    commit = host.fuse.effects.index(f"commit entry {label_of(NAME, NEW)}")
    assert host.fuse.effects.index("whole extension:tools") < commit


def test_an_extension_that_is_wanted_later_is_fetched_for_what_is_staged(host: FakeHost) -> None:
    tools = Part("extension:tools", 4096, "3" * 64, NOTHING, NOTHING, NOTHING, verity=verity_of(NEW)[0])
    host.source.manifests[NEW] = release(NEW, parts=(*release(NEW).parts, tools))
    host.engine().stage()
    host.settings = replace(host.settings, extensions=("tools",))
    host.engine().stage()
    assert host.state.step is Step.STAGED
    assert (host.directory / "extensions" / NEW / "tools.raw").exists()


def test_housekeeping_keeps_both_slots(host: FakeHost) -> None:
    updated(host)
    host.engine().housekeep()
    assert host.etc.kept == {OLD, NEW}


def effects_of(tmp_path: Path) -> int:
    """How many points there are at which the power may go, in a whole update from a full disk."""
    host = updated(FakeHost(tmp_path / "count", OLD, NEW))
    host.source = type(host.source)(host.fuse, release(OLD), release(NEW), release(NEWER))
    before = len(host.fuse.effects)
    host.engine().stage()
    return len(host.fuse.effects) - before


def test_every_prefix_boots_and_converges(tmp_path: Path) -> None:
    """The heart of it: the power goes at each effect, the machine boots something whole, and gets there."""
    points = effects_of(tmp_path)
    assert points >= 25
    for point in range(points):
        host = updated(FakeHost(tmp_path / str(point), OLD, NEW))
        host.source = type(host.source)(host.fuse, release(OLD), release(NEW), release(NEWER))
        host.fuse.left = point
        with pytest.raises(PowerCut):
            host.engine().stage()
        host.fuse.left = None
        came_up = host.boot()
        assert came_up in (NEW, NEWER)
        host.engine().arrive()
        if came_up == NEWER:
            host.bless()
            host.engine().arrive()
        else:
            host.engine().stage()
            host.engine().reboot(asked=True)
            assert host.boot() == NEWER, f"cut at {point}"
            host.engine().arrive()
            host.bless()
            host.engine().arrive()
        assert host.state.step is Step.BLESSED, f"cut at {point}"
        assert host.state.refused == {}
        assert sorted(host.disk.files) == [f"skerry_{NEW}.efi", f"skerry_{NEWER}.efi"]
        assert host.etc.staged[NEWER] == NEW


def test_every_prefix_of_a_rollback_boots(tmp_path: Path) -> None:
    point = 0
    while True:
        host = updated(FakeHost(tmp_path / str(point), OLD, NEW))
        host.fuse.left = point
        try:
            host.engine().rollback()
        except PowerCut:
            host.fuse.left = None
            came_up = host.boot()
            assert came_up in (OLD, NEW)
            host.engine().arrive()
            if came_up == NEW:
                host.engine().rollback(force=True)
                assert host.boot() == OLD, f"cut at {point}"
                host.engine().arrive()
            assert host.state.step is Step.ROLLED_BACK, f"cut at {point}"
            point += 1
        else:
            break
    assert point >= 6


def test_every_prefix_of_a_downgrade_boots_and_converges(tmp_path: Path) -> None:
    wish = Wish(version=OLD, allow_downgrade=True)
    point = 0
    while True:
        host = updated(FakeHost(tmp_path / str(point), OLD, NEW))
        host.fuse.left = point
        try:
            host.engine().stage(wish)
        except PowerCut:
            host.fuse.left = None
            if host.boot() == NEW:
                host.engine().stage(wish)
                host.engine().reboot(asked=True)
                assert host.boot() == OLD, f"cut at {point}"
            host.engine().arrive()
            host.bless()
            host.engine().arrive()
            assert host.state.step is Step.BLESSED, f"cut at {point}"
            assert host.boot() == OLD
            point += 1
        else:
            break
    assert point > 10


def test_what_is_staged_can_be_taken_back(host: FakeHost) -> None:
    host.engine().stage()
    host.engine().rollback()
    assert host.boot() == OLD
    host.engine().arrive()
    assert host.engine().stage().target is None
    assert host.engine().stage(Wish(version=NEW, force=True)).target == NEW
    assert host.boot() == NEW


def test_a_taking_back_that_is_cut_off_is_taken_back_all_the_same(tmp_path: Path) -> None:
    for point in range(1, 4):
        host = FakeHost(tmp_path / str(point))
        host.engine().stage()
        host.fuse.left = point
        with pytest.raises(PowerCut):
            host.engine().rollback()
        host.fuse.left = None
        host.engine().arrive()
        assert host.loader_chooses().version == OLD


def test_a_fuse_that_is_not_lit_cuts_nothing() -> None:
    Fuse().burn("anything")
