"""Results of steps: whole or not there, found again by what they were made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from skerry.image.compose.errors import NoSpaceError
from skerry.image.compose.workshop import Workshop, identity
from skerry.kit.progress import Phase, Progress, silent

if TYPE_CHECKING:
    from pathlib import Path


class BrokenError(Exception):
    """What a step raised."""


def one(directory: Path) -> None:
    (directory / "result").write_text("one")


def test_a_result_is_made_once(tmp_path: Path) -> None:
    seen: list[Progress] = []
    workshop = Workshop(tmp_path, seen.append)
    first = workshop.make("step", "abc", one)
    again = workshop.make("step", "abc", lambda _: pytest.fail("made twice"))
    assert first == again
    assert (again / "result").read_text() == "one"
    assert [event.phase for event in seen] == [Phase.STARTED, Phase.DONE, Phase.REUSED]


def test_another_input_is_another_result(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, silent)
    assert workshop.make("step", "a", lambda _: None) != workshop.make("step", "b", lambda _: None)


@pytest.mark.parametrize("interruption", [BrokenError, KeyboardInterrupt])
def test_an_interrupted_step_leaves_nothing(tmp_path: Path, interruption: type[BaseException]) -> None:
    def produce(directory: Path) -> None:
        (directory / "half").write_text("x")
        raise interruption

    with pytest.raises(interruption):
        Workshop(tmp_path, silent).make("step", "abc", produce)
    assert {path.name for path in tmp_path.rglob("*") if path.is_dir()} == {"steps", "partial"}


def test_what_a_killed_build_left_is_swept(tmp_path: Path) -> None:
    stale = tmp_path / "partial" / "step-abc.4194305"  # above the highest process id there can be
    stale.mkdir(parents=True)
    Workshop(tmp_path, silent)
    assert not stale.exists()


def test_what_a_living_build_makes_is_left_alone(tmp_path: Path) -> None:
    living = tmp_path / "partial" / "step-abc.1"
    living.mkdir(parents=True)
    Workshop(tmp_path, silent)
    assert living.exists()


def test_too_little_room_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NoSpaceError, match="the moon needs"):
        Workshop(tmp_path, silent).room(1 << 60, "the moon")


def test_identity_follows_content_names_and_links(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    seen = {identity("given", tmp_path)}
    (tmp_path / "a").write_text("y")
    seen.add(identity("given", tmp_path))
    (tmp_path / "a").chmod(0o755)
    seen.add(identity("given", tmp_path))
    (tmp_path / "a").rename(tmp_path / "b")
    seen.add(identity("given", tmp_path))
    (tmp_path / "c").symlink_to("b")
    seen.add(identity("given", tmp_path))
    seen.add(identity("other", tmp_path))
    assert len(seen) == 6


def test_identity_does_not_follow_times(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    before = identity(tmp_path)
    (tmp_path / "a").unlink()
    (tmp_path / "a").write_text("x")
    assert identity(tmp_path) == before
