"""`skerry release init|refresh|renew|keys|channel`: who may sign, and for how long it holds."""

from __future__ import annotations

import hashlib
import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skerry.entry.cli.release_desk import Desk, changing, reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from securesystemslib.signer import Key  # type: ignore[import-untyped]

    from skerry.kit.http import Json

rounds_option = click.option(
    "--rounds", type=click.IntRange(1000), default=600_000, show_default=True,
    help="How often passphrases of new keys are hashed: slow to open is slow to guess.",
)  # fmt: skip
DEFAULT_CHANNELS = ("alpha", "beta", "stable")
_PAIR = re.compile(r"([a-z][a-z0-9-]*)=(.+)")
_TIME = re.compile(r"(\d+)([hd])")


@click.command()
@changing
@rounds_option
@click.option(
    "--channel", "channels", multiple=True, help="A channel; alpha, beta and stable where none is given."
)
@click.option(
    "--count", multiple=True, metavar="ROLE=N", help="Make N keys for a role; root has 3, others have 1."
)
@click.option("--threshold", multiple=True, metavar="ROLE=N", help="How many of them sign; root 2, others 1.")
@click.option(
    "--public", multiple=True, metavar="ROLE=FILE", help="Use this public key (PEM) for a role; make none."
)
@click.option(
    "--valid", multiple=True, metavar="ROLE=TIME",
    help="How long signatures of a role hold, as in timestamp=3d or channel=90d.",
)  # fmt: skip
def init(
    desk: Desk,
    channels: tuple[str, ...],
    count: tuple[str, ...],
    threshold: tuple[str, ...],
    public: tuple[str, ...],
    valid: tuple[str, ...],
    rounds: int,
) -> None:
    """Make a repository, and the keys of its roles.

    Keys are made in the directory of keys, each with your passphrase: root's (any 2 of 3 sign), targets',
    snapshot's, timestamp's, and one for each channel. Move root's and targets' to a place that is on no
    network; the others stay with whoever publishes. The file root.json beside them goes into your images.
    """
    from skerry.image.release import changes, roles
    from skerry.image.release.channel import check_name
    from skerry.image.release.errors import PublishError

    names = channels or DEFAULT_CHANNELS
    for name in names:
        check_name(name)
    if desk.repository.exists:
        raise PublishError(
            f"{desk.repository.directory} holds a repository already",
            hint="`skerry release show` tells about it; keys are changed with `skerry release keys rotate`",
        )
    every = (*roles.TOP_LEVEL, *names)
    counts = {role: 3 if role == roles.ROOT else 1 for role in every} | _numbers(count, every)
    thresholds = {role: 2 if role == roles.ROOT else 1 for role in every} | _numbers(threshold, every)
    holding = times(valid, every)
    given = _publics(public, every)
    for role in every:
        have = len(given.get(role, ())) or counts[role]
        if not 1 <= thresholds[role] <= have:
            raise PublishError(
                f"{role} cannot need {thresholds[role]} of {have} keys", hint="see --count and --threshold"
            )
    if desk.dry_run:
        made = [name for role in every if role not in given for name in _names(role, counts[role])]
        desk.answer({"dry_run": True, "keys": [*made]}, f"would make the keys {', '.join(made)}")
        return
    ring = desk.keyring(rounds=rounds)
    keys = {role: given.get(role) or [ring.make(n) for n in _names(role, counts[role])] for role in every}
    change = changes.create(keys, thresholds, names, desk.now, holding)
    root = str(desk.keys / "root.json")
    desk.carry_out(change, keyring=ring, root=root, channels=[*names])
    if not desk.as_json and desk.prepare is None:
        from skerry.entry.cli.output import say

        digest = hashlib.sha256(Path(root).read_bytes()).hexdigest()
        say(
            f"{root} goes into your images (SHA-256 {digest[:16]}…); "
            "keep root's and targets' keys where no network is"
        )


@click.command()
@click.option(
    "--mend", is_flag=True,
    help="Sign targets, too, whoever signed before: after `keys rotate --stolen` was interrupted.",
)  # fmt: skip
@changing
def refresh(desk: Desk, *, mend: bool) -> None:
    """Sign the timestamp anew, and the snapshot where half of its time is over. For cron, daily.

    Only the keys of these two are needed. Warns of roles whose time ends soon.
    """
    from skerry.entry.cli.output import warn
    from skerry.image.release import changes, roles

    if mend:
        desk.carry_out(changes.mend(desk.state(unsigned=True), desk.now))
    else:
        desk.carry_out(changes.Change("the timestamp is fresh"))
    for role, metadata in desk.state().every().items():
        ends = roles.expires_at(metadata.signed)
        if role not in roles.ONLINE and ends - desk.now < roles.valid_s(metadata.signed, role) * 0.3:
            said = "is good until" if ends > desk.now else "expired, and hosts take nothing of it, on"
            warn(f"{role} {said} {roles.day(ends)}: skerry release renew {role}")


@click.command()
@click.argument("roles_", metavar="ROLE...", nargs=-1, required=True)
@click.option("--valid", metavar="TIME", help="From now on, its signatures hold for so long: 90d.")
@changing
def renew(desk: Desk, roles_: tuple[str, ...], valid: str | None) -> None:
    """Sign root, targets or a channel again, before its time ends."""
    from skerry.image.release import changes, roles

    offline = [role for role in roles_ if role not in roles.ONLINE]
    given = times([f"{role}={valid}" for role in roles_], roles_) if valid else {}
    change = changes.renew(desk.state(), offline, desk.now, given)
    online = {role: given[role] for role in roles.ONLINE if role in given}
    desk.carry_out(changes.Change(f"{', '.join(roles_)} signed again", change.metadata, {}, online))


@click.group()
def keys() -> None:
    """The keys of each role: list them, and change them."""


@keys.command("list")
@reading
def keys_list(desk: Desk) -> None:
    """List the roles: how many of which keys sign, which of them are here, and until when it holds."""
    from skerry.entry.cli.output import emit_json, table
    from skerry.image.release import roles

    state = desk.state()
    here = {one.key.keyid: one for one in desk.keyring().list()} if desk.has_keys else {}
    facts: list[Json] = []
    rows = []
    for role, metadata in state.every().items():
        entry = state.delegator(role).get_delegated_role(role)
        names = [here[keyid].name if keyid in here else keyid[:12] for keyid in entry.keyids]
        private = [here[keyid].name for keyid in entry.keyids if keyid in here and here[keyid].private]
        ends = roles.expires_at(metadata.signed)
        facts.append(
            {
                "role": role, "version": metadata.signed.version, "threshold": entry.threshold,
                "keys": [*entry.keyids], "here": [*private], "expires": ends,
                "expired": ends <= desk.now,
            }
        )  # fmt: skip
        over = "expired " if ends <= desk.now else ""
        needed = f"{entry.threshold} of {len(names)}"
        rows.append(
            (
                role,
                str(metadata.signed.version),
                needed,
                ",".join(names),
                ",".join(private),
                over + roles.day(ends),
            )
        )
    if desk.as_json:
        emit_json(facts)
    else:
        table(rows, ("role", "version", "sign", "keys", "here", "until"))


@keys.command("rotate")
@rounds_option
@click.argument("role")
@click.option("--count", type=click.IntRange(1), help="How many new keys; as many as there are.")
@click.option("--threshold", type=click.IntRange(1), help="How many of them sign; as many as now.")
@click.option(
    "--public", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Use this public key (PEM); make none.",
)  # fmt: skip
@click.option("--keep", multiple=True, metavar="NAME", help="Keep this key of those the role has.")
@click.option(
    "--stolen", is_flag=True,
    help="The old keys are in the wrong hands: sign nothing with them any more (but root by root's).",
)  # fmt: skip
@changing
def rotate(
    desk: Desk,
    role: str,
    count: int | None,
    threshold: int | None,
    public: tuple[Path, ...],
    keep: tuple[str, ...],
    rounds: int,
    *,
    stolen: bool,
) -> None:
    """Give ROLE new keys: root, targets, snapshot, timestamp or a channel.

    Root's old keys must agree, whatever the role (a channel's: those of targets). Hosts follow by themselves,
    from root to root.
    """
    from skerry.image.release import changes, roles
    from skerry.image.release.errors import PublishError
    from skerry.image.release.keys import read_public

    state = desk.state()
    if role not in roles.TOP_LEVEL:
        state.document(role)
    entry = state.delegator(role).get_delegated_role(role)
    ring = desk.keyring()
    named = {one.name: one.key for one in ring.list()}
    for name in keep:
        if name not in named or named[name].keyid not in entry.keyids:
            raise PublishError(f"{name} is not a key of {role}", hint="see `skerry release keys list`")
    chosen: list[Key] = [named[name] for name in keep] + [read_public(file) for file in public]
    wanted = count if count is not None else (0 if public else len(entry.keyids) - len(keep))
    fresh = _fresh_names(role, wanted, named)
    if desk.dry_run:
        desk.answer(
            {"dry_run": True, "role": role, "keys": [*fresh]},
            f"would make the keys {', '.join(fresh) or 'none'} for {role}",
        )
        return
    # The keys that have to agree are asked for before others are made.
    desk.rehearse(changes.renew(state, [roles.ROOT if role in roles.TOP_LEVEL else roles.TARGETS], desk.now))
    maker = desk.keyring(rounds=rounds)
    chosen += [maker.make(name) for name in fresh]
    change = changes.rotate(state, role, chosen, threshold or entry.threshold, desk.now, stolen=stolen)
    desk.carry_out(change, keys=[*fresh])


@click.group()
def channel() -> None:
    """The channels of a repository."""


@channel.command("add")
@rounds_option
@click.argument("name")
@click.option("--threshold", type=click.IntRange(1), default=1, show_default=True)
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, help="How many keys to make.")
@click.option(
    "--public", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Use this public key (PEM); make none.",
)  # fmt: skip
@changing
def channel_add(
    desk: Desk, name: str, threshold: int, count: int, public: tuple[Path, ...], rounds: int
) -> None:
    """Add a channel with keys of its own; signed by targets."""
    from skerry.image.release import changes, roles
    from skerry.image.release.channel import check_name
    from skerry.image.release.keys import read_public

    check_name(name)
    state = desk.state()
    fresh = [] if public else _fresh_names(name, count, {one.name: one.key for one in desk.keyring().list()})
    if desk.dry_run:
        desk.answer({"dry_run": True, "keys": [*fresh]}, f"would make the keys {', '.join(fresh)}")
        return
    chosen = [read_public(file) for file in public]
    desk.rehearse(changes.renew(state, [roles.TARGETS], desk.now))
    maker = desk.keyring(rounds=rounds)
    if name not in state.documents:
        chosen += [maker.make(one) for one in fresh]
    desk.carry_out(changes.add_channel(state, name, chosen, threshold, desk.now), keys=[*fresh])


def times(pairs: Iterable[str], known: Sequence[str]) -> dict[str, float]:
    """ROLE=90d, as seconds by role; "channel" means all of them. Misuse (exit 2) where one cannot be read."""
    found: dict[str, float] = {}
    for role, text in _pairs(pairs, (*known, "channel")):
        found[role] = seconds(text)
        if not found[role]:
            raise click.UsageError(f"{role} has to be good for some time")
    return found


def seconds(text: str) -> float:
    """12h or 90d, in seconds. Misuse (exit 2) where it is neither."""
    said = _TIME.fullmatch(text)
    if said is None:
        raise click.UsageError(f"{text!r} is not a time; 12h and 90d are")
    return int(said[1]) * (3600.0 if said[2] == "h" else 86400.0)


def _numbers(pairs: Iterable[str], known: Sequence[str]) -> dict[str, int]:
    found = {}
    for role, text in _pairs(pairs, known):
        if not text.isdigit():
            raise click.UsageError(f"{text!r} is not a number of keys")
        found[role] = int(text)
    return found


def _publics(pairs: Iterable[str], known: Sequence[str]) -> dict[str, list[Key]]:
    from skerry.image.release.keys import read_public

    found: dict[str, list[Key]] = {}
    for role, text in _pairs(pairs, known):
        found.setdefault(role, []).append(read_public(Path(text)))
    return found


def _pairs(pairs: Iterable[str], known: Sequence[str]) -> list[tuple[str, str]]:
    found = []
    for pair in pairs:
        said = _PAIR.fullmatch(pair)
        if said is None or said[1] not in known:
            raise click.UsageError(f"{pair!r} is not ROLE=…; the roles are {', '.join(known)}")
        found.append((said[1], said[2]))
    return found


def _names(role: str, count: int) -> list[str]:
    return [role] if count == 1 else [f"{role}-{number}" for number in range(1, count + 1)]


def _fresh_names(role: str, count: int, taken: Iterable[str]) -> list[str]:
    """Names for new keys of a role that are not taken: stable-2, stable-3 after stable."""
    used = {name for name in taken if name == role or name.startswith(f"{role}-")}
    if not used:
        return _names(role, count)
    numbers = (number for number in range(2, len(used) + count + 2) if f"{role}-{number}" not in used)
    return [f"{role}-{number}" for number in itertools.islice(numbers, count)]
