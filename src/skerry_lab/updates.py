"""A lab's machine that is updated from the lab's own releases, and what is asked of it on the way."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import msgspec

from skerry_lab.errors import NodeError, NotReadyError
from skerry_lab.qemu import HOST_FROM_INSIDE

if TYPE_CHECKING:
    from skerry_lab.node import Node
    from skerry_lab.qemu import QemuNode

IMAGE = re.compile(r"\bskerry\.image=[^\s_]+_(\S+)")
STEP_TIMEOUT_S = 300
LOOKS_APART_S = 0.5
ENDED = frozenset({"rolled-back", "refused"})


class SlotSeen(msgspec.Struct, frozen=True):
    """A slot, as the machine tells of it."""

    name: str
    version: str | None
    verified: bool
    running: bool


class Refused(msgspec.Struct, frozen=True):
    reason: str


class UpdateSeen(msgspec.Struct, frozen=True):
    """What `skerry host status` says of updates."""

    step: str
    target: str | None
    reason: str
    slots: tuple[SlotSeen, ...]
    refused: dict[str, Refused]

    def slot(self, name: str) -> SlotSeen:
        return next(slot for slot in self.slots if slot.name == name)


class _Status(msgspec.Struct, frozen=True):
    update: UpdateSeen


def settings(port: int, *, tries: int = 3, deadline: str = "60s", script_timeout: str = "20s") -> str:
    """A cloud-config that names the lab's repository, with a patience that fits tests."""
    return f"""#cloud-config
skerry:
  update:
    repository: http://{HOST_FROM_INSIDE}:{port}
    tries: {tries}
write_files:
  - path: /etc/skerry/health.toml
    content: |
      deadline = "{deadline}"
      script_timeout = "{script_timeout}"
"""


def version(node: Node) -> str:
    """The version that runs, as the kernel was told it."""
    found = IMAGE.search(node.read("/proc/cmdline"))
    if found is None:
        raise NodeError(f"{node.name} did not boot from a slot")
    return found[1]


def seen(node: Node) -> UpdateSeen:
    """What the machine says of its updates."""
    said = node.run(["skerry", "host", "status", "--json"]).stdout
    return msgspec.json.decode(said, type=_Status).update


def wait_for(node: QemuNode, wanted: str, *, after: str, timeout_s: float = 400) -> float:
    """Wait until a version has booted, over however many boots since `after`; the seconds it took."""
    began = time.monotonic()
    while (left := began + timeout_s - time.monotonic()) > 0:
        node.wait_ready(timeout_s=left, other_than=after)
        try:
            after = node.boot_id()
            if version(node) == wanted:
                return time.monotonic() - began
        except NodeError:  # on its way down again
            continue
    raise NotReadyError(f"{node.name} did not come to {wanted} within {timeout_s:g} s")


def wait_blessed(node: Node, *, timeout_s: float = STEP_TIMEOUT_S) -> None:
    """Wait until the version on trial is kept. Raises NotReadyError where it is not, or not in time."""
    deadline = time.monotonic() + timeout_s
    step = "not known"
    for _ in range(max(1, round(timeout_s / LOOKS_APART_S))):
        told = seen(node)
        step = told.step
        if step == "blessed":
            return
        if step in ENDED:
            raise NotReadyError(f"{node.name} does not keep {told.target}: {step}, {told.reason}")
        if time.monotonic() >= deadline:
            break
        time.sleep(LOOKS_APART_S)
    raise NotReadyError(f"{node.name} did not bless its version within {timeout_s:g} s; the update is {step}")
