"""The recipe: the TOML file that declares an image, alone or over another one (see layers.py).

Parsed once, into frozen values; unknown keys, wrong types and impossible values are refused, all at once
and on the recipe's own lines. What only the packages can tell (a package or a kernel module that does not
exist) is found by the steps, which report through `Recipe.document` on the same lines.
Reference: docs/reference/recipe.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from skerry.image.compose import layers, reader
from skerry.image.release import channel
from skerry.kit.errors import ProblemsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from skerry.image.compose.layers import Layers
    from skerry.image.compose.reader import Reader

ARCHITECTURES = ("amd64",)
# GPT gives a partition's name 36 characters: NAME_VERSION_verity fits by these two.
NAME = re.compile(r"[a-z][a-z0-9-]{0,15}")
VERSION = re.compile(r"[1-9][0-9]{3}\.(0?[1-9]|1[0-2])\.[0-9]{1,4}")
SUITE = re.compile(r"[a-z][a-z0-9.-]*")
ADDRESS = re.compile(r"(https?://|file:/)[^\s\"'\[\]]+")
REPOSITORY = re.compile(r"(https?://|file:///)[!#-&(-\[\]-~]+")  # printable, without quotes and backslash
# Debian Policy Manual, 5.6.1: names of packages
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
MODULE = re.compile(r"[\w?*\[\]!-]+", re.ASCII)
UNIT = re.compile(
    r"[\w:.\\@-]+\.(service|socket|target|timer|path|mount|automount|swap|slice|scope)", re.ASCII
)
WORD = re.compile(r"[!-~]+")
# From the second group of 32768 blocks on, ext4 keeps a copy of its superblock: os/initrd/init needs it.
DATA_LEAST_MIB = 144


@dataclass(frozen=True, slots=True)
class Disk:
    """Sizes of the partitions. Slots and ESP can never grow on a host, so they are generous."""

    esp_mib: int
    slot_mib: int
    verity_mib: int
    data_mib: int


@dataclass(frozen=True, slots=True)
class Update:
    """What a host of this image knows of where its next version comes from; None is left to its settings."""

    root: Path | None
    repository: str | None
    channel: str | None


@dataclass(frozen=True, slots=True)
class Recipe:
    """One image, as declared. `files` are directories laid over the tree, in order."""

    name: str
    version: str
    suite: str
    pockets: tuple[str, ...]
    architecture: str
    packages: tuple[str, ...]
    kernel_package: str
    kernel_modules: tuple[str, ...]
    command_line: tuple[str, ...]
    initrd_needed: tuple[str, ...]
    initrd_modules: tuple[str, ...]
    initrd_programs: tuple[str, ...]
    files: tuple[Path, ...]
    remove: tuple[str, ...]
    keep: tuple[str, ...]
    libraries: tuple[str, ...]
    enable: tuple[str, ...]
    mask: tuple[str, ...]
    update: Update
    disk: Disk
    root_budget_mib: int
    uki_budget_mib: int
    mirror: str | None
    security_mirror: str | None
    document: Layers = field(repr=False, compare=False)

    def refuse_all(
        self,
        why: str,
        keys: Sequence[str],
        texts: Sequence[str],
        near: Mapping[str, Sequence[str]] | None = None,
    ) -> ProblemsError:
        """The error for texts in the lists at `keys` that a step found wrong: "`why` TEXT", on their lines.

        `near` has, for some of the texts, what may have been meant.
        """
        problems = []
        for text in texts:
            key = next((key for key in keys if self.document.has(key, text)), keys[0])
            meant = (near or {}).get(text)
            hint = f"did you mean {', '.join(meant)}?" if meant else None
            problems.append(self.document.problem(f"{why} {text}", key, text=text, hint=hint))
        return ProblemsError(f"{self.document.file} cannot be built", problems)


def load(path: Path) -> Recipe:
    """Read a recipe. Raises ComposeError where the file cannot be read, ProblemsError where it is wrong."""
    return reader.load(path, _read)


def parse(source: str, path: Path) -> Recipe:
    """The recipe in `source`; `path` is for messages and for what the recipe names relative to itself."""
    return reader.parse(source, path, _read)


def keys() -> frozenset[str]:
    """Every key that a recipe may have, dotted."""
    return reader.keys(_read)


def _read(read: Reader, document: Layers) -> Recipe:
    """The values, stand-ins where one is missing or wrong: the reader knows, and refuses in the end."""
    read.value(layers.BASE, str, required=False)
    read.formats()
    name = read.word("name", NAME, "a name", hint="lower-case letters, digits and -, at most 16")
    version = read.word("version", VERSION, "a version", hint="year.month.number, as in 2026.11.0")
    architecture = read.value("architecture", str)
    if architecture is not None and architecture not in ARCHITECTURES:
        read.complain(f"architecture {architecture!r} is not supported", "architecture", hint="amd64 is")
    disk = Disk(
        esp_mib=read.size("disk.esp_mib", 64, 4096),
        slot_mib=read.size("disk.slot_mib", 128, 16384),
        verity_mib=read.size("disk.verity_mib", 4, 1024),
        data_mib=read.size("disk.data_mib", DATA_LEAST_MIB, 16384),
    )
    return Recipe(
        name=name or "",
        version=version or "",
        suite=read.word("suite", SUITE, "a suite", hint="as in trixie") or "",
        pockets=read.pockets("packages.pockets"),
        architecture=architecture or "",
        packages=read.words("packages.install", PACKAGE, "the name of a Debian package"),
        kernel_package=read.word("kernel.package", PACKAGE, "the name of a Debian package") or "",
        kernel_modules=read.words("kernel.modules", MODULE, "the name of a module"),
        command_line=read.words(
            "kernel.command_line", WORD, "one word of a kernel command line", required=False
        ),
        initrd_needed=read.words("initrd.needed", MODULE, "the name of a module"),
        initrd_modules=read.words("initrd.modules", MODULE, "the name of a module"),
        initrd_programs=read.paths("initrd.programs"),
        files=read.directories("tree.files"),
        remove=read.paths("tree.remove", required=False),
        keep=read.paths("tree.keep", required=False),
        libraries=read.texts("tree.libraries", required=False),
        enable=read.words("presets.enable", UNIT, "the name of a unit", required=False),
        mask=read.words("presets.mask", UNIT, "the name of a unit", required=False),
        update=Update(
            root=read.trust("update.root"),
            repository=read.word(
                "update.repository", REPOSITORY, "an http, https or file:/// address", required=False
            ),
            channel=read.word("update.channel", channel.NAME, "the name of a channel", required=False),
        ),
        disk=disk,
        root_budget_mib=read.size("budget.root_mib", 1, 16384),
        uki_budget_mib=read.size("budget.uki_mib", 1, 16384),
        mirror=read.word("mirror.archive", ADDRESS, "an http, https or file address", required=False),
        security_mirror=read.word(
            "mirror.security", ADDRESS, "an http, https or file address", required=False
        ),
        document=document,
    )
