"""Hashes of passwords: what is computed, and that no flood of it holds anybody up."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import pytest

from broker.core.errors import BadRequest, CapacityExhausted
from broker.service.passwords import AT_ONCE, EACH, LONGEST, SHORTEST, WAITING, Passwords
from tests.db.speed import Lag
from tests.service.harness import new_key
from tests.service.people import ABROAD, PASSWORD, Person, outcome


@pytest.fixture
def passwords():
    made = Passwords()
    yield made
    made.close()


async def test_a_hash_is_argon2id_of_its_own_salt(passwords):
    first, second = await passwords.hash(PASSWORD), await passwords.hash(PASSWORD)
    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert first != second
    assert PASSWORD not in first


async def test_a_password_is_right_or_wrong(passwords):
    kept = await passwords.hash(PASSWORD)
    assert await passwords.check(PASSWORD, kept) is True
    for wrong in (PASSWORD.upper(), "", PASSWORD[:-1], PASSWORD + "\x00", "\ud800"):
        assert await passwords.check(wrong, kept) is False
    assert await passwords.check(PASSWORD, None) is False
    passwords._nobodys = kept
    assert await passwords.check(PASSWORD, None) is False, "what nobody has is nobody's"
    assert await passwords.check(PASSWORD, "$argon2id$damaged") is False


@pytest.mark.parametrize(
    "password",
    [
        *("", "x" * (SHORTEST - 1), "x" * (LONGEST + 1), "é" * LONGEST, "tabs\tand more\n"),
        *("a picture: \U0001f600", "a look-alike: \ufb01", "a part: e\u0301", "nothing: \u00ad"),
    ],
)
async def test_what_cannot_be_a_password_is_refused(passwords, password):
    with pytest.raises(BadRequest) as caught:
        await passwords.hash(password)
    assert caught.value.public.startswith("A password has ")
    assert password.strip() not in caught.value.public or not password


async def test_the_longest_one_can_be_set_and_used(passwords):
    for password in ("é" * (LONGEST // 2), "x" * SHORTEST):
        assert await passwords.check(password, await passwords.hash(password))


async def test_two_are_computed_at_a_time_and_a_bounded_number_waits(passwords):
    gate, running = threading.Event(), []

    def slow(*_):
        running.append(threading.current_thread().name)
        gate.wait(10)
        return False

    async def one():
        with passwords.place():
            return await passwords.check("x", None)

    async def refused():
        with pytest.raises(CapacityExhausted) as caught:
            await one()
        assert caught.value.public == (
            "Too many people sign in with a password just now. Try again in a few seconds."
        )

    passwords._check = slow
    loop = asyncio.get_running_loop()
    tries = [loop.create_task(one()) for _ in range(AT_ONCE + WAITING)]
    await asyncio.sleep(0.1)
    assert len(running) == AT_ONCE
    await refused()
    with pytest.raises(CapacityExhausted):
        await passwords.hash(PASSWORD)
    for gone in (tries[-1], tries[0]):
        gone.cancel()
    await asyncio.wait({tries[-1], tries[0]})
    late = [loop.create_task(one()) for _ in range(2)]
    await asyncio.sleep(0)
    await refused()
    gate.set()
    assert not any(await asyncio.gather(*tries[1:-1], *late))
    assert len(running) == AT_ONCE + WAITING + 1, "whoever left before their turn cost nothing"
    with passwords.place():
        pass


async def test_one_address_cannot_have_all_places(world):
    """Of IPv6 the whole network; also while what it tries waits for its turn."""
    broker = await world.broker()
    ada = await Person.make(broker)
    gate = threading.Event()
    check, broker.passwords._check = broker.passwords._check, lambda *_: bool(gate.wait(10))
    tasks = []
    for number in range(EACH):
        address = f"2001:db8::{number:x}"
        tasks.append(broker.spawn(ada.type("wrong", address, name=f"n{number}"), name="guess"))
    async with asyncio.timeout(10):
        while broker.passwords._taken.total() < EACH:
            await asyncio.sleep(0.01)
    with pytest.raises(CapacityExhausted):
        await ada.type("wrong", "2001:db8::ffff")
    other = broker.spawn(ada.type(PASSWORD, ABROAD), name="login")
    await asyncio.sleep(0.1)
    broker.passwords._check = check
    gate.set()
    assert outcome(await other) == "in"
    await asyncio.gather(*tasks)
    assert not broker.passwords._taken


@pytest.fixture
def frozen():
    """What was there before is no garbage, as it is none in a broker."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("many", [400])
async def test_a_flood_of_wrong_passwords_holds_nobody_up(world, frozen, many):
    """Of as many names as tries, so that no block ends it: the event loop is never held for 50 ms,
    and whoever comes by a key is let in meanwhile.
    """
    broker = await world.broker()
    ada = await Person.make(broker)
    offered, line = new_key()
    await broker.accounts.add_key("ada", line, actor="uid:0")
    refused = []

    async def one(number: int) -> None:
        try:
            assert await ada.type("wrong", ABROAD, name=f"n{number}") is None
        except CapacityExhausted:
            refused.append(number)

    lag = Lag()
    slowest = 0.0
    async with lag.watched(), asyncio.TaskGroup() as group:
        for number in range(many):
            group.create_task(one(number))
        for _ in range(20):
            began = time.monotonic()
            assert outcome(await ada.identify(offered)) == "in"
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.01)
    assert refused, "it was no flood"
    assert lag.computed < 0.05
    assert slowest < 1
    assert outcome(await ada.type()) == "in"
