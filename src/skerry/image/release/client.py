"""How a host comes to trust what a repository says: TUF's client, over our transport and our clock.

    DIRECTORY/root.json timestamp.json snapshot.json targets.json CHANNEL.json    what was trusted last
    DIRECTORY/root_history/N.root.json    how the latest root follows from the one that is sealed in the image
    DIRECTORY/documents/…                 channels and manifests, checked again at every use

The trusted root is handed in anew each time, and what lies in the directory counts only as far as it follows
from that: a changed root starts afresh, and a server that keeps a newer root to itself gains nothing.
python-tuf does the workflow of the specification; here are the clock, files that survive a power cut, and
errors that say which attack it was, or that the operator only forgot to refresh.
"""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tuf.api.exceptions import DownloadError
from tuf.api.exceptions import RepositoryError as TufError
from tuf.api.metadata import Metadata, Root, Timestamp  # type: ignore[attr-defined]
from tuf.ngclient import Updater, UpdaterConfig  # type: ignore[attr-defined]

from skerry.image.release import channel as channels
from skerry.image.release import manifest as manifests
from skerry.image.release import roles
from skerry.image.release.errors import (
    DocumentError,
    EndlessDataError,
    KeepError,
    MixAndMatchError,
    NotPublishedError,
    SignatureError,
)
from skerry.image.release.fetcher import Fetcher
from skerry.image.release.refusals import explained
from skerry.kit.files import write_atomic

if TYPE_CHECKING:
    from skerry.image.release.channel import Channel
    from skerry.image.release.errors import TrustError
    from skerry.image.release.manifest import Manifest
    from skerry.kit.clock import Clock
    from skerry.kit.transport import Transport

HISTORY, DOCUMENTS = "root_history", "documents"
MAX_DOCUMENT_BYTES = 4 << 20


class FlooredClock:
    """A clock that is never before any of the `floors`, such as the image's build, what was signed.

    A machine without a battery wakes up in 1970; to believe that would make all old metadata good again.
    """

    def __init__(self, clock: Clock, *floors: float) -> None:
        self._clock = clock
        self._floor = max(floors, default=0.0)

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def now(self) -> float:
        return max(self._clock.now(), self._floor)

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)


class Client:
    """One repository, as a host sees it. `base_url` has metadata/, targets/ and blobs/ below it.

    `refresh` comes first; `channel` and `manifest` then speak of that one moment of the repository.
    """

    def __init__(
        self, directory: Path, transport: Transport, base_url: str, trusted_root: bytes, clock: Clock
    ) -> None:
        base = base_url.rstrip("/")
        self.directory = directory
        self._tuf = TufClient(directory, transport, f"{base}/metadata", trusted_root, clock)
        self._targets_url = f"{base}/targets"

    def refresh(self) -> None:
        """Bring trust up to date. Raises TrustError, and TransportError where the network fails."""
        self._tuf.refresh()

    def channel(self, name: str) -> Channel:
        """A channel's document. Raises NotPublishedError, TrustError, TransportError, DocumentError."""
        channels.check_name(name)
        data = self._document(channels.target_path(name), f"a channel {name}")
        document = channels.decode(data)
        if document.channel != name:
            raise MixAndMatchError(f"the document of channel {name} calls itself {document.channel}")
        return document

    def manifest(self, channel: str, version: str) -> Manifest:
        """The manifest of a release of a channel. Raises as `channel` does."""
        path = manifests.target_path(channel, version)
        manifest = manifests.decode(self._document(path, f"release {version} in channel {channel}"))
        if manifest.version != version:
            raise MixAndMatchError(f"the manifest of {version} calls itself {manifest.version}")
        return manifest

    def document_bytes(self, path: str) -> bytes:
        """A document that `channel` or `manifest` gave, as it was signed; `path` is as TUF names it."""
        return self._document(path, path)

    def trusted_time(self) -> float:
        """When the timestamp that is trusted now was signed, in seconds since 1970; 0 where there is none.

        The present cannot be before this: a floor for the clock at the next start.
        """
        return trusted_time(self.directory)

    @property
    def bytes_fetched(self) -> int:
        """What came over the network so far."""
        return self._tuf.fetcher.bytes_fetched

    def _document(self, path: str, what: str) -> bytes:
        file = self.directory / DOCUMENTS / quote(path, "")
        if not self._tuf.download(path, self._targets_url, file):
            raise NotPublishedError(
                f"the repository has no {what}",
                hint="`skerry release list` shows what there is to its operator",
            )
        return file.read_bytes()


def trusted_time(directory: Path) -> float:
    """When the timestamp in a client's directory was signed, as far as its own word goes; 0 where none is.

    It was verified when it was put there. Only used to keep a clock from going back.
    """
    try:
        metadata: Metadata[Timestamp] = Metadata.from_file(str(directory / "timestamp.json"))
        return roles.signed_at(metadata.signed, roles.TIMESTAMP)
    except (OSError, TufError, AttributeError, ValueError):
        return 0.0


class TufClient:
    """TUF's client workflow for any repository: what `Client` and `skerry release client` have in common."""

    def __init__(
        self, directory: Path, transport: Transport, metadata_url: str, trusted_root: bytes, clock: Clock
    ) -> None:
        self.directory = directory
        self.fetcher = Fetcher(transport)
        self._url = metadata_url
        self._trusted_root = trusted_root
        self._clock = clock
        self._updater: _Updater | None = None

    def refresh(self) -> None:
        """TUF 5.3 to 5.6: root, timestamp, snapshot, targets. Raises as `download`."""
        self.fetcher.roots.clear()
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._settle_root()
            updater = _Updater(self.directory, self._url, self.fetcher, self._clock.now())
            try:
                updater.refresh()
            finally:
                self._keep_history()
        except (TufError, DownloadError) as error:
            raise self._refused(error) from error
        except OSError as error:
            raise self._not_kept(error) from error
        self._updater = updater

    def download(self, path: str, targets_url: str, file: Path) -> bool:
        """Put a target into a file, unless it is there already; False where nobody signs for such a target.

        Raises TrustError, TransportError, KeepError.
        """
        if self._updater is None:
            self.refresh()
        assert self._updater is not None  # noqa: S101  refresh sets it, or raises
        try:
            target = self._updater.get_targetinfo(path)
            if target is None:
                return False
            if target.length > MAX_DOCUMENT_BYTES:
                raise EndlessDataError(f"{path} is said to have {target.length} bytes, which is too many")
            if self._updater.find_cached_target(target, str(file)) is None:
                file.parent.mkdir(parents=True, exist_ok=True)
                partial = file.with_name(f".{file.name[:200]}.partial")
                self._updater.download_target(target, str(partial), targets_url)
                write_atomic(file, partial.read_bytes())
                partial.unlink()
        except (TufError, DownloadError) as error:
            raise self._refused(error) from error
        except OSError as error:
            raise self._not_kept(error) from error
        return True

    def _settle_root(self) -> None:
        """Put in place the latest root that follows from the trusted one by what this host has seen."""
        root = _verified_root(self._trusted_root)
        data = self._trusted_root
        while (file := self._history(root.version + 1)).exists():
            following = file.read_bytes()
            try:
                root = _following(root, following)
            except (TufError, DocumentError, SignatureError):
                file.unlink()
                break
            data = following
        write_atomic(self.directory / "root.json", data)

    def _keep_history(self) -> None:
        """Remember the roots that were found to follow; what does not is dropped at the next start."""
        try:
            reached = roles.read(
                (self.directory / "root.json").read_bytes(), Root, "root.json"
            ).signed.version
        except (OSError, DocumentError):
            return
        for number, data in self.fetcher.roots.items():
            if number <= reached:
                self._history(number).parent.mkdir(exist_ok=True)
                write_atomic(self._history(number), data)

    def _history(self, number: int) -> Path:
        return self.directory / HISTORY / f"{number}.root.json"

    def _not_kept(self, error: OSError) -> KeepError:
        return KeepError(
            f"what a repository says cannot be kept in {self.directory}: {error.strerror}",
            hint="is there room (df), and may it be written to?",
        )

    def _refused(self, error: TufError | DownloadError) -> TrustError:
        return explained(error, self.fetcher, self.directory, self._clock.now())


class _Updater(Updater):
    """python-tuf's, with a time that is given, and files that are on the disk when it says so."""

    def __init__(self, directory: Path, url: str, fetcher: Fetcher, now: float) -> None:
        config = UpdaterConfig(max_root_rotations=1024, max_delegations=64)
        super().__init__(str(directory), url, fetcher=fetcher, config=config)
        self._trusted_set.reference_time = datetime.datetime.fromtimestamp(now, datetime.UTC)

    def _persist_metadata(self, rolename: str, data: bytes) -> None:
        write_atomic(Path(self._dir) / f"{quote(rolename, '')}.json", data)


def _verified_root(data: bytes) -> Root:
    try:
        metadata = roles.read(data, Root, "the trusted root")
        roles.check(metadata, roles.ROOT, metadata.signed)
    except (DocumentError, SignatureError) as error:
        digest = hashlib.sha256(data).hexdigest()[:12]
        raise SignatureError(
            f"the trusted root that was given (SHA-256 {digest}…) cannot be used: {error.message}",
            hint="it comes with the image, and /etc/skerry/trust/root.json takes its place where it is there",
        ) from error
    return metadata.signed


def _following(root: Root, data: bytes) -> Root:
    metadata = roles.read(data, Root, "a kept root")
    if metadata.signed.version != root.version + 1:
        raise SignatureError("a kept root has another version than its name")
    roles.check(metadata, roles.ROOT, root)
    roles.check(metadata, roles.ROOT, metadata.signed)
    return metadata.signed
