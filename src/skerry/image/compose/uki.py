"""Step `uki`: kernel, initrd and command line as one EFI program, which seals the root hash.

skerry.efi    a unified kernel image: https://uapi-group.org/specifications/specs/unified_kernel_image/
boot.efi      systemd-boot, as packaged
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.image.compose.errors import BudgetError
from skerry.image.compose.root import read_seal
from skerry.image.compose.sandbox import Bind
from skerry.image.compose.tree import os_release
from skerry.image.compose.workshop import identity

if TYPE_CHECKING:
    from skerry.image.compose.recipe import Recipe
    from skerry.image.compose.sandbox import Sandbox
    from skerry.image.compose.workshop import Workshop

EFI = "/usr/lib/systemd/boot/efi"
# The running version's, the other slot's, and one being written; and room for later ones to be larger.
UKIS = 3
ESP_ROOM = 0.2


def command_line(recipe: Recipe, root: Path) -> str:
    """What the kernel is told: the recipe's words, and which root to trust (see os/initrd/init)."""
    seal = read_seal(root)
    words = [
        f"skerry.image={label(recipe)}",
        f"skerry.verity={seal.root_hash},{seal.salt},{seal.blocks}",
        *recipe.command_line,
    ]
    return " ".join(words)


def label(recipe: Recipe) -> str:
    """The name of the partition that holds this version's root."""
    return f"{recipe.name}_{recipe.version}"


def make(
    workshop: Workshop, sandbox: Sandbox, kernel: Path, initrd: Path, root: Path, recipe: Recipe
) -> Path:
    """The directory with the EFI programs."""
    line = command_line(recipe, root)
    given = identity(
        Path(__file__), kernel.name, initrd.name, sandbox.tools.parent.name, line, os_release(recipe)
    )

    def produce(directory: Path) -> str:
        with tempfile.TemporaryDirectory(prefix="skerry-uki-") as name:
            release = Path(name, "os-release")
            release.write_text("".join(f"{entry}\n" for entry in os_release(recipe)))
            binds = [
                Bind(kernel, "/in/kernel"),
                Bind(initrd, "/in/initrd"),
                Bind(release, "/in/os-release"),
                Bind(directory, "/out", writable=True),
            ]
            sandbox.run(
                ["ukify", "build", "--linux=/in/kernel/vmlinuz", "--initrd=/in/initrd/initrd.cpio",
                 f"--cmdline={line}", "--os-release=@/in/os-release", f"--stub={EFI}/linuxx64.efi.stub",
                 "--output=/out/skerry.efi"],
                binds=binds,
            )  # fmt: skip
            sandbox.run(["cp", f"{EFI}/systemd-bootx64.efi", "/out/boot.efi"], binds=binds)
        return f"{_mib(directory):.1f} MiB"

    made = workshop.make("uki", given, produce)
    within_budget(recipe, _mib(made))
    return made


def within_budget(recipe: Recipe, size_mib: float) -> None:
    """Raise BudgetError where a UKI is too large for the recipe, or for the ESP of its hosts."""
    if size_mib > recipe.uki_budget_mib:
        raise BudgetError(
            f"the UKI is {size_mib:.1f} MiB and the recipe allows {recipe.uki_budget_mib} MiB",
            hint="remove modules or programs from the initrd, or raise budget.uki_mib in the recipe",
        )
    if size_mib * UKIS > recipe.disk.esp_mib * (1 - ESP_ROOM):
        raise BudgetError(
            f"the UKI is {size_mib:.1f} MiB: with {UKIS} of them less than {ESP_ROOM:.0%} of the "
            f"{recipe.disk.esp_mib} MiB ESP would be free",
            hint="the ESP never grows on a host: make the initrd smaller, or disk.esp_mib larger before the "
            "first release",
        )


def _mib(directory: Path) -> float:
    return (directory / "skerry.efi").stat().st_size / (1 << 20)
