"""Tests that are told as coroutines about a world of their own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

W = TypeVar("W")


def stories(begin: Callable[[Path], W]) -> Callable[[Callable[[W], Awaitable[None]]], Callable[[Path], None]]:
    """A decorator that makes a test of what is told; `begin` makes its world in a directory of its own."""

    def story(tell: Callable[[W], Awaitable[None]]) -> Callable[[Path], None]:
        async def told(directory: Path) -> None:
            await tell(begin(directory))

        def test(tmp_path: Path) -> None:
            asyncio.run(told(tmp_path))

        test.__doc__ = tell.__doc__
        test.__name__ = tell.__name__
        return test

    return story
