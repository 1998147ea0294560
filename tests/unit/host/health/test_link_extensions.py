"""Which extensions are laid out for systemd-sysext, by the script that does it before the services start."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[4] / "os/rootfs/usr/lib/skerry/bin/link-extensions"
HASH = "ab" * 32


class Host:
    """A directory of extensions of version 2 and of version 1, and the manifest of 2."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.extension("tools", "2", HASH)
        self.extension("tools", "1", "cd" * 32)
        self.manifest(HASH)

    def extension(self, name: str, version: str, root_hash: str) -> Path:
        directory = self.root / "extensions" / version
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{name}.raw").touch()
        (directory / f"{name}.verity").touch()
        (directory / f"{name}.roothash").write_text(root_hash)
        return directory

    def manifest(self, *hashes: str) -> None:
        (self.root / "manifests").mkdir(exist_ok=True)
        parts = [{"name": "extension:tools", "verity": {"root_hash": value}} for value in hashes]
        (self.root / "manifests/2.json").write_text(json.dumps({"parts": parts}, indent=1))

    def link(self) -> tuple[dict[str, str], str]:
        """What is linked, by name, and what was said."""
        argv = [
            "sh",
            str(SCRIPT),
            "2",
            *(str(self.root / part) for part in ("extensions", "manifests", "run")),
        ]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30)
        assert done.stderr == ""
        return {path.name: str(path.readlink()) for path in (self.root / "run").iterdir()}, done.stdout


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_those_of_the_running_version_with_their_hashes(host: Host) -> None:
    linked, said = host.link()
    assert linked == {
        f"tools.{kind}": f"{host.root}/extensions/2/tools.{kind}" for kind in ("raw", "verity", "roothash")
    }
    assert said == ""


def test_again_is_the_same(host: Host) -> None:
    assert host.link() == host.link()


def test_one_that_is_not_of_the_release_is_left_out(host: Host) -> None:
    host.extension("other", "2", "ef" * 32)
    linked, said = host.link()
    assert {name.partition(".")[0] for name in linked} == {"tools"}
    assert said == "<3>extension other is left out: its root hash is not in the release's manifest\n"


@pytest.mark.parametrize("lost", ["tools.verity", "tools.roothash"])
def test_one_without_its_hashes_is_left_out(host: Host, lost: str) -> None:
    (host.root / "extensions/2" / lost).unlink()
    assert host.link() == ({}, "<3>extension tools is left out: it lacks its hashes\n")


def test_without_a_manifest_none_is_laid_out(host: Host) -> None:
    (host.root / "manifests/2.json").unlink()
    argv = ["sh", str(SCRIPT), "2", *(str(host.root / part) for part in ("extensions", "manifests", "run"))]
    subprocess.run(argv, capture_output=True, check=True, timeout=30)
    assert list((host.root / "run").iterdir()) == []
