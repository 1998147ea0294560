"""A host to be updated, in a directory: a disk, releases, and a fuse that cuts the power at any effect.

The fuse burns before and after each change that outlives a power cut; what was changed by then stays, as on a
disk. A slot that is being filled is left half filled.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import uuid
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING

from fakes.clock import FakeClock
from skerry.host.update.around import EtcPreview
from skerry.host.update.disk import Slot
from skerry.host.update.engine import Engine
from skerry.host.update.entries import Entry, label_of
from skerry.host.update.errors import DiskError
from skerry.host.update.journal import Journal, State
from skerry.host.update.keep import Keep
from skerry.host.update.settings import UpdateSettings
from skerry.host.update.situation import Machine
from skerry.host.update.source import Cost
from skerry.image.content.verity import Hasher
from skerry.image.release.channel import Channel, ReleaseEntry
from skerry.image.release.manifest import Blob, Manifest, Package, Part, Verity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from skerry.host.update.source import Have
    from skerry.kit.progress import Reporter

NAME, SALT = "skerry", "5a" * 32
BLOCKS = 3
MIB = 1 << 20
OLD, NEW, NEWER = "2026.10.0", "2026.11.0", "2026.12.0"
NOTHING = Blob("0" * 64, 0)


class PowerCut(BaseException):
    """The power is gone: nothing may catch this."""


@dataclass
class Fuse:
    """Cuts at the `left`-th effect from now; never where it is None. `effects` counts what went by."""

    left: int | None = None
    effects: list[str] = field(default_factory=list)

    def burn(self, what: str) -> None:
        if self.left is not None:
            if self.left == 0:
                raise PowerCut(what)
            self.left -= 1
        self.effects.append(what)


def root_of(version: str) -> bytes:
    return b"".join(f"{version} block {n}".encode().ljust(4096, b".") for n in range(BLOCKS))


def verity_of(version: str) -> tuple[Verity, bytes]:
    hasher = Hasher(bytes.fromhex(SALT))
    hasher.update(root_of(version))
    tree = hasher.tree()
    told = Verity(tree.root_hash, SALT, BLOCKS, str(uuid.UUID(int=1)))
    return told, tree.device(bytes.fromhex(SALT), told.uuid)


def uki_of(version: str) -> bytes:
    told = verity_of(version)[0]
    line = f"skerry.image={label_of(NAME, version)} skerry.verity={told.root_hash},{SALT},{BLOCKS} quiet"
    return b"MZ kernel " + line.encode() + b"\0 initrd"


def release(version: str, **changes: object) -> Manifest:
    root, uki = root_of(version), uki_of(version)
    parts = (
        Part("root", len(root), "1" * 64, NOTHING, NOTHING, NOTHING, verity=verity_of(version)[0]),
        Part("uki", len(uki), hashlib.sha256(uki).hexdigest(), NOTHING, NOTHING, NOTHING),
    )
    packages = (Package("podman", f"5.{version}", 1000), Package("bash", "5.2", 10))
    manifest = Manifest(NAME, version, "trixie", "amd64", "6.12", parts, packages=packages)
    return replace_struct(manifest, **changes)


def replace_struct(manifest: Manifest, **changes: object) -> Manifest:
    import msgspec

    return msgspec.structs.replace(manifest, **changes)


class FakeDisk:
    """Implements skerry.host.update.disk.Disk; slots are files, the rest is in memory."""

    def __init__(self, directory: Path, fuse: Fuse) -> None:
        self.directory, self.fuse = directory, fuse
        self.labels: dict[str, str | None] = {"A": None, "B": None}
        self.files: dict[str, bytes] = {}  # of EFI/Linux
        self.slot_bytes, self.verity_bytes, self.free = MIB, MIB, 100 * MIB
        self.broken: str | None = None
        (directory / "esp").mkdir(parents=True)
        for name in "AB":
            (directory / f"{name}.root").write_bytes(b"\0" * 4096)
            (directory / f"{name}.verity").write_bytes(b"\0" * 4096)

    def install(self, slot: str, version: str, left: int | None = None) -> None:
        (self.directory / f"{slot}.root").write_bytes(root_of(version))
        (self.directory / f"{slot}.verity").write_bytes(verity_of(version)[1])
        self.labels[slot] = label_of(NAME, version)
        self._put(Entry(label_of(NAME, version), left).file, uki_of(version))

    def slots(self) -> tuple[Slot, ...]:
        return tuple(
            Slot(
                name, self.labels[name], self.directory / f"{name}.root", self.directory / f"{name}.verity",
                self.slot_bytes, self.verity_bytes,
            )
            for name in "AB"
        )  # fmt: skip

    def relabel(self, slot: str, label: str | None) -> None:
        with self._effect(f"relabel {slot} {label}"):
            self.labels[slot] = label

    def settle(self, slot: str) -> None:
        self.fuse.burn(f"settle {slot}")

    def entries(self) -> tuple[Entry, ...]:
        from skerry.host.update.entries import parse

        return tuple(e for name in sorted(self.files) if (e := parse(name)) is not None)

    def entry_path(self, entry: Entry) -> Path:
        return self.directory / "esp" / entry.file

    def esp_free(self) -> int:
        return self.free

    def write_entry(self, label: str, source: Path) -> None:
        data = source.read_bytes()
        with self._effect(f"write entry {label}"):
            self._put(f"{label}.efi.new", data[: len(data) // 2])
        with self._effect(f"end entry {label}"):
            self._put(f"{label}.efi.new", data)

    def commit_entry(self, label: str, tries: int) -> None:
        with self._effect(f"commit entry {label}"):
            self._put(Entry(label, tries).file, self._take(f"{label}.efi.new"))

    def remove_entries(self, label: str) -> None:
        for entry in self.entries():
            if entry.label == label:
                with self._effect(f"remove {entry.file}"):
                    self._take(entry.file)

    def recount(self, label: str, left: int | None) -> None:
        mine = [entry for entry in self.entries() if entry.label == label]
        if not mine:
            raise DiskError(f"no entry of {label}")
        with self._effect(f"recount {label} {left}"):
            self._put(Entry(label, left).file, self._take(mine[0].file))

    def strays(self) -> tuple[str, ...]:
        return tuple(name for name in sorted(self.files) if name.endswith(".efi.new"))

    def sweep(self) -> None:
        for name in self.strays():
            with self._effect(f"sweep {name}"):
                self._take(name)

    def read_only(self) -> str | None:
        return self.broken

    def _put(self, name: str, data: bytes) -> None:
        self.files[name] = data
        (self.directory / "esp" / name).write_bytes(data)

    def _take(self, name: str) -> bytes:
        (self.directory / "esp" / name).unlink(missing_ok=True)
        return self.files.pop(name)

    @contextlib.contextmanager
    def _effect(self, what: str) -> Iterator[None]:
        self.fuse.burn(what)
        yield
        self.fuse.burn(f"after {what}")


class BurningJournal(Journal):
    """A journal whose writes the fuse sees."""

    def __init__(self, directory: Path, fuse: Fuse) -> None:
        super().__init__(directory)
        self.fuse = fuse

    def write(self, state: State) -> None:
        self.fuse.burn(f"journal {state.step}")
        super().write(state)
        self.fuse.burn(f"after journal {state.step}")


class FakeSource:
    """Implements skerry.host.update.source.Source over releases in memory."""

    def __init__(self, fuse: Fuse, *manifests: Manifest) -> None:
        self.fuse = fuse
        self.manifests = {manifest.version: manifest for manifest in manifests}
        self.document = Channel("stable", tuple(ReleaseEntry(v, 0.0) for v in self.manifests))
        self.fetch_bytes = 1000
        self.spoil: bytes | None = None
        self.fail: Exception | None = None
        self.cleaned = 0

    def refresh(self) -> None:
        if self.fail is not None:
            raise self.fail

    def channel(self, name: str) -> Channel:
        return self.document

    def manifest(self, channel: str, version: str) -> Manifest:
        return self.manifests[version]

    def costs(self, manifest: Manifest, parts: Sequence[str], have: Sequence[Have]) -> tuple[Cost, ...]:
        return tuple(Cost(part, "full", self.fetch_bytes, manifest.part(part).size) for part in parts)

    def fetch(self, manifest: Manifest, parts: Sequence[str], have: Sequence[Have], report: Reporter) -> None:
        self.fuse.burn("fetch")

    def write(
        self, manifest: Manifest, part: str, have: Sequence[Have], target: Path, verity: Path | None,
        report: Reporter,
    ) -> None:  # fmt: skip
        if part == "uki":
            target.write_bytes(uki_of(manifest.version))
            return
        data = root_of(manifest.version) if part == "root" else b"x" * 4096
        target.write_bytes(data[: len(data) // 2])
        self.fuse.burn(f"half {part}")
        target.write_bytes(self.spoil or data)
        if verity is not None:
            verity.write_bytes(verity_of(manifest.version)[1])
        self.fuse.burn(f"whole {part}")

    def etc_defaults(self, manifest: Manifest) -> AbstractContextManager[IO[bytes]] | None:
        return contextlib.nullcontext(io.BytesIO(b""))

    def clean(self) -> None:
        self.cleaned += 1


@dataclass
class FakeEtc:
    fuse: Fuse
    staged: dict[str, str] = field(default_factory=dict)
    answer: EtcPreview = field(default_factory=EtcPreview)
    kept: set[str] = field(default_factory=set)

    def preview(self, defaults: IO[bytes], version: str, from_version: str) -> EtcPreview:
        return self.answer

    def stage(self, version: str, from_version: str) -> None:
        self.fuse.burn("etc")
        self.staged[version] = from_version

    def unstage(self, version: str) -> None:
        self.staged.pop(version, None)

    def prune(self, keep: Collection[str]) -> None:
        self.kept = set(keep)


@dataclass
class FakeAround:
    """Health's recorder and the power switch."""

    recorded: int = 0
    reboots: list[str] = field(default_factory=list)
    alarms: list[float] = field(default_factory=list)

    def before(self) -> None:
        self.recorded += 1

    def reboot(self, reason: str) -> None:
        self.reboots.append(reason)

    def come_back(self, seconds: float) -> None:
        self.alarms.append(seconds)


class FakeHost:
    """A host that runs OLD from slot A, and a channel that has OLD and NEW."""

    def __init__(self, directory: Path, *versions: str) -> None:
        self.directory = directory
        self.fuse = Fuse()
        self.disk = FakeDisk(directory / "disk", self.fuse)
        self.disk.install("A", OLD)
        self.source = FakeSource(self.fuse, *(release(v) for v in versions or (OLD, NEW)))
        self.etc, self.around, self.clock = FakeEtc(self.fuse), FakeAround(), FakeClock()
        self.settings = UpdateSettings(repository="https://updates.example.org")
        self.machine = Machine(NAME, OLD, "node", "boot 1", built=0.0)
        self.var_free = 1000 * MIB
        self.evidence: str | None = None
        self.said: list[str] = []

    @property
    def journal(self) -> Journal:
        return BurningJournal(self.directory / "update", self.fuse)

    @property
    def state(self) -> State:
        return self.journal.read()

    def engine(self) -> Engine:
        keep = Keep(self.directory / "update", self.directory / "extensions")
        return Engine(
            self.machine, self.disk, self.journal, keep, self.settings, self.clock, lambda: self.source,
            self.around, self.around, lambda: self.var_free, etc=self.etc, evidence=lambda _: self.evidence,
            say=self.said.append,
        )  # fmt: skip

    def loader_chooses(self) -> Entry:
        """systemd-boot's choice: what is counted out comes last, then the newest version."""
        from skerry.image.release.version import parse

        return max(self.disk.entries(), key=lambda e: (e.left != 0, parse(e.version)))

    def boot(self) -> str:
        """Boot what systemd-boot would choose, with its tries counted down; the version that runs then."""
        entry = self.loader_chooses()
        seal = f"skerry.image={entry.label} ".encode()
        assert seal in self.disk.files[entry.file], "an entry that boots something else"
        slot = next(s for s in self.disk.slots() if s.label == entry.label)
        assert slot.root.read_bytes() == root_of(entry.version), "an entry whose slot is not whole"
        if entry.left:
            counted = Entry(entry.label, entry.left - 1, entry.done + 1)
            self.disk._put(counted.file, self.disk._take(entry.file))
        boots = int(self.machine.boot_id.split()[1]) + 1
        self.machine = replace(self.machine, running=entry.version, boot_id=f"boot {boots}")
        return entry.version

    def bless(self) -> None:
        """systemd-bless-boot."""
        fuse, self.disk.fuse = self.disk.fuse, Fuse()
        self.disk.recount(label_of(NAME, self.machine.running), None)
        self.disk.fuse = fuse
