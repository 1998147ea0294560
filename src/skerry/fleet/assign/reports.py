"""What nodes say of their units, written into the store by the server that they speak to.

    /skerry/v1/reports/<node>/<unit>   UnitReport

A first report of a fenced unit is a claim: it is written only while the unit is placed on that node and not
leaving, in the same transaction. An agent starts such a unit only after its claim was taken, so whoever
sees no report of a leaving unit knows that it will not be started there any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.fleet.state.document import RecordError
from skerry.fleet.state.placement import PlacementRecord, placement_key
from skerry.fleet.state.unit import REPORTS_PREFIX, report_key
from skerry.fleet.store.interface import Compare, Delete, Field, Operation, Put, Relation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from skerry.fleet.state.unit import UnitReport
    from skerry.fleet.store.interface import Store

MOST_IN_ONE = 100
"""etcd takes 128 operations in a transaction as it comes."""

_ATTEMPTS = 5


class Reports:
    """Writes for every node. `fenced` tells whether a unit must never run twice."""

    def __init__(self, store: Store, fenced: Callable[[str], bool] = lambda _: False) -> None:
        self._store = store
        self._fenced = fenced

    async def write(
        self, node: str, reports: Sequence[UnitReport], gone: Sequence[str], *, whole: bool = False
    ) -> frozenset[str]:
        """Put what is said into the store; the names of claims that were refused. Raises StoreError.

        `whole`: there is nothing else of this node.
        """
        there: dict[str, bytes] = {}
        if whole:
            prefix = f"{REPORTS_PREFIX}{node}/"
            for entry in (await self._store.list(prefix)).entries:
                there[entry.key.removeprefix(prefix)] = entry.value
            gone = sorted(there.keys() - {report.name for report in reports} | set(gone))
        operations: list[Operation] = []
        refused: set[str] = set()
        for report in reports:
            value = report.encode()
            if there.get(report.name) == value:
                continue
            if self._fenced(report.name):
                if not await self._claim(node, report.name, value):
                    refused.add(report.name)
            else:
                operations.append(Put(report_key(node, report.name), value))
        operations.extend(Delete(report_key(node, name)) for name in gone)
        for start in range(0, len(operations), MOST_IN_ONE):
            await self._store.transact((), operations[start : start + MOST_IN_ONE])
        return frozenset(refused)

    async def _claim(self, node: str, name: str, value: bytes) -> bool:
        key = report_key(node, name)
        placed = placement_key(node, name)
        for _ in range(_ATTEMPTS):
            if await self._store.get(key) is not None:
                there = Compare(key, Field.VERSION, Relation.GREATER, 0)
            else:
                entry = await self._store.get(placed)
                if entry is None or _leaving(entry.value):
                    return False
                there = Compare(placed, Field.MOD_REVISION, Relation.EQUAL, entry.mod_revision)
            if (await self._store.transact((there,), (Put(key, value),))).succeeded:
                return True
        return False


def _leaving(value: bytes) -> bool:
    try:
        return PlacementRecord.decode(value).leaving
    except RecordError:
        return True
