"""What the API asks of the machine and of the scheduler, put together for the roles that have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.fleet.state.placement import PlacementRecord, placement_key
from skerry.host.units.placed import PlacedUnits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from skerry.entry.rest.desired import Check
    from skerry.entry.rest.units import Explain
    from skerry.fleet.schedule.driver import Driver
    from skerry.fleet.schedule.explain import Explanation
    from skerry.fleet.store.interface import Store
    from skerry.kit.errors import Problem


def explaining(driver: Driver, store: Store) -> Explain:
    """Says why a unit is where it is, by what the scheduler knows."""

    async def why(unit: str) -> Explanation | None:
        from skerry.fleet.schedule.explain import explain

        scheduler = driver.scheduler
        known = None if scheduler is None else scheduler.units.get(unit)
        if scheduler is None or known is None or not known.known:
            return None
        entry = None if known.ground is None else await store.get(placement_key(known.ground.id, unit))
        decided = "" if entry is None else PlacementRecord.decode(entry.value).why
        return explain(scheduler, unit, decided=decided)

    return why


def minding_the_host(check: Check, root: Path) -> Check:
    """The check, and that a unit has no name of the host's own: told at once, not when it is placed."""
    placed = PlacedUnits(root)

    def both(
        name: str,
        text: str,
        companions: Mapping[str, str] | None = None,
        *,
        file: str | None = None,
        drop_ins: Iterable[tuple[str, str]] = (),
    ) -> list[Problem]:
        beside = list(drop_ins)
        problems = check(name, text, companions, file=file, drop_ins=beside)
        clash = placed.clash(name, text, beside)
        return problems if clash is None else [clash, *problems]

    return both
