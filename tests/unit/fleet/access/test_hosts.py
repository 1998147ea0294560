"""What a machine that joins says of itself is believed within bounds."""

from __future__ import annotations

import pytest

from skerry.fleet.access.errors import AccessError, AddressTakenError
from skerry.fleet.access.hosts import MOST_NAMES, Hosts, check_hosts
from skerry.fleet.access.records import MemberRecord
from skerry.fleet.trust.identity import Identity, Role

NOW = 1000.0
AGENT, SERVER = Identity("a" * 32, Role.AGENT), Identity("5" * 32, Role.SERVER)


def member(node: str, role: Role, address: str, *names: str, expires: float = NOW + 1) -> MemberRecord:
    return MemberRecord(node, role, "1", "k", 0.0, expires, address, "", names)


OTHERS = (
    member("1" * 32, Role.SERVER, "10.0.0.1", "one"),
    member("2" * 32, Role.SERVER, "10.0.0.2", expires=NOW - 1),
    member("b" * 32, Role.AGENT, "10.0.0.3"),
    member(SERVER.node, Role.SERVER, "10.0.0.5", "five"),
)


@pytest.mark.parametrize(
    "address", ["10.0.0.9", "fd00::9", "fe80::1", "node-9", "node_9.example.org", "10.0.0.2", "10.0.0.5"]
)
def test_addresses_and_names_of_hosts_are_taken(address: str) -> None:
    assert check_hosts(SERVER, address, (address,), OTHERS, NOW) == Hosts(address, (address,))
    assert check_hosts(AGENT, address, (), OTHERS, NOW).address == address


@pytest.mark.parametrize(
    "address",
    [
        *(
            "*.example.org",
            "a b",
            "a\nb",
            "-a",
            "a-",
            "a..b",
            "x" * 64,
            "a." * 127 + "a",
            "ä.org",
            "a/b",
            "a:1",
        ),
        *(
            "10.0.0",
            "10.0.0.256",
            "010.0.0.1",
            "0.0.0.0",  # noqa: S104
            "::",
            "ff02::1",
            "224.0.0.1",
            "fe80::1%eth0",
            "[::1]",
        ),
    ],
)
def test_what_is_no_host_is_refused(address: str) -> None:
    for identity in (AGENT, SERVER):
        with pytest.raises(AccessError):
            check_hosts(identity, address, (), (), NOW)
        with pytest.raises(AccessError):
            check_hosts(identity, "10.0.0.9", (address,), (), NOW)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "a.LocalHost"])
def test_only_an_agent_may_say_loopback(address: str) -> None:
    with pytest.raises(AccessError, match="cannot reach"):
        check_hosts(SERVER, address, (), (), NOW)
    assert check_hosts(AGENT, address, (), (), NOW).address == address


def test_an_address_of_ipv4_in_ipv6_is_that_of_ipv4() -> None:
    assert check_hosts(SERVER, "::ffff:10.0.0.9", (), (), NOW).address == "10.0.0.9"
    with pytest.raises(AccessError, match="cannot reach"):
        check_hosts(SERVER, "::ffff:127.0.0.1", (), (), NOW)


def test_a_server_needs_an_address_and_an_agent_may_do_without() -> None:
    with pytest.raises(AccessError):
        check_hosts(SERVER, "", (), (), NOW)
    assert check_hosts(AGENT, "", (), (), NOW) == Hosts("")


def test_the_address_of_another_server_is_refused_to_servers_however_it_is_written() -> None:
    for address in ("10.0.0.1", "::ffff:10.0.0.1"):
        with pytest.raises(AddressTakenError, match="1" * 32):
            check_hosts(SERVER, address, (), OTHERS, NOW)
    assert check_hosts(SERVER, "10.0.0.3", (), OTHERS, NOW).address == "10.0.0.3"
    assert check_hosts(AGENT, "10.0.0.1", (), OTHERS, NOW).address == "10.0.0.1"


def test_names_are_few_and_those_of_other_servers_are_left_out() -> None:
    said = check_hosts(SERVER, "10.0.0.9", ("ONE", "five", "10.0.0.1", "nine", "five"), OTHERS, NOW)
    assert said == Hosts("10.0.0.9", ("five", "nine"), ("ONE", "10.0.0.1"))
    with pytest.raises(AccessError, match="at most"):
        check_hosts(SERVER, "10.0.0.9", tuple(f"n{n}" for n in range(MOST_NAMES + 1)), (), NOW)
