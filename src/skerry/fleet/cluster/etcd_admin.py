"""What is asked of etcd about itself: members, their health, alarms, room.

Through the same client as the store's; what concerns one member is asked of that one alone.
https://etcd.io/docs/v3.5/dev-guide/api_reference_v3/
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from skerry.fleet.cluster.errors import EtcdError
from skerry.fleet.store.errors import StoreError
from skerry.fleet.store.etcd_client import EtcdClient, RefusedError
from skerry.fleet.store.etcd_messages import Header, HeaderOnly, RangeResponse
from skerry.fleet.store.etcd_transaction import PRIVATE, text

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from skerry.kit.clock import Clock

LOOK_S = 2.0
PROMOTE_S = 120.0
PROMOTE_PAUSE_S = 0.5


class EtcdMember(msgspec.Struct, frozen=True):
    """A member as etcd lists it; its name is "" until it has started for the first time."""

    id: int = msgspec.field(name="ID")
    name: str = ""
    peer_urls: list[str] = msgspec.field(name="peerURLs", default_factory=list)
    client_urls: list[str] = msgspec.field(name="clientURLs", default_factory=list)
    learner: bool = msgspec.field(name="isLearner", default=False)


class _Members(msgspec.Struct, frozen=True):
    members: list[EtcdMember] = []


class _Status(msgspec.Struct, frozen=True):
    header: Header = Header()
    version: str = ""
    size_bytes: int = msgspec.field(name="dbSize", default=0)
    used_bytes: int = msgspec.field(name="dbSizeInUse", default=0)
    leader: int = 0
    errors: list[str] = []


class _Alarm(msgspec.Struct, frozen=True):
    member: int = msgspec.field(name="memberID", default=0)
    alarm: str = ""


class _Alarms(msgspec.Struct, frozen=True):
    alarms: list[_Alarm] = []


class MemberHealth(msgspec.Struct, frozen=True):
    """How one member is; `problem` is a sentence where it is not healthy."""

    name: str
    address: str
    healthy: bool
    leader: bool = False
    learner: bool = False
    size_bytes: int = 0
    used_bytes: int = 0
    version: str = ""
    problem: str = ""


class StoreHealth(msgspec.Struct, frozen=True):
    """How the servers' etcd is. `quorum` tells whether it takes changes; `alarms` are sentences."""

    members: tuple[MemberHealth, ...]
    quorum: bool
    size_bytes: int
    quota_bytes: int
    alarms: tuple[str, ...]


async def list_members(client: EtcdClient) -> list[EtcdMember]:
    """Raises UnavailableError."""
    return (await client.ask("/v3/cluster/member/list", {}, _Members)).members


async def add_learner(client: EtcdClient, peer_url: str) -> EtcdMember:
    """Make room for a member that first only listens; again after a failure is no error.

    Raises EtcdError where another is on its way already, UnavailableError.
    """
    for member in await list_members(client):
        if peer_url in member.peer_urls:
            return member
    try:
        await client.ask("/v3/cluster/member/add", {"peerURLs": [peer_url], "isLearner": True}, HeaderOnly)
    except RefusedError as refused:
        if "Peer URLs already exists" not in refused.said:
            raise _refused(refused) from refused
    for member in await list_members(client):
        if peer_url in member.peer_urls:
            return member
    raise EtcdError(f"etcd took the member at {peer_url} and does not know it")


async def promote(client: EtcdClient, member: int, clock: Clock) -> None:
    """Give a learner its vote, once it knows what the others know. Raises EtcdError, UnavailableError."""
    end = clock.monotonic() + PROMOTE_S
    while True:
        try:
            await client.ask("/v3/cluster/member/promote", {"ID": member}, HeaderOnly)
        except RefusedError as refused:
            if refused.said.endswith("promote a learner member"):
                return  # it is done
            if clock.monotonic() > end or "in sync" not in refused.said:
                raise _refused(refused) from refused
            await clock.sleep(PROMOTE_PAUSE_S)
        else:
            return


async def remove_member(client: EtcdClient, member: int) -> None:
    """No error where it is gone. Raises EtcdError where too few would be left, UnavailableError."""
    try:
        await client.ask("/v3/cluster/member/remove", {"ID": member}, HeaderOnly)
    except RefusedError as refused:
        if "not found" not in refused.said:
            raise _refused(refused) from refused


async def defragment(client: EtcdClient) -> None:
    """Give back the room that is not used, of the member that the client asks; it stands still meanwhile."""
    client.attempt_s = client.patience_s = 120
    await client.ask("/v3/maintenance/defragment", {}, HeaderOnly)


async def forget_history(client: EtcdClient) -> int:
    """Drop all that stood before now, and return now's revision when it is gone from the file."""
    now = (await client.ask("/v3/kv/range", {"key": text(PRIVATE)}, RangeResponse)).header.revision
    client.attempt_s = client.patience_s = 120
    with contextlib.suppress(RefusedError):  # somebody has done so already
        await client.ask("/v3/kv/compaction", {"revision": now, "physical": True}, HeaderOnly)
    return now


async def is_armed(client: EtcdClient) -> bool:
    """Whether the alarm about the quota holds: then nothing is written."""
    alarms = (await client.ask("/v3/maintenance/alarm", {}, _Alarms)).alarms
    return any(alarm.alarm == "NOSPACE" for alarm in alarms)


async def disarm(client: EtcdClient) -> None:
    """Take the alarm about the quota back; it comes again where there is no room."""
    for alarm in (await client.ask("/v3/maintenance/alarm", {}, _Alarms)).alarms:
        if alarm.alarm == "NOSPACE":
            question = {"action": "DEACTIVATE", "memberID": alarm.member, "alarm": alarm.alarm}
            await client.ask("/v3/maintenance/alarm", question, HeaderOnly)


async def health(
    client: EtcdClient, quota_bytes: int, tls: Callable[[], ssl.SSLContext] | None
) -> StoreHealth:
    """How all members are, each asked by itself; answers within seconds whatever their state.

    Where none of them knows of the others, only those that the client has are looked at.
    """
    members: list[EtcdMember] = []
    alarms: list[_Alarm] = []
    for endpoint in client.endpoints:
        asked = EtcdClient([endpoint], tls=tls, clock=client.clock, patience_s=0, attempt_s=LOOK_S)
        with contextlib.suppress(StoreError):
            members = (await asked.ask("/v3/cluster/member/list", {"linearizable": False}, _Members)).members
            alarms = (await asked.ask("/v3/maintenance/alarm", {}, _Alarms)).alarms
        asked.close()
        if members:
            break
    looked = await asyncio.gather(*(_look(member, client, tls) for member in members))
    names = {member.id: member.name for member in members}
    said = [_sentence(alarm, names) for alarm in alarms]
    size_bytes = max((look.size_bytes for look in looked), default=0)
    if size_bytes > quota_bytes * 0.8:
        said.append(f"the store holds {size_bytes} bytes of the {quota_bytes} that it may")
    return StoreHealth(
        tuple(sorted(looked, key=lambda look: look.name)),
        any(look.leader and look.healthy for look in looked),
        size_bytes,
        quota_bytes,
        tuple(said),
    )


async def _look(
    member: EtcdMember, client: EtcdClient, tls: Callable[[], ssl.SSLContext] | None
) -> MemberHealth:
    urls = member.client_urls
    name, address = member.name or "(not started yet)", (member.peer_urls or [""])[0]
    if not urls:
        return MemberHealth(
            name, address, healthy=False, learner=member.learner, problem="it has not started"
        )
    asked = EtcdClient(urls, tls=tls, clock=client.clock, patience_s=0, attempt_s=LOOK_S)
    try:
        status = await asked.ask("/v3/maintenance/status", {}, _Status)
    except StoreError as error:
        return MemberHealth(name, address, healthy=False, learner=member.learner, problem=error.message)
    finally:
        asked.close()
    problem = "" if status.leader else "it knows of no leader"
    return MemberHealth(
        name,
        address,
        healthy=not problem,
        leader=status.leader == member.id,
        learner=member.learner,
        size_bytes=status.size_bytes,
        used_bytes=status.used_bytes,
        version=status.version,
        problem=problem,
    )


def _sentence(alarm: _Alarm, names: dict[int, str]) -> str:
    name = names.get(alarm.member, "a member")
    if alarm.alarm == "NOSPACE":
        return f"the store is full (quota reached at {name}): it takes no more until room is made"
    if alarm.alarm == "CORRUPT":
        return f"what {name} holds differs from the others: remove that member and let it join anew"
    return f"{name} raises the alarm {alarm.alarm}"


def _refused(refused: RefusedError) -> EtcdError:
    hints = {
        "unhealthy": "bring the other members up first, or remove those that are lost",
        "not enough started": "bring the other members up first, or remove those that are lost",
        "too many learner": "another server is joining: wait until it is done, or remove it",
        "re-configuration failed": "bring the other members up first, or remove those that are lost",
    }
    hint = next((text for word, text in hints.items() if word in refused.said), None)
    return EtcdError(refused.message, hint=hint)
