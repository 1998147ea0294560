"""What is asked for, and what the channel offers: the answer is kept, for `skerry host status` to tell."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skerry.host.update.keep import Checked
from skerry.host.update.obstacles import Obstacle
from skerry.image.release.offer import Offer, Verdict, offered, permitted
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from skerry.host.update.keep import Keep
    from skerry.host.update.situation import Situation
    from skerry.host.update.source import Source


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: the newest of a channel, or a `version` by name. `asked`: by a person."""

    version: str | None = None
    channel: str | None = None
    force: bool = False
    allow_downgrade: bool = False
    asked: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """What a channel offers, and the source that it was heard from, refreshed."""

    offer: Offer
    source: Source
    channel: str


def ask(now: Situation, wish: Wish, open_source: Callable[[], Source], keep: Keep) -> Answer:
    """Ask the channel. Raises SkerryError where it cannot be asked or trusted."""
    name = wish.channel or now.settings.channel
    try:
        source = open_source()
        source.refresh()
        channel = source.channel(name)
    except SkerryError as error:
        _remember(keep, Checked(now.now, name, error=error.message))
        raise
    refused = {} if wish.force else {version: why.reason for version, why in now.state.refused.items()}
    running = now.machine.running
    if wish.version is not None:
        offer = permitted(
            channel, running, wish.version, allow_downgrade=wish.allow_downgrade, refused=refused
        )
    else:
        offer = offered(channel, running, now.machine.node, now.now, refused=refused)
        _remember(keep, Checked(now.now, name, offer.version, offer.why, offer.due))
    return Answer(offer, source, name)


def not_permitted(offer: Offer, wish: Wish) -> tuple[Obstacle, ...]:
    """What a person asked for by name and may not have, with the remedy."""
    if wish.version is None or offer.verdict is Verdict.CURRENT:
        return ()
    remedies = {
        Verdict.OLDER: "--allow-downgrade goes back to it; `skerry host rollback` chooses the other slot",
        Verdict.REFUSED: "--force tries it again",
        Verdict.UNKNOWN: "--channel chooses another channel",
        Verdict.NEEDS_STEP: "`skerry host upgrade` goes by the versions between",
    }
    return (Obstacle(offer.why, remedies.get(offer.verdict, "")),)


def _remember(keep: Keep, checked: Checked) -> None:
    with contextlib.suppress(OSError):
        keep.keep_checked(checked)
