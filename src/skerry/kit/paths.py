"""Where Skerry keeps what it can make again (cache) and what a lab made (state) on a workstation."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """$SKERRY_CACHE, else skerry in the user's cache directory. Safe to delete at any time."""
    chosen = os.environ.get("SKERRY_CACHE")
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "skerry"


def lab_dir() -> Path:
    """$SKERRY_LAB, else skerry/lab in the user's state directory: one folder a lab."""
    chosen = os.environ.get("SKERRY_LAB")
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    return Path(base) / "skerry" / "lab"
