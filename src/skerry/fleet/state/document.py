"""How a value in the store becomes a struct: JSON with a `version`, which is read first.

A document whose version is newer than ours is refused by name, never half read.
"""

from __future__ import annotations

from typing import ClassVar, Self

import msgspec

from skerry.kit.errors import SkerryError


class RecordError(SkerryError):
    """A document in the store cannot be read by this version."""


class _Versioned(msgspec.Struct, frozen=True):
    version: int


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A value in the store, or in a file; a kind of which there is a newer version says so in both fields."""

    NEWEST: ClassVar[int] = 1
    version: int = 1

    def encode(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """The document that `value` is; its version is known up to NEWEST. Raises RecordError."""
        try:
            version = msgspec.json.decode(value, type=_Versioned).version
            if version > cls.NEWEST:
                raise RecordError(
                    f"{cls.__name__} has version {version}, this program reads up to {cls.NEWEST}",
                    hint="upgrade this machine",
                )
            return msgspec.json.decode(value, type=cls)
        except msgspec.DecodeError as error:
            raise RecordError(f"{cls.__name__} cannot be read: {error}") from error
