"""What a channel offers to one host: the decision, with its reason, from values alone.

The newest release that nothing speaks against. What may speak against one: it was withdrawn, lies below the
floor, cannot be installed from the running version, failed on this host before, or its wave has not come
yet. A release in between may then be the step that leads further. A pause holds everything. A host below
the floor waits for no wave: raising the floor is how an operator hurries everybody.

TUF keeps metadata from going back, not the choice of an older target: here, nothing older than what runs is
ever offered, and `permitted` lets it through only to a person who asked for just that.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import msgspec

from skerry.image.release import version as versions
from skerry.image.release.rollout import due

if TYPE_CHECKING:
    from collections.abc import Mapping

    from skerry.image.release.channel import Channel, ReleaseEntry
    from skerry.image.release.manifest import Manifest


class Verdict(enum.StrEnum):
    """Why a version is offered or not."""

    OFFERED = "offered"
    CURRENT = "current"  # nothing newer is there
    PAUSED = "paused"
    WAITING = "waiting"  # the host's wave has not come
    NEEDS_STEP = "needs-step"  # only from a later version than the running one
    WITHDRAWN = "withdrawn"
    BELOW_FLOOR = "below-floor"
    REFUSED = "refused"  # it failed on this host before
    OLDER = "older"  # than what runs
    UNKNOWN = "unknown"  # not in the channel


class PassedOver(msgspec.Struct, frozen=True):
    """A newer release that is not offered."""

    version: str
    verdict: Verdict
    why: str
    due: float | None = None


class Offer(msgspec.Struct, frozen=True):
    """The version to go to, or None, and why in a sentence. `due` is when a wave will bring the next one."""

    version: str | None
    verdict: Verdict
    why: str
    due: float | None = None
    passed_over: tuple[PassedOver, ...] = ()


def offered(
    channel: Channel, running: str, node: str, now: float, *, refused: Mapping[str, str] | None = None
) -> Offer:
    """What a channel offers to the host `node`, which runs `running`, at `now` (seconds since 1970).

    `refused` maps the versions that failed on this host to how.
    """
    newer = [release for release in channel.releases if versions.is_newer(release.version, running)]
    if not newer:
        return Offer(None, Verdict.CURRENT, _nothing_newer(channel, running))
    if channel.paused:
        why = f"; the reason given: {channel.pause_reason}" if channel.pause_reason else ""
        return Offer(None, Verdict.PAUSED, f"channel {channel.channel} is paused{why}")
    passed: list[PassedOver] = []
    for release in reversed(newer):
        against = _against(channel, release, running, refused or {})
        against = against or _wave(channel, release, running, node, now)
        if against is None:
            step = f", on the way to {passed[0].version}" if passed else ""
            why = f"{release.version} is the newest release for this host{step}"
            return Offer(release.version, Verdict.OFFERED, why, passed_over=tuple(passed))
        passed.append(against)
    coming = [one.due for one in passed if one.due is not None]
    return Offer(None, passed[0].verdict, passed[0].why, due=min(coming, default=None),
                 passed_over=tuple(passed))  # fmt: skip


def permitted(
    channel: Channel,
    running: str,
    version: str,
    *,
    allow_downgrade: bool = False,
    refused: Mapping[str, str] | None = None,
) -> Offer:
    """Whether a person may have just this version: waves and pauses do not hold what is asked for by name."""
    release = channel.release(version)
    if release is None:
        known = ", ".join(one.version for one in channel.releases) or "nothing"
        return Offer(None, Verdict.UNKNOWN, f"channel {channel.channel} has no {version}; it has {known}")
    against = _against(channel, release, running, refused or {})
    if against is not None:
        return Offer(None, against.verdict, against.why)
    if versions.parse(version) == versions.parse(running):
        return Offer(None, Verdict.CURRENT, f"{running} is running already")
    if versions.is_older(version, running) and not allow_downgrade:
        return Offer(None, Verdict.OLDER, f"{version} is older than {running}, which runs")
    return Offer(version, Verdict.OFFERED, f"{version} was asked for by name")


def suits(manifest: Manifest, *, name: str, architecture: str) -> str | None:
    """Why a release is not for a host that runs the image `name`; None where it is."""
    if manifest.name != name:
        return f"release {manifest.version} is of {manifest.name}, and this host runs {name}"
    if manifest.architecture != architecture:
        return f"release {manifest.version} is for {manifest.architecture}, and this host is {architecture}"
    return None


def _against(
    channel: Channel, release: ReleaseEntry, running: str, refused: Mapping[str, str]
) -> PassedOver | None:
    """What speaks against a release on this host at any time."""
    version = release.version
    if version in channel.withdrawn:
        return PassedOver(
            version, Verdict.WITHDRAWN, f"{version} was withdrawn: {channel.withdrawn[version]}"
        )
    if channel.floor is not None and versions.is_older(version, channel.floor):
        return PassedOver(version, Verdict.BELOW_FLOOR, f"{version} lies below {channel.floor}, the floor")
    if version in refused:
        return PassedOver(version, Verdict.REFUSED, f"{version} failed on this host: {refused[version]}")
    least = release.minimum_version
    if least is not None and versions.is_older(running, least):
        why = f"{version} can be installed from {least} on, and this host runs {running}"
        return PassedOver(version, Verdict.NEEDS_STEP, why)
    return None


def _wave(channel: Channel, release: ReleaseEntry, running: str, node: str, now: float) -> PassedOver | None:
    hurried = channel.floor is not None and versions.is_older(running, channel.floor)
    if hurried or due(release.rollout, node, release.version, now):
        return None
    when = release.rollout.due_at(node, release.version) if release.rollout else None
    told = "has not reached this host yet" if when is not None else "does not reach this host"
    return PassedOver(release.version, Verdict.WAITING, f"the rollout of {release.version} {told}", due=when)


def _nothing_newer(channel: Channel, running: str) -> str:
    newest = channel.newest
    if newest is None:
        return f"channel {channel.channel} has no releases yet"
    if running in channel.withdrawn:
        reason = channel.withdrawn[running]
        return (
            f"nothing is newer than {running}, which was withdrawn ({reason}); an older one must be asked for"
        )
    if versions.is_newer(running, newest.version):
        return f"this host runs {running}, and channel {channel.channel} has only got to {newest.version}"
    return f"{running} is the newest release of channel {channel.channel}"
