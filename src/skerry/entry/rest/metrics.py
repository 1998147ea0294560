"""/metrics: a few numbers in Prometheus' text format; for a container's use of resources see cgroups.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

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

    async def get(self, request: Request) -> Response:
        """Units by the state that is wanted and by systemd's, the revision, the daemon's memory."""
        now = await self._desired.snapshot()
        wanted = Counter(stored.record.desired for stored in now.units.values())
        active = Counter(report.active for report in now.reports.values())
        lines = ["# TYPE skerry_units gauge"]
        lines += [f'skerry_units{{desired="{state}"}} {wanted[state]}' for state in DesiredState]
        lines.append("# TYPE skerry_units_active gauge")
        lines += [f'skerry_units_active{{state="{state}"}} {active[state]}' for state in sorted(active)]
        lines += ["# TYPE skerry_store_revision counter", f"skerry_store_revision {now.revision}"]
        lines += ["# TYPE process_resident_memory_bytes gauge"]
        lines.append(f"process_resident_memory_bytes {self._host.status().memory.skerryd_bytes}")
        return Response("\n".join(lines) + "\n", media_type=CONTENT_TYPE)
