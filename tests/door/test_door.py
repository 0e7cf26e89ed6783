"""A whole door before an sshd of asyncssh's, in one process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import replace

import asyncssh
import pytest
import structlog
from asyncssh.connection import SSHClientConnection

from broker.core.errors import CapacityExhausted
from broker.core.gateway import Endpoint, Holdings, Penalty, Route
from broker.core.idle import Signal
from broker.door import descriptors, feed
from broker.door.app import Door
from broker.door.limits import Limits
from broker.door.messages import pack_string
from tests.door.static import StaticGateway

ALICE, BOB, STRANGER, HOST, INNER_HOST, INNER = (
    asyncssh.generate_private_key("ssh-ed25519") for _ in range(6)
)
SHORT = Limits(linger=0.5, spare_delay=0.0, orphaned=0.2)


async def serve(process: asyncssh.SSHServerProcess) -> None:
    """What the desktop runs."""
    command = process.command or "shell"
    if command == "cat":
        async for data in process.stdin:
            process.stdout.write(data)
    elif command.startswith("zeros "):
        process.stdout.write(b"\0" * int(command.split()[1]))
        await process.stdout.drain()
    elif command == "sleep":
        await asyncio.sleep(30)
    else:
        process.stdout.write(f"ran {command}\n".encode())
        process.stderr.write(b"err\n")
    process.exit(3)


class World:
    """The door, the desktop and the gateway between."""

    def __init__(self) -> None:
        self.stack = contextlib.AsyncExitStack()

    async def start(self, *, limits: Limits = SHORT, fast: bool = True) -> World:
        self.desktop_connections: list[asyncssh.SSHServerConnection] = []
        self.desktop = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[INNER_HOST],
            authorized_client_keys=asyncssh.import_authorized_keys(
                INNER.export_public_key().decode()
            ),
            acceptor=self.desktop_connections.append,
            process_factory=serve,
            encoding=None,
        )
        self.route = Route(
            session_id="s1",
            desktop_id="d1",
            desktop="main",
            display=1000,
            user="desk",
            endpoints=(Endpoint("127.0.0.1", 1), Endpoint("127.0.0.1", self.desktop.get_port())),
            host_key=INNER_HOST.export_public_key().decode().strip(),
            client_key=INNER.export_private_key().decode(),
        )
        keys = {ALICE.get_fingerprint(): "alice", BOB.get_fingerprint(): "bob"}
        self.gateway = StaticGateway(keys, self.route)
        self.door = Door(self.gateway, HOST, limits=limits, fast=fast)
        await self.door.start()
        return self

    def connect(self, *keys, user="desk", **options):
        options.setdefault("known_hosts", ([HOST.convert_to_public()], [], []))
        return asyncssh.connect(
            "127.0.0.1",
            self.door.port,
            username=user,
            client_keys=list(keys or (ALICE,)),
            agent_path=None,
            config=None,
            **options,
        )

    async def close(self) -> None:
        await self.door.close(0.5)
        self.desktop.close()
        await self.desktop.wait_closed()


@pytest.fixture
async def world():
    made = await World().start()
    yield made
    await made.close()


async def until(condition) -> None:
    """Wait for what is about to be."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def routed(world) -> list[str]:
    return [event[1] for event in world.gateway.events if event[0] == "route"]


@pytest.mark.parametrize("run", [asyncio.run, feed.run])
def test_bulk_data_goes_by_the_fast_lane_on_either_loop(run):
    """The door's own and asyncio's, which the other tests run on."""

    async def there_and_back() -> None:
        world = await World().start(fast=True)
        try:
            async with world.connect() as client:
                big = await client.run("cat", input=b"q" * 1_000_000, encoding=None)
            assert big.stdout == b"q" * 1_000_000
            assert world.door.stats().packets > 50  # 31 each way
        finally:
            await world.close()

    run(there_and_back())


@pytest.mark.parametrize("fast", [True, False])
async def test_commands_data_and_forwards_pass_on_both_lanes(fast):
    """Output, errors, exit status, a megabyte there and back, and a forward from the desktop."""
    world = await World().start(fast=fast)
    async with world.connect() as client:
        done = await client.run("hello")
        assert (done.stdout, done.stderr, done.exit_status) == ("ran hello\n", "err\n", 3)
        big = await client.run("cat", input=b"q" * 1_000_000, encoding=None)
        assert big.stdout == b"q" * 1_000_000
        with pytest.raises(asyncssh.ChannelOpenError):
            await client.open_connection("127.0.0.1", 9)
    stats = world.door.stats()
    assert (stats.packets > 20) is fast
    await until(lambda: world.door.stats().connections == 0)
    load = world.door._load()
    assert load.accepted == 1
    assert load.lag >= 0
    for received in (load.from_clients, load.from_desktops):
        assert 1_000_000 < received < 1_100_000
    await until(lambda: ("detached",) in world.gateway.events)
    await world.close()


async def test_the_second_connect_takes_the_spare(world):
    """And a client that leaves leaves none behind but that."""
    for _ in range(3):
        async with world.connect() as client:
            await client.run("hello")
        session = world.door._binder._sessions["s1"]
        await until(lambda s=session: s.spare is not None and s.spare.done())
    assert session.endpoint == world.route.endpoints[1]


async def test_a_dropped_spare_is_not_used(world):
    """A connection that died while it waited is passed over."""
    async with world.connect() as client:
        await client.run("hello")
        session = world.door._binder._sessions["s1"]
        await until(lambda: session.spare is not None and session.spare.done())
        session.spare.result().drop()
    async with world.connect() as client:
        assert (await client.run("hello")).exit_status == 3


async def test_the_spare_ends_a_while_after_the_last_client():
    """Nothing of the session is kept."""
    world = await World().start(limits=replace(SHORT, spare_idle=0.1))
    async with world.connect() as client:
        await client.run("hello")
    await until(lambda: not world.door._binder._sessions)
    await world.close()


async def test_a_word_of_the_broker_starts_nothing(world):
    async with world.connect() as client:
        done = await client.run("desk why 'my desktop'")
    assert (done.stdout, done.exit_status) == ("door says: desk why my desktop\n", 7)
    assert world.gateway.events == [("word", "why", "my desktop")]


async def test_a_refusal_is_one_sentence_on_stderr_and_status_1(world):
    """And the reason of a failed forward."""
    world.gateway.refusal = CapacityExhausted()
    async with world.connect() as client:
        done = await client.run("hello")
        assert (done.stdout, done.exit_status) == ("", 1)
        assert done.stderr == f"desk: {CapacityExhausted.default} (full)\n"
        with pytest.raises(asyncssh.ChannelOpenError, match="All places"):
            await client.open_connection("127.0.0.1", 9)


async def test_an_unreachable_desktop_is_asked_for_once_more(world):
    """Then the user hears that it does not answer."""
    world.gateway.route_ = replace(world.route, endpoints=(Endpoint("127.0.0.1", 1),))
    async with world.connect() as client:
        done = await client.run("hello")
    assert "does not answer" in done.stderr
    assert [e[0] for e in world.gateway.events] == ["route", "lost", "route", "lost"]


async def test_a_desktop_with_another_host_key_is_not_trusted(world):
    """The key is pinned for the session."""
    other = STRANGER.export_public_key().decode().strip()
    world.gateway.route_ = replace(world.route, host_key=other)
    async with world.connect() as client:
        assert "does not answer" in (await client.run("hello")).stderr


async def test_a_client_that_leaves_while_its_desktop_starts_leaves_no_trace(world):
    """Its work is cancelled with it."""
    world.gateway.delay = 30
    client = await world.connect()
    running = asyncio.get_running_loop().create_task(client.run("hello"))
    await until(lambda: routed(world))
    client.abort()
    with contextlib.suppress(asyncssh.Error):
        await running
    await until(lambda: world.door.stats().connections == 0)
    assert not world.door._binder._sessions


async def test_a_lost_desktop_is_told_to_client_and_broker(world):
    """The command ends by a signal, the connection follows."""
    client = await world.connect()
    process = await client.create_process("sleep")
    await until(lambda: ("attached", "s1") in world.gateway.events)
    bridge = next(iter(world.door._bridges))
    bridge._bound.wire.drop()
    done = await process.wait()
    assert done.exit_signal[0] == "KILL"
    await asyncio.wait_for(client.wait_closed(), 5)
    assert ("lost", "s1") in world.gateway.events


async def test_closing_the_door_tells_its_clients(world):
    """With a sentence, and nothing stays open."""
    lost = asyncio.get_running_loop().create_future()

    class Listener(asyncssh.SSHClient):
        def connection_lost(self, error) -> None:
            lost.set_result(error)

    client = await world.connect(client_factory=Listener)
    process = await client.create_process("sleep")
    await until(lambda: ("attached", "s1") in world.gateway.events)
    await world.door.close(2)
    assert "restarting" in str(await asyncio.wait_for(lost, 5)) or await lost is None
    assert world.door.stats().connections == 0
    await client.wait_closed()
    del process


async def test_progress_reaches_an_interactive_shell_alone(world):
    """One line on its stderr while the desktop starts."""
    world.gateway.sentence = "Your desktop is starting."
    async with world.connect() as client:
        shell = await client.run("", term_type=None)
        assert b"starting" not in (shell.stderr or "").encode()
    async with world.connect() as client:
        process = await client.create_process(term_type="xterm", stderr=asyncssh.PIPE)
        assert (
            await asyncio.wait_for(process.stderr.readline(), 5) == "Your desktop is starting.\r\n"
        )


@pytest.mark.parametrize("keeps", [True, False])
async def test_a_second_desktop_on_one_connection(world, keeps):
    """Refused with the remedy while the first is in use, taken once it is not."""
    other = replace(world.route, session_id="s2", display=1013)
    world.gateway.displays = {1013: other}
    async with world.connect() as client:
        first = await client.create_process("sleep" if keeps else "hello")
        await until(lambda: ("attached", "s1") in world.gateway.events)
        if not keeps:
            await first.wait()
        assert (await client.run('xpra _proxy ":10"')).exit_status == 3
        done = await client.run('xpra _proxy ":1013"')
    assert (done.exit_status == 1) is keeps
    assert (("attached", "s2") in world.gateway.events) is not keeps
    assert ("ssh -S none" in done.stderr) is keeps


async def test_a_gateway_that_cannot_be_told_stops_nobody(world):
    """Presence is told as far as it can be."""

    async def deaf(*_):
        raise CapacityExhausted

    world.gateway.attached = world.gateway.detached = world.gateway.lost = deaf
    async with world.connect() as client:
        assert (await client.run("hello")).exit_status == 3
        next(iter(world.door._bridges))._bound.wire.drop()
        await until(lambda: not world.door._binder._sessions)
        assert (await client.run("hello")).exit_status == 3


async def test_a_gateway_that_knows_nobody_just_now_refuses(world):
    """A failure of the broker is no identity."""

    async def down(login, key, address):
        raise CapacityExhausted

    world.gateway.identify = down
    with pytest.raises(asyncssh.PermissionDenied):
        await world.connect()


@pytest.mark.parametrize("by", ["session", "user", "key"])
async def test_access_that_ends_ends_connections(world, by):
    """By session, person or key, with the sentence; a session's spare goes with it."""
    client = await world.connect()
    await client.create_process("sleep")
    other = await world.connect(BOB)
    await until(lambda: ("attached", "s1") in world.gateway.events)
    if by == "session":
        world.door.end_session("s1", "It was stopped.")
        assert not world.door._binder._sessions
    elif by == "key":
        world.door.end_credential(ALICE.get_fingerprint(), "Your key was removed.")
        assert world.door._binder._sessions
    else:
        world.door.end_user("id-alice", "Your key was removed.")
    await asyncio.wait_for(client.wait_closed(), 5)
    assert world.door.stats().authenticated == 1
    other.close()


async def test_a_door_says_what_it_holds(world):
    """Each person by each key once, and each session that it has something of."""
    assert world.door.holdings() == Holdings(identities=(), sessions=())
    clients = [await world.connect(key) for key in (ALICE, ALICE, BOB)]
    await clients[0].create_process("sleep")
    await until(lambda: ("attached", "s1") in world.gateway.events)
    held = world.door.holdings()
    assert sorted(identity.user_id for identity in held.identities) == ["id-alice", "id-bob"]
    assert ALICE.get_fingerprint() in {identity.credential for identity in held.identities}
    assert held.sessions == ("s1",)
    world.door._binder.forget("s1")
    assert world.door.holdings().sessions == ("s1",), "somebody is in it"
    clients[0].close()
    await clients[0].wait_closed()
    await until(lambda: ("detached",) in world.gateway.events)
    assert world.door.holdings().sessions == ()
    await clients[1].run("true")
    clients[1].close()
    await clients[1].wait_closed()
    await until(lambda: world.gateway.events.count(("detached",)) == 2)
    assert world.door.holdings().sessions == ("s1",), "its spare is kept still"
    world.door.end_session("s1", "It sleeps.")
    assert world.door.holdings().sessions == ()
    for client in clients[2:]:
        client.close()


def frozen() -> socket.socket:
    """What a container that is paused looks like: the kernel accepts, and nobody speaks."""
    return socket.create_server(("127.0.0.1", 0))


async def test_the_end_of_a_session_reaches_who_is_about_to_enter(world):
    """While its desktop is dialled; nothing of the session is kept, nor asked for again."""
    silent = frozen()
    port = silent.getsockname()[1]
    world.door._binder._limits = replace(SHORT, first_dial=600.0, handshake_timeout=600.0)
    world.gateway.route_ = replace(world.route, endpoints=(Endpoint("127.0.0.1", port),))
    async with world.connect() as client:
        running = asyncio.get_running_loop().create_task(client.run("hello"))
        await until(lambda: world.door._binder._sessions)
        world.door.end_session("s2", "Another's.")
        world.door.end_session("s1", "It was stopped.")
        assert not world.door._binder._sessions
        done = await asyncio.wait_for(running, 5)
        assert (done.stderr, done.exit_status) == ("desk: It was stopped.\n", 1)
        await asyncio.wait_for(client.wait_closed(), 5)
    await until(lambda: not world.door._binder._tasks._tasks)
    assert [e[0] for e in world.gateway.events] == ["route"]
    assert not world.door._binder._sessions
    world.gateway.route_ = world.route
    async with world.connect() as client:
        assert (await client.run("hello")).exit_status == 3
    silent.close()


async def test_nobody_enters_a_session_that_ended_while_they_were_bound(world):
    """The bind itself ends, not only with the client's connection."""
    alive = []

    async def take(identity, *, display, progress, routed):
        routed("s1")
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            alive.append(next(iter(world.door._authenticated)).outer.alive)
            raise

    world.door._binder.take = take
    async with world.connect() as client:
        running = asyncio.get_running_loop().create_task(client.run("hello"))
        await until(lambda: any(b.session_id == "s1" for b in world.door._authenticated))
        world.door.end_session("s1", "It was stopped.")
        await until(lambda: alive)
        assert (await running).exit_status == 1
    assert alive == [True]


async def test_a_spare_in_the_making_ends_with_its_session(world):
    """A desktop that is frozen would hold it up."""
    world.door._binder._limits = replace(SHORT, first_dial=600.0, handshake_timeout=600.0)
    silent = frozen()
    async with world.connect() as client:
        await client.run("hello")
        session = world.door._binder._sessions["s1"]
        await until(lambda: session.spare is not None and session.spare.done())
        session.spare.result().drop()
        port = silent.getsockname()[1]
        session.route = replace(session.route, endpoints=(Endpoint("127.0.0.1", port),))
        session.spare = None
        world.door._binder._make_spare(session)
        dial = session.spare
        await asyncio.sleep(0)
        world.door.end_session("s1", "It was stopped.")
        await until(dial.done)
    assert dial.cancelled()
    silent.close()


async def test_a_spare_is_not_tried_for_long(world):
    """Somebody may wait for it."""
    world.door._binder._limits = replace(SHORT, first_dial=0.05, handshake_timeout=600.0)
    async with world.connect() as client:
        await client.run("hello")
        session = world.door._binder._sessions["s1"]
        await until(lambda: session.spare is not None and session.spare.done())
        session.spare.result().drop()
        silent = frozen()
        port = silent.getsockname()[1]
        session.route = replace(session.route, endpoints=(Endpoint("127.0.0.1", port),))
        session.spare = None
        world.door._binder._make_spare(session)
        await until(session.spare.done)
        assert "no answer" in str(session.spare.result())
        silent.close()


async def test_a_client_that_drains_is_bound_to_nothing(world):
    """After the end of its session, until its connection ends."""
    client = await world.connect()
    process = await client.create_process("sleep")
    await until(lambda: ("attached", "s1") in world.gateway.events)
    world.door.end_session("s1", "It was stopped.")
    assert next(iter(world.door._authenticated)).session_id is None
    other = asyncio.get_running_loop().create_task(client.run("hello"))
    assert (await process.wait()).exit_signal[0] == "KILL"
    await asyncio.wait_for(client.wait_closed(), 5)
    with contextlib.suppress(asyncssh.Error):
        assert (await other).exit_status is None
    assert len(routed(world)) == 1
    async with world.connect() as client:
        assert (await client.run("hello")).exit_status == 3
    assert len(routed(world)) == 2


async def test_a_session_that_is_reached_no_more_is_not_waited_for(world):
    """Neither by a client nor by what the door makes in advance: the second try is on a route that
    was asked for anew.
    """
    silent = frozen()
    port = silent.getsockname()[1]
    ends = (Endpoint("127.0.0.1", port), Endpoint("127.0.0.1", port))
    slow = await World().start(limits=replace(SHORT, first_dial=0.2))
    slow.gateway.route_ = replace(slow.route, endpoints=ends)

    async def lost(session_id):
        slow.gateway.events.append(("lost", session_id))
        slow.gateway.route_ = slow.route
        slow.door.end_session(session_id, "It was lost.")

    slow.gateway.lost = lost
    async with slow.connect() as client:
        async with asyncio.timeout(5):
            assert (await client.run("hello")).exit_status == 3
        assert [e[0] for e in slow.gateway.events] == ["route", "lost", "route", "attached"]
    silent.close()
    await slow.close()


async def test_a_door_reports_who_is_there_and_what_they_do():
    """Until it closes; its name is new with each start."""
    world = await World().start(limits=replace(SHORT, report_every=0.02, report_gap=0.0))
    client = await world.connect()
    process = await client.create_process("cat", stdin=asyncssh.PIPE, encoding=None)
    process.stdin.write(b"x" * 10_000 + b"\n")
    both = {Signal.DATA, Signal.TRANSFER}
    await until(lambda: any(a.ages.keys() == both for _, t in world.gateway.reports for a in t))
    door, (activity,) = world.gateway.reports[-1]
    assert door == world.door.id
    assert activity.kinds == ("exec",)
    assert activity.attachment.session_id == "s1"
    client.abort()
    await until(lambda: world.gateway.reports[-1] == (door, []))
    await world.close()
    reports = len(world.gateway.reports)
    await asyncio.sleep(0)
    assert len(world.gateway.reports) == reports
    assert not world.door._attendance._loop._tasks


async def test_a_reply_to_no_request_is_cut(world):
    """Of a client's, in any number."""
    client = await world.connect()
    client.send_packet(81)
    await asyncio.wait_for(client.wait_closed(), 5)


# ------------------------------------------------------------------------------- authentication


async def test_the_login_name_must_fit_the_key(world):
    """Unknown keys, others' names and malformed names are refused alike."""
    for key, user in ((STRANGER, "desk"), (BOB, "alice"), (ALICE, "root"), (ALICE, "invite+TOKEN")):
        with pytest.raises(asyncssh.PermissionDenied):
            await world.connect(key, user=user)
    async with world.connect(BOB, user="bob+lab") as client:
        await client.run("hello")
    assert routed(world) == ["bob"]


class Prober(SSHClientConnection):
    """A client whose own idea of authentication is replaced."""

    script = staticmethod(lambda connection: None)

    def try_next_auth(self, *, next_method: bool = False) -> None:
        self.script(self)

    def probe(self, key, *, user="desk") -> None:
        """Offer a key without a signature."""
        self._username = user
        data = asyncssh.import_private_key(key.export_private_key()).public_data
        self.send_packet(
            50,
            asyncssh.packet.String(user)
            + asyncssh.packet.String("ssh-connection")
            + asyncssh.packet.String("publickey")
            + b"\0"
            + asyncssh.packet.String("ssh-ed25519")
            + asyncssh.packet.String(data),
        )

    def sign(self, key, *, user="desk", by=None, algorithm=b"ssh-ed25519") -> None:
        """Ask in with `key`, signed by it or by another."""
        self._username = user
        body = (
            bytes((50,))
            + asyncssh.packet.String(user)
            + asyncssh.packet.String("ssh-connection")
            + asyncssh.packet.String("publickey")
            + b"\1"
            + asyncssh.packet.String("ssh-ed25519")
            + asyncssh.packet.String(key.public_data)
        )
        data = asyncssh.packet.String(self._session_id) + body
        self.send_packet(50, body[1:] + asyncssh.packet.String((by or key).sign(data, algorithm)))

    def process_packet(self, pkttype, pktid, packet):
        self.seen.append(pkttype)
        if 50 <= pkttype <= 60 and pkttype != 52:
            return True
        if pkttype == 52:
            self._auth_complete = True
            return True
        return super().process_packet(pkttype, pktid, packet)


async def probing(world, script) -> Prober:
    """A connection on which the script runs once authentication may begin."""
    loop = asyncio.get_running_loop()
    options = await asyncssh.connection.SSHClientConnectionOptions.construct(
        config=None, known_hosts=None, username="desk", client_keys=None, agent_path=None
    )
    _, connection = await loop.create_connection(
        lambda: Prober(loop, options), "127.0.0.1", world.door.port
    )
    connection.seen = []
    connection.script = script
    return connection


async def settle(connection) -> None:
    """Until the door has said something or hung up."""
    await until(lambda: connection._transport is None or {51, 52, 60} & set(connection.seen))


async def test_a_probe_proves_nothing(world):
    """The key is known, nobody is in, nothing was started."""
    connection = await probing(world, lambda c: c.probe(ALICE))
    connection._auth = connection
    await settle(connection)
    assert world.door.stats().authenticated == 0
    connection._auth = None
    connection.abort()


async def test_the_signed_step_alone_names_the_person():
    """Probed as alice, signed as bob: it is bob."""
    world = await World().start()
    with structlog.testing.capture_logs() as lines:

        def script(connection):
            connection.probe(ALICE)
            connection.sign(BOB)

        connection = await probing(world, script)
        connection._auth = connection
        await until(lambda: world.door.stats().authenticated == 1)
    said = [line for line in lines if line["event"] == "client authenticated"]
    assert [line["user"] for line in said] == ["bob"]
    connection._auth = None
    connection.abort()
    await world.close()


async def test_another_s_signature_proves_nobody(world):
    """Alice's key signed by bob's is a failure."""
    connection = await probing(world, lambda c: c.sign(ALICE, by=BOB))
    connection._auth = connection
    await settle(connection)
    assert world.door.stats().authenticated == 0
    connection._auth = None
    connection.abort()


@pytest.mark.parametrize(("algorithm", "good"), [(b"rsa-sha2-256", True), (b"ssh-rsa", False)])
async def test_a_signature_over_sha_1_proves_nobody(world, algorithm, good):
    """RSA keys sign with SHA-2."""
    key = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    world.gateway.keys[key.get_fingerprint()] = "carol"
    connection = await probing(world, lambda c: c.sign(key, algorithm=algorithm))
    connection._auth = connection
    await settle(connection)
    assert world.door.stats().authenticated == good
    connection._auth = None
    connection.abort()


async def test_a_fault_of_the_gateway_s_ends_the_connection_and_is_logged(world):
    """Not silently, and not the door."""

    async def broken(login, key, address):
        raise RuntimeError("fault")

    world.gateway.identify, whole = broken, world.gateway.identify
    with structlog.testing.capture_logs() as lines, pytest.raises(asyncssh.Error):
        await world.connect()
    assert [line["event"] for line in lines] == ["connection failed"]
    world.gateway.identify = whole
    async with world.connect() as client:
        await client.run("desk list")


async def test_a_session_with_a_new_key_is_dialled_with_it(world):
    """What was kept for the old key is dropped."""
    async with world.connect() as client:
        await client.run("hello")
    world.gateway.route_ = replace(
        world.route,
        client_key=STRANGER.export_private_key().decode(),
        endpoints=world.route.endpoints,
    )
    async with world.connect() as client:
        assert "does not answer" in (await client.run("hello")).stderr


async def test_six_failures_end_the_connection(world):
    """As OpenSSH counts: keys that are nobody's, but not the first `none`."""
    keys = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(5)]
    async with world.connect(*keys, ALICE) as client:
        await client.run("desk list")
    with pytest.raises(asyncssh.DisconnectError, match="Too many authentication failures"):
        await world.connect(*keys, STRANGER, ALICE)


@pytest.mark.parametrize("kinds", [range(k, k + 32) for k in range(0, 256, 32)])
async def test_no_message_gets_through_before_authentication(world, kinds):
    """All 256 types: each is ignored, answered as unknown or the end; nobody is in by it."""

    def send_raw(connection, kind) -> None:
        connection._auth_complete = True
        connection.send_packet(kind, bytes(40))
        connection._auth_complete = False
        connection.probe(STRANGER)

    for kind in set(kinds) - {20, 50}:
        connection = await probing(world, lambda c, k=kind: send_raw(c, k))
        connection._auth = connection
        await settle(connection)
        if kind > 79:
            assert connection._transport is None
        connection._auth = None
        connection.abort()
    await until(lambda: world.door.stats().connections == 0)
    assert world.door.stats().authenticated == 0
    assert world.gateway.events == []


async def test_a_packet_length_beyond_the_bound_is_cut_before_it_is_received(world):
    """2^31 bytes are announced, and the door hangs up at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.door.port)
    writer.write(b"SSH-2.0-x\r\n" + b"\x7f\xff\xff\xff" + bytes(60))
    await asyncio.wait_for(reader.read(), 2)
    writer.close()


async def test_strangers_get_so_many_bytes_and_packets(world):
    """A flood of small packets before authentication ends after 200."""
    for flood in (b"\0\0\0\x0c\x06\x02\0\0\0\0" + bytes(6)), bytes(300_000):
        reader, writer = await asyncio.open_connection("127.0.0.1", world.door.port)
        writer.write(b"SSH-2.0-x\r\n" + flood * 400)
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 2)
        writer.close()
    await until(lambda: world.door.stats().connections == 0)


async def test_one_address_has_so_many_places_before_authentication():
    """The next is turned away with a line for people; who leaves makes room."""
    limits = replace(SHORT, unauthenticated_per_address=10, silence=60.0)
    world = await World().start(limits=limits)
    pairs = [await asyncio.open_connection("127.0.0.1", world.door.port) for _ in range(10)]
    for reader, _ in pairs:
        await reader.readline()
    reader, writer = await asyncio.open_connection("127.0.0.1", world.door.port)
    said = await asyncio.wait_for(reader.readline(), 2)
    assert said == b"desk: too many people are logging in; try again in a few seconds.\r\n"
    assert world.door.stats().accepted == 10
    for _, other in (*pairs, (reader, writer)):
        other.close()
    await until(lambda: world.door.stats().connections == 0)
    async with world.connect() as client:
        await client.run("desk list")
    await world.close()


async def test_a_stranger_who_only_sits_there_gives_way():
    """A thousand of them keep nobody out, and each that went is a connection that ended."""
    world = await World().start(limits=replace(SHORT, unauthenticated_per_address=10, silence=0.0))
    pairs = [await asyncio.open_connection("127.0.0.1", world.door.port) for _ in range(50)]
    await until(lambda: world.door.stats().accepted == 50)
    await until(lambda: world.door.stats().connections == 10)
    async with world.connect() as client:
        await client.run("desk list")
    for _, other in pairs:
        other.close()
    await world.close()


STRICT = replace(SHORT, penalty_exempt=())


async def fail(world, times: int) -> None:
    for _ in range(times):
        with pytest.raises(asyncssh.PermissionDenied):
            await world.connect(STRANGER)
        await until(lambda: world.door.stats().connections == 0)


async def test_a_source_that_fails_too_often_is_turned_away():
    """With a line for people; the log and the broker are told, and nothing is made for it."""
    world = await World().start(limits=replace(STRICT, penalty_authfail=10.0, penalty_min=19.0))
    with structlog.testing.capture_logs() as lines:
        await fail(world, 2)
        accepted = world.door.stats().accepted
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", world.door.port)
            said = await asyncio.wait_for(reader.readline(), 2)
            assert said == b"desk: your address failed too often; try again in a few minutes.\r\n"
            writer.close()
    assert world.door.stats().accepted == accepted
    said = [line for line in lines if line["log_level"] == "warning"]
    assert [line["event"] for line in said] == ["source penalised", "turned away"]
    assert said[0]["source"] == "127.0.0.1"
    assert said[0]["offence"] == "authfail"
    assert 19 <= said[0]["seconds"] <= 20
    await until(lambda: ("penalise", "127.0.0.1") in world.gateway.events)
    await world.close()


async def test_what_another_door_found_counts_here():
    """And nonsense does not."""
    world = await World().start(limits=STRICT)
    world.door.penalise(Penalty(source="nowhere", offence="authfail", seconds=60.0))
    async with world.connect() as client:
        await client.run("desk list")
    world.door.penalise(Penalty(source="127.0.0.0/32", offence="authfail", seconds=60.0))
    world.door.penalise(Penalty(source="127.0.0.1", offence="authfail", seconds=60.0))
    with pytest.raises((asyncssh.Error, OSError)):
        await world.connect()
    await world.close()


async def offences(script, *, world=None, **numbers) -> list[str]:
    """What a connection that does that is found guilty of."""
    found = []
    made = world or await World().start(limits=replace(STRICT, **numbers))
    made.door._entrance._penalties.offend = lambda _source, offence, _now: found.append(offence)
    reader, writer = await asyncio.open_connection("127.0.0.1", made.door.port)
    await reader.readline()
    await script(made, reader, writer)
    writer.close()
    await until(lambda: made.door.stats().connections == 0)
    await made.close()
    return [str(offence) for offence in found]


async def cut(reader) -> None:
    with contextlib.suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), 3)


async def leave(world, reader, writer) -> None:
    """Say nothing at all."""


async def speak_http(world, reader, writer) -> None:
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await cut(reader)


async def announce_much(world, reader, writer) -> None:
    writer.write(b"SSH-2.0-x\r\n" + b"\x7f\xff\xff\xff" + bytes(60))
    await cut(reader)


async def flood(world, reader, writer) -> None:
    writer.write(b"SSH-2.0-x\r\n" + b"\0\0\0\x0c\x06\x02\0\0\0\0" * 400 + bytes(2400))
    await cut(reader)


async def agree_on_nothing(world, reader, writer) -> None:
    with contextlib.suppress(asyncssh.Error):
        await world.connect(encryption_algs=["chacha20-poly1305@openssh.com"])


async def sit(world, reader, writer) -> None:
    await cut(reader)


@pytest.mark.parametrize(
    ("script", "guilty"),
    [
        (leave, ["noauth"]),
        (speak_http, ["noauth"]),
        (announce_much, ["violation"]),
        (flood, ["violation"]),
        (agree_on_nothing, ["noauth", "noauth"]),
    ],
)
async def test_each_end_before_authentication_has_its_offence(script, guilty):
    assert await offences(script) == guilty


async def test_who_is_late_is_guilty_of_that_alone():
    """Though it is the door that hangs up."""
    assert await offences(sit, login_timeout=0.1) == ["grace_exceeded"]


@pytest.mark.parametrize("keys", [1, 7])
async def test_failed_keys_are_one_offence_however_many(keys):
    """An agent with ten keys is cut at the sixth."""
    strangers = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(keys)]

    async def script(world, reader, writer) -> None:
        with pytest.raises(asyncssh.Error):
            await world.connect(*strangers)

    assert sorted(await offences(script)) == ["authfail", "noauth"]


async def test_who_proves_themselves_is_guilty_of_nothing():
    """By whichever of their keys; and others behind the address weigh less from then on."""

    async def script(world, reader, writer) -> None:
        async with world.connect(STRANGER, ALICE) as client:
            await client.run("desk list")
        assert world.door._entrance._penalties._trusted

    assert await offences(script) == ["noauth"]


async def test_a_broker_that_is_away_makes_nobody_guilty():
    """Neither by its answer nor by its silence."""
    for silent in (False, True):

        async def down(login, key, address, silent=silent):
            if silent:
                await asyncio.sleep(30)
            raise CapacityExhausted

        async def script(world, reader, writer, down=down) -> None:
            world.gateway.identify = down
            with pytest.raises((asyncssh.Error, OSError)):
                await world.connect()

        # The other one, which says nothing, is late as well when the broker is.
        late = ["grace_exceeded" if silent else "noauth"]
        assert await offences(script, login_timeout=0.5) == late


async def test_a_door_that_closes_makes_nobody_guilty():
    async def script(world, reader, writer) -> None:
        await world.door.close(0.1)

    assert await offences(script) == []


async def test_a_fault_of_the_door_s_own_is_the_worst_offence():
    async def broken(login, key, address):
        raise RuntimeError("fault")

    async def script(world, reader, writer) -> None:
        world.gateway.identify = broken
        with pytest.raises(asyncssh.Error):
            await world.connect()

    with structlog.testing.capture_logs():
        assert sorted(await offences(script)) == ["crash", "noauth"]


async def test_one_person_s_connections_are_bounded():
    """One more is told why, others come in, and who leaves makes room."""
    world = await World().start(limits=replace(SHORT, connections_per_user=2))
    first, second = await world.connect(), await world.connect()
    lost = asyncio.get_running_loop().create_future()

    class Listener(asyncssh.SSHClient):
        def connection_lost(self, error) -> None:
            lost.set_result(error)

    with contextlib.suppress(asyncssh.Error, TimeoutError):
        third = await world.connect(client_factory=Listener)
        await asyncio.wait_for(third.wait_closed(), 5)
    assert await asyncio.wait_for(lost, 5) is None
    assert world.door.stats().authenticated == 2
    async with world.connect(BOB) as other:
        await other.run("desk list")
    second.close()
    await until(lambda: world.door.stats().connections == 1)
    async with world.connect() as again:
        assert (await again.run("desk list")).exit_status == 7
    first.close()
    await world.close()


async def test_connections_in_all_are_bounded_by_descriptors(monkeypatch):
    """One more is turned away at accept, proven or not; who leaves makes room."""
    monkeypatch.setattr(descriptors, "raise_limit", lambda: 256 + 3 * 2)
    world = await World().start()
    first, second = await world.connect(), await world.connect()
    with pytest.raises((asyncssh.Error, OSError)):
        await world.connect(BOB)
    second.close()
    await until(lambda: world.door.stats().connections == 1)
    async with world.connect(BOB) as other:
        assert (await other.run("desk list")).exit_status == 7
    first.close()
    await world.close()


@contextlib.asynccontextmanager
async def desktop_that_says(words: bytes):
    """An endpoint that writes it to whoever comes."""

    async def answer(reader, writer) -> None:
        writer.write(words)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])


async def test_a_desktop_that_speaks_nonsense_is_unreachable(world):
    """The next endpoint is tried, and no traceback is logged."""
    async with desktop_that_says(b"SSH-2.0-\xff\r\n") as endpoint:
        world.gateway.route_ = replace(world.route, endpoints=(endpoint, world.route.endpoints[1]))
        async with world.connect() as client:
            assert (await client.run("hello")).exit_status == 3
        world.gateway.route_ = replace(world.route, session_id="s2", endpoints=(endpoint,))
        with structlog.testing.capture_logs() as lines:
            async with world.connect() as client:
                assert "does not answer" in (await client.run("hello")).stderr
    assert not [line for line in lines if line["log_level"] == "error"]


async def test_what_a_desktop_says_fills_no_log(world):
    """200 characters of it, fit to print."""
    said = b"\0\0\0\2" + pack_string(b"\x1b[2J" + b"x" * 2000) + pack_string(b"en")
    async with world.connect() as client:
        await client.create_process("sleep")
        await until(lambda: ("attached", "s1") in world.gateway.events)
        with structlog.testing.capture_logs() as lines:
            for connection in list(world.desktop_connections):
                connection.send_packet(1, said)
            await asyncio.wait_for(client.wait_closed(), 5)
    (line,) = [line for line in lines if line["event"] == "desktop lost"]
    assert len(line["problem"]) == 200
    assert line["problem"].isprintable()


async def test_who_does_not_authenticate_in_time_is_cut():
    """The login timeout is the door's own."""
    world = await World().start(limits=replace(SHORT, login_timeout=0.1))
    reader, writer = await asyncio.open_connection("127.0.0.1", world.door.port)
    await asyncio.wait_for(reader.read(), 2)
    writer.close()
    await world.close()


async def test_logs_tell_the_story_and_no_secret(world):
    """Authenticated, attached, gone; no command, key or token."""
    with structlog.testing.capture_logs() as lines:
        async with world.connect() as client:
            await client.run("xpra start --password=geheim")
        with pytest.raises(asyncssh.PermissionDenied):
            await world.connect(user="invite+geheim")
        await until(lambda: world.door.stats().connections == 0)
    events = [line["event"] for line in lines]
    assert events == ["client authenticated", "client attached", "client gone"]
    assert "geheim" not in repr(lines)
    assert ALICE.get_fingerprint() not in repr(lines)
