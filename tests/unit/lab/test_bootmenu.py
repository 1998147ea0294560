"""The model of systemd-boot's menu agrees with its documentation, and counts as it does."""

from __future__ import annotations

from itertools import pairwise

import pytest

from skerry_lab.bootmenu import Kernel, compare_versions, considered, order, tried

# https://uapi-group.org/specifications/specs/version_format_specification/#examples
OLDER_FIRST = (
    "122.1", "123~rc1-1", "123", "123-a", "123-a.1", "123-1", "123-1.1", "123^post1", "123.a-1", "123.1-1",
    "123a-1", "124-1",
)  # fmt: skip


@pytest.mark.parametrize(("older", "newer"), list(pairwise(OLDER_FIRST)))
def test_versions_compare_as_specified(older: str, newer: str) -> None:
    assert compare_versions(older, newer) == -1
    assert compare_versions(newer, older) == 1
    assert compare_versions(newer, newer) == 0


def kernel(version: str, count: str = "") -> Kernel:
    return Kernel(f"skerry_{version}{count}.efi", "skerry", version)


@pytest.mark.parametrize(
    ("found", "first"),
    [
        (("2026.10.0", "2026.11.0"), "2026.11.0"),
        (("2026.9.0", "2026.10.0"), "2026.10.0"),
        (("2026.10.0", "2026.11.0+3"), "2026.11.0+3"),
        (("2026.10.0", "2026.11.0+1-2"), "2026.11.0+1-2"),
        (("2026.10.0", "2026.11.0+0-3"), "2026.10.0"),
        (("2026.10.0", "2026.11.0+0-0"), "2026.10.0"),
        (("2026.10.0+0-3", "2026.11.0+0-3"), "2026.11.0+0-3"),
    ],
)
def test_what_is_started(found: tuple[str, ...], first: str) -> None:
    kernels = [kernel(*text.partition("+")[::2]) if "+" not in text else named(text) for text in found]
    assert order(kernels)[0] == (named(first) if "+" in first else kernel(first))


def named(text: str) -> Kernel:
    version, _, count = text.partition("+")
    return kernel(version, f"+{count}")


def test_tries_are_counted_down_in_the_name() -> None:
    names = [kernel("1", "+2")]
    names += [tried(names[-1])]
    names += [tried(names[-1])]
    assert [name.file for name in names] == ["skerry_1+2.efi", "skerry_1+1-1.efi", "skerry_1+0-2.efi"]
    assert tried(names[-1]) == names[-1]
    assert tried(kernel("1")) == kernel("1")


@pytest.mark.parametrize(
    ("name", "seen"),
    [("a.efi", True), ("a.EFI", True), (".a.efi", False), ("auto-a.efi", False), ("a.efi.tmp", False)],
)
def test_other_files_are_passed_over(name: str, *, seen: bool) -> None:
    assert considered(name) is seen
