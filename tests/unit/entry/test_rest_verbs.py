"""What each verb makes of the records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.entry.rest.codec import RequestError
from skerry.entry.rest.snapshot import Snapshot, Stored
from skerry.entry.rest.verbs import make_record, plan
from skerry.entry.rest.views import Offer, Order, Verb
from skerry.fleet.state.unit import Attachment, DesiredState, UnitRecord

TEXT = "[Service]\nExecStart=/bin/sleep 1\n"
OTHER = "[Service]\nExecStart=/bin/sleep 2\n"
INACTIVE, LOADED, LAUNCHED = DesiredState.INACTIVE, DesiredState.LOADED, DesiredState.LAUNCHED


def record(name: str, desired: DesiredState = INACTIVE, text: str = TEXT) -> UnitRecord:
    return make_record(name, Offer(name, text)).wanting(desired)


def snapshot(*records: UnitRecord, unreadable: tuple[str, ...] = ()) -> Snapshot:
    return Snapshot(7, {r.name: Stored(r, 3) for r in records}, dict.fromkeys(unreadable, "it is newer"))


@pytest.mark.parametrize(
    ("verb", "before", "after"),
    [
        (Verb.LOAD, INACTIVE, LOADED),
        (Verb.LOAD, LAUNCHED, LOADED),
        (Verb.START, INACTIVE, LAUNCHED),
        (Verb.STOP, LAUNCHED, LOADED),
        (Verb.UNLOAD, LAUNCHED, INACTIVE),
    ],
)
def test_verbs_want_a_state_of_a_stored_unit(verb: Verb, before: DesiredState, after: DesiredState) -> None:
    planned = plan(Order(verb, ("a.service",)), snapshot(record("a.service", before)))
    changed = planned.changes["a.service"]
    assert changed is not None
    assert changed.desired is after


def test_destroy_takes_the_record_away() -> None:
    assert plan(Order(Verb.DESTROY, ("a.service",)), snapshot(record("a.service"))).changes == {
        "a.service": None
    }


def test_a_state_that_is_wanted_already_changes_nothing() -> None:
    planned = plan(Order(Verb.START, ("a.service",)), snapshot(record("a.service", LAUNCHED)))
    assert (dict(planned.changes), planned.reach) == ({}, ("a.service",))


@pytest.mark.parametrize(
    ("stored", "offered", "text"),
    [
        (("a@1.service", "a@.service"), ("a@1.service", "a@.service"), "stored a@1.service"),
        (("a@.service",), ("a@1.service", "a@.service"), "offered a@1.service"),
        (("a@.service",), ("a@.service",), "stored a@.service"),
        ((), ("a@.service",), "offered a@.service"),
    ],
)
def test_a_unit_is_looked_for_as_fleetctl_did(
    stored: tuple[str, ...], offered: tuple[str, ...], text: str
) -> None:
    def content(where: str, name: str) -> str:
        return f"[Service]\nExecStart={where} {name}\n"

    now = snapshot(*(record(name, text=content("stored", name)) for name in stored))
    offers = tuple(Offer(name, content("offered", name)) for name in offered)
    changed = plan(Order(Verb.START, ("a@1.service",), offers), now).changes["a@1.service"]
    assert changed is not None
    assert changed.text == f"[Service]\nExecStart={text}\n"


def test_a_file_that_differs_is_a_warning() -> None:
    order = Order(Verb.START, ("a.service",), (Offer("a.service", OTHER),))
    planned = plan(order, snapshot(record("a.service")))
    changed = planned.changes["a.service"]
    assert changed is not None
    assert (changed.text, len(planned.warnings)) == (TEXT, 1)
    assert "Add --replace to override." in planned.warnings[0]


def test_a_drop_in_makes_a_unit_differ() -> None:
    offer = Offer("a.service", TEXT, (Attachment("10.conf", "[Unit]\n"),))
    assert plan(Order(Verb.SUBMIT, ("a.service",), (offer,)), snapshot(record("a.service"))).warnings


@pytest.mark.parametrize(
    ("verb", "state", "allowed"),
    [
        (Verb.SUBMIT, INACTIVE, True),
        (Verb.SUBMIT, LOADED, False),
        (Verb.LOAD, LOADED, True),
        (Verb.LOAD, LAUNCHED, False),
        (Verb.START, LAUNCHED, True),
    ],
)
def test_replace_is_for_units_that_are_not_further_than_the_verb(
    verb: Verb, state: DesiredState, *, allowed: bool
) -> None:
    order = Order(verb, ("a.service",), (Offer("a.service", OTHER),), replace=True)
    now = snapshot(record("a.service", state))
    if allowed:
        changed = plan(order, now).changes["a.service"]
        assert changed is not None
        assert changed.text == OTHER
    else:
        with pytest.raises(RequestError, match="may replace one") as caught:
            plan(order, now)
        assert caught.value.status == 409


@pytest.mark.parametrize(
    ("order", "status", "message"),
    [
        (Order(Verb.START, ("a.service", "b.service")), 404, "units a.service, b.service do not exist"),
        (Order(Verb.STOP, ("x*",)), 404, "no unit matches x"),
        (Order(Verb.STOP, ("i.service",)), 409, "nothing to stop"),
        (Order(Verb.START, ("t@.service",)), 409, "is a template"),
        (Order(Verb.STOP, ("new.service",)), 409, "it is newer"),
        (Order(Verb.STOP, ()), 400, "names no unit"),
    ],
)
def test_one_unit_that_cannot_be_refuses_all(order: Order, status: int, message: str) -> None:
    now = snapshot(record("i.service"), record("t@.service"), unreadable=("new.service",))
    with pytest.raises(RequestError, match=message) as caught:
        plan(order, now)
    assert caught.value.status == status


def test_a_record_of_a_newer_version_can_be_destroyed() -> None:
    assert plan(Order(Verb.DESTROY, ("n.service",)), snapshot(unreadable=("n.service",))).changes == {
        "n.service": None
    }


def test_a_glob_means_stored_units_and_starts_no_templates() -> None:
    now = snapshot(record("a1.service"), record("a2.service"), record("a@.service"), record("b.service"))
    assert plan(Order(Verb.START, ("a*",)), now).reach == ("a1.service", "a2.service")


names = st.sampled_from(["a.service", "b.service", "c@1.service", "c@.service"])
records = st.builds(record, names, st.sampled_from(DesiredState), st.sampled_from([TEXT, OTHER]))
orders = st.builds(
    Order,
    st.sampled_from(Verb),
    st.lists(names, min_size=1, unique=True).map(tuple),
    st.lists(st.builds(Offer, names, st.sampled_from([TEXT, OTHER])), max_size=3).map(tuple),
    st.booleans(),
)


@given(st.lists(records, unique_by=lambda r: r.name), orders)
def test_planning_again_after_a_plan_changes_nothing_more(stored: list[UnitRecord], order: Order) -> None:
    try:
        first = plan(order, snapshot(*stored))
    except RequestError:
        return
    after = {r.name: r for r in stored} | first.changes
    if order.verb is not Verb.DESTROY:
        assert not plan(order, snapshot(*(r for r in after.values() if r is not None))).changes
