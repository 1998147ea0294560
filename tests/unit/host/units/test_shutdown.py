"""Telling a shutdown of the machine from the stop of one service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from skerry.host.units.shutdown import machine_stops

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("script", "stops"),
    [
        ("echo stopping; exit 1", True),
        ("echo running", False),
        ("echo degraded; exit 1", False),
        ("echo offline; exit 1", False),
    ],
)
def test_what_systemd_says_counts(script: str, stops: bool, tmp_path: Path) -> None:
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    assert machine_stops(str(program)) is stops


def test_where_nobody_can_tell_it_goes_on() -> None:
    assert machine_stops("/nonexistent/systemctl") is False


def test_an_answer_that_was_cut_short_is_asked_for_again(tmp_path: Path) -> None:
    program = tmp_path / "systemctl"
    program.write_text(
        f"#!/bin/sh\nif [ -e {tmp_path}/was ]; then echo stopping; exit 1; fi\n"
        f"touch {tmp_path}/was\nkill -TERM $$\n"
    )
    program.chmod(0o755)
    assert machine_stops(str(program))
