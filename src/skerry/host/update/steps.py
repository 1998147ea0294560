"""Carrying out one planned step. The journal is on the disk before the step that it announces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.host.update import machine
from skerry.host.update.back import sealed
from skerry.host.update.errors import VerifyError
from skerry.host.update.journal import Step
from skerry.host.update.plan import Do

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from skerry.host.update.around import EtcStager, HealthRecorder
    from skerry.host.update.disk import Disk
    from skerry.host.update.journal import Journal, State
    from skerry.host.update.keep import Keep
    from skerry.host.update.plan import PlannedStep
    from skerry.host.update.situation import Situation
    from skerry.host.update.source import Have, Source
    from skerry.image.release.manifest import Manifest
    from skerry.kit.clock import Clock
    from skerry.kit.progress import Reporter


@dataclass(frozen=True)
class Hands:
    """What steps are carried out with."""

    disk: Disk
    journal: Journal
    keep: Keep
    source: Source
    etc: EtcStager
    health: HealthRecorder
    clock: Clock
    report: Reporter

    def carry_out(
        self, step: PlannedStep, now: Situation, state: State, manifest: Manifest, have: Sequence[Have]
    ) -> State:
        """One step of the plan that was made from `now`. Returns the state as it is in the journal then."""
        version, slot, running = manifest.version, now.there, now.machine.running
        label = now.label(version)
        names = tuple(f"extension:{name}" for name in now.settings.extensions)
        match step.do:
            case Do.PROMOTE:
                self.disk.recount(now.label(running), None)
            case Do.FETCH:
                state = self._write(machine.fetch(state, self.clock.now()))
                self.source.fetch(manifest, ("root", "uki", *names), have, self.report)
                self._uki(manifest, have, label)
            case Do.UNLIST:
                self.etc.unstage(version)
                for gone in sorted({e.label for e in now.entries if e.label in (slot.label, label)}):
                    self.disk.remove_entries(gone)
            case Do.CLEAR:
                self.disk.relabel(slot.name, None)
            case Do.FILL:
                self.source.write(manifest, "root", have, slot.root, slot.verity, self.report)
                state = self._write(machine.written(state, self.clock.now()))
            case Do.VERIFY:
                self._verify(now, manifest)
            case Do.LABEL:
                self.disk.relabel(slot.name, label)
                state = self._write(machine.verified(state, self.clock.now()))
            case Do.EXTENSIONS:
                self._extensions(now, manifest, have)
            case Do.ETC:
                self.etc.stage(version, running)
            case Do.HEALTH:
                self.health.before()
            case Do.ENTRY:
                if state.step is not Step.VERIFIED:
                    # The slot was there from an earlier run, and VERIFY has just looked.
                    state = self._write(machine.found(state, self.clock.now()))
                self._entry(now, manifest, have, label)
                state = self._write(machine.staged(state, self.clock.now()))
            case Do.DEMOTE:
                if state.step is not Step.STAGED:
                    state = self._write(
                        machine.staged(machine.found(state, self.clock.now()), self.clock.now())
                    )
                state = self._write(machine.leave(state, running, version, self.clock.now()))
                self.disk.recount(now.label(running), 0)
            case Do.CLEAN:
                self.keep.uki.unlink(missing_ok=True)
                self.source.clean()
        return state

    def _uki(self, manifest: Manifest, have: Sequence[Have], label: str) -> Path:
        """The UKI in a file of ours, checked: it must start the root that it comes with."""
        self.keep.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is(self.keep.uki, manifest.part("uki").sha256):
            self.source.write(manifest, "uki", have, self.keep.uki, None, self.report)
        seal, verity = sealed(self.keep.uki), manifest.part("root").verity
        fits = seal is not None and verity is not None and seal.label == label
        if not fits or seal is None or verity is None or seal.root_hash != verity.root_hash:
            self.keep.uki.unlink()
            raise VerifyError(
                f"the UKI of {manifest.version} was not made for its root",
                hint="the release is broken: its publisher has to withdraw it",
            )
        return self.keep.uki

    def _verify(self, now: Situation, manifest: Manifest) -> None:
        from skerry.image.content import verity
        from skerry.kit.errors import SkerryError

        slot, expected = now.there, manifest.part("root").verity
        assert expected is not None  # noqa: S101  an obstacle otherwise
        self.disk.settle(slot.name)
        try:
            verity.check(slot.root, slot.verity, expected)
        except SkerryError as error:
            self.disk.remove_entries(now.label(manifest.version))
            self.disk.relabel(slot.name, None)
            raise VerifyError(
                f"what was written to slot {slot.name} is not what is read from it: {error.message}",
                hint="try again; if it stays so, the disk is failing: look at `journalctl -k`",
            ) from error

    def _extensions(self, now: Situation, manifest: Manifest, have: Sequence[Have]) -> None:
        place = self.keep.begin_extensions(manifest.version)
        for name in now.settings.extensions:
            part = manifest.part(f"extension:{name}")
            raw = place / f"{name}.raw"
            hashes = place / f"{name}.verity" if part.verity is not None else None
            self.source.write(manifest, part.name, have, raw, hashes, self.report)
            if part.verity is not None:
                (place / f"{name}.roothash").write_text(f"{part.verity.root_hash}\n")
        for path in place.iterdir():
            _flush(path)
        self.keep.end_extensions(manifest.version)

    def _entry(self, now: Situation, manifest: Manifest, have: Sequence[Have], label: str) -> None:
        self.keep.keep_manifest(manifest)
        uki = self._uki(manifest, have, label)
        self.disk.write_entry(label, uki)
        self.disk.commit_entry(label, now.settings.tries)

    def _write(self, state: State) -> State:
        self.journal.write(state)
        return state


def _is(path: Path, sha256: str) -> bool:
    import hashlib

    if not path.exists():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _flush(path: Path) -> None:
    import os

    with path.open("rb") as file:
        os.fsync(file.fileno())
