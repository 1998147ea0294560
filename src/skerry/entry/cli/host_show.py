"""How updates are shown to people: the preview, packages, times, the part of `status`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from skerry.entry.cli.output import RED, YELLOW, colour, emit_json, show_size, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from skerry.host.update.packages import PackageChanges
    from skerry.host.update.preview import Preview
    from skerry.kit.http import Json

FEW = 12


def emit(value: object, **more: object) -> None:
    """A value of ours as JSON; `more` are fields beside its own, where they are not None."""
    plain = msgspec.to_builtins(value)
    if isinstance(plain, dict):
        plain.update({key: msgspec.to_builtins(one) for key, one in more.items() if one is not None})
    emit_json(plain)


def show_time(when: float) -> str:
    """2026-11-21 05:06 in the machine's zone."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))


def show_preview(preview: Preview) -> None:
    """All that an update would do."""
    if preview.target is None:
        print(preview.why)
        for passed in preview.passed_over:
            print(f"  {passed.version}: {passed.why}")
        return
    _row("Update", f"{preview.running} → {preview.target} (channel {preview.channel})")
    _row("Why", preview.why)
    if preview.notes:
        _row("Notes", preview.notes.strip().splitlines()[0])
    if preview.staged:
        _row("State", f"it is in slot {preview.slot} already, and is tried at the next boot")
    for number, part in enumerate(preview.parts):
        said = f"{part.part} {show_size(part.fetch)} by {part.kind} of {show_size(part.size)} ({part.why})"
        _row("Download" if not number else "", said)
    if preview.parts:
        _row("", f"{show_size(preview.fetch)} in all")
    if preview.room is not None and preview.parts:
        room = preview.room
        _row("Room", f"/var {show_size(room.var_needed)} of {show_size(room.var_free)} free")
        _row("", f"ESP {show_size(room.esp_needed)} of {show_size(room.esp_free)} free")
    if preview.etc is not None:
        counts: dict[str, int] = {}
        for change in preview.etc.changes:
            counts[change.result] = counts.get(change.result, 0) + 1
        told = ", ".join(f"{number} {result}" for result, number in counts.items())
        _row("/etc", told or "nothing changes")
        for change in preview.etc.conflicts:
            _row("", f"{colour('conflict', YELLOW)} /etc/{change.path}: {change.why}")
    for number, step in enumerate(preview.steps, 1):
        _row("Steps" if number == 1 else "", f"{number}. {step.what}: {step.why}")
    if preview.reboot is not None:
        when = (
            f" ({show_time(preview.reboot.when)})" if preview.reboot.when and not preview.reboot.now else ""
        )
        _row("Reboot", ("at once: " if preview.reboot.now else "not by itself: " if not when else "later: ")
             + preview.reboot.why + when)  # fmt: skip
    if preview.packages is not None:
        print()
        show_packages(preview.packages)
    for obstacle in preview.obstacles:
        print()
        print(f"{colour('It does not start:', RED)} {obstacle.reason}")
        if obstacle.hint:
            print(f"  {obstacle.hint}")


def show_packages(changes: PackageChanges, *, full: bool = False) -> None:
    """Packages that come, go and change."""
    print(
        f"Packages from {changes.before} to {changes.after}: {len(changes.changed)} changed, "
        f"{len(changes.added)} added, {len(changes.removed)} removed ({_signed(changes.grows)})"
    )
    if changes.kernel_before != changes.kernel_after:
        print(f"Kernel {changes.kernel_before} → {changes.kernel_after}")
    rows = [
        (one.name, one.before, one.after, _signed(one.grows))
        for one in (*changes.changed, *changes.added, *changes.removed)
    ]
    if rows:
        table(rows if full else rows[:FEW], ("package", "before", "after", "size"))
    if len(rows) > FEW and not full:
        print(f"… and {len(rows) - FEW} more: `skerry host changes {changes.after}`")


def status_rows(update: Mapping[str, Json]) -> list[tuple[str, str]]:
    """The lines of `skerry host status` about updates, from the API's answer."""
    rows: list[tuple[str, str]] = []
    slots = update.get("slots")
    for slot in slots if isinstance(slots, list) else []:
        if isinstance(slot, dict):
            version = str(slot["version"] or "empty")
            marks = [word for word in ("verified", "running") if slot.get(word)]
            if version == update.get("pinned"):
                marks.append("pinned")
            refused = update.get("refused")
            if isinstance(refused, dict) and version in refused:
                marks.append("refused")
            rows.append((f"Slot {slot['name']}", version + (f" ({', '.join(marks)})" if marks else "")))
    rows.append(("Update", _update(update)))
    if update.get("pinned"):
        rows.append(("Pinned", f"to {update['pinned']}"))
    if update.get("repository"):
        rows.append(("Channel", f"{update['channel']} of {update['repository']}, {update['strategy']}"))
    rows.append(("Checked", _checked(update.get("checked"))))
    refused = update.get("refused")
    for version, refusal in (refused if isinstance(refused, dict) else {}).items():
        if isinstance(refusal, dict):
            rows.append(
                ("Refused", f"{version}: {refusal['reason']} ({show_time(_number(refusal['when']))})")
            )
    if update.get("problem"):
        rows.append(("Updates", str(update["problem"])))
    return rows


def _update(update: Mapping[str, Json]) -> str:
    step, target, reason = (str(update.get(key) or "") for key in ("step", "target", "reason"))
    until = update.get("probation_until")
    words = step.replace("-", " ")
    if target:
        words += f", {target}"
    if step == "blessed" and until:
        words += f", on probation until {show_time(_number(until))}"
    return words + (f": {reason}" if reason else "")


def _checked(checked: Json) -> str:
    if not isinstance(checked, dict):
        return ""
    said = str(checked.get("error") or checked.get("why") or "")
    return f"{show_time(_number(checked['when']))}: {said}"


def _number(value: Json) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _signed(size: int) -> str:
    return f"{'+' if size >= 0 else '-'}{show_size(abs(size))}"


def _row(name: str, text: str) -> None:
    print(f"{name + ':' if name else '':>10} {text}")
