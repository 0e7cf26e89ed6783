"""A front door and a broker with a socket between them, and what a test needs on either side."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, suppress

import aiohttp

from broker.core.gateway import (
    Activity,
    Allowance,
    Attachment,
    CodeWanted,
    Endpoint,
    Holdings,
    HttpReply,
    Identity,
    Login,
    OfferedKey,
    Penalty,
    Right,
    Route,
    Seat,
    WordReply,
)
from broker.core.idle import Signal
from broker.core.messages import PROTOCOL
from broker.door.gateway import RemoteGateway
from broker.http.gateway import GatewayServer
from broker.service.connections import Doors
from broker.system.peer import child_of
from broker.system.sockets import bind_unix
from broker.system.tasks import Tasks

#: Seconds after which a test that waits for something has failed.
PATIENCE = 10.0

LOGIN = Login("ann", None)
ADDRESS = "192.0.2.1"
KEY = OfferedKey(algorithm="ssh-ed25519", fingerprint="SHA256:" + "x" * 43)
ANN = Identity(
    user_id="u1",
    user="ann",
    desktop=None,
    credential=KEY.fingerprint,
    method="key",
    address=ADDRESS,
    allowed=tuple(Allowance),
)
ROUTE = Route(
    session_id="s1",
    desktop_id="d1",
    desktop="main",
    display=1000,
    user="desk",
    endpoints=(Endpoint("10.0.0.2", 22), Endpoint("127.0.0.1", 20000)),
    host_key="ssh-ed25519 AAAA",
    client_key="-----BEGIN OPENSSH PRIVATE KEY-----",
)
SEAT = Seat(identity=ANN, desktop="main", route=ROUTE, rights=(Right.CONTROL, Right.RESIZE))
PENALTY = Penalty(source="192.0.2.7", offence="authfail", seconds=60.0)


def attachment(name: str = "a", **changes) -> Attachment:
    given = {"session_id": "s1", "user": "ann", "peer": "192.0.2.1:5", "client": "SSH-2.0-x"}
    return Attachment(id=name, **{**given, **changes})


def activity(name: str = "a", **changes) -> Activity:
    given = {"attached_for": 1.5, "kinds": ("shell",), "ages": {Signal.TYPING: 0.5}}
    return Activity(attachment=attachment(name), **{**given, **changes})


async def until(condition) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


class FakeDoor:
    """Remembers what it is told."""

    def __init__(self, name: str = "door1") -> None:
        self.id = name
        self.held = Holdings(identities=(), sessions=())
        self.told: list[tuple] = []
        self.reports = 0

    def holdings(self):
        return self.held

    def report_now(self) -> None:
        self.reports += 1

    def end_session(self, session_id, sentence, *, sleeps=False) -> None:
        self.told.append(("session", session_id, sentence, sleeps))

    def end_user(self, user_id, sentence) -> None:
        self.told.append(("user", user_id, sentence))

    def end_credential(self, fingerprint, sentence) -> None:
        self.told.append(("key", fingerprint, sentence))

    def penalise(self, penalty) -> None:
        self.told.append(("penalty", penalty))


class ScriptedGateway:
    """Notes each call, and waits in it, fails or answers as a test says."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.cancelled: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.errors: dict[str, Exception] = {}
        self.sentences: tuple[str, ...] = ()
        self.output = "done\n"
        self.answer_to_key = ANN
        self.misunderstood = 0
        self.route_answered = lambda: None
        """Called as the route is given."""

    def hold(self, call: str) -> asyncio.Event:
        """That call waits from now on; returns what lets it go on."""
        self.gates[call] = asyncio.Event()
        return self.gates[call]

    def count(self, call: str) -> int:
        return sum(one[0] == call for one in self.calls)

    async def _do(self, call: str, *facts) -> None:
        self.calls.append((call, *facts))
        try:
            if call in self.gates:
                await self.gates[call].wait()
        except asyncio.CancelledError:
            self.cancelled.append(call)
            raise
        if call in self.errors:
            raise self.errors[call]

    async def identify(self, login, key, address):
        await self._do("identify", login, key, address)
        return self.answer_to_key

    async def redeem(self, login, key, address):
        await self._do("redeem", login, key, address)
        return ANN

    async def check_password(self, login, password, address):
        await self._do("check_password", login, password, address)
        return CodeWanted("t1")

    async def check_code(self, ticket, code, address):
        await self._do("check_code", ticket, code, address)
        return ANN

    async def proven(self, identity) -> None:
        await self._do("proven", identity)

    async def route(self, identity, *, display, progress):
        for sentence in self.sentences:
            progress(sentence)
        await self._do("route", identity, display)
        asyncio.get_running_loop().call_soon(self.route_answered)
        return ROUTE

    async def seat(self, secret, address, *, desktop_id, look, wake, progress):
        await self._do("seat", secret, address, desktop_id, look, wake)
        for sentence in self.sentences:
            progress(sentence)
        return SEAT

    async def lost(self, session_id) -> None:
        await self._do("lost", session_id)

    async def word(self, identity, argv):
        await self._do("word", identity, argv)
        return WordReply(stdout=self.output, stderr="", status=0)

    async def attached(self, door, attachment) -> None:
        await self._do("attached", door, attachment)

    async def detached(self, door, attachment_id) -> None:
        await self._do("detached", door, attachment_id)

    async def carries(self, door, load) -> None:
        await self._do("carries", door, load)

    async def report(self, door, activities) -> None:
        await self._do("report", door, activities)

    async def penalise(self, door, penalty) -> None:
        await self._do("penalise", door, penalty)

    async def http(self, method, path):
        await self._do("http", method, path)
        return HttpReply(status=200, content_type="text/plain", body=bytes(range(256)))

    async def catch_up(self, holdings, door) -> None:
        await self._do("catch_up", holdings)

    def gone(self, door) -> None:
        self.calls.append(("gone", door))

    def unheard(self) -> None:
        self.misunderstood += 1


class Pair:
    """Brokers that come and go on one bound socket, and the doors that speak to them."""

    def __init__(self, directory, gateway, doors: Doors | None = None) -> None:
        self.gateway = gateway
        self.doors = doors or Doors()
        self.path = directory / "gateway.sock"
        self._bound = bind_unix(self.path, mode=0o600, gid=None)
        self._bound.listen(16)
        self._tasks = Tasks()
        self.server: GatewayServer | None = None

    async def open(self, **options) -> GatewayServer:
        """A broker listens, as its parent left the socket to it."""
        self.server = GatewayServer(
            self.gateway,
            self.doors,
            **{
                "uids": [os.getuid()],
                "door_of": child_of(os.getppid()),
                "grace": 0.05,
                **options,
            },
        )
        await self.server.start(self._bound.dup())
        return self.server

    async def shut(self, grace: float = 0.0) -> None:
        """It goes; the socket stays bound, and connections wait in it."""
        await self.server.close(grace)
        self.server = None

    def die(self) -> None:
        """What a kill does to the connections: they are gone without a word."""
        for caller in self.server._callers:
            caller._line._socket._req.transport.abort()

    def dial(self, door: FakeDoor | None = None, *, wait: float = PATIENCE, **options):
        """A gateway that connects when it can, for ever, and the task that keeps it."""
        remote = RemoteGateway(self.path, wait=wait, **{"passed_on": wait, **options})
        remote.running = self._tasks.start(remote.run(door or FakeDoor()), name="gateway")
        return remote

    async def connected(self, door: FakeDoor | None = None, **options) -> RemoteGateway:
        door = door or FakeDoor()
        remote = self.dial(door, **options)
        await until(lambda: door.reports)
        return remote

    @asynccontextmanager
    async def raw(self, *said: str, **options):
        """The web socket of somebody who says what he likes."""
        connector = aiohttp.UnixConnector(str(self.path))
        async with (
            aiohttp.ClientSession(connector=connector) as client,
            client.ws_connect("http://x/gateway", protocols=[PROTOCOL], **options) as made,
        ):
            for text in said:
                await made.send_str(text)
            yield made

    def begin(self, call) -> asyncio.Task:
        return self._tasks.start(_quietly(call), name="call")

    async def close(self) -> None:
        await self._tasks.close()
        if self.server is not None:
            await self.shut()
        self._bound.close()


async def _quietly(call):
    """What it gives or raises, for a test to look at when it likes."""
    with suppress(asyncio.CancelledError):
        try:
            return await call
        except Exception as error:
            return error
