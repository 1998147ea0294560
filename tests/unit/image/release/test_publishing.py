"""What is published is what a client finds; and what publishing refuses, with the repository as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fakes.clock import FakeClock
from fakes.releases import Releases

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    return Releases(tmp_path, FakeClock())


def test_a_client_finds_what_was_published(releases: Releases) -> None:
    releases.publish("2026.10.0")
    client = releases.client()
    client.refresh()
    assert [one.version for one in client.channel("stable").releases] == ["2026.10.0"]
    assert client.manifest("stable", "2026.10.0").part("root").size == len(b"root of 2026.10.0")
