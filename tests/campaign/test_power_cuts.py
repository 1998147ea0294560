"""The power fails at any moment of an upgrade, and the machine comes up by itself.

How many states are looked at, and how many are booted for real, is said by SKERRY_CUTS and SKERRY_CUT_BOOTS;
`make campaign` says more than `make test`. The figures are left in build/campaign.json.
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
        figures = campaign.run(cuts(campaign.epochs, seed=SEED, sampled=SAMPLED))
    told = {
        "cuts": dict(figures.cuts), "versions": dict(figures.versions), "steps": dict(figures.steps),
        "epochs": figures.epochs, "writes": figures.writes, "written_bytes": figures.written_bytes,
        "next_runs": figures.converged, "seconds": round(figures.seconds, 1), "bad": len(figures.bad),
        "seed": SEED,
    }  # fmt: skip
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(told, indent=1) + "\n")
    assert figures.bad == []
    assert sum(figures.cuts.values()) == figures.epochs + 1 + SAMPLED
    assert set(figures.versions) == {BEFORE, recording.releases.after.version}
    assert {"planned", "fetching", "written", "verified", "staged", "blessed"} <= set(figures.steps)
    assert figures.converged


def test_some_are_booted_for_real(recording: Recording, lab: Lab, scratch: Path) -> None:
    booted: list[str | None] = []

    def boot(_: Cut, verdict: Verdict) -> None:
        spec = NodeSpec(f"cut{len(booted)}", updates.settings(1), disk=DISK)
        node = lab.add(spec, "qemu", NodeImage(campaign.disk, None))
        assert isinstance(node, QemuNode)
        try:
            node.start()
            node.wait_ready(timeout_s=300)
            assert updates.version(node) == verdict.version
            assert node.read(f"/var{MARK}") == MARK_TEXT.decode()
            booted.append(verdict.version)
        finally:
            node.kill_power()

    with Campaign(recording, scratch) as campaign:
        every = list(cuts(campaign.epochs, seed=SEED, sampled=SAMPLED))
        chosen = [every[len(every) * (number + 1) // (BOOTS + 1)] for number in range(BOOTS)]
        assert campaign.run(chosen, each=boot).bad == []
    assert len(booted) == BOOTS


@pytest.fixture(scope="module")
def judged(recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    """A disk in the state between the commit and the bless: two kernels, two slots."""
    found: list[int] = []

    def look(cut: Cut, verdict: Verdict) -> None:
        if len(verdict.menu) == 2 and not found:
            found.append(cut.epoch)

    first, second = (tmp_path_factory.mktemp("judged") for _ in range(2))
    with Campaign(recording, first) as campaign:
        campaign.run([Cut(number, "flushed") for number in range(len(campaign.epochs))], each=look)
    shutil.rmtree(first)
    with Campaign(recording, second) as campaign:
        campaign.run([Cut(found[0], "flushed")])
        yield Judged(campaign)
    shutil.rmtree(second)


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
