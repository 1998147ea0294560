"""The segment between virtual machines: who is on it, and under which names."""

from __future__ import annotations

import pytest

from skerry_lab.errors import LabError
from skerry_lab.segment import MOST, port

MARK = "00ff10a1b2c3d4e5f60718293a4b5c6d"


def test_the_machines_of_a_lab_share_a_group_and_nothing_else() -> None:
    ports = [port(MARK, number) for number in range(MOST)]
    assert len({p.group for p in ports}) == 1
    assert len({p.address for p in ports}) == MOST
    assert len({p.mac for p in ports}) == MOST


def test_another_lab_has_another_group() -> None:
    assert port(MARK, 0).group != port(MARK[::-1], 0).group


def test_the_group_is_one_of_those_for_private_use_and_stays_on_this_machine() -> None:
    made = port(MARK, 3)
    address, _, number = made.group.partition(":")
    assert address.startswith("239.")
    assert 1024 < int(number) < 65536
    assert f"mcast={made.group},localaddr=127.0.0.1" in made.arguments[1]


def test_the_machine_knows_its_card_by_the_address_that_qemu_gives_it() -> None:
    made = port(MARK, 1)
    assert made.address == "10.78.0.11"
    assert f"mac={made.mac}" in made.arguments[3]
    assert f"MACAddress={made.mac}" in made.settings
    assert f"Address={made.address}/24" in made.settings


def test_a_lab_has_an_end() -> None:
    with pytest.raises(LabError):
        port(MARK, MOST)
