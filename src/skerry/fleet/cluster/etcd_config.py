"""How a member of our etcd is set up: the text of its configuration file, which is JSON. Pure.

Peers speak on ADDRESS:2380, clients (servers only) on ADDRESS:2379 and on loopback, all with certificates
of the store's own authority, both ways. `store.pem` holds key and certificate; etcd reads it anew for each
connection, so a renewed one needs no restart. https://etcd.io/docs/v3.5/op-guide/configuration/
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from skerry.fleet.cluster.membership import url_of
from skerry.fleet.store.commands import KEPT_REVISIONS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

QUOTA_BYTES = 4 * 1024**3
MAX_TXN_OPERATIONS = 16_384
"""More than the store's own limit (transaction.MAX_OPERATIONS), for receipts are operations, too."""

MAX_REQUEST_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a member listens; `local` is the address for clients on the machine itself."""

    clients: int = 2379
    peers: int = 2380
    local: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class MemberConfig:
    """One member. `name` is the node's id, `cluster` the cluster's; `members` all names with their peer URLs.

    `joins` is False for the first member of a cluster.
    """

    name: str
    cluster: str
    address: str
    members: Mapping[str, str]
    joins: bool
    data: Path
    certificate: Path
    authority: Path
    ports: Ports = field(default_factory=Ports)
    quota_bytes: int = QUOTA_BYTES

    @property
    def peer_url(self) -> str:
        return url_of(self.address, self.ports.peers)

    @property
    def client_url(self) -> str:
        return url_of(self.address, self.ports.clients)

    @property
    def local_url(self) -> str:
        return url_of(self.ports.local, self.ports.clients)

    def text(self) -> str:
        """The configuration file."""
        secured = {
            "cert-file": str(self.certificate),
            "key-file": str(self.certificate),
            "trusted-ca-file": str(self.authority),
            "client-cert-auth": True,
        }
        clients = dict.fromkeys((self.client_url, self.local_url))
        settings = {
            "name": self.name,
            "data-dir": str(self.data),
            "listen-peer-urls": self.peer_url,
            "initial-advertise-peer-urls": self.peer_url,
            "listen-client-urls": ",".join(clients),
            "advertise-client-urls": self.client_url,
            "initial-cluster": ",".join(f"{name}={url}" for name, url in sorted(self.members.items())),
            "initial-cluster-token": self.cluster,
            "initial-cluster-state": "existing" if self.joins else "new",
            "client-transport-security": secured,
            "peer-transport-security": secured,
            "quota-backend-bytes": self.quota_bytes,
            "max-txn-ops": MAX_TXN_OPERATIONS,
            "max-request-bytes": MAX_REQUEST_BYTES,
            # Whoever writes bounds history; this is for times in which nobody does.
            "auto-compaction-mode": "revision",
            "auto-compaction-retention": str(2 * KEPT_REVISIONS),
            "heartbeat-interval": 100,
            "election-timeout": 1000,
            # On by default, but not where the settings come from a file.
            "enable-grpc-gateway": True,
            "strict-reconfig-check": True,
            "pre-vote": True,
            "logger": "zap",
            "log-outputs": ["stderr"],
            "log-level": "warn",
        }
        return json.dumps(settings, indent=2) + "\n"
