"""Between a first proof and its code, before the real authentication: whose code it is, what else
may be tried, and what becomes of answers that nobody asked for.
"""

from __future__ import annotations

import asyncio
import shutil

import asyncssh
import pytest

from broker.door.app import Door
from broker.door.limits import Limits
from tests.scratch import new_directory
from tests.service.harness import World
from tests.service.people import PASSWORD, Person
from tests.ssh.raw import Boolean, Byte, Stranger, String, UInt32, stranger

FAILURE, SUCCESS, ASKED = 51, 52, 60


class Packets(Stranger):
    """Keeps what is said to it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.got = asyncio.Queue()

    def process_packet(self, pkttype, pktid, packet):
        if pkttype in {FAILURE, SUCCESS, ASKED}:
            self.got.put_nowait((pkttype, packet.get_full_payload()))
        if pkttype == SUCCESS:
            self.heard.append(pkttype)
            return True
        return super().process_packet(pkttype, pktid, packet)

    async def answer(self):
        """The next of them in short: `no`, `in`, `half`, or the prompts."""
        kind, payload = await asyncio.wait_for(self.got.get(), 20)
        if kind == SUCCESS:
            return "in"
        if kind == FAILURE:
            methods = payload[5:-1].decode()
            assert payload[-1] == 0 or methods == "keyboard-interactive"
            return "half" if payload[-1] else "no"
        return [
            word for word in ("User name", "Password", "One-time code") if word.encode() in payload
        ]

    async def sign(self, login, key):
        head = String(login) + String("ssh-connection") + String("publickey")
        body = head + Boolean(True) + String(key.sig_algorithms[0]) + String(key.public_data)
        signed = key.sign(String(self._session_id) + Byte(50) + body, key.sig_algorithms[0])
        self.say(50, body, String(signed))
        return await self.answer()

    async def ask(self, login):
        head = String(login), String("ssh-connection"), String("keyboard-interactive")
        self.say(50, *head, String(""), String(""))
        return await self.answer()

    async def reply(self, *answers):
        self.say(61, UInt32(len(answers)), *map(String, answers))
        return await self.answer()

    async def password(self, login, password):
        head = String(login), String("ssh-connection"), String("password")
        self.say(50, *head, Boolean(False), String(password))
        return await self.answer()


@pytest.fixture
async def site():
    world = await World.create(new_directory(memory=True))
    world.behind = broker = await world.broker()
    world.people = {}
    for name in ("ada", "bob"):
        person = world.people[name] = await Person.make(broker, name)
        person.private = asyncssh.generate_private_key("ssh-ed25519")
        line = person.private.export_public_key().decode()
        await broker.accounts.add_key(name, line, actor="uid:0")
        await person.enrol()
        await person.ways("key+code", "password+code")
    door = Door(broker.gateway, asyncssh.generate_private_key("ssh-ed25519"), limits=Limits())
    await door.start()
    world.door, world.port = door, door.port
    yield world
    await door.close(0.1)
    await world.close()
    shutil.rmtree(world.directory)


@pytest.fixture
async def client(site):
    async with stranger(site, kind=Packets) as made:
        yield made


@pytest.fixture
def ada(site):
    return site.people["ada"]


@pytest.fixture
def bob(site):
    return site.people["bob"]


async def came(site):
    """Who was let in, as the broker heard it."""
    await site.behind.logins.settle()
    return [row.actor for row in await site.behind.store.audit(limit=50) if row.action == "login"]


async def test_a_code_behind_a_key_lets_in(site, client, ada):
    assert await client.sign("desk", ada.private) == "half"
    assert await client.ask("desk") == ["One-time code"]
    assert await client.reply(ada.code()) == "in"
    async with asyncio.timeout(10):
        while await came(site) != ["user:ada"]:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("login", ["desk", "ada"])
async def test_the_code_is_of_whoever_gave_the_first_proof(client, ada, bob, login):
    assert await client.sign(login, ada.private) == "half"
    assert await client.ask(login) == ["One-time code"]
    assert await client.reply(bob.code()) == "no"


async def test_under_another_name_nothing_is_proven_yet(site, client, ada, bob):
    """And what the first name waits for is not lost by it."""
    assert await client.sign("ada", ada.private) == "half"
    assert await client.ask("bob") == ["Password"]
    assert await client.reply(bob.code()) == "no"
    assert await client.ask("desk") == ["User name", "Password"]
    assert await client.reply("ada", ada.code()) == "no"
    assert await client.ask("ada") == ["One-time code"]
    assert await client.reply(ada.code()) == "in"


async def test_a_question_that_was_left_for_another_name_is_answered_by_nobody(client, ada, bob):
    assert await client.sign("ada", ada.private) == "half"
    assert await client.ask("ada") == ["One-time code"]
    assert await client.ask("bob") == ["Password"]
    assert await client.reply(ada.code()) == "no"


async def test_between_the_two_nothing_else_may_be_tried(client, ada, bob):
    assert await client.password("ada", PASSWORD) == "half"
    assert await client.password("ada", PASSWORD) == "no"
    assert await client.sign("ada", ada.private) == "no"
    assert await client.sign("desk", bob.private) == "half", "another name is another beginning"
    assert await client.ask("ada") == ["Password"], "the last first proof is the one that counts"


async def test_a_question_has_one_answer(site, client, ada):
    """A second one is none, however right it is, while the first is looked at and afterwards."""
    asked = asyncio.Event()
    take = site.behind.codes.take

    async def slow(*args, **more):
        asked.set()
        await asyncio.sleep(0.1)
        return await take(*args, **more)

    site.behind.codes.take = slow
    assert await client.sign("ada", ada.private) == "half"
    assert await client.ask("ada") == ["One-time code"]
    client.say(61, UInt32(1), String("000000"))
    await asyncio.wait_for(asked.wait(), 10)
    assert await client.reply(ada.code()) == "no"
    client.say(61, UInt32(1), String(ada.code()))
    await client.cut(0.3)
    assert SUCCESS not in client.heard


@pytest.mark.parametrize("answers", [(), ("123456", "123456"), ("", "")])
async def test_as_many_answers_as_questions_are_wanted(client, ada, answers):
    assert await client.sign("ada", ada.private) == "half"
    assert await client.ask("ada") == ["One-time code"]
    assert await client.reply(*answers) == "no"


async def test_a_code_is_good_for_one_connection(site, client, ada):
    code = ada.code()
    assert await client.sign("ada", ada.private) == "half"
    assert await client.ask("ada") == ["One-time code"]
    assert await client.reply(code) == "in"
    async with stranger(site, kind=Packets) as other:
        assert await other.sign("ada", ada.private) == "half"
        assert await other.ask("ada") == ["One-time code"]
        assert await other.reply(code) == "no"


async def test_tries_that_are_given_up_count_too(site, client):
    """Who does not wait for the answer would have as many as fit."""
    gate = asyncio.Event()
    check = site.behind.passwords.check

    async def slow(*args):
        await gate.wait()
        return await check(*args)

    site.behind.passwords.check = slow
    head = String("ada"), String("ssh-connection"), String("password")
    tries = 0
    while not client.ended.is_set() and tries < 50:
        client.say(50, *head, Boolean(False), String(f"guess {tries}"))
        tries += 1
        await client.cut(0.1)
    gate.set()
    assert tries <= 8
    assert client.ended.is_set()
