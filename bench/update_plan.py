"""What `skerry host upgrade --plan` and the staging itself cost: CPU seconds, memory, signed metadata.

The pair of images of update_bytes.py is published in a signed repository and served on the loopback; a host
of files runs the older one. It asks as a host does, by the command line, with a new process each time.

    update_plan.py [BEFORE AFTER]       directories of two images that are there already
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from harness import RESULTS, report
from updates.measure import cost
from updates.pair import Side, compose
from updates.served import serve

SOURCES = Path(__file__).resolve().parents[1]
sys.path.append(str(SOURCES / "tests"))

from fakes.clock import FakeClock  # noqa: E402
from fakes.gpt import make_disk  # noqa: E402
from fakes.releases import Releases  # noqa: E402
from skerry.image.compose import etc_defaults  # noqa: E402
from skerry.image.compose.build import Store  # noqa: E402
from skerry.image.content import publish  # noqa: E402
from skerry.image.release import changes  # noqa: E402
from skerry.image.release.manifest import Blob, Disk, Manifest, Package  # noqa: E402
from skerry.kit.clock import SystemClock  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

    from updates.measure import Cost
    from updates.served import Served

PROGRAM = Path(__file__).resolve().parent / "programs" / "update_host.py"
MIB = 1 << 20
SLOT, VERITY = 512 * MIB, 16 * MIB
PLANS = 3
PLAN_GOAL_S = 3


def published(before: Side, after: Side, directory: Path) -> Releases:
    """A repository with both; of the older only what a host asks for is made with care."""
    releases = Releases(directory, FakeClock(now=SystemClock().now()))
    put(releases, before, [], directory, level=1)
    put(releases, after, publish.image_older(before.directory, before.version), directory)
    return releases


def put(
    releases: Releases, side: Side, older: Sequence[publish.Older], directory: Path, level: int | None = None
) -> None:
    raw = publish.image_parts(side.directory, side.root_hash)
    # With the usual level: where `skerry release publish` has made them already.
    if level is None:
        made = publish.parts_of(raw, older, Store().cache / "releases")
    else:
        made = publish.parts_of(raw, older, directory / "made", level=level)
    files = {blob: one.files[blob.sha256] for one in made for blob in one.part.blobs}
    etc = etc_of(side, directory)
    blob = Blob(publish.sha256_of(etc), etc.stat().st_size)
    for wanted, path in {**files, blob: etc}.items():
        releases.repository.add_blob(path, wanted)
    packages = msgspec.json.decode(side.path("packages.json").read_bytes())
    manifest = Manifest(
        "skerry", side.version, "trixie", "amd64", side.kernel, tuple(one.part for one in made), etc=blob,
        packages=tuple(Package(one["name"], one["version"], int(one.get("size", 0))) for one in packages),
        disk=Disk(512 * MIB, SLOT, VERITY),
    )  # fmt: skip
    change = changes.publish(releases.state(), "stable", manifest, None, releases.clock.now(), [])
    releases.apply(change)


def etc_of(side: Side, directory: Path) -> Path:
    etc = directory / f"{side.version}.etc.tar.zst"
    etc_defaults.write_etc(side.path("tree.tar"), etc)
    return etc


def host(side: Side, releases: Releases, directory: Path) -> Path:
    """A host of files that runs this image from slot A."""
    for number in range(1, 7):
        (directory / f"part{number}").touch()
    for number, file, size in (
        (2, "root.erofs", SLOT),
        (3, "root.verity", VERITY),
        (4, "", SLOT),
        (5, "", VERITY),
    ):
        part = directory / f"part{number}"
        if file:
            shutil.copyfile(side.path(file), part)
        os.truncate(part, size)
    entries = directory / "esp/EFI/Linux"
    entries.mkdir(parents=True)
    shutil.copyfile(side.path("skerry.efi"), entries / f"skerry_{side.version}.efi")
    labels = (
        "esp",
        f"skerry_{side.version}",
        f"skerry_{side.version}_verity",
        "_empty",
        "_empty",
        "skerry_data",
    )
    make_disk(directory / "disk", labels, each=SLOT // 512)
    trust = directory / "usr/lib/skerry/trust"
    trust.mkdir(parents=True)
    (trust / "root.json").write_bytes(releases.first_root)
    (directory / "version").write_text(side.version)
    for name in (side.version, f"{side.version}.defaults"):
        tree = directory / "etc" / name
        tree.mkdir(parents=True)
        etc = releases.directory / f"{side.version}.etc.tar.zst"
        subprocess.run(["tar", "--zstd", "-x", "-f", etc, "-C", tree], check=True)
    return directory


def asked(words: Sequence[str], where: Path, served: Served) -> tuple[Cost, int]:
    """One call of `skerry host`, and the bytes that it fetched."""
    served.reset()
    used = cost([sys.executable, PROGRAM, where, f"{served.url}/repository", *words])
    return used, served.bytes


def main() -> None:
    kept = RESULTS / "updates"
    kept.mkdir(parents=True, exist_ok=True)
    before, after = map(Side, map(Path, sys.argv[1:3])) if len(sys.argv) == 3 else compose(kept)
    with tempfile.TemporaryDirectory(dir=kept, prefix="plan-") as name:
        releases = published(before, after, Path(name))
        (where := Path(name, "host")).mkdir()
        host(before, releases, where)
        with serve(Path(name)) as served:
            plans = [asked(["upgrade", "--plan"], where, served) for _ in range(PLANS)]
            show(where, f"{served.url}/repository", "upgrade", "--plan")
            staged, fetched = asked(["upgrade", "--stage"], where, served)
            show(where, f"{served.url}/repository", "history")
    taken = {"upgrade --plan": [one.cpu_s for one, _ in plans], "upgrade --stage": [staged.cpu_s]}
    report("update_plan_cpu", "CPU s", {"upgrade --plan": taken["upgrade --plan"]}, goal=PLAN_GOAL_S)
    report("update_stage_cpu", "CPU s", {"upgrade --stage": taken["upgrade --stage"]})
    peaks = {"upgrade --stage": [staged.peak / MIB], "upgrade --plan": [plans[0][0].peak / MIB]}
    report("update_stage_memory", "MiB at most, Python and TUF in it", peaks)
    wire = {"first plan": [plans[0][1] / 1e3], "next plan": [plans[1][1] / 1e3], "stage": [fetched / 1e3]}
    report("update_plan_bytes", "kB fetched", wire)


def show(where: Path, url: str, *words: str) -> None:
    """What a person sees."""
    subprocess.run([sys.executable, PROGRAM, where, url, *words], check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
