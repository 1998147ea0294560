"""skerry-health: what systemd starts to find out whether a boot is good, and to write down what became of it.

    skerry-health trial       skerry-health.service, before boot-complete.target, where the tries are counted
    skerry-health settle      skerry-settle.service, once in every boot, after the bless
    skerry-health probation   skerry-probation.timer, while a blessed version is new

`trial` ends with 1 where the boot is not to be blessed; then skerry-fallback.service reboots, if there is
another version, and the reason is in the journal of updates by then. Elsewhere a problem is only said.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from skerry.host.health.decide import Trial, Verdict
    from skerry.host.health.machine import Machine
    from skerry.host.health.record import Occasion, Record
    from skerry.host.update.entries import Entry
    from skerry.host.update.journal import State
    from skerry.host.update.machine import Tried

VERBS = ("trial", "settle", "probation")
UPDATE = Path("/var/lib/skerry/update")
TIMER = "skerry-probation.timer"
START_TIMER = ("systemctl", "start", "--no-block", TIMER)
STOP_TIMER = ("systemctl", "stop", "--no-block", TIMER)
LOCK_TRIES = 30
ERROR, WARNING, NOTE = "<3>", "<4>", "<6>"  # sd-daemon(3)


def main(argv: list[str] | None = None) -> int:
    """Do one of VERBS. What breaks here fails a trial, for nobody could bless it, and nothing else."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1 or arguments[0] not in VERBS:
        sys.stderr.write(f"usage: skerry-health {'|'.join(VERBS)}\n")
        return 2
    os.umask(0o022)
    try:
        health = this_machine()
        if arguments[0] == "trial":
            return 0 if health.trial().may_bless else 1
        if arguments[0] == "settle":
            health.settle()
        else:
            health.probation()
    except Exception as error:  # whatever it is, systemd must hear of it
        import traceback

        say(ERROR, f"{arguments[0]} ended early: {type(error).__name__}: {error}")
        say(WARNING, traceback.format_exc())
        return 1
    return 0


def say(level: str, text: str) -> None:
    """One line, or several, to the journal."""
    sys.stderr.write("".join(f"{level}{line}\n" for line in text.splitlines()))


def this_machine() -> Health:
    """The machine that this runs on, with everything that follows from a verdict wired up."""
    from skerry.host.health.machine import Machine
    from skerry.kit.run import run

    def systemctl(argv: Sequence[str]) -> None:
        run(argv, timeout_s=30)

    return Health(Machine(), UPDATE, systemctl=systemctl, go_back=_go_back, clean=_clean, say=say)


class Health:
    """One run over one machine. A test gives it other doors."""

    def __init__(
        self,
        machine: Machine,
        update: Path,
        *,
        systemctl: Callable[[Sequence[str]], None],
        go_back: Callable[[str], None],
        clean: Callable[[], None],
        say: Callable[[str, str], None],
    ) -> None:
        from skerry.host.health.boot import read_boot
        from skerry.host.health.record import Records
        from skerry.host.health.settings import read_settings
        from skerry.host.update.journal import Journal

        self.machine = machine
        self.update = update
        self.boot = read_boot(machine.root)
        self.records = Records(machine.directory)
        self.journal = Journal(update)
        self._systemctl, self._go_back, self._clean, self._say = systemctl, go_back, clean, say
        self.settings = read_settings(machine.root / "etc/skerry")

    def trial(self) -> Verdict:
        """Look until all is well or the time is over, and write down what follows before it does.

        Without another version only the basic checks could change what follows: the rest is left to `settle`.
        """
        from skerry.host.health.boot import trial_of
        from skerry.host.health.decide import Decision, Trial
        from skerry.host.health.record import Occasion
        from skerry.host.update import machine
        from skerry.host.update.journal import Step

        state = self.arrived()
        known = state is not None and state.previous is not None and state.target == self.boot.version
        trial = trial_of(self.boot, self._entries(), otherwise=known)
        record, verdict = self.look(Occasion.TRIAL, trial)
        if trial is Trial.WITHOUT_FALLBACK and verdict.may_bless:
            self._say(NOTE, f"version {self.boot.version} may be blessed: there is no other")
        else:
            self.keep(record)
        if verdict.decision is Decision.FALL_BACK and state is not None and state.step is Step.TRYING:
            with self._locked():
                self._write(machine.failed(state, verdict.reason, record.at), before=state)
        return verdict

    def settle(self) -> None:
        """Record that a version was blessed, or that the older one is back; look at an ordinary boot."""
        from skerry.host.health.boot import still_counted
        from skerry.host.health.decide import Trial
        from skerry.host.health.record import Occasion

        state = self.arrived()
        if still_counted(self.boot, self.machine.root):
            self._say(WARNING, f"version {self.boot.version} is still on trial: it was not blessed")
            return
        if self.boot.counted:
            self._tidy()
        if self.records.of_boot(self.boot.id) is None:
            record, _ = self.look(Occasion.BOOT, Trial.NO)
            self.keep(record)
        if state is not None and state.on_probation(self.machine.times.time()):
            self._begin_probation()

    def probation(self) -> None:
        """Look once at a version that is new; go back where it keeps failing, end where its time is over."""
        from skerry.host.health import probation
        from skerry.host.health.decide import Trial
        from skerry.host.health.record import Occasion
        from skerry.host.update import machine

        now = self.machine.times.time()
        state, tally = self.journal.read(), self.records.tally()
        if not state.on_probation(now) or tally is None or tally.version != self.boot.version:
            self._systemctl(STOP_TIMER)
            with self._locked():
                state = self.journal.read()
                self._write(machine.settled(state, now), before=state)
            return
        record, _ = self.look(Occasion.PROBATION, Trial.NO)
        tally = probation.count(tally, record.results)
        self.records.keep(tally)
        if any(result.failed for result in record.results):
            self.keep(record)
        reason = probation.why_back(tally, record.results, limit=self.settings.failures)
        if reason is not None:
            self._say(ERROR, f"version {self.boot.version} is given up: {reason}")
            self._go_back(reason)  # where that is refused, the next look tries again
            self._systemctl(STOP_TIMER)

    def look(self, occasion: Occasion, trial: Trial) -> tuple[Record, Verdict]:
        from skerry.host.health.look import look

        return look(self.machine, self.boot, occasion, trial, self.settings, self.records.before())

    def keep(self, record: Record) -> None:
        """Put a record on the disk, if that takes it, and in the journal in any case."""
        for result in record.results:
            if result.failed:
                level = WARNING if result.weight == "wanted" else ERROR
                self._say(level, f"{result.name}: {result.said}")
        said = f": {record.reason}" if record.reason else ""
        self._say(NOTE, f"version {record.version}, {record.occasion}: {record.decision}{said}")
        try:
            self.records.keep(record)
        except OSError as error:
            self._say(ERROR, f"the record cannot be kept: {error}")

    def arrived(self) -> State | None:
        """The update's state after what this boot shows; None where its journal cannot be used."""
        from msgspec.structs import replace

        from skerry.host.health.evidence import cause
        from skerry.host.update import machine
        from skerry.host.update.journal import Step
        from skerry.kit.errors import SkerryError

        now = self.machine.times.time()
        try:
            with self._locked():
                before = self.journal.read()
                if before.target is None or before.step in machine.RESTING:
                    tried = machine.Tried.ABSENT  # nothing is under way, so nobody asks
                else:
                    tried = self._tried(before.target)
                told = cause(self.machine.root, before.since)
                state = machine.booted(before, self.boot.version, tried, self.boot.id, now, evidence=told)
                if state.step is Step.BLESSED and before.step is not Step.BLESSED:
                    state = replace(state, probation_until=now + self.settings.probation_s)
                self._write(state, before=before)
        except (SkerryError, OSError) as error:
            self._say(ERROR, f"what became of the update cannot be recorded: {error}")
            return None
        return state

    def _write(self, state: State, *, before: State) -> None:
        """Put a state that changed on the disk, and what a person cares about in the history."""
        from skerry.host.update.journal import Event, Step

        if state == before:
            return
        self.journal.write(state)
        if state.step is before.step or state.step is Step.IDLE:
            return
        running = self.boot.version
        self.journal.note(Event(state.since, state.step, running, before.previous or "", state.reason))
        why = f": {state.reason}" if state.reason else ""
        self._say(NOTE, f"the update to {state.target} is {state.step}{why}")

    def _tried(self, version: str) -> Tried:
        """What the counter of a version's entry says. Raises OSError where only the ESP could tell."""
        from skerry.host.health.boot import entries
        from skerry.host.update.machine import Tried

        try:
            found = entries(self.machine.root)
        except OSError:
            if version != self.boot.version:
                raise
            return Tried.BEGUN if self.boot.counted else Tried.GOOD
        mine = [entry for entry in found if entry.version == version]
        if not mine:
            return Tried.ABSENT
        return Tried.GOOD if any(entry.left is None for entry in mine) else mine[0].tried

    def _entries(self) -> tuple[Entry, ...] | None:
        from skerry.host.health.boot import entries

        try:
            return entries(self.machine.root)
        except OSError:
            return None

    def _locked(self) -> ExitStack:
        """Nobody else writes the journal meanwhile. Raises BusyError where an update does not let go."""
        from skerry.host.update import lock
        from skerry.host.update.errors import BusyError

        path = self.machine.root / lock.LOCK.relative_to("/")
        for _ in range(LOCK_TRIES):
            with ExitStack() as held, suppress(BusyError):
                held.enter_context(lock.held(path))
                return held.pop_all()
            self.machine.times.sleep(1)
        with ExitStack() as held:
            held.enter_context(lock.held(path))
            return held.pop_all()

    def _tidy(self) -> None:
        from skerry.kit.errors import SkerryError

        try:
            with self._locked():
                self._clean()
        except (SkerryError, OSError) as error:
            self._say(WARNING, f"what older versions left is not removed now: {error}")

    def _begin_probation(self) -> None:
        from skerry.host.health import probation

        tally, record = self.records.tally(), self.records.of_boot(self.boot.id)
        if (tally is None or tally.version != self.boot.version) and record is not None:
            self.records.keep(probation.begin(self.boot.version, record.results))
        self._systemctl(START_TIMER)


def _clean() -> None:
    """What belongs to versions in neither slot goes: their /etc, their extensions."""
    from skerry.entry.update import engine

    engine().housekeep()


def _go_back(reason: str) -> None:
    from skerry.entry.update import engine
    from skerry.host.update import lock

    with lock.held():
        here = engine()
        here.rollback(reason=reason)
        here.restart(reason)


if __name__ == "__main__":
    sys.exit(main())
