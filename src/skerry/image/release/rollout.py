"""Who gets a release when: waves over time, and each node's place in them.

A node's place is a hash of its id and the version, in [0, 1): evenly spread, different for each version so
that it is not always the same machines that go first, and worked out on the node. The server keeps no state.
Pure; time is an argument. Shares only grow with time.
"""

from __future__ import annotations

import hashlib
import itertools
import re

import msgspec

from skerry.image.release.errors import DocumentError

HOUR, DAY = 3600.0, 86400.0
UNITS = {"s": 1.0, "m": 60.0, "h": HOUR, "d": DAY}
_WAVE = re.compile(r"(\d+(?:\.\d+)?)%?@(\d+(?:\.\d+)?)([smhd])", re.ASCII)


class Wave(msgspec.Struct, frozen=True):
    """From `after_s` seconds after the rollout's start on, `percent` of all nodes may take the release."""

    percent: float
    after_s: float


class Rollout(msgspec.Struct, frozen=True):
    """The waves of one release; `start` in seconds since 1970. Raises DocumentError where they shrink."""

    start: float
    waves: tuple[Wave, ...]

    def __post_init__(self) -> None:
        if not self.waves:
            raise DocumentError("a rollout needs one wave at least")
        for wave in self.waves:
            if not 0 < wave.percent <= 100 or wave.after_s < 0:
                raise DocumentError(f"a wave of {wave.percent:g} % after {wave.after_s:g} s cannot be")
        for one, two in itertools.pairwise(self.waves):
            if two.percent <= one.percent or two.after_s <= one.after_s:
                raise DocumentError("each wave must reach more nodes than the one before, and later")

    def fraction_at(self, now: float) -> float:
        """The share of nodes, 0 to 1, that may have the release at a time."""
        open_now = (wave.percent for wave in self.waves if self.start + wave.after_s <= now)
        return max(open_now, default=0.0) / 100

    def due_at(self, node: str, version: str) -> float | None:
        """When the release reaches a node; None where its waves never do."""
        mine = place(node, version)
        reaching = (self.start + wave.after_s for wave in self.waves if mine < wave.percent / 100)
        return next(reaching, None)


DEFAULT_WAVES = (
    Wave(1, 0),
    Wave(5, 12 * HOUR),
    Wave(15, 1 * DAY),
    Wave(40, 2 * DAY),
    Wave(60, 3 * DAY),
    Wave(90, 4 * DAY),
    Wave(100, 5 * DAY),
)


def place(node: str, version: str) -> float:
    """A node's place among all nodes for a version: in [0, 1), evenly spread."""
    digest = hashlib.sha256(f"skerry rollout 1\0{version}\0{node}".encode()).digest()
    # 53 bits are what a float holds exactly: more could round up to 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)


def due(rollout: Rollout | None, node: str, version: str, now: float) -> bool:
    """Whether a node may take a version now; without a rollout every node may."""
    return rollout is None or place(node, version) < rollout.fraction_at(now)


def parse_waves(text: str) -> tuple[Wave, ...] | None:
    """Waves as a person writes them: "default", "immediate" (None), or "1%@0h,25%@12h,100%@3d".

    Raises DocumentError.
    """
    if text == "immediate":
        return None
    if text == "default":
        return DEFAULT_WAVES
    waves = []
    for part in text.replace(" ", "").split(","):
        found = _WAVE.fullmatch(part)
        if found is None:
            raise DocumentError(
                f"{part!r} is not a wave", hint="default, immediate, or waves as in 1%@0h,25%@12h,100%@3d"
            )
        waves.append(Wave(float(found[1]), float(found[2]) * UNITS[found[3]]))
    return Rollout(0, tuple(waves)).waves
