"""zstd as blobs have it: long windows that still fit a host, and no more out of a blob than it may hold.

`import zstandard` takes time and memory, so it waits until bytes are really to be packed or unpacked.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from skerry.image.content.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEVEL = 19
WINDOW_LOG = 24  # 16 MiB to unpack; 32 would save 0.1 % of a root
MOST_WINDOW_LOG = 25  # what is still unpacked
PATCH_WINDOW_LOG = 23  # three streams of a patch are unpacked at once
_CHUNK_BYTES = 256 * 1024


def pack_file(source: Path, target: IO[bytes], *, level: int = LEVEL, threads: int = 0) -> None:
    """Compress a file as a full blob."""
    import zstandard

    params = zstandard.ZstdCompressionParameters.from_level(
        level,
        source_size=source.stat().st_size,
        window_log=WINDOW_LOG,
        enable_ldm=True,
        threads=threads,
        write_content_size=True,
    )
    with source.open("rb") as file:
        zstandard.ZstdCompressor(compression_params=params).copy_stream(
            file, target, size=source.stat().st_size
        )


def pack(data: bytes, *, level: int = LEVEL, window_log: int = WINDOW_LOG) -> bytes:
    """Compress bytes that fit in memory, with a window no larger than serves or than said."""
    import zstandard

    window_log = max(10, min(window_log, (len(data) - 1).bit_length()))
    params = zstandard.ZstdCompressionParameters.from_level(
        level, source_size=len(data), window_log=window_log, write_content_size=True
    )
    return zstandard.ZstdCompressor(compression_params=params).compress(data)


def unpack(data: bytes, size: int) -> bytes:
    """Exactly `size` bytes out of a compressed piece. Raises FormatError where it holds another number."""
    import zstandard

    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << MOST_WINDOW_LOG).stream_reader(data) as reader:
            found = reader.read(size + 1)
    except zstandard.ZstdError as error:
        raise FormatError(f"a piece of a blob cannot be unpacked: {error}") from error
    if len(found) != size:
        raise FormatError(f"a piece of a blob does not hold {size} bytes")
    return found


def unpacked(source: IO[bytes], size: int) -> Iterator[bytes]:
    """Exactly `size` bytes out of a compressed stream, piece by piece. Raises FormatError."""
    import zstandard

    left = size
    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << MOST_WINDOW_LOG).stream_reader(
            source, closefd=False
        ) as reader:
            while left:
                chunk = reader.read(min(left, _CHUNK_BYTES))
                if not chunk:
                    raise FormatError(f"a blob ends {left} bytes too early")
                left -= len(chunk)
                yield chunk
            if reader.read(1):
                raise FormatError(f"a blob holds more than its {size} bytes")
    except zstandard.ZstdError as error:
        raise FormatError(f"a blob cannot be unpacked: {error}") from error
