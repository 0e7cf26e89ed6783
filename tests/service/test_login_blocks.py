"""How wrong passwords and codes make an account wait, and whom they do not touch."""

from __future__ import annotations

import asyncio

import pytest

from broker.core.errors import Blocked, NotFound
from broker.core.gateway import Identity
from tests.service.people import ABROAD, HOME, PASSWORD, Person, outcome

ELSEWHERE = "203.0.113.5"
CAMPUS = "198.18.7.7"


@pytest.fixture
async def ada(broker):
    return await Person.make(broker)


async def blocked(person, address=ABROAD, *, name=None) -> float:
    """For how many seconds even the right password waits; 0 for not at all."""
    try:
        found = await person.type(PASSWORD, address, name=name)
    except Blocked as error:
        assert error.code == "blocked"
        assert error.public.startswith("Too many wrong passwords or codes for this account. Try")
        return error.retry_after
    assert name is not None or outcome(found) == "in"
    return 0


async def test_after_five_wrong_passwords_the_right_one_waits_too(broker, ada):
    await ada.fail(5)
    assert await blocked(ada) == 30
    assert await blocked(ada, ELSEWHERE) == 30, "a stranger changes addresses"
    broker.clock.advance(29)
    assert await blocked(ada) == 1
    broker.clock.advance(1)
    assert await blocked(ada) == 0


async def test_a_right_password_ends_the_row(broker, ada):
    await ada.fail(4)
    await ada.type()
    await ada.fail(4)
    assert await blocked(ada) == 0


async def test_further_wrong_ones_wait_longer_and_waiting_ones_count_for_nothing(broker, ada):
    await ada.fail(5)
    for seconds in (60, 120, 240, 480, 900, 900):
        for _ in range(3):
            assert await blocked(ada) > 0
        broker.clock.advance(900)
        await ada.fail(1)
        assert await blocked(ada) == seconds


async def test_names_that_nobody_has_wait_alike(broker, ada):
    sentences = set()
    for name in ("ada", "eve", "../x", ""):
        await ada.fail(5, name=name or None) if name else None
        if name:
            refused = await broker.refused(Blocked, ada.type(name=name))
            sentences.add(refused.public)
    assert len(sentences) == 1


async def test_a_blocked_try_costs_no_hash(broker, ada):
    await ada.fail(5)
    asked = []
    broker.passwords._check = asked.append
    await broker.refused(Blocked, ada.type())
    assert not asked


async def test_keys_are_never_held_up_and_nor_are_codes_behind_them(broker, ada):
    key = await ada.key()
    await ada.fail(5)
    assert outcome(await ada.identify(key, ABROAD)) == "in"
    await ada.enrol()
    await ada.ways("key+code", "password+code")
    await ada.fail(1)
    wanted = await ada.identify(key, ABROAD)
    assert outcome(await ada.show(wanted, ada.code())) == "in"


async def test_wrong_codes_behind_a_key_make_that_key_wait_alone(broker, ada):
    key, other = await ada.key(), await ada.key()
    await ada.enrol()
    await ada.ways("key+code", "password+code")
    wanted = await ada.identify(key, ABROAD)
    for _ in range(5):
        assert await ada.show(wanted, "wrong") is None
    await broker.refused(Blocked, ada.show(wanted, ada.code()))
    assert outcome(await ada.show(await ada.identify(other, ABROAD), ada.code())) == "in"
    broker.clock.advance(30)
    assert outcome(await ada.show(await ada.identify(key, ABROAD), ada.code())) == "in"


async def test_wrong_codes_behind_a_password_count_with_wrong_passwords(broker, ada):
    await ada.enrol()
    await ada.fail(2)
    wanted = await ada.type()
    for _ in range(3):
        assert await ada.show(wanted, "000") is None
    await broker.refused(Blocked, ada.show(wanted, ada.code()))
    await broker.refused(Blocked, ada.type())
    broker.clock.advance(30)
    assert outcome(await ada.show(wanted, ada.code())) == "in"
    await ada.fail(4)


async def test_a_right_password_alone_is_no_end_where_a_code_is_wanted(broker, ada):
    """Else whoever knows it could try codes for ever."""
    await ada.enrol()
    for _ in range(5):
        wanted = await ada.type()
        assert await ada.show(wanted, "000") is None
    await broker.refused(Blocked, ada.type())


# ------------------------------------------------------------------------------------------ homes


async def login(person, address) -> None:
    person.broker.authentication.proven(await person.type(PASSWORD, address))
    await person.broker.logins.settle()


async def test_strangers_lock_nobody_out_where_they_are_at_home(broker, ada):
    await login(ada, HOME)
    await ada.fail(5)
    assert await blocked(ada, HOME) == 0
    assert await blocked(ada) > 0, "what is right at home ends nothing for strangers"
    await ada.fail(4, HOME)
    assert await blocked(ada, HOME) == 0
    await ada.fail(5, HOME)
    assert await blocked(ada, HOME) == 30


async def test_home_is_known_after_a_restart_too(world, broker, ada):
    """Also before anybody was blocked there."""
    await login(ada, HOME)
    later = ada.at(await world.broker())
    await later.fail(5)
    assert await blocked(later, HOME) == 0
    assert await blocked(later) > 0


async def test_nothing_more_is_looked_up_for_names_that_somebody_has(world, broker, ada):
    """Or the time would tell them, of each once: also before anything was asked of it."""
    await login(ada, HOME)
    bob = await Person.make(broker, "bob", password=None)
    eve = await Person.make(broker, "eve")
    await broker.store.set_enabled(eve.user.id, enabled=False, actor="uid:0")
    later = ada.at(await world.broker())
    asked = []

    async def note(method, _):
        asked[-1].append(method)

    later.broker.fate.before = note
    for name in ("nobody", "ada", bob.name, eve.name, "no-one", "ada"):
        asked.append([])
        await later.fail(1, name=name)
    first, *others = asked
    assert first[0] == "homes"
    assert others == [first[1:]] * 5


async def test_strangers_can_have_no_home_forgotten(broker, ada):
    await login(ada, HOME)
    for number in range(40):
        await ada.fail(1, name=f"n{number}")
    assert set(broker.blocks._homes) == {"ada"}


async def test_home_is_home_for_thirty_days(world, broker, ada):
    await login(ada, HOME)
    broker.clock.advance(30 * 86_400 - 1)
    await ada.fail(5)
    assert await blocked(ada, HOME) == 0
    broker.clock.advance(1)
    assert await blocked(ada, HOME) > 0
    later = ada.at(await world.broker())
    await later.fail(5)
    assert await blocked(later, HOME) > 0


async def test_of_an_ipv6_home_the_whole_64_is_one(broker, ada):
    await login(ada, "2001:db8:0:1::1")
    await ada.fail(5)
    assert await blocked(ada, "2001:db8:0:1:ffff::2") == 0
    assert await blocked(ada, "2001:db8:0:2::1") > 0


async def test_a_home_is_of_one_account(broker, ada):
    bob = await Person.make(broker, "bob")
    await login(bob, HOME)
    await ada.fail(5)
    assert await blocked(ada, HOME) > 0


async def test_an_exempt_network_counts_for_itself(world):
    broker = await world.broker(login={"blocks": {"exempt": ["198.18.0.0/16"], "after": 3}})
    ada = await Person.make(broker)
    await ada.fail(3)
    assert await blocked(ada) > 0
    await ada.fail(2, CAMPUS)
    assert await blocked(ada, CAMPUS) == 0
    await ada.fail(3, CAMPUS)
    assert await blocked(ada, "198.18.200.1") == 30
    assert await blocked(ada) > 0


# ------------------------------------------------------------------------------------------ admin


async def test_an_admin_sees_what_waits_and_ends_it(broker, ada):
    await ada.fail(5)
    await ada.fail(5, name="eve")
    broker.clock.advance(30)
    await ada.fail(1, name="eve")
    await ada.fail(1)
    broker.clock.advance(60)
    await ada.fail(1, name="eve")
    (worse,) = broker.blocks.standing()
    assert (worse.circle.account, worse.failures, worse.left) == ("eve", 7, 120)
    await broker.blocks.lift("eve", actor="uid:0")
    await broker.refused(NotFound, broker.blocks.lift("ada", actor="uid:0"))
    await ada.fail(1)
    (own,) = broker.blocks.standing()
    assert (own.circle.account, own.circle.place, own.failures, own.left) == ("ada", None, 7, 120)
    await broker.blocks.lift("ada", actor="uid:0")
    assert await blocked(ada) == 0
    await broker.refused(NotFound, broker.blocks.lift("ada", actor="uid:0"))
    await broker.refused(NotFound, broker.blocks.lift("nobody", actor="uid:0"))


async def test_the_audit_tells_of_blocks_of_accounts_and_of_no_other_name(broker, ada):
    """What is typed as a name can be somebody's password."""
    await ada.fail(5)
    await ada.fail(5, name="correct-horse")
    await broker.landed()
    await broker.blocks.lift("ada", actor="uid:0")
    told = [e for e in await broker.store.audit() if e.action.startswith("login.")]
    assert [(e.action, e.actor, e.subject, e.detail) for e in reversed(told)] == [
        ("login.block", "broker", "ada", {"place": None, "failures": 5, "seconds": 30}),
        ("login.unblock", "uid:0", "ada", {}),
    ]


# ------------------------------------------------------------------------------------- many at once


async def test_of_many_wrong_ones_at_once_five_are_tried(broker, ada):
    tried = []
    check = broker.passwords.check
    broker.passwords.check = lambda *args: tried.append(args) or check(*args)
    found = await asyncio.gather(*(ada.type("wrong") for _ in range(30)), return_exceptions=True)
    assert len(tried) == 5
    assert sum(isinstance(one, Blocked) for one in found) == 25
    assert not broker.blocks._turns, "nothing is left of them"


async def test_of_many_right_ones_at_once_all_are_let_in(ada):
    found = await asyncio.gather(*(ada.type() for _ in range(30)))
    assert all(isinstance(one, Identity) for one in found)


async def test_whoever_gives_up_waiting_leaves_nothing_behind(broker, ada):
    gate = asyncio.Event()
    check = broker.passwords.check

    async def slow(*args):
        await gate.wait()
        return await check(*args)

    broker.passwords.check = slow
    tries = [broker.spawn(ada.type(), name="try") for _ in range(3)]
    await asyncio.sleep(0.05)
    for one in tries[:2]:
        one.cancel()
    await asyncio.wait(tries[:2])
    gate.set()
    assert outcome(await tries[2]) == "in"
    assert not broker.blocks._turns
    assert not broker.blocks._waiting
