"""The settings of updates: what the image says, then /etc/skerry/update.toml, then the drop-ins by name.

    /usr/lib/skerry/update.toml   /etc/skerry/update.toml   /etc/skerry/update.toml.d/*.toml

    repository = "https://updates.example.org/skerry"   # http, https, or file:///
    channel = "stable"
    strategy = "window"               # manual, immediate, window
    etc_conflicts = "mine"            # mine, theirs, refuse
    extensions = ["tools"]
    tries = 3                         # boots that a new version is given
    [window]
    days = ["sat", "sun"]             # or ["daily"]
    start = "02:00"
    length = "2h"
    zone = "Europe/Berlin"

A later file overrides single keys, of [window] too. What is wrong is refused, all at once, on its own line.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from skerry.host.update import window as windows
from skerry.image.release.channel import check_name
from skerry.kit.errors import Problem, ProblemsError, SkerryError
from skerry.kit.toml_lines import Document, overlaid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

DEFAULTS = "usr/lib/skerry/update.toml"
OWN = "etc/skerry/update.toml"
_EXTENSION = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_REPOSITORY = re.compile(r"(https?://[^\s/]+|file:///)[^\s?#]*", re.ASCII)


class SettingError(SkerryError):
    """One value cannot be."""


class Strategy(enum.StrEnum):
    """Who updates: a person; the timer, at once; the timer, which reboots in the window."""

    MANUAL = "manual"
    IMMEDIATE = "immediate"
    WINDOW = "window"


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """The table as it stands; `built` is what it means."""

    days: tuple[str, ...] = ("daily",)
    start: str = "03:00"
    length: str = "2h"
    zone: str = "UTC"

    def built(self) -> windows.Window:
        return windows.Window(
            windows.parse_days(list(self.days)),
            windows.parse_start(self.start),
            windows.parse_length(self.length),
            windows.parse_zone(self.zone),
        )


@dataclass(frozen=True, slots=True)
class UpdateSettings:
    """See the module; these are the defaults."""

    repository: str | None = None
    channel: str = "stable"
    strategy: Strategy = Strategy.MANUAL
    window: WindowSettings = WindowSettings()
    etc_conflicts: str = "mine"
    extensions: tuple[str, ...] = ()
    tries: int = 3


def read_settings(root: Path) -> UpdateSettings:
    """The settings of the system below `root`. Raises ProblemsError with every problem found."""
    settings, problems = overlaid(files(root), UpdateSettings(), apply)
    if problems:
        raise ProblemsError("the settings of updates cannot be used", problems)
    return settings


def files(root: Path) -> tuple[Path, ...]:
    """Where settings stand, the strongest last."""
    return (root / DEFAULTS, root / OWN, *sorted((root / OWN).parent.glob("update.toml.d/*.toml")))


def apply(settings: UpdateSettings, document: Document, problems: list[Problem]) -> UpdateSettings:
    """`settings` with one document's keys over them; what is wrong is added to `problems`."""
    for key, value in document.values.items():
        if key == "window":
            settings = _window(settings, value, document, problems)
            continue
        reader = _READERS.get(key)
        if reader is None:
            known = ", ".join(sorted([*_READERS, "window"]))
            problems.append(document.problem(f"unknown key {key!r}", key, hint=f"known are {known}"))
            continue
        try:
            settings = reader(settings, value)
        except SkerryError as error:
            problems.append(document.problem(error.message, key, hint=error.hint))
    return settings


def _window(
    settings: UpdateSettings, value: object, document: Document, problems: list[Problem]
) -> UpdateSettings:
    if not isinstance(value, dict):
        problems.append(document.problem("window is a table, as in [window]", "window"))
        return settings
    found = settings.window
    for key, given in value.items():
        where = f"window.{key}"
        check = _WINDOW.get(key)
        try:
            if check is None:
                raise SettingError(f"unknown key {key!r} in [window]", hint=f"known are {', '.join(_WINDOW)}")
            if key == "days":
                names = _texts(given, "days")
                check(list(names))
                found = replace(found, days=names)
            else:
                check(_text(given, key))
                found = _REPLACED[key](found, _text(given, key))
        except SkerryError as error:
            problems.append(document.problem(error.message, where, hint=error.hint))
    return replace(settings, window=found)


_WINDOW: Mapping[str, Callable[..., object]] = {
    "days": windows.parse_days,
    "start": windows.parse_start,
    "length": windows.parse_length,
    "zone": windows.parse_zone,
}


_REPLACED: Mapping[str, Callable[[WindowSettings, str], WindowSettings]] = {
    "start": lambda table, text: replace(table, start=text),
    "length": lambda table, text: replace(table, length=text),
    "zone": lambda table, text: replace(table, zone=text),
}


def _text(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise SettingError(f"{key} is a text, not {value!r}")
    return value


def _texts(value: object, key: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise SettingError(f"{key} is a list of texts, not {value!r}")
    return tuple(value)


def _one_of(value: object, key: str, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise SettingError(f"{key} is one of {', '.join(allowed)}, not {value!r}")
    return value


def _repository(settings: UpdateSettings, value: object) -> UpdateSettings:
    text = _text(value, "repository")
    if not _REPOSITORY.fullmatch(text):
        raise SettingError(f"{text!r} is not an address", hint="https://…, http://… or file:///…")
    return replace(settings, repository=text.rstrip("/"))


def _channel(settings: UpdateSettings, value: object) -> UpdateSettings:
    name = _text(value, "channel")
    check_name(name)
    return replace(settings, channel=name)


def _strategy(settings: UpdateSettings, value: object) -> UpdateSettings:
    return replace(settings, strategy=Strategy(_one_of(value, "strategy", tuple(Strategy))))


def _conflicts(settings: UpdateSettings, value: object) -> UpdateSettings:
    return replace(settings, etc_conflicts=_one_of(value, "etc_conflicts", ("mine", "theirs", "refuse")))


def _extensions(settings: UpdateSettings, value: object) -> UpdateSettings:
    names = _texts(value, "extensions")
    for name in names:
        if not _EXTENSION.fullmatch(name):
            raise SettingError(f"{name!r} is not the name of an extension")
    return replace(settings, extensions=tuple(dict.fromkeys(names)))


def _tries(settings: UpdateSettings, value: object) -> UpdateSettings:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 9:
        raise SettingError(f"tries is a number from 1 to 9, not {value!r}")
    return replace(settings, tries=value)


_READERS: Mapping[str, Callable[[UpdateSettings, object], UpdateSettings]] = {
    "channel": _channel,
    "etc_conflicts": _conflicts,
    "extensions": _extensions,
    "repository": _repository,
    "strategy": _strategy,
    "tries": _tries,
}
