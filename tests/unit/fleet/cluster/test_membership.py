"""What a machine keeps of its cluster: written, read, refused, forgotten."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from skerry.fleet.cluster.errors import MembershipError
from skerry.fleet.cluster.membership import (
    FILE_NAME,
    Membership,
    forget_membership,
    host_of,
    read_membership,
    url_of,
    write_membership,
)
from skerry.fleet.state.node import Role

if TYPE_CHECKING:
    from pathlib import Path

MEMBERSHIP = Membership(
    cluster="c1",
    name="home",
    node="0" * 32,
    role=Role.SERVER,
    address="10.0.0.1",
    servers=("https://10.0.0.1:7443",),
    store=("https://127.0.0.1:2379",),
)


def test_a_machine_without_the_file_is_single(tmp_path: Path) -> None:
    assert read_membership(tmp_path) is None


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_membership(tmp_path, MEMBERSHIP)
    assert read_membership(tmp_path) == MEMBERSHIP
    assert json.loads((tmp_path / FILE_NAME).read_text())["version"] == 1


def test_what_is_forgotten_is_gone(tmp_path: Path) -> None:
    write_membership(tmp_path, MEMBERSHIP)
    forget_membership(tmp_path)
    forget_membership(tmp_path)
    assert read_membership(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read"),
        ('{"version": 2, "more": 1}', "has version 2, this program reads up to 1"),
        ('{"version": 1, "cluster": "c"}', "missing required field"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(MembershipError, match=rf"cluster\.json: .*{said}"):
        read_membership(tmp_path)


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("10.0.0.1", "https://10.0.0.1:7443"),
        ("fd00::1", "https://[fd00::1]:7443"),
        ("a.b", "https://a.b:7443"),
    ],
)
def test_an_address_and_its_url(address: str, url: str) -> None:
    assert (url_of(address, 7443), host_of(url)) == (url, address)


def test_a_url_without_a_port_has_a_host() -> None:
    assert [host_of(url) for url in ("https://a", "https://[fd00::1]", "http://a:1/x")] == [
        "a",
        "fd00::1",
        "a",
    ]
