"""What trust may refuse.

TrustError
├── CertificateError    a certificate or a request for one is not what it must be
├── PkiError            the files under pki/ are not whole
├── TokenTextError      a token is not one, or is cut
└── JoinError           a cluster did not take this machine
    └── NoServerError   no server answered: asking again may help
"""

from __future__ import annotations

from skerry.kit.errors import SkerryError


class TrustError(SkerryError):
    """Somebody, or something, cannot be trusted."""


class CertificateError(TrustError):
    """A certificate, or a request for one, is refused; the message says which rule it breaks."""


class PkiError(TrustError):
    """A file under pki/ is missing or damaged."""


class TokenTextError(TrustError):
    """A text is no token. The text itself is never part of the message."""


class JoinError(TrustError):
    """This machine could not join a cluster."""


class NoServerError(JoinError):
    """None of the servers could be reached, or none was able to answer."""
