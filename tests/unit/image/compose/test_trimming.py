"""What stays in the tree: modules with what they need, paths that are kept, choices in braces."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry.image.compose.inside.elf import closure, needed
from skerry.image.compose.inside.modules import choose, dependencies, name_of
from skerry.image.compose.inside.trim import braces, remove

DEP = """kernel/fs/overlayfs/overlay.ko.xz:
kernel/net/wire-guard.ko.xz: kernel/net/udp_tunnel.ko.xz kernel/lib/curve.ko.xz
kernel/net/udp_tunnel.ko.xz: kernel/lib/curve.ko.xz
kernel/lib/curve.ko.xz:
"""


@pytest.mark.parametrize(
    ("path", "name"), [("kernel/fs/foo-bar.ko.xz", "foo_bar"), ("kernel/fs/a.ko", "a"), ("b.ko.zst", "b")]
)
def test_a_module_has_the_kernels_name(path: str, name: str) -> None:
    assert name_of(path) == name


@pytest.mark.parametrize(
    ("patterns", "chosen", "unknown"),
    [
        (["overlay"], ["overlay"], []),
        (["wire-guard"], ["curve", "udp_tunnel", "wire_guard"], []),
        (["wire*", "curve"], ["curve", "udp_tunnel", "wire_guard"], []),
        (["ext4"], [], []),
        (["nothing", "no*"], [], ["nothing", "no*"]),
    ],
)
def test_modules_come_after_those_they_need(
    patterns: list[str], chosen: list[str], unknown: list[str]
) -> None:
    paths, missed = choose(patterns, dependencies(DEP), builtin={"ext4"})
    assert ([name_of(path) for path in paths], missed) == (chosen, unknown)


@pytest.mark.parametrize(
    ("pattern", "plain"),
    [("a", ["a"]), ("a{b,c}d", ["abd", "acd"]), ("{x}.so", ["x.so"]), ("a{b", ["a{b"]), ("a}b{", ["a}b{"])],
)
def test_braces_are_choices(pattern: str, plain: list[str]) -> None:
    assert braces(pattern) == plain


def test_what_is_kept_stays_inside_of_what_is_removed(tmp_path: Path) -> None:
    for name in ("share/doc/a/x", "share/doc/b/y", "share/other/z"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    idle = remove(tmp_path, ["share/doc", "share/none"], ["share/doc/a/x"])
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert (left, idle) == (["share/doc/a/x", "share/other/z"], ["share/none"])


def test_a_link_is_removed_and_not_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("")
    (tmp_path / "link").symlink_to("real")
    remove(tmp_path, ["link"], [])
    assert ((tmp_path / "real" / "file").exists(), (tmp_path / "link").is_symlink()) == (True, False)


def test_closure_bears_circles() -> None:
    needs = {"a": ["b"], "b": ["c", "a"], "c": [], "d": ["a"]}
    assert closure(["a"], needs.__getitem__) == {"a", "b", "c"}


def test_a_real_program_names_its_libraries() -> None:
    program = Path("/bin/sh").resolve()
    assert any(name.startswith("libc.") for name in needed(program.read_bytes()))


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x01\x01"])
def test_what_is_no_program_names_nothing(data: bytes) -> None:
    assert needed(data) == ()
