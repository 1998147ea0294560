"""A sceptic's look at a whole repository: nothing is believed that was not worked out here.

Every root and how it follows from the one before, every signature and threshold, every hash and length, every
expiry, every document and whether they agree, every blob. In the end the very client of hosts is sent
through it. What is found is collected, not raised, so that one run shows all that is wrong.
"""

from __future__ import annotations

import enum
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from skerry.image.release import references, roles
from skerry.image.release import version as versions
from skerry.image.release.client import Client
from skerry.image.release.errors import ReleaseError, StaleError
from skerry.kit.progress import Phase, Progress, Reporter, silent
from skerry.kit.transport import TransportError, UrlTransport

if TYPE_CHECKING:
    from skerry.image.release.channel import Channel
    from skerry.image.release.manifest import Manifest
    from skerry.image.release.references import References
    from skerry.image.release.repository import Repository
    from skerry.image.release.state import State
    from skerry.kit.clock import Clock


class Weight(enum.StrEnum):
    """ERROR: hosts refuse it, or should. WARNING: they will, before long."""

    ERROR = "error"
    WARNING = "warning"


class Finding(msgspec.Struct, frozen=True):
    weight: Weight
    what: str
    hint: str | None = None


class Verdict(msgspec.Struct, frozen=True):
    """What was looked at, and what was found."""

    findings: tuple[Finding, ...]
    roots: int = 0
    signatures: int = 0
    documents: int = 0
    blobs: int = 0
    blob_bytes: int = 0

    @property
    def good(self) -> bool:
        return not any(finding.weight is Weight.ERROR for finding in self.findings)


def verify(
    repository: Repository, clock: Clock, *, trusted: bytes | None = None, report: Reporter = silent
) -> Verdict:
    """Look at everything. `trusted` is the root that hosts were sealed with; else the repository's first."""
    try:
        state = repository.read(trusted)
        wanted = references.of(repository, state)
    except (ReleaseError, OSError) as error:
        hint = error.hint if isinstance(error, ReleaseError) else None
        return Verdict((Finding(Weight.ERROR, str(error), hint),))
    found = [*_roots(repository, state), *_times(state, clock.now())]
    for name, document in state.documents.items():
        found += _agreement(name, document, state, wanted)
    found += _blobs(repository, wanted, report)
    found += _as_a_host(repository, state, trusted or repository.root_bytes(1), clock)
    return Verdict(
        tuple(found),
        roots=state.root.signed.version,
        signatures=sum(len(metadata.signatures) for metadata in state.every().values()),
        documents=len(wanted.documents),
        blobs=len(wanted.blobs),
        blob_bytes=sum(blob.size for blob in wanted.blobs.values()),
    )


def _roots(repository: Repository, state: State) -> list[Finding]:
    """Hosts of every age must find their way: the chain has to hold from the very first root on."""
    try:
        if repository.read_root(repository.root_bytes(1)).signed.version != state.root.signed.version:
            return [Finding(Weight.ERROR, "the chain of roots from the first one ends early")]
    except ReleaseError as error:
        return [Finding(Weight.ERROR, str(error), error.hint)]
    return []


def _times(state: State, now: float) -> list[Finding]:
    found = []
    for role, metadata in state.every().items():
        ends = roles.expires_at(metadata.signed)
        remedy = "skerry release refresh" if role in roles.ONLINE else f"skerry release renew {role}"
        if ends <= now:
            found.append(Finding(Weight.ERROR, f"{role} expired on {roles.day(ends)}", remedy))
        elif ends - now < roles.valid_s(metadata.signed, role) * 0.1:
            found.append(Finding(Weight.WARNING, f"{role} expires on {roles.day(ends)}", remedy))
    return found


def _agreement(name: str, document: Channel, state: State, wanted: References) -> list[Finding]:
    """The channel's document, its manifests and its role have to tell the same."""
    found = []
    delegations = state.targets.signed.delegations
    delegated = delegations.roles[name] if delegations and delegations.roles else None
    if delegated is None or delegated.paths != [f"channels/{name}/*"]:
        found.append(Finding(Weight.ERROR, f"{name} may sign for more, or less, than its own channel"))
    known = {entry.version for entry in document.releases}
    for entry in document.releases:
        manifest = wanted.manifests.get((name, entry.version))
        if manifest is None:
            found.append(Finding(Weight.ERROR, f"channel {name} lists {entry.version} without a manifest"))
        else:
            found += _manifest(name, entry.version, entry.minimum_version, manifest)
    for channel, version in wanted.manifests:
        if channel == name and version not in known:
            found.append(Finding(Weight.ERROR, f"channel {name} signs for {version} and does not list it"))
    if document.floor is not None and document.floor not in known:
        found.append(Finding(Weight.ERROR, f"the floor of {name}, {document.floor}, is no release of it"))
    found += [
        Finding(Weight.ERROR, f"{version} was withdrawn from {name}, which does not have it")
        for version in document.withdrawn
        if version not in known
    ]
    return found


def _manifest(name: str, version: str, minimum: str | None, manifest: Manifest) -> list[Finding]:
    found = []
    if manifest.version != version:
        found.append(
            Finding(Weight.ERROR, f"{version} in {name} has a manifest that calls itself {manifest.version}")
        )
    if manifest.minimum_version != minimum:
        found.append(Finding(Weight.ERROR, f"{version} in {name}: its minimum version is told differently"))
    found += [
        Finding(Weight.ERROR, f"{version} in {name} has no {part}")
        for part in ("root", "uki")
        if part not in {one.name for one in manifest.parts}
    ]
    found += [
        Finding(
            Weight.ERROR, f"{version} in {name} has a patch from {patch.from_version}, which is not older"
        )
        for part in manifest.parts
        for patch in part.patches
        if not versions.is_older(patch.from_version, version)
    ]
    return found


def _blobs(repository: Repository, wanted: References, report: Reporter) -> list[Finding]:
    found = []
    total = sum(blob.size for blob in wanted.blobs.values())
    done = 0
    report(Progress("blobs", Phase.STARTED, total=total))
    for blob in wanted.blobs.values():
        path = repository.blob(blob)
        if not path.is_file():
            found.append(Finding(Weight.ERROR, f"{blob.path} is missing", "mirror or publish it again"))
        elif path.stat().st_size != blob.size or references.digest(path) != blob.sha256:
            found.append(Finding(Weight.ERROR, f"{blob.path} is damaged", "remove it, then publish it again"))
        done += blob.size
        report(Progress("blobs", Phase.ADVANCED, done=done, total=total))
    report(Progress("blobs", Phase.DONE, note=f"{len(wanted.blobs)} looked at"))
    return found


def _as_a_host(repository: Repository, state: State, trusted: bytes, clock: Clock) -> list[Finding]:
    with tempfile.TemporaryDirectory(prefix="skerry-verify-") as name:
        client = Client(Path(name), UrlTransport(), repository.directory.absolute().as_uri(), trusted, clock)
        try:
            client.refresh()
            for channel, document in state.documents.items():
                for entry in client.channel(channel).releases:
                    client.manifest(channel, entry.version)
                if client.channel(channel) != document:
                    return [Finding(Weight.ERROR, f"a host sees another channel {channel}")]
        except StaleError as error:
            return [Finding(Weight.ERROR, f"a host refuses it: {error}", error.hint)]
        except (ReleaseError, TransportError) as error:
            return [Finding(Weight.ERROR, f"a host refuses it: {error}", error.hint)]
    return []
