"""A unit as the store holds it, and what a node reports of it.

/skerry/v1/units/<name>           UnitRecord: what is wanted
/skerry/v1/reports/<node>/<name>  UnitReport: what a node made of it
"""

from __future__ import annotations

import enum
import hashlib

import msgspec

from skerry.fleet.state.document import Document

UNITS_PREFIX = "/skerry/v1/units/"
REPORTS_PREFIX = "/skerry/v1/reports/"


class DesiredState(enum.StrEnum):
    """fleet's three states: known, on a machine but not started, started."""

    INACTIVE = "inactive"
    LOADED = "loaded"
    LAUNCHED = "launched"


class Attachment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text with its file name: a drop-in (`10-more.conf`), or a file beside a Quadlet (`web.env`)."""

    name: str
    text: str


class UnitRecord(Document, frozen=True):
    """What is wanted of one unit.

    `text` is the file as its author wrote it, `hash` fleet's hash of it. `launch` counts how often
    the unit was asked to be launched after not being so: the agent starts it once for each number.
    """

    name: str
    text: str
    hash: str
    desired: DesiredState = DesiredState.INACTIVE
    drop_ins: tuple[Attachment, ...] = ()
    files: tuple[Attachment, ...] = ()
    launch: int = 0

    @property
    def identity(self) -> str:
        """What the unit's files are, drop-ins and companions included; without any, fleet's hash."""
        if not self.drop_ins and not self.files:
            return self.hash
        digest = hashlib.sha1(self.hash.encode(), usedforsecurity=False)
        for kind, attachments in (("drop-in", self.drop_ins), ("file", self.files)):
            for attachment in sorted(attachments, key=lambda a: a.name):
                digest.update(msgspec.json.encode((kind, attachment.name, attachment.text)))
        return digest.hexdigest()

    def wanting(self, desired: DesiredState) -> UnitRecord:
        """The same unit in another desired state; the only way a desired state is to be changed."""
        launched_anew = desired is DesiredState.LAUNCHED and self.desired is not DesiredState.LAUNCHED
        return msgspec.structs.replace(self, desired=desired, launch=self.launch + launched_anew)


class UnitReport(Document, frozen=True):
    """What a node sees of a unit: its own progress, and systemd's words for it.

    `current` is what the agent has brought about; `problem` why it could not go further, a sentence.
    `identity` and `launch` are those of the record that was last acted on, so that a report from before a
    change can be told from one after it.
    `unit` is the unit systemd runs: the same name, or the service generated from a Quadlet file.
    """

    name: str
    node: str
    hash: str
    current: DesiredState
    unit: str
    load: str
    active: str
    sub: str
    result: str = ""
    problem: str | None = None
    identity: str = ""
    launch: int = 0


def unit_key(name: str) -> str:
    """Where a unit's record is."""
    return UNITS_PREFIX + name


def report_key(node: str, name: str) -> str:
    """Where a node's report on a unit is."""
    return f"{REPORTS_PREFIX}{node}/{name}"
