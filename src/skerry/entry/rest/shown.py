"""From what the mirror knows to what clients are shown: units with their machines, machines with their units.

A unit's machine is the one it is placed on; one that is placed nowhere and still runs somewhere is shown
there. Of a Global unit, which runs on many, the words beside its list are those of the machine where it is
worst. A machine that nobody has heard of yet counts as ready: the single machine is such a one at first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.entry.rest.machine import Node, local_facts
from skerry.entry.rest.views import NodeView, StateView, UnitView
from skerry.fleet.state.node import Facts, Liveness, NodeRecord
from skerry.fleet.state.unit import DesiredState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from skerry.entry.rest.mirror import Contents, Known
    from skerry.fleet.state.unit import UnitReport

NO_WORDS = NodeRecord()


@dataclass(frozen=True, slots=True)
class Shown:
    """The contents of a mirror as they are now, on the machine `local`."""

    now: Contents
    local: Node

    def unit(self, name: str) -> UnitView:
        """A readable unit. Raises KeyError where there is none."""
        known = self.now.units[name]
        report = self.main_report(known)
        machine = self.machine_of(known)
        # What a lost machine said last is no news; its units run elsewhere.
        told = [r for r in self.reports(name) if self.is_ready(r.node) or r.node == machine]
        return UnitView(
            name=known.name,
            hash=known.hash,
            identity=known.identity,
            desired=known.desired,
            current=DesiredState.INACTIVE if report is None else report.current,
            machine=machine,
            is_global=known.is_global,
            description=known.description,
            unit=known.name if report is None else report.unit,
            load="" if report is None else report.load,
            active="" if report is None else report.active,
            sub="" if report is None else report.sub,
            result="" if report is None else report.result,
            problem=None if report is None else report.problem,
            report_hash="" if report is None else report.hash,
            drop_ins=known.drop_ins,
            files=known.files,
            states=tuple(_state(r) for r in told),
        )

    def reports(self, name: str) -> list[UnitReport]:
        """What the machines report of a unit, in the order of their ids."""
        found = self.now.reports_of(name)
        return [found[node].report for node in sorted(found)]

    def main_report(self, known: Known) -> UnitReport | None:
        """The report whose words stand for the unit: see the module."""
        found = self.now.reports_of(known.name)
        target = self.now.placements.get(known.name)
        if target is not None and not known.is_global:
            return found[target].report if target in found else None
        reports = [found[node].report for node in sorted(found)]
        if known.is_global:
            reports = [r for r in reports if self.is_ready(r.node)] or reports
        return max(reports, key=_weight if known.is_global else _presence, default=None)

    def machine_of(self, known: Known) -> str:
        """The machine that a unit is on; "" for none and for a Global unit."""
        if known.is_global:
            return ""
        target = self.now.placements.get(known.name)
        if target is not None:
            return target
        report = self.main_report(known)
        return "" if report is None or report.current is DesiredState.INACTIVE else report.node

    def is_ready(self, node: str) -> bool:
        """Whether a machine lives, as far as anybody knows."""
        presence = self.now.presence.get(node)
        return presence is None or presence.liveness is Liveness.READY

    def node_ids(self) -> list[str]:
        """Every machine, this one too, in order."""
        return sorted({*self.now.node_ids(), self.local.id})

    def has_node(self, node: str) -> bool:
        """Whether anybody has told of such a machine."""
        now = self.now
        return node == self.local.id or any(
            node in known for known in (now.presence, now.nodes, now.placed, now.reported)
        )

    def facts(self, node: str) -> Facts:
        """What a machine says of itself; of one that has said nothing, nothing."""
        presence = self.now.presence.get(node)
        if presence is not None:
            return presence.facts
        return local_facts(self.local) if node == self.local.id else Facts()

    def metadata(self, node: str) -> dict[str, str]:
        """The labels of a machine that count, by key."""
        merged = {**self.facts(node).metadata, **self.now.nodes.get(node, NO_WORDS).metadata}
        return {key: merged[key] for key in sorted(merged) if merged[key]}

    def address(self, node: str) -> str:
        """Where a machine is reached; "" where nobody knows."""
        return next(iter(self.facts(node).addresses), "")

    def addresses(self, nodes: Iterable[str]) -> dict[str, str]:
        return {node: self.address(node) for node in sorted(set(nodes)) if node}

    def label(self, node: str) -> str:
        """A machine as fleet's lists show it: `<8 hex>.../IP`."""
        address = self.address(node)
        name = f"{node[:8]}..."
        return f"{name}/{address}" if address else name

    def node(self, node: str) -> NodeView:
        """A machine with everything that is known of it."""
        facts = self.facts(node)
        presence = self.now.presence.get(node)
        words = self.now.nodes.get(node, NO_WORDS)
        return NodeView(
            id=node,
            hostname=facts.hostname,
            role=facts.role,
            liveness=Liveness.READY if presence is None else presence.liveness,
            since=0.0 if presence is None else presence.since,
            address=self.address(node),
            addresses=facts.addresses,
            metadata=self.metadata(node),
            cordoned=words.cordoned,
            draining=words.draining,
            units=len(self.now.placed.get(node, ())),
            cpus=facts.cpus,
            memory_bytes=facts.memory_bytes,
            disk_bytes=facts.disk_bytes,
            disk_free_bytes=facts.disk_free_bytes,
            kernel=facts.kernel,
            os_version=facts.os_version,
            skerry_version=facts.skerry_version,
            boot_id=facts.boot_id,
            architecture=facts.architecture,
        )


def _state(report: UnitReport) -> StateView:
    return StateView(
        machine=report.node,
        current=report.current,
        unit=report.unit,
        load=report.load,
        active=report.active,
        sub=report.sub,
        result=report.result,
        problem=report.problem,
        hash=report.hash,
    )


_FURTHER = {DesiredState.INACTIVE: 0, DesiredState.LOADED: 1, DesiredState.LAUNCHED: 2}


def _presence(report: UnitReport) -> tuple[int, bool]:
    """How much of a unit is on a machine: where it still runs goes first."""
    return _FURTHER[report.current], report.problem is not None


def _weight(report: UnitReport) -> tuple[bool, bool, bool, int]:
    """How badly a unit does on a machine."""
    active = report.active in {"active", "reloading", "refreshing"}
    return report.problem is not None, report.active == "failed", not active, -_FURTHER[report.current]
