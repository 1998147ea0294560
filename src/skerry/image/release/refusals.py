"""What it means that python-tuf refused something: which attack, or whose omission.

A host cannot always tell an attack from a mishap: metadata that is over may be held out by somebody who
keeps newer one back (freeze), or nobody has refreshed the repository. The words then say both.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tuf.api import exceptions as tuf
from tuf.api.metadata import Metadata

from skerry.image.release import roles
from skerry.image.release.errors import (
    EndlessDataError,
    MixAndMatchError,
    RollbackError,
    SignatureError,
    StaleError,
    TrustError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.image.release.fetcher import Fetcher

_VERSIONS = re.compile(r"version (\d+) must be >= (\d+)|version must be >= (\d+), got version (\d+)")
FAR_S = 400 * roles.DAY  # metadata so long over speaks rather of a wrong clock
ATTACK = "whoever answers at this address may be an attacker; tell the repository's operator"


def explained(error: Exception, fetcher: Fetcher, directory: Path, now: float) -> TrustError:
    """The error for what python-tuf raised while it worked on what `fetcher` brought last.

    `directory` has what was trusted before; `now` is the time that was gone by.
    """
    url, role = fetcher.last, fetcher.role()
    if isinstance(error, tuf.DownloadLengthMismatchError):
        return EndlessDataError(f"{url} goes on after all the bytes it may have (endless data)", hint=ATTACK)
    if isinstance(error, tuf.ExpiredMetadataError):
        return _stale(str(error), fetcher, directory, now)
    if isinstance(error, tuf.BadVersionNumberError):
        return _bad_version(str(error), role)
    if isinstance(error, tuf.LengthOrHashMismatchError):
        return MixAndMatchError(
            f"{url} is not the file that was signed for (mix and match, or damage on the way)",
            hint="if it stays so, the server's copy is incomplete or tampered with; `skerry release verify` "
            "tells its operator",
        )
    if isinstance(error, tuf.UnsignedMetadataError):
        return _unsigned(error, role)
    if "missing info for" in str(error) or "not contain information" in str(error):
        return MixAndMatchError(f"the snapshot leaves out what it had to name: {error}", hint=ATTACK)
    return TrustError(f"{url} is not metadata that can be trusted: {error}", hint=ATTACK)


def _unsigned(error: Exception, role: str) -> SignatureError:
    said = re.search(r"was signed by (\d+)/(\d+) keys", str(error))
    if said is not None and said[1] != "0":
        return SignatureError(
            f"{role} has {said[1]} good signatures of the {said[2]} it needs (threshold not met)", hint=ATTACK
        )
    return SignatureError(
        f"{role} is not signed by the keys that are trusted for it (wrong keys)",
        hint="is this the repository that the trusted root belongs to? If it is, " + ATTACK,
    )


def _bad_version(said: str, role: str) -> TrustError:
    if role == roles.TIMESTAMP or (role == roles.SNAPSHOT and "Expected snapshot" not in said):
        found = _VERSIONS.search(said)
        numbers = ""
        if found is not None:
            offered, known = (found[1], found[2]) if found[1] else (found[4], found[3])
            numbers = f": version {offered} is offered, and {known} was seen before"
        return RollbackError(
            f"the repository went back{numbers} (rollback)",
            hint=f"an old copy was put in place, or {ATTACK}",
        )
    return MixAndMatchError(f"{role} is of another moment than the rest (mix and match): {said}", hint=ATTACK)


def _stale(said: str, fetcher: Fetcher, directory: Path, now: float) -> StaleError:
    who = _expired_role(said, fetcher.role())
    ends = _expiry(fetcher.seen.get(who), directory / f"{who}.json")
    since = f" on {roles.day(ends)}" if ends is not None else ""
    if ends is not None and now - ends > FAR_S:
        return StaleError(
            f"{who} expired{since}, and this machine's clock says {roles.day(now)}: one of them is far off",
            role=who, expired=ends, hint="look at the clock first (timedatectl)",
        )  # fmt: skip
    if who in roles.ONLINE:
        return StaleError(
            f"the repository is stale: its {who} expired{since}",
            role=who, expired=ends,
            hint="its operator must run `skerry release refresh`; if other hosts see a newer one, somebody "
            "keeps it from this host (freeze)",
        )  # fmt: skip
    return StaleError(
        f"{who} expired{since}", role=who, expired=ends,
        hint=f"whoever holds its keys must sign it again: skerry release renew {who}",
    )  # fmt: skip


def _expired_role(said: str, role: str) -> str:
    if "Final root" in said:
        return roles.ROOT
    for word in re.findall(r"(\S+?)(?:\.json)? is expired", said):
        return str(word)
    return role


def _expiry(fetched: bytes | None, file: Path) -> float | None:
    """When a role's metadata ends: the one that came, or the local one where that was still good enough."""
    try:
        return roles.expires_at(Metadata.from_bytes(fetched or file.read_bytes()).signed)
    except (OSError, tuf.RepositoryError):
        return None
