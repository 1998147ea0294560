"""What follows from a boot's checks, and that health never makes a machine worse than it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.host.health.check import Result, Status, Weight
from skerry.host.health.decide import Decision, Trial, decide

BASIC, REQUIRED, WANTED = Weight.BASIC, Weight.REQUIRED, Weight.WANTED
NO, WITH, WITHOUT = Trial.NO, Trial.WITH_FALLBACK, Trial.WITHOUT_FALLBACK


def result(name: str, weight: Weight, status: Status = Status.FAILED) -> Result:
    return Result(name, weight, status, "is broken" if status is Status.FAILED else "", 0.1)


@pytest.mark.parametrize(
    ("weight", "before", "trial", "expected"),
    [
        (BASIC, None, WITH, Decision.FALL_BACK),
        (REQUIRED, None, WITH, Decision.FALL_BACK),
        (REQUIRED, Status.OK, WITH, Decision.FALL_BACK),
        (REQUIRED, Status.SKIPPED, WITH, Decision.FALL_BACK),
        (WANTED, None, WITH, Decision.GOOD),
        (REQUIRED, Status.FAILED, WITH, Decision.TOLERATED),
        (BASIC, Status.FAILED, WITH, Decision.TOLERATED),
        (REQUIRED, None, NO, Decision.TOLERATED),
        (BASIC, None, NO, Decision.TOLERATED),
        (REQUIRED, None, WITHOUT, Decision.TOLERATED),
        (BASIC, None, WITHOUT, Decision.HELD),
        (BASIC, Status.FAILED, WITHOUT, Decision.TOLERATED),
    ],
)
def test_a_check_that_fails(weight: Weight, before: Status | None, trial: Trial, expected: Decision) -> None:
    known = {} if before is None else {"it": before}
    verdict = decide([result("it", weight), result("other", REQUIRED, Status.OK)], known, trial)
    assert verdict.decision is expected


def test_the_reason_names_what_counted_and_nothing_else() -> None:
    results = [result("web", REQUIRED), result("old", REQUIRED), result("hint", WANTED)]
    verdict = decide(results, {"old": Status.FAILED}, WITH)
    assert (verdict.reason, verdict.failed) == ("web: is broken", ("web",))


RESULTS = st.lists(
    st.builds(
        result,
        st.sampled_from("abcdef"),
        st.sampled_from(Weight),
        st.sampled_from(Status),
    ),
    unique_by=lambda found: found.name,
)
BEFORE = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(Status))


@given(RESULTS, BEFORE, st.sampled_from(Trial))
def test_only_a_trial_with_somewhere_to_go_reboots(
    results: list[Result], before: dict[str, Status], trial: Trial
) -> None:
    verdict = decide(results, before, trial)
    assert verdict.decision is not Decision.FALL_BACK or trial is WITH


@given(RESULTS, st.sampled_from(Trial))
def test_a_machine_no_worse_than_before_is_never_given_up(results: list[Result], trial: Trial) -> None:
    before = {found.name: found.status for found in results}
    assert decide(results, before, trial).may_bless


@given(RESULTS, BEFORE, st.sampled_from(Trial))
def test_what_is_merely_wanted_changes_nothing(
    results: list[Result], before: dict[str, Status], trial: Trial
) -> None:
    heavy = [found for found in results if found.weight is not WANTED]
    assert decide(results, before, trial) == decide(heavy, before, trial)


@given(RESULTS, BEFORE)
def test_good_exactly_where_nothing_of_weight_failed(
    results: list[Result], before: dict[str, Status]
) -> None:
    wrong = [found for found in results if found.failed and found.weight is not WANTED]
    assert (decide(results, before, WITH).decision is Decision.GOOD) == (not wrong)
