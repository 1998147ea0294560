"""One command of etcdctl and the servers that it asks: requests, and refusals in etcdctl's words."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from skerry.kit.http import Client, HttpError, encode_query, quote

if TYPE_CHECKING:
    from skerry.entry.cli.etcdctl_arguments import Parsed
    from skerry.kit.http import Answer, Json

MISUSED, NO_CONNECTION, NO_TOPIC, REFUSED = 1, 2, 3, 4
WAIT_TIMEOUT_S = 3600.0
"""Longer than the server lets a watch wait; an empty answer is asked again."""

FORM = "application/x-www-form-urlencoded"
Document: TypeAlias = "dict[str, Json]"


class Refusal(Exception):  # noqa: N818 - not all of them are errors of ours
    """What goes to stderr before the exit with `status`."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class Reply(NamedTuple):
    """An event as the server told it, and where the server stood."""

    event: Document
    stood_at: int

    @property
    def node(self) -> Document:
        node = self.event.get("node")
        return node if isinstance(node, dict) else {}

    @property
    def previous(self) -> Document | None:
        node = self.event.get("prevNode")
        return node if isinstance(node, dict) else None


class Session(NamedTuple):
    """One command: what it was given, and the servers to ask, in order."""

    parsed: Parsed
    output: str
    servers: tuple[str, ...]
    timeout_s: float
    no_connection: int

    def key(self) -> str:
        if not self.parsed.arguments:
            raise Refusal("Error:  key required", MISUSED)
        return self.parsed.arguments[0]

    def value(self) -> str:
        if len(self.parsed.arguments) > 1:
            return self.parsed.arguments[1]
        value = sys.stdin.read()
        if not value:
            raise Refusal("Error:  value required", MISUSED)
        return value

    def ask(
        self, method: str, key: str, query: dict[str, str], form: dict[str, str] | None = None
    ) -> Reply | None:
        """The server's event; None for an empty answer (a watch that waited long enough)."""
        timeout_s = WAIT_TIMEOUT_S if "wait" in query else self.timeout_s
        body = None if form is None else encode_query(form).encode()
        path = "/v2/keys/" + "/".join(quote(part) for part in key.strip("/").split("/"))
        answer = self._first_answer(method, path, {k: v for k, v in query.items() if v}, body, timeout_s)
        if not answer.body and answer.status == 200:
            return None
        document = answer.json()
        if not isinstance(document, dict):
            raise Refusal(f"Error:  unexpected answer: {answer.text[:200]}", REFUSED)
        if answer.status >= 400:
            raise Refusal(f"Error:  {refusal_text(document)}", REFUSED)
        return Reply(document, int(answer.headers.get("x-etcd-index", "0")))

    def told(self, method: str, key: str, query: dict[str, str], form: dict[str, str] | None = None) -> Reply:
        """The same where an answer is never empty."""
        reply = self.ask(method, key, query, form)
        if reply is None:
            raise Refusal("Error:  the server gave an empty answer", REFUSED)
        return reply

    def _first_answer(
        self, method: str, path: str, query: dict[str, str], body: bytes | None, timeout_s: float
    ) -> Answer:
        failures: list[str] = []
        for server in self.servers:
            try:
                return _client(server, timeout_s).request(
                    method, path, query=query or None, body=body, content_type=FORM
                )
            except HttpError as error:
                hint = f" ({error.hint})" if error.hint else ""
                failures.append(f"error #{len(failures)}: {error.message}{hint}")
        said = "\n".join(failures)
        raise Refusal(
            f"Error:  client: etcd cluster is unavailable or misconfigured; {said}", self.no_connection
        )


def _client(server: str, timeout_s: float) -> Client:
    """A client of an endpoint; "" is whatever other commands speak to."""
    if server:
        return Client(server, timeout_s=timeout_s)
    from skerry.entry.cli.api import client

    return client(timeout_s=timeout_s)


def refusal_text(document: Document) -> str:
    """etcd's error in etcdctl's words; ours where it is one of ours."""
    error = document.get("error")
    if isinstance(error, dict):
        return str(error.get("message", "the server refused"))
    code, message = document.get("errorCode", 0), document.get("message", "")
    return f"{code}: {message} ({document.get('cause', '')}) [{document.get('index', 0)}]"
