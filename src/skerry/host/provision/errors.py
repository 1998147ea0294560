"""What provisioning may fail with.

    ProvisionError
    ├── SourceError    a source is there but cannot be read
    ├── EncodingError  a file's content is not in the encoding that it names
    └── StepError      one step could not be carried out; the others still are

What is wrong with a document is not raised: it is collected as `skerry.kit.errors.Problem`.
"""

from __future__ import annotations

from skerry.kit.errors import SkerryError


class ProvisionError(SkerryError):
    """Something about provisioning."""


class SourceError(ProvisionError):
    """A source of a cloud-config exists and cannot be read."""


class EncodingError(ProvisionError):
    """A content cannot be decoded."""


class StepError(ProvisionError):
    """A step could not be carried out."""
