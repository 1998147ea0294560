"""Puts a change in place: sign, check every threshold, write; in an order that no reader can see half of.

    blobs → documents → channels, targets → snapshot → timestamp → root

Until the timestamp is there a reader has the old repository, and afterwards the new one. A root comes last,
because all that it gives to new keys has then been signed by the old ones as well: right before it and right
after. Only where old keys are not to be used, for they were stolen, does the root come first; clients that
come in the seconds between are refused, and try again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.image.release import manifest as manifests
from skerry.image.release import roles
from skerry.image.release.errors import ExpiredRoleError, MissingKeyError, PublishError, ThresholdError
from skerry.kit.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tuf.api.metadata import Metadata, Root, Snapshot, Targets  # type: ignore[attr-defined]

    from skerry.image.release.changes import Change, Signable
    from skerry.image.release.keys import Keyring
    from skerry.image.release.repository import Repository
    from skerry.image.release.state import State

PINNED_ROOT = "root.json"


@dataclass(frozen=True, slots=True)
class Written:
    """What a change came to: the roles' new versions, and the bytes of metadata and documents written."""

    note: str
    versions: Mapping[str, int]
    metadata_bytes: int


@dataclass(frozen=True, slots=True)
class _Delegators:
    """Who says which keys sign: before a change (`old` is empty for a new repository), and with it."""

    old: Mapping[str, Root | Targets]
    new: Mapping[str, Root | Targets]
    stolen: bool

    def of(self, role: str) -> tuple[Root | Targets, ...]:
        """All who must find enough signatures.

        A channel's keys change together with targets, under one snapshot, so its old ones need not sign. Of
        roots, clients follow the chain: each is signed by the one before, whatever became of its keys.
        """
        if role not in roles.TOP_LEVEL:
            return (self.new[roles.TARGETS],)
        twice = roles.ROOT in self.old and (role == roles.ROOT or not self.stolen)
        return (self.new[roles.ROOT], *([self.old[roles.ROOT]] if twice else []))


def pinned_root(keyring: Keyring) -> bytes | None:
    """The root that these keys' repository must descend from."""
    try:
        return (keyring.directory / PINNED_ROOT).read_bytes()
    except FileNotFoundError:
        return None


def carry_out(repository: Repository, change: Change, keyring: Keyring, now: float) -> Written:
    """Sign a change with the keys here and put it in place.

    Signatures that the metadata has already are kept and count. Raises PublishError; the repository is then
    as it was.
    """
    with repository.lock():
        state = _read(repository, change, keyring)
        _check_base(state, change)
        _check_blobs(repository, change)
        before = _signed(state) if state else {}
        after = {**before, **{role: metadata.signed for role, metadata in change.metadata.items()}}
        delegators = _Delegators(before, after, change.stolen)
        for role, metadata in change.metadata.items():
            _sign(metadata, role, delegators.of(role), keyring)
        if state is not None:
            _check_expiry(state, change, now)
        online = _online(state, change, keyring, now, delegators)
        written = _write(repository, change, online, root_first=change.stolen or state is None)
        root = change.metadata.get(roles.ROOT)
        if root is not None and keyring.directory.is_dir():
            write_atomic(keyring.directory / PINNED_ROOT, roles.write(root))
    return written


def rehearse(repository: Repository, change: Change, keyring: Keyring, now: float) -> Written:
    """What `carry_out` would come to, without opening a key or writing anything. Raises PublishError."""
    state = _read(repository, change, keyring)
    _check_base(state, change)
    before = _signed(state) if state else {}
    after = {**before, **{role: metadata.signed for role, metadata in change.metadata.items()}}
    delegators = _Delegators(before, after, change.stolen)
    if state is not None:
        _check_expiry(state, change, now)
    versions = {role: metadata.signed.version for role, metadata in change.metadata.items()}
    for role in roles.ONLINE:
        versions[role] = state.every()[role].signed.version + 1 if state else 1
    for role in versions:
        for delegator in delegators.of(role):
            wanted = delegator.get_delegated_role(role)
            have = keyring.has(wanted.keyids)
            if have < wanted.threshold:
                raise _too_few(role, have, wanted.threshold, delegator, keyring)
    return Written(change.note, versions, 0)


def refresh_due(state: State, now: float) -> bool:
    """Whether the snapshot is to be made anew with the timestamp: half of its time is over."""
    snapshot = state.snapshot.signed
    return now > roles.expires_at(snapshot) - roles.valid_s(snapshot, roles.SNAPSHOT) / 2


def _read(repository: Repository, change: Change, keyring: Keyring) -> State | None:
    if not repository.exists:
        return None
    return repository.read(pinned_root(keyring), unsigned=change.mends)


def _check_blobs(repository: Repository, change: Change) -> None:
    """Nothing is signed for that is not there: a change may have waited for its signatures for long."""
    for path, data in change.files.items():
        if path.endswith("/channel.json"):
            continue
        manifest = manifests.decode(data)
        for blob in manifest.blobs:
            file = repository.blob(blob)
            if not file.is_file() or file.stat().st_size != blob.size:
                raise PublishError(
                    f"{blob.path}, a part of {manifest.version}, is not in the repository",
                    hint="publish the image again: what was there before may have been cleared away",
                )


def _signed(state: State) -> dict[str, Root | Targets]:
    return {
        roles.ROOT: state.root.signed,
        roles.TARGETS: state.targets.signed,
        **{name: metadata.signed for name, metadata in state.channels.items()},
    }


def _check_base(state: State | None, change: Change) -> None:
    for role, metadata in change.metadata.items():
        known = state is not None and (role in roles.TOP_LEVEL or role in state.channels)
        now_at = state.metadata(role).signed.version if state is not None and known else 0
        if metadata.signed.version != now_at + 1:
            raise PublishError(
                f"this makes {role} version {metadata.signed.version}, and the repository is at {now_at}",
                hint="something else was published meanwhile: make the change again",
            )


def _check_expiry(state: State, change: Change, now: float) -> None:
    """Roles that are over, and are not made anew here, would make all that is published useless."""
    for role in (roles.ROOT, roles.TARGETS):
        ends = roles.expires_at(state.metadata(role).signed)
        if role not in change.metadata and ends <= now:
            raise ExpiredRoleError(
                f"{role} expired on {roles.day(ends)}, so hosts would refuse this",
                hint=f"sign it again first: skerry release renew {role}, where its keys are",
            )


def _sign(metadata: roles.AnyMetadata, role: str, by: tuple[Root | Targets, ...], keyring: Keyring) -> None:
    """Sign with what is here, until every delegator in `by` is content."""
    for delegator in by:
        have, needed = roles.good_signatures(metadata, role, delegator)
        if have < needed:
            roles.sign(metadata, keyring.signers(delegator.get_delegated_role(role).keyids))
        have, needed = roles.good_signatures(metadata, role, delegator)
        if have < needed:
            raise _too_few(role, have, needed, delegator, keyring)


def _too_few(
    role: str, have: int, needed: int, delegator: Root | Targets, keyring: Keyring
) -> MissingKeyError | ThresholdError:
    names = [one.name for one in keyring.list() if one.private]
    keyids = delegator.get_delegated_role(role).keyids
    hint = (
        "bring the keys to this machine, or write the change out with --prepare DIR, sign it where they are "
        "(`skerry release sign`), and `skerry release assemble` it here"
    )
    ids = ", ".join(keyid[:12] for keyid in keyids)
    if have == 0:
        where = f"{keyring.directory} has {', '.join(names) or 'none at all'}"
        return MissingKeyError(f"no key of {role} is here ({where}); it is one of {ids}", hint=hint)
    return ThresholdError(f"{role} needs {needed} signatures and has {have}; its keys are {ids}", hint=hint)


def _online(
    state: State | None,
    change: Change,
    keyring: Keyring,
    now: float,
    delegators: _Delegators,
) -> dict[str, tuple[int, bytes]]:
    """Snapshot and timestamp that follow from a change: role to version and bytes; empty where unaffected."""
    content = {role: metadata for role, metadata in change.metadata.items() if role != roles.ROOT}
    if state is not None and not content and roles.ROOT in change.metadata and not change.valid:
        old, new = state.root.signed, delegators.new[roles.ROOT]
        if all(old.roles[role] == new.get_delegated_role(role) for role in roles.ONLINE):
            return {}
    made: dict[str, tuple[int, bytes]] = {}
    snapshot = _next_snapshot(state, content, change, now)
    if snapshot is None and state is not None:
        if roles.ROOT in change.metadata:
            snapshot = roles.renewed(state.snapshot, roles.SNAPSHOT, now)
        else:
            snapshot = state.snapshot
    assert snapshot is not None  # noqa: S101  without a state there always is one
    if state is None or snapshot is not state.snapshot:
        _sign(snapshot, roles.SNAPSHOT, delegators.of(roles.SNAPSHOT), keyring)
        made[roles.SNAPSHOT] = snapshot.signed.version, roles.write(snapshot)
    data = made[roles.SNAPSHOT][1] if roles.SNAPSHOT in made else None
    valid = change.valid.get(roles.TIMESTAMP)
    if state is None:
        assert data is not None  # noqa: S101  as above
        fresh = roles.new_timestamp(data, snapshot.signed.version)
        timestamp = roles.fresh(fresh, roles.TIMESTAMP, now, valid=valid)
    else:
        timestamp = roles.renewed(state.timestamp, roles.TIMESTAMP, now, valid=valid)
        if data is not None:
            meta = roles.new_timestamp(data, snapshot.signed.version).snapshot_meta
            timestamp.signed.snapshot_meta = meta
    _sign(timestamp, roles.TIMESTAMP, delegators.of(roles.TIMESTAMP), keyring)
    made[roles.TIMESTAMP] = timestamp.signed.version, roles.write(timestamp)
    return made


def _next_snapshot(
    state: State | None, content: Mapping[str, Signable], change: Change, now: float
) -> Metadata[Snapshot] | None:
    """The snapshot with the new metadata; None where it may stay as it is."""
    files = {role: roles.write(metadata) for role, metadata in content.items()}
    numbers = {role: metadata.signed.version for role, metadata in content.items()}
    fresh = roles.new_snapshot(files, numbers)
    valid = change.valid.get(roles.SNAPSHOT)
    if state is None:
        return roles.fresh(fresh, roles.SNAPSHOT, now, valid=valid)
    if not content and valid is None and not refresh_due(state, now) and not change.mends:
        return None
    snapshot = roles.renewed(state.snapshot, roles.SNAPSHOT, now, valid=valid)
    snapshot.signed.meta.update(fresh.meta)
    return snapshot


def _write(
    repository: Repository, change: Change, online: Mapping[str, tuple[int, bytes]], *, root_first: bool
) -> Written:
    total = 0
    for path, data in change.files.items():
        repository.write_target(path, data)
        total += len(data)
    versions: dict[str, int] = {}
    for role, version, data in _in_order(change, online, root_first=root_first):
        repository.write_metadata(role if role == roles.TIMESTAMP else f"{version}.{role}", data)
        versions[role] = version
        total += len(data)
    return Written(change.note, versions, total)


def _in_order(
    change: Change, online: Mapping[str, tuple[int, bytes]], *, root_first: bool
) -> Iterator[tuple[str, int, bytes]]:
    new = {
        role: (metadata.signed.version, roles.write(metadata)) for role, metadata in change.metadata.items()
    }
    root = new.pop(roles.ROOT, None)
    if root is not None and root_first:
        yield roles.ROOT, *root
    targets = new.pop(roles.TARGETS, None)
    for role, made in new.items():
        yield role, *made
    if targets is not None:
        yield roles.TARGETS, *targets
    for role in roles.ONLINE:
        if role in online:
            yield role, *online[role]
    if root is not None and not root_first:
        yield roles.ROOT, *root
