"""The initrd, made from what the packages left: a few programs with their libraries, modules, one script.

    /in/packages.tar  /in/spec.json  /in/init   →   /out/initrd.cpio  /out/vmlinuz  /out/result.json

The archive is written entry by entry in sorted order with one time, in the kernel's "newc" form:
https://docs.kernel.org/driver-api/early-userspace/buffer-format.html
"""

from __future__ import annotations

import json
import lzma
import stat
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

from skerry.image.compose.inside import modules
from skerry.image.compose.inside.elf import closure, needed

TREE = Path("/tree")
LIBRARIES = "usr/lib/x86_64-linux-gnu"
LOADER = "lib64/ld-linux-x86-64.so.2"
DIRECTORIES = ("bin", "dev", "lib", "lib/modules", "lib64", "proc", "sys", "sysroot")


def main() -> None:
    spec = json.loads(Path("/in/spec.json").read_text())
    wanted = ["./boot/vmlinuz-*", "./usr/lib/modules", f"./{LIBRARIES}/*.so*", "./usr/lib64"]
    wanted += [f"./{program}" for program in spec["programs"]]
    unpacked = subprocess.run(
        ["tar", "-x", "-f", "/in/packages.tar", "-C", str(TREE), "--wildcards", *wanted],
        stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    missing = [program for program in spec["programs"] if not (TREE / program).is_file()]
    if unpacked.returncode and not missing:
        sys.exit(unpacked.stderr)
    result: dict[str, object] = {"unknown_modules": [], "unknown_programs": missing}
    if not missing:
        result |= make(spec)
    Path("/out/result.json").write_text(json.dumps(result) + "\n")


def make(spec: dict[str, list[str]]) -> dict[str, object]:
    """Write archive and kernel; says what is in them, or which modules there are none of."""
    (directory,) = sorted((TREE / "usr/lib/modules").iterdir())
    depends = modules.dependencies((directory / "modules.dep").read_text())
    builtin = {modules.name_of(line) for line in (directory / "modules.builtin").read_text().splitlines()}
    chosen, unknown = modules.choose(spec["modules"], depends, builtin)
    if unknown:
        return {"unknown_modules": unknown}
    files: dict[str, bytes] = {"init": Path("/in/init").read_bytes()}
    names = [Path(path).name.removesuffix(".xz") for path in chosen]
    for path, module in zip(chosen, names, strict=True):
        data = (directory / path).read_bytes()
        files[f"lib/modules/{directory.name}/{module}"] = (
            lzma.decompress(data) if path.endswith(".xz") else data
        )
    files |= _indexes(directory.name, files)
    files["lib/modules/needed"] = " ".join(spec["needed"]).encode() + b"\n"
    for program in spec["programs"]:
        files[f"bin/{Path(program).name}"] = (TREE / program).read_bytes()
    for library in _libraries([TREE / program for program in spec["programs"]]):
        files[f"lib/{library}"] = (TREE / LIBRARIES / library).read_bytes()
    files[LOADER] = (TREE / LIBRARIES / "ld-linux-x86-64.so.2").read_bytes()
    with Path("/out/initrd.cpio").open("wb") as archive:
        write_newc(archive, files, (*DIRECTORIES, f"lib/modules/{directory.name}"), int(spec["epoch"][0]))
    (kernel,) = (TREE / "boot").glob("vmlinuz-*")
    Path("/out/vmlinuz").write_bytes(kernel.read_bytes())
    return {"kernel": kernel.name.removeprefix("vmlinuz-"), "modules": names}


def _indexes(release: str, files: dict[str, bytes]) -> dict[str, bytes]:
    """modules.dep and modules.alias for just these modules, in the text form that busybox reads."""
    scratch = Path("/tmp/modules")  # noqa: S108 - a file system of the sandbox's own
    target = scratch / "lib/modules" / release
    target.mkdir(parents=True)
    for name, data in files.items():
        if name.endswith(".ko"):
            (scratch / name).write_bytes(data)
    subprocess.run(["depmod", "-b", str(scratch), release], check=True, stderr=subprocess.DEVNULL)
    return {
        f"lib/modules/{release}/{name}": (target / name).read_bytes()
        for name in ("modules.dep", "modules.alias")
    }


def _libraries(programs: list[Path]) -> list[str]:
    start = [name for program in programs for name in needed(program.read_bytes())]
    found = closure(start, lambda name: needed((TREE / LIBRARIES / name).read_bytes()))
    return sorted(found - {Path(LOADER).name})


def write_newc(archive: BinaryIO, files: dict[str, bytes], directories: tuple[str, ...], epoch: int) -> None:
    """Write a cpio archive: directories, then files; programs in bin/ and `init` are executable."""
    entries: list[tuple[str, int, bytes]] = [
        (name, stat.S_IFDIR | 0o755, b"") for name in sorted(directories)
    ]
    for name, data in sorted(files.items()):
        runs = name == "init" or name.startswith(("bin/", "lib64/"))
        entries.append((name, stat.S_IFREG | (0o755 if runs else 0o644), data))
    entries.append(("TRAILER!!!", 0, b""))
    for number, (name, mode, data) in enumerate(entries, 1):
        time = 0 if name == "TRAILER!!!" else epoch
        fields = (number, mode, 0, 0, 1, time, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        archive.write(b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0")
        archive.write(b"\0" * (-(6 + 8 * 13 + len(name) + 1) % 4))
        archive.write(data + b"\0" * (-len(data) % 4))
