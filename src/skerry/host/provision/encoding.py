"""A file's content as its `encoding` says: base64, gzip, or gzip in base64; never more than was allowed."""

from __future__ import annotations

import base64
import binascii
import zlib

from skerry.host.provision.errors import EncodingError

ENCODINGS = ("b64", "base64", "gz", "gzip", "gz+b64", "gz+base64", "gzip+b64", "gzip+base64")
LARGEST_BYTES = 16 * 1024 * 1024


def decode(content: bytes, encoding: str | None, *, largest_bytes: int = LARGEST_BYTES) -> bytes:
    """The plain content. Raises EncodingError with what is wrong, never with the content."""
    known = encoding or ""
    if known and known not in ENCODINGS:
        raise EncodingError(f"the encoding {known!r} is not known", hint=f"one of {', '.join(ENCODINGS)}")
    if known.endswith(("b64", "base64")):
        try:
            content = base64.b64decode(b"".join(content.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise EncodingError("the content is not base64", hint="make it with `base64 FILE`") from error
    if known.startswith("gz"):
        content = _gunzip(content, largest_bytes)
    if len(content) > largest_bytes:
        raise EncodingError(f"the content is larger than {largest_bytes} bytes")
    return content


def _gunzip(content: bytes, largest_bytes: int) -> bytes:
    done = b""
    while content:
        unpack = zlib.decompressobj(wbits=31)
        try:
            done += unpack.decompress(content, largest_bytes - len(done) + 1)
        except zlib.error as error:
            raise EncodingError("the content is not gzip", hint="make it with `gzip -9 FILE`") from error
        if len(done) > largest_bytes:
            raise EncodingError(f"the content is larger than {largest_bytes} bytes when decompressed")
        if not unpack.eof:
            raise EncodingError("the gzip content ends too early")
        content = unpack.unused_data
    return done
