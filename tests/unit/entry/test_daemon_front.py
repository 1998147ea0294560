"""What outlives a role: requests wait for the next one, and changes of role come one at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fakes.clock import FakeClock, settle
from skerry.entry.daemon.front import BusyError, Front, Patient, Turns
from skerry.kit.errors import SkerryError

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from starlette.types import ASGIApp, Receive, Scope, Send


async def nothing() -> MutableMapping[str, Any]:
    raise AssertionError("nobody reads here")


async def nowhere(message: MutableMapping[str, Any]) -> None:
    raise AssertionError("nobody writes here")


def app(name: str, asked: list[str]) -> ASGIApp:
    """Says who was asked what."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(f"{name} {scope['path']}")

    return answer


def ask(front: Front, path: str) -> asyncio.Task[None]:
    return asyncio.create_task(front({"type": "http", "path": path}, nothing, nowhere))  # type: ignore[arg-type]


def test_requests_wait_for_the_first_role_and_for_the_next() -> None:
    async def story() -> None:
        front, asked = Front(), list[str]()
        early, there = ask(front, "/early"), asyncio.create_task(front.there())
        await settle()
        assert (early.done(), there.done()) == (False, False)
        front.put(app("one", asked))
        await asyncio.gather(early, there)
        front.take()
        between = ask(front, "/between")
        await settle()
        assert not between.done()
        front.put(app("two", asked))
        await between
        await ask(front, "/late")
        assert asked == ["one /early", "two /between", "two /late"]

    asyncio.run(story())


def test_who_waited_is_not_given_to_a_role_that_went_at_once() -> None:
    async def story() -> None:
        front, asked = Front(), list[str]()
        waiting = ask(front, "/waiting")
        await settle()
        front.put(app("short", asked))
        front.take()
        await settle()
        front.put(app("next", asked))
        await waiting
        assert asked == ["next /waiting"]

    asyncio.run(story())


async def turn(turns: Turns) -> None:
    """What the daemon's loop does once."""
    await turns.wanted.wait()
    await turns.between()
    turns.begun()


def test_a_change_returns_when_the_new_role_has_begun() -> None:
    async def story() -> None:
        turns, done = Turns(), list[str]()

        async def work() -> None:
            done.append("work")

        changing = asyncio.create_task(turns.change(work))
        await turns.wanted.wait()
        await turns.between()
        await settle()
        assert (done, changing.done(), turns.wanted.is_set()) == (["work"], False, False)
        turns.begun()
        await changing
        another = asyncio.create_task(turns.change())
        await turn(turns)
        await another
        assert done == ["work"]

    asyncio.run(story())


def test_of_two_changes_at_once_the_second_is_refused_and_the_first_is_made() -> None:
    async def story() -> None:
        turns, done = Turns(), list[str]()

        async def work() -> None:
            done.append("first")

        first = asyncio.create_task(turns.change(work))
        await settle()
        with pytest.raises(BusyError, match="changing its role"):
            await turns.change()
        await turn(turns)
        await first
        assert done == ["first"]

    asyncio.run(story())


def test_what_fails_between_the_roles_is_told_and_the_next_change_may_come() -> None:
    async def story() -> None:
        turns = Turns()

        async def broken() -> None:
            raise SkerryError("the disk is full")

        changing = asyncio.create_task(turns.change(broken))
        await turn(turns)
        with pytest.raises(SkerryError, match="disk is full"):
            await changing
        another = asyncio.create_task(turns.change())
        await turn(turns)
        await another

    asyncio.run(story())


def test_a_role_that_is_still_beginning_does_not_end_the_change_that_ends_it() -> None:
    """A server whose store does not answer says again and again that it has begun."""

    async def story() -> None:
        turns = Turns()

        async def broken() -> None:
            raise SkerryError("no snapshot")

        changing = asyncio.create_task(turns.change(broken))
        await turns.wanted.wait()
        turns.begun()
        await settle()
        assert not changing.done()
        await turn(turns)
        with pytest.raises(SkerryError, match="no snapshot"):
            await changing

    asyncio.run(story())


def test_who_asked_may_go_and_the_change_is_made() -> None:
    async def story() -> None:
        turns, done = Turns(), list[str]()

        async def work() -> None:
            done.append("work")

        changing = asyncio.create_task(turns.change(work))
        await settle()
        changing.cancel()
        await turn(turns)
        await settle()
        assert (done, changing.cancelled()) == (["work"], True)

    asyncio.run(story())


def test_a_verb_has_the_machine_alone_until_its_end() -> None:
    turns = Turns()
    with turns.alone(), pytest.raises(BusyError, match="under way here"), turns.alone():
        raise AssertionError("two at once")
    with pytest.raises(SkerryError, match="no room"), turns.alone():
        raise SkerryError("no room")
    with turns.alone():
        pass


def test_who_waits_for_days_is_alone_while_it_works_and_lets_others_while_it_waits() -> None:
    async def story() -> None:
        clock, turns, done = FakeClock(), Turns(), list[str]()

        async def try_often() -> None:
            patient = Patient(clock, turns)
            async with patient.alone():
                for n in range(3):
                    done.append(f"try {n}")
                    with pytest.raises(BusyError), turns.alone():
                        pass
                    await patient.sleep(10)

        with turns.alone():
            trying = asyncio.create_task(try_often())
            await clock.advance(5)
            assert done == []
        await clock.advance(1)
        assert done == ["try 0"]
        with turns.alone():
            await clock.advance(30)
            assert done == ["try 0"]
        await clock.advance(30)
        await asyncio.wait_for(trying, 10)
        assert done == ["try 0", "try 1", "try 2"]
        with turns.alone():
            pass

    asyncio.run(story())
