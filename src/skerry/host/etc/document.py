"""What a merge leaves beside the folders of /etc: JSON that tells its format, of which only ours is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.host.etc.errors import EtcError

FORMAT = 1

T = TypeVar("T")


def read_document(path: Path, kind: type[T], error: type[EtcError]) -> T | None:
    """The document in a file; None where there is none. Raises `error`."""
    try:
        data = path.read_bytes()
        found = msgspec.json.decode(data, type=dict[str, object]).get("format")
        if found != FORMAT:
            raise error(f"{path} is of format {found}, and this Skerry reads format {FORMAT}")
        return msgspec.json.decode(data, type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as cause:
        raise error(f"{path} cannot be read: {cause}") from cause
