"""Requests made from our own OpenAPI document: none is a bug, none that is refused changes anything.

schemathesis makes requests that the document allows, and such that it does not; half of the paths name units
and machines that are there. Every answer has to be what the document says of it.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core import NotSet
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from fakes.asgi import Api, Reply
from fakes.daemon import MACHINE
from skerry.entry.rest.openapi import document
from skerry.fleet.state.unit import DesiredState

if TYPE_CHECKING:
    from schemathesis import APIOperation, Case

    from skerry.kit.http import Json

ONE, TWO = "1" * 32, "2" * 32
TEXT = "[Service]\nExecStart=/bin/sleep 1\n"
KNOWN = {
    "name": ("a.service", "g.service", "t@.service", "t@1.service", "none.service", "a b", ".."),
    "id": (MACHINE, ONE, "1111", "one", "10.0.0.1", TWO, "nowhere"),
}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = 15


async def filled() -> Api:
    """Three machines and a few units, in every state."""
    api = Api(with_access=True)
    api.desired.settle_s = 0.001
    await api.hear(ONE, hostname="one", addresses=("10.0.0.1",), metadata={"disk": "ssd"})
    await api.hear(TWO)
    texts = {"a.service": TEXT, "g.service": TEXT + "[X-Fleet]\nGlobal=true\n", "t@.service": TEXT}
    offers = [{"name": name, "text": text} for name, text in texts.items()]
    await api.ask("POST", "/v1/units", {"verb": "submit", "names": list(texts), "offers": offers})
    await api.ask("POST", "/v1/units", {"verb": "start", "names": ["a.service", "g.service", "t@1.service"]})
    await api.place("a.service", ONE)
    await api.report("a.service", DesiredState.LAUNCHED, node=ONE)
    return api


@cache
def operations() -> dict[str, APIOperation]:
    api = Api(with_access=True)
    described: dict[str, Json] = document(api.app.routes)  # type: ignore[assignment]
    schema = schemathesis.openapi.from_dict(described)
    found = [result.ok() for result in schema.get_all_operations()]
    return {f"{operation.method.upper()} {operation.path}": operation for operation in found}


def cases(operation: APIOperation) -> st.SearchStrategy[Case]:
    """Requests as the document has them, and where that can be, such as it has not."""
    good = operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE)
    if "{" in operation.path or not (operation.body or operation.query):
        return good  # whatever stands in a path is a text: nothing there can be wrong
    return good | operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)


def target_of(case: Case, names: dict[str, str]) -> str:
    values = {key: names.get(key, str(value)) for key, value in case.path_parameters.items()}
    path = case.path
    for key, value in values.items():
        path = path.replace(f"{{{key}}}", quote(value, safe="", errors="replace"))
    flat = {key: value if isinstance(value, str) else json.dumps(value) for key, value in case.query.items()}
    return f"{path}?{urlencode(flat, errors='replace')}" if flat else path


@pytest.mark.parametrize("operation", sorted(operations()))
def test_requests_from_the_document(operation: str) -> None:
    described = operations()[operation]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # a request that fails is told as it is: to make it smaller takes minutes
        suppress_health_check=list(HealthCheck),
    )
    @given(
        cases(described),
        st.fixed_dictionaries({k: st.sampled_from(v) for k, v in KNOWN.items()}),
        st.booleans(),
    )
    def one(case: Case, names: dict[str, str], known: bool) -> None:
        target = target_of(case, names if known else {})
        body = None if isinstance(case.body, NotSet) else case.body
        if not isinstance(body, bytes | None):
            body = json.dumps(body).encode()

        async def go() -> tuple[Reply, int, int]:
            api = await filled()
            before = (await api.store.list("")).revision
            reply = await api.ask(described.method.upper(), target, body, leave=True)
            return reply, before, (await api.store.list("")).revision

        reply, before, after = asyncio.run(go())
        if reply.status >= 400 or described.method == "get":
            assert after == before, f"{target} was answered {reply.status} and changed the store"
        request = httpx.Request(described.method.upper(), f"http://x{target}")
        answer = httpx.Response(
            reply.status, headers=dict(reply.headers), content=reply.body, request=request
        )
        answer.elapsed = timedelta()
        case.validate_response(answer, checks=CHECKS)

    one()
