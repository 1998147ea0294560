"""A node that is a container of the image's very tree, booted by its own systemd at native speed.

The tree is unpacked once and shared by all nodes, read-only as on a sealed machine; a node owns its /etc
and /var, laid out as on the real disk. What such a node cannot show: the kernel, verity, limits by cgroup
where the build machine has none. Needs root.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from skerry.kit.paths import cache_dir
from skerry.kit.run import ProgramError, run
from skerry_lab.errors import NodeError, NotRootError
from skerry_lab.network import Cable, networkd_settings, set_cable
from skerry_lab.node import Completed, Node
from skerry_lab.process import Process, children, descendants, find

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from skerry_lab.state import LabState

CREDENTIAL = "skerry.cloud-config"
CONTAINERS_CONF = """# Written by skerry lab: inside nspawn, Podman may not manage control groups or keyrings.
[containers]
keyring = false
pids_limit = 0
default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]

[engine]
cgroup_manager = "cgroupfs"
"""
INSIDE_ENVIRONMENT = ("HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "TERM=dumb")
# nspawn ends with 133 where the node asked for a reboot, see EXIT_FORCE_RESTART in systemd's sources.
# The first argument are control groups of the node's own, to be in before nspawn looks where it is.
AGAIN = """for group in $1; do echo $$ > "$group/cgroup.procs"; done
shift
while "$@"; test $? -eq 133; do :; done
"""
HIERARCHIES = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup"))
PROPAGATE = Path("/run/systemd/nspawn/propagate")
HALT = signal.SIGRTMIN + 4  # systemd(1): systemd as PID 1 powers off


def require_root() -> None:
    """Raises NotRootError where we are not root."""
    if os.geteuid() != 0:
        raise NotRootError(
            "nspawn nodes need root", hint="run it with sudo, or use --kind qemu, which needs none"
        )


def unpack_tree(tree: Path) -> Path:
    """The directory of a tree, which may be given as a tar: then unpacked once into the cache."""
    if tree.is_dir():
        return tree
    stat = tree.stat()
    key = hashlib.sha256(
        f"{tree.resolve()}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}".encode()
    ).hexdigest()[:16]
    directory = cache_dir() / "lab" / "trees" / key
    if not directory.is_dir():
        directory.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=directory.parent, prefix=".unpacking-"))
        try:
            run(["tar", "-C", str(scratch), "--numeric-owner", "--xattrs", "-xpf", str(tree)], timeout_s=300)
            scratch.chmod(0o755)
            with contextlib.suppress(OSError):  # another lab was faster, and unpacked the same
                scratch.rename(directory)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return directory


def nspawn_trees() -> set[str]:
    """The trees of all nspawn nodes that run on this machine now, by their command lines."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            found |= {word.removeprefix("--directory=") for word in words if word.startswith("--directory=")}
    return found


class NspawnNode(Node):
    """See the module. `number` is the node's place in the lab, from 0."""

    kind = "nspawn"

    def __init__(self, name: str, state: LabState, tree: Path, cable: Cable, number: int) -> None:
        super().__init__(name, state.directory / "nodes" / name)
        self.state = state
        self.tree = tree
        self.cable = cable
        self.number = number
        self._forwards: dict[int, tuple[str, int]] = {}

    def prepare(self, cloud_config: str, files: Mapping[str, str]) -> None:
        """Lay out the node's own /etc and /var; once, before its first start."""
        require_root()
        # What the initrd does on a disk: each version owns an /etc, on the persistent /var.
        for source, target in (("var", self._var), ("etc", self._etc)):
            target.mkdir(parents=True)
            run(["cp", "--archive", "--reflink=auto", f"{self.tree}/{source}/.", str(target)], timeout_s=120)
        (self._var / "roothome").mkdir(mode=0o700, exist_ok=True)
        (self._etc / "machine-id").unlink(missing_ok=True)
        (self._etc / "machine-id").touch()
        given = {
            "/etc/systemd/network/10-lab.network": networkd_settings(self.cable.address),
            "/etc/containers/containers.conf.d/50-lab.conf": CONTAINERS_CONF,
        }
        for path, content in {**given, **files}.items():
            self._lay(path, content)
        (self.directory / "cloud-config").write_text(cloud_config)

    def start(self) -> None:
        require_root()
        if self.running():
            raise NodeError(f"{self.name} is running already")
        groups = " ".join(str(group) for group in self._groups())
        argv = ["sh", "-c", AGAIN, "sh", groups, "systemd-nspawn", "--quiet", "--register=no"]
        argv += [f"--directory={self.tree}", "--read-only"]
        if not systemd_runs_here():
            argv.append("--keep-unit")
        argv += [f"--bind={self._etc}:/etc", f"--bind={self._var}:/var"]
        argv += [
            f"--machine={self._machine()}",
            f"--hostname={self.name}",
            f"--network-namespace-path={self.cable.path}",
        ]
        argv += ["--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=read-only"]
        argv += ["--capability=all", "--system-call-filter=@keyring bpf perf_event_open", "--boot"]
        self.state.directory_outside(PROPAGATE / self._machine(), make=False)
        document = self.directory / "cloud-config"
        if document.read_text():
            argv.append(f"--load-credential={CREDENTIAL}:{document}")
        # The second lets netavark write to /proc/sys/net, which is the node's own as its network is.
        env = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}
        self.state.spawn(argv, what=f"node {self.name}", log=self.console_log, env=env)

    def running(self) -> bool:
        process = self._outer()
        return process is not None and process.alive()

    def command(self, argv: Sequence[str] = (), *, terminal: bool = False) -> list[str]:
        leader = self._leader()
        if leader is None:
            raise NodeError(f"{self.name} is not running", hint="skerry lab list shows which nodes are")
        enter = [
            "nsenter",
            "--target",
            str(leader.pid),
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--cgroup",
        ]
        variables = list(INSIDE_ENVIRONMENT)
        if terminal:
            variables[-1] = f"TERM={os.environ.get('TERM', 'linux')}"
        return [
            *enter,
            "--root",
            "--wd",
            "--",
            "/usr/bin/env",
            "-i",
            *variables,
            *(argv or ("/bin/sh", "-l")),
        ]

    def try_run(self, argv: Sequence[str], *, timeout_s: float = 60, stdin: bytes | None = None) -> Completed:
        try:
            done = run(self.command(argv), timeout_s=timeout_s, stdin=stdin, check=False)
        except ProgramError as error:
            raise NodeError(f"{self.name}: {error.message}") from error
        return Completed(tuple(argv), done.status, done.stdout, done.stderr)

    def forward(self, port: int) -> tuple[str, int]:
        """A socket that listens here, carried on by a process in the node's network."""
        if port not in self._forwards:
            listener = socket.create_server(("127.0.0.1", 0))
            with listener:
                argv = [
                    "nsenter",
                    f"--net={self.cable.path}",
                    "--",
                    sys.executable,
                    "-m",
                    "skerry_lab.forward",
                ]
                argv += [str(listener.fileno()), "127.0.0.1", str(port)]
                env = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
                log = self.directory / "forward.log"
                self.state.spawn(
                    argv, what=f"forward {self.name}:{port}", log=log, env=env, keep=(listener.fileno(),)
                )
                self._forwards[port] = ("127.0.0.1", listener.getsockname()[1])
        return self._forwards[port]

    @property
    def address(self) -> str:
        return self.cable.address

    def set_network(self, *, up: bool) -> None:
        set_cable(self.state, self.number, up=up)

    def small_disk(self, size: int) -> None:
        """Give /var/lib/skerry a file system of its own, in memory; before the first start."""
        place, aside = self._var / "lib" / "skerry", self.directory / "skerry"
        place.rename(aside)
        place.mkdir(mode=0o700)
        self.state.small_disk(place, size)
        run(["cp", "--archive", f"{aside}/.", str(place)], timeout_s=60)
        shutil.rmtree(aside)

    def fill_disk(self) -> None:
        """Let the small disk have no room from now on, as if what is there were all that it holds."""
        for left in reversed(range(10)):
            room = os.statvfs(self._var / "lib" / "skerry")
            try:
                self.free_disk((room.f_blocks - room.f_bfree) * room.f_frsize)
            except ProgramError:  # something was written meanwhile
                if not left:
                    raise
            else:
                break

    def free_disk(self, size: int) -> None:
        """Let the small disk hold so many bytes from now on."""
        run(["mount", "-o", f"remount,size={size}", str(self._var / "lib" / "skerry")])

    def kill_power(self) -> None:
        """Kills every process of the node, from the outside."""
        outer = self._outer()
        # All of them before the first is killed, which may leave the others without a parent.
        for process in list(descendants(outer)) if outer is not None else []:
            process.kill()

    def stop(self, *, timeout_s: float = 60) -> None:
        outer, leader = self._outer(), self._leader()
        if leader is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(leader.pid, HALT)
        if outer is not None and not outer.wait(timeout_s):
            self.kill_power()

    def _outer(self) -> Process | None:
        """The nspawn process itself, the last that was started for this node."""
        wanted = f"node {self.name}"
        found = [process for what, process in self.state.processes() if what == wanted]
        return found[-1] if found and found[-1].alive() else None

    def _leader(self) -> Process | None:
        """PID 1 of the node: the descendant of nspawn that is 1 in its own pid namespace."""
        outer = self._outer()
        pending = children(outer.pid) if outer is not None else []
        while pending:
            pid = pending.pop()
            if _innermost_pid(pid) == 1:
                return find(pid)
            pending += children(pid)
        return None

    def _groups(self) -> list[Path]:
        """A control group in every hierarchy that systemd uses, made now; where systemd runs it sees to that.

        Without them all nodes would be in one, and the systemd of each would manage the processes of all.
        """
        if systemd_runs_here():
            return []
        groups = [base / self._machine() for base in HIERARCHIES if (base / "cgroup.procs").exists()]
        for group in groups:
            self.state.directory_outside(group)
        return groups

    def _machine(self) -> str:
        return f"{self.state.mark[:8]}-{self.name}"

    @property
    def _var(self) -> Path:
        return self.directory / "var"

    @property
    def _etc(self) -> Path:
        return self._var / "lib" / "skerry" / "etc" / version_of(self.tree)

    def _lay(self, path: str, content: str) -> None:
        if not path.startswith(("/etc/", "/var/")):
            raise NodeError(f"{path} is not under /etc or /var, which is all that a node can be given")
        base = self._etc if path.startswith("/etc/") else self._var
        target = base / path[len("/etc/") :]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)


def systemd_runs_here() -> bool:
    """Whether this machine's own PID 1 is systemd, see sd_booted(3)."""
    return Path("/run/systemd/system").exists()


def version_of(tree: Path) -> str:
    """The image's version, from its os-release(5)."""
    for line in (tree / "usr/lib/os-release").read_text().splitlines():
        name, _, value = line.partition("=")
        if name == "VERSION_ID":
            return value.strip("\"'")
    return "unknown"


def _innermost_pid(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:") and len(line.split()) > 2:
                return int(line.split()[-1])
    return None
