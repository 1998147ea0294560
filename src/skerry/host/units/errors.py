"""What units may fail with.

UnitError
├── UnitNameError        not a name that systemd or Quadlet would take
├── UnitFileError        the text cannot be parsed; every problem on the author's lines
├── UnitRefusedError     systemd or Podman's generator would not accept it; problems likewise
├── UnitNotOursError     the host has a unit or a file of that name that Skerry did not place
└── ServiceManagerError  systemd answered with an error, or not at all
    └── NoSuchUnitError  systemd finds no unit of that name
"""

from __future__ import annotations

from skerry.kit.errors import ProblemsError, SkerryError


class UnitError(SkerryError):
    """Something about a unit."""


class UnitNameError(UnitError):
    """Not a unit name."""


class UnitFileError(ProblemsError, UnitError):
    """A unit file's text cannot be parsed."""


class UnitRefusedError(ProblemsError, UnitError):
    """systemd or Podman refuses this unit."""


class UnitNotOursError(UnitError):
    """Placing this unit would touch or hide one that belongs to the host."""


class ServiceManagerError(UnitError):
    """The service manager refused a request, or cannot be reached."""


class NoSuchUnitError(ServiceManagerError):
    """systemd has no unit of that name, on disk or in memory."""
