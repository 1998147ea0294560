"""What composing an image may fail with.

    ComposeError
    ├── NoMirrorError        nowhere to take Debian packages from
    ├── NoSpaceError         the disk would not hold the result
    └── BudgetError          the image is larger than its recipe allows

A recipe that is wrong is a kit.errors.ProblemsError: every problem, on the recipe's own lines.
"""

from __future__ import annotations

from skerry.kit.errors import SkerryError


class ComposeError(SkerryError):
    """An image could not be composed."""


class NoMirrorError(ComposeError):
    """No Debian mirror is known, or none answers."""


class NoSpaceError(ComposeError):
    """Not enough room on a disk."""


class BudgetError(ComposeError):
    """A size limit of the recipe, or of the disk's layout, is exceeded."""
