"""The verbs of `skerry host` over a host in memory: what they print, and how they end."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from fakes.update import NEW, OLD, FakeHost
from skerry.entry.cli.host import host as host_command
from skerry.entry.cli.host_channel import with_channel
from skerry.entry.cli.host_show import status_rows
from skerry.host.update.around import EtcChange, EtcPreview
from skerry.host.update.errors import BusyError, RefusedError
from skerry.host.update.journal import Step
from skerry.host.update.lock import held
from skerry.host.update.settings import Strategy
from skerry.host.update.status import read_status
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


def call(host: FakeHost, *words: str) -> Result:
    return CliRunner().invoke(host_command, list(words), obj=host.engine, standalone_mode=False)


def said(host: FakeHost, *words: str) -> str:
    result = call(host, *words)
    assert result.exception is None, result.exception
    return result.output


def test_check_tells_the_offer(host: FakeHost) -> None:
    assert f"{NEW} is the newest release" in said(host, "check")
    assert json.loads(said(host, "check", "--json"))["version"] == NEW


def test_the_plan_shows_everything_and_does_nothing(host: FakeHost) -> None:
    host.etc.answer = EtcPreview(
        changes=(EtcChange("hosts", "merged"), EtcChange("motd", "conflict")),
        conflicts=(EtcChange("motd", "conflict", "both changed it"),),
    )
    text = said(host, "upgrade", "--plan")
    for part in (f"{OLD} → {NEW}", "2.0 KiB in all", "podman", "1 merged", "/etc/motd: both changed it",
                 "fill slot B", "not by itself"):  # fmt: skip
        assert part in text
    assert host.fuse.effects == []


def test_a_plan_with_obstacles_ends_with_1(host: FakeHost) -> None:
    host.var_free = 0
    result = call(host, "upgrade", "--plan")
    assert "It does not start: /var has 0 MiB free" in result.output
    assert result.return_value == 1


def test_the_plan_as_json_has_the_same(host: FakeHost) -> None:
    found = json.loads(said(host, "upgrade", "--plan", "--json"))
    assert (found["target"], found["fetch"]) == (NEW, 2000)
    assert found["packages"]["changed"][0]["name"] == "podman"
    assert found["steps"][0]["do"] == "fetch"


def test_upgrade_stages_and_leaves_the_reboot_to_people(host: FakeHost) -> None:
    assert f"{NEW} is in slot B" in said(host, "upgrade")
    assert host.state.step is Step.WAITING
    assert not host.around.reboots


def test_upgrade_reboots_when_asked_or_at_once(host: FakeHost) -> None:
    host.settings = replace(host.settings, strategy=Strategy.IMMEDIATE)
    said(host, "upgrade", "--stage")
    assert not host.around.reboots
    assert "Rebooting" in said(host, "upgrade", "--reboot")
    assert host.around.reboots


def test_stage_and_reboot_exclude_each_other(host: FakeHost) -> None:
    assert "exclude each other" in str(call(host, "upgrade", "--stage", "--reboot").exception)


def test_what_does_not_start_is_an_error_with_a_hint(host: FakeHost) -> None:
    host.var_free = 0
    error = call(host, "upgrade").exception
    assert isinstance(error, RefusedError)
    assert error.hint


def test_pin_holds_and_unpin_lets_go(host: FakeHost) -> None:
    assert said(host, "pin") == f"Pinned to {OLD}.\n"
    assert "pinned to" in str(call(host, "upgrade").exception)
    assert said(host, "unpin") == "Not pinned.\n"
    said(host, "upgrade")


def test_rollback_without_another_version_is_refused(host: FakeHost) -> None:
    assert isinstance(call(host, "rollback").exception, RefusedError)


def test_rollback_takes_a_reason_and_reboots(host: FakeHost) -> None:
    said(host, "upgrade", "--reboot")
    host.boot()
    host.engine().arrive()
    host.bless()
    assert OLD in said(host, "rollback", "--reason", "ssh: refused", "--reboot")
    assert host.state.reason == "ssh: refused"
    assert host.around.reboots[-1] == "ssh: refused"


@pytest.mark.parametrize(
    ("words", "message"),
    [((OLD,), "running already"), (("2020.1.0",), "has no 2020.1.0"), (("latest",), "is not a version")],
)
def test_deploy_of_what_cannot_be(host: FakeHost, words: tuple[str, ...], message: str) -> None:
    result = call(host, "deploy", *words)
    assert message in (str(result.exception) if result.exception else result.output)


def test_changes_lists_packages(host: FakeHost) -> None:
    text = said(host, "changes", NEW)
    assert "1 changed, 0 added, 0 removed" in text
    assert f"5.{OLD}" in text


def test_history_tells_what_happened(host: FakeHost) -> None:
    said(host, "upgrade")
    assert [event["what"] for event in json.loads(said(host, "history", "--json"))] == ["planned", "staged"]
    assert "staged" in said(host, "history")


class TestChannel:
    def call(self, tmp_path: Path, *words: str) -> Result:
        return CliRunner().invoke(
            host_command, ["channel", words[0], "--root", str(tmp_path), *words[1:]], standalone_mode=False
        )

    def test_set_is_shown_and_keeps_the_rest(self, tmp_path: Path) -> None:
        path = tmp_path / "etc/skerry/update.toml"
        path.parent.mkdir(parents=True)
        path.write_text('# mine\nstrategy = "window"\nchannel = "stable"\n[window]\nstart = "01:00"\n')
        assert self.call(tmp_path, "set", "beta").exception is None
        assert (
            path.read_text() == '# mine\nstrategy = "window"\nchannel = "beta"\n[window]\nstart = "01:00"\n'
        )
        assert self.call(tmp_path, "show").output.startswith("beta of")
        for words in (("set", "edge"), ("show",)):
            assert json.loads(self.call(tmp_path, *words, "--json").output)["channel"] == "edge"

    def test_a_wrong_name_changes_nothing(self, tmp_path: Path) -> None:
        assert isinstance(self.call(tmp_path, "set", "No Such").exception, SkerryError)
        assert not (tmp_path / "etc").exists()

    def test_a_drop_in_that_says_otherwise_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "etc/skerry/update.toml.d/50-cloud-config.toml"
        path.parent.mkdir(parents=True)
        path.write_text('channel = "alpha"\n')
        assert "says alpha" in str(self.call(tmp_path, "set", "beta").exception)

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("", 'channel = "x"\n'),
            ("tries = 2\n", 'tries = 2\nchannel = "x"\n'),
            ('[window]\nstart = "01:00"\n', 'channel = "x"\n[window]\nstart = "01:00"\n'),
            ('tries = 2\n[window]\nzone = "UTC"\n', 'tries = 2\nchannel = "x"\n[window]\nzone = "UTC"\n'),
        ],
    )
    def test_the_line_goes_where_it_counts(self, before: str, after: str) -> None:
        assert with_channel(before, "x") == after


def test_status_tells_slots_and_why_it_came_back(host: FakeHost, tmp_path: Path) -> None:
    said(host, "upgrade", "--reboot")
    for _ in range(4):
        host.boot()
    host.engine().arrive()
    (tmp_path / "var/lib/skerry").mkdir(parents=True)
    (tmp_path / "update").rename(tmp_path / "var/lib/skerry/update")
    status = read_status(OLD, tmp_path)
    assert status.step == "rolled-back"
    assert status.problem is None
    import msgspec

    rows = dict(status_rows(msgspec.to_builtins(status)))
    assert rows["Update"] == f"rolled back, {NEW}: did not report: panic, hang or power loss"
    assert rows["Refused"].startswith(f"{NEW}: did not report")


def test_status_of_a_machine_without_any_of_it(tmp_path: Path) -> None:
    status = read_status("", tmp_path / "nothing")
    assert (status.step, status.slots, status.problem) == ("idle", (), None)


def test_the_daemon_does_not_import_what_only_updates_need() -> None:
    code = "import sys, skerry.entry.daemon.wiring; print([m for m in {!r} if m in sys.modules])"
    heavy = ("tuf", "securesystemslib", "cryptography", "zstandard", "merge3", "requests")
    done = subprocess.run(
        [sys.executable, "-c", code.format(heavy)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_one_update_at_a_time(tmp_path: Path) -> None:
    with held(tmp_path / "lock"), pytest.raises(BusyError, match="another update"), held(tmp_path / "lock"):
        raise AssertionError
    with held(tmp_path / "lock"):
        pass


def test_an_update_that_ends_soon_is_waited_for(tmp_path: Path) -> None:
    waited: list[float] = []
    with contextlib.ExitStack() as another:
        another.enter_context(held(tmp_path / "lock"))

        def sleep(seconds: float) -> None:
            waited.append(seconds)
            if len(waited) == 3:
                another.close()

        with held(tmp_path / "lock", patience_s=60, sleep=sleep):
            assert len(waited) == 3


def test_an_update_that_takes_long_is_not_waited_for(tmp_path: Path) -> None:
    waited: list[float] = []
    with (
        held(tmp_path / "lock"),
        pytest.raises(BusyError),
        held(tmp_path / "lock", patience_s=5, sleep=waited.append),
    ):
        raise AssertionError
    assert sum(waited) == 5
