"""A release repository for labs: signed with keys of the lab's own, with a good update and bad ones.

    CACHE/lab/releases/keys/          made once, protected by no secret; they are worth nothing elsewhere
    CACHE/lab/releases/begun/         the repository as it was made with them, before any release
    CACHE/lab/releases/repository/    what `serve` serves
    CACHE/lab/releases/images/        the images; what they are made of is shared with all other builds

    stable         BEFORE, from the suite's release pocket alone, and then the shipped image's version, which
                   has the extension EXTENSION: the Debian package EXTENSION
    panics         the kernel finds no init, and panics
    skerryd-fails  skerryd ends with an error
    health-hangs   a required health check of its own never ends

The bad ones are the shipped image with one thing changed, and have later versions than it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.image.compose import extension, recipe
from skerry.image.compose.build import DEFAULT_RECIPE, Image, Store, build
from skerry.image.compose.released import FILES, release_of
from skerry.image.release import changes, manifest, roles
from skerry.image.release.keys import Keyring
from skerry.image.release.publisher import carry_out
from skerry.image.release.references import digest
from skerry.image.release.repository import Repository
from skerry.kit.clock import SystemClock
from skerry.kit.files import write_atomic
from skerry.kit.paths import cache_dir
from skerry.kit.progress import Reporter, silent
from skerry_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from skerry_lab.state import LabState

BEFORE = "2026.10.0"
EXTENSION = "tree"
STABLE = "stable"
KEPT_S = 60 * 86400.0  # signatures of channels hold 90 days
LEVEL = 3  # zstd's: quick, for what is fetched over loopback
ROOT_KEYS, ROOT_THRESHOLD = 3, 2
SHARED = ("steps", "partial")
HANG = "#!/bin/sh\nexec sleep infinity\n"
FAILS = "[Service]\nExecStart=\nExecStart=/bin/false\n"


@dataclass(frozen=True, slots=True)
class Variant:
    """A bad release: what it has in its tree, with the modes, and what else its recipe says."""

    channel: str
    number: int
    files: Mapping[str, tuple[str, int]] | None = None
    says: str = ""

    def version(self, shipped: str) -> str:
        """Later than the shipped image's."""
        year, month, _ = shipped.split(".")
        return f"{year}.{month}.{100 + self.number}"


VARIANTS = (
    Variant("panics", 1, says='[kernel]\ncommand_line = ["rdinit=/the-lab-has-none"]\n'),
    Variant("skerryd-fails", 2, {"usr/lib/systemd/system/skerryd.service.d/99-lab.conf": (FAILS, 0o644)}),
    Variant("health-hangs", 3, {"etc/skerry/health.d/required.d/99-lab": (HANG, 0o755)}),
)


@dataclass(frozen=True, slots=True)
class LabReleases:
    """What was published: where, the image that everything starts from, and versions by what they are."""

    directory: Path
    store: Store
    before: Image
    after: Image
    bad: Mapping[str, str]

    @property
    def disk(self) -> Path:
        return self.store.path(self.before.label, "disk.raw")

    @property
    def repository(self) -> Path:
        return self.directory / "repository"

    @property
    def root(self) -> Path:
        """What hosts trust."""
        return self.directory / "keys" / "root.json"


def make_releases(*, bad: tuple[str, ...] = (), report: Reporter = silent) -> LabReleases:
    """Build and publish BEFORE, the shipped image, and the bad ones of these channels.

    What did not change since the last time is not made again; the timestamp is always fresh.
    """
    directory = cache_dir() / "lab" / "releases"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in SHARED:
            (directory.parents[1] / name).mkdir(exist_ok=True)
            if not (directory / name).is_symlink():
                (directory / name).symlink_to(directory.parents[1] / name)
        desk = Desk(directory, report)
        shipped = recipe.load(DEFAULT_RECIPE).version
        before = desk.image(BEFORE, '[packages]\npockets = ["release"]\n')
        after = desk.image(shipped, "")
        chosen = [variant for variant in VARIANTS if variant.channel in bad]
        made = [(one.channel, desk.image(one.version(shipped), one.says, one.files)) for one in chosen]
        desk.publish([(STABLE, before), (STABLE, after), *made], {after.version: [desk.extension(after)]})
    versions = {channel: image.version for channel, image in made}
    return LabReleases(directory, Store(directory), before, after, versions)


def serve(state: LabState, releases: LabReleases) -> int:
    """Serve the repository on this machine's loopback for as long as the lab lives; the port."""
    log = state.directory / "releases.log"
    argv = [sys.executable, "-m", "skerry_lab.serve_releases", str(releases.repository)]
    process = state.spawn(argv, what="releases", log=log, env={"PYTHONPATH": os.pathsep.join(sys.path)})
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.alive():
        first, newline, _ = log.read_text().partition("\n")
        if newline and first.isdecimal():
            return int(first)
        time.sleep(0.05)
    raise LabError(f"the release server did not start: {log.read_text()[-500:]}")


class Desk:
    """Builds and publishes in one directory."""

    def __init__(self, directory: Path, report: Reporter) -> None:
        self._directory = directory
        self._report = report
        self._clock = SystemClock()
        self._keys = Keyring(directory / "keys", lambda _: "lab", rounds=1000)
        self._repository = Repository(directory / "repository")
        self._begun = directory / "begun"
        age = self._clock.now() - self._begun.stat().st_mtime if self._begun.exists() else KEPT_S
        if age >= KEPT_S:
            self._begin()
        elif not self._repository.exists:
            self._again()

    def image(self, version: str, says: str, files: Mapping[str, tuple[str, int]] | None = None) -> Image:
        """The shipped image with the lab's root of trust, and what else a recipe says."""
        folder = self._directory / "recipes" / version
        own = folder / "files"
        own.mkdir(parents=True, exist_ok=True)
        for path, (content, mode) in (files or {}).items():
            (own / path).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(own / path, content, mode=mode)
        lines = [
            "format = 1",
            f'base = "{os.path.relpath(DEFAULT_RECIPE, folder)}"',
            f'version = "{version}"',
            says,
            f'[update]\nroot = "{os.path.relpath(self._directory / "keys" / "root.json", folder)}"',
        ]
        if files:
            lines.append('[tree]\nfiles = ["files"]')
        write_atomic(folder / "recipe.toml", "\n".join(lines) + "\n")
        return build(folder / "recipe.toml", cache=self._directory, report=self._report)

    def extension(self, image: Image) -> Path:
        """EXTENSION for an image, as it is published."""
        store, name = Store(self._directory), EXTENSION
        file = self._directory / "recipes" / f"extension-{name}.toml"
        write_atomic(file, f'format = 1\nname = "{name}"\n[packages]\ninstall = ["{name}"]\n')
        extension.build(extension.load(file), image, store=store, report=self._report)
        return extension.directory_of(store, image.label) / f"{name}.raw"

    def publish(
        self, wanted: Sequence[tuple[str, Image]], extensions: Mapping[str, Sequence[Path]] | None = None
    ) -> None:
        """Have channels offer these images, and `extensions` by version; where one was offered with other
        content, all begin anew."""
        offers = [(channel, image, (extensions or {}).get(image.version, ())) for channel, image in wanted]
        if not all(
            self._known(channel, image.version) in (None, self._parts(image, with_it))
            for channel, image, with_it in offers
        ):
            self._again()
        for channel, image, with_it in offers:
            if self._known(channel, image.version) is None:
                self._publish(channel, image, with_it)
        carry_out(self._repository, changes.Change("fresh"), self._keys, self._clock.now())

    def _publish(self, channel: str, image: Image, extensions: Sequence[Path]) -> None:
        # One after the other: a release tells what it costs from those that were there before it.
        state, now = self._repository.read(), self._clock.now()
        made = release_of(
            image.label, self._repository, state, channel, notes="", minimum_version=None, patches=0,
            extensions=extensions, level=LEVEL, store=Store(self._directory), report=self._report,
        )  # fmt: skip
        made.store(self._repository)
        change = changes.publish(state, channel, made.manifest, None, now, made.disks)
        carry_out(self._repository, change, self._keys, now)

    def _parts(self, image: Image, extensions: Sequence[Path]) -> dict[str, str]:
        """What the parts of a release are, by their hashes."""
        store = Store(self._directory)
        parts = {name: store.path(image.label, file) for name, file in FILES.items()}
        parts |= {f"{manifest.EXTENSION}{file.stem}": file for file in extensions}
        return {name: digest(file) for name, file in parts.items()}

    def _known(self, channel: str, version: str) -> dict[str, str] | None:
        """The same of what a channel offers under this version."""
        state = self._repository.read()
        if version not in {entry.version for entry in state.document(channel).releases}:
            return None
        return {part.name: part.sha256 for part in self._repository.manifest(state, channel, version).parts}

    def _again(self) -> None:
        """The repository as it was begun, whose root images have; blobs stay."""
        for name in ("metadata", "targets"):
            shutil.rmtree(self._repository.directory / name, ignore_errors=True)
            shutil.copytree(self._begun / name, self._repository.directory / name)

    def _begin(self) -> None:
        """Keys and a repository; those that there were are too old, or not whole."""
        for left in (self._begun, self._keys.directory, self._repository.directory):
            shutil.rmtree(left, ignore_errors=True)
        channels = (STABLE, *(variant.channel for variant in VARIANTS))
        names = {role: [role] for role in (*roles.TOP_LEVEL, *channels)}
        names[roles.ROOT] = [f"root-{number + 1}" for number in range(ROOT_KEYS)]
        keys = {role: [self._keys.make(name) for name in named] for role, named in names.items()}
        thresholds = {role: ROOT_THRESHOLD if role == roles.ROOT else 1 for role in names}
        now = self._clock.now()
        carry_out(self._repository, changes.create(keys, thresholds, channels, now, {}), self._keys, now)
        shutil.copytree(self._repository.directory, self._begun)
