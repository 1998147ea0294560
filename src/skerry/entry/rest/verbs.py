"""What each verb makes of the records: a function from a snapshot and a request to changes, or problems.

    submit → known    load → loaded    start → launched    stop → loaded    unload → inactive
    destroy → gone

fleet's order of looking for a unit that is to be submitted, loaded or started: the stored unit, the
author's file, the stored template, the author's template. All or nothing: one unit that cannot be
found or may not be changed refuses the whole request, and every such unit is named.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from skerry.entry.rest.codec import RequestError
from skerry.entry.rest.companions import companions_named, companions_to_load
from skerry.entry.rest.snapshot import is_glob, matching
from skerry.entry.rest.views import Offer, Order, Verb
from skerry.fleet.state.unit import DesiredState, UnitRecord
from skerry.host.units.errors import UnitNameError
from skerry.host.units.name import UnitName, parse_name
from skerry.host.units.template import lookup_order
from skerry.host.units.unit_file import parse_unit, unit_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from skerry.entry.rest.snapshot import Snapshot, Stored

_ORDER = (DesiredState.INACTIVE, DesiredState.LOADED, DesiredState.LAUNCHED)


_OFFERING = frozenset({Verb.SUBMIT, Verb.LOAD, Verb.START})


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write: a new record or None to remove, by name; what it stands on; what to say.

    `reach` holds, in the order asked for, every unit meant, changed or not.
    """

    changes: Mapping[str, UnitRecord | None]
    reach: tuple[str, ...]
    warnings: tuple[str, ...]
    checked: tuple[Offer, ...]


@dataclass(slots=True)
class _Planner:
    order: Order
    now: Snapshot
    changes: dict[str, UnitRecord | None] = field(default_factory=dict)
    reach: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    checked: list[Offer] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def record(self, name: str) -> UnitRecord | None:
        """A unit's record as it will be, as far as has been planned."""
        if name in self.changes:
            return self.changes[name]
        stored = self.now.units.get(name)
        return None if stored is None else stored.record


def plan(order: Order, now: Snapshot) -> Plan:
    """Raises RequestError: 404 where units are missing, 409 where they may not be changed, 400 else."""
    planner = _Planner(order, now)
    offers = {offer.name: offer for offer in order.offers}
    if not order.names:
        raise RequestError(400, "bad-request", "the request names no unit")
    for wanted in order.names:
        for name in _expand(planner, wanted):
            if name not in planner.reach:
                planner.reach.append(name)
                _one(planner, name, offers)
    if planner.missing:
        raise _missing(planner)
    if planner.refused:
        raise RequestError(409, "refused", "\n".join(planner.refused))
    _bring_companions(planner, offers)
    if order.verb in {Verb.LOAD, Verb.START}:
        planner.changes |= companions_to_load(planner.reach, planner.record)
    return Plan(planner.changes, tuple(planner.reach), tuple(planner.warnings), tuple(planner.checked))


def _expand(planner: _Planner, wanted: str) -> list[str]:
    if not is_glob(wanted):
        return [wanted]
    found = sorted(matching(planner.now.units, wanted))
    if planner.order.verb in _OFFERING:
        found = [name for name in found if not _is_template(name)]
    if not found:
        planner.missing.append(wanted)
    return found


def _one(planner: _Planner, name: str, offers: Mapping[str, Offer]) -> None:
    stored = planner.now.units.get(name)
    if stored is None and name in planner.now.unreadable:
        _unreadable(planner, name)
    elif planner.order.verb in _OFFERING:
        _bring(planner, name, stored, offers)
    elif stored is None:
        planner.missing.append(name)
    elif planner.order.verb is Verb.DESTROY:
        planner.changes[name] = None
    elif planner.order.verb is Verb.STOP and stored.record.desired is DesiredState.INACTIVE:
        planner.refused.append(f"unit {name} is inactive: there is nothing to stop")
    else:
        _want(planner, stored.record)


def _bring(planner: _Planner, name: str, stored: Stored | None, offers: Mapping[str, Offer]) -> None:
    """submit, load and start: find the unit's text first."""
    parsed = parse_name(name)
    if parsed.is_template and planner.order.verb is not Verb.SUBMIT:
        planner.refused.append(
            f"{name} is a template and cannot be {planner.order.verb.target}; "
            f"name an instance, for example {parsed.prefix}@1.{parsed.suffix}"
        )
        return
    if stored is not None:
        _keep_or_replace(planner, stored.record, offers.get(name))
        return
    for place in lookup_order(parsed):
        known = planner.now.units.get(place)
        if known is not None:
            _create(planner, parsed, _offer_of(known.record))
            return
        if place in offers:
            planner.checked.append(offers[place])
            _create(planner, parsed, offers[place])
            return
    planner.missing.append(name)


def _create(planner: _Planner, name: UnitName, offer: Offer) -> None:
    record = make_record(name.full, offer)
    planner.changes[name.full] = record
    _want(planner, record)


def _bring_companions(planner: _Planner, offers: Mapping[str, Offer]) -> None:
    """Store what the Quadlet files under way name, where their author has it at hand and we have not."""
    todo = [record for record in planner.changes.values() if record is not None]
    while todo:
        for name in companions_named(todo.pop()):
            if name in offers and name not in planner.now.units and name not in planner.changes:
                record = make_record(name, offers[name])
                planner.checked.append(offers[name])
                planner.changes[name] = record
                todo.append(record)
                if planner.order.verb is Verb.SUBMIT:
                    planner.reach.append(name)


def _keep_or_replace(planner: _Planner, record: UnitRecord, offer: Offer | None) -> None:
    offered = None if offer is None else make_record(record.name, offer)
    if offer is None or offered is None or offered.identity == record.identity:
        _want(planner, record)
        return
    place = offer.file or record.name
    if not planner.order.replace:
        planner.warnings.append(
            f"unit {record.name} differs from local unit file {place}. Add --replace to override."
        )
        _want(planner, record)
        return
    target = planner.order.verb.target
    if _ORDER.index(record.desired) > _ORDER.index(target):
        planner.refused.append(
            f"unit {record.name} is {record.desired}, `{planner.order.verb} --replace` may replace one "
            f"that is at most {target}: use `start --replace`, or `unload` it first"
        )
        return
    planner.checked.append(offer)
    replaced = replace_content(record, offered)
    planner.changes[record.name] = replaced
    _want(planner, replaced)


def _want(planner: _Planner, record: UnitRecord) -> None:
    if planner.order.verb is Verb.SUBMIT:
        return
    wanted = record.wanting(planner.order.verb.target)
    if wanted != record:
        planner.changes[record.name] = wanted


def _unreadable(planner: _Planner, name: str) -> None:
    if planner.order.verb is Verb.DESTROY:
        planner.changes[name] = None
    else:
        planner.refused.append(f"unit {name}: {planner.now.unreadable[name]}")


def _missing(planner: _Planner) -> RequestError:
    names = planner.missing
    known = planner.order.verb in _OFFERING
    hint = "give the path of its file, or `skerry unit list-files` shows what is stored"
    if len(names) == 1:
        message = f"no unit matches {names[0]}" if is_glob(names[0]) else f"unit {names[0]} does not exist"
    else:
        message = f"units {', '.join(names)} do not exist"
    return RequestError(
        404,
        "unit-not-found",
        message,
        hint=hint if known else "`skerry unit list-files` shows what is stored",
    )


def make_record(name: str, offer: Offer) -> UnitRecord:
    """A new, inactive record of an offered text. Raises UnitFileError."""
    return UnitRecord(
        name=name,
        text=offer.text,
        hash=unit_hash(parse_unit(offer.text, offer.file or offer.name)),
        drop_ins=offer.drop_ins,
        files=offer.files,
    )


def replace_content(record: UnitRecord, new: UnitRecord) -> UnitRecord:
    """`record` with the content of `new`, in the state it is in."""
    return msgspec.structs.replace(
        record, text=new.text, hash=new.hash, drop_ins=new.drop_ins, files=new.files
    )


def _offer_of(record: UnitRecord) -> Offer:
    return Offer(record.name, record.text, record.drop_ins, record.files)


def _is_template(name: str) -> bool:
    try:
        return parse_name(name).is_template
    except UnitNameError:
        return False
