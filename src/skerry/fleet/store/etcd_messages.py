"""What etcd's JSON gateway says: the messages of its v3 API, as far as we read them.

The gateway leaves out what is zero, writes 64-bit numbers as text and bytes in base64; msgspec reads all
three. https://etcd.io/docs/v3.5/dev-guide/api_reference_v3/
"""

from __future__ import annotations

import msgspec


class Header(msgspec.Struct, frozen=True):
    revision: int = 0
    cluster_id: int = 0
    member_id: int = 0
    raft_term: int = 0


class KeyValue(msgspec.Struct, frozen=True, gc=False):
    key: bytes
    value: bytes = b""
    create_revision: int = 0
    mod_revision: int = 0
    version: int = 0
    lease: int = 0


class RangeResponse(msgspec.Struct, frozen=True):
    header: Header = Header()
    kvs: list[KeyValue] = []
    more: bool = False
    count: int = 0


class PutResponse(msgspec.Struct, frozen=True):
    prev_kv: KeyValue | None = None


class DeleteResponse(msgspec.Struct, frozen=True):
    prev_kvs: list[KeyValue] = []


class TxnResponse(msgspec.Struct, frozen=True):
    header: Header = Header()
    succeeded: bool = False
    responses: list[OperationResponse] = []


class OperationResponse(msgspec.Struct, frozen=True):
    """One of them is there."""

    response_range: RangeResponse | None = None
    response_put: PutResponse | None = None
    response_delete_range: DeleteResponse | None = None
    response_txn: TxnResponse | None = None


class WatchEvent(msgspec.Struct, frozen=True, gc=False):
    kv: KeyValue
    type: str = "PUT"
    prev_kv: KeyValue | None = None


class WatchResponse(msgspec.Struct, frozen=True):
    header: Header = Header()
    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    cancel_reason: str = ""
    events: list[WatchEvent] = []


class StreamError(msgspec.Struct, frozen=True):
    message: str = ""


class WatchLine(msgspec.Struct, frozen=True):
    """A line of a watch's answer."""

    result: WatchResponse | None = None
    error: StreamError | None = None


class LeaseResponse(msgspec.Struct, frozen=True):
    """Of a grant, or of a question for the time that is left (-1 where there is no such lease)."""

    header: Header = Header()
    ttl_s: int = msgspec.field(name="TTL", default=0)


class KeepAliveLine(msgspec.Struct, frozen=True):
    result: LeaseResponse | None = None
    error: StreamError | None = None


class HeaderOnly(msgspec.Struct, frozen=True):
    header: Header = Header()


class Refusal(msgspec.Struct, frozen=True):
    """An error; `code` is gRPC's."""

    message: str = ""
    error: str = ""
    code: int = 2
