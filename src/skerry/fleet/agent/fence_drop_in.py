"""What binds a fenced unit to the lease that its machine has of the servers: a drop-in beside its files.

    0 s    a heartbeat is sent, the last one that is going to be answered
    10 s   skerry-lease.service ends by itself; systemd stops all that is bound to it
    14 s   what would not go has been killed: ExecStop= and SIGTERM have STOP_S each
    15 s   the servers may take the machine for lost

systemd does all of it, with skerryd stopped, hung or gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.host.units.unit_file import parse_unit

if TYPE_CHECKING:
    from skerry.host.units.name import UnitName

LEASE_SERVICE = "skerry-lease.service"
LEASE_S = 10.0
STOP_S = 2.0
DROP_IN = "zz-skerry-fence.conf"

_WITH_PROCESSES = ("service", "container", "kube", "pod", "build", "image")


def fence_drop_in(name: UnitName, text: str) -> tuple[str, str]:
    """The drop-in's name and text for a unit. Raises UnitFileError."""
    lines = ["[Unit]", f"BindsTo={LEASE_SERVICE}", f"After={LEASE_SERVICE}"]
    if name.suffix in _WITH_PROCESSES:
        lines += ["", "[Service]", f"TimeoutStopSec={STOP_S:g}s", "SendSIGKILL=yes"]
        if parse_unit(text, name.full).last("Service", "KillMode") in ("process", "none"):
            lines.append("KillMode=control-group")
    if name.suffix == "container":
        lines += ["", "[Container]", "StopTimeout=1"]
    return DROP_IN, "\n".join(lines) + "\n"
