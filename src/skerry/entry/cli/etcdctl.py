"""`etcdctl` on a host: the v2 commands of etcd's own, over the store of this host.

Units of CoreOS's time call it in ExecStartPost= and the like, so its texts and exit codes are those that
scripts know: 0 done, 1 misused, 2 no connection, 4 refused. It starts in a few hundredths of a second,
imports little and prints no more than etcdctl did.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

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
from skerry.entry.cli.etcdctl_output import FORMATS, json_text, show, show_unless_directory
from skerry.entry.cli.etcdctl_session import (
    MISUSED,
    NO_CONNECTION,
    NO_TOPIC,
    REFUSED,
    Document,
    Refusal,
    Reply,
    Session,
)
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


DONE = 0
DEFAULT_TIMEOUT_S = 5.0
VARIABLES = ("ETCDCTL_ENDPOINTS", "ETCDCTL_ENDPOINT", "ETCDCTL_PEERS")


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
    except SkerryError as error:
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
    if output not in FORMATS:
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
    text = next((text for text in named if text), "")
    if not text:
        return ("",)
    return tuple(
        word if "://" in word or word.startswith(("/", "unix:")) else f"http://{word}"
        for word in text.split(",")
    )


def _get(session: Session) -> None:
    reply = session.told("GET", session.key(), {})
    if reply.node.get("dir"):
        raise Refusal(f"{reply.node.get('key', '')}: is a directory", MISUSED)
    show(reply, session.output)


def _set(session: Session) -> None:
    index = session.parsed.number("swap-with-index")
    query = {"prevValue": session.parsed.text("swap-with-value"), "prevIndex": str(index) if index else ""}
    key = session.key()
    show(session.told("PUT", key, query, {"value": session.value(), **_ttl(session)}), session.output)


def _make(session: Session) -> None:
    key, form = session.key(), {"value": session.value(), **_ttl(session)}
    if session.parsed.on("in-order"):
        show(session.told("POST", key, {}, form), session.output)
    else:
        show(session.told("PUT", key, {"prevExist": "false"}, form), session.output)


def _update(session: Session) -> None:
    key, form = session.key(), {"value": session.value(), **_ttl(session)}
    show(session.told("PUT", key, {"prevExist": "true"}, form), session.output)


def _remove(session: Session) -> None:
    parsed = session.parsed
    index = parsed.number("with-index")
    query = {
        "dir": "true" if parsed.on("dir") else "",
        "recursive": "true" if parsed.on("recursive") else "",
        "prevValue": parsed.text("with-value"),
        "prevIndex": str(index) if index else "",
    }
    show_unless_directory(session.told("DELETE", session.key(), query), session.output)


def _remove_directory(session: Session) -> None:
    show_unless_directory(session.told("DELETE", session.key(), {"dir": "true"}), session.output)


def _directory(previous: str) -> Callable[[Session], None]:
    """mkdir, setdir and updatedir; `previous` is what they say of what stands there."""

    def act(session: Session) -> None:
        query = {"dir": "true", "prevExist": previous}
        show_unless_directory(session.told("PUT", session.key(), query, _ttl(session)), session.output)

    return act


def _list(session: Session) -> None:
    key = session.parsed.arguments[0] if session.parsed.arguments else "/"
    recursive = "true" if session.parsed.on("recursive") else ""
    reply = session.told("GET", key, {"recursive": recursive, "sorted": "true"})
    if session.output == "json":
        print(json_text(reply))
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
        show(reply, session.output)
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
