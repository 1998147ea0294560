"""What an update costs a host, next to other ways to bring the same bytes to it: bytes fetched, CPU, memory.

Two real images of the shipped recipe are composed, one with Debian's release pocket alone and one with
updates and security. Every way publishes as on a build machine, which takes minutes and is kept, and is then
carried out as on a host, over a server that counts; what it made is compared. Bytes and memory are exact; CPU
seconds are of one run. `peak` is of the largest process, the Python of ours included.

    update_bytes.py [BEFORE AFTER]      directories of two images that are there already
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness import RESULTS, report
from updates import ours, peers
from updates.pair import Side, compose, difference
from updates.served import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from updates.measure import Cost
    from updates.served import Served

MB = 1e6
MIB = 1 << 20
MEMORY_GOAL_MIB = 64
KEPT = RESULTS / "updates"

# For each part: ways of ours, and peers with their name. An ostree delta is of the tree, which is the root's.
ROOT_PEERS = {
    "ostree, static delta": peers.ostree,
    "bsdiff, whole image": peers.bsdiff,
    "zstd --patch-from": peers.zstd_patch,
    "xdelta3": peers.xdelta3,
    "zchunk": peers.zchunk,
    "casync": peers.casync,
    "RAUC block-hash-index, reckoned": peers.rauc_index,
    "zstd -19, whole": peers.whole,
}
UKI_PEERS = {what: way for what, way in ROOT_PEERS.items() if not what.startswith("ostree")}
GOAL_PEERS = {
    "patch": ["ostree, static delta"],
    "blocks": ["zchunk", "casync", "RAUC block-hash-index, reckoned"],
}


def carried_out(way: Callable[[Served, Path], Cost], served: Served, what: str) -> Cost:
    print(f"  … {what}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=KEPT, prefix="scratch-") as scratch:
        return way(served, Path(scratch))


def measure(before: Side, after: Side, directory: Path) -> dict[str, dict[str, Cost]]:
    """Costs by part and way."""
    costs: dict[str, dict[str, Cost]] = {}
    with serve(directory) as served:
        print("  … publish", file=sys.stderr, flush=True)
        parts = ours.publish(before, after, directory)
        for name, others in (("root", ROOT_PEERS), ("uki", UKI_PEERS)):
            found = costs[name] = {}
            for way in ("patch", "blocks", "full"):
                if way == "patch" and not parts[name].patches:
                    continue  # none was smaller than the whole
                made = partial(ours.apply, parts[name], way, before, after)
                try:
                    found[f"skerry, {way}"] = carried_out(made, served, f"{name}: skerry, {way}")
                except ours.NotTakenError as chosen:
                    print(chosen)
            where = directory / name
            where.mkdir(exist_ok=True)
            for what, maker in others.items():
                file = "tree.tar" if maker is peers.ostree else ours.FILES[name]
                prepared = maker(before.path(file), after.path(file), where)
                found[what] = carried_out(prepared, served, f"{name}: {what}")
    return costs


def shown(costs: dict[str, dict[str, Cost]]) -> None:
    """The tables, each held to its goal."""
    for part, found in costs.items():
        first = next(iter(found))
        for way in ("patch", "blocks"):
            if f"skerry, {way}" not in found:
                continue
            chosen = {f"skerry, {way}": found[f"skerry, {way}"]}
            chosen |= {what: one for what, one in found.items() if what not in chosen}
            fetched = {what: [one.fetched / MB] for what, one in chosen.items()}
            goal = None
            if part == "root":
                goal = min(fetched[what][0] for what in GOAL_PEERS[way])
            elif way == "patch":
                goal = fetched["skerry, full"][0] / 2
            report(f"update_{part}_{way}_bytes", "MB fetched", fetched, goal=goal)
        run = {what: one for what, one in found.items() if one.peak}
        report(f"update_{part}_cpu", "CPU s to apply", {what: [one.cpu_s] for what, one in run.items()})
        peak = {what: [one.peak / MIB] for what, one in run.items()}
        report(f"update_{part}_memory", "MiB at most", peak, goal=MEMORY_GOAL_MIB)
        if found[first].fetched > found["skerry, full"].fetched:
            raise RuntimeError(f"{first} fetches more than all of the {part}")


def main() -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    before, after = map(Side, map(Path, sys.argv[1:3])) if len(sys.argv) == 3 else compose(KEPT)
    print(difference(before, after))
    key = hashlib.sha256(f"{before.root_hash}{after.root_hash}".encode()).hexdigest()[:12]
    directory = KEPT / key
    directory.mkdir(exist_ok=True)
    shown(measure(before, after, directory))


if __name__ == "__main__":
    main()
