"""fleet's page tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.entry.rest.pages import cut, decode_page, encode_token


def test_the_token_of_fleets_documentation() -> None:
    assert encode_token(100, 2) == "ZAACAA=="


@given(st.integers(1, 0xFFFF), st.integers(1, 0xFFFF))
def test_a_token_leads_to_its_page(limit: int, page: int) -> None:
    assert decode_page([encode_token(limit, page)], limit) == page


@given(st.text(max_size=12))
def test_other_text_is_refused_or_a_page(text: str) -> None:
    try:
        assert decode_page([text], 100) > 0
    except ValueError as error:
        assert str(error)  # noqa: PT017  both outcomes are right, a traceback is not


@pytest.mark.parametrize(
    ("page", "items", "more"), [(1, [0, 1], True), (2, [2, 3], True), (3, [4], False), (4, [], False)]
)
def test_cuts_pages(page: int, items: list[int], *, more: bool) -> None:
    found, token = cut(range(5), 2, page)
    assert (found, token is not None) == (items, more)
