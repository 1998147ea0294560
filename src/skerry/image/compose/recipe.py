"""The recipe: the TOML file that declares an image.

Parsed once, into frozen values; unknown keys, wrong types and impossible values are refused, all at once
and on the recipe's own lines. What only the packages can tell (a package or a kernel module that does not
exist) is found by the steps, which report through `Recipe.document` on the same lines.
Reference: docs/reference/recipe.md.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from skerry.image.compose.errors import ComposeError
from skerry.kit import toml_lines
from skerry.kit.errors import Problem, ProblemsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from skerry.kit.toml_lines import Document

FORMAT = 1
ARCHITECTURES = ("amd64",)
LABEL_LIMIT = 36  # characters in a GPT partition name; ours are NAME_VERSION and NAME_VERSION_verity

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Disk:
    """Sizes of the partitions. Slots and ESP can never grow on a host, so they are generous."""

    esp_mib: int
    slot_mib: int
    verity_mib: int
    data_mib: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """One image, as declared. `files` are directories laid over the tree, in order."""

    name: str
    version: str
    suite: str
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
    disk: Disk
    root_budget_mib: int
    download_budget_mib: int
    mirror: str | None
    security_mirror: str | None
    document: Document = field(repr=False, compare=False)

    def refuse(
        self, message: str, key: str, *, text: str | None = None, hint: str | None = None
    ) -> ProblemsError:
        """The error for something that a step found wrong with one line of the recipe."""
        problem = self.document.problem(message, key, text=text, hint=hint)
        return ProblemsError(f"{self.document.file} cannot be built", [problem])


def load(path: Path) -> Recipe:
    """Read a recipe. Raises ComposeError where the file cannot be read, ProblemsError where it is wrong."""
    try:
        source = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ComposeError(f"cannot read the recipe {path}: {error}") from error
    return parse(source, path)


def parse(source: str, path: Path) -> Recipe:
    """The recipe in `source`; `path` is for messages and for what the recipe names relative to itself."""
    document = toml_lines.parse(source, str(path))
    read = _Reader(document)
    format_version = read.value("format", int)
    if format_version is not None and format_version != FORMAT:
        read.complain(f"recipe format {format_version} is not known to this version of Skerry", "format")
    name, version = read.value("name", str), read.value("version", str)
    if name is not None and not re.fullmatch(r"[a-z][a-z0-9-]{0,15}", name):
        read.complain(f"{name!r} is not a name", "name", hint="lower-case letters, digits and -, at most 16")
    if version is not None and not re.fullmatch(r"\d{4}\.\d{1,2}\.\d{1,4}", version):
        read.complain(f"{version!r} is not a version", "version", hint="year.month.number, as in 2026.11.0")
    architecture = read.value("architecture", str)
    if architecture is not None and architecture not in ARCHITECTURES:
        read.complain(f"architecture {architecture!r} is not supported", "architecture", hint="amd64 is")
    disk = Disk(
        esp_mib=read.size("disk.esp_mib", 64, 4096),
        slot_mib=read.size("disk.slot_mib", 128, 16384),
        verity_mib=read.size("disk.verity_mib", 4, 1024),
        data_mib=read.size("disk.data_mib", 32, 16384),
    )
    files = tuple((path.parent / entry).resolve() for entry in read.texts("tree.files"))
    for entry, directory in zip(read.texts("tree.files"), files, strict=True):
        if not directory.is_dir():
            read.complain(f"there is no directory {entry}", "tree.files", text=entry)
    recipe = Recipe(
        name=name or "",
        version=version or "",
        suite=read.value("suite", str) or "",
        architecture=architecture or "",
        packages=read.texts("packages.install"),
        kernel_package=read.value("kernel.package", str) or "",
        kernel_modules=read.texts("kernel.modules"),
        command_line=read.texts("kernel.command_line", required=False),
        initrd_needed=read.texts("initrd.needed"),
        initrd_modules=read.texts("initrd.modules"),
        initrd_programs=read.texts("initrd.programs"),
        files=files,
        remove=read.texts("tree.remove", required=False),
        keep=read.texts("tree.keep", required=False),
        libraries=read.texts("tree.libraries", required=False),
        enable=read.texts("presets.enable", required=False),
        mask=read.texts("presets.mask", required=False),
        disk=disk,
        root_budget_mib=read.size("budget.root_mib", 1, 16384),
        download_budget_mib=read.size("budget.download_mib", 1, 16384),
        mirror=read.value("mirror.archive", str, required=False),
        security_mirror=read.value("mirror.security", str, required=False),
        document=document,
    )
    read.finish()
    return recipe


class _Reader:
    """Takes values out of the document, remembers what was asked for, and collects every problem."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._known: set[str] = set()
        self._problems: list[Problem] = []

    def complain(self, message: str, key: str, *, text: str | None = None, hint: str | None = None) -> None:
        self._problems.append(self._document.problem(message, key, text=text, hint=hint))

    def value(self, key: str, kind: type[T], *, required: bool = True) -> T | None:
        self._known.add(key)
        found: object = self._document.values
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found is None:
            if required:
                self.complain(f"{key} is missing", key)
            return None
        if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
            self.complain(f"{key} must be {_WORDS[kind]}", key)
            return None
        return found

    def texts(self, key: str, *, required: bool = True) -> tuple[str, ...]:
        values: list[object] = self.value(key, list, required=required) or []
        wrong = [value for value in values if not isinstance(value, str)]
        if wrong:
            self.complain(f"{key} must hold texts only, and holds {wrong[0]!r}", key)
        texts = tuple(value for value in values if isinstance(value, str))
        for twice in sorted({text for text in texts if texts.count(text) > 1}):
            self.complain(f"{twice!r} stands twice in {key}", key, text=twice)
        return texts

    def size(self, key: str, least: int, most: int) -> int:
        size = self.value(key, int)
        if size is not None and not least <= size <= most:
            self.complain(f"{key} is {size}; it must be from {least} to {most}", key)
        return least if size is None else size

    def finish(self) -> None:
        """Raise ProblemsError if anything was wrong, unknown keys included."""
        for key in _leaves(self._document.values):
            if key not in self._known:
                near = difflib.get_close_matches(key, self._known, 1, 0.6)
                self.complain(f"unknown key {key}", key, hint=f"did you mean {near[0]}?" if near else None)
        if self._problems:
            unique = dict.fromkeys(self._problems)
            raise ProblemsError(f"{self._document.file} is not a recipe", unique)


_WORDS = {str: "a text", int: "a whole number", list: "a list"}


def _leaves(values: Mapping[str, object], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key, value in values.items():
        found += _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return found
