"""One run: a document and a machine go in, a report comes out; nothing that an author wrote stops it."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from skerry.host.provision import addresses
from skerry.host.provision.carry_out import Target, carry_out
from skerry.host.provision.config import CloudConfig, Hostname
from skerry.host.provision.errors import StepError
from skerry.host.provision.machine import Applied, look, observe
from skerry.host.provision.plan import ENVIRONMENT_FILE, READ_FILES, Stage, paths, plan
from skerry.host.provision.reading import read_config
from skerry.host.provision.report import Outcome, Report, read_applied, state_directory, write_applied
from skerry.kit.errors import Problem, Severity
from skerry.kit.files import write_atomic
from skerry.kit.run import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from skerry.host.provision.sources import Found
    from skerry.host.provision.steps import AnyStep

FILE = "cloud-config"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that was thought through and not begun: what `--dry-run` shows."""

    config: CloudConfig
    sha256: str
    boot_id: str
    problems: tuple[Problem, ...]
    steps: tuple[AnyStep, ...]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run knows beside the document: the machine, the stage, and how to learn its addresses."""

    target: Target = field(default_factory=Target)
    stage: Stage = Stage.EARLY
    machine_addresses: Callable[[], Iterable[str]] = tuple
    now: Callable[[], float] = time.time


def prepare(found: Found, around: Surroundings) -> Prepared:
    """Read, observe and plan; changes nothing."""
    config, problems = read_config(found.data, FILE)
    if config.hostname is None and found.hostname is not None:
        config = _with_hostname(config, found.hostname)
    root, live = around.target.root, around.target.live
    environment = look(root, ENVIRONMENT_FILE, with_text=True)
    if ENVIRONMENT_FILE in {f.path for f in config.files}:
        environment = None  # it is what this document made of the addresses of an earlier boot
    early = addresses.from_environment((environment.text or "") if environment else "")
    late: dict[str, str] = {}
    identity = found.data + (found.hostname or "").encode()
    if around.stage is Stage.NETWORK:
        late = addresses.from_machine(around.machine_addresses())
        values = {**late, **early}
        problems = tuple(_missing(config, values))  # the early run reported the others
        # With other addresses the same document says something else.
        identity += repr([values.get(name) for name in sorted(addresses.used(config))]).encode()
    config = addresses.resolve(config, early, late)
    sha256 = hashlib.sha256(identity).hexdigest()
    applied = read_applied(around.stage, around.target.root)
    machine = observe(config, paths(config), root, live=live, applied=applied, texts=READ_FILES)
    steps = plan(config, sha256, machine, around.stage, {**late, **early})
    return Prepared(config, sha256, machine.boot_id, problems, steps)


def apply(found: Found, around: Surroundings, notes: Iterable[str] = ()) -> Report:
    """Carry out what the document asks for, as far as it goes, and record it."""
    prepared = prepare(found, around)
    outcomes = tuple(_carry_out(step, around.target) for step in prepared.steps)
    notes = [*notes]
    try:
        _record(found, prepared, outcomes, around)
    except OSError as error:
        notes.append(f"what was done could not be recorded, and is done again: {error}")
    return Report(
        result=_result(prepared, outcomes),
        stage=str(around.stage),
        source=found.source,
        document=prepared.sha256,
        boot_id=prepared.boot_id,
        finished_at=around.now(),
        steps=outcomes,
        problems=prepared.problems,
        notes=tuple(notes),
    )


def _carry_out(step: AnyStep, target: Target) -> Outcome:
    try:
        carry_out(step, target)
    except StepError as error:
        message = error.message if error.hint is None else f"{error.message} ({error.hint})"
        return Outcome(step.what, step.why, step.line, done=False, message=message)
    except Exception as error:  # our own fault, which the steps after it are not to suffer from
        message = f"could not {step.what}, by a fault in Skerry: {type(error).__name__}"
        return Outcome(step.what, step.why, step.line, done=False, message=message)
    return Outcome(step.what, step.why, step.line, done=True)


def _record(found: Found, prepared: Prepared, outcomes: tuple[Outcome, ...], around: Surroundings) -> None:
    directory = state_directory(around.target.root)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if around.stage is Stage.EARLY and found.source != "kept":
        _keep(found, around)
    failed = frozenset(o.what for o in outcomes if not o.done)
    applied = Applied(prepared.sha256, prepared.boot_id, failed)
    write_applied(applied, around.stage, around.target.root)


def _keep(found: Found, around: Surroundings) -> None:
    """Keep the document for a boot without its source."""
    directory = state_directory(around.target.root)
    for name, data in (("document", found.data), ("meta-data", _meta_data(found))):
        path = directory / name
        if not path.exists() or path.read_bytes() != data:
            write_atomic(path, data, mode=0o600)


def _meta_data(found: Found) -> bytes:
    return json.dumps({"hostname": found.hostname}).encode() + b"\n"


def _result(prepared: Prepared, outcomes: tuple[Outcome, ...]) -> str:
    errors = [p for p in prepared.problems if p.severity is Severity.ERROR]
    if errors and prepared.config == CloudConfig():
        return "refused"
    if errors or not all(o.done for o in outcomes):
        return "partly"
    return "applied" if outcomes else "unchanged"


def _with_hostname(config: CloudConfig, name: str) -> CloudConfig:
    given, _ = read_config(f"#cloud-config\nhostname: {json.dumps(name)}\n".encode(), "meta-data")
    return config if given.hostname is None else replace(config, hostname=Hostname(1, given.hostname.name))


def _missing(config: CloudConfig, values: Mapping[str, str]) -> list[Problem]:
    said = "this machine has no {}, which becomes nothing here"
    hint = "set {} in /etc/environment"
    return [
        Problem(
            FILE,
            line,
            said.format(name.replace("_", " ")),
            hint=hint.format(addresses.environment_name(name)),
            severity=Severity.WARNING,
        )
        for name, line in addresses.missing(config, values).items()
    ]


def machine_addresses() -> list[str]:
    """All addresses of this machine's links, those of the default route's link first. Raises ProgramError."""
    routes = json.loads(run(["ip", "-json", "route", "show", "default"]).stdout or b"[]")
    links = json.loads(run(["ip", "-json", "address", "show", "scope", "global"]).stdout or b"[]")
    first = [route.get("dev") for route in routes]
    links.sort(
        key=lambda link: first.index(link.get("ifname")) if link.get("ifname") in first else len(first)
    )
    return [a["local"] for link in links for a in link.get("addr_info", []) if "local" in a]
