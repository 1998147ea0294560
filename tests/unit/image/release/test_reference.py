"""docs/reference/release.md has every verb and every field of the documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from skerry.entry.cli.release import release
from skerry.image.release.channel import Channel, ReleaseEntry
from skerry.image.release.manifest import Blob, Disk, Manifest, Package, Part, Patch, Verity
from skerry.image.release.roles import VALID_FIELD, VALID_S
from skerry.image.release.rollout import Rollout, Wave

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "reference" / "release.md").read_text()
WORDS = {
    word
    for span in re.findall(r"```.*?```|`[^`]+`", PAGE, re.DOTALL)
    for word in re.findall(r"[\w.-]+", span)
}


def test_every_verb() -> None:
    assert set(release.commands) - WORDS == set()


@pytest.mark.parametrize(
    "kind", [Channel, ReleaseEntry, Rollout, Wave, Manifest, Part, Patch, Verity, Blob, Package, Disk]
)
def test_every_field(kind: type) -> None:
    assert set(kind.__struct_fields__) - WORDS == set()  # type: ignore[attr-defined]


def test_every_time() -> None:
    assert VALID_FIELD in WORDS
    assert set(re.findall(r"(\d+) d \|$", PAGE, re.MULTILINE)) == {
        str(seconds // 86400) for seconds in VALID_S.values()
    }
