"""The first server's certificates: kept by a second `init`, and made anew for another address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakes.tls import SERVER
from skerry.fleet.trust.certificates import covers, load_key, public_sha256
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
