"""The daemon's settings: /etc/skerry/skerryd.toml and the drop-ins of skerryd.toml.d, in the order of names.

    log_level = "info"        # debug, info, warning, error
    token_limit = 100         # how many units fleet's API gives in a page
    agent = true              # whether units run here; a server of a cluster may say no

    [metadata]                # labels of this machine, for MachineMetadata= of units
    region = "eu-west"

A later file overrides single keys. Unknown keys and wrong types are refused, all at once, each on its
own line: a setting that is misspelt must not be silently without effect.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from skerry.kit.errors import Problem, ProblemsError, SkerryError
from skerry.kit.toml_lines import Document, overlaid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

HIGHEST_LIMIT = 0xFFFF
_LABEL = re.compile(r"[A-Za-z0-9_.-]+")


class SettingError(SkerryError):
    """One value cannot be."""


class LogLevel(enum.StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Settings:
    """See the module; these are the defaults."""

    log_level: LogLevel = LogLevel.INFO
    token_limit: int = 100
    metadata: Mapping[str, str] = field(default_factory=dict)
    agent: bool = True


def read_settings(directory: Path) -> Settings:
    """The settings under `directory` (/etc/skerry). Raises ProblemsError with every problem found."""
    files = (directory / "skerryd.toml", *sorted(directory.glob("skerryd.toml.d/*.toml")))
    settings, problems = overlaid(files, Settings(), apply)
    if problems:
        raise ProblemsError("the settings of skerryd cannot be used", problems)
    return settings


def apply(settings: Settings, document: Document, problems: list[Problem]) -> Settings:
    """`settings` with one document's keys over them; what is wrong is added to `problems`."""
    for key, value in document.values.items():
        reader = _READERS.get(key)
        if reader is None:
            known = ", ".join(sorted(_READERS))
            problems.append(document.problem(f"unknown key {key!r}", key, hint=f"known are {known}"))
            continue
        try:
            settings = reader(settings, value)
        except SettingError as error:
            problems.append(document.problem(error.message, key))
    return settings


def _log_level(settings: Settings, value: object) -> Settings:
    if not isinstance(value, str) or value not in set(LogLevel):
        raise SettingError(f"log_level is one of {', '.join(LogLevel)}, not {value!r}")
    return replace(settings, log_level=LogLevel(value))


def _agent(settings: Settings, value: object) -> Settings:
    if not isinstance(value, bool):
        raise SettingError(f"agent is true or false, not {value!r}")
    return replace(settings, agent=value)


def _token_limit(settings: Settings, value: object) -> Settings:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= HIGHEST_LIMIT:
        raise SettingError(f"token_limit is a number from 1 to {HIGHEST_LIMIT}, not {value!r}")
    return replace(settings, token_limit=value)


def _metadata(settings: Settings, value: object) -> Settings:
    if not isinstance(value, dict):
        raise SettingError("metadata is a table of labels, as in [metadata]")
    labels: dict[str, str] = {}
    for name, text in value.items():
        if not _LABEL.fullmatch(str(name)):
            raise SettingError(f"the label {name!r} may have letters, digits and _ . - only")
        if not isinstance(text, str):
            raise SettingError(f"the label {name!r} must be a text, not {text!r}")
        labels[str(name)] = text
    return replace(settings, metadata={**settings.metadata, **labels})


_READERS: dict[str, Callable[[Settings, object], Settings]] = {
    "agent": _agent,
    "log_level": _log_level,
    "metadata": _metadata,
    "token_limit": _token_limit,
}
