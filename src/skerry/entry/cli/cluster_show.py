"""`skerry cluster status`: the whole on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from skerry.entry.cli.api import connect

if TYPE_CHECKING:
    from skerry.entry.rest.views import ClusterView, StoreView
    from skerry.kit.http import Json


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def status(*, as_json: bool) -> int:
    """Show how the cluster is: servers, leader, quorum, store, machines, clocks, versions.

    Exits with 1 where something is wrong.
    """
    from skerry.entry.cli.output import emit_json

    view = connect().cluster()
    if as_json:
        plain: Json = msgspec.to_builtins(view)
        emit_json(plain)
    else:
        _show(view)
    return 0 if view.healthy else 1


def _show(view: ClusterView) -> None:
    from skerry.entry.cli.output import BOLD, GREEN, RED, colour, table

    dot = colour("●", GREEN if view.healthy else RED)
    name = view.name or "a single machine"
    print(f"{dot} {colour(name, BOLD)}" + (f" ({view.id})" if view.id else ""))
    leader = next((s.hostname or s.node for s in view.servers if s.leads), view.leader)
    machines = ", ".join(f"{count} {what}" for what, count in view.nodes.items() if count)
    units = ", ".join(f"{count} {what}" for what, count in sorted(view.units.items()))
    rows = [
        ("Leader", leader or "none"),
        ("Quorum", "yes" if view.quorum else "no: nothing can be changed"),
        ("Store", _store(view.store, view.revision)),
        ("Machines", machines),
        ("Units", units or "none"),
        ("Versions", ", ".join(f"{version} on {count}" for version, count in sorted(view.versions.items()))),
        ("Clocks", _clocks(view)),
    ]
    for title, text in rows:
        if text:
            print(f"{title:>9}: {text}")
    for problem in view.problems:
        print(f"{'Problem':>9}: {problem}")
    if len(view.servers) > 1:
        print()
        servers = [
            [s.hostname or s.node[:8], s.address, s.liveness, s.version, "leads" if s.leads else ""]
            for s in view.servers
        ]
        table(servers, ["server", "ip", "state", "version", "leader"])
    if view.store and view.store.members:
        print()
        _members(view.store)


def _store(store: StoreView | None, revision: int) -> str:
    from skerry.entry.cli.output import show_size

    if store is None:
        return f"revision {revision}"
    size = show_size(store.size_bytes) if store.size_bytes else ""
    quota = f" of {show_size(store.quota_bytes)}" if store.quota_bytes else ""
    parts = [store.kind, f"{size}{quota}", f"revision {revision}"]
    return ", ".join(part for part in parts if part)


def _clocks(view: ClusterView) -> str:
    if not view.skews:
        return ""
    worst = max(view.skews.values(), key=abs)
    return f"at most {abs(worst):.1f} s apart from the leader's"


def _members(store: StoreView) -> None:
    from skerry.entry.cli.output import show_size, table

    rows = [
        [
            member.name,
            member.address,
            "healthy" if member.healthy else member.problem or "not healthy",
            "learner" if member.learner else "leader" if member.leader else "",
            show_size(member.size_bytes) if member.size_bytes else "",
            member.version,
        ]
        for member in store.members
    ]
    table(rows, ["member", "address", "state", "role", "size", "etcd"])
