"""A change that is signed elsewhere: written to a directory, carried to the keys and back.

    DIRECTORY/change.json             {"format", "note", "valid", "stolen", "mends"}
    DIRECTORY/metadata/ROLE.json      the next version, with the signatures that it has so far
    DIRECTORY/files/…                 the documents it signs for, by their target path
    DIRECTORY/trusted/N.root.json, targets.json    what stands now: which keys sign for what

Snapshot and timestamp are not in it: they name the hashes of what was signed, and are made where it is put in
place. Blobs are in the repository already, where nothing refers to them yet. What is signed is shown from the
metadata itself, and documents are checked against it: change.json only describes.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
from tuf.api.metadata import Metadata, Root, Targets  # type: ignore[attr-defined]

from skerry.image.release import roles
from skerry.image.release.changes import Change, Signable
from skerry.image.release.errors import DocumentError, MissingKeyError, PublishError, SignatureError
from skerry.image.release.manifest import decode_document, encode
from skerry.image.release.publisher import pinned_root
from skerry.kit.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from skerry.image.release.keys import Keyring
    from skerry.image.release.repository import Repository

FORMAT = 1


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    note: str
    valid: dict[str, float] = {}
    stolen: bool = False
    mends: bool = False
    format: int = FORMAT


class Signed(msgspec.Struct, frozen=True):
    """How far a role of a prepared change has got."""

    role: str
    version: int
    have: int
    needed: int
    says: tuple[str, ...]


def write(directory: Path, change: Change, repository: Repository) -> None:
    """Write a change out. Raises PublishError where something lies there already."""
    if directory.exists() and any(directory.iterdir()):
        raise PublishError(f"{directory} is not empty", hint="name a new directory for each change")
    for name in ("metadata", "trusted", "files"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    for path, data in change.files.items():
        file = directory / "files" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, data)
    for role, metadata in change.metadata.items():
        write_atomic(directory / "metadata" / f"{role}.json", roles.write(metadata))
    if repository.exists:
        state = repository.read(unsigned=change.mends)
        for number in range(1, state.root.signed.version + 1):
            write_atomic(directory / "trusted" / f"{number}.root.json", repository.root_bytes(number))
        write_atomic(directory / "trusted" / "targets.json", roles.write(state.targets))
    write_atomic(
        directory / "change.json", encode(_Head(change.note, dict(change.valid), change.stolen, change.mends))
    )


def read(directory: Path) -> Change:
    """The change in a directory, its documents checked against its metadata. Raises PublishError."""
    try:
        head = decode_document((directory / "change.json").read_bytes(), _Head, "prepared change", FORMAT)
        metadata: dict[str, Signable] = {}
        for file in sorted((directory / "metadata").glob("*.json")):
            data = file.read_bytes()
            if file.stem == roles.ROOT:
                metadata[file.stem] = roles.read(data, Root, file.name)
            else:
                metadata[file.stem] = roles.read(data, Targets, file.name)
        files = {
            file.relative_to(directory / "files").as_posix(): file.read_bytes()
            for file in sorted((directory / "files").rglob("*.json"))
        }
    except OSError as error:
        raise PublishError(f"{directory} holds no prepared change: {error}") from error
    _check_files(metadata, files)
    return Change(head.note, metadata, files, head.valid, head.stolen, head.mends)


def look(directory: Path) -> tuple[Signed, ...]:
    """Which signatures there are, which are missing, and what each role would say."""
    change = read(directory)
    old_root, old_targets = _trusted(directory, None)
    found = []
    for role, metadata in change.metadata.items():
        have, needed = _progress(change, role, metadata, old_root, old_targets)
        found.append(Signed(role, metadata.signed.version, have, needed, _says(role, metadata, change)))
    return tuple(found)


def sign(directory: Path, keyring: Keyring) -> tuple[Signed, ...]:
    """Add the signatures of all the keys here that may sign. Raises MissingKeyError where none may."""
    change = read(directory)
    old_root, old_targets = _trusted(directory, pinned_root(keyring))
    added = 0
    for role, metadata in change.metadata.items():
        before = len(metadata.signatures)
        keyids = {
            keyid
            for delegator in _delegators(change, role, old_root, old_targets)
            for keyid in delegator.get_delegated_role(role).keyids
        }
        roles.sign(metadata, keyring.signers(keyids - set(metadata.signatures)))
        added += len(metadata.signatures) - before
        write_atomic(directory / "metadata" / f"{role}.json", roles.write(metadata))
    if not added:
        raise MissingKeyError(
            f"no key in {keyring.directory} may sign any of {', '.join(change.metadata)}, or all have",
            hint="`skerry release sign --dry-run` shows what is missing",
        )
    return look(directory)


def _trusted(directory: Path, pinned: bytes | None) -> tuple[Root | None, Targets | None]:
    """Root and targets that the change was prepared on. Raises SignatureError if not `pinned`'s."""
    files = sorted((directory / "trusted").glob("*.root.json"), key=lambda file: int(file.name.split(".")[0]))
    if not files:
        return None, None
    chain = [roles.read(file.read_bytes(), Root, file.name) for file in files]
    start = roles.read(pinned, Root, "the pinned root") if pinned else chain[0]
    for metadata in chain:
        if metadata.signed.version == start.signed.version + 1:
            roles.check(metadata, roles.ROOT, start.signed)
            roles.check(metadata, roles.ROOT, metadata.signed)
            start = metadata
    last = chain[-1]
    if roles.write(start) != roles.write(last) and start.signed.version <= last.signed.version:
        raise SignatureError(
            f"the change in {directory} is not for the repository that these keys are of",
            hint="its root does not follow from root.json beside the keys",
        )
    targets = roles.read((directory / "trusted" / "targets.json").read_bytes(), Targets, "targets.json")
    return last.signed, targets.signed


def _delegators(
    change: Change, role: str, old_root: Root | None, old_targets: Targets | None
) -> list[Root | Targets]:
    parent, old = (roles.ROOT, old_root) if role in roles.TOP_LEVEL else (roles.TARGETS, old_targets)
    new = change.metadata.get(parent)
    found: list[Root | Targets] = [new.signed] if new is not None else []
    if old is not None and (new is None or role in roles.TOP_LEVEL):
        found.append(old)
    if not found:
        raise DocumentError(f"nothing in the change says whose keys sign for {role}")
    return found


def _progress(
    change: Change, role: str, metadata: Signable, old_root: Root | None, old_targets: Targets | None
) -> tuple[int, int]:
    """Signatures had and needed, of the delegator that is furthest from content."""
    counted = [
        roles.good_signatures(metadata, role, by) for by in _delegators(change, role, old_root, old_targets)
    ]
    return max(counted, key=lambda pair: pair[1] - pair[0])


def _says(role: str, metadata: Metadata[Root] | Metadata[Targets], change: Change) -> tuple[str, ...]:
    """What a person puts their name to, from the metadata itself."""
    said = [f"good until {roles.day(roles.expires_at(metadata.signed))}"]
    signed = metadata.signed
    if isinstance(signed, Root):
        said += [
            f"{name}: {entry.threshold} of {', '.join(keyid[:12] for keyid in entry.keyids)}"
            for name, entry in signed.roles.items()
        ]
    else:
        delegated = signed.delegations.roles if signed.delegations else None
        said += [
            f"channel {name}: {entry.threshold} of {', '.join(keyid[:12] for keyid in entry.keyids)}"
            for name, entry in (delegated or {}).items()
        ]
        said += [f"signs for {path}" for path in signed.targets if path in change.files]
    return tuple(said)


def _check_files(metadata: Mapping[str, Signable], files: Mapping[str, bytes]) -> None:
    signed_for = {
        path: target.hashes.get("sha256")
        for one in metadata.values()
        if isinstance(one.signed, Targets)
        for path, target in one.signed.targets.items()
    }
    for path, data in files.items():
        if signed_for.get(path) != hashlib.sha256(data).hexdigest():
            raise PublishError(f"{path} is not what the prepared metadata signs for")
