"""Step `kernel`: the kernel in the form that the UKI carries, see kernel.py.

vmlinuz         what it unpacks stored raw; or the package's own, byte for byte
result.json     {"raw": bool, "why": null or why it could not be raw}
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skerry.image.compose import kernel
from skerry.image.compose.sandbox import Bind
from skerry.image.compose.workshop import identity

if TYPE_CHECKING:
    from skerry.image.compose.sandbox import Sandbox
    from skerry.image.compose.workshop import Workshop


class Result(msgspec.Struct, frozen=True):
    """What became of a kernel."""

    raw: bool
    why: str | None


def make(workshop: Workshop, sandbox: Sandbox, initrd: Path) -> Path:
    """The directory with the kernel, from the result of step `initrd`."""
    given = identity(Path(__file__), Path(kernel.__file__), initrd.name, sandbox.tools.parent.name)

    def produce(directory: Path) -> str:
        packaged = initrd / "vmlinuz"

        def unpack(frame: bytes) -> bytes:
            # Through files: a program's answer is kept in memory as text and as bytes.
            (directory / "frame").write_bytes(frame)
            binds = [Bind(directory, "/out", writable=True)]
            argv = ["zstd", "-d", "-q", "--rm", "--memory=256MB", "/out/frame", "-o", "/out/vmlinux"]
            sandbox.run(argv, binds=binds)
            unpacked = (directory / "vmlinux").read_bytes()
            (directory / "vmlinux").unlink()
            return unpacked

        try:
            (directory / "vmlinuz").write_bytes(kernel.remade(packaged.read_bytes(), unpack))
            result = Result(raw=True, why=None)
        except kernel.UnknownKernelError as error:
            shutil.copyfile(packaged, directory / "vmlinuz")
            result = Result(raw=False, why=error.message)
        (directory / "result.json").write_bytes(msgspec.json.encode(result) + b"\n")
        size = (directory / "vmlinuz").stat().st_size / (1 << 20)
        if result.why:
            return f"{size:.1f} MiB as packaged, so updates of it will be large: {result.why}"
        return f"{size:.1f} MiB, unpacked"

    return workshop.make("kernel", given, produce)
