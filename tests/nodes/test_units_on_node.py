"""The service manager and the agent over the systemd of a booted node; their cases run inside it.

skerryd rests meanwhile: two agents on one machine would each remove what the other placed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from skerry_lab.journal import Allowed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from skerry_lab.node import Node

TESTS = Path(__file__).parent.parent
PYTHON = ["env", "PYTHONPATH=/usr/lib/skerry", "PYTHONDONTWRITEBYTECODE=1", "python3"]
IMAGE = "docker.io/library/busybox"


@pytest.fixture(scope="module", autouse=True)
def without_skerryd(node: Node) -> Iterator[None]:
    node.run(["systemctl", "stop", "skerryd.service", "skerryd.socket"])
    yield
    if node.running():
        node.run(["systemctl", "start", "skerryd.service"])


def run_inside(node: Node, file: str, *arguments: str) -> str:
    """Run a file of cases on the node; what it said, for the failure message."""
    place = f"/var/tmp/{Path(file).name}"
    node.put(place, (TESTS / file).read_text())
    done = node.try_run([*PYTHON, place, *arguments], timeout_s=600)
    said = f"{done.text}\n{done.error_text}"
    assert done.status == 0, said
    return done.text


def test_the_service_manager_over_systemd(node: Node) -> None:
    said = run_inside(node, "conformance/service_manager_cases.py")
    assert said.count("ok ") >= 14


def test_the_agent_lives_and_is_killed(node: Node, expected_errors: list[Allowed]) -> None:
    why = "a container stands there before its volume does"
    expected_errors.append(Allowed("(sd-exec-", r"podman-system-generator failed", why))
    node.run(["podman", "pull", "--quiet", IMAGE], timeout_s=120)
    said = run_inside(node, "nodes/agent_cases.py", IMAGE)
    assert said.count("ok ") == 8


def test_what_is_fenced_is_dead_in_time(node: Node, expected_errors: list[Allowed]) -> None:
    why = "what is fenced is killed, on purpose"
    expected_errors.append(Allowed("systemd", r"skerry-.*(Failed|failed|timed out|Killing)", why))
    node.run(["podman", "pull", "--quiet", IMAGE], timeout_s=120)
    said = run_inside(node, "nodes/fence_cases.py", IMAGE)
    assert said.count("ok ") == 5


CHECK = """\
import sys
from skerry.host.units.check import check_unit
for problem in check_unit(sys.argv[1], sys.stdin.read()):
    print(problem)
"""


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.volume", "[Volume]\n", []),
        ("a.service", "[Service]\nExecStart=/usr/bin/docker run x\n", []),
        (
            "a.service",
            "[Service]\nType=simple\n",
            ["a.service: error: Service has no ExecStart=, ExecStop=, or SuccessAction="],
        ),
        (
            "a.container",
            "[Container]\nImage=quay.io/x/y:1\nVolum=/a:/b\nVolume=d.volume:/d\n[Service]\nRestrt=no\n",
            [
                "a.container:3: error: Podman knows no Volum= in [Container] (did you mean Volume=?)",
                "a.container:4: warning: d.volume is named here and not known yet (submit d.volume too)",
                "a.container:6: warning: Unknown key 'Restrt' in section [Service], ignoring",
            ],
        ),
    ],
)
def test_units_are_checked_by_the_programs_of_the_image(
    node: Node, name: str, text: str, said: list[str]
) -> None:
    done = node.run([*PYTHON, "-c", CHECK, name], stdin=text.encode())
    assert done.text.splitlines() == said
