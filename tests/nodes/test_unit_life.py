"""The whole life of units on a host, by the command line, as a person lives it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from skerry_lab.errors import NodeError
from skerry_lab.journal import Allowed

if TYPE_CHECKING:
    from collections.abc import Callable

    from skerry_lab.node import Completed, Node

PLACE = "/var/roothome"
SLEEPER = """[Unit]
Description=Sleeps

[Service]
ExecStart=/bin/sleep infinity
"""
TALKER = """[Service]
ExecStart=/bin/sh -c "echo I am %i; exec sleep infinity"
"""
WEB = """[Unit]
Description=A page

[Container]
Image=docker.io/tutum/hello-world
PublishPort=8088:80
ContainerName=web
"""
# A container may log a last error while its unit is taken away.
PATIENCE_S = 30


def skerry(node: Node, *words: str) -> Completed:
    return node.try_run(["sh", "-c", f'cd {PLACE} && exec skerry "$@"', "sh", *words], timeout_s=90)


def ok(node: Node, *words: str) -> str:
    done = skerry(node, *words)
    assert done.status == 0, done.error_text
    return done.text


def listed(node: Node) -> dict[str, dict[str, object]]:
    return {unit["name"]: unit for unit in json.loads(ok(node, "unit", "list-files", "--json"))}


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.1)


def active(node: Node, unit: str) -> str:
    return node.try_run(["systemctl", "is-active", unit]).text.strip()


def show(node: Node, unit: str, name: str) -> str:
    return node.run(["systemctl", "show", "--value", "-p", name, unit]).text.strip()


def test_a_unit_goes_through_all_its_states(node: Node) -> None:
    node.put(f"{PLACE}/life.service", SLEEPER)
    steps = [
        ("submit", "inactive", "inactive"),
        ("load", "loaded", "inactive"),
        ("start", "launched", "active"),
        ("stop", "loaded", "inactive"),
        ("unload", "inactive", "inactive"),
    ]
    seen = []
    for verb, _, _ in steps:
        ok(node, "unit", verb, "life.service")
        until(lambda: listed(node)["life.service"]["current"] == listed(node)["life.service"]["desired"])
        seen.append((verb, listed(node)["life.service"]["current"], active(node, "life.service")))
    assert seen == steps
    ok(node, "unit", "destroy", "life.service")
    assert "life.service" not in listed(node)


def test_instances_of_a_template_live_each_their_own_life(node: Node) -> None:
    node.put(f"{PLACE}/talk@.service", TALKER)
    ok(node, "unit", "start", "talk@one", "talk@two")
    ok(node, "unit", "stop", "talk@one")
    assert [active(node, f"talk@{name}.service") for name in ("one", "two")] == ["inactive", "active"]
    until(lambda: "I am two" in ok(node, "unit", "journal", "--output=cat", "talk@two"))
    ok(node, "unit", "destroy", "talk@one", "talk@two")
    skerry(node, "unit", "destroy", "talk@.service")


def test_drop_ins_travel_with_their_unit(node: Node) -> None:
    node.put(f"{PLACE}/more.service", SLEEPER)
    node.put(f"{PLACE}/more.service.d/10-env.conf", "[Service]\nEnvironment=MORE=yes\n")
    ok(node, "unit", "start", "more.service")
    assert show(node, "more.service", "Environment") == "MORE=yes"
    assert "MORE=yes" in ok(node, "unit", "cat", "more.service")
    ok(node, "unit", "destroy", "more.service")


def test_a_quadlet_serves_its_page_and_goes_without_a_trace(node: Node) -> None:
    node.put(f"{PLACE}/web.container", WEB)
    ok(node, "unit", "start", "web.container")
    page = node.run(
        ["python3", "-c", "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8088').read())"]
    )
    assert "Hello world!" in page.text
    ok(node, "unit", "destroy", "web.container")
    until(lambda: node.run(["podman", "ps", "-aq"]).text == "")
    assert node.run(["find", "/run/containers/systemd", "-type", "f"]).text == ""


def test_a_kill_of_the_daemon_stops_no_unit_and_loses_none(node: Node) -> None:
    node.put(f"{PLACE}/stay.service", SLEEPER)
    ok(node, "unit", "start", "stay.service")
    before = show(node, "stay.service", "MainPID")
    for _ in range(5):
        node.run(["systemctl", "kill", "--signal=SIGKILL", "--kill-whom=main", "skerryd.service"])
        until(lambda: active(node, "skerryd.service") == "active")
        assert skerry(node, "unit", "list").status == 0
    assert show(node, "stay.service", "MainPID") == before
    assert listed(node)["stay.service"]["current"] == "launched"
    ok(node, "unit", "destroy", "stay.service")


def test_units_come_back_after_a_reboot(node: Node) -> None:
    node.put(f"{PLACE}/again.service", SLEEPER)
    ok(node, "unit", "start", "again.service")
    node.reboot()
    until(lambda: active(node, "again.service") == "active")
    ok(node, "unit", "destroy", "again.service")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("broken.service", "[Service\nExecStart=/bin/true\n", "broken.service:1"),
        ("empty.service", "", "empty.service"),
        ("image.container", "[Container]\nExec=true\n", "image.container"),
        ("odd.container", "[Container]\nImage=x\nNoSuchKey=1\n", "NoSuchKey"),
    ],
)
def test_what_cannot_run_is_refused_with_a_reason(node: Node, name: str, text: str, says: str) -> None:
    node.put(f"{PLACE}/{name}", text)
    done = skerry(node, "unit", "start", name)
    assert done.status == 1
    assert says in done.error_text
    assert name not in listed(node)


def test_a_unit_of_the_hosts_own_is_not_taken_over(node: Node) -> None:
    node.put(f"{PLACE}/ssh.service", SLEEPER)
    done = skerry(node, "unit", "start", "ssh.service")
    assert done.status == 1
    assert "host" in done.error_text
    assert "sshd" in show(node, "ssh.service", "ExecStart")
    assert "ssh.service" not in skerry(node, "unit", "list-files").text


def test_a_unit_that_fails_is_told_and_left_alone(node: Node, expected_errors: list[Allowed]) -> None:
    expected_errors.append(Allowed("systemd", r"fail\.service|Failed to start", "the test's own unit fails"))
    node.put(f"{PLACE}/fail.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n")
    done = skerry(node, "unit", "start", "fail.service")
    assert done.status == 1
    assert "failed" in done.error_text
    ok(node, "unit", "destroy", "fail.service")


def test_a_unit_that_nobody_knows_is_told(node: Node) -> None:
    done = skerry(node, "unit", "start", "nobody.service")
    assert done.status == 1
    assert "nobody.service" in done.error_text


def test_a_bad_request_is_answered_as_fleet_did(node: Node) -> None:
    ask = """import http.client, socket
class C(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX); self.sock.connect("/run/skerry/api.sock")
c = C("x"); c.request("PUT", "/fleet/v1/units/a.service", "{", {"Content-Type": "application/json"})
print(c.getresponse().status)
"""
    assert node.run(["python3", "-c", ask]).text.strip() == "400"


def test_nothing_was_left_behind(node: Node) -> None:
    """The last test of the module: every one before it destroyed what it made."""
    with pytest.raises(NodeError):
        node.run(["systemctl", "cat", "life.service"])
    assert listed(node) == {}
