"""The variables of a cloud-config: $public_ipv4, $private_ipv4, $public_ipv6, $private_ipv6.

They stand for addresses in the contents of units, drop-ins and of files without an `encoding`. Their
values are COREOS_PUBLIC_IPV4 and so on from /etc/environment, if somebody else wrote them there, else the
machine's own addresses, which are known only when its network is up. So what mentions a variable
whose value is not in the environment *waits*: it is left out of the early run and carried out by a second
one after network-online.target. `\\$private_ipv4` is the text itself. As in CoreOS an address that the
machine does not have becomes nothing.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from skerry.host.provision.config import File

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from skerry.host.provision.config import CloudConfig, Unit

NAMES = ("public_ipv4", "private_ipv4", "public_ipv6", "private_ipv6")
BLOCK_BEGIN = "# skerry: addresses of this machine begin; written anew when they change"
BLOCK_END = "# skerry: addresses of this machine end"
_VARIABLE = re.compile(rf"(\\?)\$({'|'.join(NAMES)})")
_ENVIRONMENT = re.compile(rf"\bCOREOS_({'|'.join(name.upper() for name in NAMES)})\b")


def environment_name(name: str) -> str:
    """`private_ipv4` as CoreOS called it in the environment: COREOS_PRIVATE_IPV4."""
    return f"COREOS_{name.upper()}"


def from_environment(text: str) -> dict[str, str]:
    """What /etc/environment says of the addresses, outside of our block; an empty value counts as none."""
    pairs = (line.partition("=") for line in others_lines(text))
    given = {name.strip(): value.strip().strip("\"'") for name, equals, value in pairs if equals}
    return {n: v for n in NAMES if (v := given.get(environment_name(n), ""))}


def others_lines(text: str) -> list[str]:
    """The lines of /etc/environment that are not ours."""
    lines = text.splitlines()
    if BLOCK_BEGIN in lines and BLOCK_END in lines:
        del lines[lines.index(BLOCK_BEGIN) : lines.index(BLOCK_END) + 1]
    return lines


def with_block(text: str, values: Mapping[str, str]) -> str:
    """/etc/environment with our block: the addresses under CoreOS's names, where nobody else gives them."""
    given = from_environment(text)
    ours = [f"{environment_name(n)}={v}" for n, v in sorted(values.items()) if n not in given]
    return "\n".join([*others_lines(text), BLOCK_BEGIN, *ours, BLOCK_END]) + "\n"


def from_machine(addresses: Iterable[str]) -> dict[str, str]:
    """The machine's addresses by name, from all that its links have, in order.

    Private is the first that is not routed in the internet, public the first that is; where the
    machine has one kind only, that one stands for both.
    """
    import ipaddress  # most documents use no address

    found: dict[str, str] = {}
    for text in addresses:
        address = ipaddress.ip_address(text)
        if address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast:
            continue
        kind = "public" if address.is_global else "private"
        found.setdefault(f"{kind}_ipv{address.version}", str(address))
    for version in (4, 6):
        private, public = found.get(f"private_ipv{version}"), found.get(f"public_ipv{version}")
        if private or public:
            found[f"private_ipv{version}"] = private or public or ""
            found[f"public_ipv{version}"] = public or private or ""
    return found


def mentioned(text: str) -> frozenset[str]:
    """The variables in a text, and those that it expects in the environment."""
    direct = {name for backslash, name in _VARIABLE.findall(text) if not backslash}
    return frozenset(direct | {name.lower() for name in _ENVIRONMENT.findall(text)})


def substitute(text: str, values: Mapping[str, str]) -> str:
    """The text with its variables replaced; one without a value becomes nothing."""

    def value(found: re.Match[str]) -> str:
        return f"${found[2]}" if found[1] else values.get(found[2], "")

    return _VARIABLE.sub(value, text)


def missing(config: CloudConfig, values: Mapping[str, str]) -> dict[str, int]:
    """The variables that the document uses and the machine has no value for, each with its first line."""
    found: dict[str, int] = {}
    for line, text in _texts(config):
        for name in sorted(mentioned(text) - values.keys()):
            found.setdefault(name, line)
    return found


def used(config: CloudConfig) -> frozenset[str]:
    """The variables that the document uses anywhere; if any, /etc/environment holds them too."""
    return frozenset().union(*(mentioned(text) for _, text in _texts(config)))


def resolve(config: CloudConfig, early: Mapping[str, str], late: Mapping[str, str]) -> CloudConfig:
    """The document without variables. `early` are values known before the network, `late` after.

    A part that needs more than `early` is marked as waiting, in the early run and in the late one
    alike, so that both agree on whose turn it is.
    """
    values = {**late, **early}

    def waits(part: File | Unit) -> bool:
        return bool(mentioned(_text(part)) - early.keys())

    files = tuple(
        replace(f, data=_bytes(f.data, values) if f.plain else f.data, waits=waits(f)) for f in config.files
    )
    units = tuple(
        replace(
            u,
            content=None if u.content is None else substitute(u.content, values),
            drop_ins=tuple(replace(d, content=substitute(d.content, values)) for d in u.drop_ins),
            waits=waits(u),
        )
        for u in config.units
    )
    return replace(config, files=files, units=units)


def _bytes(data: bytes, values: Mapping[str, str]) -> bytes:
    try:
        return substitute(data.decode(), values).encode()
    except UnicodeDecodeError:
        return data  # tagged !!binary


def _texts(config: CloudConfig) -> list[tuple[int, str]]:
    return [(f.line, _text(f)) for f in config.files] + [(u.line, _text(u)) for u in config.units]


def _text(part: File | Unit) -> str:
    if isinstance(part, File):
        return part.data.decode(errors="replace") if part.plain else ""
    return "\n".join([part.content or "", *(d.content for d in part.drop_ins)])
