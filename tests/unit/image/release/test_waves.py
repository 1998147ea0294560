"""Waves: shares come out as they were asked for, only grow, and are each node's own to work out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.image.release.errors import DocumentError
from skerry.image.release.rollout import DEFAULT_WAVES, Rollout, Wave, due, parse_waves, place

NODES = [f"{number:032x}" for number in range(100_000)]
DAY = 86400.0


@st.composite
def rollouts(draw: st.DrawFn) -> Rollout:
    percents = sorted(draw(st.sets(st.integers(1, 100), min_size=1, max_size=8)))
    times = sorted(draw(st.sets(st.integers(0, 10**7), min_size=len(percents), max_size=len(percents))))
    waves = tuple(Wave(float(p), float(t)) for p, t in zip(percents, times, strict=True))
    return Rollout(float(draw(st.integers(0, 2**33))), waves)


@pytest.mark.parametrize("version", ["2026.11.0", "2026.11.1", "2031.1.17"])
def test_shares_of_100_000_nodes_are_as_asked(version: str) -> None:
    """Within four standard deviations of a fair draw, for every wave of the default."""
    rollout = Rollout(0.0, DEFAULT_WAVES)
    places = [place(node, version) for node in NODES]
    for wave in rollout.waves:
        share = wave.percent / 100
        took = sum(one < rollout.fraction_at(wave.after_s) for one in places) / len(places)
        assert abs(took - share) <= 4 * (share * (1 - share) / len(places)) ** 0.5 + 1e-9


def test_not_the_same_nodes_go_first_every_time() -> None:
    first, second = ({node for node in NODES if place(node, version) < 0.1} for version in ("1.0", "1.1"))
    assert 800 < len(first & second) < 1200  # a tenth of a tenth, as chance has it


def test_places_are_even_in_every_tenth() -> None:
    tenths = [0] * 10
    for node in NODES:
        tenths[int(place(node, "2026.11.0") * 10)] += 1
    assert all(9_600 < count < 10_400 for count in tenths)


@given(st.text(max_size=50), st.from_regex(r"[0-9]{1,4}\.[0-9]{1,2}", fullmatch=True))
def test_a_place_is_at_least_0_and_below_1(node: str, version: str) -> None:
    assert 0 <= place(node, version) < 1


@given(rollouts(), st.floats(0, 2**34), st.floats(0, 2**34))
def test_shares_only_grow(rollout: Rollout, one: float, two: float) -> None:
    assert rollout.fraction_at(min(one, two)) <= rollout.fraction_at(max(one, two)) <= 1


@given(rollouts(), st.text(min_size=1, max_size=40), st.floats(0, 2**34), st.floats(0, 2**34))
def test_who_may_have_it_may_have_it_later_too(rollout: Rollout, node: str, one: float, two: float) -> None:
    assert due(rollout, node, "1.0", min(one, two)) <= due(rollout, node, "1.0", max(one, two))


@given(rollouts(), st.text(min_size=1, max_size=40))
def test_the_moment_that_is_told_is_when_it_becomes_due(rollout: Rollout, node: str) -> None:
    when = rollout.due_at(node, "1.0")
    if when is None:
        assert not due(rollout, node, "1.0", 2.0**60)
    else:
        assert due(rollout, node, "1.0", when)
        assert not due(rollout, node, "1.0", when - 1)


def test_without_a_rollout_everybody_is_due() -> None:
    assert due(None, "any", "1.0", 0)


def test_nothing_is_due_before_the_start() -> None:
    rollout = Rollout(1000.0, (Wave(100, 0),))
    assert not due(rollout, "any", "1.0", 999.9)
    assert due(rollout, "any", "1.0", 1000.0)


@pytest.mark.parametrize(
    ("text", "waves"),
    [
        ("immediate", None),
        ("default", DEFAULT_WAVES),
        ("1%@0h, 25%@12h, 100%@3d", (Wave(1, 0), Wave(25, DAY / 2), Wave(100, 3 * DAY))),
        ("0.5@90m,100@5d", (Wave(0.5, 5400), Wave(100, 5 * DAY))),
    ],
)
def test_waves_as_people_write_them(text: str, waves: tuple[Wave, ...] | None) -> None:
    assert parse_waves(text) == waves


@pytest.mark.parametrize(
    "text",
    ["", "soon", "50%", "50%@1w", "0%@0h", "101%@0h", "50%@0h,40%@1h", "10%@2h,20%@1h"],
)
def test_waves_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(DocumentError):
        parse_waves(text)
