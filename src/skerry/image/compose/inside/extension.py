"""The tree of a system extension: what its packages add to an image, without what the image has.

    /in/debs.tar  /in/tree.tar  /in/spec.json  /files/N   →   /out/extension.tar  /out/result.json

Packages are unpacked, not installed: an extension has no scripts that would run. Of packages that the image
has too only those shared libraries come along that the image left out and the extension's programs need.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from skerry.image.compose.inside import trim
from skerry.image.compose.inside.elf import needs_of
from skerry.image.compose.inside.pack import lay_over, pack
from skerry.image.compose.inside.trim import LIBRARIES

TREE = Path("/tree")
HAD = Path("/tmp/had")  # noqa: S108 - a file system of the sandbox's own
DEBS = Path("/tmp/debs")  # noqa: S108
# An extension is laid over /usr and /opt, and over nothing else.
TOPS = ("usr", "opt")
MERGED = ("bin", "sbin", "lib", "lib64")
NOT_FOR_HOSTS = (
    "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian",
    "usr/share/bug", "usr/share/doc-base", "usr/share/menu", "usr/include",
)  # fmt: skip


def main() -> None:
    os.umask(0o022)
    spec = json.loads(Path("/in/spec.json").read_text())
    listed = subprocess.run(["tar", "-t", "-f", "/in/tree.tar"], check=True, capture_output=True, text=True)
    image = {name.removeprefix("./").rstrip("/") for name in listed.stdout.splitlines()}
    had = {package["name"]: package["version"] for package in spec["inventory"]}
    result = compose(spec, image, had)
    Path("/out/result.json").write_text(json.dumps(result, indent=1) + "\n")


def compose(spec: dict[str, list[str]], image: set[str], had: dict[str, str]) -> dict[str, object]:
    """Make the tree and pack it, or say what stands against it."""
    added, others = _unpack(had)
    if others:
        return {"other_versions": others}
    left_out = _only_tops(TREE)
    for name in NOT_FOR_HOSTS:
        shutil.rmtree(TREE / name, ignore_errors=True)
    for directory in sorted(Path("/files").iterdir()):
        lay_over(directory, TREE)
    strange = _only_tops(TREE)
    trim.remove(TREE, spec["remove"], [])
    libraries, missing = bring_libraries(TREE, HAD, image)
    missing += interpreters(TREE, image)
    release = TREE / "usr/lib/extension-release.d" / f"extension-release.{spec['name'][0]}"
    release.parent.mkdir(parents=True, exist_ok=True)
    release.write_text("".join(f"{line}\n" for line in spec["release"]))
    found: dict[str, object] = {"packages": added, "left_out": left_out, "strange": strange}
    found |= {"libraries": libraries, "missing": missing, "other_versions": []}
    return found | {"files": pack(TREE, Path("/out/extension.tar"), int(spec["epoch"][0]), {})}


def _unpack(had: dict[str, str]) -> tuple[list[dict[str, str]], list[str]]:
    """Packages that are new go to the tree, others beside it; says which are new, and which differ."""
    for directory in (HAD, DEBS):
        directory.mkdir()
    subprocess.run(["tar", "-x", "-f", "/in/debs.tar", "-C", str(DEBS), "./skerry-debs"], check=True)
    added, others = [], []
    for deb in sorted(DEBS.glob("skerry-debs/*.deb")):
        said = subprocess.run(["dpkg-deb", "-f", str(deb)], check=True, capture_output=True, text=True).stdout
        fields = dict(line.split(": ", 1) for line in said.splitlines() if ": " in line and line[0] != " ")
        name, version = fields["Package"], fields["Version"]
        if had.get(name, version) != version:
            others.append(f"{name} {version}, and the image has {had[name]}")
        subprocess.run(["dpkg-deb", "-x", str(deb), str(HAD if name in had else TREE)], check=True)
        if name not in had:
            added.append({"name": name, "version": version, "architecture": fields["Architecture"]})
    return added, others


def _only_tops(tree: Path) -> list[str]:
    """Take away what is not below TOPS; returns the files among it."""
    gone = []
    for name in MERGED:
        if (tree / name).is_dir() and not (tree / name).is_symlink():
            shutil.copytree(tree / name, tree / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(tree / name)
    for entry in sorted(tree.iterdir()):
        if entry.name in TOPS:
            continue
        inside = [path for path in entry.rglob("*") if not path.is_dir()] if entry.is_dir() else [entry]
        gone += [str(path.relative_to(tree)) for path in inside]
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    return sorted(gone)


def bring_libraries(tree: Path, had: Path, image: set[str]) -> tuple[list[str], list[str]]:
    """Copy libraries that the tree's programs need and the image lacks; says which, and which are nowhere."""
    brought: list[str] = []
    missing: list[str] = []
    own = {path.name for path in tree.rglob("*.so*")}
    waiting = [path for path in sorted(tree.rglob("*")) if path.is_file() and not path.is_symlink()]
    while waiting:
        path = waiting.pop()
        for name in needs_of(path):
            place = f"{LIBRARIES}/{name}"
            if name in own or place in image or name in missing:
                continue
            if not (had / place).exists():
                missing.append(name)
                continue
            target = tree / place
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(had / place, target)  # the file itself, where that is a link
            own.add(name)
            brought.append(name)
            waiting.append(target)
    return sorted(brought), sorted(f"the library {name}" for name in missing)


def interpreters(tree: Path, image: set[str]) -> list[str]:
    """What programs begin with `#!` of, and neither the image nor the tree has."""
    missing = set()
    for path in sorted(tree.rglob("*")):
        if path.is_symlink() or not path.is_file() or not os.access(path, os.X_OK):
            continue
        with path.open("rb") as file:
            line = file.readline(256)
        if not line.startswith(b"#!"):
            continue
        words = line[2:].decode(errors="replace").split() or [""]
        if words[0].endswith("/env") and len(words) > 1:
            words = [f"/usr/bin/{words[1]}"]
        wanted = words[0].removeprefix("/")
        wanted = wanted if wanted.startswith("usr/") else f"usr/{wanted}"
        if wanted not in image and not (tree / wanted).exists():
            missing.add(f"/{wanted} (for {path.relative_to(tree)})")
    return sorted(missing)
