"""What the pages tell to type can be typed: each `skerry` command exists, with the options it is given."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from skerry.entry.cli.main import cli
from skerry.host.update.settings import read_settings
from skerry.image.compose.recipe import keys

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*(ROOT / "docs/guide").glob("*.md"), *(ROOT / "docs/reference").glob("*.md"), ROOT / "README.md"]
)
TYPED = re.compile(r"^(?:[$#] |    )(?:sudo )?skerry (.*?)(?:\s+#.*)?$|`skerry ([^`]*)`", re.MULTILINE)


def typed(page: Path) -> list[str]:
    """The words after `skerry` of every command: behind a prompt or four blanks, or as code in a sentence."""
    return [typed or named for typed, named in TYPED.findall(page.read_text())]


def wrong(line: str) -> str | None:
    """What is not so in a command; a word in capitals stands for any argument, `…` for what is left out."""
    words = shlex.split(re.split(r"[;|<>]", line)[0])
    command: click.Command = cli
    if words[0] == "--context":
        words = words[2:]  # goes before every noun
    while words and isinstance(command, click.Group):
        if not re.fullmatch(r"[a-z][a-z-]*", words[0]):
            return None  # speaks of all of its verbs
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            return f"`skerry {line}`: there is no {words[0]}"
        command, words = found, words[1:]
    settings = command.context_settings
    if settings.get("ignore_unknown_options"):
        return None  # they are another program's
    known = {"-h", "--help"}
    known.update(*((*one.opts, *one.secondary_opts) for one in command.params))
    unknown = [word for word in words if re.match(r"--?[a-z]", word) and word.split("=")[0] not in known]
    return f"`skerry {line}`: there is no {', '.join(unknown)}" if unknown else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_guide_can_be_typed(page: Path) -> None:
    assert [said for said in map(wrong, typed(page)) if said] == []


@pytest.mark.parametrize("line", ["host upgrade --plam", "releases list", "release keys turn root"])
def test_a_command_that_is_not_there_is_found(line: str) -> None:
    assert wrong(line) is not None


def test_settings_in_the_guide_to_updates_are_good(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "guide" / "updates.md").read_text()
    examples = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert examples
    for text in examples:
        (tmp_path / "etc" / "skerry").mkdir(parents=True, exist_ok=True)
        (tmp_path / "etc" / "skerry" / "update.toml").write_text(text)
        read_settings(tmp_path)


def test_recipe_in_the_guide_to_releases_names_real_keys() -> None:
    page = (ROOT / "docs" / "guide" / "releases.md").read_text()
    table = re.findall(r"```toml\n\[update\]\n(.*?)```", page, re.DOTALL)[0]
    assert {f"update.{key}" for key in re.findall(r"^(\w+) =", table, re.MULTILINE)} <= keys()


@pytest.mark.parametrize("noun", ["host", "release"])
def test_a_page_has_every_verb_of_updates_and_releases(noun: str) -> None:
    command = cli.get_command(click.Context(cli), noun)
    assert isinstance(command, click.Group)
    pages = ("guide/updates.md", "reference/health.md", "guide/releases.md", "reference/release.md")
    said = "\n".join((ROOT / "docs" / page).read_text() for page in pages)
    assert [verb for verb in command.commands if not re.search(rf"\b{verb}\b", said)] == []


@pytest.mark.parametrize("noun", ["cluster", "context", "node", "token"])
def test_a_guide_has_every_verb_of_clusters(noun: str) -> None:
    context = click.Context(cli)
    command = cli.get_command(context, noun)
    assert isinstance(command, click.Group)
    said = "\n".join(page.read_text() for page in (ROOT / "docs/guide").glob("*.md"))
    verbs = command.list_commands(context)
    assert verbs
    assert [verb for verb in verbs if not re.search(rf"skerry {noun} {verb}\b", said)] == []
