"""The power fails at any moment of an upgrade, and the machine comes up by itself.

SKERRY_CUTS says how many states between flushes are looked at; SKERRY_CUT_BOOTS, how many are booted beside
the one whose superblock is torn; `make campaign` says more than `make test`. The figures are left in
build/campaign.json.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from skerry_lab import gpt, updates
from skerry_lab.blocklog import Cut, cuts
from skerry_lab.campaign import DISK, MARK, MARK_TEXT, Campaign
from skerry_lab.fat import Fat
from skerry_lab.node import NodeImage, NodeSpec
from skerry_lab.qemu import QemuNode
from skerry_lab.repository import BEFORE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from skerry_lab.campaign import Recording
    from skerry_lab.diskcheck import Verdict
    from skerry_lab.lab import Lab

pytestmark = pytest.mark.timeout(int(os.environ.get("SKERRY_CAMPAIGN_TIMEOUT_S", "1800")))
SEED = int(os.environ.get("SKERRY_CUT_SEED", "1"))
SAMPLED = int(os.environ.get("SKERRY_CUTS", "1000"))
BOOTS = int(os.environ.get("SKERRY_CUT_BOOTS", "1"))
FIGURES = Path(__file__).parents[2] / "build" / "campaign.json"
MIB = 1 << 20


def test_every_cut_leaves_a_machine_that_comes_up(recording: Recording, scratch: Path) -> None:
    with Campaign(recording, scratch) as campaign:
        superblocks = campaign.torn_superblocks()
        figures = campaign.run(in_order([*cuts(campaign.epochs, seed=SEED, sampled=SAMPLED), *superblocks]))
    told = {
        "cuts": dict(figures.cuts), "versions": dict(figures.versions), "steps": dict(figures.steps),
        "epochs": figures.epochs, "writes": figures.writes, "written_bytes": figures.written_bytes,
        "next_runs": figures.converged, "seconds": round(figures.seconds, 1), "bad": len(figures.bad),
        "seed": SEED,
    }  # fmt: skip
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(told, indent=1) + "\n")
    assert figures.bad == []
    assert sum(figures.cuts.values()) == figures.epochs + 1 + SAMPLED + len(superblocks)
    assert superblocks
    assert set(figures.versions) == {BEFORE, recording.releases.after.version}
    assert {"planned", "fetching", "written", "verified", "staged", "blessed"} <= set(figures.steps)
    assert figures.converged


def in_order(chosen: list[Cut]) -> list[Cut]:
    """As one replay meets them."""
    return sorted(chosen, key=lambda cut: cut.epoch)


def test_some_are_booted_for_real(recording: Recording, lab: Lab, scratch: Path) -> None:
    booted: list[str | None] = []

    def boot(cut: Cut, verdict: Verdict) -> None:
        spec = NodeSpec(f"cut{len(booted)}", updates.settings(1), disk=DISK)
        node = lab.add(spec, "qemu", NodeImage(campaign.disk, None))
        assert isinstance(node, QemuNode)
        try:
            node.start()
            node.wait_ready(timeout_s=300)
            assert updates.version(node) == verdict.version
            assert node.read(f"/var{MARK}") == MARK_TEXT.decode()
            mended = "its copy is taken" in node.run(["dmesg"]).text
            assert mended == (cut.kind == "superblock")
            booted.append(verdict.version)
        finally:
            node.kill_power()

    with Campaign(recording, scratch) as campaign:
        every = list(cuts(campaign.epochs, seed=SEED, sampled=SAMPLED))
        chosen = [every[len(every) * (number + 1) // (BOOTS + 1)] for number in range(BOOTS)]
        # In the middle of what it writes of the new version.
        chosen.append(campaign.torn_superblocks()[-2])
        assert campaign.run(in_order(chosen), each=boot).bad == []
    assert len(booted) == BOOTS + 1


@pytest.fixture(scope="module")
def judged(recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    """A disk in the state between the commit and the bless: two kernels, two slots."""
    directory = tmp_path_factory.mktemp("judged")
    with Campaign(recording, directory) as campaign:
        campaign.run(until_two_kernels(campaign))
        yield Judged(campaign)
    shutil.rmtree(directory)


def until_two_kernels(campaign: Campaign) -> Iterator[Cut]:
    """The boundaries up to the first at which there are two to choose from."""
    for epoch in campaign.epochs:
        yield Cut(epoch.number, "flushed")
        if len(campaign.verdict_with().menu) == 2:
            return
    pytest.fail("no boundary has two kernels")


class Judged:
    """Breaks that disk, and asks for the verdict."""

    def __init__(self, campaign: Campaign) -> None:
        self.campaign = campaign

    def after(self, break_at: int, data: bytes) -> Verdict:
        return self.campaign.verdict_with((break_at, data))

    def partition(self, number: int) -> gpt.Partition:
        with self.campaign.disk.open("rb") as disk:
            return next(p for p in gpt.read(disk.fileno()).partitions if p.number == number)

    def kernel(self, ending: str) -> int:
        """Where the kernel whose file ends so has its first cluster."""
        with self.campaign.disk.open("rb") as disk:
            fat = Fat(disk.fileno(), self.partition(1).start)
            (entry,) = (e for e in fat.list("EFI/Linux").values() if e.name.endswith(ending))
            return fat.place(entry)


def test_the_judge_sees_a_kernel_that_is_not_whole(judged: Judged) -> None:
    verdict = judged.after(judged.kernel("+3.efi") + 4096, b"x" * 512)
    assert any("not whole" in problem for problem in verdict.problems)


def test_the_judge_falls_back_from_a_slot_that_does_not_verify(judged: Judged) -> None:
    verdict = judged.after(judged.partition(4).start + 40 * MIB, b"x" * 512)
    assert (verdict.version, verdict.problems) == (BEFORE, ())


def test_the_judge_sees_that_nothing_is_left_to_boot(judged: Judged) -> None:
    verdict = judged.after(judged.partition(2).start + 40 * MIB, b"x" * 512)
    assert verdict.version is not None  # the new one is still first
    both = judged.campaign.verdict_with(
        (judged.partition(2).start + 40 * MIB, b"x" * 512), (judged.partition(4).start + 40 * MIB, b"x" * 512)
    )
    assert both.version is None
    assert both.problems


def test_the_judge_sees_that_no_table_is_whole(judged: Judged) -> None:
    assert judged.after(0, bytes(34 * 512)).problems == ()
    size = judged.campaign.disk.stat().st_size
    both = judged.campaign.verdict_with((0, bytes(34 * 512)), (size - 34 * 512, bytes(34 * 512)))
    assert "partition table" in both.problems[0]


def test_the_judge_sees_a_data_partition_beyond_repair(judged: Judged) -> None:
    verdict = judged.after(judged.partition(6).start, bytes(4 * MIB))
    assert any("e2fsck" in problem for problem in verdict.problems)
