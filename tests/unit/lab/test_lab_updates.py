"""Waiting for a version to be kept ends, one way or the other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from skerry_lab import updates
from skerry_lab.errors import NotReadyError
from skerry_lab.node import Completed, Node

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Telling(Node):
    """A machine whose update is at some step."""

    kind = "telling"

    def __init__(self, directory: Path, step: str) -> None:
        super().__init__("one", directory)
        self.step = step

    def start(self) -> None:
        raise NotImplementedError

    def running(self) -> bool:
        return True

    def try_run(self, argv: Sequence[str], *, timeout_s: float = 60, stdin: bytes | None = None) -> Completed:
        told = {"step": self.step, "target": "2026.11.0", "reason": "panic", "slots": [], "refused": {}}
        return Completed(tuple(argv), 0, json.dumps({"update": told}).encode(), b"")

    def command(self, argv: Sequence[str] = (), *, terminal: bool = False) -> list[str]:
        raise NotImplementedError

    def forward(self, port: int) -> tuple[str, int]:
        raise NotImplementedError

    @property
    def address(self) -> str:
        raise NotImplementedError

    def set_network(self, *, up: bool) -> None:
        raise NotImplementedError

    def kill_power(self) -> None:
        raise NotImplementedError

    def stop(self, *, timeout_s: float = 60) -> None:
        raise NotImplementedError


def test_a_blessed_version_is_waited_for_no_longer(tmp_path: Path) -> None:
    updates.wait_blessed(Telling(tmp_path, "blessed"))


@pytest.mark.parametrize("step", ["rolled-back", "refused"])
def test_a_version_that_is_given_up_is_told_at_once(tmp_path: Path, step: str) -> None:
    with pytest.raises(NotReadyError, match=rf"one does not keep 2026\.11\.0: {step}, panic"):
        updates.wait_blessed(Telling(tmp_path, step))


def test_a_version_that_stays_on_trial_is_told_with_its_step(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match=r"did not bless its version within 0 s; the update is trying"):
        updates.wait_blessed(Telling(tmp_path, "trying"), timeout_s=0)
