"""Which kernel modules stay: what is named, and what that needs, in an order to load them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.image.compose.inside.modules import choose, dependencies, name_of

DEP = """\
kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/fs/mbcache.ko.xz kernel/lib/crc16.ko.xz
kernel/fs/jbd2/jbd2.ko.xz:
kernel/fs/mbcache.ko.xz:
kernel/lib/crc16.ko.xz:
kernel/drivers/block/virtio_blk.ko.xz:
kernel/net/nf-tables.ko.xz:
"""
BUILTIN = {"loop"}


@pytest.mark.parametrize(
    ("path", "name"),
    [("kernel/fs/foo-bar.ko.xz", "foo_bar"), ("ext4.ko", "ext4"), ("kernel/loop.ko", "loop")],
)
def test_name_is_the_kernel_s(path: str, name: str) -> None:
    assert name_of(path) == name


@pytest.mark.parametrize(
    ("patterns", "chosen", "unknown"),
    [
        (["virtio_blk"], ["virtio_blk"], []),
        (["ext4"], ["crc16", "mbcache", "jbd2", "ext4"], []),
        (["ext4", "crc16"], ["crc16", "mbcache", "jbd2", "ext4"], []),
        (["nf_tables"], ["nf_tables"], []),
        (["nf-tables"], ["nf_tables"], []),
        (["virtio*", "nf?tables"], ["virtio_blk", "nf_tables"], []),
        (["loop"], [], []),
        (["ext5", "virtio_blk", "zz*"], ["virtio_blk"], ["ext5", "zz*"]),
        ([], [], []),
    ],
)
def test_chosen_modules(patterns: list[str], chosen: list[str], unknown: list[str]) -> None:
    paths, missing = choose(patterns, dependencies(DEP), BUILTIN)
    assert ([name_of(path) for path in paths], missing) == (chosen, unknown)


@st.composite
def _graphs(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    """Modules that need earlier ones, written as depmod does: all that is needed, nearest first."""
    direct: dict[str, list[str]] = {}
    for number in range(draw(st.integers(1, 8))):
        direct[f"m{number}.ko"] = draw(st.lists(st.sampled_from(sorted(direct) or ["m0.ko"]), unique=True))
    direct["m0.ko"] = []
    full: dict[str, tuple[str, ...]] = {}
    for path, needs in direct.items():
        order: list[str] = []
        for need in needs:
            order = [*[one for one in order if one not in {need, *full[need]}], need, *full[need]]
        full[path] = tuple(order)
    return full


@given(_graphs(), st.data())
def test_every_module_comes_after_those_it_needs(
    graph: dict[str, tuple[str, ...]], data: st.DataObject
) -> None:
    wanted = data.draw(st.lists(st.sampled_from([name_of(path) for path in graph]), unique=True))
    paths, _ = choose(wanted, graph, set())
    for number, path in enumerate(paths):
        assert set(graph[path]) <= set(paths[:number])
    assert len(set(paths)) == len(paths)
