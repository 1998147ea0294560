"""The first server's certificates: kept by a second `init`, and made anew for another address."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fakes.tls import SERVER
from skerry.fleet.trust.certificates import covers, load_key, public_sha256, read_certificate
from skerry.fleet.trust.errors import PkiError
from skerry.fleet.trust.files import Pki
from skerry.fleet.trust.founding import found

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_800_000_000.0


def test_what_is_whole_is_kept(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    first = found(pki, "home", SERVER.node, now=NOW, hosts=("10.0.0.1", "one"))
    held = pki.read_node(), pki.read_store(), pki.authority().pin
    assert found(pki, "home", SERVER.node, now=NOW + 60, hosts=("10.0.0.1", "one")) == first
    assert (pki.read_node(), pki.read_store(), pki.authority().pin) == held


def test_what_a_join_left_is_nothing_to_found_a_cluster_with(tmp_path: Path) -> None:
    theirs, pki = Pki(tmp_path / "theirs"), Pki(tmp_path / "pki")
    found(theirs, "theirs", SERVER.node, now=NOW, hosts=("10.0.0.1",))
    pki.joining_key()
    pki.write_authority(theirs.authority())
    with pytest.raises(PkiError, match="begun to join"):
        found(pki, "home", SERVER.node, now=NOW, hosts=("10.0.0.2",))
    pki.write_node(theirs.read_node())
    with pytest.raises(PkiError, match="begun to join"):
        found(pki, "home", SERVER.node, now=NOW, hosts=("10.0.0.2",))
    assert not pki.store_ca.exists()


def test_a_join_that_was_refused_stands_in_no_way(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    pki.joining_key()
    facts, _ = found(pki, "home", SERVER.node, now=NOW, hosts=("10.0.0.2",))
    assert facts.identity == SERVER


def test_another_machine_goes_on_with_the_same_authority(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    found(pki, "home", SERVER.node, now=NOW, hosts=("10.0.0.1",))
    pin = pki.authority().pin
    facts, _ = found(pki, "home", "9" * 32, now=NOW, hosts=("10.0.0.1",))
    assert (facts.identity.node, pki.authority().pin) == ("9" * 32, pin)
    assert read_certificate(pki.read_store().certificate_pem).identity.node == "9" * 32


def test_another_address_takes_other_certificates_of_the_same_authority(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    found(pki, "home", SERVER.node, now=NOW, hosts=("10.0.0.11", "one"))
    pin = pki.authority().pin
    facts, key = found(pki, "home", SERVER.node, now=NOW + 60, hosts=("10.0.0.1", "one"))
    for held in (pki.read_node(), pki.read_store()):
        assert covers(held.certificate_pem, ("10.0.0.1", "one", "127.0.0.1"))
        assert not covers(held.certificate_pem, ("10.0.0.11",))
    assert (pki.authority().pin, facts.identity) == (pin, SERVER)
    assert key == public_sha256(load_key(pki.read_node().key_pem))
