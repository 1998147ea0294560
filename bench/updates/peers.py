"""Other ways from one file to the next, with the programs of Debian that do them; each result is compared.

A maker gets the old and the new file and a directory that is served; it publishes there, and returns what a
host then does. What was published is kept and used again, since some take minutes to make.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import zlib
from typing import TYPE_CHECKING

from updates.measure import Cost, cost, same

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from updates.served import Served

BLOCK_BYTES = 4096
SQUASHFS_BYTES = 128 * 1024
WINDOW = "--long=30"
OSTREE_TIME = "2026-11-01T00:00:00Z"


def publish(path: Path, argv: Sequence[str | Path]) -> None:
    """Make a file once; half of one never has its name. `argv` gets the name to write as its last."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"partial-{path.name}")
    subprocess.run([*map(str, argv), str(partial)], check=True, stdout=subprocess.DEVNULL)
    partial.rename(path)


def whole(old: Path, new: Path, directory: Path) -> Callable[[Served, Path], Cost]:
    """All of the new file, compressed as well as can be."""
    packed = directory / "whole.zst"
    publish(packed, ["zstd", "-q", "-19", "--long=27", "-T0", new, "-o"])

    def apply(served: Served, scratch: Path) -> Cost:
        used = cost(["zstd", "-q", "-d", "--long=27", packed, "-o", scratch / "new"])
        same(scratch / "new", new)
        return Cost(packed.stat().st_size) + used

    return apply


def zstd_patch(old: Path, new: Path, directory: Path) -> Callable[[Served, Path], Cost]:
    """The new file, with the old one as a dictionary."""
    packed = directory / "patch.zst"
    publish(packed, ["zstd", "-q", "-19", WINDOW, "-T0", f"--patch-from={old}", new, "-o"])

    def apply(served: Served, scratch: Path) -> Cost:
        used = cost(["zstd", "-q", "-d", WINDOW, f"--patch-from={old}", packed, "-o", scratch / "new"])
        same(scratch / "new", new)
        return Cost(packed.stat().st_size) + used

    return apply


def xdelta3(old: Path, new: Path, directory: Path) -> Callable[[Served, Path], Cost]:
    """VCDIFF with a window as large as the old file."""
    packed = directory / "patch.xdelta3"
    window = ["-B", str(max(1 << 20, old.stat().st_size))]
    publish(packed, ["xdelta3", "-q", "-e", "-9", "-S", "lzma", *window, "-s", old, new])

    def apply(served: Served, scratch: Path) -> Cost:
        used = cost(["xdelta3", "-q", "-d", *window, "-s", old, packed, scratch / "new"])
        same(scratch / "new", new)
        return Cost(packed.stat().st_size) + used

    return apply


def bsdiff(old: Path, new: Path, directory: Path) -> Callable[[Served, Path], Cost]:
    """Suffix sorting of the whole: 17 times the old file's size in memory to make."""
    packed = directory / "patch.bsdiff"
    publish(packed, ["bsdiff", old, new])

    def apply(served: Served, scratch: Path) -> Cost:
        used = cost(["bspatch", old, scratch / "new", packed])
        same(scratch / "new", new)
        return Cost(packed.stat().st_size) + used

    return apply


def casync(old: Path, new: Path, directory: Path) -> Callable[[Served, Path], Cost]:
    """Chunks cut by content, those of the old file taken from it; chunks in a store behind HTTP."""
    index = directory / "new.caibx"
    if not index.exists():
        # casync tells formats by the ends of names.
        part = directory / "partial.caibx"
        subprocess.run(["casync", "make", f"--store={directory / 'new.castr'}", part, new],
                       check=True, stdout=subprocess.DEVNULL)  # fmt: skip
        part.rename(index)

    def apply(served: Served, scratch: Path) -> Cost:
        served.reset()
        base = f"{served.url}/{directory.name}"
        used = cost(["casync", "extract", f"--store={base}/new.castr", f"--seed={old}",
                     f"{base}/new.caibx", scratch / "new"])  # fmt: skip
        same(scratch / "new", new)
        return Cost(served.bytes) + used

    return apply


def zchunk(old: Path, new: Path, directory: Path) -> Callable[[Served, Path], Cost]:
    """Chunks cut by content in one file, fetched by ranges; the host keeps the old file as zchunk, too."""
    for name, file in (("old", old), ("new", new)):
        publish(directory / f"{name}.zck", ["zck", file, "-o"])

    def apply(served: Served, scratch: Path) -> Cost:
        served.reset()
        url = f"{served.url}/{directory.name}/new.zck"
        used = cost(["zckdl", "-q", "-s", directory / "old.zck", url], cwd=scratch)
        used += cost(["unzck", "new.zck"], cwd=scratch)
        same(scratch / "new", new)
        return Cost(served.bytes) + used

    return apply


def rauc_index(old: Path, new: Path, directory: Path) -> Callable[[Served, Path], Cost]:
    """RAUC's block-hash-index, reckoned: it needs nbd, device mapper and a service, so it is not run.

    The host fetches an index of SHA-256 of each 4 KiB block, and every squashfs block (128 KiB, gzip, as
    `rauc bundle` makes it by itself) that has a block which the old file lacks. CPU and memory are unknown.
    """

    def apply(served: Served, scratch: Path) -> Cost:
        have = set(blocks(old, BLOCK_BYTES))
        fetched = 32 * -(-new.stat().st_size // BLOCK_BYTES)
        for piece in blocks(new, SQUASHFS_BYTES):
            if any(piece[at : at + BLOCK_BYTES] not in have for at in range(0, len(piece), BLOCK_BYTES)):
                fetched += min(len(piece), len(zlib.compress(piece, 9)))
        return Cost(fetched)

    return apply


def blocks(path: Path, size: int) -> list[bytes]:
    data = path.read_bytes()
    return [data[at : at + size] for at in range(0, len(data), size)]


def ostree(old: Path, new: Path, directory: Path) -> Callable[[Served, Path], Cost]:
    """A static delta between commits of two trees (tars), as one file, applied where the old one is.

    Not pulled: over a fast network `ostree pull` asks for objects while it still makes them out of the delta,
    and so fetched seven times as much here.
    """
    repository, delta = directory / "repository", directory / "delta"

    def run(where: Path, *argv: str | Path) -> str:
        line = ["ostree", f"--repo={where}", *map(str, argv)]
        done = subprocess.run(line, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(tree: Path) -> str:
        return run(repository, "commit", "--branch=os", f"--tree=tar={tree}", f"--timestamp={OSTREE_TIME}")

    if not delta.exists():
        shutil.rmtree(repository, ignore_errors=True)
        repository.mkdir(parents=True)
        run(repository, "init", "--mode=archive")
        before, after = commit(old), commit(new)
        run(repository, "static-delta", "generate", f"--from={before}", f"--to={after}", "--inline",
            "--min-fallback-size=0", f"--filename={delta}")  # fmt: skip

    def apply(served: Served, scratch: Path) -> Cost:
        after = run(repository, "rev-parse", "os")
        before = run(repository, "rev-parse", "os^")
        run(scratch, "init", "--mode=bare" if os.getuid() == 0 else "--mode=bare-user")
        run(scratch, "pull-local", repository, before)
        used = cost(["ostree", f"--repo={scratch}", "static-delta", "apply-offline", delta])
        run(scratch, "fsck", "-q")
        run(scratch, "ls", after)
        return Cost(delta.stat().st_size) + used

    return apply
