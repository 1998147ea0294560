"""The page about updates has every setting, state and verb."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from skerry.entry.cli.host import host
from skerry.host.update.journal import Step
from skerry.host.update.settings import UpdateSettings, WindowSettings, apply
from skerry.kit.toml_lines import parse

PAGE = (Path(__file__).resolve().parents[4] / "docs/reference/update.md").read_text()


def test_every_setting_and_state_and_verb_is_there() -> None:
    names = {field.name for kind in (UpdateSettings, WindowSettings) for field in fields(kind)}
    words = set(re.findall(r"[\w-]+", PAGE))
    assert (names | {step.value for step in Step} | set(host.commands)) - words == set()


def test_the_example_is_good() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    problems: list[object] = []
    apply(UpdateSettings(), parse(example, "update.toml"), problems)  # type: ignore[arg-type]
    assert problems == []
