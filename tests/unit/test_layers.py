"""Imports point down, modules say what they are for, and no file outgrows its reader.

The five layers stand in the order of the alphabet, and each may import only those after it. The same holds
among the folders inside a layer, but for `entry/<module>.py` and the like: a module beside the folders
counts as a folder of its name. `skerry_lab` stands on top, yet sees of `entry` only the REST client, and
only `entry.cli` may reach up to it, and not when it is imported. Imports under TYPE_CHECKING count, too:
they are design.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

LAYERS = ("entry", "fleet", "host", "image", "kit")
LAB = "skerry_lab"
MOST_LINES = 500

SRC = Path(__file__).resolve().parents[2] / "src"
MODULES = sorted(SRC.rglob("*.py"))


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name, dotted and absolute, and where it stands."""

    name: str
    line: int
    lazy: bool  # inside a function or under TYPE_CHECKING: not when the module is imported


def imports_of(module: str, source: str, *, is_package: bool = False) -> list[Import]:
    """All imports in a module's source; `from a import b` counts as `a.b`, relative ones are resolved."""
    package = module if is_package else module.rpartition(".")[0]
    found: list[Import] = []

    def walk(node: ast.AST, *, lazy: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parent, *([node.module] if node.module else [])])
            found.extend(Import(f"{base}.{alias.name}", node.lineno, lazy) for alias in node.names)
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _is_for_types(node)
        for child in ast.iter_child_nodes(node):
            walk(child, lazy=lazy)

    walk(ast.parse(source), lazy=False)
    return found


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def why_not(module: str, seen: Import) -> str | None:
    """The reason why `module` must not import this, or None when it may."""
    importer, imported = module.split("."), seen.name.split(".")
    if imported[0] == LAB:
        in_cli = importer[:3] == ["skerry", "entry", "cli"]
        if importer[0] == LAB or (in_cli and seen.lazy):
            return None
        return "the lab stands on top: only entry.cli reaches up to it, in its functions"
    if imported[0] != "skerry" or len(imported) < 2 or imported[1] not in LAYERS:
        return None
    if importer[0] == LAB:
        allowed = imported[1] != "entry" or imported[1:4] == ["entry", "rest", "client"]
        return None if allowed else "the lab sees of entry only entry.rest.client"
    if len(importer) < 2:
        return None
    return _why_not_below(importer[1:], imported[1:])


def _why_not_below(importer: list[str], imported: list[str]) -> str | None:
    if importer[0] != imported[0]:
        if LAYERS.index(importer[0]) < LAYERS.index(imported[0]):
            return None
        return f"{imported[0]} lies above {importer[0]}"
    if importer[0] == "kit" or len(importer) < 2 or len(imported) < 2 or importer[1] <= imported[1]:
        return None
    return f"inside {importer[0]}, {imported[1]} lies above {importer[1]}"


def module_name(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def shown(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_imports_point_down(path: Path) -> None:
    module = module_name(path)
    seen = imports_of(module, path.read_text(), is_package=path.name == "__init__.py")
    refused = [f"{path}:{one.line}: {one.name}: {why}" for one in seen if (why := why_not(module, one))]
    assert refused == []


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_module_says_what_it_is_for(path: Path) -> None:
    assert (ast.get_docstring(ast.parse(path.read_text())) or "").strip()


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_module_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES


def test_every_folder_is_a_package() -> None:
    folders = {path.parent for path in MODULES}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_every_layer_is_one_of_five() -> None:
    assert sorted(path.name for path in (SRC / "skerry").iterdir() if (path / "__init__.py").exists()) == [
        *LAYERS
    ]


DOWN = [
    ("skerry.entry.cli.unit", "from skerry.kit import http"),
    ("skerry.entry.cli.unit", "from skerry.entry.rest import client"),
    ("skerry.entry.daemon.main", "import skerry.entry.rest.app"),
    ("skerry.fleet.agent.plan", "from skerry.fleet.store.interface import Store"),
    ("skerry.fleet.agent.plan", "from skerry.host.units import interface"),
    ("skerry.host.units.name", "from skerry.host.units.errors import UnitError"),
    ("skerry.host.units.name", "from .errors import UnitError"),
    ("skerry.kit.files", "from skerry.kit.errors import SkerryError"),
    ("skerry.kit.files", "import os, skerry"),
    ("skerry.entry.cli.lab", "def up():\n    import skerry_lab.node"),
    ("skerry.entry.cli.lab", "if TYPE_CHECKING:\n    from skerry_lab.node import Node"),
    ("skerry_lab.node", "from skerry.image.compose import disk"),
    ("skerry_lab.node", "from skerry.entry.rest.client import Client"),
    ("skerry_lab.node", "from skerry_lab import registry"),
]
UP = [
    ("skerry.kit.files", "from skerry.image import compose"),
    ("skerry.kit.files", "import skerry.entry.cli.main"),
    ("skerry.kit.files", "from skerry import entry"),
    ("skerry.kit.files", "from .. import host"),
    ("skerry.kit.files", "def late():\n    import skerry.host"),
    ("skerry.kit.files", "if TYPE_CHECKING:\n    from skerry.host.units import name"),
    ("skerry.host.units.name", "from skerry.fleet.store import interface"),
    ("skerry.host.units.name", "from skerry.host.provision import check"),
    ("skerry.fleet.store.sqlite", "from skerry.fleet.keys import tree"),
    ("skerry.fleet.store.sqlite", "from ..keys import tree"),
    ("skerry.entry.rest.app", "from skerry.entry.daemon import main"),
    ("skerry.entry.cli.lab", "import skerry_lab.node"),
    ("skerry.entry.cli.lab", "if terminal:\n    import skerry_lab.node"),
    ("skerry.host.units.name", "def late():\n    import skerry_lab"),
    ("skerry_lab.node", "from skerry.entry.cli import main"),
    ("skerry_lab.node", "from skerry.entry.rest import app"),
]


@pytest.mark.parametrize(("module", "source"), DOWN)
def test_the_rule_allows(module: str, source: str) -> None:
    assert [why_not(module, one) for one in imports_of(module, source)] == [None] * len(
        imports_of(module, source)
    )


@pytest.mark.parametrize(("module", "source"), UP)
def test_the_rule_refuses(module: str, source: str) -> None:
    assert all(why_not(module, one) for one in imports_of(module, source))


def test_a_relative_import_in_a_package_is_its_own() -> None:
    assert imports_of("skerry.host", "from .units import name", is_package=True)[0].name == (
        "skerry.host.units.name"
    )
