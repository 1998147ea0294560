"""Which paths the cloud-config of a machine gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.host.etc.provisioned import provisioned_paths

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENT = """#cloud-config
hostname: web1
manage_etc_hosts: true
write_files:
- path: /etc/motd
  content: hello
- path: /var/lib/x
  content: elsewhere
- path: /etc/app/a.conf
  content: $private_ipv4
units:
- name: hello.service
  content: |
    [Service]
    ExecStart=/bin/true
    [Install]
    WantedBy=multi-user.target
"""


def given(root: Path, document: str) -> frozenset[str]:
    kept = root / "var/lib/skerry/provision"
    kept.mkdir(parents=True)
    (kept / "document").write_text(document)
    return provisioned_paths(root)


def test_files_and_units_below_etc_are_the_documents(tmp_path: Path) -> None:
    found = given(tmp_path, DOCUMENT)
    assert {"motd", "app/a.conf", "systemd/system/hello.service"} <= found
    assert not any("var" in path for path in found)


def test_what_the_document_does_not_give_is_not(tmp_path: Path) -> None:
    assert given(tmp_path, "#cloud-config\nhostname: web1\n") == frozenset()


def test_a_document_that_cannot_be_read_gives_nothing(tmp_path: Path) -> None:
    assert given(tmp_path, "\0nonsense: [") == frozenset()


def test_a_machine_without_a_document_has_none(tmp_path: Path) -> None:
    assert provisioned_paths(tmp_path) == frozenset()
