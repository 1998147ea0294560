"""How updates are put together on a host: what they take for the machine that runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from skerry.entry.update import MADE, machine
from skerry.host.update.errors import DiskError
from skerry.image.compose import epoch

if TYPE_CHECKING:
    from pathlib import Path


def lay_out(root: Path, words: str) -> None:
    """Files with the times that image.compose gives them."""
    for name, text, when in (
        ("proc/cmdline", words, None),
        ("usr/lib/os-release", "ID=skerry\n", epoch.PRODUCT),
        (MADE, "", epoch.of("2026.11.0")),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
        if when is not None:
            os.utime(root / name, (when, when))


def test_a_machine_knows_the_age_of_its_image(tmp_path: Path) -> None:
    lay_out(tmp_path, "skerry.image=skerry_2026.11.0 skerry.verity=00,00,1 quiet\n")
    found = machine(tmp_path)
    assert (found.name, found.running) == ("skerry", "2026.11.0")
    assert found.built == epoch.of("2026.11.0")


def test_a_container_is_not_updated(tmp_path: Path) -> None:
    lay_out(tmp_path, "quiet\n")
    with pytest.raises(DiskError, match="was not booted from a slot"):
        machine(tmp_path)
