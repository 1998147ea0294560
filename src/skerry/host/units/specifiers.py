"""fleet's four specifiers, in the sections that systemd does not read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skerry.host.units.name import UnitName


def expand(text: str, name: UnitName) -> str:
    """Replace fleet's specifiers as plain strings: %n, %N, %p and %i, nothing else."""
    if "%" not in text:
        return text
    table = {"%n": name.full, "%N": name.stem, "%p": name.prefix, "%i": name.instance or ""}
    return re.sub(r"%[nNpi]", lambda found: table[found.group()], text)
