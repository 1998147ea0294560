"""Which boot is on trial, and whether it has somewhere to go; the script that leaves it thinks the same."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.health_machine import ROOT_HASH, FakeMachine
from skerry.host.health.boot import Boot, entries, read_boot, still_counted, trial_of
from skerry.host.health.decide import Trial

BIN = Path(__file__).parents[4] / "os/rootfs/usr/lib/skerry/bin"
NO, WITH, WITHOUT = Trial.NO, Trial.WITH_FALLBACK, Trial.WITHOUT_FALLBACK


TRIALS = [
    ("", ["skerry_2.efi", "skerry_1.efi"], NO),
    ("skerry_2+2-1.efi", ["skerry_1.efi"], WITH),
    ("skerry_2+0-3.efi", ["skerry_1.efi"], WITH),
    ("skerry_2+2-1.efi", ["skerry_1+3.efi"], WITH),
    ("skerry_2+2-1.efi", [], WITHOUT),
    ("skerry_2+2-1.efi", ["skerry_1+0-3.efi"], WITHOUT),
    ("skerry_1+2-1.efi", ["skerry_2+0-0.efi"], WITH),  # an older version was asked for
    ("skerry_9+2-1.efi", ["skerry_10+0-0.efi"], WITH),
    ("skerry_10+2-1.efi", ["skerry_9+0.efi"], WITHOUT),
    ("skerry_2+2-1.efi", ["skerry_1.efi.new"], WITHOUT),
]


@pytest.mark.parametrize(("counted", "others", "expected"), TRIALS)
def test_what_a_boot_could_fall_back_to(
    tmp_path: Path, counted: str, others: list[str], expected: Trial
) -> None:
    laid_out = FakeMachine(tmp_path)
    if counted:
        laid_out.count(counted, *others)
    boot = read_boot(tmp_path)
    assert boot.counted == counted
    found = entries(tmp_path) if counted else ()
    assert trial_of(boot, found) is expected
    assert left(tmp_path) == (expected is WITH)


NAMES = st.builds(
    lambda version, left: f"skerry_{version}{left}.efi",
    st.sampled_from(["1", "2", "3", "2026.9.0", "2026.10.0"]),
    st.sampled_from(["", "+3", "+1-2", "+0", "+0-0", "+0-3"]),
)


@settings(deadline=None, max_examples=60)  # each starts a shell
@given(NAMES, st.lists(NAMES, max_size=3))
def test_the_shell_script_leaves_exactly_the_boots_that_have_somewhere_to_go(
    tmp_path_factory: pytest.TempPathFactory, mine: str, others: list[str]
) -> None:
    root = tmp_path_factory.mktemp("machine")
    laid_out = FakeMachine(root)
    laid_out.count(mine, *others)
    assert left(root) == (trial_of(read_boot(root), entries(root)) is WITH)


@pytest.mark.parametrize(("labels", "goes"), [(["skerry_2", "skerry_2_verity"], False), (["skerry_1"], True)])
def test_without_the_esp_a_filled_slot_says_whether_there_is_another_version(
    tmp_path: Path, labels: list[str], goes: bool
) -> None:
    laid_out = FakeMachine(tmp_path)
    laid_out.count("skerry_2+2-1.efi")
    (tmp_path / "efi").rename(tmp_path / "gone")
    for label in labels:
        laid_out.write(f"dev/disk/by-partlabel/{label}", "")
    assert left(tmp_path) is goes


def left(root: Path) -> bool:
    """Whether the script would reboot the machine that is laid out at `root`."""
    variable = root / "sys/firmware/efi/efivars/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
    argv = ["sh", str(BIN / "fall-back"), str(root / "efi/EFI/Linux"), str(variable)]
    argv += [str(root / "dev/disk/by-partlabel"), "echo leaving"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30)
    assert "this boot is not good" in done.stdout
    return "leaving" in done.stdout


def test_what_a_boot_says_of_itself(tmp_path: Path) -> None:
    FakeMachine(tmp_path).count("skerry_2+2-1.efi")
    expected = Boot("1b6d", "2", "skerry_2", ROOT_HASH, "skerry_2+2-1.efi")
    assert read_boot(tmp_path) == expected


def test_a_boot_is_blessed_when_its_entry_has_lost_the_counter(tmp_path: Path) -> None:
    FakeMachine(tmp_path).count("skerry_2+2-1.efi")
    boot = read_boot(tmp_path)
    assert still_counted(boot, tmp_path)
    (tmp_path / "efi/EFI/Linux/skerry_2+2-1.efi").rename(tmp_path / "efi/EFI/Linux/skerry_2.efi")
    assert not still_counted(boot, tmp_path)
