"""Provisioning with the real programs: accounts and units in a tree, volumes, systemd's own checks."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from skerry.host.provision.apply import Surroundings, apply, prepare
from skerry.host.provision.carry_out import Target
from skerry.host.provision.plan import Stage
from skerry.host.provision.sources import Found, VolumeSource, read_no_cloud

REPOSITORY = Path(__file__).parents[3]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIHDMSuBn0QpkXFjVv7M+wJ7RgqAEkY6yqTqFmL3zvRK me"
DOCUMENT = f"""#cloud-config
hostname: web1
ssh_authorized_keys: ["{KEY}"]
users:
- name: bob
  gecos: Bob B.
  passwd: $6$salt$hash
  groups: [ops, sudo]
  ssh_authorized_keys: ["{KEY}"]
- name: batch
  system: true
  no_create_home: true
  primary_group: jobs
write_files:
- path: /etc/site/secret
  owner: bob:ops
  permissions: "0640"
  content: hello
units:
- name: hello.service
  enable: true
  command: start
  content: |
    [Service]
    ExecStart=/bin/true
    [Install]
    WantedBy=multi-user.target
- name: gone.service
  mask: true
"""


def need(*programs: str) -> pytest.MarkDecorator:
    missing = [p for p in programs if shutil.which(p, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def tree(root: Path) -> Path:
    for directory in ("etc/skel", "home", "root", "run", "var/lib", "usr/lib/systemd/system", "bin"):
        (root / directory).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (root / "etc/shadow").write_text("root:*:19000:0:99999:7:::\n")
    (root / "etc/group").write_text("root:x:0:\nsudo:x:27:\n")
    (root / "etc/gshadow").write_text("root:*::\nsudo:*::\n")
    (root / "bin/bash").touch(mode=0o755)
    (root / "etc/login.defs").write_text(
        "UID_MIN 1000\nUID_MAX 60000\nGID_MIN 1000\nGID_MAX 60000\nHOME_MODE 0700\n"
    )
    return root


@need("useradd", "groupadd", "chpasswd", "systemctl")
@pytest.mark.skipif(os.getuid() != 0, reason="only root makes accounts")
def test_a_tree_is_provisioned_by_the_real_programs(tmp_path: Path) -> None:
    root = tree(tmp_path / "tree")
    around = Surroundings(Target(root=root, live=False), Stage.EARLY)
    report = apply(Found("test", DOCUMENT.encode()), around)

    assert [step.message for step in report.steps if not step.done] == []
    assert report.result == "applied"
    passwd = {row.split(":")[0]: row.split(":") for row in (root / "etc/passwd").read_text().splitlines()}
    groups = {row.split(":")[0]: row.split(":") for row in (root / "etc/group").read_text().splitlines()}
    shadow = {row.split(":")[0]: row.split(":")[1] for row in (root / "etc/shadow").read_text().splitlines()}
    assert passwd["bob"][4:] == ["Bob B.", "/home/bob", "/bin/bash"]
    assert (shadow["bob"], shadow["core"], shadow["batch"]) == ("$6$salt$hash", "*", "*")
    assert (groups["ops"][3], groups["sudo"][3], groups["wheel"][3]) == ("bob", "bob", "core")
    assert passwd["batch"][3] == groups["jobs"][2]
    assert int(passwd["batch"][2]) < 1000
    assert not (root / "home/batch").exists()
    for user in ("bob", "core"):
        keys = root / "home" / user / ".ssh/authorized_keys"
        assert KEY in keys.read_text()
        assert (keys.stat().st_uid, keys.stat().st_mode & 0o777) == (int(passwd[user][2]), 0o600)
    secret = (root / "etc/site/secret").stat()
    assert (secret.st_uid, secret.st_gid) == (int(passwd["bob"][2]), int(groups["ops"][2]))
    wants = root / "etc/systemd/system/multi-user.target.wants/hello.service"
    assert wants.readlink().name == "hello.service"

    assert prepare(Found("test", DOCUMENT.encode()), around).steps == ()


@need("mformat", "mcopy")
def test_a_fat_volume_is_read(tmp_path: Path) -> None:
    volume, place = tmp_path / "cidata.img", tmp_path / "read"
    place.mkdir()
    (tmp_path / "user-data").write_text("#cloud-config\nhostname: web1\n")
    (tmp_path / "meta-data").write_text("local-hostname: web2\n")
    with volume.open("wb") as file:
        file.truncate(1440 * 1024)
    run("mformat", "-i", str(volume), "-v", "cidata", "-f", "1440", "::")
    run("mcopy", "-i", str(volume), str(tmp_path / "user-data"), str(tmp_path / "meta-data"), "::")

    run("mcopy", "-i", str(volume), "::user-data", "::meta-data", str(place))
    found = read_no_cloud(place, "volume")
    assert found == Found("volume", b"#cloud-config\nhostname: web1\n", "web2")
    assert b"CIDATA" in volume.read_bytes().upper()


@need("mformat", "mcopy", "mount", "losetup")
@pytest.mark.skipif(os.getuid() != 0, reason="only root mounts")
@pytest.mark.skipif("vfat" not in Path("/proc/filesystems").read_text(), reason="this kernel reads no FAT")
def test_a_volume_is_mounted_and_let_go(tmp_path: Path) -> None:
    volume = tmp_path / "cidata.img"
    (tmp_path / "user-data").write_text("#cloud-config\n")
    with volume.open("wb") as file:
        file.truncate(1440 * 1024)
    run("mformat", "-i", str(volume), "-v", "cidata", "-f", "1440", "::")
    run("mcopy", "-i", str(volume), str(tmp_path / "user-data"), "::")
    mounts = Path("/proc/self/mounts").read_text()
    device = run("losetup", "--find", "--show", "--read-only", str(volume)).strip()
    try:
        assert VolumeSource("volume", Path(device)).fetch() == Found("volume", b"#cloud-config\n", None)
    finally:
        run("losetup", "--detach", device)
    assert Path("/proc/self/mounts").read_text() == mounts


@need("systemd-analyze")
@pytest.mark.parametrize("name", ["skerry-provision.service", "skerry-provision-network.service"])
def test_systemd_takes_our_units(tmp_path: Path, name: str) -> None:
    text = (REPOSITORY / "os/rootfs/usr/lib/systemd/system" / name).read_text()
    unit = tmp_path / name
    # The programs are not on this machine; everything else of the unit is checked.
    unit.write_text(
        text.replace("/usr/lib/skerry/bin/skerry-provision", "/bin/true").replace(
            "/usr/lib/skerry/bin/provision-wanted", "/bin/true"
        )
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert name not in done.stderr
    assert done.returncode == 0


def run(*argv: str) -> str:
    environment = {**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "MTOOLS_SKIP_CHECK": "1"}
    return subprocess.run(argv, check=True, capture_output=True, text=True, env=environment).stdout
