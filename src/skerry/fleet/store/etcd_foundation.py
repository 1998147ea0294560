"""What says that an etcd holds a store of ours, and how its revisions are to be read.

    \\0skerry    {"version": 1, "offset": …, "floor": …}    etcd's revision is ours + offset

`floor` is the revision of ours after which history begins.

Written once: when a store is made, or as the last step of a migration, so that half of one is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from skerry.fleet.store.errors import StoreFormatError
from skerry.fleet.store.etcd_messages import RangeResponse, TxnResponse
from skerry.fleet.store.etcd_transaction import PRIVATE, Base, text

if TYPE_CHECKING:
    from skerry.fleet.store.etcd_client import EtcdClient

FOUNDATION = PRIVATE + b"skerry"
FORMAT_VERSION = 1


class _Foundation(msgspec.Struct, frozen=True):
    version: int
    offset: int
    floor: int


async def read_foundation(client: EtcdClient, *, serializable: bool = False) -> tuple[Base | None, int]:
    """Where our revisions begin, None where nobody has said so; and etcd's revision.

    `serializable` is as the member asked knows it, without asking the others.

    Raises UnavailableError, StoreFormatError.
    """
    question = {"key": text(FOUNDATION), "serializable": serializable}
    found = await client.ask("/v3/kv/range", question, RangeResponse)
    if not found.kvs:
        return None, found.header.revision
    foundation = msgspec.json.decode(found.kvs[0].value, type=_Foundation)
    if foundation.version > FORMAT_VERSION:
        raise StoreFormatError(
            f"the cluster's store has format {foundation.version}, this Skerry reads {FORMAT_VERSION}",
            hint="upgrade this machine",
        )
    return Base(foundation.offset, foundation.floor), found.header.revision


async def found(client: EtcdClient, base: Base | None = None) -> None:
    """Say where our revisions begin: as the last step of a migration with `base`, else now, at 0.

    Does nothing where it has been said. Raises UnavailableError.
    """
    known, revision = await read_foundation(client)
    if known is not None:
        return
    base = base or Base(revision + 1)
    value = msgspec.json.encode(_Foundation(FORMAT_VERSION, base.offset, base.floor))
    question = {
        "compare": [{"key": text(FOUNDATION), "target": "VERSION", "result": "EQUAL", "version": 0}],
        "success": [{"request_put": {"key": text(FOUNDATION), "value": text(value)}}],
    }
    await client.ask("/v3/kv/txn", question, TxnResponse)
