"""Hostile login names, keys, certificates, commands and environments, before a real door with the
real authentication: one sentence for each, hardly a line in the log, and nothing is started.

`FUZZ` says how many of each kind (`make fuzz`: 10,000); the seed of one that failed is in its name.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
from dataclasses import dataclass, field

import asyncssh
import pytest
import structlog
from argon2 import PasswordHasher

from broker.door.app import Door
from broker.door.limits import Limits
from tests.scratch import new_directory
from tests.service.harness import World
from tests.ssh.raw import Boolean, Stranger, String, UInt32

#: Attempts of each kind.
COUNT = int(os.environ.get("FUZZ", "150"))

#: Attempts on one connection: the sixth failure would end it.
EACH = 5

DISCONNECT, FAILURE, SUCCESS, BANNER, KEY_OK = 1, 51, 52, 53, 60

#: Characters of a log line, and of what a stranger is told.
LINE, TOLD = 4096, 2048

BAD = [
    "\x00",
    "\x01",
    "\x1b[2J",
    "\x7f",
    "\u202e",
    "\u2066",
    "\u200b",
    "\ufeff",
    "\ud7ff",
    "\U000e0041",
]
SHELL = [
    "$(reboot)",
    "`id`",
    ";reboot;",
    "|sh",
    "&&x",
    ">/etc/passwd",
    "<x",
    "${IFS}",
    "'",
    '"',
    "\\",
    "*",
    "%s%n",
]
PLAIN = [
    "ada",
    "desk",
    "root",
    "invite",
    "+",
    "-",
    "--",
    ".",
    "..",
    "/",
    "@",
    "main",
    "a" * 31,
    "É",
    "ﬁ",
    "😀",
    " ",
]
LONG = ["A" * 300, "\u202e" * 300, "b" * 1023, "x" * 5000]
LOGINS = [
    b"ada",
    b"desk",
    b"ada+main",
    b"desk+x",
    b"eve",
    b"invite+" + b"x" * 32,
    b"invite+$(id)",
    b"",
]
WORDS = ["help", "list", "status", "why", "start", "stop", "extend", "keep", "sleep", "keys add", "keys rm",
         "keys rename", "password", "code confirm", "code", "--json", "reboot", ""]  # fmt: skip


class Hostile(Stranger):
    """Remembers what it is told, and says what asyncssh would refuse to say."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.told = []
        """Sentences: of banners and of the end."""
        self.news = asyncio.Event()

    def process_packet(self, pkttype, pktid, packet):
        if pkttype in {DISCONNECT, BANNER}:
            payload = packet.get_full_payload()
            at = 5 if pkttype == DISCONNECT else 1
            size = int.from_bytes(payload[at : at + 4], "big")
            self.told.append(payload[at + 4 : at + 4 + size].decode())
        done = super().process_packet(pkttype, pktid, packet)
        self.news.set()
        return done

    def _cleanup(self, exc):
        super()._cleanup(exc)
        self.news.set()

    async def answered(self, kinds, before, seconds=30.0):
        """Until one more packet of those kinds came, or the end."""
        async with asyncio.timeout(seconds):
            while not self.ended.is_set() and self.count(kinds) <= before:
                self.news.clear()
                await self.news.wait()

    def count(self, kinds):
        return sum(self.heard.count(kind) for kind in kinds)


@dataclass
class Site:
    """A door before the real authentication, and what reached the engine."""

    world: World
    broker: object
    door: Door
    lines: list = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.door.port

    def started(self) -> list[str]:
        """What the engine was asked since the broker stood."""
        return self.world.engine.calls[self.before :]

    def check(self, since: int, attempts: int, what) -> None:
        """Of the log's lines since then."""
        new = self.lines[since:]
        assert len(new) <= attempts, (what, new)
        for line in new:
            assert "exc_info" not in line, (what, line)
            assert line["log_level"] in {"info", "warning"}, (what, line)
            text = json.dumps(line, default=str)
            assert len(text) <= LINE, (what, text)
            assert text.isascii()


@pytest.fixture
async def site(caplog):
    world = await World.create(new_directory(memory=True))
    broker = await world.broker()
    # Guesses by the thousand are about everything but this.
    broker.passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    key = asyncssh.generate_private_key("ssh-ed25519")
    limits = Limits(report_every=60.0, silence=20.0)
    door = Door(broker.gateway, asyncssh.generate_private_key("ssh-ed25519"), limits=limits)
    await door.start()
    made = Site(world, broker, door)
    await broker.accounts.add_user(
        "ada", admin=False, keys=[key.export_public_key().decode()], actor="uid:0"
    )
    made.key = key
    made.before = len(world.engine.calls)
    with structlog.testing.capture_logs() as made.lines:
        yield made
        await door.close(0.5)
    assert not [record for record in caplog.records if record.name.startswith("asyncssh")]
    await world.close()
    shutil.rmtree(world.directory)


@contextlib.asynccontextmanager
async def hostile(site):
    """Somebody who exchanged keys and has proven nothing."""
    settings = await asyncssh.SSHClientConnectionOptions.construct(
        host="127.0.0.1", port=site.port, username="desk", client_keys=None, known_hosts=None,
        config=None, agent_path=None,
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    transport, connection = await loop.create_connection(
        lambda: Hostile(loop, settings), "127.0.0.1", site.port
    )
    await asyncio.wait_for(connection.ready.wait(), 30)
    try:
        yield connection
    finally:
        transport.abort()
        await connection.cut()


# ------------------------------------------------------------------------------------ what they say


def text(dice: random.Random, *, bad: bool = False) -> str:
    """Something that is typed as a name, a password, an argument; with `bad`, nobody's name."""
    parts = [
        dice.choice(dice.choice([BAD, SHELL, PLAIN, PLAIN, LONG]))
        for _ in range(dice.randint(0, 4))
    ]
    if bad:
        parts.insert(dice.randint(0, len(parts)), dice.choice(BAD[:5]))
    return "".join(parts)


def bytes_of(dice: random.Random) -> bytes:
    """The same on the wire, now and then no UTF-8."""
    raw = text(dice).encode()
    return raw + dice.choice([b"\xff", b"\xc3", b"\xed\xa0\x80"]) if dice.random() < 0.1 else raw


KINDS = ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp521", "ssh-rsa"]


def _blobs() -> list[bytes]:
    """Keys and certificates that are as they should be."""
    found = []
    authority = asyncssh.generate_private_key("ssh-ed25519")
    for kind in KINDS:
        key = asyncssh.generate_private_key(kind)
        found.append(key.public_data)
        certificate = authority.generate_user_certificate(key, "id", principals=["ada", "root"])
        found.append(certificate.public_data)
    return found


def blob(dice: random.Random, good: list[bytes]) -> bytes:
    """A key or certificate, mostly a damaged one."""
    raw = bytearray(dice.choice(good))
    match dice.randrange(7):
        case 0:
            return bytes(raw)
        case 1:
            for _ in range(dice.randint(1, 8)):
                raw[dice.randrange(len(raw))] = dice.randrange(256)
        case 2:
            del raw[dice.randrange(len(raw)) :]
        case 3:
            at = dice.randrange(len(raw))
            raw[at:at] = dice.randbytes(dice.choice([1, 4, 100, 9000]))
        case 4:
            size = int.from_bytes(raw[:4], "big")
            at = dice.choice([0, 4 + size])
            raw[at : at + 4] = dice.choice([0, 1, 2**31, 2**32 - 1]).to_bytes(4, "big")
        case 5:
            raw = bytearray(String(dice.choice([*KINDS, "ssh-dss", "x", "\x1b]0;", ""])))
            for _ in range(dice.randint(0, 4)):
                raw += String(dice.randbytes(dice.choice([0, 1, 32, 65, 257, 2048])))
        case _:
            return dice.randbytes(dice.choice([0, 3, 4, 60, 500]))
    return bytes(raw)


def attempt(dice: random.Random, good: list[bytes]) -> tuple[bytes, ...]:
    """A request to authenticate, behind its number."""
    name = bytes_of(dice) if dice.random() < 0.4 else dice.choice(LOGINS)
    head = (String(name), String(b"ssh-connection"))
    match dice.randrange(8):
        case 0 | 1:
            return (*head, String(b"password"), Boolean(dice.random() < 0.2), String(bytes_of(dice)), String(b""))[: 6 if dice.random() < 0.2 else 5]  # fmt: skip
        case 2 | 3:
            return (*head, String(b"keyboard-interactive"), String(b""), String(b"pam"))
        case 4 if dice.random() < 0.5:
            return (*head, String(bytes_of(dice)[:200]), String(bytes_of(dice)))
        case 4:
            return (String(name), String(bytes_of(dice)), String(b"none"))
    key = blob(dice, good)
    kind = key[4:24] if dice.random() < 0.5 else bytes_of(dice)[:200]
    signed = dice.random() < 0.5
    request = (*head, String(b"publickey"), Boolean(signed), String(kind), String(key))
    return (*request, String(blob(dice, good))) if signed else request


# ------------------------------------------------------------------------------------- the strangers


@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_a_stranger_says_is_a_refusal(site, seed):
    """Names, passwords, answers, keys, certificates, signatures, methods."""
    dice = random.Random(seed)
    good = _blobs()
    left = COUNT
    while left > 0:
        async with hostile(site) as client:
            for _ in range(EACH):
                since, words = len(site.lines), len(client.told)
                said = attempt(dice, good)
                before = client.count((FAILURE, KEY_OK))
                client.say(50, *said)
                await client.answered((FAILURE, KEY_OK), before)
                if client.heard[-1:] == [KEY_OK]:  # or a question: it has the same number
                    answers = [
                        String(bytes_of(dice)) for _ in range(dice.choice([0, 1, 1, 2, 2, 3]))
                    ]
                    count = 2**31 if dice.random() < 0.1 else len(answers)
                    client.say(61, UInt32(count), *answers)
                    await client.answered((FAILURE, KEY_OK), before + 1)
                left -= 1
                assert SUCCESS not in client.heard, said
                new = len(client.told) - words
                assert new == 1 if client.ended.is_set() else new <= 1, (said, client.told[words:])
                assert all(len(one) <= TOLD and one.strip().isprintable() for one in client.told)
                site.check(since, 1, said)
                if client.ended.is_set():
                    break
        assert site.started() == []
    assert site.door.stats().authenticated == 0


# ------------------------------------------------------------------------------------ whoever is in


def command(dice: random.Random) -> str:
    """To the broker, with something in each argument that no name has."""
    parts = [dice.choice(WORDS), *(text(dice, bad=True) for _ in range(dice.randint(1, 3)))]
    if dice.random() < 0.02:
        parts.append("y" * 100_000)
    return dice.choice(["desk ", "'desk' ", "  desk\t"]) + " ".join(parts)


def environment(dice: random.Random) -> dict[bytes, bytes]:
    """Names that travel on are few."""
    names = [b"LD_PRELOAD", b"PATH", b"BASH_ENV", b"LC_ALL", b"LANG=x", b"LC_" + b"A" * 300, b""]
    return {
        dice.choice([*names, bytes_of(dice)]): bytes_of(dice) for _ in range(dice.randint(0, 3))
    }


@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_somebody_says_to_the_broker_is_one_sentence(site, seed):
    """Commands and environments; what is printed has no control characters but its line's end."""
    dice = random.Random(seed)
    async with asyncssh.connect(
        "127.0.0.1", site.port, username="desk", client_keys=[site.key], known_hosts=None,
        config=None, agent_path=None,
    ) as client:  # fmt: skip
        for _ in range(COUNT):
            said, given = command(dice), environment(dice)
            since = len(site.lines)
            done = await client.run(said, env=given, timeout=30, encoding=None)
            out = (done.stdout + done.stderr).decode()
            assert done.exit_status in {0, 1, 2}, (said, out)
            assert out.strip(), said
            assert all(line.isprintable() for line in out.splitlines()), (said, out)
            if done.exit_status:
                assert len(out.splitlines()) == 1, (said, out)
                assert len(out) <= TOLD, (said, out)
            site.check(since, 1, said)
            assert site.started() == [], said
