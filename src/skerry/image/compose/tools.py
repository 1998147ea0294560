"""Step `tools`: a small Debian tree with the tools that must be newer than the build machine's.

The same suite as the image's, so that any Debian or Ubuntu builds the same image. It is used read-only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from skerry.image.compose import mmdebstrap
from skerry.image.compose.sandbox import MOUNT_POINTS, Sandbox
from skerry.image.compose.workshop import identity
from skerry.kit.run import run

if TYPE_CHECKING:
    from skerry.image.compose.mirror import Mirror
    from skerry.image.compose.workshop import Workshop

PACKAGES = (
    "busybox-static",
    "cryptsetup-bin",
    "dosfstools",
    "e2fsprogs",
    "erofs-utils",
    "fdisk",
    "kmod",
    "mtools",
    "libpython3-stdlib",
    "python3-minimal",
    "qemu-utils",
    "systemd",
    "systemd-boot-efi",
    "systemd-ukify",
    "zstd",
)


def make(workshop: Workshop, mirror: Mirror, suite: str) -> Sandbox:
    """The tools tree, made once and kept."""
    given = identity(Path(__file__), PACKAGES, suite, mirror.archive)

    def produce(directory: Path) -> None:
        workshop.room(700 << 20, "the tools tree")
        archive = directory / "tools.tar"
        mmdebstrap.bootstrap(
            archive, suite, mirror, PACKAGES, variant="minbase", step="tools", report=workshop.report
        )
        tree = directory / "tree"
        tree.mkdir()
        # Owners do not matter for what is only run; devices are given by the sandbox.
        run(["tar", "-x", "-f", str(archive), "-C", str(tree), "--no-same-owner", "--exclude=./dev/*"])
        archive.unlink()
        for name in MOUNT_POINTS:
            (tree / name).mkdir()

    return Sandbox(workshop.make("tools", given, produce) / "tree")
