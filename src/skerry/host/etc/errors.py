"""What can be wrong when /etc is merged or changed.

EtcError
├── ArchiveError     an archive of defaults that must not be unpacked
├── PlanError        a merge that cannot be begun: its plan, or one of the three trees, is not there
└── ChoiceError      a path of yours that cannot be resolved or reset as asked
"""

from __future__ import annotations

from skerry.kit.errors import SkerryError


class EtcError(SkerryError):
    """Something about /etc."""


class ArchiveError(EtcError):
    """An archive holds what no /etc has, or leads out of it."""


class PlanError(EtcError):
    """The merge cannot be begun."""


class ChoiceError(EtcError):
    """What was asked for one path cannot be done."""
