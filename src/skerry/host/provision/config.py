"""What a cloud-config asks for, as frozen values; each remembers the author's line.

Secrets (password hashes, keys, contents) are kept out of `repr`, so that no log ever shows them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import PurePosixPath


class Place(enum.Enum):
    """Which directory a unit's file belongs to; the second is the one that ends with this boot."""

    SYSTEMD = ("/etc/systemd/system", "/run/systemd/system")
    QUADLET = ("/etc/containers/systemd", "/run/containers/systemd")
    NETWORK = ("/etc/systemd/network", "/run/systemd/network")

    def directory(self, *, runtime: bool) -> PurePosixPath:
        return PurePosixPath(self.value[runtime])


@dataclass(frozen=True, slots=True)
class Hostname:
    line: int
    name: str


@dataclass(frozen=True, slots=True)
class AuthorizedKey:
    line: int
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class User:
    """An account. Where it exists already, only `passwd` and `keys` are applied, as CoreOS did."""

    line: int
    name: str
    passwd: str | None = field(default=None, repr=False)
    keys: tuple[AuthorizedKey, ...] = ()
    gecos: str | None = None
    homedir: str | None = None
    primary_group: str | None = None
    groups: tuple[str, ...] = ()
    shell: str | None = None
    no_create_home: bool = False
    no_user_group: bool = False
    system: bool = False
    no_log_init: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """A file to write. `plain` is true where the author wrote the content as it is, variables and all."""

    line: int
    path: str
    data: bytes = field(repr=False)
    mode: int = 0o644
    owner: str | None = None
    plain: bool = True
    waits: bool = False

    @property
    def volatile(self) -> bool:
        """Whether the next boot begins without it."""
        return self.path.startswith(("/run/", "/tmp/", "/var/run/"))  # noqa: S108 - names, not used as such


@dataclass(frozen=True, slots=True)
class DropIn:
    line: int
    name: str
    content: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit. `service` is what systemd calls it: for a Quadlet file, the service that is made of it."""

    line: int
    name: str
    place: Place
    service: str
    content: str | None = field(default=None, repr=False)
    drop_ins: tuple[DropIn, ...] = ()
    command: str | None = None
    mask: bool = False
    enable: bool = False
    runtime: bool = False
    waits: bool = False

    @property
    def directory(self) -> PurePosixPath:
        return self.place.directory(runtime=self.runtime)


@dataclass(frozen=True, slots=True)
class Registry:
    line: int
    prefix: str
    mirror: str | None
    insecure: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """The `skerry:` key, and `coreos.update`. `daemon`, `update` and `cluster` are TOML already."""

    daemon: str | None = field(default=None, repr=False)
    daemon_line: int = 0
    update: str | None = field(default=None, repr=False)
    update_line: int = 0
    cluster: str | None = field(default=None, repr=False)
    cluster_line: int = 0
    registries: tuple[Registry, ...] = ()
    timezone: str | None = None
    timezone_line: int = 0
    ntp: tuple[str, ...] = ()
    ntp_line: int = 0


@dataclass(frozen=True, slots=True)
class CloudConfig:
    """A whole document; what was invalid is not in it."""

    hostname: Hostname | None = None
    keys: tuple[AuthorizedKey, ...] = ()
    users: tuple[User, ...] = ()
    files: tuple[File, ...] = ()
    units: tuple[Unit, ...] = ()
    hosts_line: int | None = None
    settings: Settings = Settings()

    @property
    def waits(self) -> bool:
        """Whether any part needs an address that is not known before the network is up."""
        return any(f.waits for f in self.files) or any(u.waits for u in self.units)
