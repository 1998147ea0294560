"""Every rule for a value, one row each: what is taken, what is refused, on which line, with which hint."""

from __future__ import annotations

import base64
import gzip
import re
import tomllib
from pathlib import Path

import pytest

from skerry.host.provision.config import CloudConfig, Place
from skerry.host.provision.keys import (
    COMMANDS,
    COREOS_KEYS,
    FOREIGN,
    REPLACED_SERVICES,
    TOP_KEYS,
    UNIT_KEYS,
    USER_KEYS,
    Kind,
)
from skerry.host.provision.reading import read_config
from skerry.kit.errors import Problem, Severity

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIHDMSuBn0QpkXFjVv7M+wJ7RgqAEkY6yqTqFmL3zvRK me"
DOCUMENTS = Path(__file__).parents[3] / "documents" / "cloud-config"
HASH = "$6$salt$hash"
TOKEN = f"skerry1.{'0' * 64}.{'1' * 16}.{'2' * 64}"


def read(text: str) -> tuple[CloudConfig, tuple[Problem, ...]]:
    return read_config(f"#cloud-config\n{text}".encode(), "doc")


def clean(text: str) -> CloudConfig:
    config, problems = read(text)
    assert problems == ()
    return config


def only(text: str) -> Problem:
    _, problems = read(text)
    assert len(problems) == 1, problems
    return problems[0]


ERRORS = [
    ("hostname: -x", 2, "'-x' is not a host name"),
    ("hostname: a_b", 2, "'a_b' is not a host name"),
    (f"hostname: {'a' * 65}", 2, "is not a host name"),
    ("hostname: [a]", 2, "'hostname' must be a text, this is a list"),
    ("manage_etc_hosts: true", 2, "manage_etc_hosts must be localhost"),
    (f"ssh_authorized_keys: {KEY}", 2, "'ssh_authorized_keys' must be a list of texts"),
    ("ssh_authorized_keys:\n- nonsense", 3, "this is not an ssh public key"),
    ("ssh_authorized_keys:\n- -----BEGIN OPENSSH PRIVATE KEY-----", 3, "this is a private key"),
    ("users:\n- gecos: x", 3, "a user needs a name"),
    ("users:\n- name: Bob", 3, "'Bob' is not a user name"),
    ("users:\n- name: a\n  passwd: hunter2", 4, "the passwd of 'a' is not a password hash; it is left out"),
    ("users:\n- name: a\n  groups: [A b]", 4, "'A b' is not a group name"),
    ("users:\n- name: a\n  primary-group: A b", 4, "'A b' is not a group name"),
    ("users:\n- name: a\n  homedir: a", 4, "homedir must be an absolute path"),
    ("users:\n- name: a\n  shell: 'x:y'", 4, "shell must be an absolute path"),
    ("users:\n- name: a\n  gecos: 'x:y'", 4, "gecos must be one line without a colon"),
    ("users:\n- name: a\n  system: maybe", 4, "'system' must be true or false"),
    ("users:\n- name: a\n- name: a", 4, "the user 'a' stands twice, first on line 3"),
    ("users: {name: a}", 2, "'users' must be a list of mappings, this is a mapping"),
    ("users: [a]", 2, "each item of 'users' must be a mapping, this is a text"),
    ("write_files:\n- content: x", 3, "a file needs a path"),
    ("write_files:\n- path: etc/x", 3, "the path 'etc/x' must be absolute and name a file"),
    ("write_files:\n- path: /", 3, "the path '/' must be absolute and name a file"),
    ("write_files:\n- path: /etc/../x", 3, "the path '/etc/../x' must not contain `..`"),
    ("write_files:\n- path: /etc/x/", 3, "the path '/etc/x/' names a directory"),
    ("write_files:\n- path: /usr/bin/x", 3, "/usr/bin/x lies in the read-only /usr"),
    ("write_files:\n- path: /bin/x", 3, "/bin/x lies in the read-only /usr"),
    ("write_files:\n- path: /lib/x", 3, "/lib/x lies in the read-only /usr"),
    ("write_files:\n- path: /proc/sys/vm/x", 3, "/proc/sys/vm/x is not a file on a disk"),
    ("write_files:\n- path: /a\n  permissions: rwx", 4, "the permissions 'rwx' are not octal"),
    ("write_files:\n- path: /a\n  permissions: 0888", 4, "the permissions '0888' are not octal"),
    ("write_files:\n- path: /a\n  permissions: 64", 4, "the permissions '64' are not octal"),
    ("write_files:\n- path: /a\n  permissions: '000644'", 4, "the permissions '000644' are not octal"),
    ("write_files:\n- path: /a\n  owner: 'a b'", 4, "the owner 'a b' is neither USER nor USER:GROUP"),
    ("write_files:\n- path: /a\n  encoding: rot13", 4, "the encoding 'rot13' is not known"),
    ("write_files:\n- path: /a\n  encoding: b64\n  content: '*'", 5, "the content is not base64"),
    ("write_files:\n- path: /a\n  encoding: gz+b64\n  content: aGVsbG8=", 5, "the content is not gzip"),
    ("write_files:\n- path: /a\n  encoding: gz\n  content: !!binary H4sIAAAA", 5, "the gzip content ends"),
    ("units:\n- command: start", 3, "a unit needs a name"),
    ("units:\n- name: web", 3, "unit name 'web' has no suffix that is known"),
    ("units:\n- name: ../a.service", 3, "unit name '../a.service' must not contain '/'"),
    ("units:\n- name: a/b.network", 3, "'a/b.network' is not the name of a network file"),
    ("units:\n- name: a.service\n  command: begin", 4, "'begin' is not a command for a unit"),
    ("units:\n- name: a.service\n  drop-ins:\n  - content: x", 5, "a drop-in needs a name"),
    ("units:\n- name: a.service\n  drop-ins:\n  - name: ../x.conf", 5, "'../x.conf' is not a file name"),
    ("coreos: {update: {reboot_strategy: sometimes}}", 2, "'reboot_strategy' must be one of"),
    ("skerry: {timezone: '../etc'}", 2, "'../etc' is not a time zone"),
    ("skerry:\n  cluster: {servers: [a]}", 3, "a cluster to join needs a token"),
    ("skerry:\n  cluster:\n    token: skerry1.0\n    servers: [a]", 4, "this is not a whole token"),
    (f"skerry:\n  cluster: {{token: {TOKEN}}}", 3, "a cluster to join needs servers"),
    (f"skerry:\n  cluster:\n    token: {TOKEN}\n    servers: [a b]", 5, "'a b' is no server to join"),
    (f"skerry: {{cluster: {{token: {TOKEN}, servers: [a], role: king}}}}", 2, "'role' must be one of"),
    ("skerry: {ntp: ['a b']}", 2, "'a b' is not a host name or address"),
    ("skerry: {registries: [{mirror: a}]}", 2, "a registry needs a prefix"),
    ("skerry: {registries: [{prefix: 'http://a'}]}", 2, "'http://a' is not the name of a registry"),
    ("skerry: {registries: [{prefix: a, mirror: 'https://b'}]}", 2, "the mirror 'https://b' is not HOST"),
    ("skerry: {daemon: {a: 99999999999999999999}}", 2, "this number is too large for a setting"),
]
WARNINGS = [
    ("hostnam: a", 2, "the key 'hostnam' is not known here", "did you mean 'hostname'?"),
    ("write-file: []", 2, "the key 'write-file' is not known here", "did you mean 'write_files'?"),
    ("runcmd: [ls]", 2, "'runcmd' is a key of the other cloud-init", FOREIGN["runcmd"]),
    (
        "coreos: {write_files: []}",
        2,
        "'write_files' under `coreos` is not read",
        "it belongs at the top level",
    ),
    ("update: {group: beta}", 2, "'update' at the top level is not read", "it belongs under `coreos`"),
    ("users:\n-", 3, "an item of 'users' is empty", None),
    ("users:\n- name: a\n  sudo: x", 4, "'sudo' is a key of the other cloud-init", FOREIGN["sudo"]),
    (
        "users:\n- name: a\n  coreos-ssh-import-github: b",
        4,
        "'coreos-ssh-import-github' is known from CoreOS and not used by Skerry",
        USER_KEYS["coreos_ssh_import_github"].note,
    ),
    ("write_files: [{path: /a}, {path: /a}]", 2, "/a is written twice, first on line 2", "the last is taken"),
    (
        "units:\n- name: a.service\n  enable: 'true'",
        4,
        "'enable' is true or false, not a text",
        "leave out the quotes",
    ),
    (
        "units:\n- name: a.service\n  enable: true\n  content: |\n    [Unit]\n    Description=x",
        4,
        "a.service has no [Install] section, so `enable` does nothing",
        "add `WantedBy=multi-user.target`",
    ),
    (
        "units:\n- name: a.service\n  content: |\n    [Service]\n    ExecStart\n",
        6,
        "in a.service: expected Name=value, found 'ExecStart'",
        "comments begin with # or ;",
    ),
    (
        "units:\n- name: a.service\n  mask: true\n  content: x",
        5,
        "a.service is masked, so its content is",
        None,
    ),
    ("units:\n- name: a.service\n- name: a.service", 4, "the unit a.service stands twice", "join both"),
    (
        "units:\n- name: a.service\n  drop-ins: [{name: x}]",
        4,
        "systemd reads no drop-in whose name does not end in .conf: x",
        "name it x.conf",
    ),
    (
        "units: [{name: fleet.service, command: start}]",
        2,
        "fleet.service is CoreOS's own and does not exist here; this entry is not used",
        REPLACED_SERVICES["fleet.service"],
    ),
]


@pytest.mark.parametrize(
    ("text", "line", "message"), ERRORS, ids=[e[0].replace("\n", "|")[:50] for e in ERRORS]
)
def test_an_error_stands_on_its_line(text: str, line: int, message: str) -> None:
    found = [p for p in read(text)[1] if p.severity is Severity.ERROR]
    assert [p.line for p in found] == [line]
    assert message in found[0].message
    assert "hunter2" not in str(found[0])


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"), WARNINGS, ids=[w[0].replace("\n", "|")[:50] for w in WARNINGS]
)
def test_a_warning_says_what_to_do(text: str, line: int, message: str, hint: str | None) -> None:
    found = [p for p in read(text)[1] if message in p.message]
    assert [(p.line, p.severity) for p in found] == [(line, Severity.WARNING)]
    if hint is not None:
        assert found[0].hint == hint


@pytest.mark.parametrize("name", sorted(COREOS_KEYS.keys() - {"units", "update"}))
def test_every_part_of_coreos_is_known_and_answered_once(name: str) -> None:
    keys = COREOS_KEYS[name].keys
    text = f"coreos:\n  {name}:\n" + "".join(f"    {key.replace('_', '-')}: x\n" for key in keys)
    problem = only(text)
    assert (problem.line, problem.severity) == (3, Severity.WARNING)
    assert problem.hint == COREOS_KEYS[name].note


def test_the_server_of_another_system_is_not_taken_for_a_repository() -> None:
    problem = only("coreos: {update: {server: 'https://update.example.com/v1'}}")
    assert (problem.line, problem.severity) == (2, Severity.WARNING)
    assert problem.hint == "write `skerry: {update: {repository: …}}`"


def test_every_key_of_the_reference_is_in_a_table() -> None:
    assert TOP_KEYS.keys() >= {
        *("ssh_authorized_keys", "coreos", "write_files", "hostname", "users", "manage_etc_hosts")
    }
    assert COREOS_KEYS.keys() == {
        *("units", "etcd", "etcd2", "fleet", "flannel", "locksmith", "update", "oem")
    }
    assert UNIT_KEYS.keys() == {"name", "mask", "enable", "runtime", "content", "command", "drop_ins"}
    assert all(key.kind is Kind.TEXT for key in COREOS_KEYS["etcd"].keys.values())


@pytest.mark.parametrize(
    ("written", "mode"),
    [
        ("0644", 0o644),
        ("644", 0o644),
        ("'0600'", 0o600),
        ("'755'", 0o755),
        ("4755", 0o4755),
        ("01777", 0o1777),
    ],
)
def test_permissions_are_octal_however_they_are_written(written: str, mode: int) -> None:
    assert clean(f"write_files: [{{path: /etc/x, permissions: {written}}}]").files[0].mode == mode


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("b64", base64.b64encode(b"hello")),
        ("base64", b"aGVs\n    bG8="),
        ("gz+b64", base64.b64encode(gzip.compress(b"hello", mtime=0))),
        ("gz+base64", base64.b64encode(gzip.compress(b"hel", mtime=0) + gzip.compress(b"lo", mtime=0))),
        ("gzip+b64", base64.b64encode(gzip.compress(b"hello", mtime=0))),
        ("gzip+base64", base64.b64encode(gzip.compress(b"hello", mtime=0))),
        ("gz", b"!!binary " + base64.b64encode(gzip.compress(b"hello", mtime=0))),
        ("gzip", b"!!binary " + base64.b64encode(gzip.compress(b"hello", mtime=0))),
    ],
)
def test_every_encoding_is_undone(encoding: str, data: bytes) -> None:
    text = f"write_files:\n- path: /etc/x\n  encoding: {encoding}\n  content: {data.decode()}\n"
    assert clean(text).files[0].data == b"hello"


def test_local_programs_may_be_written() -> None:
    assert clean("write_files: [{path: /usr/local/bin/x}]").files[0].path == "/usr/local/bin/x"


def test_what_unpacks_to_too_much_is_refused() -> None:
    bomb = base64.b64encode(gzip.compress(b"\0" * (17 * 1024 * 1024))).decode()
    problem = only(f"write_files: [{{path: /a, encoding: gz+b64, content: {bomb}}}]")
    assert problem.message == "the content is larger than 16777216 bytes when decompressed"


@pytest.mark.parametrize(
    ("name", "content", "place", "service"),
    [
        ("a.service", None, Place.SYSTEMD, "a.service"),
        ("a@1.timer", None, Place.SYSTEMD, "a@1.timer"),
        ("a.container", "[Container]", Place.QUADLET, "a.service"),
        ("a.container", "[Container]\nServiceName=b", Place.QUADLET, "b.service"),
        ("a.pod", None, Place.QUADLET, "a-pod.service"),
        ("a.network", "[Network]\nSubnet=10.0.0.0/8", Place.QUADLET, "a-network.service"),
        ("a.network", "[Match]\nName=eth0", Place.NETWORK, "a.network"),
        ("00-a b.network", None, Place.NETWORK, "00-a b.network"),
        ("a.netdev", "[NetDev]", Place.NETWORK, "a.netdev"),
        ("a.link", "[Match]", Place.NETWORK, "a.link"),
    ],
)
def test_a_unit_goes_where_its_kind_belongs(
    name: str, content: str | None, place: Place, service: str
) -> None:
    body = "" if content is None else "  content: |\n" + "".join(f"    {c}\n" for c in content.split("\n"))
    unit = read(f"units:\n- name: {name}\n{body}")[0].units[0]
    assert (unit.place, unit.service) == (place, service)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_taken(command: str) -> None:
    assert clean(f"units: [{{name: a.service, command: {command}}}]").units[0].command == command


def test_a_network_file_has_no_command() -> None:
    assert clean("units: [{name: a.network, command: restart}]").units[0].command is None


def test_units_of_both_places_keep_their_order() -> None:
    config = clean("units: [{name: c.service}]\ncoreos: {units: [{name: a.service}, {name: b.service}]}")
    assert [u.name for u in config.units] == ["a.service", "b.service", "c.service"]


def test_hyphens_and_underscores_are_the_same() -> None:
    assert clean("write-files: [{path: /etc/a}]") == clean("write_files: [{path: /etc/a}]")


def test_a_key_without_a_value_is_not_given() -> None:
    assert clean("hostname:\nusers:\ncoreos:\n") == CloudConfig()


def test_a_bad_part_leaves_the_others() -> None:
    config, problems = read(
        f"hostname: a b\nusers: [{{name: a, passwd: x}}]\nssh_authorized_keys: [{KEY}, x]"
    )
    assert len(problems) == 3
    assert [u.name for u in config.users] == ["a"]
    assert [k.text for k in config.keys] == [KEY]


@pytest.mark.parametrize(
    "key",
    [
        KEY,
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAA=",
        "sk-ssh-ed25519@openssh.com AAAAGnNr me",
        'command="ls",no-pty ssh-rsa AAAAB3NzaC1yc2E= a b',
        "ssh-ed25519-cert-v01@openssh.com AAAAIHNz x",
    ],
)
def test_keys_of_every_kind_are_taken(key: str) -> None:
    assert [k.text for k in clean(f"ssh_authorized_keys:\n- '{key}'\n").keys] == [key]


def test_secrets_are_in_no_representation() -> None:
    text = f"users: [{{name: a, passwd: {HASH}}}]\nwrite_files: [{{path: /etc/a, content: topsecret}}]\n"
    text += f"ssh_authorized_keys: [{KEY}]\nunits: [{{name: a.service, content: '#topsecret'}}]"
    shown = repr(clean(text))
    assert not any(secret in shown for secret in (HASH, "topsecret", "AAAA"))


def test_settings_of_the_daemon_become_toml() -> None:
    values = r'b: true, i: -3, f: 1.5, t: "a\"\u0001\x7f", l: [1, {x: y}], s: {u: {k.e: v}}'
    text = f"skerry: {{daemon: {{{values}}}}}"
    daemon = clean(text).settings.daemon
    assert daemon is not None
    wanted = {"b": True, "i": -3, "f": 1.5, "t": 'a"\x01\x7f', "l": [1, {"x": "y"}], "s": {"u": {"k.e": "v"}}}
    assert tomllib.loads(daemon) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("skerry: {update: {channel: beta}}", {"channel": "beta"}),
        (
            "coreos: {update: {group: alpha, reboot_strategy: off}}",
            {"channel": "alpha", "strategy": "manual"},
        ),
        ("coreos: {update: {reboot-strategy: etcd-lock}}", {"strategy": "immediate"}),
        (
            "coreos: {update: {group: alpha, reboot_strategy: reboot}}\nskerry: {update: {channel: beta}}",
            {"channel": "beta", "strategy": "immediate"},
        ),
    ],
)
def test_settings_of_updates_are_ours_over_those_of_coreos(text: str, wanted: dict[str, str]) -> None:
    update = clean(text).settings.update
    assert update is not None
    assert tomllib.loads(update) == wanted


def test_mirrors_of_one_registry_are_tried_in_order() -> None:
    from skerry.host.provision.reading_settings import registries_conf

    text = "skerry: {registries: [{prefix: a, mirror: 'x:1'}, {prefix: '*.b', insecure: true},"
    conf = registries_conf(clean(f"{text} {{prefix: a, mirror: y, insecure: true}}]}}").settings.registries)
    assert tomllib.loads(conf) == {
        "unqualified-search-registries": ["docker.io"],
        "registry": [
            {
                "prefix": "a",
                "location": "a",
                "mirror": [{"location": "x:1"}, {"location": "y", "insecure": True}],
            },
            {"prefix": "*.b", "insecure": True},
        ],
    }


@pytest.mark.parametrize(
    ("name", "warnings"), [("cluster-member.yaml", 6), ("single-host.yaml", 0), ("skerry.yaml", 0)]
)
def test_documents_as_people_write_them_are_read_without_errors(name: str, warnings: int) -> None:
    _, problems = read_config((DOCUMENTS / name).read_bytes(), name)
    assert [p.severity for p in problems] == [Severity.WARNING] * warnings


def test_the_documents_of_the_reference_and_the_guide_are_clean() -> None:
    pages = [
        DOCUMENTS.parents[2] / "docs" / page
        for page in ("reference/cloud-config.md", "guide/provisioning.md")
    ]
    yaml = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
    blocks = [block for page in pages for block in yaml.findall(page.read_text())]
    assert len(blocks) >= 3
    for block in blocks:
        text = block.replace("AAAA…", KEY.split()[1]).removeprefix("#cloud-config\n")
        assert read(text)[1] == ()


def test_a_cluster_to_join_is_named_in_short() -> None:
    text = (
        f"skerry:\n  cluster: {{token: {TOKEN}, servers: [10.0.0.1, 'https://[fd00::1]:7000'], role: agent}}"
    )
    config = clean(text)
    assert tomllib.loads(config.settings.cluster or "") == {
        "token": TOKEN,
        "servers": ["https://10.0.0.1:7443", "https://[fd00::1]:7000"],
        "role": "agent",
    }
    assert TOKEN not in repr(config)


def test_no_problem_shows_a_token() -> None:
    secret = TOKEN[:-1]
    _, problems = read(f"skerry: {{cluster: {{token: {secret}, servers: ['a b'], tokn: {secret}}}}}")
    assert len(problems) == 3
    assert not any(secret in f"{p} {p.hint}" for p in problems)
