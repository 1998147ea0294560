"""What the care of the cluster may refuse.

ClusterError
├── MembershipError    cluster.json cannot be read
├── EtcdError          etcd cannot be reached, did not come up, or refused
├── LastServerError    it may not leave
└── SnapshotError      a file that is no snapshot of a store, or a damaged or newer one
"""

from __future__ import annotations

from skerry.kit.errors import SkerryError


class ClusterError(SkerryError):
    """Something of the cluster's own cannot be done."""


class MembershipError(ClusterError):
    """What this machine knows of its cluster cannot be read."""


class EtcdError(ClusterError):
    """A member of etcd, or the whole of it, does not do what it should."""


class LastServerError(ClusterError):
    """With this server the cluster would end."""


class SnapshotError(ClusterError):
    """A snapshot cannot be written, or what should be one cannot be used."""
