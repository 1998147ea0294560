"""Measures things in turn, in one run, so that the machine's mood falls on all of them alike.

    run("cli_help", "ms", {"skerry --help": measure, "podman --help": peer}, goal=100)

The first is ours, the others are its peers. A table goes to stdout and the numbers to build/bench/NAME.json:

    {"version": 1, "name", "unit", "rounds", "goal": number or null, "machine": {"python", "cpus", "kernel"},
     "results": [{"what", "median", "p90", "lowest", "highest", "ratio": of its median to ours}, …]}
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

RESULTS = Path(__file__).resolve().parents[1] / "build" / "bench"


def run(
    name: str,
    unit: str,
    cases: Mapping[str, Callable[[], float]],
    *,
    rounds: int = 21,
    goal: float | None = None,
) -> None:
    """Measure every case once to warm up and then `rounds` times, in turn; `goal` is the most for ours."""
    taken: dict[str, list[float]] = {what: [] for what in cases}
    for number in range(rounds + 1):
        for what, measure in cases.items():
            value = measure()
            if number:
                taken[what].append(value)
    report(name, unit, taken, goal=goal)


def report(name: str, unit: str, taken: Mapping[str, Sequence[float]], *, goal: float | None = None) -> None:
    """Print and keep what was measured already, in the same form."""
    first = next(iter(taken.values()))
    ours, rounds = statistics.median(first), len(first)
    results = [
        {
            "what": what,
            "median": statistics.median(values),
            "p90": _p90(values),
            "lowest": min(values),
            "highest": max(values),
            "ratio": statistics.median(values) / ours if ours else None,
        }
        for what, values in taken.items()
    ]
    machine = {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
    }
    kept = {"version": 1, "name": name, "unit": unit, "rounds": rounds, "goal": goal, "machine": machine}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({**kept, "results": results}, indent=2) + "\n")
    said = "" if goal is None else f", goal {goal:g}: {'met' if ours <= goal else 'MISSED'}"
    print(f"{name} ({unit}, {'once' if rounds == 1 else f'median of {rounds}'}{said})")
    for one in results:
        spread = f"{one['lowest']:.4g} to {one['highest']:.4g}, 90 % {one['p90']:.4g}" if rounds > 1 else ""
        ratio = "" if one["ratio"] is None else f"{one['ratio']:8.2f} x"
        print(f"  {one['what']:<32}{one['median']:>10.4g}   {spread:<34}{ratio}")


def _p90(values: Sequence[float]) -> float:
    """What nine of ten are not above."""
    return sorted(values)[math.ceil(len(values) * 0.9) - 1]


def milliseconds(argv: Sequence[str]) -> Callable[[], float]:
    """How long a program takes from start to end; its output goes nowhere. Raises where it fails."""

    def measure() -> float:
        begun = time.perf_counter()
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return (time.perf_counter() - begun) * 1e3

    return measure


def microseconds(work: Callable[[], object], *, times: int) -> Callable[[], float]:
    """How long a function takes, as the mean of `times` calls."""

    def measure() -> float:
        begun = time.perf_counter()
        for _ in range(times):
            work()
        return (time.perf_counter() - begun) / times * 1e6

    return measure
