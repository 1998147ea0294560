"""Two images of the shipped recipe, as a host meets them: the release pocket alone, then all pockets."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.image.compose.build import DEFAULT_RECIPE, Store, build

if TYPE_CHECKING:
    from pathlib import Path

BEFORE = """\
format = 1
base = "{base}"
version = "{version}"

[packages]
pockets = ["release"]
"""
BEFORE_VERSION = "2026.9.0"  # no version of the lab's, whose image it would replace


@dataclass(frozen=True)
class Side:
    """One of the two: `directory` has root.erofs, root.verity, skerry.efi, tree.tar, packages.json."""

    directory: Path

    def path(self, file: str) -> Path:
        return self.directory / file

    @property
    def version(self) -> str:
        return str(self._about["version"])

    @property
    def root_hash(self) -> str:
        return str(self._about["root_hash"])

    @property
    def kernel(self) -> str:
        return str(self._about["kernel"])

    @property
    def packages(self) -> dict[str, str]:
        found = json.loads(self.path("packages.json").read_bytes())
        return {package["name"]: package["version"] for package in found}

    @property
    def _about(self) -> dict[str, object]:
        return dict(json.loads(self.path("image.json").read_bytes()))


def compose(directory: Path) -> tuple[Side, Side]:
    """Compose both; what is in the cache already is used."""
    directory.mkdir(parents=True, exist_ok=True)
    recipe = directory / "before.toml"
    recipe.write_text(BEFORE.format(base=DEFAULT_RECIPE.resolve(), version=BEFORE_VERSION))
    store = Store()
    before, after = build(recipe), build()
    return Side(store.path(before.label)), Side(store.path(after.label))


def difference(before: Side, after: Side) -> str:
    """What is between them, in a line."""
    old, new = before.packages, after.packages
    changed = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    return f"{before.version} to {after.version}: {len(changed)} packages differ: {', '.join(changed)}"
