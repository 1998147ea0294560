"""Where a unit's files stand on a machine, as a value; and which places belong to the host.

    web.service      /run/systemd/system/web.service       drop-ins in web.service.d/
    web.container    /run/containers/systemd/web.container drop-ins in web.container.d/, files beside it

Paths here are relative to the root of the machine. Nothing is written by this module. A unit must not
hide one of the host: systemd takes the first file of a name from its search path, and /run comes before
/usr, so a name that stands anywhere else on that path is the host's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from skerry.host.units.errors import UnitNameError, UnitNotOursError
from skerry.host.units.name import UnitName, is_file_name, parse_name
from skerry.host.units.quadlet import service_of
from skerry.host.units.unit_file import UnitFile, parse_unit

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

SYSTEMD_DIRECTORY = PurePosixPath("run/systemd/system")
QUADLET_DIRECTORY = PurePosixPath("run/containers/systemd")

# systemd.unit(5), "System Unit Search Path", in its order; the generators' own directories last.
_SYSTEMD_SEARCH = tuple(
    PurePosixPath(p)
    for p in (
        "etc/systemd/system.control",
        "run/systemd/system.control",
        "run/systemd/transient",
        "etc/systemd/system",
        "etc/systemd/system.attached",
        "run/systemd/system",
        "run/systemd/system.attached",
        "usr/local/lib/systemd/system",
        "usr/lib/systemd/system",
        "lib/systemd/system",
    )
)
_GENERATED = tuple(
    PurePosixPath(p)
    for p in ("run/systemd/generator.early", "run/systemd/generator", "run/systemd/generator.late")
)
_QUADLET_SEARCH = tuple(
    PurePosixPath(p)
    for p in ("run/containers/systemd", "etc/containers/systemd", "usr/share/containers/systemd")
)

# Units that systemd makes of nothing; a file would change them all the same.
_BUILT_IN = frozenset({"-.slice", "system.slice", "-.mount", "init.scope"})


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """A file to be written; `path` is relative to the root of the machine."""

    path: PurePosixPath
    text: str


@dataclass(frozen=True, slots=True)
class Placement:
    """Everything that a unit is on a machine.

    `service` is the unit that systemd runs. `installs` is true where [Install] asks for links that
    Skerry must make (a generator makes those of a Quadlet file); `aliases` are other names it takes.
    """

    name: UnitName
    service: str
    files: tuple[PlacedFile, ...]
    installs: bool
    aliases: tuple[str, ...]


def placement(
    name: UnitName, text: str, drop_ins: Iterable[tuple[str, str]] = (), files: Iterable[tuple[str, str]] = ()
) -> Placement:
    """What stands where; `drop_ins` and `files` are (file name, text).

    Raises UnitFileError, and UnitNameError for a file name that would lead out of the directory.
    """
    unit = parse_unit(text, name.full)
    directory = QUADLET_DIRECTORY if name.is_quadlet else SYSTEMD_DIRECTORY
    drop_ins, files = sorted(drop_ins), sorted(files)
    for file, _ in (*drop_ins, *files):
        if not is_file_name(file):
            raise UnitNameError(f"{file!r}, of {name}, is not a plain file name")
    placed = [PlacedFile(directory / name.full, text)]
    parsed = [unit]
    for drop_in, content in drop_ins:
        placed.append(PlacedFile(directory / f"{name.full}.d" / drop_in, content))
        parsed.append(parse_unit(content, f"{name.full}.d/{drop_in}"))
    placed.extend(PlacedFile(directory / file, content) for file, content in files)
    return Placement(
        name=name,
        service=service_of(name, unit),
        files=tuple(placed),
        installs=not name.is_quadlet and any(u.has_section("Install") for u in parsed),
        aliases=tuple(dict.fromkeys(alias for u in parsed for alias in _aliases(u))),
    )


def refuse_foreign(placed: Placement, root: Path, ours: Collection[str]) -> None:
    """Raise UnitNotOursError where placing would touch or hide what is not ours.

    `ours` holds the paths, relative to `root`, that Skerry has written for this very unit.
    """
    for file in placed.files:
        if str(file.path) not in ours and _exists(root / file.path):
            raise _not_ours(placed.name.full, root / file.path)
    for name in (placed.service, *placed.aliases):
        if name in _BUILT_IN:
            raise UnitNotOursError(f"{name} is a part of systemd itself", hint="choose another name")
        for candidate in _same_unit(name):
            for directory in (*_SYSTEMD_SEARCH, *_GENERATED):
                path = directory / candidate
                if str(path) in ours or not _exists(root / path):
                    continue
                if placed.name.is_quadlet and directory in _GENERATED and _made_from(root, path, placed):
                    continue
                if name in placed.aliases and _points_to(root / path, placed.service):
                    continue
                raise _not_ours(name, root / path)
    if placed.name.is_quadlet:
        for directory in _QUADLET_SEARCH:
            path = directory / placed.name.full
            if str(path) not in ours and _exists(root / path):
                raise _not_ours(placed.name.full, root / path)


def _aliases(unit: UnitFile) -> list[str]:
    return [
        alias
        for option in unit.all("Install", "Alias")
        for alias in option.joined.split()
        if "%" not in alias
    ]


def _same_unit(name: str) -> list[str]:
    """The file names that would be this unit: its own, and the template of an instance."""
    template = parse_name(name).template if _is_name(name) else None
    return [name] if template is None else [name, template]


def _is_name(name: str) -> bool:
    return "/" not in name and "@" in name and not name.startswith("@") and "." in name


def _made_from(root: Path, path: PurePosixPath, placed: Placement) -> bool:
    """Whether a generated service says that it was made from this Quadlet file."""
    sources = {f"SourcePath=/{file.path}" for file in placed.files}
    try:
        return any(line.strip() in sources for line in (root / path).read_text(errors="replace").splitlines())
    except OSError:
        return False


def _points_to(path: Path, service: str) -> bool:
    return path.is_symlink() and path.readlink().name == service


def _exists(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _not_ours(name: str, path: Path) -> UnitNotOursError:
    return UnitNotOursError(
        f"{name} already exists on this host as {path} and is not Skerry's",
        hint="choose another name, or extend the host's unit with a drop-in in /etc/systemd/system",
    )
