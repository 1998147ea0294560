"""Why an update does not start: all that speaks against it, each a sentence with its remedy. Pure.

An update does not start when it cannot end. Nothing here is tried out; what fails on the way is an error.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from skerry.host.update.journal import Step
from skerry.host.update.machine import Tried
from skerry.image.release.errors import DocumentError
from skerry.image.release.offer import suits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skerry.host.update.around import EtcPreview
    from skerry.host.update.situation import Situation
    from skerry.host.update.source import Cost
    from skerry.image.release.manifest import Manifest

MIB = 1 << 20
VAR_MARGIN = 32 * MIB
ESP_MARGIN = 1 * MIB


class Obstacle(msgspec.Struct, frozen=True):
    reason: str
    hint: str = ""


class Room(msgspec.Struct, frozen=True):
    """Bytes needed and free, in /var and on the ESP."""

    var_needed: int
    var_free: int
    esp_needed: int
    esp_free: int


def of_host(now: Situation, *, asked: bool) -> tuple[Obstacle, ...]:
    """What speaks against any update. `asked`: a person did, so that probation does not hold it."""
    found: list[Obstacle] = []
    running = now.machine.running
    if now.trouble:
        found.append(Obstacle(now.trouble, "look at `journalctl -k`, and replace the disk if it fails"))
    if now.now < now.machine.built:
        day = time.strftime("%Y-%m-%d", time.gmtime(now.now))
        made = time.strftime("%Y-%m-%d", time.gmtime(now.machine.built))
        found.append(
            Obstacle(
                f"the clock says {day}, and this image was made {made}", "set the clock, see timedatectl"
            )
        )
    if now.here is None:
        found.append(
            Obstacle(
                f"no slot has the label of {running}, which runs",
                "the partition table was changed by hand: restore the label, or install anew",
            )
        )
    # Counted out, but not by us: it is in its last try.
    last = now.tried(running) is Tried.OUT and now.state.previous != running
    if now.state.step is Step.TRYING or last or now.tried(running) in (Tried.BEGUN, Tried.NOT_YET):
        found.append(Obstacle(f"{running} is still being tried", "wait until it is blessed"))
    elif not asked and now.state.on_probation(now.now):
        found.append(Obstacle(f"{running} is on probation, and the other slot its way back", "wait an hour"))
    if now.state.step is Step.REBOOTING and now.state.boot_id == now.machine.boot_id:
        found.append(Obstacle("a reboot is on its way", "wait for it, or `systemctl reboot`"))
    return tuple(found)


def of_release(
    now: Situation, manifest: Manifest, costs: Sequence[Cost], etc: EtcPreview | None, *, fill: bool
) -> tuple[Obstacle, ...]:
    """What speaks against one release here; `fill`: its slot is yet to be filled."""
    found: list[Obstacle] = []
    machine, state, slot = now.machine, now.state, now.there
    why = suits(manifest, name=machine.name, architecture=machine.architecture)
    if why is not None:
        found.append(Obstacle(why, "choose a channel of this image: `skerry host channel set`"))
    if state.pinned is not None and state.pinned != manifest.version:
        found.append(Obstacle(f"this host is pinned to {state.pinned}", "`skerry host unpin` lets go"))
    root = next((part for part in manifest.parts if part.name == "root"), None)
    if root is None or root.verity is None or all(part.name != "uki" for part in manifest.parts):
        found.append(Obstacle(f"{manifest.version} lacks a root or a UKI", "its publisher has to mend it"))
    elif root.size > slot.root_size or verity_size(root.verity.blocks) > slot.verity_size:
        found.append(
            Obstacle(
                f"slot {slot.name} has {slot.root_size // MIB} MiB, and the root needs "
                f"{-(-root.size // MIB)} MiB",
                "slots do not grow: install this version on a new disk",
            )
        )
    for name in now.settings.extensions:
        try:
            manifest.part(f"extension:{name}")
        except DocumentError:
            said = f"{manifest.version} has no extension {name}, which this host's settings want"
            found.append(Obstacle(said, "have it published, or take it out of `extensions` in update.toml"))
    if fill:
        room = room_for(now, manifest, costs)
        if room.var_needed > room.var_free:
            found.append(
                _no_room("/var", room.var_needed, room.var_free, "remove images or volumes you do not need")
            )
        if room.esp_needed > room.esp_free:
            found.append(
                _no_room("the ESP", room.esp_needed, room.esp_free, "remove what is not Skerry's from /efi")
            )
    if etc is not None and etc.refused:
        paths = ", ".join(f"/etc/{change.path}" for change in etc.conflicts[:3])
        more = f" and {len(etc.conflicts) - 3} more" if len(etc.conflicts) > 3 else ""
        found.append(
            Obstacle(
                f"{paths}{more}: changed here and in {manifest.version}, and etc_conflicts is refuse",
                "settle them (`skerry etc diff`), or set etc_conflicts to mine or theirs",
            )
        )
    return tuple(found)


def room_for(now: Situation, manifest: Manifest, costs: Sequence[Cost]) -> Room:
    """The room that an update needs, with what it will free counted as free."""
    uki = next((part.size for part in manifest.parts if part.name == "uki"), 0)
    extensions = sum(cost.size for cost in costs if cost.part.startswith("extension:"))
    var = sum(cost.fetch for cost in costs) + uki + extensions + VAR_MARGIN
    return Room(var, now.var_free, uki + ESP_MARGIN, now.esp_free + _freed(now, manifest.version))


def verity_size(blocks: int) -> int:
    """Bytes of a hash device: superblock, and the levels of its tree."""
    total, level = 1, blocks
    while level > 1:
        level = -(-level // 128)
        total += level
    return total * 4096


def _freed(now: Situation, version: str) -> int:
    """Bytes on the ESP of the entries that go before the new one comes."""
    gone = {now.there.label, now.label(version)}
    return sum(now.entry_sizes.get(entry.file, 0) for entry in now.entries if entry.label in gone)


def _no_room(where: str, needed: int, free: int, hint: str) -> Obstacle:
    return Obstacle(
        f"{where} has {free // MIB} MiB free, and this update needs {-(-needed // MIB)} MiB", hint
    )
