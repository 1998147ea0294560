"""Settings written as TOML; the standard library only reads it."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Value: TypeAlias = "str | bool | int | float | list[Value] | dict[str, Value]"
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def render(settings: Mapping[str, Value]) -> str:
    """TOML that parses back to `settings`: plain keys first, then a section a table."""
    return "\n".join(_section(settings, ())) + "\n"


def _section(table: Mapping[str, Value], path: tuple[str, ...]) -> list[str]:
    lines = [f"[{'.'.join(map(_key, path))}]"] if path else []
    lines += [f"{_key(k)} = {_value(v)}" for k, v in table.items() if not isinstance(v, dict)]
    for name, value in table.items():
        if isinstance(value, dict):
            lines += ["", *_section(value, (*path, name))]
    return lines


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else text(name)


def text(value: str) -> str:
    """A basic string. JSON's escapes are all TOML's, but for U+007F, which TOML wants escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(value) if math.isfinite(value) else str(value)
        case str():
            return text(value)
        case list():
            return f"[{', '.join(map(_value, value))}]"
        case dict():
            return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + "}"
