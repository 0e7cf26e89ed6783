"""The broker's connections into desktops, against real sshds in this process."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import asyncssh
import pytest

from broker.core.errors import StateUnusable
from broker.core.gateway import Endpoint, WordReply
from broker.core.model import Session, SessionId, SessionState
from broker.service import commands, link
from broker.service.files import Access
from broker.service.inside import Notice, Question, SshInside
from broker.system.tasks import Tasks
from tests.clocks import START, ManualClock
from tests.service.harness import PATIENCE
from tests.service.test_screensaver import EVENT, entry, extension, greeting, info

NOTICE = Notice("Soon", "It sleeps in 10 min.", extend=True, lasts=600.0)


def session(number=1):
    return Session(
        id=SessionId(f"s{number}"),
        desktop_id="d1",
        state=SessionState.READY,
        host="h",
        image="i",
        port=20000,
        display=1000,
        address=None,
        deadline=None,
        kept_until=None,
        reason=None,
        created_at=START,
        changed_at=START,
    )


ONE = session()


class Desktop(asyncssh.SSHServer):
    """An sshd that does what the test says."""

    def __init__(self, world):
        self.world = world

    def connection_made(self, conn):
        self.world.connections.append(conn)

    def connection_lost(self, exc):
        self.world.lost += 1

    def unix_server_requested(self, listen_path):
        return self.world.listens

    def unix_connection_requested(self, dest_path):
        self.world.opened.append(dest_path)
        return self.world.x_server


class World:
    """A desktop's sshd, and the broker that holds a connection to it."""

    def __init__(self, directory):
        self.connections, self.lost = [], 0
        self.opened, self.told, self.asked = [], [], []
        self.listens = True
        self.idle = 61_500
        self.x_answers = asyncio.Event()
        self.x_answers.set()
        self.status = 0
        self.hanging: asyncio.Event | None = None
        self.authority = directory / "server.auth"
        self.authority.write_bytes(entry(b"1000"))
        self.socket = directory / "broker.sock"
        self.clock = ManualClock()
        self.host, self.client = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
        self.endpoints = []
        self.reached = 0
        self.inside = SshInside(reach=self.reach, answer=self.answer, clock=self.clock)

    def reach(self, wanted):
        self.reached += 1
        access = Access(
            host_key=self.host.export_public_key().decode().strip(),
            client_key=self.client.export_private_key().decode(),
        )
        return self.endpoints, access

    async def answer(self, session_id, argv):
        self.asked.append((session_id, list(argv)))
        return WordReply(stdout="until nine\n", stderr="", status=0)

    async def x_server(self, reader, writer):
        await reader.read(4096)
        await self.x_answers.wait()
        try:
            writer.write(greeting() + EVENT + extension() + info(self.idle))
            await reader.read(-1)
        finally:
            writer.close()

    async def run_program(self, process):
        if self.hanging is not None:
            await self.hanging.wait()
        said = await process.stdin.read()
        self.told.append((process.command, json.loads(said) if said else None))
        process.exit(self.status)

    @property
    def open(self):
        return len(self.connections) - self.lost

    async def ask(self, *argv):
        """What the `desk` command does."""
        reader, writer = await asyncio.open_unix_connection(str(self.socket))
        writer.write(json.dumps({"argv": argv}).encode() + b"\n")
        try:
            return json.loads(await reader.readline() or "null")
        finally:
            writer.close()
            await writer.wait_closed()


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture
async def world(directory, monkeypatch):
    """A desktop that lets the broker in."""
    made = World(directory)
    monkeypatch.setattr(link, "AUTHORITY", str(made.authority))
    monkeypatch.setattr(commands, "SOCKET", str(made.socket))
    allowed = directory / "authorized_keys"
    allowed.write_bytes(made.client.export_public_key())
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=lambda: Desktop(made),
        server_host_keys=[made.host],
        authorized_client_keys=str(allowed),
        process_factory=made.run_program,
        sftp_factory=True,
    )
    made.endpoints.append(Endpoint("127.0.0.1", server.get_port()))
    yield made
    await made.inside.close()
    made.x_answers.set()
    server.close()
    for connection in made.connections:
        connection.abort()
        await connection.wait_closed()
    await server.wait_closed()


async def hold(world, *sessions):
    """To hold, so long that whoever woke them had their time."""
    asleep = world.clock.sleepers
    world.inside.hold(sessions)
    await until(lambda: world.clock.sleepers == asleep + len(sessions))
    world.clock.advance(link.MANNERS)
    await asyncio.sleep(0)


async def held(world):
    """Connected, and the desktop's sshd listens."""
    await hold(world, ONE)
    await until(world.socket.exists)


# ------------------------------------------------------------------------------ connections


async def test_what_is_held_has_one_connection(world):
    """However often it is said."""
    await held(world)
    world.inside.hold([ONE])
    assert await world.inside.input_age(ONE.id) == 61.5
    assert len(world.connections) == 1


async def test_whoever_woke_it_comes_first(world):
    """A desktop that has just started or woken has work enough for its processor."""
    world.inside.hold([ONE])
    await until(lambda: world.clock.sleepers == 1)
    world.clock.advance(link.MANNERS - 0.01)
    for _ in range(50):
        await asyncio.sleep(0)
    assert world.reached == 0
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(world.inside.input_age(ONE.id))
        world.clock.advance(0.01)
    assert asked.result() == 61.5


async def test_what_is_held_no_more_is_left(world):
    """And held again, it is dialled again."""
    await held(world)
    world.inside.hold([])
    await until(lambda: world.open == 0)
    assert await world.inside.input_age(ONE.id) is None
    assert not await world.inside.tell(ONE.id, NOTICE)
    await hold(world, ONE)
    assert await world.inside.input_age(ONE.id) == 61.5


async def test_leaving_ends_it_at_once(world):
    """Before a freeze nothing may be left that waits for the desktop; a second time is nothing."""
    await held(world)
    await world.inside.leave(ONE.id)
    await until(lambda: world.open == 0)
    await world.inside.leave(ONE.id)
    assert await world.inside.input_age(ONE.id) is None
    assert world.clock.sleepers == 0


async def test_a_connection_that_broke_is_made_again(world):
    """After a pause that is short the first time."""
    await held(world)
    world.connections[0].abort()
    await until(lambda: world.clock.sleepers == 1)
    assert await world.inside.input_age(ONE.id) is None
    world.clock.advance(1)
    await until(lambda: len(world.connections) == 2)
    assert await world.inside.input_age(ONE.id) == 61.5


async def test_a_desktop_that_cannot_be_reached_is_dialled_ever_less_often(world):
    """Up to once a minute; one that stood a minute begins anew."""
    reachable, world.endpoints = world.endpoints, [Endpoint("127.0.0.1", 1)]
    await hold(world, ONE)
    for dials, pause in enumerate((1, 2, 4, 8, 16, 32, 60, 60), start=1):
        await until(lambda: world.clock.sleepers == 1)
        assert world.reached == dials
        world.clock.advance(pause - 0.5)
        await asyncio.sleep(0)
        assert world.reached == dials
        if dials == 8:
            world.endpoints = reachable
        world.clock.advance(0.5)
        await until(lambda dials=dials: world.reached == dials + 1)
    await until(world.socket.exists)
    world.clock.advance(60)
    world.connections[0].abort()
    await until(lambda: world.clock.sleepers == 1)
    world.clock.advance(1)
    await until(lambda: len(world.connections) == 2)


async def test_a_session_without_keys_is_tried_again(world, monkeypatch):
    """Its files may be gone from this host; nothing is raised."""

    def gone(_):
        raise StateUnusable("gone")

    monkeypatch.setattr(world.inside, "_reach", gone)
    await hold(world, ONE)
    assert await world.inside.input_age(ONE.id) is None
    await until(lambda: world.clock.sleepers == 1)


async def test_another_hosts_key_is_no_desktop(world):
    """Whoever listens there is asked nothing."""
    world.host = asyncssh.generate_private_key("ssh-ed25519")
    await hold(world, ONE)
    assert await world.inside.input_age(ONE.id) is None
    assert world.opened == []


async def test_only_so_many_are_dialled_at_once(world):
    """A broker that comes up among many desktops."""
    silent = []

    async def accept(_, writer):
        silent.append(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    world.endpoints = [Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])]
    await hold(world, *(session(number) for number in range(40)))
    await until(lambda: len(silent) == 16)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(silent) == world.reached == 16
    silent[0].close()
    await until(lambda: len(silent) == 17)
    await world.inside.close()
    server.close()
    for writer in silent:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for writer in silent), return_exceptions=True)
    await server.wait_closed()


# -------------------------------------------------------------------------------- idle time


async def test_the_idle_time_is_the_x_servers(world):
    """Asked of the display's own socket, with its own cookie, which is read once."""
    await held(world)
    assert await world.inside.input_age(ONE.id) == 61.5
    world.authority.unlink()
    world.idle = 0
    assert await world.inside.input_age(ONE.id) == 0.0
    assert world.opened == ["/tmp/.X11-unix/X1000"] * 2


async def test_a_question_leaves_no_channel(world):
    """A thousand questions later there is still room for one more."""
    await held(world)
    await world.inside.input_age(ONE.id)
    before = len(world.connections[0]._channels)
    for _ in range(20):
        await world.inside.input_age(ONE.id)
    assert len(world.connections[0]._channels) == before


@pytest.mark.parametrize("broken", ["no socket", "no cookie file", "no display"])
async def test_a_desktop_without_an_x_server_has_no_idle_time(world, broken):
    """It starts just now, or is broken; the connection stays."""
    wanted = ONE
    if broken == "no socket":
        world.x_server = False
    elif broken == "no cookie file":
        world.authority.unlink()
    else:
        wanted = replace(ONE, display=None)
    await hold(world, wanted)
    await until(world.socket.exists)
    assert await world.inside.input_age(ONE.id) is None
    assert world.open == 1


async def test_nonsense_is_no_idle_time_and_the_cookie_is_read_anew(world):
    """A refusal may mean that there is another cookie now."""
    await held(world)

    async def refuse(reader, writer):
        await reader.read(4096)
        writer.write(greeting(accepted=0))
        writer.close()

    good, world.x_server = world.x_server, refuse
    assert await world.inside.input_age(ONE.id) is None
    world.x_server = good
    world.authority.unlink()
    assert await world.inside.input_age(ONE.id) is None
    world.authority.write_bytes(entry(b"1000"))
    assert await world.inside.input_age(ONE.id) == 61.5


async def test_an_x_server_that_hangs_is_asked_once(world, monkeypatch):
    """Callers give up in time, and the next ones share the question that is under way."""
    monkeypatch.setattr(link, "AGE_WITHIN", 0.02)
    await held(world)
    world.x_answers.clear()
    for _ in range(3):
        assert await world.inside.input_age(ONE.id) is None
    assert len(world.opened) == 1
    monkeypatch.setattr(link, "AGE_WITHIN", PATIENCE)
    world.x_answers.set()
    assert await world.inside.input_age(ONE.id) == 61.5
    assert world.open == 1


async def test_a_question_without_an_answer_costs_the_connection(world, monkeypatch):
    """Its channel could not be taken back otherwise."""
    monkeypatch.setattr(link, "_PATIENCE", 0.05)
    await held(world)
    world.x_answers.clear()
    assert await world.inside.input_age(ONE.id) is None
    await until(lambda: world.open == 0)


# ---------------------------------------------------------------------------------- notices


async def test_a_notice_goes_in_as_data(world):
    """Nothing of it stands in the command line."""
    await held(world)
    assert await world.inside.tell(ONE.id, NOTICE)
    assert world.told == [
        (
            "/usr/local/lib/desk/notify",
            {"title": "Soon", "text": "It sleeps in 10 min.", "extend": True, "lasts": 600.0},
        )
    ]


async def test_a_notice_that_nobody_could_see_is_not_told(world):
    """The program inside says by its status whether anybody could."""
    await held(world)
    world.status = 1
    assert not await world.inside.tell(ONE.id, NOTICE)


async def test_notices_do_not_pile_up(world, monkeypatch):
    """A desktop that takes none gets a few and no more."""
    monkeypatch.setattr(link, "TELL_WITHIN", 0.02)
    await held(world)
    began, gate = [], asyncio.Event()

    async def hang(process):
        began.append(await process.stdin.read())
        await gate.wait()
        process.exit(0)

    monkeypatch.setattr(world.connections[0], "_process_factory", hang)
    answers = [await world.inside.tell(ONE.id, NOTICE) for _ in range(6)]
    assert answers == [False] * 6
    assert len(began) == 4
    gate.set()
    monkeypatch.setattr(link, "TELL_WITHIN", PATIENCE)
    await until(lambda: world.inside._links[ONE.id]._notices == 0)
    assert await world.inside.tell(ONE.id, NOTICE)


# ------------------------------------------------------------------------- the desk command


async def test_the_command_inside_is_answered_for_its_session(world):
    """Whatever it says of itself."""
    await held(world)
    assert (await world.ask("extend", "2h"))["stdout"] == "until nine\n"
    assert world.asked == [(ONE.id, ["extend", "2h"])]


async def test_calls_leave_no_channel(world):
    """Each is closed on both sides."""
    await held(world)
    for _ in range(10):
        await world.ask("status")
    await until(lambda: not world.connections[0]._channels)


async def test_more_than_it_may_is_still_answered(world):
    """Thirty a minute, and a sentence for the next."""
    await held(world)
    for _ in range(commands.PER_MINUTE):
        assert (await world.ask("status"))["status"] == 0
    assert "times a minute" in (await world.ask("status"))["stderr"]
    assert world.open == 1


async def test_many_calls_at_once_end_nothing(world):
    """Those past the sixteenth are closed unheard, and the others go on."""
    await held(world)
    streams = [await asyncio.open_unix_connection(str(world.socket)) for _ in range(64)]
    assert await asyncio.wait_for(streams[-1][0].read(), PATIENCE) == b""
    assert world.open == 1
    world.asked.clear()
    for stream in streams[:16]:
        stream[1].write(b'{"argv": []}\n')
    replies = [await asyncio.wait_for(stream[0].readline(), PATIENCE) for stream in streams[:16]]
    assert all(replies)
    for _, writer in streams:
        writer.close()
        await writer.wait_closed()


class Unclosed:
    """A channel that the other side never closes, and the connection that it belongs to."""

    def __init__(self):
        self.aborted = False

    def abort(self):
        self.aborted = True

    def close(self):
        pass

    async def wait_closed(self):
        await asyncio.Event().wait()


async def test_an_sshd_that_keeps_its_channels_is_cut_off():
    """It can open them for ever, and each takes memory of the broker's."""
    peer, tasks = Unclosed(), Tasks()
    calls = link._Calls(peer, commands.Desk(None, ManualClock()), tasks)
    for _ in range(64):
        calls.take(None, peer)
        assert not peer.aborted
    calls.take(None, peer)
    assert peer.aborted
    await tasks.close()


async def test_where_the_sshd_does_not_listen_the_rest_works(world):
    """A tenant can put a directory in the socket's place."""
    world.listens = False
    await hold(world, ONE)
    assert await world.inside.input_age(ONE.id) == 61.5
    assert not world.socket.exists()


async def test_closing_leaves_nothing(world):
    """No connection, no question under way, nothing that waits to dial."""
    await held(world)
    world.x_answers.clear()
    asking = asyncio.get_running_loop().create_task(world.inside.input_age(ONE.id))
    await until(lambda: world.opened)
    await world.inside.close()
    assert await asking is None
    await until(lambda: world.open == 0)
    assert world.clock.sleepers == 0


async def test_a_question_is_told_by_its_buttons_and_words(world):
    """As a notice with whom it is about; where nobody is connected, nobody is asked."""
    question = Question("May they?", "Eve asks.", "0123456789abcdef", 60.0)
    assert not await world.inside.ask(ONE.id, question)
    await held(world)
    assert await world.inside.ask(ONE.id, question)
    told = {
        "title": "May they?",
        "text": "Eve asks.",
        "extend": False,
        "about": "0123456789abcdef",
        "lasts": 60.0,
    }
    assert world.told == [(link.NOTIFY, told)]
    world.status = 1
    assert not await world.inside.ask(ONE.id, question)


async def test_another_size_is_a_command_of_the_image(world):
    """It succeeds as that does; none where nobody is connected."""
    assert not await world.inside.resize(ONE.id, 1600, 900)
    await held(world)
    assert await world.inside.resize(ONE.id, 1600, 900)
    assert world.told == [("/usr/local/bin/docker-desktop -s 1600x900", None)]
    world.status = 2
    assert not await world.inside.resize(ONE.id, 1600, 900)


async def test_only_so_many_sizes_are_under_way(world, monkeypatch):
    """A desktop that answers nothing keeps few busy."""
    monkeypatch.setattr(link, "RESIZE_WITHIN", 0.01)
    await held(world)
    started = asyncio.Event()
    world.hanging = started
    for _ in range(link._MOST_SIZES + 2):
        assert not await world.inside.resize(ONE.id, 800, 600)
    started.set()
    await until(lambda: len(world.told) == link._MOST_SIZES)
