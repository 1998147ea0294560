"""Settings of updates: three places, one on the other, problems on their lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from skerry.host.update.reboot import plan
from skerry.host.update.settings import DEFAULTS, OWN, Strategy, UpdateSettings, read_settings
from skerry.kit.errors import ProblemsError

if TYPE_CHECKING:
    from pathlib import Path


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_defaults_are_harmless(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == UpdateSettings()
    assert UpdateSettings().strategy is Strategy.MANUAL


def test_a_later_file_overrides_single_keys(tmp_path: Path) -> None:
    put(tmp_path, DEFAULTS, 'repository = "https://a.example/skerry/"\nchannel = "stable"\n')
    put(tmp_path, OWN, 'channel = "beta"\n[window]\nstart = "01:00"\nlength = "1h"\n')
    put(tmp_path, "etc/skerry/update.toml.d/10-x.toml", 'strategy = "window"\n[window]\nlength = "3h"\n')
    found = read_settings(tmp_path)
    assert (found.repository, found.channel) == ("https://a.example/skerry", "beta")
    assert found.strategy is Strategy.WINDOW
    assert (found.window.start, found.window.length) == ("01:00", "3h")


def test_every_problem_is_shown_on_its_line(tmp_path: Path) -> None:
    text = """channel = "No Channel"
repository = "ftp://x"
strategy = "sometimes"
etc_conflicts = "yours"
extensions = ["Tools!"]
tries = 0
colour = "red"

[window]
days = ["sat", "someday"]
start = "25:00"
length = "1y"
zone = "Mars"
speed = 3
"""
    put(tmp_path, OWN, text)
    with pytest.raises(ProblemsError) as refused:
        read_settings(tmp_path)
    assert [problem.line for problem in refused.value.problems] == [1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14]


@pytest.mark.parametrize(
    "text",
    ["channel = 3", "window = 3", 'extensions = "tools"', "tries = true", '[window]\ndays = "sat"', "= 3"],
)
def test_wrong_types_are_problems(tmp_path: Path, text: str) -> None:
    put(tmp_path, OWN, text)
    with pytest.raises(ProblemsError):
        read_settings(tmp_path)


def test_a_person_who_asks_needs_no_strategy() -> None:
    assert plan(UpdateSettings(), 5, asked=True).now
    assert not plan(UpdateSettings(), 5, asked=False).now
