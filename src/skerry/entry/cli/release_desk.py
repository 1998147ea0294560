"""What the verbs of `skerry release` share: where the repository and the keys are, and how a change is shown.

Passphrases come from SKERRY_PASSPHRASE, a file, or a question on the terminal; never from an argument, which
every user of the machine could read.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from skerry.kit.clock import SystemClock
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from skerry.image.release.changes import Change
    from skerry.image.release.keys import Keyring
    from skerry.image.release.publisher import Written
    from skerry.image.release.repository import Repository
    from skerry.image.release.state import State
    from skerry.kit.http import Json

F = TypeVar("F", bound="Callable[..., Any]")


class Desk:
    """One call's repository, keys, and manner of answering."""

    def __init__(
        self,
        repository: Path | None,
        keys: Path | None,
        passphrase_file: Path | None,
        *,
        as_json: bool,
        dry_run: bool = False,
        prepare: Path | None = None,
    ) -> None:
        self._repository = repository
        self._keys = keys
        self._passphrase_file = passphrase_file
        self.as_json = as_json
        self.dry_run = dry_run
        self.prepare = prepare

    @property
    def now(self) -> float:
        return SystemClock().now()

    @property
    def repository(self) -> Repository:
        from skerry.image.release.repository import Repository

        if self._repository is None:
            raise click.UsageError("which repository? Give --repository DIRECTORY, or set SKERRY_REPOSITORY")
        return Repository(self._repository)

    @property
    def has_keys(self) -> bool:
        return self._keys is not None

    @property
    def keys(self) -> Path:
        if self._keys is None:
            raise click.UsageError("where are the keys? Give --keys DIRECTORY, or set SKERRY_KEYS")
        return self._keys

    def keyring(self, *, rounds: int | None = None) -> Keyring:
        """The keys; with `rounds`, for making new ones."""
        from skerry.image.release.keys import ROUNDS, Keyring

        asking = passphrases(self._passphrase_file, new=rounds is not None)
        return Keyring(self.keys, asking, rounds=rounds or ROUNDS)

    def state(self, *, unsigned: bool = False) -> State:
        """The repository as it stands; descended from the pinned root where there are keys."""
        from skerry.image.release.publisher import pinned_root

        pinned = pinned_root(self.keyring()) if self._keys else None
        return self.repository.read(pinned, unsigned=unsigned)

    def rehearse(self, change: Change) -> None:
        """Refuse now what would be refused later. Raises PublishError."""
        from skerry.image.release import publisher

        if self.prepare is None:
            publisher.rehearse(self.repository, change, self.keyring(), self.now)

    def carry_out(self, change: Change, *, keyring: Keyring | None = None, **more: Json) -> None:
        """Do it, rehearse it or write it out for others to sign; and say what was done."""
        from skerry.image.release import offline, publisher

        if self.prepare is not None:
            offline.write(self.prepare, change, self.repository)
            self.answer(
                {"note": change.note, "prepared": str(self.prepare), "roles": list(change.metadata), **more},
                f"{change.note}: written to {self.prepare}, to be signed for {', '.join(change.metadata)}",
            )
            return
        ring = keyring or self.keyring()
        if self.dry_run:
            written = publisher.rehearse(self.repository, change, ring, self.now)
        else:
            written = publisher.carry_out(self.repository, change, ring, self.now)
        self.answer({**_facts(written), "dry_run": self.dry_run, **more}, self._told(written))

    def answer(self, facts: dict[str, Json], sentence: str) -> None:
        """The answer: JSON to stdout, or a sentence."""
        from skerry.entry.cli.output import emit_json

        if self.as_json:
            emit_json(facts)
        else:
            click.echo(sentence)

    def _told(self, written: Written) -> str:
        versions = ", ".join(f"{role} {number}" for role, number in written.versions.items())
        return f"{'would be done: ' if self.dry_run else ''}{written.note} ({versions})"


def reading(command: F) -> F:
    """Options of a verb that only looks: --repository, --keys, --json."""
    return _with_desk(command, _LOOK)


def changing(command: F) -> F:
    """Options of a verb that changes something: the same, --dry-run, --prepare, --passphrase-file."""
    return _with_desk(command, (*_LOOK, *_CHANGE))


def passphrases(file: Path | None, *, new: bool = False) -> Callable[[str], str]:
    """Asks for a key's passphrase by the key's name; of new keys once for all of them, twice to be sure."""
    given = _given(file)
    if given is not None:
        return lambda _name: given

    @functools.lru_cache
    def asked(name: str) -> str:
        if not os.isatty(0):
            raise SkerryError(
                f"the passphrase of {name} is needed, and nobody can be asked",
                hint="set SKERRY_PASSPHRASE, or name a file with --passphrase-file",
            )
        answer: str = click.prompt(
            f"Passphrase of {name}", hide_input=True, err=True, confirmation_prompt=new
        )
        return answer

    return (lambda _name: asked("the new keys")) if new else asked


def _given(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get("SKERRY_PASSPHRASE") or None
    try:
        text = file.read_text().rstrip("\n")
    except OSError as error:
        raise SkerryError(f"cannot read {file}: {error.strerror}") from error
    if not text:
        raise SkerryError(f"{file} is empty", hint="it must hold the passphrase and nothing else")
    return text


def _facts(written: Written) -> dict[str, Json]:
    return {
        "note": written.note,
        "versions": dict(written.versions),
        "metadata_bytes": written.metadata_bytes,
    }


_LOOK = (
    click.option(
        "-r", "--repository", type=click.Path(file_okay=False, path_type=Path), envvar="SKERRY_REPOSITORY",
        help="The repository's directory; else $SKERRY_REPOSITORY.",
    ),
    click.option(
        "-k", "--keys", type=click.Path(file_okay=False, path_type=Path), envvar="SKERRY_KEYS",
        help="The directory of the keys; else $SKERRY_KEYS.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Answer in JSON."),
)  # fmt: skip
_CHANGE = (
    click.option(
        "--passphrase-file", type=click.Path(dir_okay=False, path_type=Path),
        help="Holds the passphrase of the keys; else $SKERRY_PASSPHRASE, else you are asked.",
    ),
    click.option("--dry-run", is_flag=True, help="Check everything, change nothing."),
    click.option(
        "--prepare", type=click.Path(file_okay=False, path_type=Path), metavar="DIRECTORY",
        help="Sign nothing; write the change there, to be signed where the keys are.",
    ),
)  # fmt: skip


def _with_desk(command: F, options: tuple[Callable[[F], F], ...]) -> F:
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        repository: Path | None,
        keys: Path | None,
        as_json: bool,
        passphrase_file: Path | None = None,
        dry_run: bool = False,
        prepare: Path | None = None,
        **more: Any,
    ) -> Any:
        desk = Desk(repository, keys, passphrase_file, as_json=as_json, dry_run=dry_run, prepare=prepare)
        return command(desk, *args, **more)

    decorated: Any = wrapped
    for option in reversed(options):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]
