"""A server of a cluster for simulated agents: `python3 agents_server.py FOLDER [PORT]`, FOLDER with its pki/.

Everything is put together as skerryd does it: TLS, the guard, the whole API, the scheduler and the store, a
file or, with SKERRY_BENCH_ETCD, an empty etcd at that URL. Only units of its own it has none. On
standard input it is asked `unit RECORD` (store it) and `revision`; each is answered with
the revision of the store.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from pathlib import Path

import msgspec

from skerry.entry.daemon.access import access_of_server
from skerry.entry.daemon.checks import explaining
from skerry.entry.daemon.server import make_server, serve
from skerry.entry.daemon.tls import listen_tcp
from skerry.entry.daemon.wiring import COLLECT
from skerry.entry.rest.agents import Agents
from skerry.entry.rest.app import Cluster, create_app
from skerry.entry.rest.desired import Desired
from skerry.entry.rest.host import Host
from skerry.entry.rest.keys import routes as key_routes
from skerry.entry.rest.machine import Node
from skerry.entry.rest.pulse import Pulse
from skerry.fleet.assign.feed import Feed
from skerry.fleet.assign.reports import Reports
from skerry.fleet.cluster.membership import Membership
from skerry.fleet.keys.keyspace import Keyspace
from skerry.fleet.presence.forward import Forwarder
from skerry.fleet.presence.leader import Leadership
from skerry.fleet.presence.registry import Registry
from skerry.fleet.schedule.driver import Driver
from skerry.fleet.state.node import Role
from skerry.fleet.state.unit import UnitRecord, unit_key
from skerry.fleet.store.etcd import EtcdStore
from skerry.fleet.store.etcd_client import EtcdClient
from skerry.fleet.store.etcd_foundation import found
from skerry.fleet.store.interface import Put
from skerry.fleet.store.sqlite import SqliteStore
from skerry.fleet.trust.contexts import NodeTls
from skerry.fleet.trust.files import Pki
from skerry.fleet.trust.identity import Identity
from skerry.fleet.trust.identity import Role as IdentityRole
from skerry.host.units.check import check_unit
from skerry.host.units.journal import read_journal
from skerry.kit.clock import SystemClock

SERVER = Identity("5" * 32, IdentityRole.SERVER)


async def main(folder: Path, port: int) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("skerry.access").setLevel(logging.WARNING)
    clock = SystemClock()
    listener = listen_tcp("127.0.0.1", port)
    url = f"https://127.0.0.1:{listener.getsockname()[1]}"
    pki = Pki(folder / "pki")
    tls = NodeTls(pki)
    etcd = os.environ.get("SKERRY_BENCH_ETCD")
    if etcd:
        client = EtcdClient((etcd,), clock=clock)
        await found(client)
        client.close()
        store: EtcdStore | SqliteStore = await EtcdStore.open(
            (etcd,), name=SERVER.node, tls=None, clock=clock
        )
    else:
        store = await SqliteStore.open(folder / "store.db", clock=clock)
    membership = Membership("c1", "bench", SERVER.node, Role.SERVER, "127.0.0.1", (url,))
    leading = Leadership(store, SERVER.node, url, clock)
    presence = Registry(store, leading, clock, Forwarder(tls.client))
    driver = Driver(store, leading, clock)
    feed = Feed(store, clock)
    agents = Agents(feed, Reports(store, feed.is_fenced), presence)
    access = access_of_server(store, clock, pki, lambda: membership)
    access.known.on_removed(feed.close)
    desired = Desired(store, Node(SERVER.node), check_unit, clock)
    more = [
        *access.routes,
        *agents.routes(),
        *key_routes(Keyspace(store, clock)),
    ]
    cluster = Cluster(desired, read_journal, more, removal=access.removal, explain=explaining(driver, store))
    guard = access.guard(create_app(Host(SERVER.node, root=folder), cluster))
    server = make_server(guard, tls.server(), Pulse(guard, agents))
    async with asyncio.TaskGroup() as group:
        for work in (desired.mirror, leading, presence, driver, feed):
            group.create_task(work.run())
        for loop in access.loops(guard).values():
            group.create_task(loop)
        await access.known.ready()
        while not leading.is_leader:  # noqa: ASYNC110  once, at the start
            await asyncio.sleep(0.01)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT)
        group.create_task(serve(server, [listener]))
        print(url, flush=True)
        while asked := await asyncio.to_thread(sys.stdin.buffer.readline):
            verb, _, text = asked.decode().strip().partition(" ")
            if verb == "unit":
                record = msgspec.json.decode(text, type=UnitRecord)
                await store.transact([], [Put(unit_key(record.name), record.encode())])
            print((await store.list("/skerry/v1/leader")).revision, flush=True)
        os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
