"""The power-cut campaign: an upgrade is recorded, and the power fails at every flush of it, and between.

Each disk that a cut would leave is judged without starting it (diskcheck.py), and the next run of the update
is carried out on one of each kind, and on every hundredth (offline.py). A cut is bad if the machine would not
come up by itself in the old version or the new, with the old /etc whole and a journal that can be read, or if
that next run does not get to the target.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from skerry.host.update.errors import JournalError
from skerry.host.update.journal import Step, decode
from skerry.image.content.verity import Hasher
from skerry.kit.errors import SkerryError
from skerry_lab import gpt, holes, updates
from skerry_lab.blocklog import Cut, Epoch, Replay
from skerry_lab.borrowed import E2FSCK, borrow
from skerry_lab.diskcheck import DATA, ETC, LOADER, UPDATE, DiskChecker, Verdict, read_seal
from skerry_lab.errors import LabError
from skerry_lab.fat import Fat
from skerry_lab.node import NodeImage, NodeSpec
from skerry_lab.offline import OfflineHost, take_apart
from skerry_lab.qemu import QemuNode
from skerry_lab.repository import BEFORE, LabReleases, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path
    from types import TracebackType

    from skerry_lab.lab import Lab

DISK = "3G"
NODE = "recorded"
NEXT_RUN_EVERY = 100
OWN = "own-file"
STATE = f"{UPDATE}/state.json"
MARK = f"{ETC}/{BEFORE}/{OWN}"
SUPERBLOCK = 1024, 1536, 2048  # from, half, to: ext4's, in bytes of its partition
MARK_TEXT = b"of the machine's keeper\n"
COMMITTED = frozenset(Step) - {Step.IDLE, Step.PLANNED, Step.FETCHING, Step.WRITTEN, Step.REFUSED}


@dataclass(frozen=True, slots=True)
class Recording:
    """A disk before, all writes to it since, and the releases that it went between."""

    disk: Path
    log: Path
    releases: LabReleases


@dataclass
class Figures:
    """What came of a campaign. `bad` has a sentence for each cut that was."""

    epochs: int = 0
    writes: int = 0
    written_bytes: int = 0
    cuts: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    converged: int = 0
    seconds: float = 0.0
    bad: list[str] = field(default_factory=list)


def record(lab: Lab, releases: LabReleases, directory: Path) -> Recording:
    """Have a machine upgrade, boot the new version and bless it, with all writes recorded."""
    port = serve(lab.state, releases)
    node = lab.add(NodeSpec(NODE, updates.settings(port), disk=DISK), "qemu", NodeImage(releases.disk, None))
    if not isinstance(node, QemuNode):
        raise TypeError(node)
    recording = Recording(directory / "before.raw", directory / "writes", releases)
    try:
        node.start()
        node.wait_ready(timeout_s=300)
        node.put(f"/etc/{OWN}", MARK_TEXT)
        node.stop()
        node.disk_as(recording.disk)
        node.start(record=recording.log)
        node.wait_ready(timeout_s=300)
        before = node.boot_id()
        node.run(["skerry", "host", "upgrade", "--reboot"], timeout_s=300)
        node.ssh.forget()
        updates.wait_for(node, releases.after.version, after=before)
        updates.wait_blessed(node)
        node.stop()
    finally:
        node.kill_power()
    return recording


class Campaign:
    """A disk on its way through all cuts."""

    def __init__(self, recording: Recording, directory: Path) -> None:
        self._recording = recording
        self._directory = directory
        self.disk = directory / "disk.raw"
        with recording.disk.open("rb") as source, self.disk.open("wb") as target:
            size = os.fstat(source.fileno()).st_size
            target.truncate(size)
            holes.copy(source.fileno(), target.fileno(), 0, size, to=0)
        looks, programs = directory / "looks", directory / "programs"
        looks.mkdir()
        programs.mkdir()
        image = recording.releases
        e2fsck = borrow(image.store.path(image.before.label, "tree.tar"), E2FSCK, programs)
        self._checker = DiskChecker(self.disk, looks, _whole(recording), (STATE, MARK), e2fsck=e2fsck)
        self._replay = Replay(self.disk, recording.log, self._checker.touched)
        self._tried: set[tuple[str, ...]] = set()
        self.figures = Figures(
            len(self._replay.epochs),
            sum(len(epoch.writes) for epoch in self._replay.epochs),
            sum(w.length for epoch in self._replay.epochs for w in epoch.writes if w.data_at is not None),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._replay.close()
        self._checker.close()

    @property
    def epochs(self) -> Sequence[Epoch]:
        return self._replay.epochs

    def torn_superblocks(self) -> list[Cut]:
        """Each time that the superblock of /var is written, its first half new and its second half old."""
        disk = os.open(self.disk, os.O_RDONLY)
        try:
            data = gpt.read(disk).named(DATA)
        finally:
            os.close(disk)
        if data is None:
            raise LabError(f"{self.disk} has no partition {DATA}")
        begin, middle, end = (data.start + at for at in SUPERBLOCK)
        return [
            Cut(epoch.number, "superblock", (*epoch.writes[:number], write.torn(middle - write.start)))
            for epoch in self.epochs
            for number, write in enumerate(epoch.writes)
            if write.start <= begin and end <= write.end and write.data_at is not None
        ]

    def run(self, chosen: Iterable[Cut], *, each: Callable[[Cut, Verdict], None] | None = None) -> Figures:
        """Go through cuts, in the order of their epochs. `each` may look at every disk."""
        began = time.monotonic()
        for cut in chosen:
            self._replay.go(cut.epoch)
            with self._replay.trial(cut.writes):
                verdict = self._look(cut)
                if each is not None:
                    each(cut, verdict)
        self.figures.seconds = time.monotonic() - began
        return self.figures

    def verdict_with(self, *damage: tuple[int, bytes]) -> Verdict:
        """What is found where the disk has other bytes at some places, which it has not afterwards."""
        with self._replay.damaged(damage):
            return self._checker.check()

    def _look(self, cut: Cut) -> Verdict:
        figures, where = self.figures, f"epoch {cut.epoch}, {cut.kind}"
        verdict = self._checker.check()
        figures.cuts[cut.kind] += 1
        problems = list(verdict.problems)
        step = "none"
        if verdict.files.get(MARK, b"") != MARK_TEXT:
            problems.append("the old version's /etc is not whole")
        if STATE in verdict.files:
            try:
                step = decode(verdict.files[STATE]).step
            except JournalError as error:
                problems.append(error.message)
        if verdict.version is not None:
            figures.versions[verdict.version] += 1
            if verdict.version != BEFORE and step not in COMMITTED:
                problems.append(f"{verdict.version} would be booted, and the journal says {step}")
        figures.steps[step] += 1
        kind = (str(verdict.version), step, *verdict.menu)
        due = kind not in self._tried or sum(figures.cuts.values()) % NEXT_RUN_EVERY == 0
        if not problems and due:
            self._tried.add(kind)
            why = self._next_run(str(verdict.version))
            problems += [why] if why else []
        figures.bad += [f"{where}: {problem}" for problem in problems]
        return verdict

    def _next_run(self, running: str) -> str | None:
        """Whether the update gets to its target from here; if not, why."""
        place = self._directory / "apart"
        apart: list[OfflineHost] = []
        again = self._checker.check(lambda data: apart.append(take_apart(self.disk, data, place)))
        if not apart:
            return f"a second look says something else: {'; '.join(again.problems)}"
        releases = self._recording.releases
        target = releases.after
        host = apart[0]
        try:
            engine = host.engine(running, releases.repository, releases.root)
            engine.arrive()
            if running == target.version:
                return None
            engine.stage()
            slot = host.disk.slots()[1]
            mine = [entry for entry in host.disk.entries() if entry.label == target.label]
            if slot.label != target.label or len(mine) != 1:
                return f"the next run left slot B as {slot.label}, and of it the entries {mine}"
            uki = host.disk.entry_path(mine[0]).read_bytes()
            if uki != releases.store.path(target.label, "skerry.efi").read_bytes():
                return f"the next run left another kernel as {mine[0].file}"
            if _root_hash(slot.root, uki) != target.root_hash:
                return "the next run left a slot B that does not verify"
        except SkerryError as error:
            return f"the next run fails: {error.message}"
        finally:
            shutil.rmtree(place)
        self.figures.converged += 1
        return None


def _whole(recording: Recording) -> set[str]:
    """The digests of the kernels, and of the loader, that may be met."""
    releases = recording.releases
    whole = {
        hashlib.sha256(releases.store.path(image.label, "skerry.efi").read_bytes()).hexdigest()
        for image in (releases.before, releases.after)
    }
    disk = os.open(recording.disk, os.O_RDONLY)
    try:
        fat = Fat(disk, next(part.start for part in gpt.read(disk).partitions if part.name == "esp"))
        folder, name = LOADER
        whole.add(hashlib.sha256(b"".join(fat.read(fat.list(folder)[name]))).hexdigest())
    finally:
        os.close(disk)
    return whole


def _root_hash(root: Path, uki: bytes) -> str:
    """What a slot's data come to, with the salt and the size that its kernel names."""
    seal = read_seal(uki)
    hasher = Hasher(bytes.fromhex(seal.salt))
    left = seal.blocks * 4096
    with root.open("rb") as file:
        while left:
            data = file.read(min(left, 1 << 20))
            hasher.update(data)
            left -= len(data)
    return hasher.tree().root_hash
