"""Sorted names in blocks, and globs by what they begin with, against the plain way."""

from __future__ import annotations

import random

import pytest

from skerry.fleet.schedule.names import LONGEST_BLOCK, Globs, SortedNames
from skerry.host.units.glob import glob_matches

GLOBS = ["web@*", "*", "web@1?.service", "[ab]*", "web@1", "\\web*", "db.service", "x[", "web@*.service"]


@pytest.mark.parametrize("seed", range(3))
def test_names_stay_sorted_through_thousands_of_changes(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  draws examples, keeps no secret
    plain = {f"{chance.choice('abc')}{chance.randrange(10**6)}" for _ in range(LONGEST_BLOCK)}
    names = SortedNames(plain)
    for _ in range(6 * LONGEST_BLOCK):
        name = f"{chance.choice('abc')}{chance.randrange(10**4)}"
        if chance.random() < 0.4:
            names.discard(name)
            plain.discard(name)
        else:
            names.add(name)
            plain.add(name)
    for start in ("", "a", "b1", "c99", "d", "0"):
        assert list(names.beginning_with(start)) == sorted(n for n in plain if n.startswith(start))
    for name in list(plain):
        names.discard(name)
    assert list(names.beginning_with("")) == []


@pytest.mark.parametrize("name", ["web@1.service", "web@12.service", "db.service", "a", "web@1", "x[", ""])
def test_globs_that_mean_a_name(name: str) -> None:
    globs = Globs()
    for glob in GLOBS:
        globs.add(glob)
    assert list(globs.meaning(name)) == sorted(glob for glob in GLOBS if glob_matches(glob, name))


def test_globs_are_counted() -> None:
    globs = Globs()
    assert [globs.add("a*"), globs.add("a*"), globs.drop("a*")] == [True, False, False]
    assert globs.meaning("ab") == ("a*",)
    assert globs.drop("a*")
    assert globs.meaning("ab") == ()
    assert not globs
