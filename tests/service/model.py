"""What a stateful test knows of sessions: a world, the brokers in it, and what must hold in it.

It reads the database by a connection of its own, replays the audit, and compares that with the
records; it remembers what people did and when, and judges each step of a session by that.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import json
import shutil
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path

from broker.core import lifecycle
from broker.core.errors import DeskError
from broker.core.gateway import Activity, Allowance, Attachment, Identity
from broker.core.idle import Signal
from broker.core.interfaces import ContainerState
from broker.core.model import SessionState
from broker.core.spec import container_name
from broker.engine.fake import FakeEngine
from tests.clocks import ManualClock
from tests.service.harness import (
    IMAGE,
    Broker,
    FakeConnections,
    FakeInside,
    Killed,
    World,
    _migrated,
    memory_directory,
    new_key,
)
from tests.service.turns import OP, Op, Turns, drain, new_loop, open_store

_S = SessionState
PEOPLE = ("ada", "bob")
START_TIMEOUT = 20.0
ALIVE = {ContainerState.RUNNING, ContainerState.PAUSED}

#: Seconds. Everything is a few passes of the reaper long, so that a sequence lives through it all.
POLICIES = {
    "freezes": {"freeze_after": "3m", "stop_after": "4m"},
    "never freezes": {"freeze_after": "never", "stop_after": "4m"},
    "ages": {"freeze_after": "3m", "stop_after": "4m", "max_age": "10m"},
}
COMMON = {"warn_before": "1m", "keep_up_to": "10m", "busy_for": "5m", "busy_cpu": 0.1}

#: What a client does that counts as a person's doing.
PERSONAL = {Signal.TYPING, Signal.DATA, Signal.FILES}

#: How long a door may be silent before it is taken for dead, less a pass of the reaper.
DOOR_HEARD = 50.0

#: Seconds between two passes beyond which nobody can have watched.
GAP = 60.0


@cache
def _keys():
    return {name: new_key() for name in PEOPLE}


@cache
def _peopled() -> tuple[Path, str]:
    """A database with two people in it, and its instance."""
    place = memory_directory()
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    path = place / "peopled.db"
    shutil.copy(_migrated(), path)

    async def people() -> str:
        store = open_store(path, ManualClock())
        instance = await store.instance()
        for name in PEOPLE:
            user = await store.add_user(name, admin=False, actor="uid:0")
            offered, line = _keys()[name]
            await store.add_key(
                user.id,
                fingerprint=offered.fingerprint,
                public=" ".join(line.split()[:2]),
                name="laptop",
                actor="uid:0",
            )
        await store.close()
        return instance

    with ThreadPoolExecutor(1) as pool:
        instance = pool.submit(asyncio.run, people()).result()
    database = sqlite3.connect(path)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path, instance


class Clock(ManualClock):
    """One whose wall clock goes on a little at each look, as every real one does."""

    apart = 0.0
    """Seconds by which it can have gone on more than the monotonic one, or less: whoever takes an
    age from one cannot know the other's any better.
    """

    def now(self):
        self._now += timedelta(microseconds=1)
        self.apart += 1e-6
        return self._now

    def advance(self, seconds):
        super().advance(seconds)
        self.apart += 1e-6  # it has whole microseconds only


class ModelEngine(FakeEngine):
    """One that can come up with an empty list."""

    blank = 0

    async def containers(self):
        found = await super().containers()
        if self.blank:
            self.blank -= 1
            return []
        return found


class ModelInside(FakeInside):
    """Desktops that answer when it is their turn."""

    def __init__(self, model: Model, turns: Turns) -> None:
        super().__init__()
        self.model, self.turns = model, turns

    async def input_age(self, session_id):
        last = self.model.pointer.get(session_id)
        age = None if last is None else self.model.now - last
        await self.turns.after("input_age", (session_id,))
        return age

    async def tell(self, session_id, notice) -> bool:
        heard = session_id not in self.model.deaf
        if heard:
            self.model.told.append((session_id, self.model.now))
        await self.turns.after("tell", (session_id,))
        return heard

    async def leave(self, session_id) -> None:
        await self.turns.after("leave", (session_id,))


class ModelConnections(FakeConnections):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def end_session(self, session_id, sentence, **how):
        super().end_session(session_id, sentence, **how)
        self.model.lose(session_id)


@dataclass(eq=False)
class Client:
    """A connection of somebody through a door."""

    id: str
    session: str
    user: str
    door: str
    since: float
    seen: dict[Signal, float] = field(default_factory=dict)
    told: object = None
    """The broker that knows of it."""


@dataclass
class Shadow:
    """A session as the audit tells of it."""

    desktop: str
    owner: Broker | None
    """The broker that served when it began."""
    began: float
    state: SessionState = _S.STARTING
    ready: float | None = None
    """When it last became ready."""
    ready_under: Broker | None = None
    frozen: float | None = None
    frozen_under: Broker | None = None
    watched: bool = False
    """Whether the reaper has seen it. Its age was taken from the wall clock then, once."""
    jumped: bool = False
    """Whether the clock was set before that."""


class Model:
    def __init__(self, policy: str) -> None:
        self.loop = new_loop()
        self.directory = memory_directory()
        path, instance = _peopled()
        shutil.copy(path, self.directory / "desk.db")
        self.world = World(self.directory, instance)
        self.world.engine = ModelEngine(instance, images=(IMAGE,))
        self.engine = self.world.engine
        self.clock = self.world.clock = Clock()
        self.database = sqlite3.connect(self.directory / "desk.db", isolation_level=None)
        self.policy = POLICIES[policy]
        self.main: Broker | None = None
        self.rival: Broker | None = None
        self.rivalled = False
        """Whether two brokers act at a time: then one may undo what the other does, until all came
        to rest."""
        self.main_since = 0.0
        self.last_pass: float | None = None
        """When the reaper of the broker last passed, if no time went by meanwhile."""
        self.gap_at = float("-inf")
        """When that broker last saw that nobody had watched."""
        self.ops: list[Op] = []
        """What is not over yet."""
        self.begun: list[Op] = []
        self.heard: dict[str, float] = {}
        """When each door last spoke."""
        self.passes: dict[str, Op] = {}
        self.sessions: dict[str, Shadow] = {}
        self.seq = 0
        self._version = None
        self.clients: list[Client] = []
        self.count = 0
        self.pointer: dict[str, float] = {}
        """When keyboard or mouse of a desktop were last used, by whomever."""
        self.inputs: dict[str, float] = {}
        """The same by a person."""
        self.unasked: set[str] = set()
        """Where somebody moved the mouse since the last pass began."""
        self.signs: dict[str, float] = {}
        self.busy: dict[str, float] = {}
        self.kept: dict[str, float] = {}
        self.told: list[tuple[str, float]] = []
        self.deaf: set[str] = set()
        self.deafened: set[str] = set()
        self.computing: dict[str, float] = {}
        self.disturbed = 0.0
        """When the engine last did not do what it was asked."""
        self.harmed: set[str] = set()
        self.forced: set[str] = set()
        self.deleted: set[str] = set()
        """Volumes of homes that somebody asked to delete."""
        self.may_delete: set[str] = set()
        """Desktops that somebody asked to remove with their homes."""
        self.homes: dict[str, object] = {}
        self.late: list[tuple[str, tuple]] = []
        self.defects: list[str] = []
        self.look()

    # -------------------------------------------------------------------------------------- time

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    @property
    def freeze_after(self) -> float | None:
        return 180.0 if self.policy["freeze_after"] != "never" else None

    stop_after, warn_before, busy_for = 240.0, 60.0, 300.0
    max_age = 600.0

    def pass_time(self, seconds: float) -> None:
        """Time goes on; who computes uses it."""
        for session in self.computing:
            made = self.engine._made.get(container_name(session))
            if made is not None and made.state.state is ContainerState.RUNNING:
                self.engine.burn(made.state.name, 0.5 * seconds)
            else:
                self.computing[session] = self.now + seconds
        self.clock.advance(seconds)
        self.drain()

    def jump(self, seconds: float) -> None:
        """The wall clock is set: what is kept until a time of day is kept until another one."""
        self.clock.jump(seconds)
        self.kept.clear()
        for session in self.sessions.values():
            session.jumped |= not session.watched

    # ------------------------------------------------------------------------------------- turns

    def drain(self) -> None:
        """Let everything run that waits for nobody, and look at what came of it."""
        drain(self.loop)
        self.look()
        over = [op for op in self.ops if op.done]
        self.ops = [op for op in self.ops if op not in over]
        for op in over:
            self.over(op)
        assert not self.defects, self.defects

    def over(self, op: Op) -> None:
        if op.task.cancelled():
            assert op.broker.fate.dead, f"{op.label} was cancelled"
            return
        error = op.task.exception()
        if error is None:
            if op.judge is not None:
                op.judge(op, op.task.result())
        elif not isinstance(error, DeskError):
            dead = isinstance(error, (Killed, BaseExceptionGroup)) and op.broker.fate.dead
            if not dead:
                raise AssertionError(f"{op.label} raised") from error

    def begin(self, label: str, broker: Broker, work, judge=None) -> Op:
        op = Op(label, broker, self.now, self.seq, judge=judge)
        context = contextvars.copy_context()
        context.run(OP.set, op)
        op.task = self.loop.create_task(work, name=label, context=context)
        self.ops.append(op)
        self.begun.append(op)
        self.drain()
        return op

    def step(self, op: Op) -> None:
        _, future = op.parked.pop(0)
        future.set_result(None)
        self.drain()

    def go(self, op: Op, turns: int | None = None) -> Op:
        """Let so many of its calls through; all of them for None, time standing still."""
        while op.parked and turns != 0:
            self.step(op)
            turns = None if turns is None else turns - 1
        return op

    def finish(self, *, only: Op | None = None) -> None:
        """Let everything come to its end, or one thing; time goes on where that waits for it."""
        for _ in range(5000):
            ops = self.waiting()
            if ops:
                self.step(ops[0])
            elif only.done if only is not None else self.at_rest():
                return
            else:
                self.until_somebody_wakes()
        raise AssertionError(f"it never comes to an end: {self.unfinished()}")

    def waiting(self) -> list[Op]:
        """Everything with a call that waits for its turn; spawned work has the op it came from."""
        return [op for op in self.begun if op.parked]

    def at_rest(self) -> bool:
        brokers = [b for b in (self.main, self.rival) if b is not None]
        return not self.ops and not any(broker.tasks for broker in brokers)

    def until_somebody_wakes(self) -> None:
        sleepers = [due for due, _ in self.clock._sleepers]
        assert sleepers, f"these wait for nobody: {[op.label for op in self.ops]}"
        self.pass_time(max(0.0, min(sleepers) - self.now))

    # ----------------------------------------------------------------------------------- brokers

    def start(self) -> Broker:
        """A broker over this world, before its first look."""
        turns = Turns(self)
        return Broker(
            self.world,
            open_store(self.directory / "desk.db", self.clock),
            turns,
            timeout=f"{START_TIMEOUT:.0f}s",
            idle={**COMMON, **self.policy},
            inside=ModelInside(self, turns),
            connections=ModelConnections(self),
        )

    def kill(self, broker: Broker) -> None:
        """The process is gone, whatever it was at."""
        broker.fate.dead = True
        for op in self.ops:
            if op.broker is broker:
                op.task.cancel()
        for task in sorted(broker.tasks, key=lambda task: task.get_name()):
            task.cancel()
        self.drain()
        self.loop.run_until_complete(broker.abandon())
        self.drain()
        assert not any(op.broker is broker for op in self.ops)

    def serve(self) -> None:
        """A new broker takes over: what the last one knew is forgotten, but for the records."""
        self.main = self.start()
        self.main_since = self.now
        self.last_pass, self.gap_at = None, float("-inf")
        self.signs, self.busy, self.told = {}, {}, []
        self.disturbed = self.now
        self.passes.clear()
        self.finish(only=self.reconcile())

    def close(self) -> None:
        for broker in (self.main, self.rival):
            if broker is not None:
                self.kill(broker)
        self.database.close()
        drain(self.loop)
        self.loop.close()
        shutil.rmtree(self.directory)

    def reconcile(self, broker: Broker | None = None) -> Op:
        broker = broker or self.main
        return self.begin("reconcile", broker, broker.reconciler.pass_once())

    def reap(self) -> Op:
        """A pass of the reaper, or the one that is under way."""
        last = self.passes.get("reap")
        if last is not None and not last.done:
            self.disturbed = self.now
            return last
        if self.last_pass is not None and self.now - self.last_pass > GAP:
            self.gap_at = self.now
        self.last_pass = None
        self.unasked.clear()
        began = self.now

        there = [s for s in self.alive if self.sessions[s].state in {_S.READY, _S.FROZEN}]

        def noticed(_op: Op, _: object) -> None:
            for session in there:
                if session in self.sessions:
                    self.sessions[session].watched = True
            self.last_pass = began if self.now == began else None
            if self.now != began:
                self.disturbed = self.now

        op = self.begin("reap", self.main, self.main.reaper.pass_once(), noticed)
        self.passes["reap"] = op
        return op

    def due(self, session: str) -> float:
        """Seconds until the reaper means to do something with it; infinite where it knows of
        nothing. It says where time is interesting, and judges nothing.
        """
        watch = self.main.watches.of(session)
        return float("inf") if watch is None else self.main.reaper.verdict(watch).due

    # ------------------------------------------------------------------------------------ people

    def identity(self, person: str, desktop: str) -> Identity:
        row = self.database.execute(
            'SELECT id FROM "user" WHERE name = ? AND removed_at IS NULL', (person,)
        ).fetchone()
        return Identity(
            user_id=row[0] if row else "gone",
            user=person,
            desktop=desktop,
            credential=_keys()[person][0].fingerprint,
            method="key",
            address="192.0.2.1",
            allowed=tuple(Allowance),
        )

    def desktop_id(self, person: str, desktop: str) -> str | None:
        row = self.database.execute(
            "SELECT d.id FROM desktop d JOIN user u ON u.id = d.user_id"
            " WHERE u.name = ? AND d.name = ? AND u.removed_at IS NULL AND d.removed_at IS NULL",
            (person, desktop),
        ).fetchone()
        return row[0] if row else None

    def moved(self, session: str) -> None:
        """Keyboard or mouse were used, in a way that only the desktop itself knows of: by a person
        where one is known to be there, else by a program.
        """
        if self.present(session):
            self.inputs[session] = self.now
            self.unasked.add(session)
        self.pointer[session] = self.now

    def owner(self, session: str) -> tuple[str | None, str]:
        """Whose it is, and which of theirs; None when the account was taken away."""
        row = self.database.execute(
            "SELECT u.name, d.name FROM desktop d JOIN user u ON u.id = d.user_id"
            " WHERE d.id = ? AND u.removed_at IS NULL AND d.removed_at IS NULL",
            (self.sessions[session].desktop,),
        ).fetchone()
        return row or (None, "")

    def live(self, desktop_id: str | None) -> str | None:
        """The live session of the desktop."""
        for session_id, session in self.sessions.items():
            if session.desktop == desktop_id and session.state is not _S.ENDED:
                return session_id
        return None

    @property
    def alive(self) -> list[str]:
        """Live sessions, the oldest first."""
        return [s for s, session in self.sessions.items() if session.state is not _S.ENDED]

    def attach(self, session: str, person: str, door: str) -> None:
        made = self.engine._made.get(container_name(session))
        ready = self.sessions.get(session)
        if ready is None or ready.state is not _S.READY:
            return
        if made is None or made.state.state is not ContainerState.RUNNING:
            return
        self.count += 1
        client = Client(f"c{self.count}", session, person, door, self.now, told=self.main)
        self.clients.append(client)
        self.tell(self.main.gateway.attached(door, self.attachment(client)))

    def attachment(self, client: Client) -> Attachment:
        return Attachment(
            id=client.id,
            session_id=client.session,
            user=client.user,
            peer="198.51.100.7:4000",
            client="SSH-2.0-Client",
        )

    def leave(self, client: Client) -> None:
        self.clients.remove(client)
        if self.main is not None and client.told is self.main:
            self.tell(self.main.gateway.detached(client.door, client.id))

    def lose(self, session: str) -> None:
        """Its doors end what is in it."""
        for client in [client for client in self.clients if client.session == session]:
            self.clients.remove(client)

    def report(self, doors=("d1", "d2")) -> None:
        """What doors tell every few seconds."""
        for door in doors:
            found = [client for client in self.clients if client.door == door]
            activities = []
            for client in found:
                client.told = self.main
                ages = {signal: self.now - at for signal, at in client.seen.items()}
                activities.append(
                    Activity(
                        attachment=self.attachment(client),
                        attached_for=self.now - client.since,
                        kinds=("shell",),
                        ages=ages,
                    )
                )
                for signal, at in client.seen.items():
                    into = self.signs if signal in PERSONAL else self.busy
                    into[client.session] = max(at, into.get(client.session, at))
            self.heard[door] = self.now
            self.tell(self.main.gateway.report(door, activities))

    def tell(self, telling) -> None:
        """What a door says to the broker, which never waits for anything."""
        self.loop.run_until_complete(telling)
        self.drain()

    # ------------------------------------------------------------------------------------ engine

    def underway(self, method: str, args: tuple) -> None:
        """An order to the engine whose caller is gone. A home is made and removed at once: those
        two cannot be told apart from what people ask for.
        """
        if method in {"create", "start", "remove", "kill", "pause", "unpause"}:
            self.late.append((method, args))

    def arrive(self, index: int) -> None:
        """Such an order is carried out after all."""
        # A dying broker lets go of its tasks in no order.
        self.late.sort(key=lambda order: (order[0], str(order[1])))
        method, args = self.late.pop(index % len(self.late))
        with contextlib.suppress(DeskError):
            self.loop.run_until_complete(getattr(self.engine, method)(*args))
        self.drain()

    def engine_did(self, turns: Turns, method: str, args: tuple) -> None:
        """Judge an order of a broker by what the records say while it is carried out."""
        self.look()
        if method not in {"remove", "kill", "pause"}:
            return
        session_id, session = self.of_container(args[0])
        if session is None:
            return
        if method == "pause":
            if session.state in {_S.READY, _S.STARTING} and not self.rivalled:
                self.defects.append(f"{session_id} was paused while {session.state}")
        elif session.state in {_S.READY, _S.FROZEN} and not self.rivalled:
            self.defects.append(f"the container of {session_id} was removed while {session.state}")

    @property
    def troubled(self) -> bool:
        engine = self.engine
        silent = self.main is not None and not self.main.probe.answering.is_set()
        return bool(engine.down or engine._faults or engine.held_ports or silent)

    def relieve(self) -> None:
        """The engine is up and does what it is asked, and desktops answer."""
        self.engine.down = False
        self.engine._faults.clear()
        self.engine.blank = 0
        self.engine.held_ports.clear()
        for broker in (self.main, self.rival):
            if broker is not None:
                broker.probe.answering.set()
        self.drain()

    def of_container(self, name: str) -> tuple[str, Shadow | None]:
        for session_id, session in self.sessions.items():
            if container_name(session_id) == name:
                return session_id, session
        return name, None

    def harm(self, session: str) -> None:
        """Its container serves nobody any more: who is in it notices."""
        self.harmed.add(session)
        self.lose(session)

    # -------------------------------------------------------------------------------- invariants

    def look(self) -> None:
        """Replay what the audit has more, and compare with the records."""
        (version,) = self.database.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._version = version
            news = self.database.execute(
                "SELECT seq, actor, action, subject, detail FROM audit WHERE seq > ? ORDER BY seq",
                (self.seq,),
            ).fetchall()
            for seq, actor, action, subject, detail in news:
                self.seq = seq
                self.replay(actor, action, subject, json.loads(detail))
            self.compare()
        self.look_at_homes()

    def replay(self, actor: str, action: str, subject: str, detail: dict) -> None:
        match action:
            case "session.begin":
                assert self.live(detail["desktop"]) is None, "a second live session"
                self.sessions[subject] = Shadow(detail["desktop"], self.main, self.now)
            case (
                "session.ready"
                | "session.thaw"
                | "session.freeze"
                | "session.stop"
                | ("session.end")
            ):
                self.advanced(actor, subject, detail)
            case "desktop.forget":
                gone = [s for s, session in self.sessions.items() if session.desktop == subject]
                for session_id in gone:
                    assert self.sessions.pop(session_id).state is _S.ENDED
            case "session.keep":
                self.kept.pop(subject, None)  # until somebody is told of it
            case "home.delete":
                assert subject in self.may_delete, f"nobody asked to delete the home of {subject}"
                self.deleted.add(detail["volume"])
            case _:
                pass

    def advanced(self, actor: str, session_id: str, detail: dict) -> None:
        session = self.sessions[session_id]
        before, after = session.state, SessionState(detail["after"])
        assert before == detail["before"], f"{session_id} is {before}, and the audit says {detail}"
        lifecycle.check(before, after)
        reason = detail["reason"]
        if actor == "broker" and after is _S.FROZEN:
            self.may_sleep(session_id, session, self.freeze_after)
        if actor == "broker" and after is _S.STOPPING:
            self.may_stop(session_id, session, reason)
        if after in {_S.FROZEN, _S.STOPPING, _S.ENDED}:
            assert reason, f"{session_id} is {after} and nobody knows why"
        session.state = after
        if after is _S.READY:
            session.ready, session.ready_under = self.now, self.main
            self.inputs.pop(session_id, None)
            self.pointer.pop(session_id, None)
            self.signs.pop(session_id, None)
            self.busy.pop(session_id, None)
        if after is _S.FROZEN:
            session.frozen, session.frozen_under = self.now, self.main
        if after is _S.ENDED:
            there = container_name(session_id) in self.engine._made
            assert not there or session_id in self.forced, f"{session_id} ended over its container"

    def compare(self) -> None:
        records, held = {}, Counter()
        for session_id, state, reason in self.database.execute(
            "SELECT id, state, reason FROM session"
        ):
            records[session_id] = state
            assert reason or state in {"starting", "ready"}
        assert records == {s: session.state.value for s, session in self.sessions.items()}
        for session_id, _kind in self.database.execute(
            "SELECT session_id, kind FROM lease WHERE kind != 'uid'"
        ):
            held[session_id] += 1
        assert held == dict.fromkeys(self.alive, 3), "leases and live sessions"

    def look_at_homes(self) -> None:
        """A home that was seen is there with what is in it, until somebody asks to delete it."""
        volumes = self.engine.volumes
        for name, home in list(self.homes.items()):
            if name in self.deleted:
                del self.homes[name]
                continue
            assert volumes.get(name) is home, f"the home {name} is lost"
            assert home.files == {"thesis.tex": "draft"}
        for name, home in volumes.items():
            if name not in self.homes and name not in self.deleted:
                home.files["thesis.tex"] = "draft"
                self.homes[name] = home
        self.deleted &= set(volumes)

    # ------------------------------------------------------------------------------------- sleep

    def alone_since(self, session_id: str, session: Shadow, after: float) -> float:
        """The last thing that a person did, by all that the broker must know: no earlier than
        what leaves `after` seconds a warning, where it serves since a moment ago.
        """
        since = self.main_since - after + self.warn_before
        if session.ready_under is self.main and session.ready is not None:
            since = max(since, session.ready)
        since = max(since, self.gap_at, self.signs.get(session_id, since))
        seen = self.inputs.get(session_id)
        if seen is not None and session_id not in self.unasked and self.present(session_id):
            since = max(since, seen)
        return since

    def may_sleep(self, session_id: str, session: Shadow, after: float | None) -> None:
        """The broker puts it to sleep by itself: it was idle for long enough, and who is inside
        was told in time.
        """
        assert after is not None, "this policy never freezes"
        assert session.state is _S.READY
        apart = self.clock.apart
        since = self.alone_since(session_id, session, after)
        alone = self.now - since
        assert alone >= after - apart, f"{session_id} was used {alone:.0f} s ago"
        assert self.now >= self.kept.get(session_id, 0.0) - apart, f"{session_id} is kept"
        if alone < self.busy_for:
            busy = self.now - self.busy.get(session_id, float("-inf"))
            assert busy >= after - apart, f"{session_id} sent something {busy:.0f} s ago"
            begun = max(self.computing.get(session_id, self.now), self.disturbed, since)
            assert self.now - begun < 3 * GAP, f"{session_id} computes"
        self.was_told(session_id, since, after)

    def present(self, session_id: str) -> list[Client]:
        """Who is in it, as the broker must know."""
        return [
            client
            for client in self.clients
            if client.session == session_id
            and client.told is self.main
            and self.now - self.heard.get(client.door, float("-inf")) <= DOOR_HEARD
        ]

    def was_told(self, session_id: str, since: float, after: float) -> None:
        reaping = self.passes.get("reap")
        if session_id in self.deafened or (reaping and self.now - reaping.began > GAP):
            return  # however long a pass takes, somebody watched
        for client in self.present(session_id):
            first, last = max(since, client.since), self.now - self.warn_before
            if self.now - since - after >= 2 * self.warn_before:
                first = since  # clients that come again and again put nothing off
            told = [at for told, at in self.told if told == session_id]
            assert any(first <= at <= last for at in told), (
                f"{client.id} in {session_id} was told at {told}, not between {first} and {last}"
            )

    def may_stop(self, session_id: str, session: Shadow, reason: str) -> None:
        """The broker stops it by itself: for a reason that is so."""
        apart = self.clock.apart
        if reason.startswith("it slept for"):
            if session.state is not _S.FROZEN and self.rivalled:
                return  # the other broker woke it in the very moment
            assert session.state is _S.FROZEN, f"{session_id} is {session.state}, no longer asleep"
            since = self.main_since - self.stop_after + self.warn_before
            if session.frozen_under is self.main:
                since = max(since, session.frozen)
            slept = self.now - max(since, self.gap_at)
            assert slept >= self.stop_after - apart, f"{session_id} slept for {slept:.0f} s alone"
            assert self.now >= self.kept.get(session_id, 0.0) - apart, f"{session_id} is kept"
        elif reason.startswith("nobody used it"):
            self.may_sleep(session_id, session, self.stop_after)
        elif reason.startswith("it ran for"):
            age = self.now - session.began
            if session.owner is self.main and not session.jumped:
                assert age >= self.max_age - apart, f"{session_id} ran for {age:.0f} s"
            if session.state is _S.READY:
                since = self.alone_since(session_id, session, self.warn_before)
                assert self.now - since >= self.warn_before - apart, f"{session_id} is in use"
                # Age is no matter of what people do: the warning stands whatever they did then.
                self.was_told(session_id, session.began, self.max_age)
        elif reason.startswith("its container"):
            harmed = session_id in self.harmed or self.rivalled
            assert harmed, f"nothing happened to {session_id}: {reason}"
        elif reason.startswith("the broker stopped while"):
            alone = session.owner is self.main and not self.rivalled
            overdue = self.now - session.began > START_TIMEOUT + 120.0
            assert not alone or overdue, f"the broker went on, and gave {session_id} up"
        else:
            assert session.state is _S.STARTING or self.rivalled, f"{session_id}: {reason}"

    # ---------------------------------------------------------------------------------- at rest

    def calm(self) -> None:
        """The engine is up and does what it is asked, and all that was begun comes to its end."""
        self.relieve()
        if self.main is None:
            self.serve()
        self.drain()
        self.finish()
        while self.late:
            self.arrive(0)
        self.pass_time(1)

    def settle(self) -> None:
        """After one quiet reconcile records and containers agree, and the next does nothing."""
        self.calm()
        self.finish(only=self.reconcile())
        self.finish()
        self.loop.run_until_complete(self.main.check())
        before, live = self.world.written, self.records()
        self.pass_time(1)
        self.finish(only=self.reconcile())
        self.finish()
        assert self.world.written == before, "the second look found something to do"
        assert self.records() == live
        self.rivalled = self.rival is not None

    def records(self) -> list[tuple]:
        return self.database.execute("SELECT id, state, changed_at FROM session").fetchall()

    def rest(self) -> None:
        """Nobody does anything: everything falls asleep, and is stopped in the end."""
        self.settle()
        for client in list(self.clients):
            self.leave(client)
        self.computing.clear()
        awake = max(self.freeze_after or self.stop_after, self.busy_for, 600.0) + self.warn_before
        self.quiet(awake + 120.0)
        left = [s for s in self.alive if self.sessions[s].state is not _S.FROZEN]
        assert not left, f"nobody uses {left}, and they are awake"
        self.quiet(self.stop_after + 600.0 + 120.0)
        assert not self.alive, f"nobody uses {self.alive}, and they were not stopped"

    def quiet(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until and self.alive:
            self.pass_time(50)
            self.report()
            self.finish(only=self.reap())
