"""Where documents come from, and which one is taken."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from skerry.host.provision import addresses, sources
from skerry.host.provision.errors import SourceError
from skerry.host.provision.sources import FileSource, Found, KeptSource, VolumeSource, first, read_no_cloud

REPOSITORY = Path(__file__).parents[4]
WANTED = REPOSITORY / "os/rootfs/usr/lib/skerry/bin/provision-wanted"


@dataclass(frozen=True)
class Given:
    """A source that holds a document, none, or a fault."""

    name: str
    data: bytes | None = None
    fault: str | None = None

    def fetch(self) -> Found | None:
        if self.fault is not None:
            raise SourceError(self.fault)
        return None if self.data is None else Found(self.name, self.data)


def test_the_first_that_has_a_document_wins() -> None:
    found, notes = first([Given("a"), Given("b", b"1"), Given("c", b"2"), Given("kept", b"3")])
    assert found == Found("b", b"1")
    assert notes == ("c has a document too; the one of b is taken",)


def test_the_same_document_twice_is_no_note() -> None:
    assert first([Given("a", b"1"), Given("b", b"1")]) == (Found("a", b"1"), ())


def test_a_source_that_is_broken_does_not_hide_the_next() -> None:
    found, notes = first([Given("volume", fault="cannot mount /dev/x"), Given("kept", b"1")])
    assert found == Found("kept", b"1")
    assert notes == ("volume: cannot mount /dev/x",)


def test_nothing_anywhere() -> None:
    assert first([Given("a"), Given("kept")]) == (None, ())


def test_a_file_that_is_absent_or_empty_is_no_document(tmp_path: Path) -> None:
    assert FileSource("esp", tmp_path / "none").fetch() is None
    (tmp_path / "empty").write_text("\n")
    assert FileSource("esp", tmp_path / "empty").fetch() is None


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="Is a directory"):
        FileSource("esp", tmp_path).fetch()


def test_a_volume_that_is_absent_is_no_document(tmp_path: Path) -> None:
    assert VolumeSource("volume", tmp_path / "cidata").fetch() is None


@pytest.mark.parametrize(
    ("meta_data", "hostname"),
    [
        ("instance-id: i-1\nlocal-hostname: web1\n", "web1"),
        ('{"instance-id": "i-1", "hostname": "web2"}', "web2"),
        ("", None),
        ("- not\n- a mapping\n", None),
        ("{{{", None),
    ],
)
def test_meta_data_may_name_the_machine(tmp_path: Path, meta_data: str, hostname: str | None) -> None:
    (tmp_path / "user-data").write_text("#cloud-config\n")
    (tmp_path / "meta-data").write_text(meta_data)
    assert read_no_cloud(tmp_path, "volume") == Found("volume", b"#cloud-config\n", hostname)


def test_the_kept_document_keeps_its_name(tmp_path: Path) -> None:
    assert KeptSource(tmp_path).fetch() is None
    (tmp_path / "document").write_text("#cloud-config\n")
    (tmp_path / "meta-data").write_text('{"hostname": "web1"}\n')
    assert KeptSource(tmp_path).fetch() == Found("kept", b"#cloud-config\n", "web1")


def test_the_order_is_the_documented_one() -> None:
    names = list(dict.fromkeys(source.name for source in sources.on_this_machine()))
    assert names == ["credential", "fw_cfg", "volume", "esp", "kept"]


def test_the_check_before_python_looks_at_the_same_places() -> None:
    text = "\n".join(line for line in WANTED.read_text().splitlines() if not line.startswith("#"))
    looked_at = set(re.findall(r"/(?:run/cred|sys|dev|efi|boot|var)[^\s;]+", text))
    assert looked_at == {
        f"{sources.CREDENTIALS}/{sources.CREDENTIAL}",
        sources.FW_CFG,
        *(f"{sources.LABELS}/{label}" for label in sources.VOLUMES),
        *sources.ESP_FILES,
        sources.KEPT,
    }
    subprocess.run(["sh", "-n", WANTED], check=True)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([], {}),
        (["127.0.0.1", "169.254.3.4", "fe80::1"], {}),
        (["10.0.0.1", "10.0.0.2"], {"private_ipv4": "10.0.0.1", "public_ipv4": "10.0.0.1"}),
        (["1.1.1.1", "10.0.0.2"], {"private_ipv4": "10.0.0.2", "public_ipv4": "1.1.1.1"}),
        (["2606:4700::1"], {"private_ipv6": "2606:4700::1", "public_ipv6": "2606:4700::1"}),
        (["fd00::1", "2606:4700::1"], {"private_ipv6": "fd00::1", "public_ipv6": "2606:4700::1"}),
    ],
)
def test_addresses_of_the_machine(given: list[str], wanted: dict[str, str]) -> None:
    assert addresses.from_machine(given) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$private_ipv4", "10.0.0.1"),
        ("$private_ipv4$private_ipv4", "10.0.0.110.0.0.1"),
        ("http://$private_ipv4:80", "http://10.0.0.1:80"),
        ("\\$private_ipv4", "$private_ipv4"),
        ("$public_ipv6.", "."),
        ("${private_ipv4} $private $PATH \\$PATH", "${private_ipv4} $private $PATH \\$PATH"),
    ],
)
def test_variables_are_replaced(text: str, wanted: str) -> None:
    assert addresses.substitute(text, {"private_ipv4": "10.0.0.1"}) == wanted
