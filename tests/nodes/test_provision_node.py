"""A node reads its cloud-config at boot: what it asks for is there, and what is wrong in it is said.

The tests stand in the order of the node's life: first boot, the same again, the next boot, another document.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from skerry_lab.journal import Allowed

if TYPE_CHECKING:
    from skerry_lab.node import Node

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIHDMSuBn0QpkXFjVv7M+wJ7RgqAEkY6yqTqFmL3zvRK me"
HASH = "$6$salt$hash"
CLOUD_CONFIG = f"""#cloud-config
hostname: web1
manage_etc_hosts: localhost
ssh_authorized_keys: ["{KEY}"]
users:
- name: elroy
  passwd: {HASH}
  groups: [wheel, ops]
  ssh_authorized_keys: ["{KEY}"]
write_files:
- {{path: /etc/site/secret, owner: "elroy:ops", permissions: "0640", content: hidden}}
- {{path: /run/site, content: volatile}}
- {{path: /usr/bin/nonsense, content: x}}
- {{path: /usr/local/bin/greet, permissions: "0755", content: "#!/bin/sh\\necho hello"}}
coreos:
  etcd2: {{discovery: "https://discovery.example.com/x"}}
  units:
  - name: etcd2.service
    command: start
  - name: enabled.service
    enable: true
    content: |
      [Service]
      Type=oneshot
      RemainAfterExit=yes
      ExecStart=/usr/local/bin/greet
      [Install]
      WantedBy=multi-user.target
  - name: told.service
    runtime: true
    command: start
    content: |
      [Service]
      Type=oneshot
      RemainAfterExit=yes
      ExecStart=/bin/sh -c 'echo $GREETING'
    drop_ins:
    - name: 10-greeting.conf
      content: |
        [Service]
        Environment=GREETING=hello
  - name: addressed.service
    command: start
    content: |
      [Service]
      Type=oneshot
      RemainAfterExit=yes
      ExecStart=/bin/echo I am $private_ipv4
  - name: page.container
    content: |
      [Container]
      Image=docker.io/tutum/hello-world
      [Install]
      WantedBy=multi-user.target
  - name: fstrim.timer
    mask: true
  - name: 80-unused.network
    content: |
      [Match]
      Name=unused0
skerry:
  timezone: Europe/Berlin
  ntp: [time.example.com]
  daemon: {{metadata: {{region: eu}}}}
"""
SAID_AGAIN = Allowed("skerry-provision", "lies in the read-only /usr", "the document says so on purpose")


def provisioning(node: Node) -> list[str]:
    return [entry.message for entry in node.journal("--boot", "-t", "skerry-provision")]


def report(node: Node) -> dict[str, object]:
    value: dict[str, object] = json.loads(node.read("/var/lib/skerry/provision/report.json"))
    return value


def state(node: Node, unit: str) -> str:
    return node.try_run(["systemctl", "is-active", unit]).text.strip()


def test_the_machine_has_its_name_and_its_people(node: Node) -> None:
    assert node.run(["uname", "-n"]).text == "web1\n"
    assert "127.0.0.1 web1" in node.read("/etc/hosts")
    assert {"elroy", "wheel", "ops"} == set(node.run(["id", "-Gn", "elroy"]).text.split())
    assert f"elroy:{HASH}:" in node.read("/etc/shadow")
    for home in ("/root", "/home/core", "/home/elroy"):
        assert KEY in node.read(f"{home}/.ssh/authorized_keys")


def test_files_are_as_the_document_says(node: Node) -> None:
    assert node.run(["stat", "-c", "%U:%G %a", "/etc/site/secret"]).text == "elroy:ops 640\n"
    assert node.read("/run/site") == "volatile"
    assert node.run(["/usr/local/bin/greet"]).text == "hello\n"
    assert node.run(["readlink", "/etc/localtime"]).text.strip().endswith("Europe/Berlin")


def test_units_run_in_the_very_first_boot(node: Node) -> None:
    assert [state(node, f"{unit}.service") for unit in ("enabled", "told")] == ["active", "active"]
    assert "hello" in [entry.message for entry in node.journal("--boot", "-u", "told.service")]
    assert node.run(["systemctl", "is-enabled", "--quiet", "enabled.service"]).status == 0
    assert node.try_run(["systemctl", "is-enabled", "fstrim.timer"]).text.strip() == "masked"
    assert node.run(["systemctl", "show", "-P", "LoadState", "page.service"]).text.strip() == "loaded"


def test_what_needs_an_address_has_it(node: Node) -> None:
    said = [entry.message for entry in node.journal("--boot", "-u", "addressed.service")]
    address = node.run(["sh", "-c", ". /etc/environment; echo $COREOS_PRIVATE_IPV4"]).text.strip()
    assert address
    assert f"I am {address}" in said


def test_what_is_wrong_is_said_and_nothing_else_is_lost(node: Node) -> None:
    said = report(node)
    assert (said["result"], said["source"]) == ("partly", "credential")
    problems = said["problems"]
    assert isinstance(problems, list)
    assert [(p["severity"], p["where"]) for p in problems] == [
        ("error", "write_files[2].path"),
        ("warning", "coreos.etcd2"),
        ("warning", "coreos.units[0]"),
    ]
    assert "/usr/bin/nonsense lies in the read-only /usr" in node.console()
    assert node.try_run(["skerry", "provision", "show"]).status == 1


def test_no_secret_is_in_the_journal_or_the_report(node: Node) -> None:
    everything = "\n".join(entry.message for entry in node.journal()) + json.dumps(report(node))
    assert not any(secret in everything for secret in (HASH, "hidden", "AAAAC3"))


def test_the_same_boot_again_changes_nothing(node: Node, expected_errors: list[Allowed]) -> None:
    expected_errors.append(SAID_AGAIN)
    node.run(["systemctl", "restart", "skerry-provision.service"])
    assert report(node)["steps"] == []


def test_the_next_boot_does_again_only_what_a_boot_takes_away(
    node: Node, expected_errors: list[Allowed]
) -> None:
    expected_errors.append(SAID_AGAIN)
    node.put("/etc/site/secret", "changed by hand")
    node.reboot()
    steps = report(node)["steps"]
    assert isinstance(steps, list)
    assert [step["what"] for step in steps] == [
        "write /run/site",
        "write /run/systemd/system/told.service",
        "write /run/systemd/system/told.service.d/10-greeting.conf",
        "let systemd read its units again",
        "start told.service",
        "start skerry-provision-network.service",
    ]
    assert node.read("/etc/site/secret") == "changed by hand"
    assert [state(node, f"{unit}.service") for unit in ("enabled", "told")] == ["active", "active"]


def test_a_document_can_be_applied_by_hand(node: Node) -> None:
    node.put("/etc/new.yaml", "#cloud-config\nhostname: web2\nwrite_files: [{path: /etc/new, content: x}]\n")
    tried = node.run(["skerry", "provision", "apply", "--dry-run", "/etc/new.yaml"]).text
    assert tried == (
        "name the machine web2: the document gives the name\nwrite /etc/new: it does not exist\n"
    )
    node.run(["skerry", "provision", "apply", "/etc/new.yaml"])
    assert node.run(["uname", "-n"]).text == "web2\n"
    assert report(node)["result"] == "applied"
