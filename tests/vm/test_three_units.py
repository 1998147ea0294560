"""The three units of CoreOS's and fleet's documentation run as they stand there, on the disk a user boots.

The tests are one story, in their order, on one machine.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from node_watch import fetch, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from skerry_lab.qemu import QemuNode

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
UNITS = ("hello-world.service", "my-service.service", "my-advanced-service.service")
KEY = "/domains/example.com/10.10.10.123:8081"
PATIENCE_S = 240


@pytest.fixture(scope="module")
def host(golden: QemuNode) -> QemuNode:
    """The machine with the units on it, started once for the whole module."""
    golden.restore("golden")
    for name in UNITS:
        golden.put(f"/var/roothome/{name}", (EXAMPLES / name).read_text())
    golden.run(["sh", "-c", "cd /root && skerry unit start --no-block *.service"], timeout_s=PATIENCE_S)
    until(lambda: all(state == "running" for state in states(golden).values()))
    return golden


@pytest.fixture(autouse=True)
def story(request: pytest.FixtureRequest, host: QemuNode, logs_directory: Path) -> Iterator[None]:
    """Watches the journal of each test."""
    with watch(request, host, logs_directory):
        yield


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.5)


def states(node: QemuNode) -> dict[str, str]:
    words = node.run(["systemctl", "show", "-p", "SubState", "--value", *UNITS], timeout_s=60).text.split()
    return dict(zip(UNITS, words, strict=True))


def test_all_three_run(host: QemuNode) -> None:
    table = host.run(["skerry", "unit", "list", "--no-legend"]).text
    told = {line.split()[0]: line.split()[-2:] for line in table.splitlines()}
    assert told == {name: ["active", "running"] for name in UNITS}


def test_hello_world_answers_on_the_port_that_docker_chose(host: QemuNode) -> None:
    port = int(host.run(["docker", "port", "helloworld", "80"]).text.strip().rpartition(":")[2])
    assert "Hello world!" in fetch(host, port)


def test_my_service_says_hello_every_second(host: QemuNode) -> None:
    until(lambda: "Hello World" in host.run(["skerry", "unit", "journal", "--output=cat", "my-service"]).text)


def test_apache_serves_its_page(host: QemuNode) -> None:
    assert "It works!" in fetch(host, 8081)


def test_apache_announced_itself(host: QemuNode) -> None:
    assert host.run(["etcdctl", "get", KEY]).text == "running\n"


def test_a_killed_daemon_stops_no_container(host: QemuNode) -> None:
    before = host.run(["docker", "ps", "--format", "{{.ID}}"]).text
    host.run(["systemctl", "kill", "--signal=SIGKILL", "--kill-whom=main", "skerryd.service"])
    until(lambda: host.try_run(["skerry", "unit", "list"]).status == 0)
    assert host.run(["docker", "ps", "--format", "{{.ID}}"]).text == before
    assert host.run(["etcdctl", "get", KEY]).text == "running\n"


def test_apache_takes_its_word_back_when_it_stops(host: QemuNode) -> None:
    host.run(["skerry", "unit", "stop", "my-advanced-service"], timeout_s=PATIENCE_S)
    assert host.try_run(["etcdctl", "get", KEY]).status != 0
    with pytest.raises(OSError):  # noqa: PT011 - refused, reset: whatever the network says
        fetch(host, 8081, timeout_s=1)


def test_they_are_as_they_were_after_a_reboot(host: QemuNode) -> None:
    # Asked to stop, its shell, which is PID 1 in the container, would not hear it for 90 s.
    host.run(["sh", "-c", "docker kill $(docker ps --quiet --filter ancestor=busybox)"])
    host.reboot(timeout_s=PATIENCE_S)
    wanted = {UNITS[0]: "running", UNITS[1]: "running", UNITS[2]: "dead"}
    until(lambda: states(host) == wanted)
    assert host.try_run(["etcdctl", "get", KEY]).status != 0
