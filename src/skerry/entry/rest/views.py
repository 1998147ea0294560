"""What /v1 takes and shows, as values: the shapes that handlers and the client read and write.

Only structs of msgspec stand here, so that a client imports them without a server's libraries. A field that
is "" says nothing is known; None says that there is none. Later versions add fields, and readers pass over
those that they do not know.
"""

from __future__ import annotations

import enum

import msgspec

from skerry.fleet.state.node import Liveness, Role
from skerry.fleet.state.unit import Attachment, DesiredState


class ProblemView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem as a client sees it; `shown` is the line to print."""

    file: str
    message: str
    severity: str
    shown: str
    line: int | None = None
    hint: str | None = None


class ErrorView(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `{"error": …}` holds."""

    code: str
    message: str
    hint: str | None = None
    problems: tuple[ProblemView, ...] = ()


class ErrorBody(msgspec.Struct, frozen=True):
    """Every error of ours."""

    error: ErrorView


class Verb(enum.StrEnum):
    SUBMIT = "submit"
    LOAD = "load"
    START = "start"
    STOP = "stop"
    UNLOAD = "unload"
    DESTROY = "destroy"

    @property
    def target(self) -> DesiredState:
        return _TARGETS.get(self, DesiredState.INACTIVE)


_TARGETS = {
    Verb.LOAD: DesiredState.LOADED,
    Verb.START: DesiredState.LAUNCHED,
    Verb.STOP: DesiredState.LOADED,
}


class Offer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A unit as its author has it at hand: the file, its drop-ins, files beside a Quadlet.

    `file` is where the author keeps it, for messages only.
    """

    name: str
    text: str
    drop_ins: tuple[Attachment, ...] = ()
    files: tuple[Attachment, ...] = ()
    file: str = ""


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request: a verb over full names and globs of stored units, with the author's files at hand.

    A glob means stored units only. `wait` asks for a stream that ends when the state is reached.
    """

    verb: Verb
    names: tuple[str, ...]
    offers: tuple[Offer, ...] = ()
    replace: bool = False
    wait: bool = False


class VerifyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    offers: tuple[Offer, ...]


class Verified(msgspec.Struct, frozen=True):
    problems: tuple[ProblemView, ...]
    refused: tuple[str, ...]


class StateView(msgspec.Struct, frozen=True):
    """A unit on one machine, in the words of that machine's systemd; `unit` is what systemd runs."""

    machine: str
    current: DesiredState
    unit: str
    load: str
    active: str
    sub: str
    result: str
    problem: str | None
    hash: str


class UnitView(msgspec.Struct, frozen=True):
    """A unit as /v1 shows it; `active`, `sub`, `load` and `result` are systemd's words, "" unknown.

    `machine` is where the unit is placed, or where it still is; "" while it is on no machine, and for a
    Global unit, which is on many. `states` has one element for each machine that holds the unit; the words
    beside it are those of `machine`, for a Global unit those of the machine where it is worst. `unit` is
    what systemd runs: the same name, or the service made of a Quadlet file. `report_hash` is the content
    that the node's words are about.
    """

    name: str
    hash: str
    identity: str
    desired: DesiredState
    current: DesiredState
    machine: str
    is_global: bool
    description: str
    unit: str
    load: str
    active: str
    sub: str
    result: str
    problem: str | None
    report_hash: str
    drop_ins: tuple[str, ...]
    files: tuple[str, ...]
    states: tuple[StateView, ...] = ()


class UnitList(msgspec.Struct, frozen=True):
    """One page. `machines` maps the ids of the machines that the page names to their addresses.

    `revision` is where a watch goes on from, `next` the token of the next page, None on the last.
    """

    units: tuple[UnitView, ...]
    unreadable: dict[str, str]
    machines: dict[str, str]
    revision: int = 0
    next: str | None = None


class UnitDetail(msgspec.Struct, frozen=True):
    """A unit with the texts that its author gave; `placed` says why it is on its machine."""

    unit: UnitView
    text: str
    drop_ins: tuple[Attachment, ...]
    files: tuple[Attachment, ...]
    placed: str = ""


class Accepted(msgspec.Struct, frozen=True):
    """The answer to an order, durable when it is sent; `changed` names what was not so before.

    `machine` is where units are placed where there is but one machine, as lists show it; "" otherwise.
    """

    units: tuple[str, ...]
    changed: tuple[str, ...]
    machine: str
    global_units: tuple[str, ...]
    warnings: tuple[str, ...]
    revision: int = 0


class Outcome(msgspec.Struct, frozen=True):
    """How far a unit is: `done` is None while it is under way, then whether it went well.

    `said` is a sentence where it did not, and systemd's own words meanwhile. `machine` is where it is, as
    lists show it; for a Global unit how many machines there are.
    """

    name: str
    done: bool | None
    said: str
    current: DesiredState
    active: str
    sub: str
    machine: str = ""


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of an order's stream: first `accepted`, then an `outcome` whenever a unit moves."""

    accepted: Accepted | None = None
    outcome: Outcome | None = None


class UnitEvent(msgspec.Struct, frozen=True):
    """A change of a unit; `unit` is None where it is gone."""

    name: str
    unit: UnitView | None


class NodeView(msgspec.Struct, frozen=True):
    """A machine: what it says of itself, what the servers know of it, what people want of it.

    Sizes are in bytes. `metadata` are the labels that count: those set through the API go before those of
    the machine's own settings. `units` counts those placed there, Global ones left out. `since` is when
    `liveness` became so, in seconds since 1970, 0 where nobody knows.
    """

    id: str
    hostname: str
    role: Role
    liveness: Liveness
    since: float
    address: str
    addresses: tuple[str, ...]
    metadata: dict[str, str]
    cordoned: bool
    draining: bool
    units: int
    cpus: int
    memory_bytes: int
    disk_bytes: int
    disk_free_bytes: int
    kernel: str
    os_version: str
    skerry_version: str
    boot_id: str
    architecture: str


class NodeList(msgspec.Struct, frozen=True):
    """One page; see UnitList."""

    nodes: tuple[NodeView, ...]
    revision: int = 0
    next: str | None = None


class NodeEvent(msgspec.Struct, frozen=True):
    """A change of a machine; `node` is None where it is gone."""

    id: str
    node: NodeView | None


class DrainProgress(msgspec.Struct, frozen=True):
    """One line of a drain: the units that are still there; `done` when there are none.

    `said` is a sentence: what just happened, or why it goes no further for now.
    """

    node: str
    done: bool
    left: tuple[str, ...]
    said: str


class NodeChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What PATCH changes of a machine: labels to set (null or "" takes one away), whether it is cordoned."""

    metadata: dict[str, str | None] = {}
    cordoned: bool | None = None


class DrainOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`wait` asks for a stream that ends when the machine is empty."""

    wait: bool = False


class StoreMember(msgspec.Struct, frozen=True):
    """One member of the store's quorum; `problem` is a sentence where it is not healthy."""

    name: str
    address: str
    healthy: bool
    leader: bool = False
    learner: bool = False
    size_bytes: int = 0
    version: str = ""
    problem: str = ""


class StoreView(msgspec.Struct, frozen=True):
    """The store: `kind` is memory, sqlite or etcd; `quota_bytes` 0 is none; `alarms` are sentences."""

    kind: str
    size_bytes: int = 0
    quota_bytes: int = 0
    members: tuple[StoreMember, ...] = ()
    alarms: tuple[str, ...] = ()


class ServerView(msgspec.Struct, frozen=True):
    """A machine that holds the state; `leads` where its scheduler is the one that decides."""

    node: str
    hostname: str
    address: str
    liveness: Liveness
    version: str
    leads: bool


class ClusterView(msgspec.Struct, frozen=True):
    """How the cluster is. `name` and `id` are "" for a single machine; `node` is the server that answers.

    `quorum` tells whether the store accepts changes. `nodes` counts machines by liveness, `versions` by the
    version of Skerry that they run; `skews` are seconds by which machines' clocks go before the leader's,
    where that is known. `healthy` is false where `problems` holds sentences.
    """

    id: str
    name: str
    node: str
    revision: int
    leader: str
    servers: tuple[ServerView, ...]
    quorum: bool
    store: StoreView | None
    nodes: dict[str, int]
    versions: dict[str, int]
    skews: dict[str, float]
    units: dict[str, int]
    healthy: bool
    problems: tuple[str, ...]
