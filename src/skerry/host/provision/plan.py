"""What to do so that a machine is as its document says: a function from values to steps.

Order, as CoreOS had it: hostname, users and their keys, files, units (place, mask, enable), let systemd
read them, networks, commands; then the default target once more, so that what was enabled just now
starts in this boot as it will in every later one.

    a document that was not applied to its end yet   all that differs, and the commands
    the same document in a later boot                runtime units, files in /run and /tmp, the commands,
                                                     and what failed the last time
    the same document in the same boot               nothing

So a file that an administrator changed later keeps the change until the document changes. Nothing is ever
taken away because a newer document no longer mentions it. Invariant: a run that was cut off anywhere
and is planned again comes to the same end.
"""

from __future__ import annotations

import enum
import hashlib
from typing import TYPE_CHECKING

from skerry.host.provision import addresses
from skerry.host.provision.config import CloudConfig, File, Place, Unit, User
from skerry.host.provision.reading_settings import registries_conf, timesyncd_conf
from skerry.host.provision.steps import (
    AddGroup,
    AddUser,
    AnyStep,
    CommandUnit,
    EnableUnit,
    MakeLink,
    ReloadManager,
    RemoveLink,
    SetHostname,
    SetKeys,
    SetPassword,
    WriteFile,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from skerry.host.provision.machine import FileState, Machine

NETWORK_UNIT = "skerry-provision-network.service"
CORE = "core"
WHEEL = "wheel"
DAEMON_FILE = "/etc/skerry/skerryd.toml.d/50-cloud-config.toml"
UPDATE_FILE = "/etc/skerry/update.toml.d/50-cloud-config.toml"
JOIN_FILE = "/etc/skerry/join.toml"  # skerryd removes it when it has joined: it holds a secret
REGISTRIES_FILE = "/etc/containers/registries.conf.d/50-skerry.conf"
NTP_FILE = "/etc/systemd/timesyncd.conf.d/50-cloud-config.conf"
ENVIRONMENT_FILE = "/etc/environment"
HOSTS_FILE = "/etc/hosts"
HOSTS_MARK = "# from the cloud-config"
READ_FILES = (ENVIRONMENT_FILE, HOSTS_FILE)


class Stage(enum.StrEnum):
    """Before the network is up, or after it."""

    EARLY = "early"
    NETWORK = "network"


class Occasion(enum.StrEnum):
    """What this run is to the document."""

    NEW = "new"
    NEXT_BOOT = "next-boot"
    SAME_BOOT = "same-boot"


def occasion(sha256: str, machine: Machine) -> Occasion:
    """How the document compares with what the machine recorded."""
    done = machine.applied
    if done is None or done.sha256 != sha256:
        return Occasion.NEW
    return Occasion.SAME_BOOT if done.boot_id == machine.boot_id else Occasion.NEXT_BOOT


def paths(config: CloudConfig) -> set[str]:
    """Every path whose state `plan` looks at."""
    found = {f.path for f in config.files} | {
        DAEMON_FILE,
        UPDATE_FILE,
        JOIN_FILE,
        REGISTRIES_FILE,
        NTP_FILE,
        "/etc/localtime",
    }
    for unit in config.units:
        found |= {str(d / unit.name) for d in (unit.directory, Place.SYSTEMD.directory(runtime=False))}
        found |= {str(unit.directory / f"{unit.name}.d" / d.name) for d in unit.drop_ins}
    return found


def plan(
    config: CloudConfig,
    sha256: str,
    machine: Machine,
    stage: Stage = Stage.EARLY,
    values: Mapping[str, str] | None = None,
) -> tuple[AnyStep, ...]:
    """The steps of one stage. `values` are the machine's addresses, for /etc/environment."""
    when = occasion(sha256, machine)
    if when is Occasion.SAME_BOOT:
        return ()
    steps = _steps(config, machine, stage, values or {}, new=when is Occasion.NEW)
    failed = machine.applied.failed if machine.applied and when is Occasion.NEXT_BOOT else frozenset()
    if not failed:
        return steps
    kept = {step.what for step in steps} | failed
    again = _steps(config, machine, stage, values or {}, new=True)
    return tuple(step for step in again if step.what in kept or isinstance(step, ReloadManager))


def _steps(
    config: CloudConfig, machine: Machine, stage: Stage, values: Mapping[str, str], *, new: bool
) -> tuple[AnyStep, ...]:
    planner = _Planner(config, machine, stage, new=new)
    if stage is Stage.EARLY:
        planner.identity()
        planner.accounts()
    planner.files()
    if stage is Stage.EARLY:
        planner.settings()
    elif values and config.waits and ENVIRONMENT_FILE not in {f.path for f in config.files}:
        planner.environment(values)
    planner.units()
    return tuple(planner.steps)


class _Planner:
    def __init__(self, config: CloudConfig, machine: Machine, stage: Stage, *, new: bool) -> None:
        self.config, self.machine, self.stage, self.new = config, machine, stage, new
        self.steps: list[AnyStep] = []

    def identity(self) -> None:
        if not self.new:
            return
        wanted = self.config.hostname
        if wanted is not None and wanted.name != self.machine.hostname:
            self.steps.append(SetHostname(wanted.line, "the document gives the name", wanted.name))
        if self.config.hosts_line is not None:
            name = wanted.name if wanted else self.machine.hostname
            before = _text(self.machine.files.get(HOSTS_FILE))
            kept = [line for line in before.splitlines() if not line.endswith(HOSTS_MARK)]
            lines = [*(kept or ["127.0.0.1 localhost"]), f"127.0.0.1 {name} {HOSTS_MARK}"]
            if name:
                self._write(self.config.hosts_line, HOSTS_FILE, ("\n".join(lines) + "\n").encode())

    def accounts(self) -> None:
        if not self.new:
            return
        made: set[str] = set()
        keys = {user.name: [k.text for k in user.keys] for user in self.config.users if user.keys}
        for user in self.config.users:
            self._account(user, made)
        if self.config.keys:
            line = self.config.keys[0].line
            if CORE not in self.machine.accounts and CORE not in {u.name for u in self.config.users}:
                core = User(line=line, name=CORE, gecos="Administrator", groups=(WHEEL,))
                self._account(core, made)
            for name in (CORE, "root"):
                keys[name] = [*keys.get(name, []), *(k.text for k in self.config.keys)]
        for name, texts in keys.items():
            wanted = tuple(dict.fromkeys(texts))
            account = self.machine.accounts.get(name)
            if account is None or account.keys != wanted:
                lines = [u.line for u in self.config.users if u.name == name]
                line = (lines or [k.line for k in self.config.keys])[0]
                self.steps.append(SetKeys(line, "the document lists them", name, wanted))

    def _account(self, user: User, made_groups: set[str]) -> None:
        account = self.machine.accounts.get(user.name)
        if account is None:
            groups = [*user.groups, *([user.primary_group] if user.primary_group else [])]
            for group in groups:
                if group not in self.machine.groups and group not in made_groups and group != user.name:
                    made_groups.add(group)
                    why = f"{user.name} is to be in it"
                    self.steps.append(AddGroup(user.line, why, group))
            options = _useradd_options(user, self.machine)
            self.steps.append(AddUser(user.line, "the document names it", user.name, options))
        if user.passwd is not None and (account is None or account.hash != user.passwd):
            why = "the document gives a hash"
            self.steps.append(SetPassword(user.line, why, user.name, user.passwd))

    def files(self) -> None:
        for file in self.config.files:
            if file.waits == (self.stage is Stage.NETWORK) and (self.new or file.volatile):
                self._write_file(file)

    def _write_file(self, file: File) -> None:
        owner = self._owner(file.owner)
        state = self.machine.files.get(file.path)
        digest = hashlib.sha256(file.data).hexdigest()
        if state is not None and (state.digest, state.mode, state.owner) == (digest, file.mode, owner):
            return
        why = "it does not exist" if state is None else "it differs"
        self.steps.append(WriteFile(file.line, why, file.path, file.data, file.mode, file.owner))

    def _owner(self, owner: str | None) -> tuple[int, int] | None:
        """The numbers of an owner; None where the machine does not have it yet."""
        if owner is None:
            return (0, 0)
        name, _, group = owner.partition(":")
        account = self.machine.accounts.get(name)
        uid = int(name) if name.isdecimal() else (account.uid if account else None)
        gid = int(group) if group.isdecimal() else self.machine.groups.get(group) if group else 0
        return None if uid is None or gid is None else (uid, gid)

    def settings(self) -> None:
        if not self.new:
            return
        ours = self.config.settings
        if ours.daemon is not None:
            self._write(ours.daemon_line, DAEMON_FILE, ours.daemon.encode(), mode=0o600)
        if ours.cluster is not None:
            self._write(ours.cluster_line, JOIN_FILE, ours.cluster.encode(), mode=0o600)
        if ours.daemon is not None or ours.cluster is not None:
            # The daemon starts beside us. Also where they are there: a run may have been cut off after it.
            line, why = ours.daemon_line, "the document gives its settings"
            if ours.daemon is None:
                line, why = ours.cluster_line, "the document names its cluster"
            self.steps.append(CommandUnit(line, why, "skerryd.service", "try-restart"))
        if ours.update is not None:
            self._write(ours.update_line, UPDATE_FILE, ours.update.encode(), mode=0o600)
        if ours.registries:
            text = registries_conf(ours.registries)
            self._write(ours.registries[0].line, REGISTRIES_FILE, text.encode())
        if ours.timezone is not None:
            target = f"../usr/share/zoneinfo/{ours.timezone}"
            state = self.machine.files.get("/etc/localtime")
            if state is None or state.target != target:
                why = "the document gives the time zone"
                self.steps.append(
                    MakeLink(ours.timezone_line, why, "/etc/localtime", target, needs_target=True)
                )
        if ours.ntp:
            self._write(ours.ntp_line, NTP_FILE, timesyncd_conf(ours.ntp).encode())
            why = "the document gives its servers"
            self.steps.append(CommandUnit(ours.ntp_line, why, "systemd-timesyncd.service", "try-restart"))

    def environment(self, values: Mapping[str, str]) -> None:
        """The addresses for units with EnvironmentFile=/etc/environment, as CoreOS had them."""
        before = _text(self.machine.files.get(ENVIRONMENT_FILE))
        self._write(None, ENVIRONMENT_FILE, addresses.with_block(before, values).encode())

    def _write(self, line: int | None, path: str, data: bytes, *, mode: int = 0o644) -> None:
        state = self.machine.files.get(path)
        if state is not None and (state.digest, state.mode) == (hashlib.sha256(data).hexdigest(), mode):
            return
        why = "it does not exist" if state is None else "it differs"
        self.steps.append(WriteFile(line, why, path, data, mode))

    def units(self) -> None:
        late = self.stage is Stage.NETWORK
        ours = [u for u in self.config.units if u.waits == late]
        again = [unit for unit in ours if self.new or unit.runtime]
        placed = [unit for unit in again if self._place(unit) or (self.new and _has_files(unit))]
        networks = [u for u in placed if u.place is Place.NETWORK]
        enabled = [u for u in again if u.enable and (self.new or u.name not in self.machine.enabled)]
        for unit in enabled:
            self.steps.append(EnableUnit(unit.line, "the document enables it", unit.name, unit.runtime))
        # Also where nothing differs: a run that was cut off may have come as far as the files.
        if enabled or len(placed) > len(networks):
            self.steps.append(ReloadManager(None, "the document has unit files"))
        if networks:
            why = "the document has network files"
            self.steps.append(CommandUnit(networks[0].line, why, "systemd-networkd.service", "try-restart"))
        for unit in ours:
            if unit.command is not None:
                why = "the document's command, at every boot"
                self.steps.append(CommandUnit(unit.line, why, unit.service, unit.command))
        if enabled or any(u.place is Place.QUADLET and u.content is not None for u in placed):
            why = "what was enabled just now starts in this boot too"
            self.steps.append(CommandUnit(None, why, "default.target", "start"))
        if not late and self.config.waits:
            why = "parts of the document need an address of this machine"
            self.steps.append(CommandUnit(None, why, NETWORK_UNIT, "start"))

    def _place(self, unit: Unit) -> bool:
        begun = len(self.steps)
        path = str(unit.directory / unit.name)
        state = self.machine.files.get(path)
        if unit.mask:
            if state is None or state.target != "/dev/null":
                self.steps.append(MakeLink(unit.line, "the document masks it", path, "/dev/null"))
        elif unit.content is not None:
            self._write(unit.line, path, unit.content.encode())
        elif unit.place is Place.SYSTEMD and state is not None and state.target == "/dev/null":
            self.steps.append(RemoveLink(unit.line, "the document no longer masks it", path))
        for drop_in in unit.drop_ins:
            place = str(unit.directory / f"{unit.name}.d" / drop_in.name)
            self._write(drop_in.line, place, drop_in.content.encode())
        return len(self.steps) > begun


def _has_files(unit: Unit) -> bool:
    return unit.mask or unit.content is not None or bool(unit.drop_ins)


def _text(state: FileState | None) -> str:
    return (state.text or "") if state is not None else ""


def _useradd_options(user: User, machine: Machine) -> tuple[str, ...]:
    """useradd's options in CoreOS's order; the password is locked until one is set."""
    options = ["--password", "*"]
    options += ["--comment", user.gecos] if user.gecos else []
    options += ["--home-dir", user.homedir] if user.homedir else []
    options += ["--no-create-home"] if user.no_create_home else ["--create-home"]
    options += ["--gid", user.primary_group] if user.primary_group else []
    others = [group for group in user.groups if group != user.name]
    options += ["--groups", ",".join(others)] if others else []
    if user.no_user_group:
        options += ["--no-user-group"]
    elif user.primary_group is None:
        options += ["--gid", user.name] if user.name in machine.groups else ["--user-group"]
    options += ["--system"] if user.system else []
    options += ["--no-log-init"] if user.no_log_init else []
    shell = user.shell or ("/bin/bash" if "/bin/bash" in machine.shells else "/bin/sh")
    return (*options, "--shell", shell)
