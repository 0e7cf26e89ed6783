"""Lets hours pass for a broker, look by look, with whoever is in its desktops meanwhile."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from broker.core.gateway import Activity, Attachment
from broker.core.idle import Signal
from broker.core.model import SessionState
from broker.core.spec import container_name
from broker.service.sentences import SIGNALS
from broker.service.watches import LOOK_EVERY
from tests.service.harness import STORE_READS

DOOR = "door-1"

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


class Remembering:
    """A store that reads the live sessions anew only when something was written since: three days
    are twenty-six thousand looks at them.
    """

    def __init__(self, real) -> None:
        self._real = real
        self._writes = 0
        self._live: dict[str | None, tuple[int, object]] = {}

    def __getattr__(self, name):
        method = getattr(self._real, name)
        if name in STORE_READS:
            return method

        async def write(*args, **kwargs):
            try:
                return await method(*args, **kwargs)
            finally:
                self._writes += 1

        return write

    async def live_sessions(self, host=None):
        writes, found = self._live.get(host, (-1, []))
        if writes != self._writes:
            writes = self._writes
            found = await self._real.live_sessions(host)
            self._live[host] = writes, found
        return found


@dataclass
class Visit:
    """A client in a session, as its door sees it."""

    attachment: Attachment
    since: float
    kinds: tuple[str, ...]
    did: dict[Signal, float] = field(default_factory=dict)


class Hours:
    """The time of a test, and what people and programs do in it."""

    def __init__(self, broker) -> None:
        self.broker = broker
        self.clock = broker.clock
        self.visits: dict[str, Visit] = {}
        self._touched: dict[str, float] = {}
        self._cores: dict[str, float] = {}
        self._told = 0
        broker.store._real = Remembering(broker.real_store)

    # ---------------------------------------------------------------------------- what is done

    def touch(self, session) -> None:
        """Keyboard or mouse, by whichever viewer."""
        self._touched[session.id] = self.clock.monotonic()

    def compute(self, session, cores: float) -> None:
        """From now on its programs use so many cores."""
        self._cores[session.id] = cores

    async def visit(self, session, name: str = "laptop", *, kinds=("xpra",), user="ada") -> None:
        """A client comes and stays."""
        attachment = Attachment(
            id=name, session_id=session.id, user=user, peer="192.0.2.1:40000", client="SSH-2.0-x"
        )
        self.visits[name] = Visit(attachment, self.clock.monotonic(), kinds)
        await self.broker.gateway.attached(DOOR, attachment)

    async def leave(self, name: str = "laptop") -> None:
        del self.visits[name]
        await self.broker.gateway.detached(DOOR, name)

    async def act(self, signal: Signal, name: str = "laptop") -> None:
        """The client does something, and its door tells of it."""
        self.visits[name].did[signal] = self.clock.monotonic()
        await self.report()

    async def report(self) -> None:
        """The door tells all that it has."""
        now = self.clock.monotonic()
        activities = [
            Activity(
                attachment=visit.attachment,
                attached_for=now - visit.since,
                kinds=visit.kinds,
                ages={signal: now - at for signal, at in visit.did.items()},
            )
            for visit in self.visits.values()
        ]
        await self.broker.gateway.report(DOOR, activities)

    # ---------------------------------------------------------------------------- time that goes

    async def tick(self, seconds: float = LOOK_EVERY) -> None:
        """Time goes on, the door reports, the reaper looks; who was sent away is gone."""
        self.clock.advance(seconds)
        for session_id, cores in self._cores.items():
            name = container_name(session_id)
            if name in self.broker.world.containers:
                self.broker.world.engine.burn(name, cores * seconds)
        self._show()
        await self.report()
        await self.broker.reaper.pass_once()
        told = self.broker.connections.sent_away
        gone = {session_id for session_id, _ in told[self._told :]}
        self._told = len(told)
        for name, visit in list(self.visits.items()):
            if visit.attachment.session_id in gone:
                await self.leave(name)

    def _show(self) -> None:
        """How long ago each desktop was touched, as its X server would say now."""
        now = self.clock.monotonic()
        for session_id, at in self._touched.items():
            self.broker.inside.idle[session_id] = now - at

    async def go_by(self, seconds: float, *, each=None) -> None:
        """`each` may do something before every look."""
        for _ in range(round(seconds / LOOK_EVERY)):
            if each is not None:
                await each()
            await self.tick()

    async def until(self, happened, *, within: float) -> float:
        """Let time go by until `await happened()`; returns the seconds that passed."""
        began = self.clock.monotonic()
        while not await happened():
            assert self.clock.monotonic() - began <= within, "it did not happen in time"
            await self.tick()
        return self.clock.monotonic() - began

    # ----------------------------------------------------------------------------- what is told

    async def why(self, identity) -> tuple[str, dict]:
        """`desk why` for people, and for programs."""
        text, data = [
            await self.broker.gateway.word(identity, argv) for argv in (["why"], ["why", "--json"])
        ]
        assert (text.status, text.stderr, data.status) == (0, "", 0)
        return text.stdout, json.loads(data.stdout)

    async def counts(self, identity) -> str:
        """The signal that counts, the same in both forms of `desk why`."""
        text, data = await self.why(identity)
        marked = [line for line in text.splitlines() if line.endswith("<- this counts")]
        assert [SIGNALS[Signal(data["counts"])] in line for line in marked] == [True]
        return data["counts"]

    async def rows(self, session, *, limit: int = 1000) -> list[tuple]:
        """The stored changes of its deadline, oldest first: step, signal and the seconds to it."""
        found = await self.broker.real_store.deadlines(session.id, limit=limit)
        return [
            (
                row.step,
                row.signal,
                None if row.due_at is None else round((row.due_at - row.at).total_seconds()),
            )
            for row in reversed(found)
        ]


class Story:
    """Ada's desktop, and the time."""

    def __init__(self, broker, ada, session) -> None:
        self.broker, self.ada, self.session = broker, ada, session
        self.hours = Hours(broker)
        self.told_at: list[float] = []
        """When each notice was shown."""
        tell = broker.inside.tell

        async def noted(session_id, notice) -> bool:
            shown = await tell(session_id, notice)
            if shown:
                self.told_at.append(broker.clock.monotonic())
            return shown

        broker.inside.tell = noted

    async def state(self) -> SessionState:
        live = {session.id: session for session in await self.broker.store.live_sessions()}
        return live[self.session.id].state if self.session.id in live else SessionState.ENDED

    async def sleeps(self) -> bool:
        return await self.state() is not SessionState.READY

    @property
    def told(self) -> list[str]:
        """What was shown in the desktop."""
        return [notice.text for _, notice in self.broker.inside.told]


async def begin(world, **idle) -> Story:
    broker = await world.broker(idle=idle)
    ada = await broker.person()
    route = await broker.route(ada)
    return Story(broker, ada, await broker.store.session(route.session_id))
