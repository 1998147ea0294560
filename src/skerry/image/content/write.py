"""Makes a part on a host, as planned: fetches what that takes, and fills a slot or a file with it.

    fetch   all that the plan needs from the network, so that filling needs none
    write   base, blobs → slot; the SHA-256 of the whole is the judge. What a smaller way got wrong is
            made again from the full blob

Memory is bounded by zstd's window and a few frames, whatever the size of the part.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import IO, TYPE_CHECKING

from skerry.image.content import blocks, packing, patch, verity
from skerry.image.content.errors import BaseError, DeviceError, FormatError, MismatchError
from skerry.image.content.plan import Base, Kind, PartPlan
from skerry.image.content.sink import Sink
from skerry.kit.progress import Phase, Progress, Reporter, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from skerry.image.content.blocks import Found, Index
    from skerry.image.content.fetch import Fetcher
    from skerry.image.release.manifest import Part

READ_BYTES = 1 << 20
KEPT_FRAMES = 8  # of at most 1 MiB


def fetch(
    part: Part, planned: PartPlan, bases: Sequence[Base], fetcher: Fetcher, report: Reporter = silent
) -> PartPlan:
    """Bring everything that `write` will need. Raises TransportError, MismatchError.

    Returns the plan to write by: it is the whole part where the index, or what is here, is not as it was
    signed for.
    """
    step = f"download {part.name}"
    if planned.kind is Kind.BLOCKS:
        try:
            index, found = _survey(part, _base(planned, bases), fetcher, report)
            fetcher.ranges(part.pack, found.spans(index), report, step=step)
        except (BaseError, DeviceError, FormatError, MismatchError) as error:
            planned = _whole(part, planned, error)
            report(Progress(step, Phase.ADVANCED, note=planned.why))
    if planned.kind is Kind.FULL:
        fetcher.blob(part.full, report, step=step)
    elif planned.kind is Kind.PATCH and planned.patch is not None:
        fetcher.blob(planned.patch.blob, report, step=step)
    return planned


def write(
    part: Part,
    planned: PartPlan,
    bases: Sequence[Base],
    target: int,
    fetcher: Fetcher,
    report: Reporter = silent,
    *,
    hashes: int | None = None,
) -> Kind:
    """Fill `target`, a descriptor of a device or a file, and `hashes` with the verity tree; tells how it did.

    Fetches what is missing yet. Syncing is the caller's. Raises TransportError, ContentError; then what
    `target` holds is worth nothing.
    """
    try:
        _fill(part, planned, bases, Sink(part, target, hashes, report), fetcher, report)
    except (BaseError, FormatError, MismatchError) as error:
        if planned.kind is Kind.FULL:
            raise
        full = _whole(part, planned, error)
        report(Progress(f"write {part.name}", Phase.ADVANCED, note=full.why))
        _fill(part, full, bases, Sink(part, target, hashes, report), fetcher, report)
        return Kind.FULL
    return planned.kind


def _whole(part: Part, planned: PartPlan, error: Exception) -> PartPlan:
    said = f"{planned.kind} failed, so the whole is fetched: {error}"
    return PartPlan(part.name, Kind.FULL, part.full.size, said)


def _fill(
    part: Part, planned: PartPlan, bases: Sequence[Base], sink: Sink, fetcher: Fetcher, report: Reporter
) -> None:
    step = f"download {part.name}"
    if planned.kind is Kind.SAME:
        for chunk in _read(_base(planned, bases)):
            sink.write(chunk)
    elif planned.kind is Kind.FULL:
        with fetcher.blob(part.full, report, step=step).open("rb") as file:
            for chunk in packing.unpacked(file, part.size):
                sink.write(chunk)
    elif planned.kind is Kind.PATCH and planned.patch is not None:
        base = _base(planned, bases)
        with fetcher.blob(planned.patch.blob, report, step=step).open("rb") as file, _opened(base) as source:
            head = patch.read_head(file)
            if (head.from_sha256, head.to_sha256) != (planned.patch.from_sha256, part.sha256):
                raise BaseError(f"the patch is not one from {planned.base} to this {part.name}")
            for chunk in patch.apply(head, file, source):
                sink.write(chunk)
    else:
        _fill_by_blocks(part, _base(planned, bases), sink, fetcher, report)
    sink.finish()


def _fill_by_blocks(part: Part, base: Base, sink: Sink, fetcher: Fetcher, report: Reporter) -> None:
    index, found = _survey(part, base, fetcher, report)
    packed = fetcher.ranges(part.pack, found.spans(index), report, step=f"download {part.name}")
    try:
        with packed.open("rb") as file, _opened(base) as source:
            _assemble(index, found, source, _Fetched(index, found, file).block, sink)
        sink.finish()
    except (FormatError, MismatchError):
        fetcher.forget(packed)  # nothing vouched for it
        raise


def _assemble(
    index: Index, found: Found, source: IO[bytes], fetched: Callable[[int], bytes], sink: Sink
) -> None:
    """Write all blocks in order; neighbours of the base in one read."""
    ids, size, at = index.ids, verity.BLOCK_BYTES, 0
    most = READ_BYTES // size
    while at < len(ids):
        block = found.block[ids[at]]
        run = 1
        if block < 0:
            data = fetched(ids[at])
        else:
            while run < most and at + run < len(ids) and found.block[ids[at + run]] == block + run:
                run += 1
            data = _pread(source, block * size, run * size)
        end = min((at + run) * size, index.size)
        sink.write(memoryview(data)[: end - at * size])
        at += run


class _Fetched:
    """Blocks out of the ranges that were fetched; keeps the frames of last use unpacked."""

    def __init__(self, index: Index, found: Found, file: IO[bytes]) -> None:
        self._frames = index.frames
        self._file = file
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._places: dict[int, tuple[int, int]] = {}
        self._offsets: dict[int, int] = {}
        at = 0
        for number in found.needed:
            frame = index.frames[number]
            self._offsets[number] = at
            at += frame.stored
            for place, one in enumerate(frame.ids):
                self._places[one] = (number, place * verity.BLOCK_BYTES)

    def block(self, one: int) -> bytes:
        number, at = self._places[one]
        data = self._kept.get(number)
        if data is None:
            frame = self._frames[number]
            self._file.seek(self._offsets[number])
            data = packing.unpack(self._file.read(frame.stored), len(frame.ids) * verity.BLOCK_BYTES)
            self._kept[number] = data
            if len(self._kept) > KEPT_FRAMES:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(number)
        return data[at : at + verity.BLOCK_BYTES]


def _survey(part: Part, base: Base, fetcher: Fetcher, report: Reporter) -> tuple[Index, Found]:
    """The index of a part, and what of it is here."""
    index = blocks.read(fetcher.blob(part.index, report, step=f"download {part.name} (index)").read_bytes())
    if index.size != part.size:
        raise FormatError(f"the index is of another {part.name}: {index.size} bytes, not {part.size}")
    found = blocks.locate(index, _digests(base, index))
    if part.index.size + found.pack_bytes(index) > part.full.size:
        raise BaseError(f"{base.version} has not the blocks that it had when this {part.name} was published")
    return index, found


def _digests(base: Base, index: Index) -> Iterable[bytes]:
    if base.verity is not None:
        try:
            return blocks.cut(verity.leaves(base.verity, salt=index.salt))
        except FormatError:
            pass  # another product's salt: its blocks are hashed instead
    return blocks.digests_of(base.path, base.size, index.salt)


def _base(planned: PartPlan, bases: Sequence[Base]) -> Base:
    for base in bases:
        if base.version == planned.base:
            return base
    raise BaseError(f"{planned.base}, which {planned.part} was to be made from, is not here")


def _read(base: Base) -> Iterator[bytes]:
    with _opened(base) as file:
        for at in range(0, base.size, READ_BYTES):
            yield _pread(file, at, min(READ_BYTES, base.size - at))


def _opened(base: Base) -> IO[bytes]:
    try:
        return base.path.open("rb", buffering=0)
    except OSError as error:
        raise BaseError(f"{base.version} cannot be read: {error.strerror}") from error


def _pread(file: IO[bytes], at: int, size: int) -> bytes:
    """`size` bytes, with zeros after the end: the last block of a file may be cut."""
    try:
        return os.pread(file.fileno(), size, at).ljust(size, b"\0")
    except OSError as error:
        raise BaseError(f"an older version cannot be read at {at}: {error.strerror}") from error
