"""The settings of a member of etcd."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skerry.fleet.cluster.etcd_config import MAX_REQUEST_BYTES, MAX_TXN_OPERATIONS, MemberConfig
from skerry.fleet.store.transaction import MAX_BYTES, MAX_OPERATIONS


def config(*, address: str = "10.0.0.2", joins: bool = False) -> MemberConfig:
    members = {"b": "https://10.0.0.2:2380", "a": "https://10.0.0.1:2380"}
    return MemberConfig("b", "c1", address, members, joins, Path("/d"), Path("/p/store.pem"), Path("/p/ca"))


@pytest.mark.parametrize(("joins", "state"), [(False, "new"), (True, "existing")])
def test_a_member_knows_the_others_and_whether_it_is_the_first(joins: bool, state: str) -> None:
    settings = json.loads(config(joins=joins).text())
    assert settings["initial-cluster"] == "a=https://10.0.0.1:2380,b=https://10.0.0.2:2380"
    assert settings["initial-cluster-state"] == state


def test_clients_reach_it_on_loopback_too_and_only_with_certificates() -> None:
    settings = json.loads(config().text())
    assert settings["listen-client-urls"] == "https://10.0.0.2:2379,https://127.0.0.1:2379"
    assert settings["listen-peer-urls"] == "https://10.0.0.2:2380"
    for side in ("client-transport-security", "peer-transport-security"):
        assert settings[side]["client-cert-auth"] is True
        assert settings[side]["trusted-ca-file"] == "/p/ca"


def test_an_address_of_ipv6_has_its_brackets() -> None:
    assert config(address="fd00::2").client_url == "https://[fd00::2]:2379"


def test_etcd_takes_what_the_store_takes_and_the_receipts_beside_it() -> None:
    assert MAX_TXN_OPERATIONS > MAX_OPERATIONS + 100
    assert MAX_REQUEST_BYTES >= 2 * MAX_BYTES
