"""Whether this machine is going down, or only one of its services is.

systemctl is asked, not the bus: root reaches systemd by a socket of its own, also while the bus is ending.
"""

from __future__ import annotations

import logging

from skerry.kit.run import ProgramError, run

SYSTEMCTL = "systemctl"
DEADLINE_S = 5.0

log = logging.getLogger(__name__)


def machine_stops(systemctl: str = SYSTEMCTL) -> bool:
    """True on the way to a power-off, a reboot or a halt; False also where nobody can tell. Waits for it."""
    try:
        said = run([systemctl, "is-system-running"], timeout_s=DEADLINE_S, check=False)
    except ProgramError as error:
        log.warning("whether this machine stops cannot be told: %s", error)
        return False
    state = said.text.strip()
    log.info("skerryd is to stop; the machine is %s, as systemd has it", state or "in no state")
    return state == "stopping"
