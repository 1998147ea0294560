"""Which daemon the commands speak to.

--context NAME or $SKERRY_CONTEXT    a cluster of `skerry context add`; `local` is this machine
$SKERRY_API                          a socket, or http://127.0.0.1:PORT
the current context                  `skerry context use`
/run/skerry/api.sock                 this machine
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from skerry.kit.http import DEFAULT_SOCKET, Client, HttpError

if TYPE_CHECKING:
    from skerry.entry.cli.contexts import Context
    from skerry.entry.rest.client import Skerry

VARIABLE = "SKERRY_API"
PROBE_S = 3.0


def client(*, timeout_s: float | None = 60) -> Client:
    """The client; `timeout_s` as Client has it. Raises HttpError, ContextError for what cannot be."""
    context = chosen()
    if context is None:
        return Client(os.environ.get(VARIABLE) or DEFAULT_SOCKET, timeout_s=timeout_s)
    return client_of(context, timeout_s=timeout_s)


def connect() -> Skerry:
    """The typed client of the same daemon; its streams wait for ever."""
    from skerry.entry.rest.client import Skerry

    return Skerry(client(), streams=client(timeout_s=None))


def chosen() -> Context | None:
    """The context to use, None for $SKERRY_API or this machine. Raises ContextError."""
    from skerry.entry.cli import contexts

    name = os.environ.get(contexts.VARIABLE)
    if name == contexts.LOCAL or (not name and os.environ.get(VARIABLE)):
        return None
    known = contexts.read_contexts(contexts.contexts_file())
    if name:
        return known.get(name)
    return None if known.current is None else known.get(known.current)


def client_of(context: Context, *, timeout_s: float | None = 60) -> Client:
    """A client of the first server of a context that can be reached."""
    from skerry.fleet.trust.contexts import client_context

    tls = client_context(context.authority)
    url = context.servers[0] if len(context.servers) == 1 else _reachable(context)
    return Client(url, timeout_s=timeout_s, context=tls, token=context.token)


def _reachable(context: Context) -> str:
    import socket
    from urllib.parse import urlsplit

    for url in context.servers:
        place = urlsplit(url)
        try:
            socket.create_connection((place.hostname or "", place.port or 0), PROBE_S).close()
        except OSError:
            continue
        return url
    raise HttpError(f"none of the servers of {context.name} can be reached: {', '.join(context.servers)}")
