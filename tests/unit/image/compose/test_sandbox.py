"""What a sandbox runs as: root's own ids for root, a range of them for everyone else."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import pytest

from skerry.image.compose import inside
from skerry.image.compose.errors import ComposeError
from skerry.image.compose.sandbox import clear, identity_prefix, mounts_below

INSIDE = sorted(Path(inside.__file__).parent.glob("*.py"))


def test_root_needs_no_other_ids() -> None:
    assert identity_prefix(user=0) == []


def test_others_get_their_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "newuidmap").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert identity_prefix(user=1000) == ["unshare", "--user", "--map-auto", "--map-root-user", "--"]


def test_others_are_told_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ComposeError, match="newuidmap is missing") as refused:
        identity_prefix(user=1000)
    assert "uidmap" in (refused.value.hint or "")


def test_we_are_who_is_asked_about_by_default() -> None:
    assert identity_prefix() == identity_prefix(user=os.geteuid())


@pytest.mark.parametrize("module", INSIDE, ids=lambda path: path.name)
def test_what_runs_inside_imports_the_standard_library_and_itself_only(module: Path) -> None:
    """The tools tree has none of our dependencies."""
    roots = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            roots |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add(node.module or "")
    foreign = {name for name in roots if name.split(".")[0] not in sys.stdlib_module_names}
    assert {name for name in foreign if not name.startswith(inside.__name__)} == set()


def test_what_is_mounted_in_a_directory_is_found() -> None:
    text = (
        b"36 35 98:0 / /tmp/a rw - ext4 x rw\n"
        b"37 35 0:5 / /tmp/a/b\\040c/dev rw shared:1 - devtmpfs x rw\n"
        b"38 35 0:5 / /tmp/ab rw - tmpfs x rw\n"
    )
    assert mounts_below(Path("/tmp/a"), text) == ["/tmp/a", "/tmp/a/b c/dev"]
    assert mounts_below(Path("/tmp/a/b"), text) == []


def test_a_directory_in_which_something_is_mounted_is_not_cleared() -> None:
    with pytest.raises(ComposeError, match=r"is not removed: .* is mounted"):
        clear(Path("/proc"))
    assert Path("/proc/self").exists()


def test_a_directory_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    clear(tmp_path / "a")
    clear(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
