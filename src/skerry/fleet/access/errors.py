"""What access may refuse.

AccessError
├── UnauthenticatedError    nobody is known by this: 401
├── ForbiddenError          known, but may not: 403
├── TokenRefusedError       a token to join with is unknown, expired, used up, or for another role: 403
├── DuplicateNodeError      a machine with this id is a member already: 409
├── AddressTakenError       another server is reached there: 409
└── NoSuchTokenError        404
"""

from __future__ import annotations

from skerry.kit.errors import SkerryError


class AccessError(SkerryError):
    """Somebody may not."""


class UnauthenticatedError(AccessError):
    """The caller did not show who they are, or what they showed is not good (any more)."""


class ForbiddenError(AccessError):
    """The caller is known, and has no right to this."""


class TokenRefusedError(AccessError):
    """A token does not let this machine in; the message says why."""


class DuplicateNodeError(AccessError):
    """Two machines cannot have one id."""


class AddressTakenError(AccessError):
    """Two servers cannot have one address."""


class NoSuchTokenError(AccessError):
    """No token has this id."""
