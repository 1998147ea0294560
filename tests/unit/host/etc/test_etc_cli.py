"""`skerry etc`: what differs, what an update made of it, and conflicts settled by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from fakes.clock import FakeClock
from fakes.trees import file, link, tree, write
from skerry.entry.cli.etc import etc
from skerry.host.etc.actions import Policy
from skerry.host.etc.hands import Hands
from skerry.host.etc.stage import Stager, first_boot
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = "2026.10.0", "2026.11.0"
OLD_DEFAULTS = {"app.conf": "a\nb\nc\n", "issue": "old\n", "passwd": "root:x:0:0::/root:/bin/bash\n"}
YOURS = {
    "app.conf": "a\nmine\nc\n", "issue": "old\n", "secret.conf": file("hush\n", 0o600),
    "passwd": "root:x:0:0::/root:/bin/sh\ncore:x:1000:1000::/home/core:/bin/bash\n",
}  # fmt: skip
NEW_DEFAULTS = {
    "app.conf": "a\ntheirs\nc\n", "issue": "new\n", "d/one": "1\n", "d/two": "2\n", "link": link("d/one"),
    "passwd": "root:x:0:0::/root:/bin/zsh\n",
}  # fmt: skip


class NoSync(Hands):
    """Syncing costs a test nothing."""

    def sync(self) -> None:
        pass


class Machine:
    """A host that was updated to NEW, in a directory."""

    def __init__(self, root: Path, policy: Policy = Policy.MINE) -> None:
        self.root, state = root, root / "var/lib/skerry/etc"
        state.mkdir(parents=True)
        (root / "usr/lib").mkdir(parents=True)
        (root / "usr/lib/os-release").write_text(f'ID=skerry\nIMAGE_VERSION="{NEW}"\n')
        write(tree(OLD_DEFAULTS), state / f"{OLD}.defaults")
        write(tree(YOURS), state / OLD)
        write(tree(NEW_DEFAULTS), root / "etc")
        Stager(FakeClock(), state, state / OLD, frozenset(), NoSync()).stage(NEW, OLD, policy)
        first_boot(NEW, state, root / "etc", 0.0, NoSync())
        (root / "etc").rename(root / "sealed")
        NoSync().copy(state / NEW, root / "etc")

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        result = CliRunner().invoke(etc, ["--root", str(self.root), *arguments], input=stdin)
        if result.exception is not None:
            raise result.exception
        return result.stdout

    def read(self, path: str) -> str:
        return (self.root / "etc" / path).read_text()

    def has(self, path: str) -> bool:
        return (self.root / "etc" / path).exists()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def paths_and_what(text: str) -> dict[str, str]:
    return {line.split()[0]: line.split()[1] for line in text.splitlines()[1:]}


def test_diff_shows_what_you_changed(machine: Machine) -> None:
    assert paths_and_what(machine.run("diff")) == {
        "app.conf": "content",
        "app.conf.skerry-new": "added",
        "passwd": "content",
        "passwd.skerry-new": "added",
        "secret.conf": "added",
    }


def test_a_patch_shows_lines_but_never_a_secret(machine: Machine) -> None:
    (machine.root / "etc/d/one").chmod(0o600)
    (machine.root / "etc/d/one").write_text("password\n")
    text = machine.run("diff", "--patch")
    assert "--- defaults/app.conf\n+++ /etc/app.conf\n@@ -1,3 +1,3 @@\n a\n-theirs\n+mine\n c\n" in text
    assert "secret.conf differs: added (its content is not shown)" in text
    assert "d/one differs: content, mode (its content is not shown)" in text
    assert "hush" not in text
    assert "password" not in text


def test_diff_in_json(machine: Machine) -> None:
    found = {one["path"]: one for one in json.loads(machine.run("diff", "--json", "-p"))}
    assert found["app.conf"]["what"] == ["content"]
    assert "+mine" in found["app.conf"]["patch"]
    assert found["secret.conf"]["secret"] is True


def test_show_tells_what_the_update_did(machine: Machine) -> None:
    found = json.loads(machine.run("show", "--json"))
    results = {change["path"]: change["result"] for change in found["report"]["changes"]}
    assert results["issue"] == "updated"
    assert results["app.conf"] == results["passwd"] == "conflict"
    assert [one["path"] for one in found["open"]] == ["app.conf", "passwd"]


def test_show_in_words(machine: Machine) -> None:
    lines = machine.run("show").splitlines()
    assert lines[0].split() == ["PATH", "RESULT", "WHY"]
    assert any(line.split()[:2] == ["app.conf", "conflict"] for line in lines)


def test_a_version_without_a_report_is_said(machine: Machine) -> None:
    with pytest.raises(SkerryError, match=r"no report of 2026\.9\.0"):
        machine.run("show", "2026.9.0")


@pytest.mark.parametrize(
    ("policy", "choice", "text"),
    [
        (Policy.MINE, "mine", "a\nmine\nc\n"),
        (Policy.MINE, "theirs", "a\ntheirs\nc\n"),
        (Policy.THEIRS, "mine", "a\nmine\nc\n"),
        (Policy.THEIRS, "theirs", "a\ntheirs\nc\n"),
    ],
)
def test_a_conflict_is_settled(tmp_path: Path, policy: Policy, choice: str, text: str) -> None:
    machine = Machine(tmp_path, policy)
    machine.run("merge", "/etc/app.conf", "--take", choice)
    assert machine.read("app.conf") == text
    assert not machine.has("app.conf.skerry-new")
    assert not machine.has("app.conf.skerry-mine")
    assert [one["path"] for one in json.loads(machine.run("show", "--json"))["open"]] == ["passwd"]


def test_a_dry_run_changes_nothing(machine: Machine) -> None:
    (step,) = json.loads(machine.run("merge", "app.conf", "--take", "theirs", "--dry-run", "--json"))
    assert step == {"do": "replace", "path": "app.conf", "why": "the new default is taken", "done": False}
    assert machine.read("app.conf") == "a\nmine\nc\n"


def test_both_sides_are_shown_with_their_base(machine: Machine) -> None:
    assert machine.run("merge", "app.conf") == (
        "a\n<<<<<<< yours\nmine\n||||||| old default\nb\n=======\ntheirs\n>>>>>>> new default\nc\n"
    )


@pytest.mark.parametrize("policy", [Policy.MINE, Policy.THEIRS])
def test_the_sides_have_their_names_under_both_policies(tmp_path: Path, policy: Policy) -> None:
    assert "<<<<<<< yours\nmine\n" in Machine(tmp_path, policy).run("merge", "app.conf")


def test_what_was_edited_elsewhere_is_taken(machine: Machine) -> None:
    (machine.root / "etc/app.conf").chmod(0o640)
    machine.run("merge", "app.conf", "--file", "-", stdin="a\nboth\nc\n")
    assert machine.read("app.conf") == "a\nboth\nc\n"
    assert (machine.root / "etc/app.conf").stat().st_mode & 0o7777 == 0o640
    assert not machine.has("app.conf.skerry-new")


def test_an_editor_is_started(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    editor = machine.root / "editor"
    editor.write_text("#!/bin/sh\nexec sed -i -e '/^[<|=>]/d' -e /theirs/d \"$1\"\n")
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    machine.run("merge", "app.conf", "--take", "edit")
    assert machine.read("app.conf") == "a\nmine\nb\nc\n"


def test_markers_are_not_taken(machine: Machine) -> None:
    with pytest.raises(SkerryError, match="still has conflict markers"):
        machine.run("merge", "app.conf", "--file", "-", stdin=machine.run("merge", "app.conf"))
    assert machine.has("app.conf.skerry-new")


def test_users_are_not_replaced_by_the_defaults(machine: Machine) -> None:
    with pytest.raises(SkerryError, match="not replaced as a whole"):
        machine.run("merge", "passwd", "--take", "theirs")
    assert "core" in machine.read("passwd")


def test_a_path_without_a_conflict_is_said(machine: Machine) -> None:
    with pytest.raises(SkerryError, match="no open conflict at /etc/issue"):
        machine.run("merge", "issue", "--take", "mine")


@pytest.mark.parametrize("path", ["../var", "/var/lib"])
def test_a_path_outside_is_refused(machine: Machine, path: str) -> None:
    with pytest.raises(SkerryError, match="is not in"):
        machine.run("reset", path)


def test_reset_brings_a_directory_back_and_leaves_what_is_yours(machine: Machine) -> None:
    (machine.root / "etc/d/one").write_text("mine\n")
    (machine.root / "etc/d/two").unlink()
    (machine.root / "etc/d/own").write_text("own\n")
    (machine.root / "etc/d").chmod(0o700)
    said = machine.run("reset", "d").splitlines()
    assert said == [
        "replace /etc/d: it differs", "replace /etc/d/one: it differs", "replace /etc/d/two: you deleted it"
    ]  # fmt: skip
    assert (machine.read("d/one"), machine.read("d/two"), machine.read("d/own")) == ("1\n", "2\n", "own\n")
    assert (machine.root / "etc/d").stat().st_mode & 0o7777 == 0o755
    assert machine.run("reset", "d", "--json") == "[]\n"


def test_reset_brings_a_link_back(machine: Machine) -> None:
    (machine.root / "etc/link").unlink()
    (machine.root / "etc/link").write_text("mine\n")
    machine.run("reset", "link")
    assert str((machine.root / "etc/link").readlink()) == "d/one"


@pytest.mark.parametrize(
    ("path", "why"),
    [("passwd", "holds your users"), ("secret.conf", "none of this version's defaults")],
)
def test_reset_refuses(machine: Machine, path: str, why: str) -> None:
    with pytest.raises(SkerryError, match=why):
        machine.run("reset", path)


def test_reset_does_not_remove_a_directory_of_yours(machine: Machine) -> None:
    (machine.root / "etc/issue").unlink()
    (machine.root / "etc/issue").mkdir()
    with pytest.raises(SkerryError, match="is a directory of yours"):
        machine.run("reset", "issue")


def test_elsewhere_than_on_a_host_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/os-release").write_text("ID=debian\n")
    result = CliRunner().invoke(etc, ["--root", str(tmp_path), "diff"])
    assert isinstance(result.exception, SkerryError)
    assert "Skerry host" in (result.exception.hint or "")
