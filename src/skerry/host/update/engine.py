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
import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from skerry.host.update import arrive as arriving
from skerry.host.update import back, machine, obstacles
from skerry.host.update import reboot as rebooting
from skerry.host.update.around import EtcPreview, NoEtc
from skerry.host.update.errors import ChannelError, DiskError, JournalError, RefusedError, VerifyError
from skerry.host.update.gate import Gate, LocalGate
from skerry.host.update.journal import Event, State, Step
from skerry.host.update.keep import Checked
from skerry.host.update.machine import BY_HAND, Tried
from skerry.host.update.packages import PackageChanges, compare
from skerry.host.update.plan import Goal, PlannedStep, steps
from skerry.host.update.preview import Preview
from skerry.host.update.settings import Strategy
from skerry.host.update.situation import Machine, Situation
from skerry.host.update.source import Have
from skerry.host.update.steps import Hands
from skerry.image.release.offer import Offer, Verdict, offered, permitted
from skerry.kit.errors import SkerryError
from skerry.kit.progress import Reporter, silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from skerry.host.update.around import EtcStager, HealthRecorder, Power
    from skerry.host.update.disk import Disk
    from skerry.host.update.journal import Journal
    from skerry.host.update.keep import Keep
    from skerry.host.update.settings import UpdateSettings
    from skerry.host.update.source import Source
    from skerry.image.release.manifest import Manifest
    from skerry.kit.clock import Clock


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: the newest of a channel, or a `version` by name. `asked`: by a person."""

    version: str | None = None
    channel: str | None = None
    force: bool = False
    allow_downgrade: bool = False
    asked: bool = True


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
            self._write(state)
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
        return self._ask(self.observe(), wish or Wish())[0]

    def changes(self, version: str, channel: str | None = None) -> PackageChanges:
        """The packages that differ between what runs and a release. Raises SkerryError."""
        name, running = channel or self.settings.channel, self.machine.running
        source = self.source()
        source.refresh()
        before = self._manifest_of(running, source, name)
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
            self._carry_out(now, prepared, manifest, wish)
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
            self._check_entry(now)
            permission = self.gate.acquire(f"update to {now.state.target}")
            if not permission.granted:
                plan = rebooting.RebootPlan(False, permission.why)
        if not plan.now:
            if now.state.step is Step.REBOOTING:
                return plan
            if now.state.reason != plan.why or now.state.step is not Step.WAITING:
                self._write(machine.wait(now.state, plan.why, now.now))
            if plan.when is not None:
                self.power.come_back(plan.when - now.now)
            return plan
        self._write(machine.reboot(now.state, self.machine.boot_id, now.now, plan.why))
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
            offer = self._ask(now, Wish(asked=False))[0]
            return offer.why
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
            return self._take_back(now, reason)
        return back.go(
            now, self.disk, self.journal, reason, tries=self.settings.tries, force=force, check=check
        )

    def _take_back(self, now: Situation, reason: str) -> State:
        version, running = now.state.target or "", self.machine.running
        # The journal first: cut off after it, `arrive` counts the entry of a refused version out.
        state = machine.refuse(now.state, reason, now.now, remember=version)
        self._write(state)
        self.journal.note(Event(now.now, "taken back", version, running, reason))
        if now.tried(running) is Tried.OUT:
            self.disk.recount(now.label(running), None)
        self.disk.remove_entries(now.label(version))
        self.etc.unstage(version)
        return state

    def restart(self, reason: str) -> None:
        self.power.reboot(reason)

    def pin(self, version: str | None) -> State:
        """Stay on a version; None lets go."""
        now = self.observe()
        state = machine.pin(now.state, version)
        self._write(state)
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

    # What stands behind them.

    def _check_entry(self, now: Situation) -> None:
        """A kernel that rotted on the ESP would stop the machine: the loader tries no other after it."""
        version, entry = now.state.target or "", now.entry(now.state.target or "")
        manifest = self.keep.manifest(version)
        if now.state.step not in machine.COMMITTED or entry is None or manifest is None:
            return
        try:
            with self.disk.entry_path(entry).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            found = str(error)
        if found == manifest.part("uki").sha256:
            return
        said = f"{entry.file} on the ESP is not what was written there"
        self.disk.remove_entries(entry.label)
        self.etc.unstage(version)
        self._write(machine.refuse(now.state, said, now.now))
        self.journal.note(Event(now.now, "failed", version, self.machine.running, said))
        raise VerifyError(
            said, hint="`skerry host upgrade` brings it once more; if that happens twice, replace the disk"
        )

    def _ask(self, now: Situation, wish: Wish) -> tuple[Offer, Source, str]:
        name = wish.channel or self.settings.channel
        try:
            source = self.source()
            source.refresh()
            channel = source.channel(name)
        except SkerryError as error:
            self._keep_checked(Checked(now.now, name, error=error.message))
            raise
        refused = {version: why.reason for version, why in now.state.refused.items()}
        if wish.force:
            refused = {}
        if wish.version is not None:
            offer = permitted(
                channel, self.machine.running, wish.version, allow_downgrade=wish.allow_downgrade,
                refused=refused,
            )  # fmt: skip
        else:
            offer = offered(channel, self.machine.running, self.machine.node, now.now, refused=refused)
            self._keep_checked(Checked(now.now, name, offer.version, offer.why, offer.due))
        return offer, source, name

    def _prepare(self, now: Situation, wish: Wish) -> _Prepared:
        offer, source, channel = self._ask(now, wish)
        running = self.machine.running
        if offer.version is None:
            preview = Preview(
                running, None, channel, offer.why, offer.due, passed_over=offer.passed_over,
                obstacles=_not_permitted(offer, wish),
            )  # fmt: skip
            if preview.obstacles:
                raise RefusedError(offer.why, hint=preview.obstacles[0].hint or None)
            return _Prepared(preview, None, source, ())
        manifest = source.manifest(channel, offer.version)
        goal = Goal(manifest.version, self.settings.extensions)
        planned = steps(now, goal)
        before = self._manifest_of(running, source, channel)
        have = self._have(now, before)
        names = ("root", "uki", *(f"extension:{name}" for name in goal.extensions))
        there = {part.name for part in manifest.parts}
        filled = now.there.label == now.label(manifest.version)
        costs = source.costs(manifest, [n for n in names if n in there], have) if planned else ()
        etc = self._preview_etc(source, manifest) if planned else None
        against = (
            *obstacles.of_host(now, asked=wish.asked),
            *obstacles.of_release(now, manifest, costs, etc, fill=bool(planned) and not filled),
        )
        preview = Preview(
            running, manifest.version, channel, offer.why, offer.due,
            slot=now.there.name, staged=not planned, obstacles=against, steps=planned, parts=costs,
            fetch=sum(cost.fetch for cost in costs), room=obstacles.room_for(now, manifest, costs),
            packages=compare(before, manifest) if before else None, etc=etc,
            reboot=rebooting.plan(self.settings, now.now, asked=False), notes=manifest.notes,
            published=manifest.published, passed_over=offer.passed_over,
        )  # fmt: skip
        return _Prepared(preview, manifest, source, have)

    def _carry_out(self, now: Situation, prepared: _Prepared, manifest: Manifest, wish: Wish) -> None:
        version, state = manifest.version, now.state
        if wish.force:
            state = machine.force(state, version)
        if not _goes_on(state, version):
            state = machine.plan(
                state,
                self.machine.running,
                version,
                now.there.name,
                now.now,
                channel=prepared.preview.channel,
            )
            self._write(state)
            self.journal.note(Event(now.now, "planned", version, self.machine.running, prepared.preview.why))
        hands = Hands(
            self.disk,
            self.journal,
            self.keep,
            prepared.source,
            self.etc,
            self.health,
            self.clock,
            self.report,
        )
        try:
            for step in prepared.preview.steps:
                state = hands.carry_out(step, now, state, manifest, prepared.have)
            if state.step in machine.UNCOMMITTED:  # its entry was there before
                self._write(machine.staged(machine.found(state, self.clock.now()), self.clock.now()))
        except (SkerryError, OSError) as error:
            said = error.message if isinstance(error, SkerryError) else f"the disk failed: {error}"
            with contextlib.suppress(OSError, SkerryError):
                self._write(machine.refuse(self.journal.read(), said, self.clock.now()))
            self.journal.note(Event(self.clock.now(), "failed", version, self.machine.running, said))
            with contextlib.suppress(OSError, SkerryError):
                self.disk.sweep()
            if isinstance(error, SkerryError):
                raise
            raise DiskError(said, hint="look at `journalctl -k`, and at `df /var /efi`") from error
        self.journal.note(Event(self.clock.now(), "staged", version, self.machine.running))

    def _preview_etc(self, source: Source, manifest: Manifest) -> EtcPreview | None:
        opened = source.etc_defaults(manifest)
        if opened is None:
            return None
        with opened as defaults:
            return self.etc.preview(defaults, manifest.version, self.machine.running)

    def _manifest_of(self, version: str, source: Source, channel: str) -> Manifest | None:
        kept = self.keep.manifest(version)
        if kept is not None:
            return kept
        try:
            return source.manifest(channel, version)
        except SkerryError:
            return None  # not of this channel, or not there any more

    def _have(self, now: Situation, manifest: Manifest | None) -> tuple[Have, ...]:
        """The running version's parts; its manifest counts where it is of the very root that runs."""
        running, here = self.machine.running, now.here
        entry = now.entry(running)
        seal = back.sealed(self.disk.entry_path(entry)) if entry else None
        if here is None or entry is None or seal is None:
            return ()
        sha256 = None
        if manifest is not None:
            root = manifest.part("root")
            if root.verity is not None and root.verity.root_hash == seal.root_hash:
                sha256 = root.sha256
        uki = self.disk.entry_path(entry)
        extensions = self.keep.extensions / running
        size = seal.blocks * back.BLOCK_BYTES
        return (Have(running, here.root, here.verity, uki, size, sha256, extensions),)

    def _refused(self, now: Situation, against: tuple[obstacles.Obstacle, ...]) -> RefusedError:
        reasons = tuple(one.reason for one in against)
        if now.state.step in machine.RESTING and now.state.step is not Step.BLESSED:
            with contextlib.suppress(OSError, SkerryError):
                self._write(machine.refuse(now.state, "; ".join(reasons), now.now))
        said = reasons[0] if len(reasons) == 1 else "; ".join(reasons)
        return RefusedError(
            f"the update does not start: {said}", hint=against[0].hint or None, reasons=reasons
        )

    def _keep_checked(self, checked: Checked) -> None:
        with contextlib.suppress(OSError):
            self.keep.keep_checked(checked)

    def _write(self, state: State) -> None:
        try:
            self.journal.write(state)
        except OSError as error:
            raise DiskError(
                f"the journal of updates cannot be written: {error.strerror or error}",
                hint="look at `df /var` and `journalctl -k`",
            ) from error


@dataclass(frozen=True, slots=True)
class _Prepared:
    preview: Preview
    manifest: Manifest | None
    source: Source
    have: tuple[Have, ...]


def _goes_on(state: State, version: str) -> bool:
    """Whether the journal already speaks of this update."""
    return state.target == version and state.step in machine.UNCOMMITTED and not state.returning


def _not_permitted(offer: Offer, wish: Wish) -> tuple[obstacles.Obstacle, ...]:
    """What a person asked for by name and may not have, with the remedy."""
    if wish.version is None or offer.verdict is Verdict.CURRENT:
        return ()
    remedies = {
        Verdict.OLDER: "--allow-downgrade goes back to it; `skerry host rollback` chooses the other slot",
        Verdict.REFUSED: "--force tries it again",
        Verdict.UNKNOWN: "--channel chooses another channel",
        Verdict.NEEDS_STEP: "`skerry host upgrade` goes by the versions between",
    }
    return (obstacles.Obstacle(offer.why, remedies.get(offer.verdict, "")),)


__all__ = ["Engine", "PlannedStep", "Wish"]
