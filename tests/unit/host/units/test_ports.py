"""Host ports: how they are written, which of them Podman chooses itself, and which clash."""

from __future__ import annotations

import pytest

from skerry.host.units.ports import HostPort, PortError, parse_host_port, published_port


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080", HostPort("tcp", 8080, 8080)),
        ("53/udp", HostPort("udp", 53, 53)),
        ("53/UDP", HostPort("udp", 53, 53)),
        ("8000-8010", HostPort("tcp", 8000, 8010)),
        ("10.0.0.1:443", HostPort("tcp", 443, 443, "10.0.0.1")),
        ("[::1]:443/sctp", HostPort("sctp", 443, 443, "::1")),
    ],
)
def test_host_port(text: str, expected: HostPort) -> None:
    assert parse_host_port(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0", "no port 0"),
        ("65536", "the highest port is 65535"),
        ("9-8", "ends before it begins"),
        ("http", "neither a port nor a range"),
        ("80/icmp", "one of tcp, udp, sctp"),
        ("host:80", "'host' is not an IP address"),
        ("", "neither a port nor a range"),
    ],
)
def test_what_is_no_host_port(text: str, said: str) -> None:
    with pytest.raises(PortError, match=said):
        parse_host_port(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080:80", HostPort("tcp", 8080, 8080)),
        ("8080:80/udp", HostPort("udp", 8080, 8080)),
        ("8000-8001:80-81", HostPort("tcp", 8000, 8001)),
        ("127.0.0.1:8080:80", HostPort("tcp", 8080, 8080, "127.0.0.1")),
        ("[::]:8080:80", HostPort("tcp", 8080, 8080, "::")),
        ("80", None),
        ("80/udp", None),
        ("127.0.0.1::80", None),
        (":80", None),
        ("0:80", None),
    ],
)
def test_published_port(text: str, expected: HostPort | None) -> None:
    assert published_port(text) == expected


def test_a_variable_as_a_port_cannot_be_read() -> None:
    with pytest.raises(PortError):
        published_port("${PORT}:80")


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("80", "80", True),
        ("80", "81", False),
        ("80", "80/udp", False),
        ("80-90", "85", True),
        ("80-90", "90-99", True),
        ("80-90", "91-99", False),
        ("10.0.0.1:80", "10.0.0.2:80", False),
        ("10.0.0.1:80", "10.0.0.1:80", True),
        ("10.0.0.1:80", "80", True),
        ("0.0.0.0:80", "10.0.0.2:80", True),
        ("[::]:80", "10.0.0.2:80", True),
    ],
)
def test_clashes_both_ways(one: str, other: str, clash: bool) -> None:
    assert parse_host_port(one).clashes(parse_host_port(other)) is clash
    assert parse_host_port(other).clashes(parse_host_port(one)) is clash


@pytest.mark.parametrize("text", ["80/tcp", "53-54/udp", "10.0.0.1:80/tcp", "[::1]:80/tcp"])
def test_a_port_is_shown_as_it_can_be_written(text: str) -> None:
    assert str(parse_host_port(text)) == text
