"""The daemon's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from skerry.entry.daemon.settings import LogLevel, Settings, read_settings
from skerry.kit.errors import ProblemsError

if TYPE_CHECKING:
    from pathlib import Path


def test_without_files_the_defaults_hold(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == Settings()


def test_drop_ins_override_single_keys(tmp_path: Path) -> None:
    (tmp_path / "skerryd.toml").write_text('log_level = "debug"\n[metadata]\na = "1"\nb = "1"\n')
    (tmp_path / "skerryd.toml.d").mkdir()
    (tmp_path / "skerryd.toml.d/20.toml").write_text('[metadata]\nb = "3"\n')
    (tmp_path / "skerryd.toml.d/10.toml").write_text('token_limit = 5\n[metadata]\nb = "2"\n')
    assert read_settings(tmp_path) == Settings(LogLevel.DEBUG, 5, {"a": "1", "b": "3"})


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('\nlog_levle = "info"\n', 2, "unknown key 'log_levle'"),
        ('log_level = "loud"\n', 1, "log_level is one of debug, info, warning, error"),
        ("token_limit = 0\n", 1, "a number from 1 to 65535"),
        ("token_limit = true\n", 1, "a number from 1 to 65535"),
        ("metadata = 5\n", 1, "metadata is a table"),
        ('[metadata]\n"a b" = "1"\n', 1, "may have letters, digits"),
        ("[metadata]\na = 1\n", 1, "must be a text"),
        ("log_level = \n", 1, "Invalid value"),
    ],
)
def test_what_cannot_be_is_refused_on_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    (tmp_path / "skerryd.toml").write_text(text)
    with pytest.raises(ProblemsError) as caught:
        read_settings(tmp_path)
    problem = caught.value.problems[0]
    assert (problem.line, message in problem.message) == (line, True)


def test_every_file_is_looked_at_before_anything_is_said(tmp_path: Path) -> None:
    (tmp_path / "skerryd.toml").write_text("a = 1\nb = 2\n")
    (tmp_path / "skerryd.toml.d").mkdir()
    (tmp_path / "skerryd.toml.d/x.toml").write_text("= 1\n")
    with pytest.raises(ProblemsError, match="3 problems"):
        read_settings(tmp_path)
