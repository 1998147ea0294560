"""How a value in the store becomes a struct: JSON with a `version`, which is read first.

A document whose version is newer than ours is refused by name, never half read.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from skerry.kit.errors import SkerryError

T = TypeVar("T")


class RecordError(SkerryError):
    """A document in the store cannot be read by this version."""


class _Versioned(msgspec.Struct, frozen=True):
    version: int


def decode_document(value: bytes, kind: type[T], newest: int) -> T:
    """`value` as `kind`, whose versions are known up to `newest`. Raises RecordError."""
    try:
        version = msgspec.json.decode(value, type=_Versioned).version
        if version > newest:
            raise RecordError(
                f"{kind.__name__} has version {version}, this program reads up to {newest}",
                hint="upgrade this machine",
            )
        return msgspec.json.decode(value, type=kind)
    except msgspec.DecodeError as error:
        raise RecordError(f"{kind.__name__} cannot be read: {error}") from error
