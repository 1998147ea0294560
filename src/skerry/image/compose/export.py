"""An image as a file to take away: a raw disk, a qcow2 disk, either also compressed for a download.

Made under a temporary name beside the target, renamed when it is whole.
"""

from __future__ import annotations

import enum
import os
import shutil
from typing import TYPE_CHECKING

from skerry.image.compose.build import Image, Store, tools_of
from skerry.image.compose.errors import ComposeError, NoSpaceError
from skerry.image.compose.sandbox import Bind, Sandbox
from skerry.kit.files import sync_directory
from skerry.kit.progress import Phase, Progress, Reporter, silent

if TYPE_CHECKING:
    from pathlib import Path


class DiskFormat(enum.StrEnum):
    RAW = "raw"
    QCOW2 = "qcow2"


def export(
    image: Image,
    target: Path,
    disk_format: DiskFormat,
    *,
    compress: bool = False,
    store: Store | None = None,
    report: Reporter = silent,
) -> int:
    """Write the disk to `target` and return its size in bytes. `compress`: zstd, or within qcow2.

    Raises ComposeError where the target exists or the image's tools are gone, NoSpaceError.
    """
    store = store or Store()
    source = store.path(image.label, "disk.raw")
    if target.exists():
        raise ComposeError(f"{target} exists already", hint="remove it first, or choose another name")
    if not target.parent.is_dir():
        raise ComposeError(f"there is no directory {target.parent}")
    used = source.stat().st_blocks * 512
    free = shutil.disk_usage(target.parent).free
    if free < used:
        raise NoSpaceError(f"{target} needs up to {used >> 20} MiB and its disk has {free >> 20} MiB free")
    tools = tools_of(image, store.cache)
    if not tools.is_dir():
        raise ComposeError("the tools that built this image are gone", hint="run `skerry image build` again")
    report(Progress("export", Phase.STARTED, note=f"{disk_format} to {target}"))
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    binds = [Bind(source, "/in/disk.raw"), Bind(partial, "/out", writable=True)]
    partial.mkdir()
    try:
        made = _convert(Sandbox(tools), binds, disk_format, compress=compress)
        (partial / made).rename(target)
        sync_directory(target.parent)
    finally:
        shutil.rmtree(partial)
    size = target.stat().st_size
    report(Progress("export", Phase.DONE, size, size, note=str(target)))
    return size


def _convert(sandbox: Sandbox, binds: list[Bind], disk_format: DiskFormat, *, compress: bool) -> str:
    if disk_format is DiskFormat.QCOW2:
        packed = ["-c", "-o", "compression_type=zstd"] if compress else []
        argv = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *packed, "/in/disk.raw", "/out/disk"]
    elif compress:
        argv = ["zstd", "-T0", "-12", "--long=27", "-q", "--no-progress", "/in/disk.raw", "-o", "/out/disk"]
    else:
        argv = ["cp", "--sparse=always", "/in/disk.raw", "/out/disk"]
    sandbox.run(argv, binds=binds, timeout_s=1800)
    return "disk"
