"""A machine's own checks, with real programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fakes.health_machine import FakeMachine, FakeTimes
from skerry.host.health.check import Result, Status, Weight, settle
from skerry.host.health.scripts import KEPT_BYTES, find

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def fake(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


def results(fake: FakeMachine, timeout_s: float = 20) -> list[Result]:
    made = tuple(find(fake.root, {"SKERRY_HEALTH": "trial", "SKERRY_VERSION": "2"}, timeout_s=timeout_s))
    return list(settle(made, FakeTimes()))


def test_they_run_in_order_the_required_first(fake: FakeMachine) -> None:
    fake.script("wanted.d/10-a", "exit 0")
    fake.script("required.d/20-b", "exit 0")
    fake.script("required.d/10-c", "exit 0")
    assert [(found.name, found.weight) for found in results(fake)] == [
        ("required.d/10-c", Weight.REQUIRED),
        ("required.d/20-b", Weight.REQUIRED),
        ("wanted.d/10-a", Weight.WANTED),
    ]


def test_what_one_writes_is_kept_and_its_last_line_is_the_reason(fake: FakeMachine) -> None:
    fake.script("required.d/db", "echo looking; echo 'no answer from the database' >&2; exit 3")
    (found,) = results(fake)
    assert (found.status, found.said) == (Status.FAILED, "ended with 3: no answer from the database")
    assert found.output == "looking\nno answer from the database\n"


def test_of_much_output_the_end_is_kept(fake: FakeMachine) -> None:
    fake.script("required.d/loud", "seq 1 100000; exit 1")
    (found,) = results(fake)
    assert len(found.output) == KEPT_BYTES
    assert found.said == "ended with 1: 100000"


def test_one_that_hangs_is_ended_with_its_children_and_not_tried_again(fake: FakeMachine) -> None:
    mark = fake.root / "child"
    fake.script("required.d/hangs", f"echo waiting; (sleep 2; touch {mark}) & sleep 60")
    (found,) = results(fake, timeout_s=0.5)
    assert (found.said, found.output) == ("did not end within 0.5 s", "waiting\n")
    assert not mark.exists()


def test_it_is_told_what_for(fake: FakeMachine) -> None:
    fake.script("wanted.d/says", 'echo "$SKERRY_HEALTH of $SKERRY_VERSION"')
    assert results(fake)[0].output == "trial of 2\n"


def test_one_of_the_image_is_hidden_by_etc(fake: FakeMachine) -> None:
    directory = fake.root / "usr/lib/skerry/health.d/required.d"
    for name in ("kept", "changed", "off"):
        fake.write(f"usr/lib/skerry/health.d/required.d/{name}", "#!/bin/sh\nexit 1\n").chmod(0o755)
    fake.script("required.d/changed", "exit 0")
    (fake.root / "etc/skerry/health.d/required.d/off").symlink_to("/dev/null")
    found = {one.name: one.failed for one in results(fake)}
    assert found == {"required.d/changed": False, "required.d/kept": True}
    assert directory.is_dir()


def test_a_forgotten_chmod_is_said_and_forces_nothing(fake: FakeMachine) -> None:
    fake.write("etc/skerry/health.d/required.d/new", "#!/bin/sh\n")
    (found,) = results(fake)
    assert (found.weight, found.failed, "is not executable" in found.said) == (Weight.WANTED, True, True)


def test_a_script_without_an_interpreter(fake: FakeMachine) -> None:
    fake.write("etc/skerry/health.d/required.d/odd", "#!/no/such/thing\n").chmod(0o755)
    (found,) = results(fake)
    assert "could not be started" in found.said


def test_signals_have_names_that_people_know(fake: FakeMachine) -> None:
    fake.script("wanted.d/dies", "kill -TERM $$")
    assert results(fake)[0].said == "was ended by signal 15"
