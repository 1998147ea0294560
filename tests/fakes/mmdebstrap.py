"""A mmdebstrap that does what a test tells it, first on PATH."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

# What apt and mmdebstrap really said, shortened.
UNKNOWN = """\
I: running apt-get update...
E: Unable to locate package podmann
E: Package 'old-one' has no installation candidate
E: Unable to locate package podmann
skerry: the suite's packages are
podman
podman-docker
E: command failed: ...
"""
NO_MIRROR = """\
Err:1 http://mirror.example/debian trixie InRelease
  Could not connect to mirror.example:80 (192.0.2.1). - connect (111: Connection refused)
E: Failed to fetch http://mirror.example/debian/dists/trixie/InRelease  Could not connect
E: apt-get update failed
"""
NO_SPACE = "E: Write error - write (28: No space left on device)\n"
NO_SPACE_FOR_APT = "E: You don't have enough free space in /tmp/x/var/cache/apt/archives/.\n"


def install(directory: Path, monkeypatch: pytest.MonkeyPatch, *, says: str = "", does: str = "") -> Path:
    """Put the fake first on PATH; returns the file in which it writes its words, one a line."""
    programs = directory / "programs"
    programs.mkdir()
    (programs / "says").write_text(says)
    script = textwrap.dedent(
        f"""\
        #!/bin/sh
        printf '%s\\n' "$@" > {programs}/argv
        read -r pid rest < /proc/self/stat  # $$ is the number in a namespace of its own
        echo $pid > {programs}/pid
        cat {programs}/says
        for word; do case $word in *.tar) archive=$word ;; esac; done
        """
    )
    (programs / "mmdebstrap").write_text(script + does + "\n")
    (programs / "mmdebstrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    return programs / "argv"
