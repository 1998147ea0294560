"""What the initrd does about /etc, on the image's own tree with its own interpreter: no /proc, no /dev."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from skerry.image.compose.sandbox import clear, identity_prefix
from skerry.kit.run import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from skerry_lab.node import NodeImage

INIT = Path(__file__).parents[3] / "os/initrd/init"
OLD, NEW = "1.0.0", "1.1.0"
STATE = "var/lib/skerry/etc"
STAGED = f"""
mkdir -p {STATE}
cp -a etc {STATE}/{OLD}
cp -a etc {STATE}/{OLD}.defaults
echo '{{"format": 1, "from": "{OLD}", "policy": "mine", "provisioned": []}}' > {STATE}/{NEW}.plan
cd {STATE}
"""


def section() -> str:
    """The part of os/initrd/init that makes /etc, for a root in the current directory."""
    text = INIT.read_text()
    begin, end = text.index("etc=/sysroot/"), text.index('busybox mount -o bind "$etc/$version"')
    return f"""
set -e
image=skerry_{NEW}
busybox() {{
    case $1 in
    mount | umount) ;; # this machine's /dev must never stand in a tree that is going to be removed
    *) command "$@" ;;
    esac
}}
die() {{ echo "died: $*"; exit 1; }}
{text[begin:end].replace("/sysroot", '"$PWD"')}
"""


class Sealed:
    """The image's tree, unpacked; what is run in it runs as root of it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def sh(self, script: str, *, check: bool = True) -> str:
        argv = [*identity_prefix(), "sh", "-euc", script]
        done = run(argv, cwd=self.root, timeout_s=120, check=check)
        return done.text + done.stderr.decode()

    def boot(self, *, check: bool = True) -> str:
        return self.sh(section(), check=check)

    def names(self) -> list[str]:
        return self.sh(f"ls {STATE}").split()


@pytest.fixture(scope="module")
def unpacked(node_image: NodeImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("sealed") / "root"
    root.mkdir()
    tar = ["tar", "-x", "-f", str(node_image.tree), "-C", str(root), "--numeric-owner", "--exclude=./dev/*"]
    run([*identity_prefix(), *tar], timeout_s=120)
    yield root
    clear(root)


@pytest.fixture
def sealed(unpacked: Path) -> Sealed:
    made = Sealed(unpacked)
    made.sh("rm -rf var/lib")
    return made


def test_a_first_install_is_a_plain_copy_with_its_defaults(sealed: Sealed) -> None:
    assert sealed.boot() == ""
    assert sealed.names() == [NEW, f"{NEW}.defaults"]
    for name in sealed.names():
        assert sealed.sh(f"diff -r --no-dereference etc {STATE}/{name}") == ""


def test_a_folder_without_defaults_gets_them_and_stays(sealed: Sealed) -> None:
    sealed.sh(f"mkdir -p {STATE}; cp -a etc {STATE}/{NEW}; echo mine > {STATE}/{NEW}/issue")
    sealed.boot()
    assert sealed.names() == [NEW, f"{NEW}.defaults"]
    assert sealed.sh(f"cat {STATE}/{NEW}/issue") == "mine\n"
    assert sealed.sh(f"cmp etc/issue {STATE}/{NEW}.defaults/issue") == ""


def test_a_copy_that_was_cut_off_is_made_anew(sealed: Sealed) -> None:
    sealed.sh(f"mkdir -p {STATE}/{NEW}.new {STATE}/{NEW}.defaults.new; echo half > {STATE}/{NEW}.new/issue")
    sealed.boot()
    assert sealed.names() == [NEW, f"{NEW}.defaults"]
    assert sealed.sh(f"cmp etc/issue {STATE}/{NEW}/issue") == ""


def test_after_an_update_yours_is_merged_with_the_new_defaults(sealed: Sealed) -> None:
    sealed.sh(f"""{STAGED}
    echo 'core:x:1000:1000::/home/core:/bin/bash' >> {OLD}/passwd
    echo 'core:$y$hash:1::::::' >> {OLD}/shadow
    sed -i '1i # mine' {OLD}/services
    sed -i '$d' {OLD}/services {OLD}.defaults/services
    echo old > {OLD}.defaults/issue; echo mine > {OLD}/issue
    printf 'x' > "{OLD}/$(printf 'caf\\351')"
    rm {OLD}/motd
    """)
    said = sealed.boot()
    assert f"/etc of {NEW} made from {OLD}: 3 kept, 1 deleted, 1 merged, 1 conflict, 1 beside" in said
    assert sealed.names() == [OLD, f"{OLD}.defaults", NEW, f"{NEW}.defaults", f"{NEW}.report.json"]
    assert sealed.sh(f"diff -r --no-dereference etc {STATE}/{NEW}.defaults") == ""
    assert sealed.sh(f"tail -n1 {STATE}/{NEW}/passwd") == "core:x:1000:1000::/home/core:/bin/bash\n"
    assert sealed.sh(f"head -n1 {STATE}/{NEW}/services") == "# mine\n"
    assert sealed.sh(f"tail -n1 {STATE}/{NEW}/services") == sealed.sh("tail -n1 etc/services")
    assert sealed.sh(f"cat {STATE}/{NEW}/issue; cmp {STATE}/{NEW}/issue.skerry-new etc/issue") == "mine\n"
    assert sealed.sh(f"stat -c '%a %g' {STATE}/{NEW}/shadow") == sealed.sh("stat -c '%a %g' etc/shadow")
    changes = json.loads(sealed.sh(f"cat {STATE}/{NEW}.report.json"))["changes"]
    assert {one["path"] for one in changes if one["result"] == "kept"} == {"caf\\xe9", "passwd", "shadow"}


def test_a_second_boot_changes_nothing(sealed: Sealed) -> None:
    sealed.sh(STAGED)
    sealed.boot()
    sealed.sh(f"echo mine > {STATE}/{NEW}/issue")
    assert sealed.boot() == ""
    assert sealed.sh(f"cat {STATE}/{NEW}/issue") == "mine\n"


def test_a_merge_that_fails_ends_the_boot_and_changes_nothing(sealed: Sealed) -> None:
    sealed.sh(f"{STAGED} rm -r {OLD}.defaults")
    said = sealed.boot(check=False)
    assert f"{OLD}.defaults is not there" in said
    assert "died: /etc cannot be merged" in said
    assert sealed.names() == [OLD, f"{NEW}.plan"]


def test_merging_imports_nothing_heavy(sealed: Sealed) -> None:
    """A first boot after an update has no time for what only other verbs need."""
    script = (
        "import sys; sys.path[:0] = ['/usr/lib/skerry', '/usr/lib/python3/dist-packages']; "
        "import skerry.host.etc.stage, skerry.entry.etc; "
        "print({'yaml', 'asyncio', 'cryptography', 'click', 'merge3', 'tarfile'} & sys.modules.keys())"
    )
    assert sealed.sh(f'chroot . /usr/bin/python3 -IS -c "{script}"') == "set()\n"
