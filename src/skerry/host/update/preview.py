"""What an update would do, as `upgrade --plan` shows it: one value, made before anything is touched."""

from __future__ import annotations

import msgspec

from skerry.host.update.around import EtcPreview
from skerry.host.update.obstacles import Obstacle, Room
from skerry.host.update.packages import PackageChanges
from skerry.host.update.plan import PlannedStep
from skerry.host.update.reboot import RebootPlan
from skerry.host.update.source import Cost
from skerry.image.release.offer import PassedOver


class Preview(msgspec.Struct, frozen=True):
    """Sizes in bytes, times in seconds since 1970. `target` is None where nothing is to be done: `why` says.

    `packages` is None where the packages of the running version are not known, `etc` where the release tells
    no defaults.
    """

    running: str
    target: str | None
    channel: str
    why: str
    due: float | None = None
    slot: str = ""
    staged: bool = False
    obstacles: tuple[Obstacle, ...] = ()
    steps: tuple[PlannedStep, ...] = ()
    parts: tuple[Cost, ...] = ()
    fetch: int = 0
    room: Room | None = None
    packages: PackageChanges | None = None
    etc: EtcPreview | None = None
    reboot: RebootPlan | None = None
    notes: str = ""
    published: float = 0.0
    passed_over: tuple[PassedOver, ...] = ()
