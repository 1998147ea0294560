"""How mmdebstrap is called, and what its failures become; a script stands in for it."""

from __future__ import annotations

import io
import json
import os
import select
import shutil
import tarfile
from typing import TYPE_CHECKING

import pytest

from fakes import mmdebstrap as fake
from fakes.recipes import SMALL, small
from skerry.image.compose import packages
from skerry.image.compose.errors import ComposeError, NoMirrorError, NoSpaceError
from skerry.image.compose.mirror import Mirror
from skerry.image.compose.mmdebstrap import UnknownPackageError, bootstrap
from skerry.image.compose.workshop import Workshop
from skerry.kit.errors import ProblemsError
from skerry.kit.progress import Phase, Progress, Reporter, silent
from skerry.kit.run import ProgramError

if TYPE_CHECKING:
    from pathlib import Path

MIRROR = Mirror("http://mirror.example/debian", "http://mirror.example/debian-security")

pytestmark = pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")


def install(archive: Path, *, report: Reporter = silent) -> None:
    bootstrap(
        archive, "trixie", MIRROR, ["crun", "podman"], variant="essential", step="packages", report=report
    )


def test_packages_and_sources_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = fake.install(tmp_path, monkeypatch, does="touch $archive")
    install(tmp_path / "out.tar")
    words = argv.read_text().splitlines()
    assert {"--variant=essential", "--include=crun,podman", "--format=tar", *MIRROR.sources("trixie")} <= set(
        words
    )


def test_stages_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = tmp_path / "seen"
    does = f"echo I: extracting archives...; until [ -e {seen} ]; do sleep 0.05; done"
    fake.install(tmp_path, monkeypatch, does=does)
    told: list[Progress] = []

    def report(event: Progress) -> None:
        told.append(event)
        seen.touch()

    install(tmp_path / "out.tar", report=report)
    assert [(event.phase, event.note) for event in told] == [(Phase.ADVANCED, "extracting archives")]


@pytest.mark.parametrize(
    ("says", "error", "message"),
    [
        (fake.UNKNOWN, UnknownPackageError, "unknown package: old-one, podmann"),
        (fake.NO_MIRROR, NoMirrorError, "the mirror http://mirror.example/debian could not be used"),
        (fake.NO_SPACE, NoSpaceError, "no space left"),
        (fake.NO_SPACE_FOR_APT, NoSpaceError, "no space left"),
        ("E: something else\n", ProgramError, "failed with status 25"),
    ],
    ids=["unknown", "mirror", "space", "space-for-apt", "else"],
)
def test_a_failure_is_explained_and_leaves_no_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, error: type[ComposeError], message: str
) -> None:
    fake.install(tmp_path, monkeypatch, says=says, does="echo half > $archive; exit 25")
    with pytest.raises(error, match=message):
        install(tmp_path / "out.tar")
    assert not (tmp_path / "out.tar").exists()


def test_what_else_failed_keeps_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.install(tmp_path, monkeypatch, says="E: something else\n", does="exit 1")
    with pytest.raises(ProgramError, match="E: something else"):
        install(tmp_path / "out.tar")


def test_an_interrupted_caller_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = fake.install(
        tmp_path, monkeypatch, says="extracting archives\n", does="echo > $archive; exec sleep 600"
    )

    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        install(tmp_path / "out.tar", report=interrupt)
    assert _ends(int((argv.parent / "pid").read_text()))
    assert not (tmp_path / "out.tar").exists()


def _ends(pid: int) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 5)[0])
    finally:
        os.close(descriptor)


# --- the step `packages`

STATUS = """\
Package: zlib1g
Status: install ok installed
Architecture: amd64
Version: 1:1.3
Installed-Size: 179

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 2

Package: adduser
Status: install ok installed
Description: add users
 Status: not this
Architecture: all
Version: 3.1
"""


def archive_of(directory: Path, **members: str) -> Path:
    path = directory / "made.tar"
    with tarfile.open(path, "w") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


def make(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    workshop = Workshop(tmp_path / "cache", silent)
    return packages.make(workshop, MIRROR, small(tmp_path, *changes), generation="0")


def test_inventory_is_what_is_installed_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = archive_of(tmp_path, **{"var/lib/dpkg/status": STATUS})
    fake.install(tmp_path, monkeypatch, does=f"cp {archive} $archive")
    assert json.loads((make(tmp_path) / "packages.json").read_text()) == [
        {"name": "adduser", "version": "3.1", "architecture": "all", "size": 0},
        {"name": "zlib1g", "version": "1:1.3", "architecture": "amd64", "size": 179 * 1024},
    ]


def test_a_tree_without_packages_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = archive_of(tmp_path, other="x")
    fake.install(tmp_path, monkeypatch, does=f"cp {archive} $archive")
    with pytest.raises(ComposeError, match="holds no dpkg status"):
        make(tmp_path)


def test_the_kernel_s_package_is_installed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = fake.install(tmp_path, monkeypatch, says="E: else", does="exit 1")
    with pytest.raises(ProgramError):
        make(tmp_path)
    assert "--include=crun,linux-image-amd64,podman" in argv.read_text().splitlines()


def test_an_unknown_package_is_on_its_line_with_near_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.install(tmp_path, monkeypatch, says=fake.UNKNOWN, does="exit 1")
    with pytest.raises(ProblemsError) as refused:
        make(tmp_path, ('"podman"', '"podmann"'), ("linux-image-amd64", "old-one"))
    found = [(problem.line, problem.message, problem.hint) for problem in refused.value.problems]
    assert found == [
        (9, "trixie has no package podmann", "did you mean podman?"),
        (SMALL[: SMALL.index("linux-image")].count("\n") + 1, "trixie has no package old-one", None),
    ]
    assert list((tmp_path / "cache" / "steps").iterdir()) == []
