"""~/.config/skerry/contexts.toml: the clusters that this person speaks to, and the tokens to do so.

    current = "home"                     # what commands use where nothing else is said; absent: this machine

    [contexts.home]
    servers = ["https://10.0.0.1:7443", "https://10.0.0.2:7443"]
    token = "skerryp1.…"
    authority = "-----BEGIN CERTIFICATE-----…"   # the only one whose servers get the token

For its owner alone (0600, refused otherwise), and written whole. "local" is this machine's own socket.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Mapping

LOCAL = "local"
VARIABLE = "SKERRY_CONTEXT"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)


class ContextError(SkerryError):
    """A context is missing, or the file of contexts cannot be used."""


@dataclass(frozen=True, slots=True)
class Context:
    """One cluster, as one person."""

    name: str
    servers: tuple[str, ...]
    authority: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Contexts:
    """The whole file."""

    contexts: Mapping[str, Context] = field(default_factory=dict)
    current: str | None = None

    def get(self, name: str) -> Context:
        """Raises ContextError."""
        try:
            return self.contexts[name]
        except KeyError:
            known = ", ".join(sorted(self.contexts)) or "none yet"
            raise ContextError(
                f"no context is called {name}", hint=f"known are: {known}; `skerry context add` adds one"
            ) from None

    def adding(self, context: Context) -> Contexts:
        """With one more; the first becomes the current one."""
        known = {**self.contexts, context.name: context}
        return Contexts(known, self.current or context.name)

    def without(self, name: str) -> Contexts:
        """Raises ContextError."""
        self.get(name)
        left = {known: context for known, context in self.contexts.items() if known != name}
        return Contexts(left, None if self.current == name else self.current)

    def using(self, name: str) -> Contexts:
        """With another current one; LOCAL is none. Raises ContextError."""
        if name != LOCAL:
            self.get(name)
        return replace(self, current=None if name == LOCAL else name)


def check_name(name: str) -> str:
    """Raises ContextError."""
    if name == LOCAL or not _NAME.fullmatch(name):
        raise ContextError(f"{name!r} is no name for a context", hint="letters, digits, _ and -; not `local`")
    return name


def contexts_file() -> Path:
    """$XDG_CONFIG_HOME/skerry/contexts.toml, else in ~/.config."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
    return Path(base) / "skerry" / "contexts.toml"


def read_contexts(path: Path) -> Contexts:
    """What the file holds; nothing where it is not there. Raises ContextError."""
    try:
        mode = path.stat().st_mode
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return Contexts()
    except (OSError, UnicodeDecodeError) as error:
        raise ContextError(f"{path} cannot be read: {error}") from error
    if mode & 0o077:
        raise ContextError(f"others than you can read the tokens in {path}", hint=f"chmod 600 {path}")
    import tomllib

    try:
        document = tomllib.loads(text)
        tables = document.get("contexts", {})
        contexts = {
            name: Context(
                name, tuple(map(str, table["servers"])), str(table["authority"]), str(table["token"])
            )
            for name, table in tables.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ContextError(f"{path} cannot be read: it is not in its form") from error
    current = document.get("current")
    return Contexts(contexts, current if isinstance(current, str) and current in contexts else None)


def write_contexts(path: Path, contexts: Contexts) -> None:
    """Raises ContextError."""
    from skerry.kit.files import write_atomic

    lines = [] if contexts.current is None else [f"current = {_text(contexts.current)}", ""]
    for context in contexts.contexts.values():
        servers = ", ".join(_text(server) for server in context.servers)
        lines += [f"[contexts.{context.name}]", f"servers = [{servers}]", f"token = {_text(context.token)}"]
        lines += [f"authority = {_text(context.authority)}", ""]
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(path, "\n".join(lines), mode=0o600)
    except OSError as error:
        raise ContextError(f"{path} cannot be written: {error.strerror}") from error


def _text(text: str) -> str:
    """A basic string of TOML: JSON's, whose escapes TOML has too."""
    return json.dumps(text).replace("\x7f", "\\u007f")
