"""Where Debian packages come from: the recipe, the environment, or the build machine's own apt sources.

The first of these that names a mirror wins. Refuses to guess: there is no built-in mirror. Formats read:
deb822 `.sources` and one-line `.list` files, see sources.list(5).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.image.compose.errors import NoMirrorError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ENVIRONMENT = "SKERRY_MIRROR"
ENVIRONMENT_SECURITY = "SKERRY_SECURITY_MIRROR"
COMPONENT = "main"
POCKETS = ("release", "updates", "security")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True, slots=True)
class Mirror:
    """The base addresses of a Debian archive and of its security archive (None: do without)."""

    archive: str
    security: str | None

    def sources(
        self,
        suite: str,
        components: tuple[str, ...] = (COMPONENT,),
        pockets: tuple[str, ...] = POCKETS,
    ) -> tuple[str, ...]:
        """The deb lines for a suite with its updates and security pockets, where it has them."""
        parts = " ".join(components)
        lines = [f"deb {self.archive} {suite} {parts}"]
        if not has_pockets(suite):
            return tuple(lines)
        if "updates" in pockets:
            lines.append(f"deb {self.archive} {suite}-updates {parts}")
        if "security" in pockets and self.security is not None:
            lines.append(f"deb {self.security} {suite}-security {parts}")
        return tuple(lines)


def has_pockets(suite: str) -> bool:
    """Whether the suite has updates and security pockets; the moving suites have none."""
    return suite not in {"sid", "unstable", "experimental"}


def find_mirror(
    *,
    recipe: str | None = None,
    recipe_security: str | None = None,
    environment: Mapping[str, str] | None = None,
    apt: Path = Path("/etc/apt"),
) -> Mirror:
    """The mirror to use. Raises NoMirrorError where none is named anywhere."""
    given = os.environ if environment is None else environment
    if recipe:
        return Mirror(recipe, recipe_security)
    if given.get(ENVIRONMENT):
        return Mirror(given[ENVIRONMENT], given.get(ENVIRONMENT_SECURITY) or None)
    archive = security = None
    for address, suite in _apt_sources(apt):
        path = address.rstrip("/")
        if path.endswith("/debian-security") or suite.endswith(("-security", "/updates")):
            security = security or address
        elif path.endswith("/debian") or "/debian/" in path:
            archive = archive or address
    if archive is None:
        raise NoMirrorError(
            f"no Debian mirror: the recipe names none, {ENVIRONMENT} is not set, {apt} has no Debian source",
            hint=f"set {ENVIRONMENT} (and {ENVIRONMENT_SECURITY}), or [mirror] archive to the recipe",
        )
    return Mirror(archive, security)


def find_sources(suite: str, environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The deb lines for a suite, for callers without a recipe."""
    return find_mirror(environment=environment).sources(suite)


def _apt_sources(apt: Path) -> Iterator[tuple[str, str]]:
    """Every (address, suite) of the machine's apt configuration that speaks http, https or file.

    Only of archives that have a component `main`, as Debian's do and its imitators mostly do not.
    """
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    for file in files:
        if not file.is_file():
            continue
        text = file.read_text(errors="replace")
        found = _deb822(text) if file.suffix == ".sources" else _one_line(text)
        for address, suite in found:
            if address.startswith(("http://", "https://", "file:")):
                yield address, suite


def _deb822(text: str) -> Iterator[tuple[str, str]]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')} {line.strip()}"
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.strip().lower()
                fields[name] = value.strip()
        if (
            fields.get("enabled", "yes").lower() in {"no", "false"}
            or "deb" not in fields.get("types", "").split()
            or COMPONENT not in fields.get("components", "").split()
        ):
            continue
        for address in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield address, suite


def _one_line(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        words = re.sub(r"\[[^\]]*\]", "", line.split("#", 1)[0]).split()
        if words[:1] == ["deb"] and COMPONENT in words[3:]:
            yield words[1], words[2]
