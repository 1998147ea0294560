"""The tree of an image, made from what the packages left: laid over, trimmed, preset, compiled, packed.

    /in/packages.tar  /in/spec.json  /files/N   →   /out/tree.tar  /out/result.json

Works on a file system in memory that ends with the process. The archive is sorted, with one time for every
file and numeric owners: the same input gives the same bytes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from skerry.image.compose.inside import modules, trim
from skerry.image.compose.inside.pack import lay_over, pack

TREE = Path("/tree")
CODE = "usr/lib/skerry"
# What a workstation needs and a host does not.
LEFT_OUT = (
    "skerry/entry/cli/demo*.py",
    "skerry/entry/cli/image*.py",
    "skerry/entry/cli/lab*.py",
    "skerry/entry/cli/release*.py",
    "skerry/image/compose",
    "skerry_lab",
)
# State lives in /var; these names in the sealed root lead there.
LINKS = {
    "home": "var/home",
    "opt": "var/opt",
    "root": "var/roothome",
    "srv": "var/srv",
    "usr/local": "../var/usrlocal",
}
MOUNT_POINTS = ("dev", "proc", "sys", "run", "tmp", "var", "etc", "efi", "mnt", "media")


def main() -> None:
    os.umask(0o022)
    spec = json.loads(Path("/in/spec.json").read_text())
    subprocess.run(
        ["tar", "-x", "-f", "/in/packages.tar", "-C", str(TREE), "--numeric-owner", "-p", "--xattrs",
         "--xattrs-include=*", "--exclude=./dev/*", "--exclude=./boot/*"],
        check=True,
    )  # fmt: skip
    _forget_the_build()
    unknown = modules.trim(TREE, spec["modules"])
    result: dict[str, object] = {"unknown_modules": unknown}
    if not unknown:
        for directory in sorted(Path("/files").iterdir()):
            lay_over(directory, TREE)
        units = result["unknown_units"] = _unknown_units(spec["enable"])
        if not units:
            result |= compose(spec)
    Path("/out/result.json").write_text(json.dumps(result, indent=1) + "\n")


def compose(spec: dict[str, list[str]]) -> dict[str, object]:
    _own_code()
    idle = trim.remove(TREE, spec["remove"], spec["keep"])
    gone = trim.unused_libraries(TREE, spec["libraries"])
    for path in gone:
        path.unlink()
    _links()
    _users()
    _presets(spec["enable"], spec["mask"])
    _dangling(TREE / "etc")
    _compile()
    subprocess.run(["ldconfig", "-r", str(TREE), "-X"], check=True)
    (TREE / "usr/share/skerry").mkdir(exist_ok=True)
    shutil.copyfile("/in/packages.json", TREE / "usr/share/skerry/packages.json")
    (TREE / "usr/lib/os-release").write_text("".join(f"{line}\n" for line in spec["os_release"]))
    _update(spec["update"])
    product, version = (int(epoch) for epoch in spec["epoch"])
    # The one file whose time counts: systemd sets no clock back before it, see systemd(1).
    (TREE / "usr/lib/clock-epoch").touch()
    files = pack(TREE, Path("/out/tree.tar"), product, {"usr/lib/clock-epoch": version})
    return {"idle_patterns": idle, "removed_libraries": [path.name for path in gone], "files": files}


def _forget_the_build() -> None:
    """What the packages' scripts left that is of one machine, and that each host makes for itself."""
    for pattern in (
        "etc/ssh/ssh_host_*",
        "etc/systemd/system/*",
        "etc/systemd/user/*",
        "etc/*-",
        "etc/.pwd.lock",
        "etc/.resolv.conf.*.bak",
    ):
        for path in TREE.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (TREE / "etc/machine-id").write_text("")
    for name in ("etc/hostname", "etc/resolv.conf", "etc/mtab"):
        (TREE / name).unlink(missing_ok=True)
    (TREE / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    (TREE / "etc/mtab").symlink_to("../proc/self/mounts")
    for entry in (TREE / "var").iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _own_code() -> None:
    target = TREE / CODE
    shutil.copytree(
        "/skerry", target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )
    for path in [path for pattern in LEFT_OUT for path in target.glob(pattern)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    # A checkout's modes follow the umask of whoever made it.
    for path in (target, *target.rglob("*")):
        runs = path.is_dir() or path.parent.name == "bin"
        path.chmod(0o755 if runs else 0o644)


def _update(settings: list[str]) -> None:
    """Where updates come from, and whose signature they must carry: sealed, and /etc may say otherwise."""
    if settings:
        (TREE / CODE / "update.toml").write_text("".join(f"{line}\n" for line in settings))
    root = Path("/in/root.json")
    if root.exists():
        (TREE / CODE / "trust").mkdir(exist_ok=True)
        shutil.copyfile(root, TREE / CODE / "trust/root.json")


def _links() -> None:
    for name, leads_to in LINKS.items():
        path = TREE / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        if not path.is_symlink():
            path.symlink_to(leads_to)
    for name in MOUNT_POINTS:
        (TREE / name).mkdir(exist_ok=True)
    for name in ("boot", "lost+found"):
        shutil.rmtree(TREE / name, ignore_errors=True)


def _users() -> None:
    """The users and groups of sysusers.d stand in the image: nothing is left to do at boot."""
    subprocess.run(["systemd-sysusers", f"--root={TREE}"], check=True)
    for stale in ("passwd-", "group-", "shadow-", "gshadow-", ".pwd.lock"):
        (TREE / "etc" / stale).unlink(missing_ok=True)


def _presets(enable: list[str], mask: list[str]) -> None:
    """Everything is off but what the recipe turns on; what is masked is so in the sealed tree."""
    directory = TREE / "usr/lib/systemd/system-preset"
    directory.mkdir(parents=True, exist_ok=True)
    lines = [*(f"enable {name}" for name in enable), "disable *"]
    (directory / "00-image.preset").write_text("".join(f"{line}\n" for line in lines))
    for name in mask:
        path = TREE / "usr/lib/systemd/system" / name
        path.unlink(missing_ok=True)
        path.symlink_to("/dev/null")
    subprocess.run(["systemctl", f"--root={TREE}", "preset-all"], check=True, stderr=subprocess.DEVNULL)


def _unknown_units(names: list[str]) -> list[str]:
    """Those of `names` that the tree has no unit or template for."""
    directory = TREE / "usr/lib/systemd/system"
    return [
        name for name in names
        if not (directory / name).exists() and not (directory / re.sub(r"@[^@]*\.", "@.", name)).exists()
    ]  # fmt: skip


def _dangling(directory: Path) -> None:
    """Links into what was removed (alternatives, wants) go too; links into state and run time stay."""
    for path in sorted(directory.rglob("*")):
        if not path.is_symlink():
            continue
        target = path.readlink()
        absolute = Path(os.path.normpath(Path("/") / path.parent.relative_to(TREE) / target))
        inside = TREE / str(absolute).lstrip("/")
        state = str(absolute).lstrip("/").split("/")[0] in {"run", "proc", "dev", "var"}
        if not state and not inside.exists() and not inside.is_symlink():
            path.unlink()


def _compile() -> None:
    """Byte code whose validity is its seal: never checked against the source at run time.

    The source of Debian's modules leaves (2 MB of the download); ours stays, for tracebacks.
    """
    for cache in TREE.glob("usr/lib/**/__pycache__"):
        shutil.rmtree(cache)
    _byte_code(f"/{CODE}")
    for library in sorted(TREE.glob("usr/lib/python3*")):
        _byte_code(f"/{library.relative_to(TREE)}", "-b")
    for source in TREE.glob("usr/lib/python3*/**/*.py"):
        if source.with_suffix(".pyc").exists():
            source.unlink()


def _byte_code(directory: str, *options: str) -> None:
    # -B: or it would write the modules it needs itself first, to be checked by time, and leave them so.
    subprocess.run(
        ["chroot", str(TREE), "/usr/bin/python3", "-I", "-B", "-m", "compileall", "-q", *options,
         "--invalidation-mode", "unchecked-hash", directory],
        check=True, env={"PYTHONHASHSEED": "0", "PATH": "/usr/sbin:/usr/bin"},
    )  # fmt: skip
