"""What the bytes of a release may fail with.

    ContentError
    ├── FormatError       a blob, or a device, is not what it should be; NewerFormatError of a later format
    ├── BaseError         an older version on this host is not what a patch was made for
    ├── MismatchError     bytes do not have the hash that was signed for
    ├── NoRoomError       the disk cannot hold what is to be fetched, or the slot the part
    └── DeviceError       reading or writing a slot failed

What the network does is kit.transport's TransportError.
"""

from __future__ import annotations

from skerry.kit.errors import SkerryError


class ContentError(SkerryError):
    """The root of this tree."""


class FormatError(ContentError):
    """A blob is damaged, or is not one."""


class NewerFormatError(FormatError):
    """A blob was written for a later Skerry."""


class BaseError(ContentError):
    """An older version on this host is not what it is taken for."""


class MismatchError(ContentError):
    """Bytes that are not the signed ones."""


class NoRoomError(ContentError):
    """There is too little room."""


class DeviceError(ContentError):
    """A slot cannot be read or written."""
