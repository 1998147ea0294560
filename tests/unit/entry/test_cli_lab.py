"""`skerry lab` says what there is, and what to do where there is nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from skerry.entry.cli.main import cli, run
from skerry_lab.state import create

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def labs_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SKERRY_LAB", str(tmp_path / "labs"))
    monkeypatch.setenv("SKERRY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "labs"


def skerry(*words: str) -> int:
    return run(cli, ["lab", *words], name="skerry")


def test_without_labs_the_list_is_empty(labs_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert skerry("list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("verb", ["ssh", "console", "logs"])
def test_a_node_that_is_not_there_is_told(
    labs_directory: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    assert skerry(verb, "nobody") == 1
    assert "no lab has a node nobody" in capsys.readouterr().err


def test_a_lab_that_is_not_there_cannot_go_down(
    labs_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert skerry("down") == 1
    assert "there is no lab lab" in capsys.readouterr().err


def test_down_all_removes_every_lab(labs_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        create(labs_directory / name, name)
    assert skerry("down", "--all", "--json") == 0
    assert json.loads(capsys.readouterr().out) == ["one", "two"]
    assert list(labs_directory.iterdir()) == []


def test_a_kind_that_is_not_there_is_misuse(labs_directory: Path) -> None:
    assert skerry("up", "--kind", "bochs") == 2
