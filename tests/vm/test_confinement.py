"""What keeps containers in their place is there on a real kernel: AppArmor, seccomp, control groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry_lab.journal import Allowed

if TYPE_CHECKING:
    from skerry_lab.qemu import QemuNode


def in_container(machine: QemuNode, script: str, *options: str) -> str:
    argv = ["podman", "run", "--rm", *options, "busybox", "sh", "-c", script]
    return machine.run(argv, timeout_s=180).text


def test_a_container_runs_under_apparmor_and_seccomp(machine: QemuNode) -> None:
    said = in_container(machine, "cat /proc/self/attr/current; grep ^Seccomp: /proc/self/status")
    assert "containers-default" in said
    assert "(enforce)" in said
    assert "Seccomp:\t2" in said


def test_limits_are_the_kernels(machine: QemuNode) -> None:
    # The first limit of this kind makes Linux change its own code under way, which an emulated processor may
    # meet half changed while another one runs it: a panic, once in a while. One alone cannot.
    machine.run(["sh", "-c", "echo 0 >/sys/devices/system/cpu/cpu1/online"])
    script = "cd /sys/fs/cgroup; cat memory.max pids.max cpu.max"
    said = in_container(machine, script, "--memory=64m", "--pids-limit=50", "--cpus=0.5")
    assert said.split() == [str(64 << 20), "50", "50000", "100000"]


def test_a_container_that_eats_memory_dies_alone(machine: QemuNode, expected_errors: list[Allowed]) -> None:
    expected_errors.append(Allowed("kernel", r"^Memory cgroup out of memory", "the test is about that"))
    script = "tail /dev/zero; echo survived $?"
    argv = ["podman", "run", "--rm", "--memory=32m", "busybox", "sh", "-c", script]
    done = machine.try_run(argv, timeout_s=180)
    assert "survived 137" in done.text or done.status == 137
    assert machine.run(["systemctl", "is-active", "skerryd.service"]).text.strip() == "active"
