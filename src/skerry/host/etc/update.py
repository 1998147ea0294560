"""The merge of /etc as host.update asks for it: implements its EtcStager with a policy that is given once."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from skerry.host.etc.actions import Policy, Result
from skerry.host.etc.stage import Stager
from skerry.host.update.around import EtcChange, EtcPreview

if TYPE_CHECKING:
    from collections.abc import Collection

    from skerry.host.etc.report import Change
    from skerry.kit.clock import Clock


class EtcForUpdates:
    """`policy` is the etc_conflicts of update.toml."""

    def __init__(self, clock: Clock, policy: str = Policy.MINE, stager: Stager | None = None) -> None:
        self.policy = Policy(policy)
        self.stager = stager or Stager(clock)

    def preview(self, defaults: IO[bytes], version: str, from_version: str) -> EtcPreview:
        report = self.stager.preview(defaults, version, from_version, self.policy)
        return EtcPreview(
            changes=tuple(_plain(one) for one in report.changes if one.result is not Result.BESIDE),
            conflicts=tuple(map(_plain, report.conflicts)),
            policy=str(self.policy),
            refused=report.refused,
        )

    def stage(self, version: str, from_version: str) -> None:
        self.stager.stage(version, from_version, self.policy)

    def unstage(self, version: str) -> None:
        self.stager.unstage(version)

    def prune(self, keep: Collection[str]) -> None:
        self.stager.prune(keep)


def _plain(change: Change) -> EtcChange:
    return EtcChange(change.path, str(change.result), change.why)
