"""The checks of a machine, over one that is laid out as files and programs."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from fakes.health_machine import MOUNTINFO, FakeMachine, block
from skerry.host.health.boot import read_boot
from skerry.host.health.check import Status, Weight, settle
from skerry.host.health.machine import DMSETUP, STEADY_S, checks
from skerry.host.health.network import NetworkLook
from skerry.host.health.record import Before, Occasion
from skerry.host.health.services import PODMAN
from skerry.host.health.settings import HealthSettings
from skerry.host.health.units import UnitLook
from skerry.kit.run import ProgramError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from skerry.host.health.check import Result

WEB_RAN = Before("1", 0, {}, {"web.service": UnitLook("active", by_boot=True)}, NetworkLook())
ONLINE = Before("1", 0, {}, {}, NetworkLook(("IPv4",), {"52:54:00:00:00:01": ("IPv4",)}))


@pytest.fixture
def fake(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


def look(
    fake: FakeMachine,
    occasion: Occasion = Occasion.TRIAL,
    before: Before | None = None,
    root_hash: str | None = None,
    extensions: dict[str, str] | None = None,
) -> dict[str, Result]:
    made = checks(
        fake.machine(),
        read_boot(fake.root),
        occasion,
        HealthSettings(script_timeout_s=20),
        before=before,
        root_hash=root_hash,
        extensions=extensions,
    )
    return {found.name: found for found in settle(made, fake.times)}


@contextmanager
def daemon(path: Path, answer: bytes) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield str(path)
        thread.join(20)


def test_a_sound_machine(fake: FakeMachine) -> None:
    with daemon(fake.root / "api.sock", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as fake.skerryd:
        results = look(fake, before=ONLINE)
    assert {name: found.status for name, found in results.items()} == dict.fromkeys(
        ["file-systems", "disk", "sealed-root", "network", "units", "skerryd", "podman"], Status.OK
    )


def test_a_daemon_without_its_store(fake: FakeMachine) -> None:
    body = b'{"error": {"code": "degraded", "message": "the store cannot be opened"}}'
    answer = b"HTTP/1.1 503 No\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with daemon(fake.root / "api.sock", answer) as fake.skerryd:
        found = look(fake)["skerryd"]
    assert (found.status, "the store cannot be opened" in found.said) == (Status.FAILED, True)


def test_no_daemon(fake: FakeMachine) -> None:
    assert look(fake)["skerryd"].failed


def test_podman_that_fails_says_why(fake: FakeMachine) -> None:
    fake.programs[PODMAN] = ProgramError(
        PODMAN, "failed with status 125", b"Error: no space left on device\n"
    )
    assert look(fake)["podman"].said == "Error: no space left on device"


def test_an_ordinary_boot_does_not_start_podman(fake: FakeMachine) -> None:
    assert "podman" not in look(fake, Occasion.BOOT)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("0 1048576 verity C", "dm-verity found blocks of the root that are corrupted"),
        ("0 1048576 linear", "the root is not opened through dm-verity"),
    ],
)
def test_a_root_that_is_not_whole(fake: FakeMachine, status: str, said: str) -> None:
    fake.programs[DMSETUP] = status
    found = look(fake)["sealed-root"]
    assert (found.status, found.weight, found.said) == (Status.FAILED, Weight.BASIC, said)


def test_a_root_that_is_not_the_releases(fake: FakeMachine) -> None:
    assert "not that of the release" in look(fake, root_hash="cd" * 32)["sealed-root"].said


def test_a_container_has_no_sealed_root(fake: FakeMachine) -> None:
    fake.write("run/systemd/container", "systemd-nspawn")
    assert "sealed-root" not in look(fake)


@pytest.mark.parametrize(
    ("mounts", "said"),
    [
        (MOUNTINFO.replace(" ext4 /dev/sda6 rw", " ext4 /dev/sda6 ro"), "read-only"),
        (MOUNTINFO.replace("/etc rw", "/etc ro"), "/etc (/dev/sda6) read-only"),
        (MOUNTINFO.splitlines()[0], "/var and /etc not mounted"),
    ],
)
def test_a_file_system_that_cannot_be_written(fake: FakeMachine, mounts: str, said: str) -> None:
    fake.write("proc/self/mountinfo", mounts)
    assert said in look(fake)["file-systems"].said


def test_a_disk_that_cannot_be_written(fake: FakeMachine) -> None:
    fake.write("var/lib/skerry/update", "a file where a directory belongs")
    assert "cannot be written" in look(fake)["disk"].said


def test_boot_entries_are_looked_at_where_a_boot_is_counted(fake: FakeMachine) -> None:
    fake.count("skerry_2+2-1.efi")
    assert look(fake)["boot-entries"].status is Status.OK
    (fake.root / "efi/EFI/Linux/skerry_2+2-1.efi").unlink()
    (fake.root / "efi/EFI/Linux").rmdir()
    assert look(fake)["boot-entries"].failed


def test_a_network_that_was_up_must_be_up(fake: FakeMachine) -> None:
    fake.write("proc/net/route", "Iface\n")
    found = look(fake, before=ONLINE)["network"]
    assert found.said == "no default route for IPv4, port 52:54:00:00:00:01 has no IPv4 address"


def test_a_network_that_was_down_may_be_down(fake: FakeMachine) -> None:
    fake.write("proc/net/route", "Iface\n")
    assert not look(fake, before=WEB_RAN)["network"].failed


def test_a_port_that_is_gone(fake: FakeMachine) -> None:
    fake.write("sys/class/net/ens1/address", "52:54:00:00:00:99\n")
    assert look(fake, before=ONLINE)["network"].said == "port 52:54:00:00:00:01 is gone"


def test_ipv6_as_before(fake: FakeMachine) -> None:
    before = Before("1", 0, {}, {}, NetworkLook(("IPv6",), {"52:54:00:00:00:01": ("IPv6",)}))
    assert "no default route for IPv6" in look(fake, before=before)["network"].said
    fake.write("proc/net/ipv6_route", f"{'0' * 32} 00 {'0' * 32} 00 fe80{'0' * 27}1 400 1 0 00000003 ens1\n")
    fake.write("proc/net/if_inet6", "fd000000000000000000000000000002 02 40 00 80     ens1\n")
    assert not look(fake, before=before)["network"].failed


def test_a_unit_that_ran_must_run(fake: FakeMachine) -> None:
    fake.units["web.service"] = block("web.service", "activating", "start")
    found = look(fake, before=WEB_RAN)["units"]
    assert (found.weight, found.said) == (Weight.REQUIRED, "web.service is activating (start)")


def test_a_unit_must_run_for_a_while(fake: FakeMachine) -> None:
    fake.units["web.service"] = block("web.service")
    found = look(fake, before=WEB_RAN)["units"]
    assert (found.status, found.took_s, fake.looks_at_restarts) == (Status.OK, STEADY_S, 2)


def test_where_nobody_looked_before_a_failed_unit_is_said_and_forces_nothing(fake: FakeMachine) -> None:
    fake.units["web.service"] = block("web.service", "failed", "failed", Result="exit-code")
    found = look(fake)["units"]
    assert (found.weight, found.said) == (Weight.WANTED, "web.service failed")


def test_extensions_are_merged(fake: FakeMachine) -> None:
    fake.write("var/lib/skerry/extensions/2/tools.raw", "")
    fake.write("var/lib/skerry/extensions/2/tools.roothash", "aa\n")
    assert look(fake)["extensions"].said == "nothing is merged into /usr"
    fake.write("proc/self/mountinfo", MOUNTINFO + "24 21 0:40 / /usr ro,nodev - overlay overlay ro\n")
    assert look(fake)["extensions"].said == "tools not merged into /usr"
    fake.write("usr/lib/extension-release.d/extension-release.tools", "")
    assert look(fake)["extensions"].status is Status.OK
    assert "not have the root hash" in look(fake, extensions={"tools": "bb"})["extensions"].said
    assert "more missing" in look(fake, extensions={"tools": "aa", "more": "cc"})["extensions"].said
