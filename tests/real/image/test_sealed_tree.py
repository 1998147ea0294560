"""What is in the tree of the shipped image, and what is not: read from the archive that nodes run."""

from __future__ import annotations

import json
import posixpath
import tarfile
from typing import TYPE_CHECKING

import pytest

from skerry.image.compose import epoch
from skerry.image.compose.build import DEFAULT_RECIPE, Image, Store
from skerry.image.compose.inside.elf import needed
from skerry.image.compose.recipe import load

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(600)
RECIPE = load(DEFAULT_RECIPE)
UNITS = "usr/lib/systemd/system"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
STATE = ("run", "proc", "dev", "var", "sys")
# What a user may start as root: to change a password or become another.
PRIVILEGED = {
    "usr/bin/chage", "usr/bin/chfn", "usr/bin/chsh", "usr/bin/expiry", "usr/bin/gpasswd", "usr/bin/mount",
    "usr/bin/newgrp", "usr/bin/passwd", "usr/bin/su", "usr/bin/sudo", "usr/bin/umount",
    "usr/lib/dbus-1.0/dbus-daemon-launch-helper", "usr/lib/openssh/ssh-keysign", "usr/sbin/unix_chkpwd",
}  # fmt: skip
ABSENT = (
    "usr/bin/apt", "usr/bin/apt-get", "usr/bin/dpkg", "usr/bin/gcc", "usr/bin/cc", "usr/bin/ld",
    "usr/bin/make", "usr/bin/perl", "usr/bin/gpg", "usr/bin/man", "usr/share/doc-base", "usr/share/man",
    "usr/share/info", "usr/share/locale", "usr/include", "var/lib/dpkg", "etc/apt", "boot",
    "usr/lib/skerry/skerry/image/compose", "usr/lib/skerry/skerry_lab",
)  # fmt: skip


class Tree:
    """The members of the archive by their path, links followed as on the running host."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self.members = {member.name.removeprefix("./"): member for member in tar}

    def find(self, path: str) -> tarfile.TarInfo | None:
        """What a path leads to, within the tree; None where there is nothing."""
        for _ in range(40):
            path = posixpath.normpath(path).lstrip("/")
            parts = path.split("/")
            for count in range(1, len(parts) + 1):
                member = self.members.get("/".join(parts[:count]))
                if member is None:
                    return None
                if member.issym() and member.linkname == "/dev/null":  # a masked unit
                    return member
                if member.issym():
                    base = "/".join(parts[: count - 1])
                    path = posixpath.join("/", base, member.linkname, *parts[count:])
                    break
            else:
                return self.members[path]
        return None

    def read(self, path: str) -> bytes:
        member = self.find(path)
        assert member is not None, path
        file = self._tar.extractfile(member)
        assert file is not None
        return file.read()

    def programs(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Every ELF file but the kernel's, with the libraries it needs."""
        for path, member in self.members.items():
            if member.isreg() and not path.startswith("usr/lib/modules/"):
                file = self._tar.extractfile(member)
                if file is not None and file.read(4) == b"\x7fELF":
                    file.seek(0)
                    yield path, needed(file.read())


@pytest.fixture(scope="module")
def tree(image: Image, store: Store) -> Iterator[Tree]:
    with tarfile.open(store.cache / "steps" / f"tree-{image.steps['tree']}" / "tree.tar") as tar:
        yield Tree(tar)


@pytest.mark.parametrize("path", ABSENT)
def test_no_tools_of_a_workstation(tree: Tree, path: str) -> None:
    assert [name for name in tree.members if name == path or name.startswith(f"{path}/")] == []


def test_nothing_of_one_machine(tree: Tree) -> None:
    assert [name for name in tree.members if name.startswith("etc/ssh/ssh_host_")] == []
    assert tree.read("etc/machine-id") == b""
    assert [name for name in tree.members if name.startswith("var/")] == []
    assert "etc/hostname" not in tree.members
    # Scripts of packages keep what they replace: systemd-resolved the builder's resolv.conf, hidden.
    kept = (".bak", ".orig", ".dpkg-old", ".dpkg-dist", "~")
    assert [name for name in tree.members if name.endswith(kept) or name.startswith("etc/.")] == []


def test_byte_code_is_never_checked_against_its_source(tree: Tree) -> None:
    compiled = [name for name in tree.members if name.endswith(".pyc")]
    assert "usr/lib/skerry/skerry/entry/daemon/__pycache__/main.cpython-313.pyc" in compiled
    # PEP 552: bit 0 is "by hash", bit 1 "check the source".
    assert [name for name in compiled if tree.read(name)[4:8] != b"\1\0\0\0"] == []


def test_all_our_code_is_compiled(tree: Tree) -> None:
    sources = [name for name in tree.members if name.startswith("usr/lib/skerry/") and name.endswith(".py")]
    cached = [
        f"{posixpath.dirname(name)}/__pycache__/{posixpath.basename(name)[:-3]}.cpython-313.pyc"
        for name in sources
    ]
    assert [name for name in cached if name not in tree.members] == []


def test_few_programs_run_as_another_user(tree: Tree) -> None:
    privileged = {name for name, member in tree.members.items() if member.isreg() and member.mode & 0o4000}
    assert privileged - PRIVILEGED == set()


def test_nobody_may_write_what_is_not_theirs(tree: Tree) -> None:
    loose = [
        name for name, member in tree.members.items()
        if not member.issym() and member.mode & 0o002 and not member.mode & 0o1000
    ]  # fmt: skip
    assert loose == []


def test_every_entry_has_the_product_s_time_but_the_floor_of_the_clock(tree: Tree) -> None:
    floor = "usr/lib/clock-epoch"
    others = {member.mtime for name, member in tree.members.items() if name != floor}
    assert (others, tree.members[floor].mtime) == ({epoch.PRODUCT}, epoch.of(RECIPE.version))


@pytest.mark.parametrize("unit", RECIPE.enable)
def test_an_enabled_unit_is_there_and_wanted(tree: Tree, unit: str) -> None:
    assert tree.find(f"{UNITS}/{unit}") is not None
    stem, _, kind = unit.rpartition(".")
    wanted = [
        name for name in tree.members
        if name.startswith("etc/systemd/system/") and (".wants/" in name or ".requires/" in name)
        and posixpath.basename(name).startswith(stem) and name.endswith(kind)
    ]  # fmt: skip
    assert wanted != []


def test_every_wanted_unit_is_there(tree: Tree) -> None:
    wanted = [
        name
        for name in tree.members
        if "systemd/system/" in name and (".wants/" in name or ".requires/" in name)
    ]
    assert wanted != []
    assert [name for name in wanted if tree.members[name].issym() and tree.find(name) is None] == []


@pytest.mark.parametrize("unit", RECIPE.mask)
def test_a_masked_unit_is_masked(tree: Tree, unit: str) -> None:
    assert tree.members[f"{UNITS}/{unit}"].linkname == "/dev/null"


def test_no_link_leads_nowhere(tree: Tree) -> None:
    lost = []
    for name, member in tree.members.items():
        if member.issym() and name.startswith(("etc/", "usr/bin/", "usr/sbin/", LIBRARIES)):
            target = posixpath.normpath(posixpath.join("/", posixpath.dirname(name), member.linkname))
            if target.split("/")[1] not in STATE and tree.find(name) is None:
                lost.append(f"{name} -> {member.linkname}")
    assert lost == []


def test_every_program_has_its_libraries(tree: Tree) -> None:
    at_hand = {posixpath.basename(name) for name in tree.members if ".so" in name}
    lost = [(path, name) for path, names in tree.programs() for name in names if name not in at_hand]
    assert lost == []


def test_state_is_led_into_var(tree: Tree) -> None:
    links = {name: tree.members[name].linkname for name in ("home", "root", "opt", "srv")}
    assert links == {"home": "var/home", "root": "var/roothome", "opt": "var/opt", "srv": "var/srv"}


def test_the_tree_says_what_it_is(tree: Tree, image: Image) -> None:
    release = tree.read("etc/os-release").decode()
    assert f"IMAGE_VERSION={image.version}\n" in release
    assert len(json.loads(tree.read("usr/share/skerry/packages.json"))) == image.packages


def test_root_is_within_its_budget(image: Image) -> None:
    assert image.root_bytes <= RECIPE.root_budget_mib << 20
