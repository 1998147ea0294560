"""A node that is a virtual machine: the very disk, booted through UEFI.

The node's disk is an overlay over the image, so it can be thrown away; its UEFI variables are its own.
The network is QEMU's user network: nothing but forwarded ports on loopback leads in, and the registry is
10.0.2.2 from inside. On a segment it has a second card, towards the lab's other machines. Needs no root.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import time
from typing import TYPE_CHECKING

from skerry.kit.run import ProgramError, run
from skerry_lab.accel import PROGRAM, choose, firmware
from skerry_lab.errors import LabError, NodeError
from skerry_lab.node import Completed, Node, NodeSpec
from skerry_lab.qmp import converse
from skerry_lab.ssh import Ssh

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from skerry_lab.process import Process
    from skerry_lab.segment import Port
    from skerry_lab.state import LabState

HOST_FROM_INSIDE = "10.0.2.2"
CREDENTIAL = "skerry.cloud-config"
KEY_CREDENTIAL = "ssh.authorized_keys.root"
SSH_PORT = 22
SOCKET_PATH_BYTES = 107  # unix(7)


class QemuNode(Node):
    """See the module."""

    kind = "qemu"

    def __init__(self, spec: NodeSpec, state: LabState, port: Port | None = None) -> None:
        super().__init__(spec.name, state.directory / "nodes" / spec.name)
        self.spec = spec
        self.port = port
        self.state = state
        self.ssh = Ssh(state.directory / "key", self.directory / "ssh")
        if len(os.fsencode(self._qmp)) > SOCKET_PATH_BYTES:
            raise LabError(
                f"the path {self._qmp} is too long for a socket", hint="set SKERRY_LAB to a shorter path"
            )

    def prepare(self, disk: Path, cloud_config: str) -> None:
        """Make the node's own disk, variables and document; once, before its first start."""
        _, variables = firmware()
        image_format = "qcow2" if disk.suffix == ".qcow2" else "raw"
        overlay = str(self.directory / "disk.qcow2")
        # A name of our own for the image: another build may take its place while the node lives.
        base = self.directory / f"image{disk.suffix}"
        try:
            base.hardlink_to(disk.resolve())
        except OSError:
            base.symlink_to(disk.resolve())
        backing = ["-b", str(base), "-F", image_format]
        run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, overlay, self.spec.disk])
        # qcow2 also for the variables: a snapshot of the machine needs to hold them.
        own = str(self.directory / "variables.qcow2")
        run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(variables), own])
        (self.directory / "cloud-config").write_text(cloud_config)
        if self.spec.deliver == "cidata":
            make_cidata(self.directory / "cidata.img", cloud_config, self.name)
        else:
            value = base64.b64encode(cloud_config.encode()).decode()
            (self.directory / "credential").write_text(f"io.systemd.credential.binary:{CREDENTIAL}={value}")
        # Apart from the document, so that a node whose document is bad can still be looked at.
        public = self.ssh.key.with_name(f"{self.ssh.key.name}.pub").read_text().strip()
        (self.directory / "key-credential").write_text(f"io.systemd.credential:{KEY_CREDENTIAL}={public}")

    def start(
        self, *, snapshot: str | None = None, clock: datetime | None = None, record: Path | None = None
    ) -> None:
        """Switch on; with `snapshot`, from that state of the machine and its disk.

        `clock`: what the machine's own clock says then. `record`: a file that is given all writes to the
        disk, see blocklog; while that is done there are no snapshots.
        """
        if self.running():
            raise NodeError(f"{self.name} is running already")
        argv = self._argv(record)
        if snapshot is not None:
            argv += ["-loadvm", snapshot]
        if clock is not None:
            argv += ["-rtc", f"base={clock:%Y-%m-%dT%H:%M:%S}"]
        for path in (self._qmp, self._console):
            path.unlink(missing_ok=True)
        process = self.state.spawn(argv, what=f"node {self.name}", log=self.directory / "qemu.log")
        deadline = time.monotonic() + 20
        while not self._qmp.exists():
            if not process.alive() or time.monotonic() > deadline:
                process.kill()
                raise NodeError(f"QEMU did not start: {(self.directory / 'qemu.log').read_text()[-500:]}")
            time.sleep(0.02)
        try:
            with converse(self._qmp) as qmp:  # it answers only when it has read the snapshot
                qmp.command("query-status")
        except NodeError as error:
            process.kill()
            said = (self.directory / "qemu.log").read_text()[-500:]
            raise NodeError(f"QEMU did not start: {said}") from error

    def running(self) -> bool:
        return self._process() is not None

    def command(self, argv: Sequence[str] = (), *, terminal: bool = False) -> list[str]:
        if not self.running():
            raise NodeError(f"{self.name} is not running", hint="skerry lab list shows which nodes are")
        return self.ssh.command(*self.forward(SSH_PORT), argv, terminal=terminal)

    def try_run(self, argv: Sequence[str], *, timeout_s: float = 60, stdin: bytes | None = None) -> Completed:
        try:
            done = run(self.command(argv), timeout_s=timeout_s, stdin=stdin, check=False)
        except ProgramError as error:
            raise NodeError(f"{self.name}: {error.message}") from error
        if done.status == 255:  # ssh(1): an error of its own
            raise NodeError(
                f"{self.name} is not to be reached by ssh: {done.stderr.decode(errors='replace').strip()}"
            )
        return Completed(tuple(argv), done.status, done.stdout, done.stderr)

    def forward(self, port: int) -> tuple[str, int]:
        """A port that QEMU chose on this machine's loopback; the same while the machine is on."""
        with converse(self._qmp) as qmp:
            chosen = _forwarded(qmp.monitor("info usernet"), port)
            if chosen is None:
                said = qmp.monitor(f"hostfwd_add net0 tcp:127.0.0.1:0-:{port}").strip()
                chosen = _forwarded(qmp.monitor("info usernet"), port)
                if chosen is None:
                    raise NodeError(f"QEMU does not forward port {port}: {said}")
        return "127.0.0.1", chosen

    @property
    def address(self) -> str:
        if self.port is None:
            raise NodeError(f"{self.name} is alone in its network", hint="make it with segment=True")
        return self.port.address

    def set_network(self, *, up: bool) -> None:
        """On a segment only that cable: the lab still gets in, and the machine out."""
        with converse(self._qmp) as qmp:
            qmp.command("set_link", name="nic0" if self.port is None else "nic1", up=up)

    def kill_power(self) -> None:
        """What the guest had not made durable by then is lost, as with a real power cut."""
        self.ssh.forget()
        process = self._process()
        if process is not None:
            process.kill()

    def stop(self, *, timeout_s: float = 60) -> None:
        process = self._process()
        if process is None:
            return
        with contextlib.suppress(NodeError):
            self.try_run(["systemctl", "poweroff"], timeout_s=20)
        if not process.wait(timeout_s):
            process.kill()
        self.ssh.forget()

    def disk_as(self, target: Path) -> None:
        """The disk of a machine that is off, as a raw file with holes."""
        own = str(self.directory / "disk.qcow2")
        run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", own, str(target)], timeout_s=300)

    def snapshot(self, name: str) -> None:
        """Keep the machine's whole state, memory and disk, inside its disk."""
        self.ssh.forget()
        with converse(self._qmp, timeout_s=120) as qmp:
            said = qmp.monitor(f"savevm {name}").strip()
        if said:
            raise NodeError(f"{self.name} cannot be kept as a snapshot: {said}")

    def restore(self, name: str) -> None:
        """Go back to a snapshot, running or not; who was connected no longer is, and ports are new.

        In a new process: within one, QEMU never lets an emulated time stamp counter go back, and the guest
        would see its clock jump ahead by the time that the process has run since the snapshot.
        """
        self.kill_power()
        self.start(snapshot=name)

    def reset(self) -> None:
        """Press the reset button."""
        self.ssh.forget()
        with converse(self._qmp) as qmp:
            qmp.command("system_reset")

    def reboot(self, *, timeout_s: float = 120) -> str:
        before = self.boot_id()
        with contextlib.suppress(NodeError):
            self.try_run(["systemctl", "reboot"], timeout_s=20)
        self.ssh.forget()
        return self.wait_ready(timeout_s=timeout_s, other_than=before)

    @property
    def _qmp(self) -> Path:
        return self.directory / "qmp"

    @property
    def _console(self) -> Path:
        return self.directory / "console"

    def _process(self) -> Process | None:
        wanted = f"node {self.name}"
        found = [process for what, process in self.state.processes() if what == wanted]
        return found[-1] if found and found[-1].alive() else None

    def _argv(self, record: Path | None) -> list[str]:
        code, _ = firmware()
        own = self.directory
        argv = [PROGRAM, "-name", self.name, "-M", "q35", *choose().arguments, "-smp", str(self.spec.cpus)]
        argv += ["-m", str(self.spec.memory_mib), "-nodefaults", "-no-user-config", "-display", "none"]
        argv += ["-drive", f"if=pflash,format=raw,readonly=on,file={code}"]
        argv += ["-drive", f"if=pflash,format=qcow2,file={own}/variables.qcow2"]
        # Not cache=unsafe: cutting the power must keep what the guest flushed.
        disk = f"if=none,id=disk,format=qcow2,discard=unmap,file={own}/disk.qcow2"
        if record is not None:
            record.write_bytes(b"")
            disk = f"if=none,id=disk,driver=blklogwrites,log.driver=file,log.filename={record}"
            disk += ",discard=unmap,file.driver=qcow2,file.discard=unmap"
            disk += f",file.file.driver=file,file.file.filename={own}/disk.qcow2"
        argv += ["-drive", disk]
        # Of merged requests with as many pieces as there may be, the recorder's, with one more, would fail.
        merging = "off" if record is not None else "on"
        argv += ["-device", f"virtio-blk-pci,drive=disk,bootindex=0,request-merging={merging}"]
        argv += ["-device", "virtio-rng-pci"]
        argv += ["-netdev", "user,id=net0", "-device", "virtio-net-pci,id=nic0,netdev=net0,romfile="]
        argv += [] if self.port is None else self.port.arguments
        argv += ["-device", "i6300esb", "-action", "watchdog=reset", "-boot", "menu=off"]
        argv += [
            "-chardev",
            f"socket,id=con,path={own}/console,server=on,wait=off,logfile={self.console_log},logappend=on",
        ]
        argv += ["-serial", "chardev:con", "-qmp", f"unix:{self._qmp},server=on,wait=off"]
        if (own / "cidata.img").exists():
            argv += ["-drive", f"if=none,id=cidata,format=raw,readonly=on,file={own}/cidata.img"]
            argv += ["-device", "virtio-blk-pci,drive=cidata"]
        for name in ("key-credential", "credential"):
            if (own / name).exists():
                argv += ["-smbios", f"type=11,path={own}/{name}"]
        return argv


def make_cidata(path: Path, cloud_config: str, name: str) -> None:
    """A NoCloud volume: FAT, labelled cidata, with user-data and meta-data."""
    run(["mkfs.vfat", "-C", "-n", "CIDATA", str(path), "2048"])
    for file, content in (
        ("user-data", cloud_config),
        ("meta-data", f"instance-id: {name}\nlocal-hostname: {name}\n"),
    ):
        run(["mcopy", "-i", str(path), "-", f"::{file}"], stdin=content.encode())


def _forwarded(usernet: str, port: int) -> int | None:
    """The port here that "info usernet" shows for one of the guest's."""
    for line in usernet.splitlines():
        match = re.match(r"\s*TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+(\d+)\s", line)
        if match and int(match[2]) == port:
            return int(match[1])
    return None
