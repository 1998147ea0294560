"""Whether skerryd and Podman answer, by asking them something that needs them whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from skerry.host.health.check import Outcome, failed, ok
from skerry.kit.errors import SkerryError
from skerry.kit.http import DEFAULT_SOCKET, Client

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SKERRYD_DEADLINE_S = 20.0
PODMAN_DEADLINE_S = 90.0
# The storage driver is known only when the storage has been opened.
PODMAN = ("podman", "info", "--format", "{{.Store.GraphDriverName}}")


def look_at_skerryd(target: str = DEFAULT_SOCKET, *, deadline_s: float = SKERRYD_DEADLINE_S) -> Outcome:
    """Whether the daemon answers on its socket, with a store that it could open."""
    try:
        answer = Client(target, timeout_s=deadline_s).request("GET", "/v1/units")
    except SkerryError as error:
        return failed(error.message)
    if answer.status != 200:
        return failed(f"answers with status {answer.status}: {_message(answer.text)}")
    return ok("answers")


def look_at_podman(run: Callable[[Sequence[str], float], str]) -> Outcome:
    """Whether Podman opens its storage and answers."""
    try:
        driver = run(PODMAN, PODMAN_DEADLINE_S).strip()
    except SkerryError as error:
        return failed(error.message.splitlines()[-1].strip(" |"))
    return ok(f"answers (storage {driver})")


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return text[:200]
