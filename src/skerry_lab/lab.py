"""A lab: nodes, a registry and a network on this machine, made together and removed together.

    with Lab.create("try", images, root=lab_dir()) as lab:
        node = lab.add(NodeSpec("one"), "qemu")
        node.start()
        node.wait_ready()

Every command may open a lab that another one made: all that is needed stands in its directory.
"""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING, Self

import msgspec

from skerry.kit.files import write_atomic
from skerry.kit.paths import cache_dir, lab_dir
from skerry.kit.progress import Reporter, silent
from skerry_lab import registry
from skerry_lab.cloudconfig import MIRROR_PATH, mirror_settings, with_lab
from skerry_lab.errors import LabError
from skerry_lab.images import build_images
from skerry_lab.network import GATEWAY, Cable, make_network, plug
from skerry_lab.node import Node, NodeImage, NodeSpec
from skerry_lab.nspawn import NspawnNode, nspawn_trees, require_root, unpack_tree
from skerry_lab.qemu import HOST_FROM_INSIDE, QemuNode
from skerry_lab.segment import SETTINGS_PATH, Port, port
from skerry_lab.ssh import make_key
from skerry_lab.state import LabState, create, open_state, path_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from skerry_lab.oci import Image

KINDS = ("qemu", "nspawn")


class KeptNode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What nodes/<name>/node.json keeps, so that another command finds the node again."""

    kind: str
    number: int
    spec: NodeSpec
    tree: str = ""
    namespace: str = ""
    address: str = ""


class Lab:
    """See the module."""

    def __init__(self, state: LabState, *, report: Reporter = silent) -> None:
        self.state = state
        self.name = state.name
        self._report = report
        self._images: tuple[Image, ...] | None = None

    @classmethod
    def create(cls, name: str, *, root: Path | None = None, report: Reporter = silent) -> Lab:
        """Begin a lab. Raises LabError where there is one of that name, or the name will not do."""
        if not name.replace("-", "").isalnum() or not name.isascii():
            raise LabError(f"{name!r} is no name for a lab", hint="use letters, digits and -")
        return cls(create((root or lab_dir()) / name, name), report=report)

    @classmethod
    def open(cls, name: str, *, root: Path | None = None) -> Lab:
        """The lab of that name. Raises LabError where there is none."""
        return cls(open_state((root or lab_dir()) / name))

    def add(self, spec: NodeSpec, kind: str, image: NodeImage) -> Node:
        """Make a node, switched off. Raises LabError."""
        directory = self.state.directory / "nodes" / spec.name
        with self.state.locked():
            if directory.exists():
                raise LabError(f"lab {self.name} has a node {spec.name} already")
            number = len(list(directory.parent.glob("*"))) if directory.parent.exists() else 0
            if kind == "nspawn":
                return self._add_nspawn(spec, image, number)
            if kind == "qemu":
                return self._add_qemu(spec, image, number)
        raise LabError(f"there is no kind of node {kind!r}", hint=f"there are {' and '.join(KINDS)}")

    def node(self, name: str) -> Node:
        """A node of the lab by its name. Raises LabError where it has none such."""
        directory = self.state.directory / "nodes" / name
        try:
            kept = msgspec.json.decode((directory / "node.json").read_bytes(), type=KeptNode)
        except FileNotFoundError:
            names = ", ".join(self.names()) or "none"
            raise LabError(f"lab {self.name} has no node {name}", hint=f"it has {names}") from None
        if kept.kind == "qemu":
            return QemuNode(kept.spec, self.state, self._port(kept.spec, kept.number))
        return self._nspawn(kept)

    def names(self) -> list[str]:
        """The names of its nodes, sorted."""
        return sorted(path.parent.name for path in (self.state.directory / "nodes").glob("*/node.json"))

    def nodes(self) -> list[Node]:
        return [self.node(name) for name in self.names()]

    def down(self) -> None:
        """End and remove everything the lab made. Can be repeated after an interruption."""
        with self.state.locked():
            self.state.undo()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def _add_qemu(self, spec: NodeSpec, image: NodeImage, number: int) -> Node:
        if image.disk is None:
            raise LabError("this image has no disk for a virtual machine")
        seen = f"{HOST_FROM_INSIDE}:{self._registry(None, '127.0.0.1')}"
        make_key(self.state.directory / "key")
        wired = self._port(spec, number)
        files = {} if wired is None else {SETTINGS_PATH: wired.settings}
        document = (
            with_lab(spec.cloud_config, hostname=spec.name, registry=seen, files=files)
            if spec.wrap
            else spec.cloud_config
        )
        node = QemuNode(spec, self.state, wired)
        node.directory.mkdir(parents=True)
        node.prepare(image.disk, document)
        self._keep(node, KeptNode("qemu", number, spec))
        return node

    def _add_nspawn(self, spec: NodeSpec, image: NodeImage, number: int) -> Node:
        require_root()
        if image.tree is None:
            raise LabError("this image has no tree for an nspawn node")
        tree = unpack_tree(image.tree)
        port = self._registry(make_network(self.state), GATEWAY)
        cable = plug(self.state, number)
        kept = KeptNode("nspawn", number, spec, str(tree), cable.namespace, cable.address)
        node = self._nspawn(kept)
        node.directory.mkdir(parents=True)
        seen = f"{GATEWAY}:{port}"
        document = (
            with_lab(spec.cloud_config, hostname=spec.name, registry=seen) if spec.wrap else spec.cloud_config
        )
        node.prepare(document, {MIRROR_PATH: mirror_settings(seen), **spec.files})
        self._keep(node, kept)
        return node

    def _port(self, spec: NodeSpec, number: int) -> Port | None:
        return port(self.state.mark, number) if spec.segment else None

    def _nspawn(self, kept: KeptNode) -> NspawnNode:
        from pathlib import Path

        cable = Cable(kept.namespace, path_of(kept.namespace), kept.address)
        return NspawnNode(kept.spec.name, self.state, Path(kept.tree), cable, kept.number)

    def _keep(self, node: Node, kept: KeptNode) -> None:
        write_atomic(node.directory / "node.json", msgspec.json.encode(kept))

    def _registry(self, inside: Path | None, address: str) -> int:
        """The port of the registry in one of the two networks; started when first wanted."""
        what = f"registry {address}"
        kept = self.state.directory / f"{what.replace(' ', '-')}.port"
        if kept.exists() and any(w == what and p.alive() for w, p in self.state.processes()):
            return int(kept.read_text())
        if self._images is None:
            self._images = build_images(report=self._report)
        made = registry.start(self.state, self._images, inside=inside, address=address)
        write_atomic(kept, str(made.port))
        return made.port


def labs(root: Path | None = None) -> Iterator[Lab]:
    """Every lab on this machine, by name; damaged ones are passed over."""
    for directory in sorted((root or lab_dir()).glob("*/lab.jsonl")):
        with contextlib.suppress(LabError):
            yield Lab(open_state(directory.parent))


def forget_trees() -> None:
    """Remove the unpacked trees on which no node stands, of whatever lab."""
    used = nspawn_trees()
    for tree in (cache_dir() / "lab" / "trees").glob("*"):
        if str(tree) not in used:
            shutil.rmtree(tree, ignore_errors=True)
