"""Every key that a cloud-config may have, as tables: what type it is of, and whether Skerry acts on it.

A key with a `note` is known and not acted upon; the note says what to do instead. Sources: the
documentation of coreos-cloudinit for `coreos` and its neighbours; `skerry` is ours. A key that stands in
no table is unknown; for the common ones of the other cloud-init, FOREIGN knows an answer.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(enum.Enum):
    """What a value must be; the value is the word for it in an error."""

    TEXT = "a text"
    FLAG = "true or false"
    TEXTS = "a list of texts"
    TABLE = "a mapping"
    TABLES = "a list of mappings"
    FREE = "a mapping of settings"


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `keys` are those of a TABLE, or of each item of TABLES."""

    kind: Kind
    keys: Mapping[str, Key] = field(default_factory=dict)
    note: str | None = None
    choices: tuple[str, ...] = ()


def _all(kind: Kind, names: str) -> dict[str, Key]:
    return {name: Key(kind) for name in names.split()}


TEXT, FLAG, TEXTS = Key(Kind.TEXT), Key(Kind.FLAG), Key(Kind.TEXTS)
COMMANDS = ("start", "stop", "restart", "reload", "try-restart", "reload-or-restart", "reload-or-try-restart")
_IMPORT = Key(
    Kind.TEXT, note="keys are not fetched from the network at boot; list them in ssh_authorized_keys"
)

DROP_IN_KEYS = {"name": TEXT, "content": TEXT}
UNIT_KEYS = {
    "name": TEXT,
    "mask": FLAG,
    "enable": FLAG,
    "runtime": FLAG,
    "content": TEXT,
    "command": TEXT,
    "drop_ins": Key(Kind.TABLES, DROP_IN_KEYS),
}
USER_KEYS = {
    **_all(Kind.TEXT, "name passwd gecos homedir primary_group shell"),
    **_all(Kind.TEXTS, "ssh_authorized_keys groups"),
    **_all(Kind.FLAG, "no_create_home no_user_group system no_log_init"),
    "coreos_ssh_import_github": _IMPORT,
    "coreos_ssh_import_github_users": Key(Kind.TEXTS, note=_IMPORT.note),
    "coreos_ssh_import_url": _IMPORT,
}
FILE_KEYS = _all(Kind.TEXT, "path content owner permissions encoding")

_ETCD_STORE = "skerryd keeps the store and answers as etcd.service; nothing is left to set"
_ETCD2_KEYS = _all(
    Kind.TEXT,
    "advertise_client_urls ca_file cert_file client_cert_auth cors data_dir debug discovery "
    "discovery_fallback discovery_srv discovery_proxy "
    "election_timeout enable_pprof force_new_cluster heartbeat_interval "
    "initial_advertise_peer_urls initial_cluster initial_cluster_state initial_cluster_token key_file "
    "listen_client_urls listen_peer_urls log_package_levels max_snapshots max_wals name peer_ca_file "
    "peer_cert_file peer_key_file peer_client_cert_auth peer_trusted_ca_file proxy proxy_dial_timeout "
    "proxy_failure_wait proxy_read_timeout proxy_refresh_interval proxy_write_timeout snapshot_count "
    "strict_reconfig_check trusted_ca_file wal_dir",
)
_ETCD_KEYS = _ETCD2_KEYS | _all(
    Kind.TEXT,
    "addr bind_addr cluster_active_size cluster_remove_delay cluster_sync_interval graphite_host "
    "http_read_timeout http_write_timeout max_result_buffer max_retry_attempts peer_addr peer_bind_addr "
    "peer_election_timeout peer_heartbeat_interval peers peers_file retry_interval snapshot trace verbose "
    "very_verbose very_very_verbose",
)
_FLEET_KEYS = _all(
    Kind.TEXT,
    "agent_ttl authorized_keys_file disable_engine engine_reconcile_interval etcd_cafile etcd_certfile "
    "etcd_keyfile etcd_key_prefix etcd_request_timeout etcd_servers etcd_username etcd_password metadata "
    "public_ip token_limit verbosity verify_units",
)
_FLANNEL_KEYS = _all(
    Kind.TEXT,
    "etcd_endpoints etcd_cafile etcd_certfile etcd_keyfile etcd_prefix etcd_username etcd_password ip_masq "
    "subnet_file interface public_ip",
)
_LOCKSMITH_KEYS = _all(
    Kind.TEXT, "endpoint etcd_cafile etcd_certfile etcd_keyfile group window_start window_length"
)
_UPDATE_KEYS = {
    "group": TEXT,
    "server": Key(Kind.TEXT, note="write `skerry: {update: {repository: …}}`"),
    "reboot_strategy": Key(Kind.TEXT, choices=("best-effort", "etcd-lock", "reboot", "off")),
}
_OEM_KEYS = _all(Kind.TEXT, "id name version_id home_url bug_report_url")

COREOS_KEYS = {
    "units": Key(Kind.TABLES, UNIT_KEYS),
    "etcd": Key(Kind.TABLE, _ETCD_KEYS, note=_ETCD_STORE),
    "etcd2": Key(Kind.TABLE, _ETCD2_KEYS, note=_ETCD_STORE),
    "fleet": Key(
        Kind.TABLE,
        _FLEET_KEYS,
        note="skerryd runs the units; labels go to `skerry: {daemon: {metadata: {…}}}`",
    ),
    "flannel": Key(Kind.TABLE, _FLANNEL_KEYS, note="Skerry has no network across machines yet"),
    "locksmith": Key(Kind.TABLE, _LOCKSMITH_KEYS, note="Skerry does not coordinate reboots yet"),
    "update": Key(Kind.TABLE, _UPDATE_KEYS),
    "oem": Key(Kind.TABLE, _OEM_KEYS, note="the image's recipe says what /etc/os-release holds"),
}

CLUSTER_KEYS = {
    "token": TEXT,
    "servers": TEXTS,
    "role": Key(Kind.TEXT, choices=("agent", "server")),
    "address": TEXT,
}

SKERRY_KEYS = {
    "cluster": Key(Kind.TABLE, CLUSTER_KEYS),
    "daemon": Key(Kind.FREE),
    "update": Key(Kind.FREE),
    "registries": Key(Kind.TABLES, {"prefix": TEXT, "mirror": TEXT, "insecure": FLAG}),
    "timezone": TEXT,
    "ntp": TEXTS,
}

TOP_KEYS = {
    "hostname": TEXT,
    "ssh_authorized_keys": TEXTS,
    "users": Key(Kind.TABLES, USER_KEYS),
    "write_files": Key(Kind.TABLES, FILE_KEYS),
    "manage_etc_hosts": TEXT,
    "units": Key(Kind.TABLES, UNIT_KEYS),
    "coreos": Key(Kind.TABLE, COREOS_KEYS),
    "skerry": Key(Kind.TABLE, SKERRY_KEYS),
}

_RUN = "write a unit with `command: start`"
_NO_PACKAGES = "the host has no package manager; run a container, or add packages to the image's recipe"
FOREIGN = {
    "runcmd": _RUN,
    "bootcmd": _RUN,
    "packages": _NO_PACKAGES,
    "package_update": _NO_PACKAGES,
    "package_upgrade": _NO_PACKAGES,
    "package_reboot_if_required": _NO_PACKAGES,
    "apt": _NO_PACKAGES,
    "fqdn": "write `hostname`",
    "timezone": "write `skerry: {timezone: …}`",
    "ntp": "write `skerry: {ntp: […]}`",
    "chpasswd": "write `passwd`, a hash, for each of `users`",
    "password": "write `passwd`, a hash, for each of `users`",
    "ssh_pwauth": "ssh takes keys only",
    "disable_root": "root logs in with a key only",
    "mounts": "write a .mount unit",
    "swap": "write a .swap unit",
    "groups": "a group that a user names in `groups` is made",
    "growpart": "the data partition grows by itself",
    "ssh_import_id": "list the keys in ssh_authorized_keys",
    "sudo": "members of the group wheel may use sudo: `groups: [wheel]`",
    "lock_passwd": "leave it out: without `passwd` no password works",
    "hashed_passwd": "write `passwd`",
    "plain_text_passwd": "write `passwd`, a hash",
    "defer": "leave it out: files are written after users are made",
}
"""Keys of the other cloud-init, and what to write here."""

# Services of CoreOS itself that public documents start and set up, and what stands in their place.
REPLACED_SERVICES = {
    "etcd2.service": _ETCD_STORE,
    "etcd-member.service": _ETCD_STORE,
    "fleet.service": "skerryd runs the units, and runs already",
    "fleet.socket": "the API of skerryd answers as fleet's",
    "flanneld.service": "Skerry has no network across machines yet",
    "early-docker.service": "containers start with Podman, which needs no daemon",
    "early-docker.socket": "containers start with Podman, which needs no daemon",
    "locksmithd.service": "Skerry does not coordinate reboots yet",
    "update-engine.service": "skerry-update.timer looks for releases",
    "update-engine-stub.service": "skerry-update.timer looks for releases",
    "update-engine-reboot-manager.service": "Skerry does not coordinate reboots yet",
    "coreos-setup-environment.service": "/etc/environment is written when the document uses an address",
}
