"""From what a channel offers to all that `stage` needs: the plan, its costs, and what speaks against it.

Looks at the disk, the signed documents and the merge of /etc; changes nothing of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.host.update import back, obstacles, reboot
from skerry.host.update.errors import RefusedError
from skerry.host.update.packages import compare
from skerry.host.update.plan import Goal, steps
from skerry.host.update.preview import Preview
from skerry.host.update.source import Have
from skerry.host.update.wish import not_permitted
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from skerry.host.update.around import EtcPreview, EtcStager
    from skerry.host.update.disk import Disk
    from skerry.host.update.keep import Keep
    from skerry.host.update.situation import Situation
    from skerry.host.update.source import Source
    from skerry.host.update.wish import Answer, Wish
    from skerry.image.release.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Prepared:
    """`manifest` is None where nothing is to be done; `have` is what the parts are made from."""

    preview: Preview
    manifest: Manifest | None
    source: Source
    have: tuple[Have, ...]


def prepare(now: Situation, answer: Answer, wish: Wish, disk: Disk, keep: Keep, etc: EtcStager) -> Prepared:
    """Plan what was offered. Raises RefusedError where a wish is not permitted, else SkerryError."""
    offer, source, channel = answer.offer, answer.source, answer.channel
    running = now.machine.running
    if offer.version is None:
        preview = Preview(
            running, None, channel, offer.why, offer.due, passed_over=offer.passed_over,
            obstacles=not_permitted(offer, wish),
        )  # fmt: skip
        if preview.obstacles:
            raise RefusedError(offer.why, hint=preview.obstacles[0].hint or None)
        return Prepared(preview, None, source, ())
    manifest = source.manifest(channel, offer.version)
    goal = Goal(manifest.version, now.settings.extensions)
    planned = steps(now, goal)
    before = manifest_of(running, source, channel, keep)
    have = parts_here(now, before, disk, keep)
    names = ("root", "uki", *(f"extension:{name}" for name in goal.extensions))
    there = {part.name for part in manifest.parts}
    filled = now.there.label == now.label(manifest.version)
    costs = source.costs(manifest, [n for n in names if n in there], have) if planned else ()
    merged = _preview_etc(now, source, manifest, etc) if planned else None
    against = (
        *obstacles.of_host(now, asked=wish.asked),
        *obstacles.of_release(now, manifest, costs, merged, fill=bool(planned) and not filled),
    )
    preview = Preview(
        running, manifest.version, channel, offer.why, offer.due,
        slot=now.there.name, staged=not planned, obstacles=against, steps=planned, parts=costs,
        fetch=sum(cost.fetch for cost in costs), room=obstacles.room_for(now, manifest, costs),
        packages=compare(before, manifest) if before else None, etc=merged,
        reboot=reboot.plan(now.settings, now.now, asked=False), notes=manifest.notes,
        published=manifest.published, passed_over=offer.passed_over,
    )  # fmt: skip
    return Prepared(preview, manifest, source, have)


def manifest_of(version: str, source: Source, channel: str, keep: Keep) -> Manifest | None:
    """A version's manifest, as this host kept it or as the channel still has it; None where neither does."""
    kept = keep.manifest(version)
    if kept is not None:
        return kept
    try:
        return source.manifest(channel, version)
    except SkerryError:
        return None  # not of this channel, or not there any more


def parts_here(now: Situation, manifest: Manifest | None, disk: Disk, keep: Keep) -> tuple[Have, ...]:
    """The running version's parts; its manifest counts where it is of the very root that runs."""
    running, here = now.machine.running, now.here
    entry = now.entry(running)
    seal = back.sealed(disk.entry_path(entry)) if entry else None
    if here is None or entry is None or seal is None:
        return ()
    sha256 = None
    if manifest is not None:
        root = manifest.part("root")
        if root.verity is not None and root.verity.root_hash == seal.root_hash:
            sha256 = root.sha256
    uki = disk.entry_path(entry)
    size = seal.blocks * back.BLOCK_BYTES
    return (Have(running, here.root, here.verity, uki, size, sha256, keep.extensions / running),)


def _preview_etc(now: Situation, source: Source, manifest: Manifest, etc: EtcStager) -> EtcPreview | None:
    opened = source.etc_defaults(manifest)
    if opened is None:
        return None
    with opened as defaults:
        return etc.preview(defaults, manifest.version, now.machine.running)
