"""What a lab may fail with.

LabError
├── NodeError            a node did not do what was asked
│   └── NotReadyError    it did not come up in time
└── NotRootError         this needs root, and we are not
"""

from __future__ import annotations

from skerry.kit.errors import SkerryError


class LabError(SkerryError):
    """A lab could not do what was asked."""


class NodeError(LabError):
    """A node did not do what was asked."""


class NotReadyError(NodeError):
    """A node did not come up in time."""


class NotRootError(LabError):
    """This needs root, and we are not."""
