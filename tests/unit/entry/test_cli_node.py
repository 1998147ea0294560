"""`skerry node`, `skerry cluster`, and `skerry unit` over several machines, against an API in memory."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from fakes.daemon import MACHINE
from fakes.served import served_api
from skerry.entry.cli.main import cli, run
from skerry.entry.cli.node import complete_node
from skerry.fleet.state.node import Liveness, Role
from skerry.fleet.state.unit import DesiredState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fakes.asgi import Api

ONE, TWO = "1" * 32, "2" * 32
TEXT = "[Unit]\nDescription=A {name}\n[Service]\nExecStart=/bin/sleep 1\n"


async def three(api: Api) -> None:
    """Machines one (with units a and g), two (lost, with b), and this one (with g); c waits."""
    await api.hear(
        ONE, hostname="one", addresses=("10.0.0.1",), cpus=4, memory_bytes=2 << 30, metadata={"disk": "ssd"}
    )
    await api.hear(TWO, Liveness.LOST, hostname="two", addresses=("10.0.0.2",), role=Role.SERVER)
    texts = {f"{name}.service": TEXT.format(name=name) for name in "abc"}
    texts["g.service"] = TEXT.format(name="g") + "[X-Fleet]\nGlobal=true\n"
    offers = [{"name": name, "text": text} for name, text in texts.items()]
    await api.ask("POST", "/v1/units", {"verb": "start", "names": list(texts), "offers": offers})
    await api.place("a.service", ONE)
    await api.report("a.service", DesiredState.LAUNCHED, node=ONE)
    await api.place("b.service", TWO)
    for node in (ONE, MACHINE):
        await api.report("g.service", DesiredState.LAUNCHED, node=node)


class Shell:
    """`skerry` typed in this process, against the served API."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *words: str, status: int = 0) -> str:
        """What it wrote: stdout, where it was to succeed; stderr, where it was not."""
        ended = run(cli, list(words), name="skerry")
        written = self._capture.readouterr()
        assert (ended, words) == (status, words), written.err
        return written.out if status == 0 else written.out + written.err


@pytest.fixture
def skerry(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    folder = Path(tempfile.mkdtemp(prefix="sk-"))
    with served_api(folder / "api.sock", three) as target:
        monkeypatch.setenv("SKERRY_API", target)
        monkeypatch.setenv("NO_COLOR", "1")
        yield Shell(capsys)
    shutil.rmtree(folder)


def test_machines_have_fleetctls_columns_first(skerry: Shell) -> None:
    lines = skerry("node", "list").splitlines()
    assert lines[0].split() == ["MACHINE", "IP", "METADATA", "NAME", "STATE", "UNITS"]
    assert lines[2].split() == ["11111111...", "10.0.0.1", "disk=ssd", "one", "ready", "1"]
    assert lines[3].split() == ["22222222...", "10.0.0.2", "-", "two", "lost", "1"]


def test_lists_can_be_cut_to_ones_needs(skerry: Shell) -> None:
    bare = skerry("node", "list", "--no-legend", "--full", "--fields=machine,cpus", "--label=disk=ssd")
    assert bare.split() == [ONE, "4"]
    assert "known are machine, ip" in skerry("node", "list", "--fields=colour", status=2)


def test_json_is_what_the_api_says(skerry: Shell) -> None:
    assert [node["id"] for node in json.loads(skerry("node", "list", "--json"))] == sorted(
        [MACHINE, ONE, TWO]
    )
    assert json.loads(skerry("node", "show", "one", "--json"))["units"][0]["name"] == "a.service"
    assert json.loads(skerry("cluster", "status", "--json", status=1))["nodes"]["lost"] == 1


def test_a_machine_is_shown_with_its_units(skerry: Shell) -> None:
    out = skerry("node", "show", "10.0.0.1")
    assert f"Machine: {ONE}\n" in out
    assert "Memory: 2.0 GiB\n" in out
    assert [line.split() for line in out.splitlines()[-2:]] == [
        ["a.service", "active", "running", "launched"],
        ["g.service", "active", "running", "launched"],
    ]


def test_labels_come_and_go(skerry: Shell) -> None:
    assert skerry("node", "label", "one", "room=2", "disk-") == "one: ready, room=2\n"
    assert "neither KEY=VALUE nor KEY-" in skerry("node", "label", "one", "room", status=2)


def test_cordon_and_uncordon(skerry: Shell) -> None:
    assert skerry("node", "cordon", "one") == "one: ready,cordoned, disk=ssd\n"
    assert skerry("node", "uncordon", "one") == "one: ready, disk=ssd\n"


def test_a_drain_that_is_not_waited_for_tells_what_is_left(skerry: Shell) -> None:
    assert skerry("node", "drain", "--no-block", "one") == "one: 2 units still there\n"
    assert "draining" in skerry("node", "list", "--fields=state")


def test_a_drain_tells_in_json_what_is_left(skerry: Shell) -> None:
    assert json.loads(skerry("node", "drain", "--json", "--no-block", TWO))["left"] == ["b.service"]


@pytest.mark.usefixtures("skerry")
@pytest.mark.parametrize(("typed", "found"), [("o", ["one"]), ("111", [ONE]), ("x", [])])
def test_names_of_machines_are_completed(typed: str, found: list[str]) -> None:
    command = click.Command("x")
    items = complete_node(click.Context(command), click.Argument(["node"]), typed)
    assert [item.value for item in items] == found


def test_a_machine_is_removed_unless_it_is_in_use(skerry: Shell) -> None:
    refused = skerry("node", "remove", "one", status=1)
    assert (
        "error: one lives and holds 1 unit\nhint: `skerry node drain 11111111` first, or --force" in refused
    )
    assert skerry("node", "remove", "two") == ""
    assert "no machine is called 'two'" in skerry("node", "show", "two", status=1)


def test_units_are_listed_for_each_machine_that_has_them(skerry: Shell) -> None:
    rows = [line.split()[:2] for line in skerry("unit", "list", "--no-legend", "--full").splitlines()]
    assert [row[0] for row in rows] == ["a.service", "g.service", "g.service"]
    assert rows[0][1] == f"{ONE}/10.0.0.1"
    assert skerry("unit", "list", "--no-legend", "--fields=unit", "--node=one").split() == [
        "a.service",
        "g.service",
        "g.service",
    ]


def test_stored_units_are_listed_with_their_target(skerry: Shell) -> None:
    listed = skerry("unit", "list-files", "--no-legend", "--fields=unit,target,state")
    assert [line.split() for line in listed.splitlines()] == [
        ["a.service", "11111111.../10.0.0.1", "launched"],
        ["b.service", "22222222.../10.0.0.2", "inactive"],
        ["c.service", "-", "inactive"],
        ["g.service", "global", "launched"],
    ]


def test_why_a_unit_waits_is_a_table(skerry: Shell) -> None:
    lines = skerry("unit", "explain", "c").splitlines()
    assert lines[0] == "c.service is pending: no machine can take it"
    assert lines[2].split() == ["ASKS", "FAILING", "BECAUSE"]
    assert lines[3].split()[:2] == ["Memory=64G", "2"]


def test_a_unit_elsewhere_is_shown_without_its_journal(skerry: Shell) -> None:
    assert f"Machine: {ONE}\n" in skerry("unit", "status", "a")


def test_the_cluster_is_shown_with_its_problems(skerry: Shell) -> None:
    out = skerry("cluster", "status", status=1)
    assert "Machines: 2 ready, 1 lost\n" in out
    assert "Problem: not heard of: two\n" in out


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ssh that prints its arguments, and fails where the command is `false`."""
    program = tmp_path / "ssh"
    program.write_text('#!/bin/sh\necho "$@"\nfor last; do :; done\n[ "$last" != false ]\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.usefixtures("ssh")
def test_a_command_runs_on_several_machines(skerry: Shell) -> None:
    out = skerry("node", "exec", "-u", "root", "one", "two", "--", "echo", "a b")
    assert [(line.split()[0], line.rpartition(" root@")[2]) for line in out.splitlines()] == [
        ("one", "10.0.0.1 -- echo 'a b'"),
        ("two", "10.0.0.2 -- echo 'a b'"),
    ]
    assert "BatchMode=yes" in out


@pytest.mark.usefixtures("ssh")
def test_a_command_that_fails_anywhere_fails(skerry: Shell) -> None:
    assert "one  ended with status 1" in skerry("node", "exec", "--label=disk=ssd", "--", "false", status=1)


@pytest.mark.parametrize("words", [["one"], ["--", "uptime"], ["--all", "one", "--", "uptime"]])
def test_exec_wants_machines_and_a_command(skerry: Shell, words: list[str]) -> None:
    assert "error: " in skerry("node", "exec", *words, status=2)


def test_keys_are_etcdctls_commands(skerry: Shell) -> None:
    assert "v2 commands of etcdctl" in skerry("kv", "--help")
    assert "v2 commands of etcdctl" in skerry("kv")


def test_verbs_of_the_cluster_that_are_not_here_are_not_shown(skerry: Shell) -> None:
    assert "status" in skerry("cluster", "--help")
    assert "No such command 'fly'" in skerry("cluster", "fly", status=2)
