"""What the suites of this folder begin with: a fresh store of each driver, a repository under attack."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fakes.attacked import Scene
from fakes.clock import FakeClock, WallClock
from fakes.stores import Driver, opened

if TYPE_CHECKING:
    from pathlib import Path

    from fakes.stores import Play, Story


@pytest.fixture(params=list(Driver))
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Run a story on a fresh store; return what the story returns."""

    def run(story: Story, *, keep: int = 10_000) -> object:
        async def whole() -> object:
            clock = WallClock() if request.param is Driver.ETCD else FakeClock()
            async with opened(request.param, tmp_path, clock, keep=keep) as store:
                return await story(store, clock)

        return asyncio.run(whole())

    return run


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)
