"""The roles of a repository and their metadata: made, renewed, signed and checked; no files here.

    root       keys and thresholds of the four; offline           1 year
    targets    delegates channels/CHANNEL/* to a role each; offline   1 year
    CHANNEL    channel.json and the manifests of its releases     90 days
    snapshot   the versions of targets and all channels; online   14 days
    timestamp  the snapshot to take now; online                   3 days

How long a role is good for stands in its own metadata as `x-skerry-valid-s`, signed like the rest, and is
taken over when it is made anew. So the time of signing is known, too: `expires` less that.
Format: https://theupdateframework.github.io/specification/v1.0.33/
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from tuf.api.exceptions import RepositoryError as TufError
from tuf.api.metadata import (  # type: ignore[attr-defined]
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Signed,
    Snapshot,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from skerry.image.release.errors import DocumentError, SignatureError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from securesystemslib.signer import Key, Signer  # type: ignore[import-untyped]

DAY = 86400
ROOT, TARGETS, SNAPSHOT, TIMESTAMP = Root.type, Targets.type, Snapshot.type, Timestamp.type
TOP_LEVEL = (ROOT, TARGETS, SNAPSHOT, TIMESTAMP)
ONLINE = (SNAPSHOT, TIMESTAMP)
CHANNEL = "channel"
VALID_S = {ROOT: 365 * DAY, TARGETS: 365 * DAY, CHANNEL: 90 * DAY, SNAPSHOT: 14 * DAY, TIMESTAMP: 3 * DAY}
VALID_FIELD = "x-skerry-valid-s"
VERSIONED = JSONSerializer(compact=True)

Delegator: TypeAlias = "Root | Targets"
AnyMetadata: TypeAlias = "Metadata[Root] | Metadata[Targets] | Metadata[Snapshot] | Metadata[Timestamp]"
S = TypeVar("S", Root, Targets, Snapshot, Timestamp)


def kind(role: str) -> str:
    """What a role is: one of the four, or a channel."""
    return role if role in TOP_LEVEL else CHANNEL


def valid_s(signed: Signed, role: str) -> float:
    """For how long metadata of this role is made to be good."""
    told = signed.unrecognized_fields.get(VALID_FIELD)
    return float(told) if isinstance(told, int | float) and told > 0 else float(VALID_S[kind(role)])


def signed_at(signed: Signed, role: str) -> float:
    """When metadata was signed, in seconds since 1970: never later than it was."""
    return expires_at(signed) - valid_s(signed, role)


def expires_at(signed: Signed) -> float:
    """When metadata ends, in seconds since 1970."""
    return signed.expires.replace(tzinfo=datetime.UTC).timestamp()


def day(moment: float) -> str:
    """A moment as people read it: 2026-11-21 05:00 UTC."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def until(now: float, seconds: float) -> datetime.datetime:
    """An `expires` so many seconds from now."""
    return datetime.datetime.fromtimestamp(now + seconds, datetime.UTC).replace(microsecond=0)


def fresh(signed: S, role: str, now: float, *, valid: float | None = None) -> Metadata[S]:
    """First metadata of a role, unsigned; good for `valid` seconds (the role's usual time)."""
    seconds = VALID_S[kind(role)] if valid is None else valid
    signed.unrecognized_fields[VALID_FIELD] = int(seconds)
    signed.expires = until(now, seconds)
    return Metadata(signed)


def renewed(old: Metadata[S], role: str, now: float, *, valid: float | None = None) -> Metadata[S]:
    """The next version of metadata, unsigned, with nothing else changed; a copy, to be altered freely."""
    new: Metadata[S] = Metadata.from_bytes(old.to_bytes(VERSIONED))
    new.signatures.clear()
    new.signed.version += 1
    seconds = valid_s(old.signed, role) if valid is None else valid
    new.signed.unrecognized_fields[VALID_FIELD] = int(seconds)
    new.signed.expires = until(now, seconds)
    return new


def new_root(
    keys: Mapping[str, Sequence[Key]], thresholds: Mapping[str, int], now: float, *, valid: float | None
) -> Metadata[Root]:
    """The first root: the keys and thresholds of the four roles."""
    known = {key.keyid: key for role in TOP_LEVEL for key in keys[role]}
    roles = {role: Role([key.keyid for key in keys[role]], thresholds[role]) for role in TOP_LEVEL}
    return fresh(Root(1, keys=known, roles=roles, consistent_snapshot=True), ROOT, now, valid=valid)


def new_targets(now: float, *, valid: float | None) -> Metadata[Targets]:
    """The first targets: no channel yet."""
    return fresh(Targets(1, delegations=Delegations({}, {})), TARGETS, now, valid=valid)


def delegate(targets: Targets, channel: str, keys: Sequence[Key], threshold: int) -> None:
    """Let `channel` be signed for by these keys and no others."""
    delegations = targets.delegations
    if delegations is None or delegations.roles is None:
        raise DocumentError("the targets role does not delegate by name")
    delegations.roles[channel] = DelegatedRole(
        channel, [key.keyid for key in keys], threshold, True, paths=[f"channels/{channel}/*"]
    )
    for key in keys:
        delegations.keys[key.keyid] = key
    used = {keyid for role in delegations.roles.values() for keyid in role.keyids}
    for keyid in set(delegations.keys) - used:
        del delegations.keys[keyid]


def channels(targets: Targets) -> tuple[str, ...]:
    """The channels that targets delegates to."""
    delegated = targets.delegations.roles if targets.delegations else None
    return tuple(delegated or ())


def new_snapshot(files: Mapping[str, bytes], versions: Mapping[str, int]) -> Snapshot:
    """Names targets and every channel with version, length and hash of their metadata."""
    meta = {
        f"{role}.json": MetaFile.from_data(versions[role], data, ["sha256"]) for role, data in files.items()
    }
    return Snapshot(1, meta=meta)


def new_timestamp(snapshot: bytes, version: int) -> Timestamp:
    """Names the snapshot with version, length and hash."""
    return Timestamp(1, snapshot_meta=MetaFile.from_data(version, snapshot, ["sha256"]))


def sign(metadata: AnyMetadata, signers: Iterable[Signer]) -> int:
    """Add signatures, keeping those that are there; how many there are then."""
    for signer in signers:
        metadata.sign(signer, append=True)
    return len(metadata.signatures)


def good_signatures(metadata: AnyMetadata, role: str, delegator: Delegator) -> tuple[int, int]:
    """How many keys of a role signed well, and how many are needed."""
    wanted = delegator.get_delegated_role(role)
    found = delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    return len(found.signed), wanted.threshold


def check(metadata: AnyMetadata, role: str, delegator: Delegator) -> None:
    """Raise SignatureError where too few of a role's keys signed."""
    have, needed = good_signatures(metadata, role, delegator)
    if have < needed:
        raise SignatureError(f"{role} has {have} good signatures and needs {needed}")


def read(data: bytes, kind_: type[S], what: str) -> Metadata[S]:
    """Parse metadata, checking only its kind. Raises DocumentError."""
    try:
        metadata: Metadata[S] = Metadata.from_bytes(data)
    except TufError as error:
        raise DocumentError(f"{what} is damaged: {error}") from error
    if metadata.signed.type != kind_.type:
        raise DocumentError(f"{what} is metadata of {metadata.signed.type}, not of {kind_.type}")
    return metadata


def version_of(data: bytes) -> int:
    """The version of metadata of any kind. Raises DocumentError."""
    try:
        return int(Metadata.from_bytes(data).signed.version)
    except TufError as error:
        raise DocumentError(f"this is no metadata: {error}") from error


def write(metadata: AnyMetadata) -> bytes:
    """The bytes that are stored and served."""
    return metadata.to_bytes(VERSIONED)
