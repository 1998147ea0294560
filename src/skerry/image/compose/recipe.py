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
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from skerry.image.compose.errors import ComposeError
from skerry.kit import toml_lines
from skerry.kit.errors import Problem, ProblemsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from skerry.kit.toml_lines import Document

FORMAT = 1
ARCHITECTURES = ("amd64",)
# GPT gives a partition's name 36 characters: NAME_VERSION_verity fits by these two.
NAME = re.compile(r"[a-z][a-z0-9-]{0,15}")
VERSION = re.compile(r"[1-9][0-9]{3}\.(0?[1-9]|1[0-2])\.[0-9]{1,4}")
SUITE = re.compile(r"[a-z][a-z0-9.-]*")
ADDRESS = re.compile(r"(https?://|file:/)[^\s\"'\[\]]+")
# https://www.debian.org/doc/debian-policy/ch-controlfields.html#source
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
MODULE = re.compile(r"[\w?*\[\]!-]+", re.ASCII)
UNIT = re.compile(
    r"[\w:.\\@-]+\.(service|socket|target|timer|path|mount|automount|swap|slice|scope)", re.ASCII
)
WORD = re.compile(r"[!-~]+")

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
    uki_budget_mib: int
    mirror: str | None
    security_mirror: str | None
    document: Document = field(repr=False, compare=False)

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
            key = next((key for key in keys if (key, text) in self.document.texts), keys[0])
            meant = (near or {}).get(text)
            hint = f"did you mean {', '.join(meant)}?" if meant else None
            problems.append(self.document.problem(f"{why} {text}", key, text=text, hint=hint))
        return ProblemsError(f"{self.document.file} cannot be built", problems)


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
    recipe = _read(read, document, path)
    read.finish()
    return recipe


def keys() -> frozenset[str]:
    """Every key that a recipe may have, dotted."""
    nothing = toml_lines.parse("", "")
    read = _Reader(nothing)
    _read(read, nothing, Path())
    return frozenset(read.known)


def _read(read: _Reader, document: Document, path: Path) -> Recipe:
    """The values, stand-ins where one is missing or wrong: the reader knows, and refuses in the end."""
    format_version = read.value("format", int)
    if format_version is not None and format_version != FORMAT:
        read.complain(f"recipe format {format_version} is not known to this version of Skerry", "format")
    name = read.word("name", NAME, "a name", hint="lower-case letters, digits and -, at most 16")
    version = read.word("version", VERSION, "a version", hint="year.month.number, as in 2026.11.0")
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
    return Recipe(
        name=name or "",
        version=version or "",
        suite=read.word("suite", SUITE, "a suite", hint="as in trixie") or "",
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
        files=files,
        remove=read.paths("tree.remove", required=False),
        keep=read.paths("tree.keep", required=False),
        libraries=read.texts("tree.libraries", required=False),
        enable=read.words("presets.enable", UNIT, "the name of a unit", required=False),
        mask=read.words("presets.mask", UNIT, "the name of a unit", required=False),
        disk=disk,
        root_budget_mib=read.size("budget.root_mib", 1, 16384),
        uki_budget_mib=read.size("budget.uki_mib", 1, 16384),
        mirror=read.word("mirror.archive", ADDRESS, "an http, https or file address", required=False),
        security_mirror=read.word(
            "mirror.security", ADDRESS, "an http, https or file address", required=False
        ),
        document=document,
    )


class _Reader:
    """Takes values out of the document, remembers what was asked for, and collects every problem."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.known: set[str] = set()
        self._problems: list[Problem] = []

    def complain(self, message: str, key: str, *, text: str | None = None, hint: str | None = None) -> None:
        self._problems.append(self._document.problem(message, key, text=text, hint=hint))

    def value(self, key: str, kind: type[T], *, required: bool = True) -> T | None:
        self.known.add(key)
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

    def word(
        self, key: str, form: re.Pattern[str], what: str, *, hint: str | None = None, required: bool = True
    ) -> str | None:
        """A text of a form."""
        text = self.value(key, str, required=required)
        if text is not None and not form.fullmatch(text):
            self.complain(f"{text!r} is not {what}", key, hint=hint)
        return text

    def words(self, key: str, form: re.Pattern[str], what: str, *, required: bool = True) -> tuple[str, ...]:
        """Texts of one form."""
        texts = self.texts(key, required=required)
        for text in texts:
            if not form.fullmatch(text):
                self.complain(f"{text!r} is not {what}", key, text=text)
        return texts

    def paths(self, key: str, *, required: bool = True) -> tuple[str, ...]:
        """Paths or globs within the tree, as from its root."""
        texts = self.texts(key, required=required)
        for text in texts:
            if (
                not text
                or "\0" in text
                or text.startswith("/")
                or not {".", ".."}.isdisjoint(text.split("/"))
            ):
                hint = "written as from the root of the tree, without a / in front: usr/bin/example"
                self.complain(f"{text!r} is not a path in the tree", key, text=text, hint=hint)
            elif text.count("{") > 1 or text.count("}") != text.count("{"):
                self.complain(f"{text!r} has more than one pair of braces, or half a pair", key, text=text)
        return texts

    def size(self, key: str, least: int, most: int) -> int:
        size = self.value(key, int)
        if size is not None and not least <= size <= most:
            self.complain(f"{key} is {size}; it must be from {least} to {most}", key)
        return least if size is None else size

    def finish(self) -> None:
        """Raise ProblemsError if anything was wrong, unknown keys included."""
        values = self._document.values
        empty = {key for key, value in values.items() if value == {}}
        tables = {key.rpartition(".")[0] for key in self.known}
        for key in _leaves(values):
            if key not in self.known and key not in empty & tables:
                near = difflib.get_close_matches(key, self.known, 1, 0.6)
                self.complain(f"unknown key {key}", key, hint=f"did you mean {near[0]}?" if near else None)
        if self._problems:
            unique = dict.fromkeys(self._problems)
            raise ProblemsError(f"{self._document.file} is not a recipe", unique)


_WORDS = {str: "a text", int: "a whole number", list: "a list"}


def _leaves(values: Mapping[str, object], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key, value in values.items():
        inner = _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else []
        found += inner or [f"{prefix}{key}"]
    return found
