"""The `skerry:` key: settings of the daemon and of updates, the cluster to join, registries, time.

skerry:
  daemon: {…}                        → /etc/skerry/skerryd.toml.d/50-cloud-config.toml
  update: {…}                        → /etc/skerry/update.toml.d/50-cloud-config.toml
  cluster: {token, servers, …}       → /etc/skerry/join.toml, until skerryd has joined
  registries: [{prefix, mirror, insecure}]   → /etc/containers/registries.conf.d/50-skerry.conf
  timezone: Europe/Berlin            → /etc/localtime
  ntp: [time.example.com]            → /etc/systemd/timesyncd.conf.d/50-cloud-config.conf

CoreOS's `coreos: {update: {group, reboot_strategy}}` gives channel and strategy where `update` is silent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from skerry.host.provision import toml_text
from skerry.host.provision.config import Registry, Settings
from skerry.host.provision.document import Mapping, Node, Scalar, Sequence
from skerry.host.provision.values import flag, tables, text, texts

if TYPE_CHECKING:
    from skerry.host.provision.check import Problems

_TOKEN = re.compile(r"skerry1\.[0-9a-f]{64}\.[0-9a-f]{16}\.[0-9a-f]{64}")
_API = re.compile(r"(https://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?P<port>:[0-9]{1,5})?/?")
_API_PORT = ":7443"
_ZONE = re.compile(r"[A-Za-z0-9+_-]+(/[A-Za-z0-9+_-]+)*")
_SERVER = re.compile(r"[A-Za-z0-9.:%_-]+")
_PREFIX = re.compile(r"(\*\.)?[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9._/-]+)?")
_MIRROR = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?(/[a-z0-9._/-]+)?")


# What CoreOS's strategies come to here: all but `off` start the new version when it is there.
_STRATEGIES = {"off": "manual", "reboot": "immediate", "best-effort": "immediate", "etcd-lock": "immediate"}


def settings(ours: Node | None, coreos: Node | None, problems: Problems) -> Settings:
    table = ours if isinstance(ours, Mapping) else Mapping(0, ())
    update, update_line = _update(table, coreos, problems)
    zone = text(table, "timezone")
    if zone is not None and not _ZONE.fullmatch(zone):
        said = f"{zone!r} is not a time zone"
        problems.error(table.line_of("timezone"), said, "as in Europe/Berlin", where="skerry.timezone")
        zone = None
    servers = []
    for server, line in texts(table, "ntp"):
        if _SERVER.fullmatch(server):
            servers.append(server)
        else:
            problems.error(line, f"{server!r} is not a host name or address", where="skerry.ntp")
    return Settings(
        daemon=_toml(_free(table, "daemon", problems)),
        daemon_line=table.line_of("daemon"),
        update=_toml(update),
        update_line=update_line,
        cluster=_toml(_cluster(table, problems)),
        cluster_line=table.line_of("cluster"),
        registries=_registries(table, problems),
        timezone=zone,
        timezone_line=table.line_of("timezone"),
        ntp=tuple(servers),
        ntp_line=table.line_of("ntp"),
    )


def _update(
    table: Mapping, coreos: Node | None, problems: Problems
) -> tuple[dict[str, toml_text.Value] | None, int]:
    """The settings of updates and the line they stand on: what CoreOS's key says, and ours over it."""
    found = _free(table, "update", problems)
    theirs = coreos.get("update") if isinstance(coreos, Mapping) else None
    if not isinstance(theirs, Mapping):
        return found, table.line_of("update")
    meant: dict[str, toml_text.Value] = {}
    if (group := text(theirs, "group")) is not None:
        meant["channel"] = group
    if (strategy := text(theirs, "reboot_strategy")) is not None:
        meant["strategy"] = _STRATEGIES[strategy]
    if not meant and found is None:
        return None, 0
    return {**meant, **(found or {})}, theirs.line if found is None else table.line_of("update")


def _cluster(table: Mapping, problems: Problems) -> dict[str, toml_text.Value] | None:
    """What skerryd is to join with; None where a part is missing or wrong. No message shows the token."""
    node = table.get("cluster")
    if not isinstance(node, Mapping):
        return None
    servers: list[toml_text.Value] = []
    for server, line in texts(node, "servers"):
        if found := _API.fullmatch(server):
            servers.append(f"https://{found['host']}{found['port'] or _API_PORT}")
        else:
            hint = "as in 10.0.0.1 or https://one.example.com:7443"
            problems.error(line, f"{server!r} is no server to join", hint, where="skerry.cluster.servers")
    if not texts(node, "servers"):
        said = "a cluster to join needs servers"
        problems.error(node.line, said, "as in `servers: [10.0.0.1]`", where="skerry.cluster.servers")
    token = text(node, "token")
    if token is None or not _TOKEN.fullmatch(token):
        said = (
            "a cluster to join needs a token" if token is None else "this is not a whole token to join with"
        )
        hint = "`skerry cluster token create` on one of its servers makes one"
        problems.error(node.line_of("token") or node.line, said, hint, where="skerry.cluster.token")
        return None
    if not servers:
        return None
    more = {name: value for name in ("role", "address") if (value := text(node, name)) is not None}
    return {"token": token, "servers": servers, **more}


def _free(table: Mapping, name: str, problems: Problems) -> dict[str, toml_text.Value] | None:
    """A mapping of settings that are somebody else's to check; None where there is none."""
    node = table.get(name)
    if not isinstance(node, Mapping):
        return None
    return {
        e.key: v
        for e in node.entries
        if (v := _plain(e.value, f"skerry.{name}.{e.key}", problems)) is not None
    }


def _toml(values: dict[str, toml_text.Value] | None) -> str | None:
    return None if values is None else toml_text.render(values)


def _plain(node: Node, where: str, problems: Problems) -> toml_text.Value | None:
    match node:
        case Scalar(value=bytes()):
            problems.error(node.line, "a setting cannot be binary", where=where)
            return None
        case Scalar(value=int() as number) if not isinstance(number, bool) and not -(2**63) <= number < 2**63:
            problems.error(node.line, "this number is too large for a setting", where=where)
            return None
        case Scalar(value=str() | bool() | int() | float() as value):
            return value
        case Scalar():
            return None
        case Sequence():
            return [v for item in node.items if (v := _plain(item, where, problems)) is not None]
        case Mapping():
            pairs = ((e.key, _plain(e.value, f"{where}.{e.key}", problems)) for e in node.entries)
            return {key: value for key, value in pairs if value is not None}


def _registries(table: Mapping, problems: Problems) -> tuple[Registry, ...]:
    found = []
    for number, entry in enumerate(tables(table, "registries")):
        where = f"skerry.registries[{number}]"
        prefix, mirror = text(entry, "prefix"), text(entry, "mirror")
        if prefix is None:
            problems.error(entry.line, "a registry needs a prefix", "as in `prefix: docker.io`", where=where)
        elif not _PREFIX.fullmatch(prefix):
            said = f"{prefix!r} is not the name of a registry"
            problems.error(entry.line_of("prefix"), said, _without_scheme(prefix), where=f"{where}.prefix")
        elif mirror is not None and not _MIRROR.fullmatch(mirror):
            said = f"the mirror {mirror!r} is not HOST[:PORT][/PATH]"
            problems.error(entry.line_of("mirror"), said, _without_scheme(mirror), where=f"{where}.mirror")
        else:
            found.append(Registry(entry.line, prefix, mirror, flag(entry, "insecure")))
    return tuple(found)


def _without_scheme(name: str) -> str:
    if name.startswith("http://"):
        return f"write {name.removeprefix('http://').rstrip('/')} and `insecure: true`"
    if name.startswith("https://"):
        return f"write {name.removeprefix('https://').rstrip('/')}"
    return "as in docker.io or registry.example.com:5000"


def registries_conf(registries: tuple[Registry, ...]) -> str:
    """containers-registries.conf(5): unqualified names are docker.io's, mirrors are tried in order."""
    lines = ['unqualified-search-registries = ["docker.io"]']
    for prefix in dict.fromkeys(r.prefix for r in registries):
        same = [r for r in registries if r.prefix == prefix]
        lines += ["", "[[registry]]", f"prefix = {toml_text.text(prefix)}"]
        if not prefix.startswith("*."):
            lines.append(f"location = {toml_text.text(prefix)}")
        if any(r.insecure and r.mirror is None for r in same):
            lines.append("insecure = true")
        for registry in same:
            if registry.mirror is not None:
                lines += ["", "[[registry.mirror]]", f"location = {toml_text.text(registry.mirror)}"]
                lines += ["insecure = true"] if registry.insecure else []
    return "\n".join(lines) + "\n"


def timesyncd_conf(servers: tuple[str, ...]) -> str:
    return f"[Time]\nNTP={' '.join(servers)}\n"
