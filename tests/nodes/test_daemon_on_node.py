"""The daemon on a host: how much it takes, who may speak to it, and that nobody is turned away."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry_lab.node import Node

MOST_BYTES = 45_000_000
UNITS = 30
SLEEPER = "[Service]\\nExecStart=/bin/sleep infinity\\n"


def test_it_stays_small_with_many_units(node: Node) -> None:
    node.run(["mkdir", "-p", "/tmp/many"])
    make = f"cd /tmp/many && for n in $(seq {UNITS}); do printf '{SLEEPER}' > many-$n.service; done"
    node.run(["sh", "-c", f"{make} && skerry unit start many-*.service"], timeout_s=120)
    status = json.loads(node.run(["skerry", "host", "status", "--json"]).text)
    node.run(["sh", "-c", "skerry unit destroy 'many-*' && rm -r /tmp/many"], timeout_s=120)
    assert status["units"]["active"] == UNITS
    assert status["memory"]["skerryd_bytes"] <= MOST_BYTES


def test_its_socket_is_for_root_alone(node: Node) -> None:
    assert node.run(["stat", "-c", "%a %U", "/run/skerry/api.sock"]).text.strip() == "600 root"


def test_who_asks_while_it_restarts_is_answered(node: Node) -> None:
    asked = "systemctl kill --signal=SIGKILL --kill-whom=main skerryd.service && skerry unit list --no-legend"
    for _ in range(3):
        node.run(["sh", "-c", asked])


def test_settings_are_read_again_on_reload(node: Node) -> None:
    node.run(["systemctl", "reload", "skerryd.service"])
    assert node.run(["systemctl", "is-active", "skerryd.service"]).text.strip() == "active"
