"""Which paths of /etc are not merged like others, and why; read by people, so a table.

machine    of this machine alone: always yours, whatever a new version brings
made       made from the image: always the new one
settled    merged as others; where both changed it, yours stays and nothing is asked
accounts   users and groups, merged entry by entry
"""

from __future__ import annotations

import enum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

ACCOUNTS = ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")
_MACHINE = (
    "machine-id", "hostname", "adjtime", "ssh/ssh_host_*_key", "ssh/ssh_host_*_key.pub",
    ".pwd.lock", ".updated", *(f"{name}-" for name in ACCOUNTS),
)  # fmt: skip
_MADE = ("ld.so.cache",)
_SETTLED = ("resolv.conf", "localtime", "timezone", "mtab", "fstab", "crypttab")
# Never shown, even where a mode lets others read it.
_SECRET = (*ACCOUNTS[2:4], "shadow-", "gshadow-", "ssh/ssh_host_*_key", "*.key", "*/private/*", "sudoers")


class Rule(enum.StrEnum):
    MERGE = "merged"
    MACHINE = "of this machine"
    PROVISIONED = "written from the cloud-config"
    MADE = "made from the image"
    SETTLED = "settled"
    ACCOUNTS = "by entry"


def rule(path: str, provisioned: Collection[str] = ()) -> Rule:
    """How a path is treated; `provisioned` are paths that the cloud-config gives."""
    if path in ACCOUNTS:
        return Rule.ACCOUNTS
    if path in provisioned:
        return Rule.PROVISIONED
    if _matches(path, _MACHINE):
        return Rule.MACHINE
    if path in _MADE:
        return Rule.MADE
    return Rule.SETTLED if path in _SETTLED else Rule.MERGE


def is_secret(path: str, mode: int) -> bool:
    """Whether the content is not for a screen: a key, a password's hash, or what others may not read."""
    return not mode & 0o004 or any(fnmatchcase(path, pattern) for pattern in _SECRET)


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    """fnmatch, but `*` stays within one directory."""
    return any(path.count("/") == pattern.count("/") and fnmatchcase(path, pattern) for pattern in patterns)
