"""An Ethernet segment between a lab's virtual machines: their frames go as multicast over loopback.

    net0  the user network of QEMU, another one for each machine: 10.0.2.2 is this machine
    net1  the segment, the same for all of the lab: 10.78.0.(10+n)/24

Needs no root and no process of its own. Which group it is follows from the lab's mark, so labs do not meet.
"""

from __future__ import annotations

from dataclasses import dataclass

from skerry_lab.errors import LabError

PREFIX = 24
FIRST = 10
MOST = 200
SETTINGS_PATH = "/etc/systemd/network/10-lab.network"


@dataclass(frozen=True, slots=True)
class Port:
    """A machine's place on the segment. `group` is the multicast address and port that carries it."""

    address: str
    group: str

    @property
    def mac(self) -> str:
        """A locally administered one, as QEMU's are."""
        return f"52:54:00:5e:00:{int(self.address.rpartition('.')[2]):02x}"

    @property
    def arguments(self) -> list[str]:
        """QEMU's, for one more network card."""
        return [
            *("-netdev", f"socket,id=net1,mcast={self.group},localaddr=127.0.0.1"),
            *("-device", f"virtio-net-pci,id=nic1,netdev=net1,mac={self.mac},romfile="),
        ]

    @property
    def settings(self) -> str:
        """systemd.network(5) for the machine. A card hears its own frames here, as IPv6 does not bear."""
        return f"""# Written by skerry lab.
[Match]
MACAddress={self.mac}

[Network]
Address={self.address}/{PREFIX}
LinkLocalAddressing=no
IPv6AcceptRA=no
"""


def port(mark: str, number: int) -> Port:
    """The port of a lab's machine of this number (from 0); `mark` is the lab's, in hexadecimal."""
    if number >= MOST:
        raise LabError(f"a lab has room for {MOST} nodes")
    drawn = bytes.fromhex(mark)
    group = f"239.{drawn[0]}.{drawn[1]}.{drawn[2]}:{20000 + int.from_bytes(drawn[3:5], 'big') % 40000}"
    return Port(f"10.78.0.{FIRST + number}", group)
