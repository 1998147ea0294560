"""The daemon as a process: what it keeps, how it begins, how it ends."""

from __future__ import annotations

import socket
import sqlite3
import stat
from typing import TYPE_CHECKING

import pytest

from fakes.daemon import Daemon
from skerry.entry.daemon.machine import Paths
from skerry.fleet.cluster.membership import Membership, write_membership
from skerry.fleet.state.node import Role
from skerry.kit.http import ApiError

if TYPE_CHECKING:
    from pathlib import Path

    from skerry.kit.http import Json

TEXT = "[Service]\nExecStart=/bin/sleep 1000\n"


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(tmp_path)


def submit(daemon: Daemon, name: str, verb: str = "submit") -> None:
    """Give an order and wait until it is carried out."""
    offers: list[Json] = [{"name": name, "text": TEXT}]
    order: Json = {"verb": verb, "names": [name], "offers": offers, "wait": True}
    assert list(daemon.client.lines("POST", "/v1/units", order))


def stored(daemon: Daemon) -> list[str]:
    answer = daemon.client.call("GET", "/v1/units")
    return [u["name"] for u in answer["units"]]  # type: ignore[index,call-overload,misc,union-attr]


def test_the_socket_is_for_root_alone(daemon: Daemon) -> None:
    with daemon:
        assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o600
        assert daemon.socket.parent.stat().st_mode & 0o700 == 0o700


def test_sigterm_ends_it_well(daemon: Daemon) -> None:
    daemon.start()
    submit(daemon, "a.service", "start")
    assert daemon.stop() == 0
    assert "units keep running" in daemon.log
    assert (daemon.root / "run/systemd/system/a.service").exists()


def test_a_kill_between_acknowledged_writes_loses_none(daemon: Daemon) -> None:
    acknowledged = []
    for turn in range(4):
        daemon.start()
        for number in range(5):
            name = f"u{turn}-{number}.service"
            submit(daemon, name)
            acknowledged.append(name)
        daemon.kill()
    with daemon:
        assert stored(daemon) == sorted(acknowledged)


def test_a_second_daemon_does_not_take_the_socket(daemon: Daemon) -> None:
    with daemon:
        assert b"another skerryd listens" in Daemon(daemon.root).run_to_its_end()
        assert stored(daemon) == []


def test_a_member_that_was_killed_while_it_joined_forgets_the_token(daemon: Daemon) -> None:
    paths = Paths.under(daemon.root)
    membership = Membership("c1", "home", "0" * 31 + "1", Role.AGENT, "10.0.0.7", ("https://127.0.0.1:1",))
    paths.state.mkdir(parents=True)
    write_membership(paths.state, membership)
    paths.settings.mkdir(parents=True)
    paths.join_file.write_text('token = "secret"\n')
    with daemon:
        assert not paths.join_file.exists()


def test_a_machine_alone_forgets_what_a_cluster_told_it(daemon: Daemon) -> None:
    kept = Paths.under(daemon.root).state / "assignments.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    with daemon:
        assert not kept.exists()


def test_a_damaged_store_is_said_and_left_as_it_is(daemon: Daemon) -> None:
    store = daemon.root / "var/lib/skerry/store.db"
    store.parent.mkdir(parents=True)
    store.write_bytes(b"this is no database" * 100)
    with daemon:
        host = daemon.client.call("GET", "/v1/host")
        with pytest.raises(ApiError) as caught:
            stored(daemon)
    assert (caught.value.status, caught.value.code) == (503, "degraded")
    assert host["problems"]  # type: ignore[index,call-overload]
    assert store.read_bytes() == b"this is no database" * 100


def test_a_store_of_something_else_is_left_as_it_is(daemon: Daemon) -> None:
    store = daemon.root / "var/lib/skerry/store.db"
    store.parent.mkdir(parents=True)
    with sqlite3.connect(store) as database:
        database.execute("CREATE TABLE theirs (x)")
    database.close()
    before = store.read_bytes()
    with daemon:
        assert daemon.client.call("GET", "/v1/host")["healthy"] is False  # type: ignore[index,call-overload]
    assert store.read_bytes() == before


def test_sighup_reads_the_settings_again(daemon: Daemon) -> None:
    settings = daemon.root / "etc/skerry/skerryd.toml"
    with daemon:
        settings.parent.mkdir(parents=True)
        settings.write_text("colour = 1\n")
        daemon.hang_up()
        while "unknown key 'colour'" not in daemon.log:
            daemon.client.call("GET", "/v1/host")
        assert stored(daemon) == []


def test_many_requests_at_once_are_all_answered(daemon: Daemon) -> None:
    with daemon:
        open_ones = []
        for _ in range(50):
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(30)
            connection.connect(str(daemon.socket))
            connection.sendall(b"GET /v1/units HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            open_ones.append(connection)
        for connection in open_ones:
            with connection:
                assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_streams_that_are_open_do_not_hold_up_its_end(daemon: Daemon) -> None:
    daemon.start()
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(30)
        stream.connect(str(daemon.socket))
        stream.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
        assert stream.recv(100).startswith(b"HTTP/1.1 200 OK")
        assert daemon.stop() == 0


def test_a_change_is_told_to_those_who_listen(daemon: Daemon) -> None:
    with daemon:
        events = daemon.client.lines("GET", "/v1/events")
        submit(daemon, "a.service", "start")
        told = []
        for line in events:
            told.append(line)
            if line.startswith(b"data:") and b'"active":"active"' in line:
                break
        events.close()
    assert told[0] == b"event: unit"


def test_a_client_that_leaves_a_silent_stream_leaves_nothing_behind(daemon: Daemon) -> None:
    with daemon:
        submit(daemon, "silent.service")
        lines = daemon.client.lines("GET", "/v1/units/silent.service/journal", query={"follow": "true"})
        next(lines)
        lines.close()
        while "journal of silent.service closed" not in daemon.log:
            daemon.client.call("GET", "/v1/host")


def test_a_name_of_the_hosts_own_is_refused_and_not_kept(daemon: Daemon) -> None:
    theirs = daemon.root / "usr/lib/systemd/system/ssh.service"
    theirs.parent.mkdir(parents=True)
    theirs.write_text(TEXT)
    with daemon:
        with pytest.raises(ApiError) as caught:
            submit(daemon, "ssh.service", "start")
        assert stored(daemon) == []
    assert "ssh.service" in str(caught.value)
    assert theirs.read_text() == TEXT


def test_changes_of_a_machine_alone_are_in_its_audit_log(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        offer = {"name": "a.service", "text": "[Service]\nExecStart=/bin/true\n"}
        order = {"verb": "submit", "names": ["a.service"], "offers": [offer]}
        daemon.client.call("POST", "/v1/units", order)
        page = daemon.client.call("GET", "/v1/audit")
        assert [(r["who"], r["what"], r["detail"], r["outcome"]) for r in page["records"]] == [
            ("root", "POST /v1/units", "submit a.service", 200)
        ]
        assert daemon.client.call("GET", "/v1/whoami")["role"] == "admin"
        refused = daemon.client.request("POST", "/v1/tokens", body=b'{"name": "ann", "role": "viewer"}')
        assert (refused.status, "in no cluster" in refused.text) == (400, True)
