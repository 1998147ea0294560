"""What a host is offered, and why not: one line a rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.image.release import version as versions
from skerry.image.release.channel import Channel, ReleaseEntry
from skerry.image.release.manifest import Manifest
from skerry.image.release.offer import Verdict, offered, permitted, suits
from skerry.image.release.rollout import DEFAULT_WAVES, Rollout, Wave

NOW = 1_700_000_000.0
NEVER_YET = Rollout(NOW + 100, (Wave(100, 50),))


def entry(version: str, rollout: Rollout | None = None, minimum: str | None = None) -> ReleaseEntry:
    return ReleaseEntry(version, NOW, rollout, minimum)


A, B, C = entry("2026.10.0"), entry("2026.11.0"), entry("2026.11.1")


def channel(*releases: ReleaseEntry, **more: object) -> Channel:
    return Channel("stable", releases, **more)  # type: ignore[arg-type]


OFFERED = [
    ("the newest", channel(A, B, C), "2026.10.0", "2026.11.1"),
    ("numbers, not letters", channel(entry("2026.9.0"), A), "2026.9.0", "2026.10.0"),
    (
        "past one that was withdrawn",
        channel(A, B, C, withdrawn={"2026.11.1": "bad"}),
        "2026.10.0",
        "2026.11.0",
    ),
    ("a step on the way", channel(A, B, entry("2027.1.0", None, "2026.11.0")), "2026.10.0", "2026.11.0"),
    (
        "past one whose wave is to come",
        channel(A, B, entry("2026.12.0", NEVER_YET)),
        "2026.10.0",
        "2026.11.0",
    ),
    (
        "at once, below the floor",
        channel(A, B, entry("2026.12.0", NEVER_YET), floor="2026.11.0"),
        "2026.10.0",
        "2026.12.0",
    ),
    (
        "whatever the running version became",
        channel(A, B, withdrawn={"2026.10.0": "bad"}),
        "2026.10.0",
        "2026.11.0",
    ),
    ("from a version the channel never had", channel(A, B), "2026.10.7", "2026.11.0"),
]


@pytest.mark.parametrize(("case", "given_", "running", "wanted"), OFFERED, ids=[row[0] for row in OFFERED])
def test_offered(case: str, given_: Channel, running: str, wanted: str) -> None:
    offer = offered(given_, running, "node", NOW)
    assert (offer.version, offer.verdict) == (wanted, Verdict.OFFERED)


NOT_OFFERED = [
    ("up to date", channel(A, B), "2026.11.0", {}, Verdict.CURRENT, "2026.11.0 is the newest release"),
    ("ahead", channel(A), "2026.11.0", {}, Verdict.CURRENT, "has only got to 2026.10.0"),
    ("empty", channel(), "2026.11.0", {}, Verdict.CURRENT, "no releases yet"),
    (
        "never backwards",
        channel(A, B, withdrawn={"2026.11.0": "eats data"}),
        "2026.11.0",
        {},
        Verdict.CURRENT,
        "withdrawn (eats data); an older one must be asked for",
    ),
    (
        "paused",
        channel(A, B, paused=True, pause_reason="disks fail"),
        "2026.10.0",
        {},
        Verdict.PAUSED,
        "disks fail",
    ),
    ("withdrawn", channel(A, B, withdrawn={"2026.11.0": "bad"}), "2026.10.0", {}, Verdict.WITHDRAWN, "bad"),
    (
        "below the floor",
        channel(A, B, floor="2026.11.0"),
        "2026.9.0",
        {"2026.11.0": "hung"},
        Verdict.REFUSED,
        "hung",
    ),
    ("failed here", channel(A, B), "2026.10.0", {"2026.11.0": "panicked"}, Verdict.REFUSED, "panicked"),
    (
        "too far",
        channel(entry("2027.1.0", None, "2026.11.0")),
        "2026.10.0",
        {},
        Verdict.NEEDS_STEP,
        "from 2026.11.0 on",
    ),
    (
        "wave to come",
        channel(A, entry("2026.11.0", NEVER_YET)),
        "2026.10.0",
        {},
        Verdict.WAITING,
        "not reached",
    ),
]


@pytest.mark.parametrize(
    ("case", "given_", "running", "refused", "verdict", "said"),
    NOT_OFFERED,
    ids=[row[0] for row in NOT_OFFERED],
)
def test_not_offered(
    case: str, given_: Channel, running: str, refused: dict[str, str], verdict: Verdict, said: str
) -> None:
    offer = offered(given_, running, "node", NOW, refused=refused)
    assert (offer.version, offer.verdict) == (None, verdict)
    assert said in offer.why


def test_when_a_wave_will_come_is_told() -> None:
    offer = offered(channel(A, entry("2026.11.0", NEVER_YET)), "2026.10.0", "node", NOW)
    assert offer.due == NOW + 150


def test_a_release_below_the_floor_is_passed_over() -> None:
    offer = offered(channel(A, B, floor="2026.11.0", withdrawn={"2026.11.0": "bad"}), "2026.9.0", "node", NOW)
    assert offer.version is None
    assert [one.verdict for one in offer.passed_over] == [Verdict.WITHDRAWN, Verdict.BELOW_FLOOR]


ASKED = [
    ("an older one, not without being told so", channel(A, B), "2026.10.0", False, {}, Verdict.OLDER),
    ("an older one, when told so", channel(A, B), "2026.10.0", True, {}, Verdict.OFFERED),
    ("past its wave", channel(A, B, entry("2026.12.0", NEVER_YET)), "2026.12.0", False, {}, Verdict.OFFERED),
    ("past a pause", channel(A, B, C, paused=True), "2026.11.1", False, {}, Verdict.OFFERED),
    ("unknown", channel(A, B), "2026.9.0", True, {}, Verdict.UNKNOWN),
    ("the same", channel(A, B), "2026.11.0", True, {}, Verdict.CURRENT),
    ("withdrawn", channel(A, B, withdrawn={"2026.10.0": "bad"}), "2026.10.0", True, {}, Verdict.WITHDRAWN),
    ("below the floor", channel(A, B, floor="2026.11.0"), "2026.10.0", True, {}, Verdict.BELOW_FLOOR),
    ("failed here", channel(A, B, C), "2026.11.1", False, {"2026.11.1": "hung"}, Verdict.REFUSED),
    (
        "too far",
        channel(A, B, entry("2027.1.0", None, "2026.12.0")),
        "2027.1.0",
        False,
        {},
        Verdict.NEEDS_STEP,
    ),
]


@pytest.mark.parametrize(
    ("case", "given_", "version", "downgrade", "refused", "verdict"), ASKED, ids=[row[0] for row in ASKED]
)
def test_asked_for_by_name(
    case: str, given_: Channel, version: str, *, downgrade: bool, refused: dict[str, str], verdict: Verdict
) -> None:
    offer = permitted(given_, "2026.11.0", version, allow_downgrade=downgrade, refused=refused)
    assert offer.verdict is verdict
    assert offer.version == (version if verdict is Verdict.OFFERED else None)


VERSIONS = [f"2026.{month}.{number}" for month in (9, 10, 11) for number in (0, 1, 2)]


@st.composite
def any_channel(draw: st.DrawFn) -> Channel:
    chosen = sorted(draw(st.sets(st.sampled_from(VERSIONS))), key=versions.parse)
    rollouts = st.none() | st.floats(NOW - 10**6, NOW + 10**6).map(lambda at: Rollout(at, DEFAULT_WAVES))
    releases = [entry(one, draw(rollouts), draw(st.none() | st.sampled_from(VERSIONS))) for one in chosen]
    return channel(
        *releases,
        paused=draw(st.booleans()),
        withdrawn=draw(st.dictionaries(st.sampled_from(VERSIONS), st.just("bad"), max_size=3)),
        floor=draw(st.none() | st.sampled_from(VERSIONS)),
    )


@given(any_channel(), st.sampled_from(VERSIONS), st.sets(st.sampled_from(VERSIONS), max_size=3))
def test_whatever_the_channel_says_no_rule_is_broken(
    given_: Channel, running: str, refused: set[str]
) -> None:
    offer = offered(given_, running, "node", NOW, refused=dict.fromkeys(refused, "hung"))
    assert offer.why
    if offer.version is None:
        assert offer.verdict is not Verdict.OFFERED
        return
    release = given_.release(offer.version)
    assert release is not None
    assert versions.is_newer(offer.version, running)
    assert offer.version not in given_.withdrawn
    assert offer.version not in refused
    assert not given_.paused
    assert given_.floor is None or not versions.is_older(offer.version, given_.floor)
    assert release.minimum_version is None or not versions.is_older(running, release.minimum_version)


def test_a_release_of_another_product_does_not_suit() -> None:
    manifest = Manifest("skerry", "2026.11.0", "trixie", "amd64", "6.12", ())
    assert suits(manifest, name="skerry", architecture="amd64") is None
    assert "of skerry" in (suits(manifest, name="other", architecture="amd64") or "")
    assert "for amd64" in (suits(manifest, name="skerry", architecture="arm64") or "")
