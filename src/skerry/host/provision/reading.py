"""A checked tree as a CloudConfig: what each value must look like, beyond its type.

A value that cannot be used is reported on its line and left out; what it belongs to is kept where it
still means something (a user without its bad password), and dropped where not (a file without a path).
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from skerry.host.provision import encoding
from skerry.host.provision.check import Problems, check
from skerry.host.provision.config import AuthorizedKey, CloudConfig, File, Hostname, User
from skerry.host.provision.document import Mapping, Scalar, read
from skerry.host.provision.errors import EncodingError
from skerry.host.provision.reading_settings import settings
from skerry.host.provision.reading_units import units
from skerry.host.provision.values import flag, tables, text, texts

if TYPE_CHECKING:
    from skerry.kit.errors import Problem

LARGEST_TOTAL_BYTES = 32 * 1024 * 1024
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_OWNER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?")
_MODE = re.compile(r"0?[0-7]{3,4}")
_HASH = re.compile(r"[!*]|\$[0-9a-z]+\$[^:\s]+")
_KEY_TYPES = (
    r"ssh-(?:rsa|dss|ed25519)|ecdsa-sha2-nistp(?:256|384|521)"
    r"|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com"
)
_KEY = re.compile(
    rf"(?:[^\n]*[\s,])?(?:{_KEY_TYPES})(?:-cert-v01@openssh\.com)?\s+AAAA[A-Za-z0-9+/]+={{0,3}}(?:\s[^\n]*)?"
)
_READ_ONLY = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
_NOT_FILES = ("proc", "sys", "dev")


def read_config(data: bytes, file: str) -> tuple[CloudConfig, tuple[Problem, ...]]:
    """What a document asks for and all that is wrong with it, in the order of the lines."""
    document = read(data, file)
    problems = Problems(file)
    config = CloudConfig()
    if document.tree is not None:
        config = _config(check(document.tree, problems), problems)
    found = [*document.problems, *problems.found]
    return config, tuple(sorted(found, key=lambda p: p.line or 0))


def _config(tree: Mapping, problems: Problems) -> CloudConfig:
    coreos, ours = tree.get("coreos"), tree.get("skerry")
    written = [
        *((table, f"coreos.units[{i}]") for i, table in enumerate(tables(coreos, "units"))),
        *((table, f"units[{i}]") for i, table in enumerate(tables(tree, "units"))),
    ]
    return CloudConfig(
        hostname=_hostname(tree, problems),
        keys=_keys(tree, "ssh_authorized_keys", problems),
        users=_users(tree, problems),
        files=_files(tree, problems),
        units=units(written, problems),
        hosts_line=_hosts_line(tree, problems),
        settings=settings(ours, coreos, problems),
    )


def _hostname(tree: Mapping, problems: Problems) -> Hostname | None:
    name = text(tree, "hostname")
    if name is None:
        return None
    line = tree.line_of("hostname")
    if len(name) > 64 or not _HOSTNAME.fullmatch(name):
        hint = "letters, digits and - in labels joined by dots, 64 characters at most"
        problems.error(line, f"{name!r} is not a host name", hint, where="hostname")
        return None
    return Hostname(line, name)


def _hosts_line(tree: Mapping, problems: Problems) -> int | None:
    value = text(tree, "manage_etc_hosts")
    if value is None:
        return None
    line = tree.line_of("manage_etc_hosts")
    if value != "localhost":
        problems.error(line, "manage_etc_hosts must be localhost", where="manage_etc_hosts")
        return None
    return line


def _keys(table: Mapping, name: str, problems: Problems, where: str = "") -> tuple[AuthorizedKey, ...]:
    kept: dict[str, AuthorizedKey] = {}
    for number, (key, line) in enumerate(texts(table, name)):
        plain = key.strip()
        if _KEY.fullmatch(plain):
            kept.setdefault(plain, AuthorizedKey(line, plain))
        else:
            private = "PRIVATE KEY" in plain
            said = "this is a private key" if private else "this is not an ssh public key"
            hint = "the public one is in the file that ends in .pub: `ssh-ed25519 AAAA… name`"
            problems.error(line, said, hint, where=f"{where}{name}[{number}]")
    return tuple(kept.values())


def _users(tree: Mapping, problems: Problems) -> tuple[User, ...]:
    found: dict[str, User] = {}
    for number, table in enumerate(tables(tree, "users")):
        where = f"users[{number}]"
        name = text(table, "name")
        if name is None:
            problems.error(table.line, "a user needs a name", where=where)
        elif not _ACCOUNT.fullmatch(name):
            hint = "small letters, digits, _ and -, 32 characters at most, and no digit at first"
            problems.error(table.line_of("name"), f"{name!r} is not a user name", hint, where=f"{where}.name")
        else:
            if name in found:
                said = f"the user {name!r} stands twice, first on line {found[name].line}"
                problems.error(table.line, said, "join both; the last is taken", where=where)
            found[name] = _user(name, table, where, problems)
    return tuple(found.values())


def _user(name: str, table: Mapping, where: str, problems: Problems) -> User:
    passwd = text(table, "passwd")
    if passwd is not None and not _HASH.fullmatch(passwd):
        problems.error(
            table.line_of("passwd"),
            f"the passwd of {name!r} is not a password hash; it is left out",
            "make one with `openssl passwd -6`",
            where=f"{where}.passwd",
        )
        passwd = None
    groups = []
    for group, line in texts(table, "groups"):
        if _ACCOUNT.fullmatch(group):
            groups.append(group)
        else:
            problems.error(line, f"{group!r} is not a group name", where=f"{where}.groups")
    primary = text(table, "primary_group")
    if primary is not None and not _ACCOUNT.fullmatch(primary):
        problems.error(table.line_of("primary_group"), f"{primary!r} is not a group name", where=where)
        primary = None
    gecos = text(table, "gecos")
    if gecos is not None and (":" in gecos or not gecos.isprintable()):
        problems.error(
            table.line_of("gecos"), "gecos must be one line without a colon", where=f"{where}.gecos"
        )
        gecos = None
    return User(
        line=table.line,
        name=name,
        passwd=passwd,
        keys=_keys(table, "ssh_authorized_keys", problems, f"{where}."),
        gecos=gecos,
        homedir=_account_path(table, "homedir", where, problems),
        primary_group=primary,
        groups=tuple(dict.fromkeys(groups)),
        shell=_account_path(table, "shell", where, problems),
        no_create_home=flag(table, "no_create_home"),
        no_user_group=flag(table, "no_user_group"),
        system=flag(table, "system"),
        no_log_init=flag(table, "no_log_init"),
    )


def _account_path(table: Mapping, name: str, where: str, problems: Problems) -> str | None:
    path = text(table, name)
    if path is None or (path.startswith("/") and ":" not in path and path.isprintable()):
        return path
    problems.error(table.line_of(name), f"{name} must be an absolute path", where=f"{where}.{name}")
    return None


def _files(tree: Mapping, problems: Problems) -> tuple[File, ...]:
    found: dict[str, File] = {}
    room = LARGEST_TOTAL_BYTES
    for number, table in enumerate(tables(tree, "write_files")):
        where = f"write_files[{number}]"
        path = _path(table, where, problems)
        data = _content(table, where, min(room, encoding.LARGEST_BYTES), problems)
        mode = _mode(table, where, problems)
        owner = text(table, "owner")
        if owner is not None and not _OWNER.fullmatch(owner):
            said = f"the owner {owner!r} is neither USER nor USER:GROUP"
            problems.error(table.line_of("owner"), said, where=f"{where}.owner")
            continue
        if path is None or data is None or mode is None:
            continue
        room -= len(data)
        if path in found:
            said = f"{path} is written twice, first on line {found[path].line}"
            problems.warning(table.line, said, "the last is taken", where=where)
        found[path] = File(table.line, path, data, mode, owner, plain=text(table, "encoding") is None)
    return tuple(found.values())


def _path(table: Mapping, where: str, problems: Problems) -> str | None:
    path, line = text(table, "path"), table.line_of("path")
    if path is None:
        problems.error(table.line, "a file needs a path", where=where)
        return None
    place = f"{where}.path"
    parts = PurePosixPath(path).parts
    if not path.startswith("/") or "\0" in path or len(parts) < 2:
        problems.error(line, f"the path {path!r} must be absolute and name a file", where=place)
    elif ".." in parts:
        problems.error(line, f"the path {path!r} must not contain `..`", where=place)
    elif path.endswith("/"):
        problems.error(line, f"the path {path!r} names a directory", where=place)
    elif parts[1] in _READ_ONLY and parts[1:3] != ("usr", "local"):  # that is a link to /var/usrlocal
        hint = "write below /etc, /var, /opt or /usr/local"
        problems.error(line, f"{path} lies in the read-only /usr", hint, where=place)
    elif parts[1] in _NOT_FILES:
        hint = (
            "write a file in /etc/sysctl.d" if parts[1:3] == ("proc", "sys") else "write a unit that sets it"
        )
        problems.error(line, f"{path} is not a file on a disk", hint, where=place)
    else:
        return str(PurePosixPath("/", *parts[1:]))
    return None


def _content(table: Mapping, where: str, room: int, problems: Problems) -> bytes | None:
    node = table.get("content")
    raw = b""
    if isinstance(node, Scalar):
        raw = node.value if isinstance(node.value, bytes) else node.text.encode()
    try:
        return encoding.decode(raw, text(table, "encoding"), largest_bytes=room)
    except EncodingError as error:
        at = "encoding" if "not known" in error.message else "content"
        problems.error(table.line_of(at), error.message, error.hint, where=f"{where}.{at}")
        return None


def _mode(table: Mapping, where: str, problems: Problems) -> int | None:
    permissions = text(table, "permissions")
    if permissions is None:
        return 0o644
    if not _MODE.fullmatch(permissions):
        said = f"the permissions {permissions!r} are not octal"
        problems.error(table.line_of("permissions"), said, 'as in "0644"', where=f"{where}.permissions")
        return None
    return int(permissions, 8)
