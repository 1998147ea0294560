"""`skerry host health`: what was found when this machine was last looked at, or what is found now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from skerry.host.health.record import Record

SHOWN_LINES = 10


@click.command()
@click.option("--now", is_flag=True, help="Look now, at everything; it may take a minute.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def health(*, now: bool, as_json: bool) -> int:
    """Show whether this machine is well: its checks, and what followed from them.

    Without --now this reads what was found in this boot, or in the last one. Exits with 1 where something
    is wrong. Checks of your own go to /etc/skerry/health.d/required.d and wanted.d.
    """
    import msgspec

    from skerry.entry.cli.output import emit_json

    record = _look() if now else _read()
    if as_json:
        emit_json(msgspec.to_builtins(record))
    else:
        _show(record)
    return 1 if any(result.failed for result in record.results) else 0


def _look() -> Record:
    from skerry.entry.health import this_machine
    from skerry.host.health.decide import Trial
    from skerry.host.health.record import Occasion

    _need_root()
    record, _ = this_machine().look(Occasion.ASKED, Trial.NO)
    return record


def _read() -> Record:
    from skerry.host.health.boot import read_boot
    from skerry.host.health.record import Records
    from skerry.kit.errors import SkerryError

    _need_root()
    records = Records()
    found = records.of_boot(read_boot().id) or records.latest()
    if found is None:
        raise SkerryError("this machine was not looked at yet", hint="`skerry host health --now` looks")
    return found


def _need_root() -> None:
    import os

    from skerry.kit.errors import SkerryError

    if os.geteuid() != 0:
        raise SkerryError("the records of health are root's", hint="become root, for instance with run0")


def _show(record: Record) -> None:
    import time

    from skerry.entry.cli.output import GREEN, RED, YELLOW, colour, show_duration, table
    from skerry.host.health.check import Weight

    wrong = [result for result in record.results if result.failed]
    heavy = any(result.weight is not Weight.WANTED for result in wrong)
    word = colour("not healthy", RED) if heavy else colour("healthy", GREEN)
    if wrong and not heavy:
        word = colour("healthy, with remarks", YELLOW)
    ago = show_duration(max(0.0, time.time() - record.at))
    print(f"{'Health':>9}: {word}")
    print(f"{'Version':>9}: {record.version}")
    print(f"{'Looked':>9}: {ago} ago ({record.occasion}, in {show_duration(record.took_s)})")
    if record.decision != "good":
        print(f"{'Decided':>9}: {record.decision}: {record.reason}")
    print()
    table(
        [(result.name, result.weight, result.status, result.said) for result in record.results],
        ("check", "weight", "status", "said"),
        full=False,
    )
    for result in wrong:
        if result.output.strip():
            print(f"\n{result.name} wrote:")
            for line in result.output.strip().splitlines()[-SHOWN_LINES:]:
                print(f"  {line}")
