"""What a node says every few seconds, and what it is answered.

    POST /v1/agents/<id>/heartbeat   Heartbeat → Contact
    POST /v1/presence/heard          Heard → Answers         from a server to the leader

The answer comes only after the leader has heard, so that an agent can count on it: until `ttl_s` after it
*sent* the heartbeat, less `age_s`, nobody takes the node for lost.
"""

from __future__ import annotations

import msgspec

from skerry.fleet.state.node import Facts

DEFAULT_TTL_S = 15.0
HEARTBEAT_S = 5.0


class Heartbeat(msgspec.Struct, frozen=True, omit_defaults=True):
    """`boot` is made anew at each start of the machine; `now` is its wall clock as this was sent.

    `facts` are sent when they have changed, and when the server asked for them.
    """

    boot: str
    now: float
    facts: Facts | None = None


class Contact(msgspec.Struct, frozen=True, omit_defaults=True):
    """`revision`: assignments as of this revision or later are to be known before a fenced unit is started.

    `tell`: the servers do not know this node's facts; it is to send them, and counts as heard only then.
    `age_s`: by so much earlier than it was sent the heartbeat counts; of a server's own machine alone.
    """

    ttl_s: float
    revision: int = 0
    tell: bool = False
    age_s: float = 0.0


class Heard(msgspec.Struct, frozen=True):
    """What a server passes on: heartbeats by node, and the nodes that said goodbye."""

    heartbeats: dict[str, Heartbeat]
    goodbyes: tuple[str, ...] = ()


class Answers(msgspec.Struct, frozen=True):
    """The leader's word for each heartbeat; those refused with a sentence."""

    contacts: dict[str, Contact]
    refused: dict[str, str] = {}
