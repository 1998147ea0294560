"""A person's unit files at hand: the file, the drop-ins beside it, and what a Quadlet file names.

    web.service  web.service.d/10-memory.conf   web.container  web.env

Finds nothing but what stands beside the file that was named, and refuses what is not text.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.host.units.name import QUADLET_SUFFIXES, complete_name
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from skerry.kit.http import Json

# Names of other Quadlet files; the daemon knows in which options they count.
# Options of Quadlet files that name a file; only plain names, which stand beside the Quadlet file.
_QUADLET = re.compile(rf"[\w:\-.\\@]+\.(?:{'|'.join(QUADLET_SUFFIXES)})\b")
_NAMING = ("EnvironmentFile", "Yaml", "ConfigMap", "File", "IgnoreFile")


class LocalFileError(SkerryError):
    """A file that was named cannot be used."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One word of the command line: a unit's full name or a glob, and the directory it was named in."""

    name: str
    directory: str
    is_path: bool


def asked(word: str) -> Asked:
    """`dir/web` means the unit web.service, looked for in dir. Globs stay as they are."""
    directory, _, name = word.rpartition("/")
    is_glob = any(c in name for c in "*?[")
    return Asked(name if is_glob else complete_name(name), directory or ".", "/" in word)


def offers(wanted: Iterable[Asked]) -> list[Json]:
    """What the API calls offers: of each unit, its file and its template's, where they stand there."""
    found: dict[str, Json] = {}
    for unit in wanted:
        missing = True
        for name in (unit.name, _template(unit.name)):
            path = f"{unit.directory}/{name}"
            if name and name not in found and os.path.isfile(path):  # noqa: PTH113  pathlib costs 4 ms
                _offer(name, path, found, is_path=unit.is_path)
            missing &= name not in found
        if missing and unit.is_path and not any(c in unit.name for c in "*?["):
            raise LocalFileError(f"there is no file {unit.directory}/{unit.name}")
    return list(found.values())


def _offer(name: str, path: str, found: dict[str, Json], *, is_path: bool) -> None:
    """Add a file to what is offered, and the Quadlet files beside it that it names."""
    text = _read(path)
    offer: dict[str, Json] = {"name": name, "text": text, "file": path if is_path else name}
    found[name] = offer
    folder = f"{path}.d"
    if os.path.isdir(folder):  # noqa: PTH112
        names = sorted(n for n in os.listdir(folder) if n.endswith(".conf") and n[0] != ".")  # noqa: PTH208
        offer["drop_ins"] = [{"name": n, "text": _read(f"{folder}/{n}")} for n in names]
    if name.rpartition(".")[2] in QUADLET_SUFFIXES:
        directory = path.rpartition("/")[0]
        offer["files"] = [{"name": n, "text": _read(f"{directory}/{n}")} for n in _named(text, directory)]
        for other in dict.fromkeys(_QUADLET.findall(text)):
            if other not in found and os.path.isfile(f"{directory}/{other}"):  # noqa: PTH113
                _offer(other, f"{directory}/{other}", found, is_path=is_path)


def _named(text: str, directory: str) -> list[str]:
    names = set()
    for line in text.splitlines():
        option, _, value = line.partition("=")
        name = value.strip().removeprefix("./").removeprefix("-")
        is_plain = bool(name) and "/" not in name and name[0] not in ".%"
        if option.strip() in _NAMING and is_plain and os.path.isfile(f"{directory}/{name}"):  # noqa: PTH113
            names.add(name)
    return sorted(names)


def _template(name: str) -> str:
    stem, _, suffix = name.rpartition(".")
    prefix, at, instance = stem.partition("@")
    return f"{prefix}@.{suffix}" if at and instance else ""


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            return file.read()
    except UnicodeDecodeError as error:
        raise LocalFileError(f"{path} is not text: unit files are UTF-8") from error
    except OSError as error:
        raise LocalFileError(f"{path} cannot be read: {error.strerror}") from error
