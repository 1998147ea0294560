"""The kernel in the UKI unpacks to what Debian's unpacks to, by zstd itself; an unknown one stays so."""

from __future__ import annotations

import json
import struct
import subprocess
from typing import TYPE_CHECKING

from fakes.kernels import loaded, packaged
from skerry.image.compose import stored
from skerry.image.compose.workshop import Workshop
from skerry.kit.progress import silent

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.image.compose.build import Image, Store
    from skerry.image.compose.sandbox import Sandbox


def unpacked(kernel: bytes) -> bytes:
    """What the frame that the boot protocol tells of unpacks to."""
    offset, length = struct.unpack_from("<II", kernel, 0x248)
    at = (kernel[0x1F1] + 1) * 512 + offset
    frame = loaded(kernel)[at : at + length - 4]
    return subprocess.run(["zstd", "-d", "--long=27"], input=frame, capture_output=True, check=True).stdout


def test_the_kernel_is_debian_s(image: Image, store: Store) -> None:
    steps = store.cache / "steps"
    made = (steps / f"kernel-{image.steps['kernel']}" / "vmlinuz").read_bytes()
    debian = (steps / f"initrd-{image.steps['initrd']}" / "vmlinuz").read_bytes()
    assert json.loads((steps / f"kernel-{image.steps['kernel']}" / "result.json").read_text()) == {
        "raw": True, "why": None,
    }  # fmt: skip
    assert unpacked(made) == unpacked(debian)


def test_a_kernel_that_is_not_known_is_used_as_packaged(tmp_path: Path, sandbox: Sandbox) -> None:
    initrd = tmp_path / "initrd-0"
    initrd.mkdir()
    (initrd / "vmlinuz").write_bytes(packaged(references=0))
    notes: list[str] = []
    workshop = Workshop(tmp_path / "cache", lambda progress: notes.append(progress.note))
    made = stored.make(workshop, sandbox, initrd)
    assert (made / "vmlinuz").read_bytes() == packaged(references=0)
    assert json.loads((made / "result.json").read_text())["raw"] is False
    assert "as packaged, so updates of it will be large: " in notes[-1]


def test_a_known_kernel_is_made_anew(tmp_path: Path, sandbox: Sandbox) -> None:
    initrd = tmp_path / "initrd-0"
    initrd.mkdir()
    (initrd / "vmlinuz").write_bytes(packaged())
    made = stored.make(Workshop(tmp_path / "cache", silent), sandbox, initrd)
    assert sorted(path.name for path in made.iterdir()) == ["result.json", "vmlinuz"]
    assert b".vmlinux" in (made / "vmlinuz").read_bytes()[:0x200]
