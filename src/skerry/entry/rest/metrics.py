"""/metrics: a few numbers in Prometheus' text format; for a container's use of resources see cgroups.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from skerry.entry.rest.openapi import described
from skerry.fleet.state.node import Liveness
from skerry.fleet.state.unit import DesiredState

if TYPE_CHECKING:
    from starlette.requests import Request

    from skerry.entry.rest.desired import Desired
    from skerry.entry.rest.host import Host

CONTENT_TYPE = "text/plain; version=0.0.4"


class Metrics:
    """The handler."""

    def __init__(self, desired: Desired, host: Host) -> None:
        self._desired = desired
        self._host = host

    def routes(self) -> list[Route]:
        return [Route("/metrics", self.get, methods=["GET"])]

    @described(media_type="text/plain")
    async def get(self, request: Request) -> Response:
        """Units by the state that is wanted and by systemd's, machines, the revision, the daemon's memory."""
        now = (await self._desired.fresh()).now
        revision = self._desired.mirror.revision
        wanted = Counter(known.desired for known in now.units.values())
        active = Counter(r.report.active for found in now.reports.values() for r in found.values())
        nodes = Counter(presence.liveness for presence in now.presence.values())
        lines = ["# TYPE skerry_units gauge"]
        lines += [f'skerry_units{{desired="{state}"}} {wanted[state]}' for state in DesiredState]
        lines += ["# TYPE skerry_units_placed gauge", f"skerry_units_placed {len(now.placements)}"]
        lines.append("# TYPE skerry_nodes gauge")
        lines += [f'skerry_nodes{{liveness="{liveness}"}} {nodes[liveness]}' for liveness in Liveness]
        lines.append("# TYPE skerry_units_active gauge")
        lines += [f'skerry_units_active{{state="{state}"}} {active[state]}' for state in sorted(active)]
        lines += [
            "# TYPE skerry_store_revision counter",
            f"skerry_store_revision {revision}",
        ]
        lines += ["# TYPE process_resident_memory_bytes gauge"]
        lines.append(f"process_resident_memory_bytes {self._host.status().memory.skerryd_bytes}")
        return Response("\n".join(lines) + "\n", media_type=CONTENT_TYPE)
