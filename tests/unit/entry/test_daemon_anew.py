"""A server that begins anew alone knows nothing of the servers that were beside it."""

from __future__ import annotations

import asyncio

from skerry.entry.daemon.anew import running_others, without_joins, without_others
from skerry.fleet.access.records import (
    MemberRecord,
    RevokedRecord,
    join_key,
    member_key,
    person_key,
    revoked_key,
)
from skerry.fleet.cluster.membership import Membership
from skerry.fleet.cluster.transfer import Picture
from skerry.fleet.presence.leader import LEADER_KEY, LED_KEY, LeaderRecord
from skerry.fleet.state.node import (
    Facts,
    Liveness,
    NodeRecord,
    PresenceRecord,
    Role,
    node_key,
    presence_key,
)
from skerry.fleet.store.interface import Entry

HERE, OTHER, NEVER_SEEN, AGENT = "1" * 32, "2" * 32, "3" * 32, "4" * 32


def _of(node: str, role: Role) -> dict[str, bytes]:
    member = MemberRecord(node, role, "s", "k", 0.0, 9.0)
    presence = PresenceRecord(Facts(role=role), Liveness.READY, 0.0)
    return {
        member_key(node): member.encode(),
        presence_key(node): presence.encode(),
        node_key(node): NodeRecord().encode(),
        f"/skerry/v1/reports/{node}/a.service": b"{}",
        f"/skerry/v1/placements/{node}/a.service": b"{}",
    }


def test_the_other_servers_are_removed_and_all_else_stays() -> None:
    stood = {
        **_of(HERE, Role.SERVER),
        **_of(OTHER, Role.SERVER),
        **_of(AGENT, Role.AGENT),
        member_key(NEVER_SEEN): MemberRecord(NEVER_SEEN, Role.SERVER, "s", "k", 0.0, 9.0).encode(),
        revoked_key(HERE): RevokedRecord(HERE, 1.0).encode(),
        revoked_key(AGENT): RevokedRecord(AGENT, 1.0).encode(),
        LEADER_KEY: LeaderRecord(OTHER).encode(),
        LED_KEY: b"{}",
        "/skerry/v1/units/a.service": b"{}",
        presence_key("of a newer version"): b'{"version": 99}',
    }
    picture = Picture(7, tuple(Entry(key, stood[key], 1, 1, 1) for key in sorted(stood)), {3: 9.0})
    alone = without_others(picture, HERE, 5.0)
    stands = {entry.key: entry.value for entry in alone.entries}
    removed = {
        revoked_key(node): RevokedRecord(node, 5.0, "restore").encode() for node in (OTHER, NEVER_SEEN)
    }
    gone = set(_of(OTHER, Role.SERVER)) - {f"/skerry/v1/placements/{OTHER}/a.service"}
    gone |= {LEADER_KEY, LED_KEY, revoked_key(HERE), member_key(NEVER_SEEN)}
    assert stands == {key: value for key, value in stood.items() if key not in gone} | removed
    assert [entry.key for entry in alone.entries] == sorted(stands)
    assert (alone.revision, alone.leases) == (7, {3: 9.0})


def test_what_lets_machines_join_is_not_restored() -> None:
    entries = tuple(Entry(key, b"{}", 1, 1, 1) for key in (join_key("1"), person_key("2")))
    kept = without_joins(Picture(7, entries, {3: 9.0}))
    assert kept == Picture(7, entries[1:], {3: 9.0})


def test_servers_that_run_are_found_and_this_one_does_not_count() -> None:
    async def story() -> None:
        async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.2", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            servers = tuple(f"https://127.0.0.{n}:{port}" for n in (1, 2, 3))
            for here, found in (("127.0.0.1", ["127.0.0.2"]), ("127.0.0.2", [])):
                membership = Membership("c", "home", HERE, Role.SERVER, here, servers)
                assert await running_others(membership) == found

    asyncio.run(story())
