"""Observe, plan, carry out: the only place where an update acts.

    arrive    the journal is brought up to how the machine came up, and strays are swept
    preview   what would be done; changes nothing but downloaded metadata
    stage     carries the plan out, up to the entry on the ESP; the journal goes before each step
    reboot    as strategy and gate allow
    turn      all of it, as the timer does

Nothing gets a name that boots before what it boots was read back and verified. Any step may be the last: the
next run plans again from what is there. The caller holds the lock (lock.py).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from skerry.host.update import arrive as arriving
from skerry.host.update import back, machine, obstacles, stage
from skerry.host.update import reboot as rebooting
from skerry.host.update.around import NoEtc
from skerry.host.update.errors import ChannelError, JournalError, RefusedError
from skerry.host.update.gate import Gate, LocalGate
from skerry.host.update.journal import Event, State, Step
from skerry.host.update.machine import BY_HAND
from skerry.host.update.packages import PackageChanges, compare
from skerry.host.update.prepare import Prepared, manifest_of, prepare
from skerry.host.update.settings import Strategy
from skerry.host.update.situation import Machine, Situation
from skerry.host.update.steps import Hands
from skerry.host.update.wish import Wish, ask
from skerry.kit.errors import SkerryError
from skerry.kit.progress import Reporter, silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from skerry.host.update.around import EtcStager, HealthRecorder, Power
    from skerry.host.update.disk import Disk
    from skerry.host.update.journal import Journal
    from skerry.host.update.keep import Keep
    from skerry.host.update.preview import Preview
    from skerry.host.update.settings import UpdateSettings
    from skerry.host.update.source import Source
    from skerry.image.release.offer import Offer
    from skerry.kit.clock import Clock


@dataclass
class Engine:
    """One host. `source` is opened when needed; `evidence` tells what is known of a boot that failed."""

    machine: Machine
    disk: Disk
    journal: Journal
    keep: Keep
    settings: UpdateSettings
    clock: Clock
    source: Callable[[], Source]
    health: HealthRecorder
    power: Power
    var_free: Callable[[], int]
    etc: EtcStager = field(default_factory=NoEtc)
    gate: Gate = field(default_factory=LocalGate)
    evidence: Callable[[State], str | None] = lambda _: None
    report: Reporter = silent
    say: Callable[[str], None] = lambda _: None

    def observe(self) -> Situation:
        """How things are. Raises DiskError."""
        trouble = self.disk.read_only()
        try:
            state = self.journal.read()
        except JournalError as error:
            # What a later version wrote, or nobody: what counts is on the disk.
            self.say(f"{error.message}; a new journal is begun")
            state = State()
        entries = self.disk.entries()
        slots = self.disk.slots()
        sizes = {}
        for entry in entries:
            with contextlib.suppress(OSError):
                sizes[entry.file] = self.disk.entry_path(entry).stat().st_size
        versions = {slot.version for slot in slots if slot.version}
        wanted = self.settings.extensions
        kept = {v for v in (*versions, state.target) if v and self.keep.has_extensions(v, wanted)}
        return Situation(
            self.machine, state, self.settings, slots, entries, self.disk.strays(), self.disk.esp_free(),
            self.var_free(), self.clock.now(), trouble, frozenset(kept), sizes,
        )  # fmt: skip

    def arrive(self) -> Situation:
        """Bring journal and ESP up to how the machine came up. Raises DiskError."""
        now = self.observe()
        state, events = arriving.arrive(now, evidence=self.evidence(now.state))
        if state != now.state:
            self.journal.record(state)
        for event in events:
            self.journal.note(event)
        if state.step in machine.RESTING and state.step is not now.state.step:
            self.gate.release()
        now = replace(now, state=state)
        done = arriving.tidy(now, self.disk)
        for sentence in done:
            self.say(sentence)
        return self.observe() if done else now

    def check(self, wish: Wish | None = None) -> Offer:
        """Ask the channel what it offers, and keep the answer. Raises SkerryError."""
        return self._ask(self.observe(), wish or Wish())

    def changes(self, version: str, channel: str | None = None) -> PackageChanges:
        """The packages that differ between what runs and a release. Raises SkerryError."""
        name, running = channel or self.settings.channel, self.machine.running
        source = self.source()
        source.refresh()
        before = manifest_of(running, source, name, self.keep)
        if before is None:
            raise ChannelError(
                f"the packages of {running} are not known: channel {name} has it not",
                hint="--channel names the channel that it came from",
            )
        return compare(before, self.keep.manifest(version) or source.manifest(name, version))

    def preview(self, wish: Wish | None = None) -> Preview:
        """What `stage` would do. Raises SkerryError where the channel cannot be asked."""
        return self._prepare(self.observe(), wish or Wish()).preview

    def stage(self, wish: Wish | None = None) -> Preview:
        """Bring the version to the other slot, and have the next boot try it.

        Returns what was done, `target` None where there was nothing. Raises RefusedError where it does not
        start, and SkerryError where it does not end; then the host runs on as before.
        """
        wish = wish or Wish()
        now = self.arrive()
        against = obstacles.of_host(now, asked=wish.asked)
        if against:
            raise self._refused(now, against)
        prepared = self._prepare(now, wish)
        preview, manifest = prepared.preview, prepared.manifest
        if preview.target is None or manifest is None:
            return preview
        if preview.obstacles:
            raise self._refused(now, preview.obstacles)
        if preview.steps:
            hands = Hands(
                self.disk, self.journal, self.keep, prepared.source, self.etc, self.health, self.clock,
                self.report,
            )  # fmt: skip
            stage.carry_out(now, prepared, manifest, hands, force=wish.force)
        return preview

    def reboot(self, *, asked: bool = False) -> rebooting.RebootPlan:
        """Boot what is staged, as the strategy and the gate allow; a person who asks needs no strategy."""
        now = self.observe()
        if now.state.step not in machine.COMMITTED | {Step.REBOOTING}:
            return rebooting.RebootPlan(False, "nothing is staged")
        if not asked and now.state.reason == machine.OTHER_ENTRY:
            # Were it tried by itself again, a machine with another default would reboot every hour.
            return rebooting.RebootPlan(False, machine.OTHER_ENTRY)
        plan = rebooting.plan(self.settings, now.now, asked=asked)
        if plan.now:
            stage.check_entry(now, self.disk, self.journal, self.keep, self.etc)
            permission = self.gate.acquire(f"update to {now.state.target}")
            if not permission.granted:
                plan = rebooting.RebootPlan(False, permission.why)
        if not plan.now:
            if now.state.step is Step.REBOOTING:
                return plan
            if now.state.reason != plan.why or now.state.step is not Step.WAITING:
                self.journal.record(machine.wait(now.state, plan.why, now.now))
            if plan.when is not None:
                self.power.come_back(plan.when - now.now)
            return plan
        self.journal.record(machine.reboot(now.state, self.machine.boot_id, now.now, plan.why))
        self.journal.note(Event(now.now, "rebooting", now.state.target or "", self.machine.running, plan.why))
        self.power.reboot(f"update to {now.state.target}: {plan.why}")
        return plan

    def turn(self) -> str:
        """What the timer does: arrive, ask, and as far as the strategy goes, stage and reboot. Says how."""
        now = self.arrive()
        self.housekeep()
        if self.settings.repository is None:
            return "no repository is set"
        if self.settings.strategy is Strategy.MANUAL:
            return self._ask(now, Wish(asked=False)).why
        preview = self.stage(Wish(asked=False))
        if self.observe().state.step in machine.COMMITTED:
            plan = self.reboot()
            return f"{preview.target or self.observe().state.target} is staged; {plan.why}"
        return preview.why

    def rollback(self, *, reason: str = BY_HAND, force: bool = False, check: bool = True) -> State:
        """Have the next boot start the version in the other slot. Raises RefusedError, VerifyError.

        What is only staged is taken back: the next boot starts what runs.
        """
        now = self.arrive()
        if now.state.step in machine.COMMITTED and now.state.target == now.there.version:
            return back.take_back(now, self.disk, self.journal, self.etc, reason)
        return back.go(
            now, self.disk, self.journal, reason, tries=self.settings.tries, force=force, check=check
        )

    def restart(self, reason: str) -> None:
        self.power.reboot(reason)

    def pin(self, version: str | None) -> State:
        """Stay on a version; None lets go."""
        now = self.observe()
        state = machine.pin(now.state, version)
        self.journal.record(state)
        what = "pinned" if version else "unpinned"
        self.journal.note(Event(now.now, what, version or now.state.pinned or ""))
        return state

    def housekeep(self) -> None:
        """Remove what belongs to versions that are gone. Never while an update is under way."""
        now = self.observe()
        if now.state.step in machine.UNCOMMITTED or now.here is None:
            return
        versions = {slot.version for slot in now.slots if slot.version} | {self.machine.running}
        versions |= {now.state.target} if now.state.target else set()
        try:
            self.keep.prune(versions, now.now)
            self.etc.prune(versions)
        except (SkerryError, OSError) as error:
            self.say(f"what older versions left cannot be removed: {error}")

    def _ask(self, now: Situation, wish: Wish) -> Offer:
        return ask(now, wish, self.source, self.keep).offer

    def _prepare(self, now: Situation, wish: Wish) -> Prepared:
        answer = ask(now, wish, self.source, self.keep)
        return prepare(now, answer, wish, self.disk, self.keep, self.etc)

    def _refused(self, now: Situation, against: tuple[obstacles.Obstacle, ...]) -> RefusedError:
        reasons = tuple(one.reason for one in against)
        if now.state.step in machine.RESTING and now.state.step is not Step.BLESSED:
            with contextlib.suppress(OSError, SkerryError):
                self.journal.record(machine.refuse(now.state, "; ".join(reasons), now.now))
        said = reasons[0] if len(reasons) == 1 else "; ".join(reasons)
        return RefusedError(
            f"the update does not start: {said}", hint=against[0].hint or None, reasons=reasons
        )
