"""Unit names: what fleet took, and Podman's seven kinds of Quadlet file.

    prefix [ @ [ instance ] ] . suffix

    web.service       a unit
    web@.service      a template: an empty instance
    web@1.service     an instance of it
    web.container     a Quadlet file; systemd sees the service that Podman's generator makes of it

A name is at most 255 characters of `0-9 a-z A-Z : - _ . \\ @` and does not begin with `@`. Refuses
everything else here, so that no name ever leads out of the directory that it is written to.
Sources: systemd.unit(5), podman-systemd.unit(5), and fleet's `unit` package for its rules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from skerry.host.units.errors import UnitNameError

LONGEST = 255  # a file name's limit, and systemd's UNIT_NAME_MAX without its closing zero

SYSTEMD_SUFFIXES = (
    "automount",
    "busname",
    "device",
    "mount",
    "path",
    "scope",
    "service",
    "slice",
    "snapshot",
    "socket",
    "swap",
    "target",
    "timer",
)
QUADLET_SUFFIXES = ("container", "pod", "volume", "network", "kube", "image", "build")
TEMPLATE_SUFFIXES = ("path", "service", "socket", "target", "timer", "container", "kube", "pod")

# What Podman's generator appends to the name of the file; the others become "NAME.service".
_QUADLET_TAILS = {
    "pod": "-pod",
    "volume": "-volume",
    "network": "-network",
    "image": "-image",
    "build": "-build",
}
_ALLOWED = re.compile(r"[0-9a-zA-Z:\-_.\\@]+")


@dataclass(frozen=True, slots=True)
class UnitName:
    """A name taken apart. `instance` is None for a plain unit and "" for a template."""

    full: str
    prefix: str
    instance: str | None
    suffix: str

    @property
    def stem(self) -> str:
        """The name without its suffix: what `%N` stands for."""
        return self.full[: -len(self.suffix) - 1]

    @property
    def is_template(self) -> bool:
        return self.instance == ""

    @property
    def is_instance(self) -> bool:
        return bool(self.instance)

    @property
    def is_quadlet(self) -> bool:
        return self.suffix in QUADLET_SUFFIXES

    @property
    def template(self) -> str | None:
        """The template that an instance is made from, None for other units."""
        return f"{self.prefix}@.{self.suffix}" if self.is_instance else None

    def __str__(self) -> str:
        return self.full


def parse_name(text: str) -> UnitName:
    """Take a full unit name apart. Raises UnitNameError with what is wrong and what to write."""
    if not text:
        raise UnitNameError("a unit needs a name")
    if len(text) > LONGEST:
        raise UnitNameError(f"a unit name has at most {LONGEST} characters, this one has {len(text)}")
    if not _ALLOWED.fullmatch(text):
        wrong = next(c for c in text if not _ALLOWED.fullmatch(c))
        raise UnitNameError(
            f"unit name {text!r} must not contain {wrong!r}",
            hint="allowed are letters, digits and : - _ . \\ @",
        )
    if text.startswith("@"):
        raise UnitNameError(f"unit name {text!r} must not begin with @")
    stem, dot, suffix = text.rpartition(".")
    if not dot or suffix not in SYSTEMD_SUFFIXES + QUADLET_SUFFIXES:
        raise UnitNameError(
            f"unit name {text!r} has no suffix that is known",
            hint=f"perhaps {text}.service; Quadlet files end in .{', .'.join(QUADLET_SUFFIXES)}",
        )
    if not stem:
        raise UnitNameError(f"unit name {text!r} has nothing before its suffix")
    prefix, at, instance = stem.partition("@")
    name = UnitName(text, prefix, instance if at else None, suffix)
    if name.is_template and suffix not in TEMPLATE_SUFFIXES:
        raise UnitNameError(f"a .{suffix} unit cannot be a template, as {text!r} would be")
    return name


def complete_name(text: str) -> str:
    """What a person typed as a full name: `foo` means `foo.service`."""
    _, dot, suffix = text.rpartition(".")
    known = bool(dot) and suffix in SYSTEMD_SUFFIXES + QUADLET_SUFFIXES
    return text if known else f"{text}.service"


def generated_service(name: UnitName, service_name: str | None = None) -> str:
    """The unit that systemd runs for `name`: itself, or what the generator makes of a Quadlet file.

    `service_name` is the value of ServiceName= in the Quadlet file, without a suffix. For a
    template it names the template, and an instance keeps its instance.
    """
    if not name.is_quadlet:
        return name.full
    at = "" if name.instance is None else f"@{name.instance}"
    base = (
        service_name.removesuffix("@") if service_name else name.prefix + _QUADLET_TAILS.get(name.suffix, "")
    )
    return f"{base}{at}.service"


def is_file_name(text: str) -> bool:
    """A plain name that stays in its directory: no slash, no leading dot, of bearable length."""
    plain = not text.startswith(".") and "/" not in text and "\0" not in text
    return plain and 0 < len(text.encode()) <= LONGEST
