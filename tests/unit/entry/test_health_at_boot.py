"""What skerry-health writes down: each boot of an update, from its trial to the bless, or back."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from fakes.health_machine import FakeMachine, block
from skerry.entry.health import START_TIMER, STOP_TIMER, Health, main
from skerry.host.health.check import Status
from skerry.host.health.decide import Decision, Verdict
from skerry.host.health.evidence import HUNG
from skerry.host.health.network import NetworkLook
from skerry.host.health.record import Before, Occasion, Records
from skerry.host.health.units import UnitLook
from skerry.host.update import lock
from skerry.host.update.journal import Journal, State, Step
from skerry.host.update.machine import NO_REPORT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

REBOOTING = State(
    step=Step.REBOOTING, running="1", target="2", slot="B", previous="1", since=1_699_999_000.0, boot_id="old"
)
PROBATION_S = 3600.0


@dataclass
class World:
    """A machine whose update from 1 to 2 has just been booted; skerry-health's doors are recorded."""

    root: Path
    fake: FakeMachine = field(init=False)
    called: list[Sequence[str]] = field(default_factory=list)
    gone_back: list[str] = field(default_factory=list)
    cleaned: int = 0
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fake = FakeMachine(self.root)
        # No daemon answers here; it did not before either.
        self.update = self.root / "var/lib/skerry/update"
        self.journal = Journal(self.update)
        self.records = Records(self.update / "health")
        self.knows(Before("1", 0, {"skerryd": Status.FAILED}, {}, NetworkLook()))

    def knows(self, before: Before) -> None:
        self.records.keep(before)

    def health(self) -> Health:
        return Health(
            self.fake.machine(),
            self.update,
            systemctl=self.called.append,
            go_back=self.gone_back.append,
            clean=self._clean,
            say=lambda level, text: self.said.append(f"{level}{text}"),
        )

    def _clean(self) -> None:
        self.cleaned += 1

    def bless(self) -> None:
        """What systemd-bless-boot does."""
        (counted,) = (self.root / "efi/EFI/Linux").glob("skerry_2+*")
        counted.rename(counted.with_name("skerry_2.efi"))

    def boot(self, boot_id: str, version: str = "2") -> None:
        self.fake.write("proc/sys/kernel/random/boot_id", f"{boot_id}\n")
        self.fake.boots(version)

    def uncounted(self) -> None:
        """The boot loader counts no tries of the entry that it started."""
        for path in (self.root / "sys/firmware/efi/efivars").iterdir():
            path.unlink()


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.fake.count("skerry_2+2-1.efi", "skerry_1.efi")
    made.journal.write(REBOOTING)
    return made


def test_a_good_trial_may_be_blessed_and_then_is(world: World) -> None:
    verdict = world.health().trial()
    assert verdict.may_bless
    assert world.journal.read().step is Step.TRYING
    world.bless()
    world.health().settle()
    state = world.journal.read()
    assert (state.step, state.running) == (Step.BLESSED, "2")
    assert state.probation_until == pytest.approx(world.fake.times.time() + PROBATION_S)
    assert world.called == [START_TIMER]
    assert world.cleaned == 1
    assert [event.what for event in world.journal.history()] == ["trying", "blessed"]


def test_a_failed_trial_leaves_its_reason_for_the_older_version_to_tell(world: World) -> None:
    world.fake.script("required.d/db", "echo 'no answer from the database'; exit 1")
    verdict = world.health().trial()
    assert verdict.decision is Decision.FALL_BACK
    assert not verdict.may_bless
    reason = "required.d/db: ended with 1: no answer from the database"
    assert world.journal.read().failure == reason
    record = world.records.of_boot("1b6d")
    assert record is not None
    assert (record.occasion, record.decision, record.reason) == (Occasion.TRIAL, Decision.FALL_BACK, reason)

    # Boot counting went through the tries, and the older version is up again.
    world.uncounted()
    (world.root / "efi/EFI/Linux/skerry_2+2-1.efi").rename(world.root / "efi/EFI/Linux/skerry_2+0-3.efi")
    world.boot("back", "1")
    world.health().settle()
    state = world.journal.read()
    assert (state.step, state.running, state.reason) == (Step.ROLLED_BACK, "1", reason)
    assert state.refused["2"].reason == reason
    assert [(event.what, event.version, event.why) for event in world.journal.history()] == [
        ("trying", "2", ""),
        ("rolled-back", "1", reason),
    ]


def test_the_trial_waits_for_a_unit_until_its_time_is_over(world: World) -> None:
    world.knows(
        Before(
            "1",
            0,
            {"skerryd": Status.FAILED},
            {"web.service": UnitLook("active", by_boot=True)},
            NetworkLook(),
        )
    )
    world.fake.units["web.service"] = block("web.service", "activating", "start")
    assert world.health().trial().reason == "units: web.service is activating (start)"
    assert 290 <= world.fake.times.passed <= 300


def test_an_application_that_was_broken_already_forces_nothing(world: World) -> None:
    world.fake.script("required.d/db", "exit 1")
    world.knows(Before("1", 0, {"skerryd": Status.FAILED, "required.d/db": Status.FAILED}, {}, NetworkLook()))
    verdict = world.health().trial()
    assert (verdict.decision, world.fake.times.passed) == (Decision.TOLERATED, 0)


def test_on_the_first_boot_of_an_installation_there_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    world = World(tmp_path)
    (world.update / "health/before.json").unlink()
    world.fake.count("skerry_2+2-1.efi")
    world.fake.script("required.d/db", "exit 1")
    assert world.health().trial() == Verdict(Decision.GOOD)
    assert world.journal.read() == State(running="2")
    world.bless()
    world.health().settle()
    record = world.records.of_boot("1b6d")
    assert record is not None
    assert (record.occasion, record.decision) == (Occasion.BOOT, Decision.TOLERATED)
    assert (world.called, world.gone_back) == ([], [])


def test_a_machine_without_its_disks_is_not_blessed_even_then(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fake.count("skerry_2+2-1.efi")
    world.fake.write("proc/self/mountinfo", "")
    assert world.health().trial().decision is Decision.HELD


def test_an_ordinary_boot_says_what_is_wrong_and_goes_on(world: World) -> None:
    world.uncounted()
    world.journal.write(State(running="2"))
    world.fake.script("required.d/db", "exit 1")
    world.health().settle()
    record = world.records.of_boot("1b6d")
    assert record is not None
    assert (record.occasion, record.decision) == (Occasion.BOOT, Decision.TOLERATED)
    assert any("required.d/db" in line and line.startswith("<3>") for line in world.said)
    assert world.called == []


def test_a_bless_whose_record_was_cut_off_is_seen_at_the_next_boot(world: World) -> None:
    world.health().trial()
    world.bless()
    world.uncounted()
    world.boot("next")
    world.health().settle()
    assert world.journal.read().step is Step.BLESSED


def test_while_the_entry_has_its_counter_nothing_is_settled(world: World) -> None:
    world.health().trial()
    world.health().settle()
    assert (world.journal.read().step, world.called, world.cleaned) == (Step.TRYING, [], 0)


def test_a_damaged_journal_keeps_no_boot_from_its_verdict(world: World) -> None:
    (world.update / "state.json").write_text("{")
    assert world.health().trial().may_bless
    world.fake.script("required.d/db", "exit 1")
    assert world.health().trial().decision is Decision.FALL_BACK


def test_entries_that_cannot_be_read_leave_the_choice_to_what_was_written_down(world: World) -> None:
    (world.root / "efi").rename(world.root / "gone")
    verdict = world.health().trial()
    assert (verdict.decision, verdict.failed) == (Decision.FALL_BACK, ("boot-entries",))


def on_probation(world: World) -> None:
    world.health().trial()
    world.bless()
    world.health().settle()
    world.called.clear()


def test_what_keeps_failing_in_the_probation_is_given_up(world: World) -> None:
    world.fake.script("required.d/db", "exit 0")
    on_probation(world)
    world.fake.script("required.d/db", "echo lost; exit 1")
    for expected in (0, 0, 1):
        world.health().probation()
        assert len(world.gone_back) == expected
    assert world.gone_back == ["required.d/db: ended with 1: lost (3 times in a row)"]
    assert world.called == [STOP_TIMER]


def test_what_fails_now_and_then_is_not_given_up(world: World) -> None:
    world.fake.script("required.d/db", f"test -e {world.root}/up")
    (world.root / "up").touch()
    on_probation(world)
    for up in (False, False, True, False, False):
        (world.root / "up").touch() if up else (world.root / "up").unlink(missing_ok=True)
        world.health().probation()
    assert world.gone_back == []


def test_the_probation_ends(world: World) -> None:
    on_probation(world)
    world.fake.times.sleep(PROBATION_S + 1)
    world.health().probation()
    assert (world.journal.read().step, world.called) == (Step.IDLE, [STOP_TIMER])


def test_the_probation_goes_on_after_a_reboot(world: World) -> None:
    on_probation(world)
    world.uncounted()
    world.boot("next")
    world.health().settle()
    assert world.called == [START_TIMER]


def test_a_panic_is_told_by_its_last_words(world: World) -> None:
    world.uncounted()
    (world.root / "efi/EFI/Linux/skerry_2+2-1.efi").rename(world.root / "efi/EFI/Linux/skerry_2+0-3.efi")
    words = "Kernel panic - not syncing: VFS: Unable to mount root fs"
    world.fake.write("var/lib/systemd/pstore/17/dmesg.txt", f"<6>[1.0] up\n<0>[2.0] {words}\n")
    world.boot("back", "1")
    world.health().settle()
    assert world.journal.read().reason == words


@pytest.mark.parametrize(
    ("status", "reason"), [("32\n", HUNG), ("0\n", NO_REPORT), ("not a number\n", NO_REPORT)]
)
def test_a_hang_is_told_by_the_watchdog(world: World, status: str, reason: str) -> None:
    world.uncounted()
    (world.root / "efi/EFI/Linux/skerry_2+2-1.efi").rename(world.root / "efi/EFI/Linux/skerry_2+0-3.efi")
    world.fake.write("sys/class/watchdog/watchdog0/bootstatus", status)
    world.boot("back", "1")
    world.health().settle()
    assert world.journal.read().reason == reason


def test_an_update_at_work_is_waited_for_and_then_left_alone(world: World) -> None:
    with lock.held(world.root / "run/skerry/update.lock"):
        verdict = world.health().trial()
    assert verdict.may_bless
    assert world.journal.read() == REBOOTING
    assert any("another update is at work" in line for line in world.said)


def test_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dance"]) == 2
    assert "usage" in capsys.readouterr().err


def test_a_boot_loads_nothing_that_only_updates_need(tmp_path: Path) -> None:
    """A Python that runs in every boot is to be small: 0.1 s, 20 MB."""
    script = """
import sys
from pathlib import Path
from fakes.health_machine import FakeMachine
from skerry.entry.health import Health
nothing = lambda *_: None
fake = FakeMachine(Path(sys.argv[1]))
update = Path(sys.argv[1]) / "var/lib/skerry/update"
Health(fake.machine(), update, systemctl=nothing, go_back=nothing, clean=nothing, say=nothing).settle()
assert (update / "health/1b6d.json").exists()
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    paths = ":".join(path for path in sys.path if path)
    argv = [sys.executable, "-c", script, str(tmp_path)]
    env = {"PYTHONPATH": paths, "PATH": os.environ["PATH"]}
    loaded = subprocess.run(
        argv, env=env, capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    heavy = {"asyncio", "click", "cryptography", "dbus_fast", "merge3", "requests", "ssl", "tuf", "zstandard"}
    assert heavy & set(loaded) == set()
