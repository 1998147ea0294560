"""What etcd is given of this machine's files, and that it is given no more."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from fakes.clock import FakeClock
from fakes.service_manager import FakeServices
from skerry.fleet.cluster.errors import EtcdError
from skerry.fleet.cluster.etcd_server import EtcdServer

if TYPE_CHECKING:
    from pathlib import Path

NODE = "5" * 32


def server(state: Path) -> EtcdServer:
    pki = state / "pki"
    pki.mkdir()
    for name in ("store.pem", "store-ca.crt", "node.pem", "ca.key", "store-ca.key"):
        (pki / name).write_text(f"{name} of before")
    return EtcdServer(state, FakeServices(state / "root"), FakeClock())


def test_its_settings_name_nothing_outside_of_its_directory(tmp_path: Path) -> None:
    made = server(tmp_path)
    made.set_up(made.config(NODE, "c1", "10.0.0.1"))
    directory = tmp_path / "etcd"
    settings = json.loads((directory / "etcd.yaml").read_text())
    named = {settings["data-dir"]}
    for side in ("client-transport-security", "peer-transport-security"):
        named |= {path for name, path in settings[side].items() if name.endswith("-file")}
    assert {path for path in named if not path.startswith(f"{directory}/")} == set()
    there = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}
    assert there == {"etcd.yaml": 0o600, "store.pem": 0o600, "store-ca.crt": 0o600}


def test_a_renewed_certificate_is_handed_over_and_an_ended_member_keeps_none(tmp_path: Path) -> None:
    made = server(tmp_path)
    made.set_up(made.config(NODE, "c1", "10.0.0.1"))
    copy = tmp_path / "etcd/store.pem"
    before = copy.stat().st_ino
    made.hand_over()
    assert copy.stat().st_ino == before
    (tmp_path / "pki/store.pem").write_text("renewed")
    made.hand_over()
    assert copy.read_text() == "renewed"
    asyncio.run(made.end())
    assert list((tmp_path / "etcd").iterdir()) == []


def test_without_certificates_it_is_not_set_up(tmp_path: Path) -> None:
    made = EtcdServer(tmp_path, FakeServices(tmp_path / "root"), FakeClock())
    with pytest.raises(EtcdError, match=r"store-ca\.crt"):
        made.set_up(made.config(NODE, "c1", "10.0.0.1"))
    assert not (tmp_path / "etcd/etcd.yaml").exists()
