"""What provisioning did, as one JSON document: /var/lib/skerry/provision/report.json.

    {"version": 1, "result": "applied", "stage": "early", "source": "credential", "document": "<sha256>",
     "boot_id": …, "finished_at": unix seconds,
     "steps": [{"what", "why", "line", "done": true, "message": null}, …],
     "problems": [{"line", "severity", "message", "hint", "where"}, …], "notes": […]}

`result`: `applied`; `partly` where a step failed or a part of the document was left out because of an error;
`refused` where nothing of the document could be read; `unchanged` where there was nothing to do. The file of
the network stage stands beside it, report-network.json. No secret is ever in it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from skerry.host.provision.errors import ProvisionError
from skerry.host.provision.machine import Applied
from skerry.host.provision.plan import Stage
from skerry.host.provision.sources import STATE
from skerry.kit.errors import Problem, Severity
from skerry.kit.files import write_atomic

VERSION = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """One step as it went; `message` says why it failed."""

    what: str
    why: str
    line: int | None
    done: bool
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    result: str
    stage: str
    source: str
    document: str
    boot_id: str
    finished_at: float
    steps: tuple[Outcome, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()

    @property
    def errors(self) -> int:
        failed = sum(not step.done for step in self.steps)
        return failed + sum(p.severity is Severity.ERROR for p in self.problems)

    @property
    def warnings(self) -> int:
        return len(self.notes) + sum(p.severity is Severity.WARNING for p in self.problems)


def state_directory(root: Path = Path("/")) -> Path:
    return root / STATE.lstrip("/")


def write_report(report: Report, root: Path = Path("/")) -> None:
    """Keep the report, and what the next run needs to know of this one."""
    directory = state_directory(root)
    tail = "" if report.stage == Stage.EARLY else f"-{report.stage}"
    fields = {"version": VERSION} | asdict(report)
    write_atomic(directory / f"report{tail}.json", json.dumps(fields, indent=2) + "\n", mode=0o600)


def read_report(root: Path = Path("/"), stage: Stage = Stage.EARLY) -> Report | None:
    """The last report of a stage; None where there was none. Raises ProvisionError."""
    tail = "" if stage is Stage.EARLY else f"-{stage}"
    return _load(state_directory(root) / f"report{tail}.json", Report)


def write_applied(applied: Applied, stage: Stage, root: Path = Path("/")) -> None:
    fields = {
        "version": VERSION,
        "sha256": applied.sha256,
        "boot_id": applied.boot_id,
        "failed": sorted(applied.failed),
    }
    write_atomic(state_directory(root) / f"applied-{stage}.json", json.dumps(fields) + "\n", mode=0o600)


def read_applied(stage: Stage, root: Path = Path("/")) -> Applied | None:
    """The record of a stage. One that cannot be read counts as none: then everything is looked at again."""
    try:
        return _load(state_directory(root) / f"applied-{stage}.json", Applied)
    except ProvisionError:
        return None


_Stored = TypeVar("_Stored", Report, Applied)


def _load(path: Path, kind: type[_Stored]) -> _Stored | None:
    import msgspec

    try:
        data = path.read_bytes()
        version = msgspec.json.decode(data, type=dict[str, object]).get("version")
        if version != VERSION:
            raise ProvisionError(f"{path} is of version {version}, and this Skerry reads version {VERSION}")
        return msgspec.json.decode(data, type=kind)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise ProvisionError("only root may read what provisioning did", hint="use sudo") from error
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProvisionError(f"{path} cannot be read: {error}") from error
