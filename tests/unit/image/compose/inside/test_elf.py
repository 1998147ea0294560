"""Which libraries an ELF file needs, and what they need in turn."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.elf import elf
from skerry.image.compose.inside.elf import closure, needed


@pytest.mark.parametrize("names", [(), ("libc.so.6",), ("libm.so.6", "libc.so.6", "ld-linux.so.2")])
def test_needed_libraries_are_named_in_order(names: tuple[str, ...]) -> None:
    assert needed(elf(*names)) == names


@pytest.mark.parametrize(
    "data",
    [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x01\x01" + b"\0" * 60, b"\x7fELF\x02\x02" + b"\0" * 60],
)
def test_other_files_need_nothing(data: bytes) -> None:
    assert needed(data) == ()


def test_a_file_without_dynamic_segment_needs_nothing() -> None:
    static = bytearray(elf("libc.so.6"))
    static[64 + 56] = 4  # a note where the dynamic segment was
    assert needed(bytes(static)) == ()


@pytest.mark.skipif(shutil.which("true") is None, reason="needs a program")
def test_a_real_program_needs_the_c_library() -> None:
    assert "libc.so.6" in needed(Path(shutil.which("true") or "").read_bytes())


def test_closure_ends_where_libraries_need_each_other() -> None:
    needs = {"a": ["b"], "b": ["c", "a"], "c": [], "d": ["a"]}
    assert closure(["a"], lambda name: needs[name]) == {"a", "b", "c"}


NODES = st.integers(0, 9)


@given(st.dictionaries(NODES, st.lists(NODES)), st.lists(NODES))
def test_closure_is_closed_and_no_larger(graph: dict[int, list[int]], start: list[int]) -> None:
    def needs(name: str) -> list[str]:
        return [str(one) for one in graph.get(int(name), [])]

    found = closure([str(one) for one in start], needs)
    reached = {str(one) for one in start}
    assert reached <= found
    assert all(set(needs(name)) <= found for name in found)
    assert found - reached <= {one for name in found for one in needs(name)}
