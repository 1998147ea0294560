"""`etcdctl` on a host: the v2 commands of etcd's own, over the store of this host.

Units of CoreOS's time call it in ExecStartPost= and the like, so its texts and exit codes are those that
scripts know: 0 done, 1 misused, 2 no connection, 4 refused. It starts in a few hundredths of a second,
imports little and prints no more than etcdctl did.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeAlias

from skerry.entry.cli.etcdctl_arguments import (
    COMMANDS,
    Parsed,
    UsageError,
    command_usage,
    duration_s,
    parse_command,
    parse_globals,
    usage,
)
from skerry.kit.http import DEFAULT_SOCKET, Client, HttpError, encode_query, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from skerry.kit.http import Answer, Json

DONE, MISUSED, NO_CONNECTION, NO_TOPIC, REFUSED = 0, 1, 2, 3, 4
DEFAULT_TIMEOUT_S = 5.0
WAIT_TIMEOUT_S = 3600.0
"""Longer than the server lets a watch wait; an empty answer is asked again."""

VARIABLES = ("ETCDCTL_ENDPOINTS", "ETCDCTL_ENDPOINT", "ETCDCTL_PEERS")
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
            raise Refusal(f"Error:  {_refusal(document)}", REFUSED)
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
                return Client(server, timeout_s=timeout_s).request(
                    method, path, query=query or None, body=body, content_type=FORM
                )
            except HttpError as error:
                hint = f" ({error.hint})" if error.hint else ""
                failures.append(f"error #{len(failures)}: {error.message}{hint}")
        said = "\n".join(failures)
        raise Refusal(
            f"Error:  client: etcd cluster is unavailable or misconfigured; {said}", self.no_connection
        )


def main() -> NoReturn:
    """What /usr/bin/etcdctl starts."""
    sys.exit(run(sys.argv[1:]))


def run(argv: Sequence[str]) -> int:
    """Run one command line; the exit status."""
    try:
        return _run(argv)
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return refusal.status
    except UsageError as error:
        print(f"Incorrect Usage: {error}\n\nSee etcdctl --help.", file=sys.stderr)
        return MISUSED
    except HttpError as error:
        print(f"Error:  {error.message}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        return DONE
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more can be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return REFUSED


def _run(argv: Sequence[str]) -> int:
    options, rest = parse_globals(argv)
    if options.on("version"):
        print("etcdctl version: 2.3.8 (skerry)\nAPI version: 2")
        return DONE
    if options.on("help") or not rest or rest[0] in ("help", "h"):
        name = rest[1] if len(rest) > 1 else ""
        print(command_usage(name) if name in COMMANDS else usage())
        return DONE
    name, *words = rest
    if name not in COMMANDS:
        raise Refusal(f"No help topic for '{name}'", NO_TOPIC)
    parsed = parse_command(COMMANDS[name], words)
    if parsed.on("help"):
        print(command_usage(name))
        return DONE
    output = options.text("output") or "simple"
    if output not in ("simple", "extended", "json"):
        # Before anything is changed; etcdctl found out afterwards.
        raise Refusal(f"Unsupported output format: {output}", MISUSED)
    timeout = options.text("timeout") or options.text("total-timeout")
    session = Session(
        parsed,
        output,
        _servers(options),
        duration_s(timeout) if timeout else DEFAULT_TIMEOUT_S,
        REFUSED if options.on("no-sync") else NO_CONNECTION,
    )
    _ACTIONS[name](session)
    sys.stdout.flush()
    return DONE


def _servers(options: Parsed) -> tuple[str, ...]:
    named = [options.text("endpoints"), *(os.environ.get(name, "") for name in VARIABLES[:2])]
    named += [options.text("peers"), os.environ.get(VARIABLES[2], "")]
    text = next((text for text in named if text), DEFAULT_SOCKET)
    return tuple(
        word if "://" in word or word.startswith(("/", "unix:")) else f"http://{word}"
        for word in text.split(",")
    )


def _get(session: Session) -> None:
    reply = session.told("GET", session.key(), {})
    if reply.node.get("dir"):
        raise Refusal(f"{reply.node.get('key', '')}: is a directory", MISUSED)
    _show(reply, session.output)


def _set(session: Session) -> None:
    index = session.parsed.number("swap-with-index")
    query = {"prevValue": session.parsed.text("swap-with-value"), "prevIndex": str(index) if index else ""}
    key = session.key()
    _show(session.told("PUT", key, query, {"value": session.value(), **_ttl(session)}), session.output)


def _make(session: Session) -> None:
    key, form = session.key(), {"value": session.value(), **_ttl(session)}
    if session.parsed.on("in-order"):
        _show(session.told("POST", key, {}, form), session.output)
    else:
        _show(session.told("PUT", key, {"prevExist": "false"}, form), session.output)


def _update(session: Session) -> None:
    key, form = session.key(), {"value": session.value(), **_ttl(session)}
    _show(session.told("PUT", key, {"prevExist": "true"}, form), session.output)


def _remove(session: Session) -> None:
    parsed = session.parsed
    index = parsed.number("with-index")
    query = {
        "dir": "true" if parsed.on("dir") else "",
        "recursive": "true" if parsed.on("recursive") else "",
        "prevValue": parsed.text("with-value"),
        "prevIndex": str(index) if index else "",
    }
    _show_unless_directory(session.told("DELETE", session.key(), query), session.output)


def _remove_directory(session: Session) -> None:
    _show_unless_directory(session.told("DELETE", session.key(), {"dir": "true"}), session.output)


def _directory(previous: str) -> Callable[[Session], None]:
    """mkdir, setdir and updatedir; `previous` is what they say of what stands there."""

    def act(session: Session) -> None:
        query = {"dir": "true", "prevExist": previous}
        _show_unless_directory(session.told("PUT", session.key(), query, _ttl(session)), session.output)

    return act


def _list(session: Session) -> None:
    key = session.parsed.arguments[0] if session.parsed.arguments else "/"
    recursive = "true" if session.parsed.on("recursive") else ""
    reply = session.told("GET", key, {"recursive": recursive, "sorted": "true"})
    if session.output == "json":
        print(_json(reply))
        return
    if not reply.node.get("dir"):
        print(reply.node.get("key", ""))
    for node in _below(reply.node):
        slash = "/" if node.get("dir") and session.parsed.on("p") else ""
        print(f"{node.get('key', '')}{slash}")


def _below(node: Document) -> Iterator[Document]:
    nodes = node.get("nodes")
    for child in nodes if isinstance(nodes, list) else []:
        if isinstance(child, dict):
            yield child
            yield from _below(child)


def _watch(session: Session) -> None:
    for reply in _events(session, session.key()):
        if reply.node.get("dir"):
            continue
        if session.parsed.on("recursive"):
            print(f"[{reply.event.get('action', '')}] {reply.node.get('key', '')}")
        _show(reply, session.output)
        sys.stdout.flush()
        if not session.parsed.on("forever"):
            return


def _execute_on_change(session: Session) -> None:
    import subprocess  # only here: the other commands start faster without

    key, *command = session.parsed.arguments or ("",)
    if not command:
        raise Refusal("Error:  key and command to exec required", MISUSED)
    for reply in _events(session, key):
        if reply.node.get("dir"):
            print(f"Ignored dir {reply.node.get('key', '')} change", file=sys.stderr)
            continue
        told = {
            "ETCD_WATCH_ACTION": reply.event.get("action", ""),
            "ETCD_WATCH_MODIFIED_INDEX": reply.node.get("modifiedIndex", 0),
            "ETCD_WATCH_KEY": reply.node.get("key", ""),
            "ETCD_WATCH_VALUE": reply.node.get("value", ""),
        }
        # The person's own command with the person's own environment: not a program that we chose.
        environment = os.environ | {name: str(value) for name, value in told.items()}
        try:
            subprocess.run(command, env=environment, check=False)
        except OSError as error:
            raise Refusal(f"{command[0]}: {error.strerror}", MISUSED) from error


def _events(session: Session, key: str) -> Iterator[Reply]:
    """Every event from --after-index on, or from now."""
    after = session.parsed.number("after-index")
    wait_index = str(after + 1) if after else ""
    recursive = "true" if session.parsed.on("recursive") else ""
    while True:
        reply = session.ask("GET", key, {"wait": "true", "waitIndex": wait_index, "recursive": recursive})
        if reply is not None:
            yield reply
            modified = reply.node.get("modifiedIndex")
            wait_index = str(modified + 1) if isinstance(modified, int) else ""


def _ttl(session: Session) -> dict[str, str]:
    ttl_s = session.parsed.number("ttl")
    return {"ttl": str(ttl_s)} if ttl_s > 0 else {}


def _show_unless_directory(reply: Reply, output: str) -> None:
    if output == "json" or not reply.node.get("dir"):
        _show(reply, output)


def _show(reply: Reply, output: str) -> None:
    """A key in the format that was asked for, to the letter of etcdctl."""
    node, previous = reply.node, reply.previous
    deleted = reply.event.get("action") == "delete"
    before = (previous or {}).get("value", "")
    if output == "json":
        print(_json(reply))
    elif output == "extended":
        print(f"Key: {node.get('key', '')}")
        print(f"Created-Index: {node.get('createdIndex', 0)}\nModified-Index: {node.get('modifiedIndex', 0)}")
        if previous is not None:
            print(f"PrevNode.Value: {before}")
        print(f"TTL: {node.get('ttl', 0)}\nIndex: {reply.stood_at}")
        if not deleted:
            print(f"\n{node.get('value', '')}")
    else:
        print(f"PrevNode.Value: {before}" if deleted else node.get("value", ""))


def _json(reply: Reply) -> str:
    """The event as etcd's client library writes it: its own order, null for what is not there."""
    event: Document = {
        "action": reply.event.get("action", ""),
        "node": _json_node(reply.node),
        "prevNode": None if reply.previous is None else _json_node(reply.previous),
    }
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _json_node(node: Document) -> Document:
    nodes = node.get("nodes")
    out: Document = {"key": node.get("key", "")}
    if node.get("dir"):
        out["dir"] = True
    out["value"] = node.get("value", "")
    below = (
        [_json_node(child) for child in nodes if isinstance(child, dict)] if isinstance(nodes, list) else []
    )
    out["nodes"] = list(below) or None
    out["createdIndex"] = node.get("createdIndex", 0)
    out["modifiedIndex"] = node.get("modifiedIndex", 0)
    out.update({name: node[name] for name in ("expiration", "ttl") if name in node})
    return out


def _refusal(document: Document) -> str:
    """etcd's error in etcdctl's words; ours where it is one of ours."""
    error = document.get("error")
    if isinstance(error, dict):
        return str(error.get("message", "the server refused"))
    code, message = document.get("errorCode", 0), document.get("message", "")
    return f"{code}: {message} ({document.get('cause', '')}) [{document.get('index', 0)}]"


_ACTIONS: dict[str, Callable[[Session], None]] = {
    "get": _get,
    "set": _set,
    "mk": _make,
    "update": _update,
    "rm": _remove,
    "ls": _list,
    "mkdir": _directory("false"),
    "rmdir": _remove_directory,
    "setdir": _directory(""),
    "updatedir": _directory("true"),
    "watch": _watch,
    "exec-watch": _execute_on_change,
}

if __name__ == "__main__":
    main()
