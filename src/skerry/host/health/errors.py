"""What health may fail with.

HealthError
├── HealthRecordError    a record on the disk cannot be read, or is of a newer Skerry
└── HealthSettingsError  /etc/skerry/health.toml cannot be used; every problem on the author's line
"""

from __future__ import annotations

from skerry.kit.errors import ProblemsError, SkerryError


class HealthError(SkerryError):
    """Something about the health of this machine."""


class HealthRecordError(HealthError):
    """A record of health is damaged, or newer than this Skerry."""


class HealthSettingsError(ProblemsError, HealthError):
    """The settings cannot be used."""
