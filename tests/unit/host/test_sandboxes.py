"""What the services of the system may do if they are taken over, as systemd itself judges it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from skerry.host.units.unit_file import parse_unit

UNITS = Path(__file__).parents[3] / "os/rootfs/usr/lib/systemd/system"


@pytest.mark.parametrize(("name", "most"), [("skerry-etcd", 25), ("skerry-lease", 25), ("skerryd", 50)])
def test_a_service_is_exposed_no_more_than_this(name: str, most: int) -> None:
    """`most` is ten times systemd-analyze's level; more than that is a failure of the program."""
    argv = ["systemd-analyze", "security", "--offline=yes", "--no-pager", f"--threshold={most}"]
    done = subprocess.run(
        [*argv, str(UNITS / f"{name}.service")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1:] or done.stderr


def values(name: str, key: str) -> list[str]:
    unit = parse_unit((UNITS / name).read_text(), name)
    return [word for option in unit.all("Service", key) for word in option.value.split()]


def test_etcd_sees_no_key_of_an_authority_and_no_socket_of_root() -> None:
    hidden = {path.removeprefix("-") for path in values("skerry-etcd.service", "InaccessiblePaths")}
    assert values("skerry-etcd.service", "TemporaryFileSystem") == ["/var/lib/skerry:ro"]
    assert values("skerry-etcd.service", "BindPaths") == ["/var/lib/skerry/etcd"]
    assert hidden >= {"/run/skerry", "/run/dbus", "/run/systemd/private"}


def test_a_server_has_room_for_the_connections_of_many_agents() -> None:
    assert values("skerryd.service", "LimitNOFILE") == ["65536"]
