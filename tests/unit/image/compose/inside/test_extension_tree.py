"""What comes along in an extension: what its programs need, and nothing outside of /usr and /opt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fakes.elf import elf
from skerry.image.compose.inside.extension import _only_tops, bring_libraries, interpreters
from skerry.image.compose.inside.trim import LIBRARIES

if TYPE_CHECKING:
    from pathlib import Path


def put(tree: Path, name: str, content: bytes = b"", *, runs: bool = False) -> Path:
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755 if runs else 0o644)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree/usr").mkdir(parents=True)
    return tmp_path / "tree"


@pytest.fixture
def had(tmp_path: Path) -> Path:
    (tmp_path / "had").mkdir()
    return tmp_path / "had"


def test_a_library_that_the_image_left_out_comes_along_with_what_it_needs(tree: Path, had: Path) -> None:
    put(tree, "usr/bin/tool", elf("libone.so.1", "libc.so.6"))
    put(had, f"{LIBRARIES}/libone.so.1.2", elf("libtwo.so.2"))
    (had / LIBRARIES / "libone.so.1").symlink_to("libone.so.1.2")
    put(had, f"{LIBRARIES}/libtwo.so.2", elf("libc.so.6"))
    put(had, f"{LIBRARIES}/libc.so.6", elf())
    assert bring_libraries(tree, had, {f"{LIBRARIES}/libc.so.6"}) == (["libone.so.1", "libtwo.so.2"], [])
    assert (tree / LIBRARIES / "libone.so.1").read_bytes() == elf("libtwo.so.2")


def test_the_extension_s_own_libraries_are_there_already(tree: Path, had: Path) -> None:
    put(tree, "usr/bin/tool", elf("libown.so.1"))
    put(tree, "usr/lib/tool/libown.so.1", elf())
    assert bring_libraries(tree, had, set()) == ([], [])


def test_a_library_that_is_nowhere_is_told_once(tree: Path, had: Path) -> None:
    put(tree, "usr/bin/one", elf("libgone.so.1"))
    put(tree, "usr/bin/two", elf("libgone.so.1"))
    assert bring_libraries(tree, had, set()) == ([], ["the library libgone.so.1"])


@pytest.mark.parametrize(
    ("line", "image", "missing"),
    [
        (b"#!/bin/sh\n", {"usr/bin/sh"}, []),
        (b"#!/bin/sh\n", set(), ["/usr/bin/sh (for usr/bin/tool)"]),
        (b"#!/usr/bin/env -S\n", {"usr/bin/-S"}, []),
        (b"#! /usr/bin/env perl\n", {"usr/bin/env"}, ["/usr/bin/perl (for usr/bin/tool)"]),
        (b"#!/usr/bin/own\n", set(), []),
        (b"#!\xff\n", {"usr/\ufffd"}, []),
        (b"no program\n", set(), []),
    ],
)
def test_interpreters_are_looked_for(tree: Path, line: bytes, image: set[str], missing: list[str]) -> None:
    put(tree, "usr/bin/tool", line, runs=True)
    put(tree, "usr/bin/own")
    put(tree, "usr/share/example", b"#!/usr/bin/gone\n")  # it does not run
    assert interpreters(tree, image) == missing


def test_only_usr_and_opt_stay_and_old_names_lead_there(tree: Path) -> None:
    put(tree, "etc/tool.conf")
    put(tree, "var/lib/tool/state")
    put(tree, "opt/tool/bin")
    put(tree, "lib/systemd/system/tool.service", b"[Unit]")
    (tree / "var/link").symlink_to("/nowhere")
    assert _only_tops(tree) == ["etc/tool.conf", "var/lib/tool/state", "var/link"]
    assert sorted(path.name for path in tree.iterdir()) == ["opt", "usr"]
    assert (tree / "usr/lib/systemd/system/tool.service").read_bytes() == b"[Unit]"
