"""The smallest recipe that is one, for tests that change a line of it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from skerry.image.compose.recipe import Recipe, parse

if TYPE_CHECKING:
    from pathlib import Path

SMALL = textwrap.dedent(
    """\
    format = 1
    name = "small"
    version = "2026.11.0"
    suite = "trixie"
    architecture = "amd64"

    [packages]
    install = [
        "podman",
        "crun",
    ]

    [kernel]
    package = "linux-image-amd64"
    modules = ["ext4"]

    [initrd]
    needed = ["erofs"]
    modules = ["virtio_blk"]
    programs = ["usr/bin/busybox"]

    [tree]
    files = []
    remove = ["usr/share/doc"]

    [presets]
    enable = ["ssh.service"]

    [disk]
    esp_mib = 64
    slot_mib = 128
    verity_mib = 4
    data_mib = 144

    [budget]
    root_mib = 100
    uki_mib = 50
    """
)


def small(directory: Path, *changes: tuple[str, str]) -> Recipe:
    """The recipe with some of its text changed, as if it lay in `directory`."""
    return parse(changed(*changes), directory / "small.toml")


def changed(*changes: tuple[str, str]) -> str:
    text = SMALL
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text
