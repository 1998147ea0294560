"""What leaves a tree: what the recipe names, and libraries that nobody is left to use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fakes.elf import elf
from skerry.image.compose.inside.trim import LIBRARIES, braces, remove, unused_libraries

if TYPE_CHECKING:
    from pathlib import Path


def plant(tree: Path, *paths: str) -> Path:
    for name in paths:
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tree


def names(tree: Path) -> set[str]:
    return {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_symlink() or not path.is_dir()}


@pytest.mark.parametrize(
    ("pattern", "plain"),
    [
        ("a", ["a"]),
        ("a{b,c}d", ["abd", "acd"]),
        ("{a,}b", ["ab", "b"]),
        ("a{b}c", ["abc"]),
        ("a{b", ["a{b"]),
        ("a}b", ["a}b"]),
    ],
)
def test_braces_are_choices(pattern: str, plain: list[str]) -> None:
    assert braces(pattern) == plain


TREE = ("usr/bin/apt", "usr/bin/apt-get", "usr/bin/bash", "usr/share/doc/a/copyright", "usr/lib/x/y/z.a")


@pytest.mark.parametrize(
    ("patterns", "keep", "left"),
    [
        (["usr/bin/apt*"], [], {"usr/bin/bash", "usr/share/doc/a/copyright", "usr/lib/x/y/z.a"}),
        (["usr/share/doc"], [], set(TREE) - {"usr/share/doc/a/copyright"}),
        (["usr/lib/**/*.a"], [], set(TREE) - {"usr/lib/x/y/z.a"}),
        (["usr/bin/{apt,bash}"], [], set(TREE) - {"usr/bin/apt", "usr/bin/bash"}),
        (["usr/bin/*"], ["usr/bin/bash"], set(TREE) - {"usr/bin/apt", "usr/bin/apt-get"}),
        (["usr"], ["usr/share/doc/a"], {"usr/share/doc/a/copyright"}),
        (["usr/bin", "usr/bin/*"], [], set(TREE) - set(TREE[:3])),
        ([], [], set(TREE)),
    ],
)
def test_removed(tmp_path: Path, patterns: list[str], keep: list[str], left: set[str]) -> None:
    remove(plant(tmp_path, *TREE), patterns, keep)
    assert names(tmp_path) == left


def test_patterns_that_match_nothing_are_told(tmp_path: Path) -> None:
    assert remove(plant(tmp_path, *TREE), ["usr/bin/apt*", "etc/perl", "usr/{x,y}"], []) == [
        "etc/perl",
        "usr/{x,y}",
    ]


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    plant(tmp_path, "target/file", "usr/bin/x")
    (tmp_path / "usr/link").symlink_to("../target")
    remove(tmp_path, ["usr/link"], [])
    assert names(tmp_path) == {"target/file", "usr/bin/x"}


def programs(tree: Path, **files: bytes) -> Path:
    """A tree of programs (usr/bin) and libraries (names with .so); _ stands for a dot."""
    (tree / LIBRARIES).mkdir(parents=True)
    (tree / "usr/bin").mkdir()
    for name, data in files.items():
        plain = name.replace("_", ".")
        (tree / (LIBRARIES if ".so" in plain else "usr/bin") / plain).write_bytes(data)
    return tree


def unused(tree: Path, *dlopened: str) -> set[str]:
    return {path.name for path in unused_libraries(tree, list(dlopened))}


def test_libraries_that_programs_reach_stay(tmp_path: Path) -> None:
    tree = programs(
        tmp_path,
        cat=elf("liba.so"),
        liba_so=elf("libb.so"),
        libb_so=elf(),
        libc_so=elf("libd.so"),
        libd_so=elf(),
    )
    assert unused(tree) == {"libc.so", "libd.so"}


def test_libraries_that_are_opened_by_name_stay_with_what_they_need(tmp_path: Path) -> None:
    tree = programs(tmp_path, libnss_so_2=elf("libd.so"), libd_so=elf(), libe_so=elf())
    assert unused(tree, "libnss.so.*") == {"libe.so"}


def test_every_name_of_an_unused_library_goes(tmp_path: Path) -> None:
    tree = programs(tmp_path, cat=elf("liba.so.1"))
    for name in ("a", "b"):
        (tree / LIBRARIES / f"lib{name}.so.1.2").write_bytes(elf())
        (tree / LIBRARIES / f"lib{name}.so.1").symlink_to(f"lib{name}.so.1.2")
    assert unused(tree) == {"libb.so.1", "libb.so.1.2"}


def test_scripts_and_modules_of_the_kernel_need_nothing(tmp_path: Path) -> None:
    tree = programs(tmp_path, script=b"#!/bin/sh\n", liba_so=elf())
    (tree / "usr/lib/modules").mkdir()
    (tree / "usr/lib/modules/x.ko").write_bytes(elf("liba.so"))
    assert unused(tree) == {"liba.so"}


def test_a_program_without_its_library_is_an_error_that_names_both(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"usr/bin/cat needs libgone\.so"):
        unused(programs(tmp_path, cat=elf("libgone.so")))


def test_a_private_library_is_found_where_it_is(tmp_path: Path) -> None:
    tree = programs(tmp_path, systemctl=elf("libshared.so"))
    (tree / "usr/lib/systemd").mkdir()
    (tree / "usr/lib/systemd/libshared.so").write_bytes(elf())
    assert unused(tree) == set()


def test_a_library_without_its_library_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"liba\.so needs libgone\.so"):
        unused(programs(tmp_path, cat=elf("liba.so"), liba_so=elf("libgone.so")))
