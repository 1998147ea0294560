"""The source of releases: image.release's client for what is signed, image.content for the bytes.

    /var/lib/skerry/update/metadata/    what the client trusts
    /var/lib/skerry/update/blobs/       what was fetched, whole or not, until the update is staged

tuf, cryptography and zstandard are imported here, when something is asked for, and nowhere else on a host.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import IO, TYPE_CHECKING

from skerry.host.update.errors import ChannelError, ClockError, DiskError
from skerry.host.update.source import Cost

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from skerry.host.update.source import Have
    from skerry.image.content.fetch import Fetcher
    from skerry.image.content.plan import Base, PartPlan
    from skerry.image.release.channel import Channel
    from skerry.image.release.client import Client
    from skerry.image.release.manifest import Blob, Manifest, Part
    from skerry.kit.clock import Clock
    from skerry.kit.progress import Reporter
    from skerry.kit.transport import Transport

TRUST = ("etc/skerry/trust/root.json", "usr/lib/skerry/trust/root.json")
BEHIND_S = 86400.0  # so far the clocks of hosts and of who signs may be apart


class Repository:
    """Implements host.update.source.Source over one repository."""

    def __init__(self, client: Client, fetcher: Fetcher, clock: Clock) -> None:
        self._client, self._fetcher, self._clock = client, fetcher, clock
        self._plans: dict[str, PartPlan] = {}
        self._hashes: dict[Path, str] = {}

    def refresh(self) -> None:
        """As told there; and ClockError where this machine has yet to come to the day of the signing.

        A clock that was reset begins at the image's own time: waves and windows would be judged by it.
        """
        from skerry.image.release.roles import day

        self._client.refresh()
        now, signed = self._clock.now(), self._client.trusted_time()
        if now + BEHIND_S < signed:
            raise ClockError(
                f"the clock says {day(now)}, and what the repository offers was signed on {day(signed)}",
                hint="set the clock, see timedatectl",
            )

    def channel(self, name: str) -> Channel:
        return self._client.channel(name)

    def manifest(self, channel: str, version: str) -> Manifest:
        return self._client.manifest(channel, version)

    def costs(self, manifest: Manifest, parts: Sequence[str], have: Sequence[Have]) -> tuple[Cost, ...]:
        found = []
        for name in parts:
            plan = self._plan(manifest.part(name), have)
            found.append(Cost(name, plan.kind.value, plan.bytes_to_fetch, manifest.part(name).size, plan.why))
        return tuple(found)

    def fetch(self, manifest: Manifest, parts: Sequence[str], have: Sequence[Have], report: Reporter) -> None:
        from skerry.image.content import write

        for name in parts:
            part = manifest.part(name)
            bases = self._bases(part, have)
            self._plans[part.sha256] = write.fetch(part, self._plan(part, have), bases, self._fetcher, report)

    def write(
        self,
        manifest: Manifest,
        part: str,
        have: Sequence[Have],
        target: Path,
        verity: Path | None,
        report: Reporter,
    ) -> None:
        from skerry.image.content import write

        wanted = manifest.part(part)
        with _opened(target) as data, _opened(verity) as hashes:
            assert data is not None  # noqa: S101  a target was given
            write.write(
                wanted, self._plan(wanted, have), self._bases(wanted, have), data, self._fetcher, report,
                hashes=hashes,
            )  # fmt: skip
            os.fsync(data)
            if hashes is not None:
                os.fsync(hashes)

    def etc_defaults(self, manifest: Manifest) -> AbstractContextManager[IO[bytes]] | None:
        return None if manifest.etc is None else self._unpacked(manifest.etc)

    def clean(self) -> None:
        self._plans.clear()
        self._fetcher.clear()

    @contextlib.contextmanager
    def _unpacked(self, blob: Blob) -> Iterator[IO[bytes]]:
        """A small tar.zst, unpacked in memory."""
        import io

        import zstandard

        packed = self._fetcher.blob(blob)
        with packed.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
            yield io.BytesIO(reader.read())

    def _plan(self, part: Part, have: Sequence[Have]) -> PartPlan:
        from skerry.image.content.plan import choose

        if part.sha256 not in self._plans:
            self._plans[part.sha256] = choose(part, self._bases(part, have))
        return self._plans[part.sha256]

    def _bases(self, part: Part, have: Sequence[Have]) -> tuple[Base, ...]:
        from skerry.image.content.plan import Base

        found = []
        for one in have:
            if part.name == "root":
                found.append(Base(one.version, one.root, one.root_size, one.root_sha256, one.verity))
                continue
            path = one.uki
            if part.name != "uki":
                if one.extensions is None:
                    continue
                path = one.extensions / f"{part.name.removeprefix('extension:')}.raw"
            if path.is_file():
                found.append(Base(one.version, path, path.stat().st_size, self._hash(path)))
        return tuple(found)

    def _hash(self, path: Path) -> str:
        if path not in self._hashes:
            with path.open("rb") as file:
                self._hashes[path] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._hashes[path]


def open_repository(
    url: str | None,
    root: Path,
    directory: Path,
    clock: Clock,
    built: float,
    transport: Transport | None = None,
) -> Repository:
    """The repository at a URL, trusted as this machine's root says. Raises ChannelError."""
    if url is None:
        raise ChannelError(
            "no repository is set: there is nowhere to get releases from",
            hint='set repository = "https://…" in /etc/skerry/update.toml',
        )
    trusted = next((root / path for path in TRUST if (root / path).is_file()), None)
    if trusted is None:
        raise ChannelError(
            f"there is no /{TRUST[1]}: this image was not told whom to trust",
            hint=f"put the repository's root.json at /{TRUST[0]}",
        )
    from skerry.image.content.fetch import Fetcher
    from skerry.image.release.client import Client, FlooredClock, trusted_time
    from skerry.kit.transport import UrlTransport

    metadata = directory / "metadata"
    metadata.mkdir(mode=0o700, parents=True, exist_ok=True)
    known = trusted_time(metadata) if (metadata / "timestamp.json").exists() else 0.0
    floored = FlooredClock(clock, built, known)
    over = transport or UrlTransport()
    client = Client(metadata, over, url, trusted.read_bytes(), floored)
    return Repository(client, Fetcher(over, url, directory / "blobs"), clock)


@contextlib.contextmanager
def _opened(path: Path | None) -> Iterator[int | None]:
    """A device, or a file that begins anew, to be written."""
    if path is None:
        yield None
        return
    if path.parts[:2] == ("/", "dev") and not path.is_block_device():
        raise DiskError(f"{path} is gone", hint="look at `journalctl -k`: a disk went away")
    flags = os.O_RDWR | os.O_CLOEXEC | (0 if path.is_block_device() else os.O_CREAT | os.O_TRUNC)
    descriptor = os.open(path, flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
