"""A machine's programs, in memory: what useradd and its kin do to a tree's account files, and a log of all.

It stands where `carry_out` starts programs, so that a plan can be carried out whole in a temporary
directory without being root.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.kit.run import ProgramError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class FakePrograms:
    """Callable as the Runner of a Target; `log` holds every command line."""

    def __init__(self, root: Path, *, fail: frozenset[str] = frozenset()) -> None:
        self.root, self.fail = root, fail
        self.log: list[str] = []

    def __call__(self, argv: Sequence[str], stdin: bytes | None) -> None:
        words = [w for w in argv if w not in ("--prefix", str(self.root), f"--root={self.root}")]
        self.log.append(" ".join(words))
        if words[0] in self.fail or " ".join(words) in self.fail:
            raise ProgramError(argv, "failed with status 1", b"it was told to fail")
        match words[0]:
            case "groupadd":
                self._add("group", words[-1], f"{words[-1]}:x:{self._next('group')}:")
            case "useradd":
                self._useradd(words)
            case "chpasswd":
                name, _, hashed = (stdin or b"").decode().strip().partition(":")
                shadow = self.root / "etc/shadow"
                rows = [line.split(":") for line in shadow.read_text().splitlines()]
                rows = [[name, hashed, *row[2:]] if row[0] == name else row for row in rows]
                shadow.write_text("".join(":".join(row) + "\n" for row in rows))
            case "systemctl" if "enable" in words:
                directory = "run" if "--runtime" in words else "etc"
                wants = self.root / directory / "systemd/system/multi-user.target.wants"
                wants.mkdir(parents=True, exist_ok=True)
                link = wants / words[-1]
                link.unlink(missing_ok=True)
                link.symlink_to(f"../{words[-1]}")

    def _useradd(self, words: Sequence[str]) -> None:
        name = words[-1]
        home = words[words.index("--home-dir") + 1] if "--home-dir" in words else f"/home/{name}"
        number = self._next("passwd")
        self._add("passwd", name, f"{name}:x:{number}:{number}::{home}:/bin/bash")
        self._add("shadow", name, f"{name}:*:::::::")
        if "--user-group" in words:
            self._add("group", name, f"{name}:x:{number}:")
        if "--create-home" in words:
            (self.root / home.lstrip("/")).mkdir(parents=True)

    def _add(self, file: str, name: str, row: str) -> None:
        path = self.root / "etc" / file
        rows = path.read_text().splitlines()
        if name in {r.split(":")[0] for r in rows}:
            raise ProgramError([file], f"already has {name}", b"")
        path.write_text("\n".join([*rows, row]) + "\n")

    def _next(self, file: str) -> int:
        return 1000 + len((self.root / "etc" / file).read_text().splitlines())


def bare_tree(root: Path, uid: int, gid: int) -> Path:
    """A tree with root's account (of the numbers given, so that nobody needs to be root) and a few files."""
    for directory in ("etc", "home", "root", "run", "bin", "usr/share/zoneinfo/Europe"):
        (root / directory).mkdir(parents=True)
    (root / "etc/passwd").write_text(f"root:x:{uid}:{gid}::/root:/bin/bash\n")
    (root / "etc/shadow").write_text("root:*:::::::\n")
    (root / "etc/group").write_text(f"root:x:{gid}:\nsudo:x:27:\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (root / "bin/bash").touch()
    (root / "usr/share/zoneinfo/Europe/Berlin").touch()
    return root
