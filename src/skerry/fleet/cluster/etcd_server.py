"""The member of etcd that this machine runs: its files, and its unit, which systemd keeps.

    /var/lib/skerry/etcd/etcd.yaml   its settings; skerry-etcd.service starts only where this file is
    /var/lib/skerry/etcd/data/       etcd's own
    /var/lib/skerry/etcd/store.pem, store-ca.crt     copies of those in pki/, see fleet.trust.files
    /var/lib/skerry/etcd.before/     the member as it was, while a restore makes another; else it is not there

The settings are written before the unit starts and removed first when the member ends, so that a reboot finds
either a member or none. A restore puts the whole directory aside, and removes it when the new member stands:
where etcd.before is found, it was cut short, and what it holds is brought back. etcd sees its directory and
nothing else of ours: the keys of the machine and of the authorities are not there to be read.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
from typing import TYPE_CHECKING

from skerry.fleet.cluster.errors import EtcdError
from skerry.fleet.cluster.etcd_config import QUOTA_BYTES, MemberConfig, Ports
from skerry.fleet.cluster.membership import url_of
from skerry.fleet.store.errors import UnavailableError
from skerry.fleet.store.etcd_client import EtcdClient
from skerry.fleet.store.etcd_foundation import read_foundation
from skerry.kit.files import sync_directory, write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from skerry.host.units.interface import ServiceManager
    from skerry.kit.clock import Clock

UNIT = "skerry-etcd.service"
START_S = 60.0


class EtcdServer:
    """`state` is /var/lib/skerry."""

    def __init__(
        self,
        state: Path,
        services: ServiceManager,
        clock: Clock,
        *,
        ports: Ports | None = None,
        quota_bytes: int = QUOTA_BYTES,
    ) -> None:
        self.clock = clock
        self.ports = ports or Ports()
        self._quota_bytes = quota_bytes
        self._services = services
        self._directory = state / "etcd"
        self._before = state / "etcd.before"
        self._gone = state / "etcd.gone"
        self._settings = self._directory / "etcd.yaml"
        self._data = self._directory / "data"
        self._authority = state / "pki" / "store-ca.crt"
        self._certificate = state / "pki" / "store.pem"
        self._copies = {path: self._directory / path.name for path in (self._authority, self._certificate)}

    @property
    def is_set_up(self) -> bool:
        """Whether this machine is to run a member."""
        return self._settings.exists()

    @property
    def quota_bytes(self) -> int:
        """What the store may take, as the member was set up."""
        try:
            return int(json.loads(self._settings.read_text())["quota-backend-bytes"])
        except (OSError, ValueError, KeyError):
            return 0

    def config(
        self, name: str, cluster: str, address: str, *, members: Mapping[str, str] | None = None
    ) -> MemberConfig:
        """The settings of the member here: the first of a cluster, or one that joins `members`."""
        peer_url = url_of(address, self.ports.peers)
        return MemberConfig(
            name,
            cluster,
            address,
            {name: peer_url} if members is None else members,
            members is not None,
            self._data,
            self._copies[self._certificate],
            self._copies[self._authority],
            self.ports,
            self._quota_bytes,
        )

    def tls(self) -> ssl.SSLContext:
        """How this machine speaks to members: with its own certificate of the store's authority."""
        context = ssl.create_default_context(cafile=str(self._authority))
        context.load_cert_chain(str(self._certificate))
        return context

    def client(self, *endpoints: str, patience_s: float = 20.0, leaderless: bool = False) -> EtcdClient:
        """Asks the member here, or those at `endpoints`. To be closed."""
        return EtcdClient(
            endpoints or [url_of(self.ports.local, self.ports.clients)],
            tls=self.tls,
            clock=self.clock,
            patience_s=patience_s,
            leaderless=leaderless,
        )

    def hand_over(self) -> None:
        """Give etcd the certificates that are in pki/ now; it reads them anew for each connection.

        Raises EtcdError.
        """
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for kept, copy in self._copies.items():
                held = kept.read_bytes()
                if not copy.exists() or copy.read_bytes() != held:
                    write_atomic(copy, held, mode=0o600)
        except OSError as error:
            raise EtcdError(f"etcd cannot be given its certificates: {error}") from error

    def set_up(self, config: MemberConfig) -> None:
        """Write the settings. Raises EtcdError."""
        self.hand_over()
        write_atomic(self._settings, config.text(), mode=0o600)

    async def start(self) -> None:
        """Start the member and wait until it answers; no error where it runs.

        Raises EtcdError where it does not come up, ServiceManagerError.
        """
        await self._services.reset_failed(UNIT)
        await self._services.start(UNIT)
        client = self.client(patience_s=START_S)
        try:
            await read_foundation(client)
        except UnavailableError as error:
            raise EtcdError(
                f"etcd was started and does not answer: {error.message}",
                hint=f"journalctl -u {UNIT} says why",
            ) from error
        finally:
            client.close()

    async def start_learner(self) -> None:
        """Start a member that need not answer: it has no vote yet, so others are to be asked."""
        await self._services.reset_failed(UNIT)
        await self._services.start(UNIT)

    async def put_aside(self) -> None:
        """Stop the member and keep what it holds, until `drop_aside` or `bring_back`; then there is none."""
        await self.bring_back(start=False)
        await self._services.stop(UNIT)
        if self._directory.exists():
            self._directory.rename(self._before)
            sync_directory(self._before.parent)

    async def drop_aside(self) -> None:
        """The new member stands: from here on there is no way back."""
        await asyncio.to_thread(self._remove, self._before)

    async def bring_back(self, *, start: bool = True) -> bool:
        """Go on with the member that was put aside; False where none was, and nothing is done."""
        if not self._before.exists():
            await asyncio.to_thread(shutil.rmtree, self._gone, ignore_errors=True)
            return False
        await self._services.stop(UNIT)
        await asyncio.to_thread(self._remove, self._directory)
        self._before.rename(self._directory)
        sync_directory(self._directory.parent)
        if start and self.is_set_up:
            await self.start_learner()
        return True

    def _remove(self, directory: Path) -> None:
        # Renamed first: half a directory must not be taken for a whole one.
        shutil.rmtree(self._gone, ignore_errors=True)
        if directory.exists():
            directory.rename(self._gone)
            sync_directory(directory.parent)
        shutil.rmtree(self._gone, ignore_errors=True)

    async def end(self) -> None:
        """Stop the member for good and remove what it holds; no error where there is none."""
        self._settings.unlink(missing_ok=True)
        if self._directory.exists():
            sync_directory(self._directory)
        await self._services.stop(UNIT)
        for copy in self._copies.values():
            copy.unlink(missing_ok=True)
        await asyncio.to_thread(self._remove_data)

    def _remove_data(self) -> None:
        # Renamed first: half a data directory must not be taken for a whole one.
        if self._data.exists():
            doomed = self._data.with_name("data.gone")
            shutil.rmtree(doomed, ignore_errors=True)
            self._data.rename(doomed)
            sync_directory(self._directory)
        shutil.rmtree(self._data.with_name("data.gone"), ignore_errors=True)
