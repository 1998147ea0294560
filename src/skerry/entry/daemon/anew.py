"""What a store is to hold where one server begins anew with it: nothing of the servers that were beside it.

    members/, nodes/, presence/, reports/ of another server ─→ gone, and revoked/<id> instead
    leader, revoked/<this server>                           ─→ gone

Their certificates are good for a cluster that is no more: each has to join again. Placements on them stay:
the scheduler knows how long nobody may run what was fenced there.
"""

from __future__ import annotations

from skerry.fleet.access.records import (
    MEMBERS_PREFIX,
    MemberRecord,
    RevokedRecord,
    member_key,
    revoked_key,
)
from skerry.fleet.cluster.transfer import Picture
from skerry.fleet.presence.leader import LEADER_KEY
from skerry.fleet.state.document import RecordError
from skerry.fleet.state.node import PRESENCE_PREFIX, PresenceRecord, Role, node_key, presence_key
from skerry.fleet.state.unit import REPORTS_PREFIX
from skerry.fleet.store.interface import Entry


def without_others(picture: Picture, node: str, at: float) -> Picture:
    """The picture for `node` as its only server; the others are removed as of `at`. Pure."""
    others = {server for entry in picture.entries if (server := _server(entry)) and server != node}
    gone = {LEADER_KEY, revoked_key(node)}
    for other in others:
        gone |= {member_key(other), node_key(other), presence_key(other), revoked_key(other)}
    reports = tuple(f"{REPORTS_PREFIX}{other}/" for other in others)
    kept = [e for e in picture.entries if e.key not in gone and not e.key.startswith(reports)]
    kept += [
        Entry(
            revoked_key(other),
            RevokedRecord(other, at, "restore").encode(),
            picture.revision,
            picture.revision,
            1,
        )
        for other in others
    ]
    return Picture(picture.revision, tuple(sorted(kept, key=lambda entry: entry.key)), picture.leases)


def _server(entry: Entry) -> str:
    """The id of the server that a record is of, "" for all else."""
    try:
        if entry.key.startswith(MEMBERS_PREFIX):
            member = MemberRecord.decode(entry.value)
            return member.node if member.role is Role.SERVER else ""
        if entry.key.startswith(PRESENCE_PREFIX):
            known = PresenceRecord.decode(entry.value)
            return entry.key.removeprefix(PRESENCE_PREFIX) if known.facts.role is Role.SERVER else ""
    except RecordError:
        return ""
    return ""
