"""Which accelerator QEMU can truly use here: found by starting firmware with it, once per boot.

/dev/kvm may be there and guests still hang on it, so its presence says nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from skerry.kit.files import write_atomic
from skerry.kit.paths import cache_dir
from skerry_lab.errors import LabError
from skerry_lab.process import boot_id, spawn

PROGRAM = "qemu-system-x86_64"
TRIAL_S = 8.0
FIRMWARE_SAYS = b"BdsDxe"  # what EDK II prints on the serial port once it looks for something to boot
FIRMWARE = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
)


@dataclass(frozen=True, slots=True)
class Accelerator:
    """QEMU's arguments. `cpu` under TCG is never "max", with which guests' kernels panic on QEMU 7.2."""

    name: str
    cpu: str

    @property
    def arguments(self) -> list[str]:
        return ["-accel", self.name, "-cpu", self.cpu]


KVM = Accelerator("kvm", "host")
TCG = Accelerator("tcg,thread=multi", "Nehalem")


def firmware() -> tuple[Path, Path]:
    """UEFI's code and a pristine copy of its variables. Raises LabError where there is none."""
    for code, variables in FIRMWARE:
        if Path(code).exists() and Path(variables).exists():
            return Path(code), Path(variables)
    raise LabError("UEFI firmware for QEMU is not installed", hint="run: sudo apt-get install ovmf")


def choose() -> Accelerator:
    """KVM where a guest runs on it, else TCG; remembered until this machine boots again."""
    if shutil.which(PROGRAM) is None:
        raise LabError(f"{PROGRAM} is not installed", hint="run: sudo apt-get install qemu-system-x86")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return TCG
    known = cache_dir() / "lab" / "accelerator"
    with contextlib.suppress(OSError, ValueError):
        boot, works = known.read_text().split()
        if boot == boot_id():
            return KVM if works == "kvm" else TCG
    works = "kvm" if _boots() else "tcg"
    known.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(known, f"{boot_id()} {works}\n")
    return KVM if works == "kvm" else TCG


def _boots() -> bool:
    """Whether firmware comes to life on KVM within a few seconds."""
    with tempfile.TemporaryDirectory(prefix="skerry-kvm-") as scratch:
        serial = Path(scratch) / "serial"
        argv = [PROGRAM, "-M", "q35", *KVM.arguments, "-m", "256", "-nodefaults", "-display", "none"]
        argv += [
            "-drive",
            f"if=pflash,format=raw,readonly=on,file={firmware()[0]}",
            "-serial",
            f"file:{serial}",
        ]
        process = spawn(argv, log=Path(scratch) / "log", mark="trial")
        try:
            deadline = time.monotonic() + TRIAL_S
            while time.monotonic() < deadline and process.alive():
                if serial.exists() and FIRMWARE_SAYS in serial.read_bytes():
                    return True
                time.sleep(0.1)
            return False
        finally:
            process.kill()
