"""The command line of etcdctl's v2 commands, parsed as etcdctl's users have it in their scripts.

Go's rules, not those of GNU: one dash is as good as two (`-ttl 5`), a flag may be `--recursive=false`,
flags of a command may stand behind its arguments, `--` ends them. No argparse: it would cost more time than
the whole request. Source: the v2 commands of etcdctl 2.3 and 3.4.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class UsageError(Exception):
    """The command line is not one of etcdctl's; the text says why."""


class Flag(NamedTuple):
    """`names` without dashes, the longest first; `kind` is "bool", "text", "number" or "duration"."""

    names: tuple[str, ...]
    kind: str
    help: str


class Syntax(NamedTuple):
    arguments: str
    help: str
    flags: tuple[Flag, ...] = ()


class Parsed(NamedTuple):
    """Flags by their first name, as they were written; what was left over."""

    flags: Mapping[str, str]
    arguments: tuple[str, ...]

    def on(self, name: str) -> bool:
        return self.flags.get(name, "false") == "true"

    def text(self, name: str) -> str:
        return self.flags.get(name, "")

    def number(self, name: str) -> int:
        return int(self.flags.get(name, "0"))


GLOBALS = (
    Flag(("output", "o"), "text", "output response in the given format (simple, extended or json)"),
    Flag(("endpoints", "endpoint"), "text", "addresses of servers, separated by commas"),
    Flag(("peers", "C"), "text", "the old name of --endpoints"),
    Flag(("timeout",), "duration", "how long to wait for an answer (default: 5s)"),
    Flag(("total-timeout",), "duration", "the same"),
    Flag(("no-sync",), "bool", "accepted: there is one server"),
    Flag(("debug",), "bool", "accepted, without effect"),
    Flag(("help", "h"), "bool", "show help"),
    Flag(("version", "v"), "bool", "print the version"),
)
_TTL = Flag(("ttl",), "number", "key time-to-live in seconds")
_RECURSIVE = Flag(("recursive", "r"), "bool", "the key and all that is below it")
_SORT = Flag(("sort",), "bool", "accepted: listings are always sorted")
_QUORUM = Flag(("quorum", "q"), "bool", "accepted: reads are always of what is agreed")
_AFTER = Flag(("after-index",), "number", "watch after the given index")

COMMANDS: dict[str, Syntax] = {
    "get": Syntax("<key>", "retrieve the value of a key", (_SORT, _QUORUM)),
    "set": Syntax(
        "<key> <value>",
        "set the value of a key",
        (
            _TTL,
            Flag(("swap-with-value",), "text", "previous value"),
            Flag(("swap-with-index",), "number", "previous index"),
        ),
    ),
    "mk": Syntax(
        "<key> <value>",
        "make a new key with a given value",
        (Flag(("in-order",), "bool", "create in-order key under directory <key>"), _TTL),
    ),
    "update": Syntax("<key> <value>", "update an existing key with a given value", (_TTL,)),
    "rm": Syntax(
        "<key>",
        "remove a key or a directory",
        (
            Flag(("dir",), "bool", "removes the key if it is an empty directory or a key-value pair"),
            _RECURSIVE,
            Flag(("with-value",), "text", "previous value"),
            Flag(("with-index",), "number", "previous index"),
        ),
    ),
    "ls": Syntax(
        "[key]",
        "retrieve a directory",
        (_SORT, _RECURSIVE, Flag(("p",), "bool", "append slash (/) to directories"), _QUORUM),
    ),
    "mkdir": Syntax("<key>", "make a new directory", (_TTL,)),
    "rmdir": Syntax("<key>", "removes the key if it is an empty directory or a key-value pair"),
    "setdir": Syntax("<key>", "create a new directory or update an existing directory TTL", (_TTL,)),
    "updatedir": Syntax("<key>", "update an existing directory", (_TTL,)),
    "watch": Syntax(
        "<key>",
        "watch a key for changes",
        (Flag(("forever", "f"), "bool", "forever watch a key until CTRL+C"), _AFTER, _RECURSIVE),
    ),
    "exec-watch": Syntax(
        "<key> -- <command> [args...]",
        "watch a key for changes and exec an executable",
        (_AFTER, _RECURSIVE),
    ),
}
_HELP = Flag(("help", "h"), "bool", "show help")


def parse_globals(argv: Sequence[str]) -> tuple[Parsed, Sequence[str]]:
    """The flags before the command, and the rest beginning with the command. Raises UsageError."""
    flags: dict[str, str] = {}
    place = 0
    while place < len(argv) and _is_flag(argv[place]):
        place = _take(argv, place, GLOBALS, flags)
    return Parsed(flags, ()), argv[place:]


def parse_command(syntax: Syntax, argv: Sequence[str]) -> Parsed:
    """What follows the command. Raises UsageError."""
    flags: dict[str, str] = {}
    arguments: list[str] = []
    place = 0
    while place < len(argv):
        if argv[place] == "--":
            arguments += argv[place + 1 :]
            break
        if _is_flag(argv[place]):
            place = _take(argv, place, (*syntax.flags, _HELP), flags)
        else:
            arguments.append(argv[place])
            place += 1
    return Parsed(flags, tuple(arguments))


def duration_s(text: str) -> float:
    """Seconds from a duration of Go ("2s", "1m30s"). Raises UsageError."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"invalid duration {text!r}")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def usage() -> str:
    """The help of etcdctl as a whole."""
    rows = [f"   {name:<11} {syntax.help}" for name, syntax in COMMANDS.items()]
    return "\n".join(
        (
            "NAME:\n   etcdctl - the v2 commands of etcdctl, over the store of this host\n",
            "USAGE:\n   etcdctl [global options] command [command options] [arguments...]\n",
            "COMMANDS:",
            *rows,
            "\nGLOBAL OPTIONS:",
            *_flag_rows(GLOBALS),
            "\nWithout --endpoints (or ETCDCTL_ENDPOINTS, ETCDCTL_PEERS) skerryd is asked, over its socket.",
        )
    )


def command_usage(name: str) -> str:
    """The help of one command."""
    syntax = COMMANDS[name]
    options = ("\nOPTIONS:", *_flag_rows(syntax.flags)) if syntax.flags else ()
    title = f"NAME:\n   etcdctl {name} - {syntax.help}\n"
    return "\n".join((title, f"USAGE:\n   etcdctl {name} [command options] {syntax.arguments}", *options))


def _flag_rows(flags: Sequence[Flag]) -> list[str]:
    rows = []
    for flag in flags:
        names = ", ".join(f"--{name}" if len(name) > 1 else f"-{name}" for name in flag.names)
        rows.append(f"   {names + ('' if flag.kind == 'bool' else ' value'):<28} {flag.help}")
    return rows


def _is_flag(word: str) -> bool:
    # A number below zero is a value, as it is to etcdctl.
    return len(word) > 1 and word[0] == "-" and not word[1].isdigit()


def _take(argv: Sequence[str], place: int, known: Sequence[Flag], into: dict[str, str]) -> int:
    """Put the flag at `place` into `into`; the place after it."""
    name, equals, value = argv[place].lstrip("-").partition("=")
    flag = next((flag for flag in known if name in flag.names), None)
    if flag is None:
        raise UsageError(f"flag provided but not defined: -{name}")
    place += 1
    if flag.kind == "bool":
        value = value if equals else "true"
    elif not equals:
        if place == len(argv):
            raise UsageError(f"flag needs an argument: -{name}")
        value = argv[place]
        place += 1
    _check(flag, name, value)
    into[flag.names[0]] = value
    return place


def _check(flag: Flag, name: str, value: str) -> None:
    digits = value.removeprefix("-")
    number = digits.isascii() and digits.isdigit()
    if flag.kind == "duration":
        duration_s(value)
    elif (flag.kind == "number" and not number) or (flag.kind == "bool" and value not in ("true", "false")):
        raise UsageError(f'invalid value "{value}" for flag -{name}: parse error')
