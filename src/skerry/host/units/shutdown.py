"""Whether this machine is going down, or only one of its services is.

systemctl is asked, not the bus: root reaches systemd by a socket of its own, also while the bus is ending.
"""

from __future__ import annotations

import logging

from skerry.kit.run import ProgramError, run

SYSTEMCTL = "systemctl"
DEADLINE_S = 5.0
ATTEMPTS = 3

log = logging.getLogger(__name__)


def machine_stops(systemctl: str = SYSTEMCTL) -> bool:
    """True on the way to a power-off, a reboot or a halt; False also where nobody can tell. Waits for it."""
    for _ in range(ATTEMPTS):
        try:
            said = run([systemctl, "is-system-running"], timeout_s=DEADLINE_S, check=False)
        except ProgramError as error:
            log.warning("whether this machine stops cannot be told: %s", error)
            return False
        if state := said.text.strip():
            log.info("skerryd is to stop; the machine is %s, as systemd has it", state)
            return state == "stopping"
        # It was ended unasked: systemd tells all of a service to stop, and it was of ours just then.
    return False
