"""What the suites of the store's contract share: databases, a clock, a person, what a refusal leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from broker.core.errors import DeskError
from broker.core.interfaces import Store
from broker.core.model import User
from tests.clocks import ManualClock
from tests.contract.stores import HOST, PLACES, Place


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=PLACES)
def place(request, tmp_path) -> Place:
    return PLACES[request.param](tmp_path)


@pytest.fixture
async def another(place, clock) -> AsyncIterator[Callable[[], Awaitable[Store]]]:
    """Opens one more store over the same database."""
    opened = []

    async def open_one() -> Store:
        opened.append(await place.open(clock))
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
async def store(another) -> Store:
    return await another()


@pytest.fixture
async def ada(store) -> User:
    return await store.add_user("ada", admin=False, actor="uid:0")


@pytest.fixture
async def nothing_written(store):
    """Hold that whatever is refused in the block leaves the state and the audit as they were."""

    class Refused:
        def __init__(self, error: type[DeskError]) -> None:
            self._raises = pytest.raises(error)

        async def __aenter__(self):
            self._before = await facts(store)
            return self._raises.__enter__()

        async def __aexit__(self, *exc):
            caught = self._raises.__exit__(*exc)
            assert await facts(store) == self._before
            return caught

    return Refused


async def facts(store: Store) -> object:
    people = await store.users()
    groups = await store.groups()
    return (
        people,
        [await store.keys(user.id) for user in people],
        [await store.password(user.id) for user in people],
        [await store.codes(user.id) for user in people],
        [await store.groups_of(user.id) for user in people],
        groups,
        [await store.members(group.name) for group in groups],
        await store.invites(),
        await store.desktops(removed=True),
        await store.live_sessions(),
        await store.last_deadlines(HOST),
        await store.leases(),
        await store.audit(limit=1000),
    )
