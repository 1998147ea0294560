"""What a plan does to a machine: its order, its second run, its later boots, and a run that was cut off."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.host_programs import FakePrograms, bare_tree
from skerry.host.provision.apply import Surroundings, apply, prepare
from skerry.host.provision.carry_out import Target, carry_out
from skerry.host.provision.config import CloudConfig
from skerry.host.provision.errors import StepError
from skerry.host.provision.keys import FILE_KEYS, SKERRY_KEYS, TOP_KEYS, UNIT_KEYS, USER_KEYS
from skerry.host.provision.machine import Applied, Machine
from skerry.host.provision.plan import Occasion, Stage, occasion, plan
from skerry.host.provision.report import read_applied, write_applied
from skerry.host.provision.sources import Found

if TYPE_CHECKING:
    from skerry.host.provision.report import Report
    from skerry.host.provision.steps import AnyStep

DOCUMENTS = Path(__file__).parents[3] / "documents" / "cloud-config"
NAMES = ("cluster-member.yaml", "single-host.yaml", "skerry.yaml")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIHDMSuBn0QpkXFjVv7M+wJ7RgqAEkY6yqTqFmL3zvRK"


@dataclass
class Host:
    """A tree that is provisioned as a running machine is, with programs in memory."""

    root: Path
    programs: FakePrograms
    addresses: tuple[str, ...] = ("10.0.0.5", "2001:db8::5")
    names: list[str] = field(default_factory=list)

    def around(self, stage: Stage = Stage.EARLY) -> Surroundings:
        target = Target(self.root, live=True, start=self.programs, set_hostname=self.names.append)
        return Surroundings(target, stage, lambda: self.addresses, lambda: 0.0)

    def apply(self, text: str | bytes, stage: Stage = Stage.EARLY) -> Report:
        return apply(found(text), self.around(stage))

    def steps(self, text: str | bytes, stage: Stage = Stage.EARLY) -> list[str]:
        return [step.what for step in prepare(found(text), self.around(stage)).steps]

    def reboot(self) -> None:
        """/run is gone, and the record is of another boot."""
        for stage in Stage:
            applied = read_applied(stage, self.root)
            if applied is not None:
                write_applied(Applied(applied.sha256, "another boot", applied.failed), stage, self.root)
        for path in sorted((self.root / "run").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()

    def content(self) -> dict[str, tuple[int, str]]:
        """Everything below the root but the records: mode and content."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if name.startswith("var/lib/skerry") or path.is_dir():
                continue
            text = f"-> {path.readlink()}" if path.is_symlink() else path.read_text(errors="replace")
            found[name] = (path.lstat().st_mode, text)
        return found


def found(text: str | bytes) -> Found:
    return Found("test", text.encode() if isinstance(text, str) else text)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return new_host(tmp_path / "machine")


def new_host(root: Path) -> Host:
    bare_tree(root, os.getuid(), os.getgid())
    return Host(root, FakePrograms(root))


def test_the_order_is_that_of_coreos(host: Host) -> None:
    config = f"""#cloud-config
coreos:
  units:
    - name: a.service
      command: start
      enable: true
      content: "[Install]\\nWantedBy=multi-user.target"
    - {{name: b.network, content: "[Match]"}}
write_files: [{{path: /etc/x}}]
ssh_authorized_keys: [{KEY}]
users: [{{name: bob, groups: [ops]}}]
hostname: web1
"""
    assert host.steps(config) == [
        "name the machine web1",
        "add the group ops",
        "add the user bob",
        "add the group wheel",
        "add the user core",
        "give core 1 ssh key",
        "give root 1 ssh key",
        "write /etc/x",
        "write /etc/systemd/system/a.service",
        "write /etc/systemd/network/b.network",
        "enable a.service",
        "let systemd read its units again",
        "try-restart systemd-networkd.service",
        "start a.service",
        "start default.target",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_applying_twice_changes_nothing(host: Host, name: str) -> None:
    data = (DOCUMENTS / name).read_bytes()
    for stage in Stage:
        assert host.apply(data, stage).errors == 0
    before, commands = host.content(), len(host.programs.log)

    reports = [host.apply(data, stage) for stage in Stage]

    assert [r.result for r in reports] == ["unchanged", "unchanged"]
    assert all(not r.steps for r in reports)
    assert host.content() == before
    assert len(host.programs.log) == commands


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stage", Stage)
def test_a_run_that_was_cut_off_anywhere_comes_to_the_same_end(
    tmp_path: Path, name: str, stage: Stage
) -> None:
    data = (DOCUMENTS / name).read_bytes()
    whole = new_host(tmp_path / "whole")
    if stage is Stage.NETWORK:
        whole.apply(data)
    steps = prepare(found(data), whole.around(stage)).steps
    whole.apply(data, stage)

    for length in range(len(steps)):
        cut = new_host(tmp_path / f"cut{length}")
        if stage is Stage.NETWORK:
            cut.apply(data)
        for step in prepare(found(data), cut.around(stage)).steps[:length]:
            carry_out(step, cut.around().target)
        cut.apply(data, stage)
        assert cut.content() == whole.content()
        assert set(whole.programs.log) == set(cut.programs.log)


def test_a_later_boot_repeats_only_what_a_boot_takes_away(host: Host) -> None:
    config = """#cloud-config
hostname: web1
write_files: [{path: /etc/kept, content: a}, {path: /run/gone, content: b}]
units:
- {name: kept.service, content: "[Service]", command: restart}
- {name: gone.service, content: "[Service]", runtime: true}
"""
    host.apply(config)
    host.reboot()
    (host.root / "etc/kept").write_text("changed by hand")
    assert host.steps(config) == [
        "write /run/gone",
        "write /run/systemd/system/gone.service",
        "let systemd read its units again",
        "restart kept.service",
    ]


def test_a_changed_document_is_applied_anew(host: Host) -> None:
    host.apply("#cloud-config\nwrite_files: [{path: /etc/a, content: x}]")
    (host.root / "etc/a").write_text("changed by hand")
    assert host.steps("#cloud-config\nwrite_files: [{path: /etc/a, content: x}]\nhostname: b") == [
        "name the machine b",
        "write /etc/a",
    ]


def test_what_failed_is_tried_again_at_the_next_boot(host: Host) -> None:
    config = "#cloud-config\nwrite_files: [{path: /etc/a, owner: nobody}, {path: /etc/b}]"
    report = host.apply(config)
    assert [(s.what, s.done) for s in report.steps] == [("write /etc/a", False), ("write /etc/b", True)]
    assert report.result == "partly"
    assert host.steps(config) == []
    host.reboot()
    (host.root / "etc/b").unlink()
    assert host.steps(config) == ["write /etc/a"]


def test_a_step_that_fails_stops_no_other(host: Host) -> None:
    host.programs.fail = frozenset({"useradd"})
    report = host.apply("#cloud-config\nusers: [{name: bob}]\nhostname: web1\nwrite_files: [{path: /etc/a}]")
    failed = [s for s in report.steps if not s.done]
    assert [(s.what, s.line) for s in failed] == [("add the user bob", 2)]
    assert "could not add the user bob: useradd failed with status 1" in str(failed[0].message)
    assert host.read("/etc/hostname") == "web1\n"
    assert (host.root / "etc/a").exists()


def test_an_existing_user_gets_password_and_keys_only(host: Host) -> None:
    config = (
        "#cloud-config\nusers: [{name: bob, passwd: $6$a$b, gecos: x, ssh_authorized_keys: [" + KEY + "]}]"
    )
    host.programs(["useradd", "--create-home", "--user-group", "bob"], None)
    assert host.steps(config) == ["set the password of bob", "give bob 1 ssh key"]
    host.apply(config)
    assert "bob:$6$a$b:" in host.read("/etc/shadow")
    assert not any("$6$a$b" in line for line in host.programs.log)


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ("", "--create-home --user-group --shell /bin/bash"),
        (
            "gecos: A B, homedir: /srv/u",
            "--comment A B --home-dir /srv/u --create-home --user-group --shell /bin/bash",
        ),
        ("no_create_home: true", "--no-create-home --user-group --shell /bin/bash"),
        ("primary_group: sudo", "--create-home --gid sudo --shell /bin/bash"),
        (
            "no_user_group: true, groups: [sudo, u]",
            "--create-home --groups sudo --no-user-group --shell /bin/bash",
        ),
        (
            "system: true, no_log_init: true, shell: /bin/x",
            "--create-home --user-group --system --no-log-init --shell /bin/x",
        ),
    ],
)
def test_a_user_is_made_as_the_document_says(host: Host, fields: str, options: str) -> None:
    host.apply(f"#cloud-config\nusers: [{{name: u, {fields}}}]")
    assert host.programs.log[-1] == f"useradd --password * {options} u"


def test_keys_that_others_added_stay(host: Host) -> None:
    file = host.root / "root/.ssh/authorized_keys"
    file.parent.mkdir()
    file.write_text("ssh-rsa AAAAmine me\n")
    host.apply(f"#cloud-config\nssh_authorized_keys: [{KEY} one]")
    file.write_text(file.read_text() + "ssh-rsa AAAAlater me\n")
    host.apply(f"#cloud-config\nssh_authorized_keys: [{KEY} two]")
    keys = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert keys == ["ssh-rsa AAAAmine me", f"{KEY} two", "ssh-rsa AAAAlater me"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert (host.root / "home/core/.ssh").stat().st_mode & 0o777 == 0o700


def test_keys_are_not_written_through_a_link(host: Host) -> None:
    (host.root / "root/.ssh").symlink_to("/etc")
    report = host.apply(f"#cloud-config\nssh_authorized_keys: [{KEY}]")
    assert [s.what for s in report.steps if not s.done] == ["give root 1 ssh key"]
    assert not (host.root / "etc/authorized_keys").exists()


def test_links_of_the_tree_are_followed_inside_it(host: Host) -> None:
    (host.root / "srv").symlink_to("/var/srv")
    (host.root / "etc/up").symlink_to("../../../../usr/lib")
    report = host.apply("#cloud-config\nwrite_files: [{path: /srv/a/b, content: x}, {path: /etc/up/x}]")
    assert host.read("/var/srv/a/b") == "x"
    failed = [s.message for s in report.steps if not s.done]
    assert failed == ["could not write /etc/up/x: it leads into the read-only /usr"] or "read-only" in str(
        failed
    )


def test_a_mask_is_a_link_and_can_be_taken_back(host: Host) -> None:
    host.apply("#cloud-config\nunits: [{name: a.service, mask: true}]")
    assert (host.root / "etc/systemd/system/a.service").readlink() == Path("/dev/null")
    host.apply("#cloud-config\nunits: [{name: a.service}]")
    assert not (host.root / "etc/systemd/system/a.service").is_symlink()


def test_the_name_is_set_at_once_and_for_good(host: Host) -> None:
    host.apply("#cloud-config\nhostname: web1\nmanage_etc_hosts: localhost")
    host.apply("#cloud-config\nhostname: web2\nmanage_etc_hosts: localhost")
    assert host.names == ["web1", "web2"]
    assert host.read("/etc/hosts") == "127.0.0.1 localhost\n127.0.0.1 web2 # from the cloud-config\n"


def test_the_token_of_a_cluster_is_for_root_alone_and_skerryd_is_told(host: Host) -> None:
    token = f"skerry1.{'0' * 64}.{'1' * 16}.{'2' * 64}"
    text = f"#cloud-config\nskerry: {{cluster: {{token: {token}, servers: [10.0.0.1]}}}}"
    report = host.apply(text)
    mode, written = host.content()["etc/skerry/join.toml"]
    assert (mode & 0o777, token in written) == (0o600, True)
    assert token not in repr(report)
    kept = [path for path in (host.root / "var/lib/skerry").rglob("*") if path.is_file()]
    assert [path for path in kept if token in path.read_text() and path.stat().st_mode & 0o077] == []
    assert [step.what for step in report.steps if "skerryd" in step.what] == ["try-restart skerryd.service"]
    (host.root / "etc/skerry/join.toml").unlink()  # skerryd has joined
    host.reboot()
    host.apply(text)
    assert not (host.root / "etc/skerry/join.toml").exists()


def test_a_time_zone_that_the_image_lacks_is_said(host: Host) -> None:
    assert host.apply("#cloud-config\nskerry: {timezone: Europe/Berlin}").result == "applied"
    report = host.apply("#cloud-config\nskerry: {timezone: Europe/Atlantis}")
    assert "this image does not have it" in str(report.steps[0].message)
    assert str((host.root / "etc/localtime").readlink()) == "../usr/share/zoneinfo/Europe/Berlin"


WAITING = """#cloud-config
write_files:
- {path: /etc/now, content: x}
- {path: /etc/later, content: "at $private_ipv4, \\\\$private_ipv4"}
units:
- {name: now.service, command: start}
- {name: later.service, command: start, content: "[Service]\\nEnvironment=A=$public_ipv6"}
"""


def test_what_needs_an_address_waits_for_the_network(host: Host) -> None:
    host.apply(WAITING)
    assert not (host.root / "etc/later").exists()
    assert host.programs.log == [
        "systemctl --quiet --no-block start now.service",
        "systemctl --quiet --no-block start skerry-provision-network.service",
    ]
    report = host.apply(WAITING, Stage.NETWORK)
    assert report.problems == ()
    assert host.read("/etc/later") == "at 10.0.0.5, $private_ipv4"
    assert "A=2001:db8::5" in host.read("/etc/systemd/system/later.service")
    assert "COREOS_PRIVATE_IPV4=10.0.0.5\n" in host.read("/etc/environment")
    assert host.programs.log[2:] == [
        "systemctl daemon-reload",
        "systemctl --quiet --no-block start later.service",
    ]


def test_what_the_environment_says_does_not_wait(host: Host) -> None:
    given = 'COREOS_PRIVATE_IPV4="192.0.2.1"\nCOREOS_PUBLIC_IPV6=2001:db8::1\n'
    (host.root / "etc/environment").write_text(given)
    host.apply(WAITING)
    assert host.read("/etc/later") == "at 192.0.2.1, $private_ipv4"
    assert host.read("/etc/environment") == given


def test_when_an_address_changes_what_uses_it_is_written_anew(host: Host) -> None:
    (host.root / "etc/environment").write_text("LANG=C\n")
    host.apply(WAITING)
    host.apply(WAITING, Stage.NETWORK)
    host.reboot()
    assert host.steps(WAITING, Stage.NETWORK) == ["start later.service"]
    host.addresses = ("10.0.0.6", "2001:db8::5")
    host.apply(WAITING)
    host.apply(WAITING, Stage.NETWORK)
    assert host.read("/etc/later") == "at 10.0.0.6, $private_ipv4"
    assert host.read("/etc/environment").splitlines()[0::2][:2] == ["LANG=C", "COREOS_PRIVATE_IPV4=10.0.0.6"]


def test_an_address_that_is_missing_becomes_nothing_and_is_said(host: Host) -> None:
    host.addresses = ()
    host.apply(WAITING)
    report = host.apply(WAITING, Stage.NETWORK)
    assert host.read("/etc/later") == "at , $private_ipv4"
    assert {(p.line, p.message) for p in report.problems} == {
        (4, "this machine has no private ipv4, which becomes nothing here"),
        (7, "this machine has no public ipv6, which becomes nothing here"),
    }


def test_a_document_that_cannot_be_read_changes_nothing(host: Host) -> None:
    before = host.content()
    report = host.apply("#!/bin/sh\n")
    assert (report.result, report.errors, report.steps) == ("refused", 1, ())
    assert host.content() == before


def test_no_secret_reaches_the_report(host: Host) -> None:
    import json
    from dataclasses import asdict

    text = f"#cloud-config\nusers: [{{name: a, passwd: $6$se$cret, ssh_authorized_keys: [{KEY}]}}]\n"
    text += "write_files: [{path: /etc/a, content: secret}, {path: /etc/b, owner: no-one, content: secret}]\n"
    text += "skerry: {daemon: {token: secret}}"
    host.programs.fail = frozenset({"chpasswd"})
    shown = json.dumps(asdict(host.apply(text)))
    assert not any(secret in shown for secret in ("$6$", "AAAA", "secret"))


TEXTS = st.sampled_from(
    ["", "a", "bob", "core", "root", "/etc/x", "/run/a/b", "/etc/passwd", "a.service", "x.network"]
)
WORDS = TEXTS | st.sampled_from(
    ["a@.service", "b.container", "0644", "start", "localhost", KEY, "[Service]", "$private_ipv4"]
)
KEYS = sorted({*TOP_KEYS, *USER_KEYS, *FILE_KEYS, *UNIT_KEYS, *SKERRY_KEYS, "prefix", "mirror"})
LEAVES = st.booleans() | st.integers(0, 9999) | WORDS
TABLE = st.dictionaries(st.sampled_from(KEYS), LEAVES | st.lists(LEAVES, max_size=2), max_size=6)
LISTS = st.sampled_from(["users", "write_files", "units"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TABLE, st.dictionaries(LISTS, st.lists(TABLE, max_size=3), max_size=3), st.sampled_from(Stage))
def test_no_document_crashes_a_host_and_the_second_run_is_empty(
    tmp_path: Path, top: dict[str, object], lists: dict[str, object], stage: Stage
) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as directory:
        host = new_host(Path(directory) / "machine")
        text = "#cloud-config\n" + yaml.safe_dump({**top, **lists})
        report = host.apply(text, stage)
        assert not any("by a fault in Skerry" in (step.message or "") for step in report.steps)
        assert host.steps(text, stage) == []


def test_occasions() -> None:
    assert occasion("a", Machine(boot_id="1")) is Occasion.NEW
    assert occasion("a", Machine(boot_id="1", applied=Applied("b", "1"))) is Occasion.NEW
    assert occasion("a", Machine(boot_id="1", applied=Applied("a", "1"))) is Occasion.SAME_BOOT
    assert occasion("a", Machine(boot_id="2", applied=Applied("a", "1"))) is Occasion.NEXT_BOOT


def test_an_empty_document_plans_nothing() -> None:
    assert plan(CloudConfig(), "a", Machine()) == ()


def test_an_error_of_the_system_is_a_sentence(tmp_path: Path) -> None:
    host = new_host(tmp_path / "machine")
    (host.root / "etc/x").mkdir()
    steps: tuple[AnyStep, ...] = prepare(
        found("#cloud-config\nwrite_files: [{path: /etc/x}]"), host.around()
    ).steps
    with pytest.raises(StepError, match="could not write /etc/x: a directory stands there"):
        carry_out(steps[0], host.around().target)
