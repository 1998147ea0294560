"""A transaction in etcd's words, such that it can be sent again without being done twice. Pure.

    if no receipt, and compares
      then  operations + receipt "1"
      else  get receipt; if no receipt: otherwise-operations + receipt "0"

A receipt is a key of its own for each transaction, written in the same revision by a branch that changes
something. Who sends the transaction again and finds the receipt knows that it was done, when, and which
branch it took. Where it is sent again, a receipt is written in any case, so that the first one, should it
still be on its way, does nothing when it arrives. What begins with NUL is ours and shown to nobody.

Two things of etcd's are put right here. Its revisions begin elsewhere (`Base`). And no comparison with the
value of an absent key holds, while in our interface that value is b"": so `absent or …` becomes
`not (there and not …)`, which goes into the chain of those that must not hold.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from skerry.fleet.store.etcd_messages import TxnResponse
from skerry.fleet.store.interface import (
    Compare,
    Delete,
    DeletePrefix,
    Entry,
    Field,
    Get,
    Operation,
    Put,
    Relation,
    Result,
)
from skerry.fleet.store.transaction import MAX_LEASE, end_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skerry.fleet.store.etcd_messages import KeyValue, OperationResponse
    from skerry.fleet.store.transaction import Transaction

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | bool"

PRIVATE = b"\0"
FIRST_KEY = b"\x01"
"""Where the keys of the interface begin."""

NO_END = b"\0"
"""etcd's word for a range that goes on to the last key."""

NO_SUCH_LEASE = MAX_LEASE
_RESULTS = {
    Relation.EQUAL: "EQUAL",
    Relation.NOT_EQUAL: "NOT_EQUAL",
    Relation.LESS: "LESS",
    Relation.GREATER: "GREATER",
}
_TARGETS = {Field.VERSION: "VERSION", Field.CREATE_REVISION: "CREATE", Field.MOD_REVISION: "MOD"}
_OPPOSITES = {
    Relation.EQUAL: (Relation.NOT_EQUAL,),
    Relation.NOT_EQUAL: (Relation.EQUAL,),
    Relation.LESS: (Relation.EQUAL, Relation.GREATER),
}


@dataclass(frozen=True, slots=True)
class Base:
    """Our revision n is etcd's n + `offset`; `floor` is where our history began here."""

    offset: int
    floor: int = 0

    def theirs(self, revision: int) -> int:
        return revision + self.offset

    def ours(self, revision: int) -> int:
        return revision - self.offset

    def entry(self, kv: KeyValue) -> Entry:
        return Entry(
            kv.key.decode(),
            kv.value,
            kv.create_revision - self.offset,
            kv.mod_revision - self.offset,
            kv.version,
            kv.lease,
        )


@dataclass(frozen=True, slots=True)
class Done:
    """An earlier attempt was heard: which branch it took, and etcd's revision of it."""

    succeeded: bool
    revision: int


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def span(prefix: str) -> dict[str, Json]:
    """`key` and `range_end` of all that begins with `prefix`."""
    end = end_of(prefix)
    return {
        "key": text(prefix.encode() or FIRST_KEY),
        "range_end": text(NO_END if end is None else end.encode()),
    }


def where(operation: Operation) -> dict[str, Json]:
    """The keys that an operation is about."""
    if isinstance(operation, DeletePrefix):
        return span(operation.prefix)
    return {"key": text(operation.key.encode())}


def request(
    transaction: Transaction,
    base: Base,
    receipt: bytes | None,
    *,
    again: bool = False,
    cleared: Sequence[bytes] = (),
) -> dict[str, Json]:
    """The request; `receipt` is None for one that changes nothing, `again` where it may have been heard.

    `cleared` are receipts of transactions that are done; they are removed along with a change.
    """
    then = _branch(transaction.then, receipt, b"1", again=again, cleared=cleared)
    otherwise = _branch(transaction.otherwise, receipt, b"0", again=again, cleared=())
    positive: list[Json] = []
    negative: list[Json] = []
    for compare in transaction.compares:
        holds, must_not = _compares(compare, base)
        positive += holds
        negative += must_not
    if receipt is None:
        made: dict[str, Json] = {"compare": positive, "success": then, "failure": otherwise}
        return _chained(made, negative, otherwise)
    unheard: Json = {"key": text(receipt), "target": "VERSION", "result": "EQUAL", "version": 0}
    read: Json = {"request_range": {"key": text(receipt)}}
    if negative:
        made = {"compare": positive, "success": then, "failure": otherwise}
        inner: list[Json] = [{"request_txn": _chained(made, negative, otherwise)}]
        return {"compare": [unheard], "success": inner, "failure": [read]}
    # The usual case is flat: etcd holds only what is not nested against its quota.
    other: list[Json] = [{"request_txn": {"compare": [unheard], "success": otherwise}}] if otherwise else []
    return {"compare": [unheard, *positive], "success": then, "failure": [read, *other]}


def _chained(made: dict[str, Json], negative: Sequence[Json], otherwise: list[Json]) -> dict[str, Json]:
    """The transaction behind comparisons that must not hold."""
    for compare_not in reversed(negative):
        made = {"compare": [compare_not], "success": otherwise, "failure": [{"request_txn": made}]}
    return made


def answer(
    response: TxnResponse, transaction: Transaction, base: Base, *, with_receipt: bool
) -> Result | Done:
    """What the request did, or that it was done before."""
    inner = response
    negatives = sum(len(_compares(compare, base)[1]) for compare in transaction.compares)
    if with_receipt:
        if not response.succeeded:
            ranged = response.responses[0].response_range
            if ranged is not None and ranged.kvs:
                return Done(ranged.kvs[0].value == b"1", ranged.kvs[0].mod_revision)
            if negatives:
                raise AssertionError("etcd found a receipt and gave none")
            other = response.responses[1].response_txn if len(response.responses) > 1 else None
            return _result(False, response, other or TxnResponse(), transaction, base)
        if negatives:
            inner = _nested(response)
    for _ in range(negatives):
        if inner.succeeded:  # what must not hold does
            return _result(False, response, inner, transaction, base)
        inner = _nested(inner)
    return _result(inner.succeeded, response, inner, transaction, base)


def changes(transaction: Transaction) -> bool:
    """Whether either branch may change something."""
    return any(not isinstance(done, Get) for done in (*transaction.then, *transaction.otherwise))


def clears(transaction: Transaction, *, succeeded: bool) -> bool:
    """Whether this outcome removed the receipts that were to be cleared."""
    return succeeded and any(isinstance(operation, Put) for operation in transaction.then)


def _nested(response: TxnResponse) -> TxnResponse:
    inner = response.responses[0].response_txn
    if inner is None:
        raise AssertionError("etcd answered a nested transaction with something else")
    return inner


def _result(
    succeeded: bool, outer: TxnResponse, inner: TxnResponse, transaction: Transaction, base: Base
) -> Result:
    operations = transaction.then if succeeded else transaction.otherwise
    # Receipts come after the operations: the shorter of the two is what was asked for.
    found = tuple(_found(response, base) for _, response in zip(operations, inner.responses, strict=False))
    return Result(succeeded, base.ours(outer.header.revision), found)


def _found(response: OperationResponse, base: Base) -> tuple[Entry, ...]:
    if response.response_range is not None:
        return tuple(base.entry(kv) for kv in response.response_range.kvs)
    if response.response_put is not None:
        previous = response.response_put.prev_kv
        return () if previous is None else (base.entry(previous),)
    if response.response_delete_range is not None:
        return tuple(base.entry(kv) for kv in response.response_delete_range.prev_kvs)
    return ()


def _branch(
    operations: Sequence[Operation],
    receipt: bytes | None,
    word: bytes,
    *,
    again: bool,
    cleared: Sequence[bytes],
) -> list[Json]:
    made = [_operation(operation) for operation in operations]
    if receipt is None:
        return made
    kept: Json = {"request_put": {"key": text(receipt), "value": text(word)}}
    if again or any(isinstance(operation, Put) for operation in operations):
        made.append(kept)
        if any(isinstance(operation, Put) for operation in operations):
            made += [{"request_delete_range": {"key": text(old)}} for old in cleared]
    elif operations:
        # Only removals, perhaps of nothing: then there is to be no revision either.
        nothing: list[Json] = [
            _absent(operation) for operation in operations if not isinstance(operation, Get)
        ]
        if nothing:
            made.append({"request_txn": {"compare": nothing, "failure": [kept]}})
    return made


def _operation(operation: Operation) -> Json:
    match operation:
        case Get(key):
            return {"request_range": {"key": text(key.encode())}}
        case Put(key, value, lease):
            known = lease if 0 <= lease <= MAX_LEASE else NO_SUCH_LEASE
            words: dict[str, Json] = {"key": text(key.encode()), "value": text(value), "prev_kv": True}
            return {"request_put": words | {"lease": known} if known else words}
        case Delete(key):
            return {"request_delete_range": {"key": text(key.encode()), "prev_kv": True}}
        case DeletePrefix(prefix):
            return {"request_delete_range": span(prefix) | {"prev_kv": True}}


def _absent(operation: Operation) -> Json:
    return where(operation) | {"target": "VERSION", "result": "EQUAL", "version": 0}


def _compares(compare: Compare, base: Base) -> tuple[list[Json], list[Json]]:
    """What must hold, and what must not."""
    key = text(compare.key.encode())
    operand = compare.operand
    if isinstance(operand, bytes):
        if not _holds_for_nothing(compare.relation, operand):
            return [_value(key, compare.relation, operand)], []
        return [], [_value(key, opposite, operand) for opposite in _OPPOSITES[compare.relation]]
    if compare.field is not Field.VERSION and operand > 0:
        # 1 is the revision of an etcd that holds nothing: no entry has it, and an absent key has 0.
        operand = max(base.theirs(operand), 1)
    limited = max(-MAX_LEASE, min(operand, MAX_LEASE))
    target, relation = _TARGETS[compare.field], _RESULTS[compare.relation]
    return [{"key": key, "target": target, "result": relation, compare.field.value: limited}], []


def _value(key: str, relation: Relation, operand: bytes) -> Json:
    return {"key": key, "target": "VALUE", "result": _RESULTS[relation], "value": text(operand)}


def _holds_for_nothing(relation: Relation, operand: bytes) -> bool:
    """Whether the value of an absent key, b"", stands so to the operand."""
    match relation:
        case Relation.EQUAL:
            return not operand
        case Relation.NOT_EQUAL | Relation.LESS:
            return bool(operand)
        case Relation.GREATER:
            return False
