"""A cluster of a lab's nodes, built with the commands that people use: init on one, join on the others."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from skerry_lab.errors import NotReadyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from skerry_lab.node import Node

API_PORT = 7443
BUILD_S = 120.0


def form(
    servers: Sequence[Node],
    agents: Sequence[Node] = (),
    *,
    name: str = "home",
    told: Callable[[Node, str], None] = lambda node, command: None,
    timeout_s: float = BUILD_S,
) -> None:
    """Make running nodes a cluster; `told` hears of each command. Each has this time. Raises NodeError."""

    def on(node: Node, command: str, stdin: bytes | None = None) -> str:
        told(node, command)
        return node.run(["sh", "-c", command], timeout_s=timeout_s, stdin=stdin).text

    first = servers[0]
    on(first, f"skerry cluster init --name {name} --address {first.address}")
    for role, others in (("server", servers[1:]), ("agent", agents)):
        if not others:
            continue
        token = on(first, f"skerry cluster token create --role {role} --uses {len(others)}").splitlines()[0]
        for node in others:
            url = f"https://{first.address}:{API_PORT}"
            command = f"skerry cluster join --server {url} --address {node.address}"
            on(node, command, token.encode() + b"\n")


def ready(server: Node, count: int, *, timeout_s: float = 60) -> None:
    """Wait until so many machines are ready, as this server has it. Raises NotReadyError."""
    end = time.monotonic() + timeout_s
    while True:
        done = server.try_run(["skerry", "cluster", "status", "--json"], timeout_s=30)
        if done.text.startswith("{") and json.loads(done.text)["nodes"].get("ready") == count:
            return
        if time.monotonic() > end:
            raise NotReadyError(f"not {count} machines are ready\n{done.text}{done.error_text}")
        time.sleep(0.3)
