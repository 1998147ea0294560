"""Units before and after an update."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.health_machine import block, listing
from skerry.host.health.errors import HealthRecordError
from skerry.host.health.units import UnitLook, parse_list, parse_restarts, parse_show, restarting, worse

WEB = "web.service"
OF_IMAGE = {"FragmentPath": "/usr/lib/systemd/system/web.service"}
FAILED = {"active": "failed", "sub": "failed", "Result": "exit-code"}


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (block(WEB), block(WEB), []),
        (block(WEB), block(WEB, **FAILED), ["web.service failed"]),
        (block(WEB), block(WEB, "activating", "auto-restart"), ["web.service is activating (auto-restart)"]),
        (block(WEB), block(WEB, "inactive", "dead"), ["web.service is inactive (dead)"]),
        (block(WEB), "", ["web.service is gone"]),
        (block(WEB), block(WEB, LoadState="not-found"), ["web.service is gone"]),
        # what was broken, or coming and going, asks for nothing
        (block(WEB, **FAILED), block(WEB, **FAILED), []),
        (block(WEB, **FAILED), "", []),
        (block(WEB, "activating", "auto-restart"), block(WEB, "inactive", "dead"), []),
        # a job that had ended well must not fail now
        (block(WEB, "inactive", "dead"), block(WEB, **FAILED), ["web.service failed"]),
        # the new version may do without a unit of its own
        (block(WEB, **OF_IMAGE), "", []),
        (
            block(WEB, **OF_IMAGE),
            block(WEB, "inactive", "dead", **OF_IMAGE),
            ["web.service is inactive (dead)"],
        ),
        # started by a person, by a message, by its socket: a boot does not bring it back
        (block(WEB, WantedBy=""), block(WEB, "inactive", "dead", WantedBy=""), []),
        (block(WEB, TriggeredBy="web.socket"), block(WEB, "inactive", "dead"), []),
        (block(WEB, WantedBy=""), block(WEB, **FAILED, WantedBy=""), ["web.service failed"]),
        # placed by skerryd or by Quadlet: at every boot anew
        (
            block(WEB, WantedBy="", FragmentPath="/run/systemd/system/web.service"),
            "",
            ["web.service is gone"],
        ),
        (
            block(WEB, WantedBy="", FragmentPath="/run/systemd/generator/web.service"),
            "",
            ["web.service is gone"],
        ),
    ],
)
def test_what_is_worse(before: str, now: str, expected: list[str]) -> None:
    assert worse(parse_show(before), parse_list(listing(now))) == expected


@pytest.mark.parametrize(
    "passing",
    [
        block("user@0.service"),
        block("getty@tty1.service"),
        block("var-lib-containers-storage-overlay-ab-merged.mount", FragmentPath=""),
        block("run-u4.service", Transient="yes"),
        block("skerry-health.service", "activating", "start"),
    ],
)
def test_what_comes_and_goes_is_not_looked_at(passing: str) -> None:
    assert parse_show(passing) == {}


def test_a_service_that_systemd_starts_again_and_again_is_seen() -> None:
    first, second = parse_restarts(block(WEB, NRestarts="4")), parse_restarts(block(WEB, NRestarts="5"))
    assert restarting(first, second) == ["web.service keeps restarting"]
    assert restarting(first, first) == []


def test_a_listing_that_is_none_is_an_error_and_no_empty_machine() -> None:
    with pytest.raises(HealthRecordError):
        parse_list("Failed to connect to bus")


LOOKS = st.dictionaries(
    st.sampled_from(["a.service", "b.socket", "c.mount"]),
    st.builds(
        UnitLook,
        active=st.sampled_from(["active", "reloading", "inactive", "failed", "activating", "deactivating"]),
        sub=st.sampled_from(["", "running", "dead"]),
        of_image=st.booleans(),
        by_boot=st.booleans(),
    ),
)


@given(LOOKS)
def test_a_machine_is_never_worse_than_itself(looks: dict[str, UnitLook]) -> None:
    assert worse(looks, looks) == []


@given(LOOKS, LOOKS)
def test_only_units_from_before_are_asked_for(before: dict[str, UnitLook], now: dict[str, UnitLook]) -> None:
    named = {said.split()[0] for said in worse(before, now)}
    assert named <= set(before)
