"""What units may fail with.

    UnitError
    ├── UnitNameError        not a name that systemd or Quadlet would take
    ├── UnitFileError        the text cannot be parsed (line given)
    ├── UnitRefusedError     systemd or Podman's generator would not accept it
    └── ServiceManagerError  systemd answered with an error, or not at all
"""

from __future__ import annotations

from skerry.kit.errors import SkerryError


class UnitError(SkerryError):
    """Something about a unit."""


class UnitNameError(UnitError):
    """Not a unit name."""


class UnitFileError(UnitError):
    """A unit file's text cannot be parsed."""


class UnitRefusedError(UnitError):
    """systemd or Podman refuses this unit."""


class ServiceManagerError(UnitError):
    """The service manager refused a request, or cannot be reached."""
