"""Which daemon the commands speak to: this machine's, or the one that $SKERRY_API names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from skerry.kit.http import DEFAULT_SOCKET, Client

if TYPE_CHECKING:
    from skerry.entry.rest.client import Skerry

VARIABLE = "SKERRY_API"


def client(*, timeout_s: float | None = 60) -> Client:
    """The client; `timeout_s` as Client has it. Raises HttpError for an address that cannot be."""
    return Client(os.environ.get(VARIABLE) or DEFAULT_SOCKET, timeout_s=timeout_s)


def connect() -> Skerry:
    """The typed client of the same daemon; its streams wait for ever."""
    from skerry.entry.rest.client import Skerry

    return Skerry(client(), streams=client(timeout_s=None))
