"""What a change makes of a repository: from its state to the next metadata and files, unsigned. Pure.

A change holds the next version of root, targets or channels, and the documents they sign for. Snapshot and
timestamp follow from it when it is put in place (publisher.py), for they name the hashes of what was signed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import msgspec
from tuf.api.metadata import Metadata, Root, TargetFile, Targets  # type: ignore[attr-defined]

from skerry.image.release import channel as channels
from skerry.image.release import manifest as manifests
from skerry.image.release import roles
from skerry.image.release import version as versions
from skerry.image.release.channel import Channel, ReleaseEntry
from skerry.image.release.errors import NoRoomError, NotNewerError, PublishError
from skerry.image.release.rollout import Rollout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from securesystemslib.signer import Key  # type: ignore[import-untyped]

    from skerry.image.release.manifest import Disk, Manifest
    from skerry.image.release.rollout import Wave
    from skerry.image.release.state import State

SLOT_ROOM = 0.2  # of a slot stays free, so that later versions fit too
Signable: TypeAlias = "Metadata[Root] | Metadata[Targets]"


@dataclass(frozen=True, slots=True)
class Change:
    """`metadata` by role, `files` by target path, and what it is about, in a line.

    `valid` sets for how long snapshot and timestamp are good from now on; absent ones stay as they are.
    `stolen` keys are being replaced: nothing is signed with the old ones any more, except root by root's.
    `mends` says that what stands may not be signed as the root wants it; all of it is signed anew.
    """

    note: str
    metadata: Mapping[str, Signable] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    valid: Mapping[str, float] = field(default_factory=dict)
    stolen: bool = False
    mends: bool = False


def create(
    keys: Mapping[str, Sequence[Key]],
    thresholds: Mapping[str, int],
    names: Sequence[str],
    now: float,
    valid: Mapping[str, float],
) -> Change:
    """A new repository: `keys` and `thresholds` for the four roles and each channel in `names`."""
    for role in (*roles.TOP_LEVEL, *names):
        if len({key.keyid for key in keys[role]}) < thresholds[role] or thresholds[role] < 1:
            raise PublishError(f"{role} cannot need {thresholds[role]} of {len(keys[role])} keys")
    root = roles.new_root(keys, thresholds, now, valid=valid.get(roles.ROOT))
    targets = roles.new_targets(now, valid=valid.get(roles.TARGETS))
    metadata: dict[str, Signable] = {roles.ROOT: root, roles.TARGETS: targets}
    files: dict[str, bytes] = {}
    for name in names:
        roles.delegate(targets.signed, name, keys[name], thresholds[name])
        metadata[name], document = _first(name, now, valid.get(roles.CHANNEL))
        files |= document
    return Change("a new repository", metadata, files, valid)


def add_channel(state: State, name: str, keys: Sequence[Key], threshold: int, now: float) -> Change:
    """A channel with keys of its own."""
    channels.check_name(name)
    if name in state.documents:
        raise PublishError(f"there is a channel {name} already")
    targets = roles.renewed(state.targets, roles.TARGETS, now)
    roles.delegate(targets.signed, name, keys, threshold)
    first, files = _first(name, now, None)
    return Change(f"channel {name} is new", {roles.TARGETS: targets, name: first}, files)


def publish(
    state: State,
    name: str,
    manifest: Manifest,
    waves: tuple[Wave, ...] | None,
    now: float,
    disks: Iterable[Disk | None],
) -> Change:
    """A release in a channel. `disks` are those that earlier releases of the channel made.

    Raises NotNewerError, NoRoomError.
    """
    document = state.document(name)
    version = manifest.version
    check_newer(state, name, version)
    _check_room(manifest, [disk for disk in (*disks, manifest.disk) if disk is not None])
    manifest = msgspec.structs.replace(manifest, published=now)
    entry = ReleaseEntry(
        version=version,
        published=now,
        rollout=Rollout(now, waves) if waves else None,
        minimum_version=manifest.minimum_version,
    )
    changed = msgspec.structs.replace(document, releases=(*document.releases, entry))
    more = {manifests.target_path(name, version): manifest.encode()}
    return edit(state, changed, now, f"{version} is published to {name}", more)


def check_newer(state: State, name: str, version: str) -> None:
    """Raise NotNewerError where a channel has this version, or a later one."""
    newest = state.document(name).newest
    if newest is not None and not versions.is_newer(version, newest.version):
        raise NotNewerError(
            f"channel {name} is at {newest.version}, and {version} is not newer",
            hint="raise `version` in the recipe and build again; what is published never changes",
        )


def edit(
    state: State, document: Channel, now: float, note: str, more: Mapping[str, bytes] | None = None
) -> Change:
    """A channel with another document; `more` are targets to sign for besides."""
    name = document.channel
    files = {**(more or {}), channels.target_path(name): document.encode()}
    metadata = roles.renewed(state.channels[name], name, now)
    for path, data in files.items():
        metadata.signed.targets[path] = TargetFile.from_data(path, data, ["sha256"])
    return Change(note, {name: metadata}, files)


def channel_with(state: State, version: str) -> str:
    """A channel that has a release. Raises PublishError where none has."""
    for name, document in state.documents.items():
        if document.release(version) is not None:
            return name
    raise PublishError(
        f"no channel has a release {version}", hint="`skerry release list` shows what there is"
    )


def rollout(state: State, name: str, version: str, waves: tuple[Wave, ...] | None, now: float) -> Change:
    """Other waves for a release, from now on; None lets every node have it at once."""
    document, entry = _release(state, name, version)
    fresh = msgspec.structs.replace(entry, rollout=Rollout(now, waves) if waves else None)
    told = "goes out in waves from now on" if waves else "goes to every host at once"
    return edit(state, _with(document, fresh), now, f"{version} in {name} {told}")


def pause(state: State, name: str, reason: str, now: float) -> Change:
    """No host takes anything from the channel until it is resumed."""
    document = state.document(name)
    if document.paused:
        raise PublishError(f"channel {name} is paused already")
    changed = msgspec.structs.replace(document, paused=True, paused_at=now, pause_reason=reason)
    return edit(state, changed, now, f"channel {name} is paused")


def resume(state: State, name: str, now: float) -> Change:
    """Go on where the pause began: waves that had not ended move on by its length."""
    document = state.document(name)
    if not document.paused:
        raise PublishError(f"channel {name} is not paused")
    began = now if document.paused_at is None else document.paused_at
    entries = tuple(_moved(entry, began, now) for entry in document.releases)
    changed = msgspec.structs.replace(
        document, releases=entries, paused=False, paused_at=None, pause_reason=""
    )
    return edit(state, changed, now, f"channel {name} goes on")


def withdraw(state: State, name: str, version: str, reason: str, now: float) -> Change:
    """No host takes this release any more. It stays signed for, so that who runs it knows why."""
    document, _ = _release(state, name, version)
    if version in document.withdrawn:
        raise PublishError(f"{version} was withdrawn from {name} already: {document.withdrawn[version]}")
    changed = msgspec.structs.replace(document, withdrawn={**document.withdrawn, version: reason})
    return edit(state, changed, now, f"{version} is withdrawn from {name}")


def retire(state: State, name: str, version: str, now: float) -> Change:
    """Take an old release out of a channel; what nothing else refers to goes at the next `gc`."""
    document, entry = _release(state, name, version)
    if entry is document.newest or version == document.floor:
        what = "newest release" if entry is document.newest else "floor"
        raise PublishError(
            f"{version} is the {what} of {name}", hint="`skerry release withdraw` keeps hosts from it"
        )
    changed = msgspec.structs.replace(
        document,
        releases=tuple(one for one in document.releases if one is not entry),
        withdrawn={one: why for one, why in document.withdrawn.items() if one != version},
    )
    change = edit(state, changed, now, f"{version} is no longer in {name}")
    signed = change.metadata[name].signed
    if isinstance(signed, Targets):
        del signed.targets[manifests.target_path(name, version)]
    return change


def set_floor(state: State, name: str, version: str, now: float) -> Change:
    """No host takes a release below `version`, and those below wait for no wave."""
    document, _ = _release(state, name, version)
    if document.floor is not None and not versions.is_newer(version, document.floor):
        raise PublishError(f"the floor of {name} is {document.floor}, and only goes up")
    if version in document.withdrawn:
        raise PublishError(f"{version} was withdrawn from {name}, so it cannot be the floor")
    changed = msgspec.structs.replace(document, floor=version)
    return edit(state, changed, now, f"the floor of {name} is {version}")


def renew(state: State, names: Iterable[str], now: float, valid: Mapping[str, float] | None = None) -> Change:
    """Root, targets or channels signed again, for their time anew, or for `valid` seconds by role."""
    metadata: dict[str, Signable] = {}
    given = valid or {}
    for role in names:
        if role == roles.ROOT:
            metadata[role] = roles.renewed(state.root, role, now, valid=given.get(role))
        elif role == roles.TARGETS:
            metadata[role] = roles.renewed(state.targets, role, now, valid=given.get(role))
        else:
            state.document(role)
            metadata[role] = roles.renewed(state.channels[role], role, now, valid=given.get(role))
    return Change(f"{', '.join(metadata)} signed again", metadata)


def mend(state: State, now: float) -> Change:
    """Targets, snapshot and timestamp signed anew by the keys that root names, whoever signed them before."""
    metadata: dict[str, Signable] = {roles.TARGETS: roles.renewed(state.targets, roles.TARGETS, now)}
    return Change("everything below root is signed anew", metadata, stolen=True, mends=True)


def rotate(
    state: State, role: str, keys: Sequence[Key], threshold: int, now: float, *, stolen: bool = False
) -> Change:
    """Other keys for a role: of root in root itself, of channels in targets."""
    if not 1 <= threshold <= len({key.keyid for key in keys}):
        raise PublishError(f"{role} cannot need {threshold} of {len(keys)} keys")
    note = f"{role} has new keys"
    if role not in roles.TOP_LEVEL:
        state.document(role)
        targets = roles.renewed(state.targets, roles.TARGETS, now)
        roles.delegate(targets.signed, role, keys, threshold)
        channel = roles.renewed(state.channels[role], role, now)
        return Change(note, {roles.TARGETS: targets, role: channel}, stolen=stolen)
    root = roles.renewed(state.root, roles.ROOT, now)
    for keyid in list(root.signed.roles[role].keyids):
        root.signed.revoke_key(keyid, role)
    for key in keys:
        root.signed.add_key(key, role)
    root.signed.roles[role].threshold = threshold
    metadata: dict[str, Signable] = {roles.ROOT: root}
    if role == roles.TARGETS:
        metadata[role] = roles.renewed(state.targets, role, now)
    return Change(note, metadata, stolen=stolen)


def _first(name: str, now: float, valid: float | None) -> tuple[Metadata[Targets], dict[str, bytes]]:
    path, data = channels.target_path(name), Channel(name).encode()
    targets = Targets(1, targets={path: TargetFile.from_data(path, data, ["sha256"])})
    return roles.fresh(targets, name, now, valid=valid), {path: data}


def _release(state: State, name: str, version: str) -> tuple[Channel, ReleaseEntry]:
    document = state.document(name)
    entry = document.release(version)
    if entry is None:
        known = ", ".join(one.version for one in document.releases) or "none"
        raise PublishError(f"channel {name} has no release {version}", hint=f"it has {known}")
    return document, entry


def _with(document: Channel, entry: ReleaseEntry) -> Channel:
    releases = tuple(entry if one.version == entry.version else one for one in document.releases)
    return msgspec.structs.replace(document, releases=releases)


def _moved(entry: ReleaseEntry, began: float, now: float) -> ReleaseEntry:
    """A release as it goes on after a pause: its waves come later by what it missed, unless all had come."""
    given = entry.rollout
    if given is None or given.start + given.waves[-1].after_s <= began:
        return entry
    missed = max(0.0, now - max(began, given.start))
    return msgspec.structs.replace(entry, rollout=Rollout(given.start + missed, given.waves))


def _check_room(manifest: Manifest, disks: Sequence[Disk]) -> None:
    if not disks:
        return
    root, uki = manifest.part(manifests.ROOT), manifest.part(manifests.UKI)
    slot, esp = min(disk.slot for disk in disks), min(disk.esp for disk in disks)
    if root.size > slot * (1 - SLOT_ROOM):
        raise NoRoomError(
            f"the root is {root.size / 2**20:.1f} MiB, and hosts of this channel have slots of "
            f"{slot / 2**20:.0f} MiB: less than {SLOT_ROOM:.0%} would be free",
            hint="a slot never grows on a host: make the image smaller (tree.remove, packages.install)",
        )
    if 2 * uki.size > esp * (1 - SLOT_ROOM):
        raise NoRoomError(
            f"two kernels of {uki.size / 2**20:.1f} MiB do not fit into the {esp / 2**20:.0f} MiB that hosts "
            f"of this channel have for them, with {SLOT_ROOM:.0%} to spare",
            hint="make the kernel's image smaller (initrd.modules, kernel.package)",
        )
