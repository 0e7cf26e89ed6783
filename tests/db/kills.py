"""What was acknowledged is there after `kill -9`: `python -m tests.db.kills --rounds 1000` tries it
as often as one likes, `test_crash` a few times.

In each round several processes write to one file, each all that a broker writes, and each is killed
at a random moment; the last one leaves the file to whoever opens it next. A kill takes no page out
of the kernel's cache: what a loss of power does is SQLite's `synchronous`, and not tried here.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import select
import sqlite3
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from broker.core.idle import Signal, Step
from broker.core.lifecycle import TRANSITIONS
from broker.core.model import SessionId, SessionState
from broker.db.connect import connect
from broker.db.store import SqlStore
from tests.clocks import ManualClock
from tests.contract.stores import AUDIT_KEY, HOST, SqliteFile
from tests.db.big import POOLS

#: Rounds over one file; each one checks all of it, so that ever larger ones would take ever longer.
PER_FILE = 50


@dataclass(slots=True)
class Tally:
    acknowledged: Counter[str] = field(default_factory=Counter)
    """Writes by what they were."""
    unheard: int = 0
    """Writes that are there, and whose writer was killed before it could say so."""
    kills: int = 0
    lost: list[str] = field(default_factory=list)
    """What is not there, or otherwise than it must be."""


# --------------------------------------------------------------------------------------- writing

#: What a writer says after a write: the audit's action (or `deadline`) and subject, which record
#: that changed, and what it is from now on.
Said = tuple[str, str, list[str], Any]


class Writer:
    """Writes without end, in a process of its own; each write leaves one row with its name."""

    def __init__(self, store: SqlStore, clock: ManualClock, tag: str, seed: int) -> None:
        self._store = store
        self._clock = clock
        self._tag = tag
        self._chance = random.Random(seed)
        self._made = 0
        self._keys: list[str] = []
        self._enabled = True
        self._homeless: list[str] = []
        self._session: Any = None

    async def begin(self) -> Said:
        self._user = await self._store.add_user(self._tag, admin=False, actor=self._tag)
        return "user.add", self._user.id, ["user", self._user.id], True

    async def go_on(self) -> Said:
        works = [self.enable, self.add_key, self.note, self.keep, self.deadline, self.step]
        works += [self.home, self.step, self.keep, self.deadline]
        self._clock.advance(1)
        return await self._chance.choice(works)()

    async def enable(self) -> Said:
        self._enabled = not self._enabled
        await self._store.set_enabled(self._user.id, enabled=self._enabled, actor=self._tag)
        action = "user.enable" if self._enabled else "user.disable"
        return action, self._user.id, ["user", self._user.id], self._enabled

    async def add_key(self) -> Said:
        if len(self._keys) > 2:
            return await self.remove_key()
        key = f"SHA256:{self._tag}.{self._next()}"
        self._keys.append(key)
        await self._store.add_key(
            self._user.id, fingerprint=key, public="p", name=key, actor=self._tag
        )
        return "key.add", self._user.id, ["key", self._user.id, key], True

    async def remove_key(self) -> Said:
        key = self._keys.pop()
        await self._store.remove_key(self._user.id, key, actor=self._tag)
        return "key.remove", self._user.id, ["key", self._user.id, key], False

    async def note(self) -> Said:
        subject = f"{self._tag}.{self._next()}"
        await self._store.note(actor=self._tag, action="some.thing", subject=subject, detail={})
        return "some.thing", subject, ["note", subject], True

    async def home(self) -> Said:
        if not self._homeless:
            return await self.desktop()
        desktop_id = self._homeless.pop()
        await self._store.note_home(desktop_id, actor=self._tag)
        return "home.create", desktop_id, ["desktop", desktop_id], True

    async def desktop(self) -> Said:
        desktop = await self._store.ensure_desktop(
            self._user.id,
            f"d{self._next()}",
            template="t",
            host=HOST,
            pools=POOLS,
            actor=self._tag,
        )
        self._homeless.append(desktop.id)
        return "desktop.create", desktop.id, ["desktop", desktop.id], False

    async def step(self) -> Said:
        if self._session is None:
            return await self.begin_session()
        before = self._session
        to = self._chance.choice(sorted(TRANSITIONS[before.state]))
        self._session = after = await self._store.advance(
            before.id, expected=before.state, to=to, deadline=None, reason=None, actor=self._tag
        )
        if not after.live:
            self._session = None
        return "step", before.id, ["state", before.id], to.value

    async def begin_session(self) -> Said:
        if not self._homeless:
            return await self.desktop()
        self._session = await self._store.begin_session(
            self._homeless.pop(),
            host=HOST,
            image="i",
            pools=POOLS,
            deadline=self._clock.now(),
            actor=self._tag,
        )
        return "session.begin", self._session.id, ["state", self._session.id], "starting"

    async def keep(self) -> Said:
        if self._session is None:
            return await self.step()
        # Another moment each time: what is kept already is no write.
        until = self._clock.now() + timedelta(hours=1)
        await self._store.keep_session(self._session.id, until=until, actor=self._tag)
        return "session.keep", self._session.id, ["kept", self._session.id], until.isoformat()

    async def deadline(self) -> Said:
        if self._session is None:
            return await self.step()
        reason = f"{self._next()}"
        await self._store.note_deadline(
            self._session.id,
            step=Step.FREEZE,
            due_at=self._clock.now(),
            signal=Signal.TYPING,
            reason=reason,
            actor=self._tag,
        )
        return "deadline", self._session.id, ["deadline", self._session.id], reason

    def _next(self) -> int:
        self._made += 1
        return self._made


def _write(path: Path, tag: str, seed: int, out: Any) -> None:
    """A writer's whole process: one line for each write, once it has returned."""

    async def writing() -> None:
        clock = ManualClock()
        writer = Writer(SqlStore(await connect(path), clock, AUDIT_KEY), clock, tag, seed)
        said = await writer.begin()
        while True:
            # Short enough to be in the pipe whole or not at all.
            os.write(out.fileno(), json.dumps(said).encode() + b"\n")
            said = await writer.go_on()

    asyncio.run(writing())


# --------------------------------------------------------------------------------------- killing


async def round_of(
    path: Path, name: str, chance: random.Random, tally: Tally, *, writers: int, start: str
) -> None:
    """Let them write, kill them, look. They are started by `multiprocessing`'s method `start`."""
    said = _until_killed(path, name, chance, writers, multiprocessing.get_context(start))
    tally.kills += writers
    with closing(sqlite3.connect(path)) as connection:
        tally.lost += unsound(connection)
        late = {tag: missing(connection, tag, of, tally.lost) for tag, of in said.items()}
    tally.unheard += sum(row is not None for row in late.values())
    store = SqlStore(await connect(path), ManualClock(), AUDIT_KEY)
    for tag, of in said.items():
        tally.acknowledged.update(action for action, *_ in of)
        tally.lost += [f"{tag}: {wrong}" async for wrong in otherwise(store, of, late[tag])]
    await store.close()


def _until_killed(
    path: Path, name: str, chance: random.Random, writers: int, processes: Any
) -> dict[str, list[Said]]:
    """What each of them said before it died."""
    heard: dict[str, bytes] = {}
    children = {}
    for n in range(writers):
        tag = f"{name}-{n}"
        mine, theirs = processes.Pipe(duplex=False)
        child = processes.Process(
            target=_write, args=(path, tag, chance.getrandbits(32), theirs), daemon=True
        )
        child.start()
        theirs.close()
        children[tag] = (child, mine)
        heard[tag] = b""

    def listen(seconds: float) -> bool:
        """Whether somebody said something, or died."""
        ready, _, _ = select.select([mine for _, mine in children.values()], [], [], seconds)
        said = False
        for tag, (_, mine) in children.items():
            if mine in ready:
                some = os.read(mine.fileno(), 2**16)
                heard[tag] += some
                said = said or bool(some)
        return said

    # Every one is past its start; what takes longer is broken.
    patience = time.monotonic() + 60
    while not all(heard.values()) and time.monotonic() < patience:
        listen(1)
    for tag in chance.sample(sorted(children), writers):
        moment = time.monotonic() + chance.random() * 0.15
        while (left := moment - time.monotonic()) > 0:
            listen(left)
        children[tag][0].kill()
    for tag, (child, mine) in children.items():
        while some := os.read(mine.fileno(), 2**16):
            heard[tag] += some
        mine.close()
        child.join()
        assert child.exitcode == -9, f"{tag} ended by itself: {child.exitcode}"
        child.close()
    return {tag: [tuple(json.loads(x)) for x in text.splitlines()] for tag, text in heard.items()}


# --------------------------------------------------------------------------------------- looking


def unsound(connection: sqlite3.Connection) -> Iterator[str]:
    for pragma in ("integrity_check", "foreign_key_check"):
        found = connection.execute(f"PRAGMA {pragma}").fetchall()
        if found not in ([("ok",)], []):
            yield f"{pragma}: {found[:3]}"
    (live,) = connection.execute("SELECT count(*) FROM session WHERE state != 'ended'").fetchone()
    (held,) = connection.execute("SELECT count(*) FROM lease WHERE kind != 'uid'").fetchone()
    if held != 3 * live:
        yield f"{live} live sessions hold {held} leases"


def missing(
    connection: sqlite3.Connection, tag: str, said: list[Said], lost: list[str]
) -> tuple[str, str] | None:
    """Compare the rows that a writer left with what it said; the one that it did not come to say."""
    late = None
    for table, action in (("audit", "action"), ("deadline", "'deadline'")):
        subject = "subject" if table == "audit" else "session_id"
        there = connection.execute(
            f"SELECT {action}, {subject} FROM {table} WHERE actor = ? ORDER BY seq", (tag,)
        ).fetchall()
        told = [(x[0], x[1]) for x in said if (x[0] == "deadline") == (table == "deadline")]
        steps = {"session.ready", "session.freeze", "session.thaw", "session.stop", "session.end"}
        there = [("step" if what in steps else what, whom) for what, whom in there]
        if there[: len(told)] != told:
            lost.append(f"{tag}: {table} has {there}, and {told} was said")
        elif len(there) > len(told):
            if len(there) > len(told) + 1 or late is not None:
                lost.append(f"{tag}: {table} has more than one row that was not said")
            late = there[-1]
    return late


#: Which record each action changes.
RECORDS = defaultdict(
    lambda: "state",
    {
        "user.add": "user",
        "user.enable": "user",
        "user.disable": "user",
        "key.add": "key",
        "key.remove": "key",
        "home.create": "desktop",
        "desktop.create": "desktop",
        "some.thing": "note",
        "session.keep": "kept",
        "deadline": "deadline",
    },
)


async def otherwise(store: SqlStore, said: list[Said], late: tuple[str, str] | None):
    """What the store tells otherwise than the writer, but for what its last, unheard write did."""
    expected = {tuple(record): value for _, _, record, value in said}
    for record, value in expected.items():
        found = await _found(store, *record)
        if found == value:
            continue
        if late is None or (RECORDS[late[0]], late[1]) != record[:2]:
            yield f"{record} is {found}, not {value}"


async def _found(store: SqlStore, kind: str, of: str, key: str = "") -> object:
    match kind:
        case "user":
            user = await store.user_by_id(of)
            return user and user.enabled
        case "key":
            return key in {key.fingerprint for key in await store.keys(of)}
        case "desktop":
            desktop = await store.desktop(of)
            return desktop and desktop.home_made_at is not None
        case "note":
            return bool(await store.audit(subject=of))
        case "deadline":
            newest = await store.deadlines(of, limit=1)
            return newest[0].reason if newest else None
    session = await store.session(SessionId(of))
    if session is None:
        return None
    if kind == "state":
        return SessionState(session.state).value
    return session.kept_until and session.kept_until.isoformat()


# ------------------------------------------------------------------------------------- long form


def _many(rounds: int, writers: int, seed: int) -> Tally:
    chance, tally = random.Random(seed), Tally()
    for first in range(0, rounds, PER_FILE):
        with tempfile.TemporaryDirectory(prefix="desk-test-") as directory:
            place = SqliteFile(Path(directory))
            for n in range(first, min(first + PER_FILE, rounds)):
                # Nothing else runs here that a fork could cut in two, and imports are done.
                asyncio.run(
                    round_of(place.path, f"r{n}", chance, tally, writers=writers, start="fork")
                )
                if tally.lost:
                    return tally
        print(f"{n + 1} rounds, {tally.acknowledged.total()} acknowledged", flush=True)
    return tally


@click.command()
@click.option("--rounds", default=1000, show_default=True)
@click.option("--writers", default=3, show_default=True, help="Processes that write at once.")
@click.option("--seed", default=1, show_default=True)
def main(rounds: int, writers: int, seed: int) -> None:
    """Kill writers; stop at the first round after which something is not as it was acknowledged."""
    begun = time.monotonic()
    tally = _many(rounds, writers, seed)
    print(f"{tally.kills} kills, {tally.acknowledged.total()} writes acknowledged", end=", ")
    print(f"{tally.unheard} there and unheard, {len(tally.lost)} lost", end=", ")
    print(f"{time.monotonic() - begun:.0f} s")
    for action, times in tally.acknowledged.most_common():
        print(f"{times:8} {action}")
    for wrong in tally.lost:
        print(wrong)
    raise SystemExit(bool(tally.lost))


if __name__ == "__main__":
    main()
