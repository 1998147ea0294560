"""The settings of health: /etc/skerry/health.toml and the drop-ins of health.toml.d, in the order of names.

    deadline = "5min"         # how long a boot on trial is given until all is well
    script_timeout = "30s"    # how long each executable of health.d may take
    probation = "1h"          # how long after a bless a version may still be given up; "0s": not at all
    failures = 3              # how many times in a row a check must fail in that time

A later file overrides single keys. Settings that are wrong are not used at all, and said as a check that is
merely wanted: a typing error must not keep a boot from its bless. `check_settings` raises for them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from skerry.host.health.errors import HealthSettingsError
from skerry.kit.errors import Problem, SkerryError
from skerry.kit.toml_lines import Document, overlaid

if TYPE_CHECKING:
    from pathlib import Path

_SPAN = re.compile(r"(?P<number>\d{1,6})\s*(?P<unit>s|min|h)", re.ASCII)
_SECONDS = {"s": 1, "min": 60, "h": 3600}
LONGEST_DEADLINE_S = 15 * 60  # skerry-health.service itself is given up after 20 minutes
MOST_FAILURES = 100


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """See the module; these are the defaults."""

    deadline_s: float = 300
    script_timeout_s: float = 30
    probation_s: float = 3600
    failures: int = 3
    problem: str = ""


def read_settings(directory: Path) -> HealthSettings:
    """The settings under `directory` (/etc/skerry), or the defaults and the `problem` with them."""
    try:
        return check_settings(directory)
    except HealthSettingsError as error:
        return HealthSettings(problem=error.message)


def check_settings(directory: Path) -> HealthSettings:
    """The settings under `directory`. Raises HealthSettingsError with every problem found."""
    files = (directory / "health.toml", *sorted(directory.glob("health.toml.d/*.toml")))
    settings, problems = overlaid(files, HealthSettings(), _apply)
    if problems:
        raise HealthSettingsError("the settings of health cannot be used", problems)
    return settings


def _apply(settings: HealthSettings, document: Document, problems: list[Problem]) -> HealthSettings:
    for key, value in document.values.items():
        try:
            if key == "deadline":
                settings = replace(settings, deadline_s=_span(value, at_most=LONGEST_DEADLINE_S))
            elif key == "script_timeout":
                settings = replace(settings, script_timeout_s=_span(value, at_most=LONGEST_DEADLINE_S))
            elif key == "probation":
                settings = replace(settings, probation_s=_span(value, at_most=7 * 24 * 3600))
            elif key == "failures":
                settings = replace(settings, failures=_count(value))
            else:
                known = "deadline, failures, probation, script_timeout"
                problems.append(document.problem(f"unknown key {key!r}", key, hint=f"known are {known}"))
        except _ValueError as error:
            problems.append(document.problem(f"{key} {error.message}", key))
    return settings


class _ValueError(SkerryError):
    """One value cannot be."""


def _span(value: object, *, at_most: float) -> float:
    match = _SPAN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _ValueError(f'is a time such as "30s", "5min" or "1h", not {value!r}')
    seconds = int(match["number"]) * _SECONDS[match["unit"]]
    if seconds > at_most:
        raise _ValueError(f"is at most {at_most / 60:g} minutes, not {value!r}")
    return seconds


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_FAILURES:
        raise _ValueError(f"is a number from 1 to {MOST_FAILURES}, not {value!r}")
    return value
