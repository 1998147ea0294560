"""What a person is told when an image cannot be composed, by the real tools; and what a second build does."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import skerry
from skerry.image.compose.build import DEFAULT_RECIPE, Image, Store, build
from skerry.image.compose.errors import BudgetError, NoMirrorError
from skerry.image.compose.recipe import load
from skerry.kit.errors import ProblemsError
from skerry.kit.progress import Phase, Progress
from skerry.kit.run import Completed, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from skerry.image.compose.sandbox import Sandbox

pytestmark = pytest.mark.timeout(600)
TOOLS = ("tools",)
PACKAGES = (*TOOLS, "packages")
ROOT = (*PACKAGES, "tree", "root")
SOURCE = Path(skerry.__file__).parents[1]


def line_of(recipe: Path, words: str) -> int:
    return next(n for n, line in enumerate(recipe.read_text().splitlines(), 1) if words in line)


@pytest.mark.parametrize(
    ("old", "new", "steps", "said", "hint"),
    [
        ('"podman",', '"podmann",', TOOLS, "trixie has no package podmann", "podman"),
        ('"ahci",', '"ahcj",', PACKAGES, "has no module ahcj", None),
        ('"fstrim.timer"', '"fstrum.timer"', PACKAGES, "the tree has no unit fstrum.timer", None),
        (
            '"sha256_ssse3", "dm_verity"',
            '"sha256_sse9", "dm_verity"',
            ROOT,
            "has no module sha256_sse9",
            None,
        ),
        ("usr/sbin/dmsetup", "usr/sbin/dmset", ROOT, "no program usr/sbin/dmset", None),
    ],
    ids=["package", "module", "unit", "initrd-module", "initrd-program"],
)
def test_what_does_not_exist_is_told_on_its_line(
    cache: Callable[..., Path], recipe: Callable[..., Path],
    old: str, new: str, steps: tuple[str, ...], said: str, hint: str | None,
) -> None:  # fmt: skip
    path = recipe((old, new))
    directory = cache(*steps)
    with pytest.raises(ProblemsError) as refused:
        build(path, cache=directory)
    (problem,) = refused.value.problems
    assert said in problem.message
    assert problem.line == line_of(path, new)
    assert (hint or "") in (problem.hint or "")
    assert sorted(one.name.split("-")[0] for one in (directory / "steps").iterdir()) == sorted(steps)
    assert [one for one in (directory / "partial").iterdir() if one.is_dir()] == []


def test_a_mirror_that_does_not_answer_is_named(
    cache: Callable[..., Path], recipe: Callable[..., Path]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/debian"
        with pytest.raises(NoMirrorError, match=address) as refused:
            build(recipe(("[disk]", f'[mirror]\narchive = "{address}"\n\n[disk]')), cache=cache())
    assert "SKERRY_MIRROR" in (refused.value.hint or "")


def on_a_small_disk(directory: Path, size: str, *program: str) -> Completed:
    """Run Python with `directory` on a file system of that size, which only the program sees."""
    directory.mkdir(exist_ok=True)
    program = (sys.executable, *program)
    script = 'mount -t tmpfs -o "size=$1" tmpfs "$2" && shift 2 && exec "$@"'
    own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return run(
        ["unshare", *own, "--mount", "sh", "-c", script, "sh", size, str(directory), *program],
        env={"SKERRY_CACHE": str(directory), "PYTHONPATH": str(SOURCE)}, timeout_s=120, check=False,
    )  # fmt: skip


def test_a_small_disk_is_told_before_anything_is_done(image: Image, tmp_path: Path) -> None:
    done = on_a_small_disk(tmp_path / "small", "20m", "-m", "skerry.entry.cli.main", "image", "build")
    assert done.status == 1
    assert b"the tools tree needs 700 MiB and" in done.stderr
    assert b"hint: free some space, or set SKERRY_CACHE" in done.stderr


BOOTSTRAP = """
import sys, pathlib
from skerry.image.compose import mirror, mmdebstrap
from skerry.image.compose.errors import NoSpaceError
try:
    mmdebstrap.bootstrap(pathlib.Path(sys.argv[1], "out.tar"), "trixie", mirror.find_mirror(), ["crun"],
                         variant="essential", step="packages", report=lambda event: None)
except NoSpaceError as error:
    print(error, list(pathlib.Path(sys.argv[1]).iterdir()))
"""


def test_a_disk_that_fills_up_meanwhile_is_told_and_left_clean(image: Image, tmp_path: Path) -> None:
    done = on_a_small_disk(tmp_path / "small", "60m", "-c", BOOTSTRAP, str(tmp_path / "small"))
    assert done.text == "no space left while installing packages []\n", done.stderr.decode()


def test_a_root_over_its_budget_is_refused(cache: Callable[..., Path], recipe: Callable[..., Path]) -> None:
    allowed = load(DEFAULT_RECIPE).root_budget_mib
    path = recipe((f"root_mib = {allowed}", "root_mib = 100"))
    with pytest.raises(BudgetError, match="the recipe allows 100 MiB"):
        build(path, cache=cache("tools", "packages", "tree", "root"))


def test_a_second_build_reuses_every_step(image: Image, store: Store) -> None:
    told: list[Progress] = []
    again = build(report=told.append)
    assert [(event.step, event.phase) for event in told] == [(step, Phase.REUSED) for step in image.steps]
    assert (again.root_hash, again.steps) == (image.root_hash, image.steps)


def other_user() -> str | None:
    """A user who is not root and has ids to give away, where this machine has one."""
    if os.geteuid() != 0 or shutil.which("newuidmap") is None or not Path("/etc/subuid").exists():
        return None
    names = [line.split(":")[0] for line in Path("/etc/subuid").read_text().splitlines()]
    known = {entry.pw_name for entry in pwd.getpwall() if entry.pw_uid}
    return next((name for name in names if name in known), None)


UNPRIVILEGED = """
import os, pathlib, sys
from skerry.image.compose.sandbox import Bind, Sandbox
out = pathlib.Path(sys.argv[2])
script = "cd /out && touch x && chown 0:7 x && mkdir /tree/a && chown 9:9 /tree/a; stat -c %u:%g x /tree/a"
sandbox = Sandbox(pathlib.Path(sys.argv[1]))
made = sandbox.run(["sh", "-c", script], binds=[Bind(out, "/out", writable=True)])
print(made.text.split(), os.geteuid() != 0, (out / "x").stat().st_uid == os.geteuid())
"""


INTERRUPTED = """
import pathlib, sys
from skerry.image.compose import mirror, mmdebstrap
def report(event):
    if event.note == "installing essential packages":
        raise KeyboardInterrupt
out = pathlib.Path(sys.argv[2])
try:
    mmdebstrap.bootstrap(out / "out.tar", "trixie", mirror.find_mirror(), ["busybox-static"],
                         variant="essential", step="packages", report=report)
except KeyboardInterrupt:
    print("interrupted", list(out.iterdir()))
"""


def link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def as_other_user(script: str, tools: Path, directory: Path) -> str:
    """What a script of ours says when that user runs it, with a directory of the user's own."""
    user = pwd.getpwnam(other_user() or "")
    code, out = directory / "code", directory / "out"
    shutil.copytree(SOURCE / "skerry", code / "skerry", ignore=shutil.ignore_patterns("__pycache__"))
    # The cache may lie in a home that is closed to others.
    reachable = directory / "tools"
    shutil.copytree(tools, reachable, symlinks=True, copy_function=link_or_copy)
    out.mkdir()
    os.chown(out, user.pw_uid, user.pw_gid)
    for above in (directory, *directory.parents):
        if above.name.startswith("pytest") or above == directory:
            above.chmod(0o755)
    return run(
        ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--",
         "/usr/bin/python3", "-B", "-c", script, str(reachable), str(out)],
        env={"PYTHONPATH": str(code), "HOME": "/nonexistent"}, timeout_s=120,
    ).text  # fmt: skip


@pytest.mark.skipif(other_user() is None, reason="needs a user with subordinate ids")
def test_without_root_a_sandbox_has_owners_of_every_kind(sandbox: Sandbox, tmp_path: Path) -> None:
    assert as_other_user(UNPRIVILEGED, sandbox.tools, tmp_path) == "['0:7', '9:9'] True True\n"


@pytest.mark.skipif(other_user() is None, reason="needs a user with subordinate ids")
def test_without_root_an_interruption_leaves_nothing_of_any_owner(sandbox: Sandbox, tmp_path: Path) -> None:
    assert as_other_user(INTERRUPTED, sandbox.tools, tmp_path) == "interrupted []\n"
