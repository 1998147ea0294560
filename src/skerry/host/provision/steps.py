"""What a plan consists of. Each step says what it does and why, and never shows a secret."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Step:
    """`line` is where the author asked for it, None for what follows from other steps."""

    line: int | None
    why: str

    @property
    def what(self) -> str:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class SetHostname(Step):
    name: str

    @property
    def what(self) -> str:
        return f"name the machine {self.name}"


@dataclass(frozen=True, slots=True)
class AddGroup(Step):
    name: str

    @property
    def what(self) -> str:
        return f"add the group {self.name}"


@dataclass(frozen=True, slots=True)
class AddUser(Step):
    """`options` are useradd's own, without the name; no secret is among them."""

    name: str
    options: tuple[str, ...]

    @property
    def what(self) -> str:
        return f"add the user {self.name}"


@dataclass(frozen=True, slots=True)
class SetPassword(Step):
    user: str
    hash: str = field(repr=False)

    @property
    def what(self) -> str:
        return f"set the password of {self.user}"


@dataclass(frozen=True, slots=True)
class SetKeys(Step):
    """Our block of ~/.ssh/authorized_keys; what others put around it stays."""

    user: str
    keys: tuple[str, ...] = field(repr=False)

    @property
    def what(self) -> str:
        return f"give {self.user} {len(self.keys)} ssh key{'s' if len(self.keys) != 1 else ''}"


@dataclass(frozen=True, slots=True)
class WriteFile(Step):
    path: str
    data: bytes = field(repr=False)
    mode: int = 0o644
    owner: str | None = None

    @property
    def what(self) -> str:
        return f"write {self.path}"


@dataclass(frozen=True, slots=True)
class MakeLink(Step):
    """A symbolic link; with `needs_target` only where its target exists."""

    path: str
    target: str
    needs_target: bool = False

    @property
    def what(self) -> str:
        return f"link {self.path} to {self.target}"


@dataclass(frozen=True, slots=True)
class RemoveLink(Step):
    path: str

    @property
    def what(self) -> str:
        return f"remove the link {self.path}"


@dataclass(frozen=True, slots=True)
class EnableUnit(Step):
    name: str
    runtime: bool

    @property
    def what(self) -> str:
        return f"enable {self.name}" + (" until the next boot" if self.runtime else "")


@dataclass(frozen=True, slots=True)
class ReloadManager(Step):
    @property
    def what(self) -> str:
        return "let systemd read its units again"


@dataclass(frozen=True, slots=True)
class CommandUnit(Step):
    name: str
    command: str

    @property
    def what(self) -> str:
        return f"{self.command} {self.name}"


AnyStep: TypeAlias = (
    SetHostname
    | AddGroup
    | AddUser
    | SetPassword
    | SetKeys
    | WriteFile
    | MakeLink
    | RemoveLink
    | EnableUnit
    | ReloadManager
    | CommandUnit
)
