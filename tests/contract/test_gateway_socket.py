"""What the gateway over a socket promises beside: brokers that go and come, doors that die, bounds."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from contextlib import suppress
from dataclasses import replace

import aiohttp
import pytest
import structlog
from aiohttp import web

from broker.core import messages
from broker.core.errors import (
    BadRequest,
    BrokerUnavailable,
    CapacityExhausted,
    DeskError,
    EngineUnavailable,
    Interrupted,
    ShuttingDown,
)
from broker.core.gateway import (
    CodeWanted,
    Holdings,
    HttpReply,
    Invited,
    Load,
    Login,
    WordReply,
)
from broker.core.messages import (
    CALL,
    PROTOCOL,
    TO_BROKER,
    Ask,
    Attached,
    Cancel,
    Carries,
    Hello,
    Identify,
    Report,
    SayWord,
)
from broker.door import gateway as door_side
from broker.http import caller, doorstep
from broker.http import gateway as broker_side
from broker.system import peer
from broker.system.line import ASIDE
from broker.system.peer import Peer, child_of
from tests.contract.gateways import (
    ADDRESS,
    ANN,
    KEY,
    LOGIN,
    PENALTY,
    ROUTE,
    SEAT,
    FakeDoor,
    Pair,
    ScriptedGateway,
    activity,
    attachment,
    until,
)

SHORT = 0.02
NOBODY = Holdings(identities=(), sessions=())


@pytest.fixture
def broker():
    return ScriptedGateway()


@pytest.fixture
async def pair(tmp_path, broker):
    made = Pair(tmp_path, broker)
    yield made
    await made.close()


async def answer(call):
    async with asyncio.timeout(10):
        return await call


def calls_of(remote, said):
    """Each call that waits for a broker, by its name."""
    return {
        "identify": lambda: remote.identify(LOGIN, KEY, ADDRESS),
        "check_password": lambda: remote.check_password(LOGIN, "secret", ADDRESS),
        "check_code": lambda: remote.check_code("t1", "123456", ADDRESS),
        "redeem": lambda: remote.redeem(LOGIN, KEY, ADDRESS),
        "route": lambda: remote.route(ANN, display=None, progress=said.append),
        "seat": lambda: remote.seat(
            "secret", ADDRESS, desktop_id="d1", look=False, wake=True, progress=said.append
        ),
        "lost": lambda: remote.lost("s1"),
        "http": lambda: remote.http("GET", "/readyz"),
        "word": lambda: remote.word(ANN, ["stop"]),
    }


ANSWERS = {
    "identify": ANN,
    "check_password": CodeWanted("t1"),
    "check_code": ANN,
    "redeem": ANN,
    "route": ROUTE,
    "seat": SEAT,
    "lost": None,
    "http": HttpReply(status=200, content_type="text/plain", body=bytes(range(256))),
    "word": WordReply(stdout="done\n", stderr="", status=0),
}


#: What counts once: an invite, a one-time code.
ONCE = ("redeem", "check_code")


def telling(remote):
    """Each call that waits for none."""
    return [
        lambda: remote.proven(ANN),
        lambda: remote.attached("door1", attachment()),
        lambda: remote.detached("door1", "a"),
        lambda: remote.report("door1", [activity()]),
        lambda: remote.penalise("door1", PENALTY),
    ]


# ------------------------------------------------------------------- a broker that goes and comes


async def test_http_waits_shortly_for_a_broker_that_is_away(pair):
    """Who asks how Desk is wants to hear so; who logs in waits on."""
    remote = pair.dial(passed_on=SHORT)
    waiting = pair.begin(remote.identify(LOGIN, KEY, ADDRESS))
    assert isinstance(await answer(pair.begin(remote.http("GET", "/readyz"))), BrokerUnavailable)
    assert not waiting.done()
    await pair.open()
    assert await answer(waiting) == ANN


@pytest.mark.parametrize("call", ANSWERS)
async def test_a_call_waits_for_a_broker_that_is_away(pair, call):
    """The connection waits in the socket's backlog, and is the first that the broker takes."""
    remote = pair.dial()
    waiting = pair.begin(calls_of(remote, [])[call]())
    await asyncio.sleep(SHORT)
    assert not waiting.done()
    await pair.open()
    assert await answer(waiting) == ANSWERS[call]


@pytest.mark.parametrize("end", ["shut", "die"])
@pytest.mark.parametrize("call", [name for name in ANSWERS if name not in {"word", *ONCE}])
async def test_what_was_in_flight_is_asked_of_the_next_broker(pair, broker, call, end):
    """Whether the broker said goodbye or not."""
    await pair.open()
    remote = await pair.connected()
    gate = broker.hold(call)
    waiting = pair.begin(calls_of(remote, [])[call]())
    await until(lambda: broker.count(call) == 1)
    if end == "die":
        pair.die()
    await pair.shut()
    assert broker.cancelled == [call]
    gate.set()
    await pair.open()
    assert await answer(waiting) == ANSWERS[call]
    assert broker.count(call) == 2


@pytest.mark.parametrize("end", ["shut", "die"])
@pytest.mark.parametrize("as_json", [False, True])
async def test_a_word_that_was_in_flight_is_not_said_again(pair, broker, end, as_json):
    """It may be done; the person is told so, in the form that was asked for."""
    await pair.open()
    remote = await pair.connected()
    broker.hold("word")
    argv = ["stop", "--json"] if as_json else ["stop"]
    waiting = pair.begin(remote.word(ANN, argv))
    await until(lambda: broker.count("word") == 1)
    if end == "die":
        pair.die()
    await pair.shut()
    reply = await answer(waiting)
    await pair.open()
    await answer(remote.identify(LOGIN, KEY, ADDRESS))
    assert broker.count("word") == 1
    assert reply.status == 1
    if as_json:
        assert json.loads(reply.stdout) == {"error": "interrupted", "detail": Interrupted.default}
    else:
        assert reply.stderr == f"desk: {Interrupted.default} (interrupted)\n"


@pytest.mark.parametrize("call", ONCE)
async def test_what_counts_once_is_not_asked_again(pair, broker, call):
    """The first broker may have taken it: asking the next one would find it used."""
    await pair.open()
    remote = await pair.connected()
    broker.hold(call)
    waiting = pair.begin(calls_of(remote, [])[call]())
    await until(lambda: broker.count(call) == 1)
    await pair.shut()
    assert isinstance(await answer(waiting), Interrupted)
    await pair.open()
    await answer(remote.identify(LOGIN, KEY, ADDRESS))
    assert broker.count(call) == 1


@pytest.mark.parametrize("found", [ANN, CodeWanted("t1"), Invited(), None], ids=repr)
async def test_whatever_a_key_would_do_is_told(pair, broker, found):
    await pair.open()
    broker.answer_to_key = found
    assert await answer((await pair.connected()).identify(LOGIN, KEY, ADDRESS)) == found


async def test_secrets_are_in_no_representation(pair, broker):
    """A log line or a traceback would show them."""
    secrets = "pass-word", "the-ticket", "the-code", "the-token"
    asked = [
        messages.CheckPassword(LOGIN, secrets[0], ADDRESS),
        messages.CheckCode(secrets[1], secrets[2], ADDRESS),
        messages.Redeem(Login(None, None, invite=secrets[3]), KEY, ADDRESS),
        CodeWanted(secrets[1]),
    ]
    assert not any(secret in repr(asked) for secret in secrets)


async def test_what_changes_something_by_http_is_not_asked_again(pair, broker):
    await pair.open()
    remote = await pair.connected()
    broker.hold("http")
    waiting = pair.begin(remote.http("POST", "/x"))
    await until(lambda: broker.count("http") == 1)
    await pair.shut()
    assert isinstance(await answer(waiting), Interrupted)


async def test_who_waits_for_a_desktop_is_told_that_desk_restarts(pair, broker):
    """Once, between what either broker says of the desktop; not while nothing is amiss."""
    await pair.open()
    remote = await pair.connected()
    broker.sentences = ("Starting …",)
    gate, said = broker.hold("route"), []
    waiting = pair.begin(calls_of(remote, said)["route"]())
    await until(lambda: said == ["Starting …"])
    await pair.shut()
    await until(lambda: len(said) == 2)
    gate.set()
    await pair.open()
    assert await answer(waiting) == ROUTE
    assert said == ["Starting …", "Desk is restarting …", "Starting …"]


@pytest.mark.parametrize("call", [name for name in ANSWERS if name != "word"])
async def test_the_wait_for_a_broker_ends(pair, call):
    """With one sentence and the code for it."""
    refused = await answer(pair.begin(calls_of(pair.dial(wait=SHORT), [])[call]()))
    assert refused.told == f"{BrokerUnavailable.default} (broker_unavailable)"


async def test_a_word_that_no_broker_came_for_is_a_reply(pair):
    reply = await answer(pair.dial(wait=SHORT).word(ANN, ["list"]))
    assert reply.stderr == f"desk: {BrokerUnavailable.default} (broker_unavailable)\n"


async def test_what_tells_of_attachments_waits_for_no_broker(pair):
    remote = pair.dial()
    for tell in telling(remote):
        with pytest.raises(BrokerUnavailable):
            await tell()
    await pair.open()
    await answer(remote.identify(LOGIN, KEY, ADDRESS))
    await pair.shut()
    await until(lambda: remote._link is None)
    for tell in telling(remote):
        with pytest.raises(BrokerUnavailable):
            await tell()


async def test_what_was_told_into_a_breaking_connection_fails(pair, broker):
    await pair.open()
    remote = await pair.connected()
    broker.hold("report")
    waiting = pair.begin(remote.report("door1", [activity()]))
    await until(lambda: broker.count("report") == 1)
    await pair.shut()
    assert isinstance(await answer(waiting), BrokerUnavailable)


async def test_a_report_that_is_not_answered_in_time_fails(pair, broker):
    """And is taken back."""
    await pair.open()
    remote = await pair.connected(told=SHORT)
    broker.hold("report")
    with pytest.raises(BrokerUnavailable):
        await answer(remote.report("door1", []))
    await until(lambda: broker.cancelled == ["report"])


async def test_each_broker_is_told_the_whole_at_once(pair):
    door = FakeDoor()
    pair.dial(door)
    for times in (1, 2, 3):
        await pair.open()
        await until(lambda times=times: door.reports == times)
        await pair.shut()


async def test_what_each_broker_dies_of_is_not_asked_for_ever(pair, broker):
    await pair.open()
    remote = await pair.connected()

    async def deadly(_login, _key, _address):
        broker.calls.append(("identify",))
        pair.die()
        await asyncio.Event().wait()

    broker.identify = deadly
    refused = await answer(pair.begin(remote.identify(LOGIN, KEY, ADDRESS)))
    assert isinstance(refused, BrokerUnavailable)
    assert broker.count("identify") == door_side.TRIES


async def test_a_door_that_closes_waits_for_nobody(pair):
    remote = pair.dial()
    waiting = pair.begin(remote.identify(LOGIN, KEY, ADDRESS))
    await asyncio.sleep(SHORT)
    remote.running.cancel()
    assert isinstance(await answer(waiting), BrokerUnavailable)


# ----------------------------------------------------------------------------- a broker that stops


async def test_what_a_leaving_broker_does_not_begin_the_next_one_does(pair, broker):
    """Nobody is refused because a broker restarts."""
    await pair.open()
    remote = await pair.connected()
    broker.errors["route"] = ShuttingDown()
    said = []
    waiting = pair.begin(calls_of(remote, said)["route"]())
    await until(lambda: broker.count("route") == 1)
    await asyncio.sleep(SHORT)
    assert not waiting.done()
    del broker.errors["route"]
    await pair.shut()
    await pair.open()
    assert await answer(waiting) == ROUTE
    assert said == ["Desk is restarting …"]


async def test_a_broker_that_does_not_go_keeps_nobody_waiting(pair, broker):
    await pair.open()
    remote = await pair.connected(wait=SHORT)
    broker.errors["route"] = ShuttingDown()
    refused = await answer(pair.begin(calls_of(remote, [])["route"]()))
    assert isinstance(refused, ShuttingDown)


async def test_a_leaving_broker_lets_words_come_to_their_end(pair, broker):
    """And begins none: that is the next one's."""
    await pair.open()
    remote = await pair.connected()
    gate = broker.hold("word")
    said = pair.begin(remote.word(ANN, ["stop"]))
    await until(lambda: broker.count("word") == 1)
    leaving = pair.begin(pair.shut(grace=10))
    await asyncio.sleep(SHORT)
    late = pair.begin(remote.word(ANN, ["start"]))
    await asyncio.sleep(SHORT)
    assert broker.count("word") == 1
    gate.set()
    assert await answer(said) == ANSWERS["word"]
    await answer(leaving)
    await pair.open()
    assert await answer(late) == ANSWERS["word"]
    assert [call[2] for call in broker.calls if call[0] == "word"] == [("stop",), ("start",)]


# --------------------------------------------------------------------------------- cancellation


async def test_a_cancelled_caller_takes_its_call_back(pair, broker):
    await pair.open()
    remote = await pair.connected()
    broker.hold("route")
    waiting = pair.begin(calls_of(remote, [])["route"]())
    await until(lambda: broker.count("route") == 1)
    waiting.cancel()
    await until(lambda: broker.cancelled == ["route"])
    await answer(remote.identify(LOGIN, KEY, ADDRESS))


async def test_who_is_cancelled_while_the_broker_is_away_is_not_asked_for(pair, broker):
    remote = pair.dial()
    waiting = pair.begin(remote.identify(LOGIN, KEY, ADDRESS))
    await asyncio.sleep(SHORT)
    waiting.cancel()
    await pair.open()
    await answer(remote.lost("s1"))
    assert broker.count("identify") == 0


# ----------------------------------------------------------------------------- doors that go


async def test_a_door_that_died_is_gone_within_a_second(pair, broker):
    """A grace of half a second is all that is added to what the kernel tells at once."""
    assert broker_side.GRACE <= 0.5
    await pair.open()
    remote = await pair.connected(FakeDoor("mortal"))
    remote.running.cancel()
    await until(lambda: ("gone", "mortal") in broker.calls)
    assert "mortal" not in pair.doors


async def test_a_door_that_comes_back_in_time_has_lost_nobody(pair, broker):
    await pair.open(grace=600)
    door = FakeDoor()
    await pair.connected(door)
    pair.die()
    await until(lambda: pair.server._leaving)
    (timer,) = pair.server._leaving.values()
    await until(lambda: door.reports == 2)
    assert timer.cancelled()
    assert not pair.server._leaving
    assert broker.count("gone") == 0


async def test_a_door_that_comes_again_before_its_end_was_seen_is_there_once(pair, broker):
    """The old connection is let go; what is told is told to the new one."""
    await pair.open()
    async with pair.raw(HELLO) as older:
        assert (await answer(older.receive())).type is aiohttp.WSMsgType.TEXT
        newer = FakeDoor()
        remote = await pair.connected(newer)
        assert (await answer(older.receive())).extra == "it came again"
    await until(lambda: len(pair.server._callers) == 1)
    await asyncio.sleep(0.1)
    assert broker.count("gone") == 0
    pair.doors.end_credential("k", "Gone.")
    await answer(remote.lost("s1"))
    assert newer.told == [("key", "k", "Gone.")]


async def test_a_door_that_hangs_is_gone(pair, broker, monkeypatch):
    """It does not answer when it is asked whether it lives."""
    monkeypatch.setattr(broker_side, "HEARTBEAT", 0.05)
    await pair.open()
    async with pair.raw(TO_BROKER.write(Hello("hung", NOBODY)), autoping=False) as hung:
        await hung.receive()  # the welcome
        await until(lambda: ("gone", "hung") in broker.calls)


async def test_a_broker_that_hangs_is_left(tmp_path, monkeypatch):
    """And another connection is tried."""
    monkeypatch.setattr(door_side, "HEARTBEAT", 0.05)
    came = []

    async def hang(request):
        socket = web.WebSocketResponse(protocols=[PROTOCOL], autoping=False)
        await socket.prepare(request)
        came.append(socket)
        while (await socket.receive()).type is not aiohttp.WSMsgType.CLOSED:
            pass
        return socket

    pair = Pair(tmp_path, ScriptedGateway())
    application = web.Application()
    application.router.add_get("/gateway", hang)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, pair._bound.dup()).start()
    pair.dial()
    await until(lambda: len(came) == 2)
    await pair.close()
    await runner.cleanup()


# -------------------------------------------------------------------------- what a door is told


async def test_all_doors_are_told_what_ends(pair):
    await pair.open()
    doors = [FakeDoor("one"), FakeDoor("two")]
    for door in doors:
        await pair.connected(door)
    pair.doors.end_session("s1", "It sleeps.", sleeps=True)
    pair.doors.end_session("s2", "It ended.")
    pair.doors.end_user("u1", "Removed.")
    pair.doors.end_credential("k1", "Taken away.")
    pair.doors.penalise(PENALTY, by="one")
    ends = [
        ("session", "s1", "It sleeps.", True),
        ("session", "s2", "It ended.", False),
        ("user", "u1", "Removed."),
        ("key", "k1", "Taken away."),
    ]
    await until(lambda: len(doors[1].told) == 5)
    assert doors[1].told == [*ends, ("penalty", PENALTY)]
    assert doors[0].told == ends


async def test_a_door_says_what_it_holds_and_hears_what_is_over(pair, broker):
    """At each connection, and after it was entered: nothing falls between."""
    door = FakeDoor()
    door.held = Holdings(identities=(ANN,), sessions=("s1", "s2"))

    async def catch_up(holdings, control):
        broker.calls.append(("catch_up", holdings))
        pair.doors.end_credential("meanwhile", "Taken away.")
        control.end_session(holdings.sessions[1], "It ended.")

    broker.catch_up = catch_up
    pair.dial(door)
    for times in (1, 2):
        await pair.open()
        await until(lambda times=times: len(door.told) == 2 * times)
        await pair.shut()
    assert door.told == 2 * [
        ("key", "meanwhile", "Taken away."),
        ("session", "s2", "It ended.", False),
    ]
    assert broker.calls == 2 * [("catch_up", door.held)]


@pytest.mark.parametrize("error", [EngineUnavailable("down"), ZeroDivisionError()])
async def test_a_door_that_cannot_be_told_now_comes_again(pair, broker, error):
    broker.errors["catch_up"] = error
    door = FakeDoor()
    pair.dial(door)
    await pair.open()
    await until(lambda: broker.count("catch_up") == 2)
    broker.errors.clear()
    broker.calls.clear()
    await until(lambda: broker.count("catch_up") == 1)


async def test_whoever_got_a_route_knows_it_before_its_session_ends(pair, broker):
    """The end would pass whoever is not known to be about to enter."""
    await pair.open()
    door = FakeDoor()
    remote = await pair.connected(door)
    broker.route_answered = lambda: pair.doors.end_session("s1", "It sleeps.", sleeps=True)

    async def enter():
        route = await remote.route(ANN, display=None, progress=lambda _: None)
        door.told.append(("entered", route.session_id))

    for _ in range(20):
        door.told.clear()
        entering = pair.begin(enter())
        await until(lambda: len(door.told) == 2)
        await entering
        assert [told[0] for told in door.told] == ["entered", "session"]


# ------------------------------------------------------------------------------- who may connect


@pytest.mark.parametrize(
    "strange", [{"uids": [os.getuid() + 1]}, {"door_of": child_of(os.getpid())}]
)
async def test_a_stranger_is_refused(pair, broker, strange):
    """Whatever the mode of the socket is: another user, and what is no child of the parent, as a
    process that a door started would be.
    """
    await pair.open(**strange)
    door = FakeDoor()
    remote = pair.dial(door, wait=SHORT)
    assert isinstance(await answer(pair.begin(remote.lost("s1"))), BrokerUnavailable)
    with pytest.raises(aiohttp.ClientConnectionError):
        async with pair.raw():
            pass
    assert (door.reports, broker.calls) == (0, [])


async def test_another_version_is_refused_and_both_logs_say_why(pair, broker, monkeypatch):
    """Once, however often the door tries; the broker knows of it all the time that it is there."""
    monkeypatch.setattr(door_side, "PROTOCOL", "desk-gateway-0")
    with structlog.testing.capture_logs() as logs:
        await pair.open()
        pair.dial()
        wanted = {"the versions of door and broker differ", "broker away"}
        await until(lambda: wanted <= {line["event"] for line in logs})
        await until(lambda: broker.misunderstood >= 3)
    assert len(logs) == len(wanted)
    for line in logs:
        assert PROTOCOL in str(line)
        assert "desk-gateway-0" in str(line)
    assert broker.calls == []


async def test_no_more_doors_than_there_may_be(pair, monkeypatch):
    monkeypatch.setattr(broker_side, "DOORS", 1)
    await pair.open()
    await pair.connected()
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with pair.raw():
            pass
    assert refused.value.status == 503


# --------------------------------------------------------------------------------------- bounds


def ask(what, number=1):
    return TO_BROKER.write(Ask(number, what))


HELLO = TO_BROKER.write(Hello("door1", NOBODY))
SECRET = "hunter2"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (["}"], "it is no JSON"),
        (["[" * 10_000], "it is no JSON"),
        (["[" * 100_000], "more than 16384 characters"),
        (['"ä"'], "ASCII is wanted"),
        (['{"is":"Steal"}'], "'Steal' is unknown"),
        ([HELLO.replace('"door1"', '"door1","x":1')], "Hello has no 'x'"),
        ([HELLO, HELLO], "Hello came twice"),
        ([TO_BROKER.write(Hello("d\x1b[2J", NOBODY))], "characters that can be printed"),
        (
            [TO_BROKER.write(Hello("d", Holdings(identities=(), sessions=("s",) * 4)))],
            "more than 3",
        ),
        ([ask(Identify(LOGIN, KEY, ADDRESS))], "Hello is wanted first"),
        ([HELLO, ask(Report(())), ask(Report(()))], "the number of another"),
        ([HELLO, ask(Attached(attachment(client="\x1b]0;x\x07")))], "that can be printed"),
        ([HELLO, ask(Attached(attachment(user="u" * 257)))], "up to 256 characters"),
        ([HELLO, ask(Report((activity(attached_for=-1.0),)))], "yet to come"),
        ([HELLO, ask(Report((activity(ages={"typing": -1.0}),)))], "yet to come"),
        ([HELLO, ask(Report((activity(attached_for=1e15),)))], "too long ago"),
        ([HELLO, ask(Report((activity(ages={"data": 1e308}),)))], "too long ago"),
        ([HELLO, ask(Report((activity(),))).replace("1.5", "NaN")], "a number is wanted"),
        ([HELLO, ask(Report((activity(),))).replace("1.5", "1e999")], "a number is wanted"),
        ([HELLO, ask(Report((activity(),) * 4))], "more than 3 activities"),
        ([HELLO, ask(Carries(Load(connections=-1, authenticated=-1)))], "are authenticated"),
        ([HELLO, ask(Carries(Load(connections=1, authenticated=2)))], "are authenticated"),
        ([HELLO, ask(Carries(Load(connections=1 << 40, authenticated=0)))], "are authenticated"),
        ([HELLO, ask(SayWord(ANN, ("x" * CALL,)))], "more than 16384 characters"),
        (
            [
                HELLO,
                ask(Report(()))[:-2] + ',"x":"' + "x" * CALL + '"},' + ask(SayWord(ANN, ()))[1:],
            ],
            "more than 16384 characters",
        ),
        ([HELLO, ask(Report(())).replace("[]", "[" + "[]," * 300_000 + "0]")], "524288 parts"),
        ([HELLO, ask(Report((activity(kinds=("shell",) * 17),)))], "more than 16 kinds"),
        (
            [HELLO, ask(Identify(LOGIN, KEY, ADDRESS)).replace('"ann"', f'["{SECRET}"]')],
            "in Login: ",
        ),
    ],
)
async def test_what_no_door_says_ends_its_connection(pair, broker, monkeypatch, said, reason):
    """With the reason for it, which the log has too, and nothing of what was said is kept."""
    monkeypatch.setattr(caller, "HOLDINGS", 3)
    broker.hold("report")
    with structlog.testing.capture_logs() as logs:
        await pair.open()
        async with pair.raw(*said) as strange:
            while (came := await answer(strange.receive())).type is aiohttp.WSMsgType.TEXT:
                pass
    assert came.type is aiohttp.WSMsgType.CLOSE
    assert reason in came.extra
    assert [line for line in logs if reason in line.get("reason", "")]
    assert SECRET not in str(logs)
    assert {call[0] for call in broker.calls} <= {"catch_up", "report", "gone"}


async def test_binary_messages_end_a_connection(pair):
    await pair.open()
    async with pair.raw() as strange:
        await strange.send_bytes(b"x")
        assert (await answer(strange.receive())).extra == "text is wanted"


async def test_who_does_not_say_who_it_is_is_let_go(pair, monkeypatch):
    monkeypatch.setattr(caller, "HELLO", SHORT)
    await pair.open()
    async with pair.raw() as silent:
        assert "has not said who it is" in (await answer(silent.receive())).extra


async def test_no_more_calls_of_a_door_are_under_way_than_may_be(pair, broker, monkeypatch):
    """One more is refused, and is let in once another has come to its end."""
    monkeypatch.setattr(caller, "CALLS", 2)
    await pair.open()
    remote = await pair.connected()
    gate = broker.hold("lost")
    first, second = (pair.begin(remote.lost(name)) for name in "ab")
    await until(lambda: broker.count("lost") == 2)
    with pytest.raises(CapacityExhausted):
        await answer(remote.identify(LOGIN, KEY, ADDRESS))
    gate.set()
    await answer(first)
    await answer(second)
    assert await answer(remote.identify(LOGIN, KEY, ADDRESS)) == ANN


async def test_a_message_that_is_too_long_ends_a_connection(pair, broker, monkeypatch):
    monkeypatch.setattr(broker_side, "MESSAGE", 10_000)
    await pair.open()
    async with pair.raw("x" * 10_001) as strange:
        came = await answer(strange.receive())
    assert came.data == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


async def test_an_answer_that_is_too_long_is_a_refusal(pair, broker, monkeypatch):
    """Of that call alone."""
    monkeypatch.setattr(broker_side, "MESSAGE", 10_000)
    await pair.open()
    remote = await pair.connected()
    broker.output = "x" * 10_001
    reply = await answer(remote.word(ANN, ["list"]))
    assert reply.stderr == f"desk: {DeskError.default} (internal)\n"
    broker.output = "x" * 9_000
    assert (await answer(remote.word(ANN, ["list"]))).stdout == broker.output


async def test_a_call_that_is_too_long_is_refused_at_the_door(pair, broker):
    """With a sentence for whoever wrote it; a report may be longer."""
    await pair.open()
    remote = await pair.connected()
    with pytest.raises(BadRequest):
        await remote.lost("s" * CALL)
    reply = await remote.word(ANN, ["x" * CALL])
    assert "(bad_request)" in reply.stderr
    assert broker.calls == [("catch_up", NOBODY)]
    await answer(remote.report("door1", [activity()] * 100))
    assert broker.count("report") == 1


async def test_what_is_too_long_or_has_too_many_parts_is_not_even_read(pair, monkeypatch):
    """Reading it takes seconds, and many times its size."""
    read = reads(monkeypatch)
    await pair.open()
    bomb = ask(Report(())).replace("[]", "[" + "[]," * 300_000 + "0]")
    for text in ("[" * (CALL + 1), bomb):
        async with pair.raw(text) as strange:
            await answer(strange.receive())
    assert read == []


async def test_a_long_message_is_read_aside(pair, broker, monkeypatch):
    """Nobody else waits for it."""
    read = reads(monkeypatch)
    await pair.open()
    remote = await pair.connected()
    await answer(remote.report("door1", [activity()] * 1000))
    (thread,) = [thread for size, thread in read if size > ASIDE]
    assert thread is not threading.main_thread()


async def test_what_comes_at_once_is_not_taken_at_once(pair, monkeypatch):
    """Each other task gets its turn between two messages."""
    turns, taken = 0, []

    async def turn():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    take = caller.Caller._take

    async def noted(self, message):
        taken.append(turns)
        await take(self, message)

    monkeypatch.setattr(caller.Caller, "_take", noted)
    await pair.open()
    turning = pair.begin(turn())
    async with pair.raw(HELLO, *(TO_BROKER.write(Cancel(number)) for number in range(200))):
        await until(lambda: len(taken) == 201)
    turning.cancel()
    assert len(set(taken)) == 201


async def test_the_calls_of_a_door_are_bounded_together(pair, broker, monkeypatch):
    """However few they are."""
    monkeypatch.setattr(caller, "UNDER_WAY", 30_000)
    await pair.open()
    remote = await pair.connected()
    gate = broker.hold("lost")
    two = [pair.begin(remote.lost("s" * 14_000)) for _ in range(2)]
    await until(lambda: broker.count("lost") == 2)
    with pytest.raises(CapacityExhausted):
        await answer(remote.lost("s" * 14_000))
    gate.set()
    for one in two:
        await answer(one)
    assert await answer(remote.lost("s" * 14_000)) is None


@pytest.mark.parametrize("call", ["report", "http"])
async def test_of_some_calls_fewer_are_under_way(pair, broker, monkeypatch, call):
    """And a login is none of them."""
    monkeypatch.setitem(caller.FEWER, door_side.messages.GetHttp, 1)
    await pair.open()
    remote = await pair.connected()
    gate = broker.hold(call)
    begin = {
        "report": lambda: remote.report("door1", [activity()] * 100),
        "http": lambda: remote.http("GET", "/metrics"),
    }[call]
    first = pair.begin(begin())
    await until(lambda: broker.count(call) == 1)
    with pytest.raises(CapacityExhausted):
        await answer(begin())
    assert await answer(remote.identify(LOGIN, KEY, ADDRESS)) == ANN
    gate.set()
    assert not isinstance(await answer(first), Exception)
    await answer(begin())


async def test_a_door_does_not_have_the_database_to_itself(pair, broker, monkeypatch):
    """So many are asked at a time; the others wait, and are not refused."""
    monkeypatch.setitem(caller.LANES, Identify, 2)
    await pair.open()
    remote = await pair.connected()
    gate = broker.hold("identify")
    asked = [pair.begin(remote.identify(LOGIN, KEY, ADDRESS)) for _ in range(6)]
    await answer(remote.lost("s1"))
    assert broker.count("identify") == 2
    gate.set()
    for one in asked:
        assert await answer(one) == ANN


async def test_long_messages_come_in_measure(pair, broker, monkeypatch):
    """Over all connections of a process; other doors are heard meanwhile."""
    text = ask(Report((activity(),) * 200))
    monkeypatch.setattr(doorstep, "LONG", 1.5 * len(text))
    monkeypatch.setattr(doorstep, "LONG_AGAIN", 1.0)
    await pair.open()
    async with pair.raw(HELLO, text):
        await until(lambda: broker.count("report") == 1)
    async with pair.raw(HELLO, text) as again:
        await again.receive()
        other_process(monkeypatch)
        remote = await pair.connected(FakeDoor("door2"))
        await answer(remote.report("door2", [activity()] * 200))
        await answer(remote.lost("s1"))
    assert [call[1] for call in broker.calls if call[0] == "report"] == ["door1", "door2"]


# ------------------------------------------------------------- doors that keep others out


def other_process(monkeypatch, pid=1):
    """From now on connections come from it, as the kernel would say."""
    monkeypatch.setattr(doorstep, "peer_of", lambda _: Peer(pid=pid, uid=os.getuid(), gid=0))
    monkeypatch.setattr(peer, "parent_of", lambda _: os.getppid())


def reads(monkeypatch):
    """What is read at the broker: sizes, and the threads that read."""
    read = []

    class Noting:
        @staticmethod
        def read(text):
            read.append((len(text), threading.current_thread()))
            return TO_BROKER.read(text)

    monkeypatch.setattr(broker_side, "TO_BROKER", Noting)
    return read


CROWD = """
import socket, sys
held = [socket.socket(socket.AF_UNIX) for _ in range(8)]
for one in held:
    one.connect(sys.argv[1])
print(sum(one.recv(1) == b"" for one in held[2:]), flush=True)
sys.stdin.read()
"""


async def test_one_process_does_not_take_the_places_of_others(pair):
    """The kernel tells them apart."""
    await pair.open()
    crowd = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CROWD, str(pair.path), stdin=-1, stdout=-1
    )
    assert await answer(crowd.stdout.readline()) == b"6\n"
    await answer((await pair.connected()).lost("s1"))
    crowd.stdin.close()
    await crowd.wait()


async def test_a_process_that_comes_too_often_waits(pair, monkeypatch):
    """With few lines about it in the log, and no bound for others."""
    monkeypatch.setattr(broker_side, "GATEWAY", replace(broker_side.GATEWAY, often=2))
    monkeypatch.setattr(doorstep, "LINES", 3)
    monkeypatch.setattr(doorstep, "_now", lambda: 0.0)
    await pair.open()
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            async with pair.raw(HELLO) as good:
                await answer(good.receive())
        for _ in range(20):
            with pytest.raises(aiohttp.ClientConnectionError):
                async with pair.raw():
                    pass
    refused = [line for line in logs if line["event"] == "connection refused at the gateway"]
    assert len(refused) == 3
    other_process(monkeypatch)
    await pair.connected()


async def test_who_says_nothing_gives_way_to_who_comes(pair, monkeypatch):
    """From however many processes."""
    monkeypatch.setattr(doorstep, "UNKNOWN", 3)
    await pair.open()
    silent = []
    for pid in range(100, 105):
        other_process(monkeypatch, pid)
        silent.append(await asyncio.open_unix_connection(pair.path))
        await until(lambda pid=pid: pid in pair.server._doorstep._processes)
    assert [await answer(reader.read()) for reader, _ in silent[:2]] == [b"", b""]
    other_process(monkeypatch)
    remote = await pair.connected()
    assert await answer(silent[2][0].read()) == b""
    await answer(remote.lost("s1"))
    assert not silent[3][0].at_eof()
    for _, writer in silent:
        writer.close()


@pytest.mark.parametrize("said", [b"", b"GET /gateway HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n\r\n"])
async def test_who_never_becomes_a_door_is_cut_off(pair, monkeypatch, said):
    monkeypatch.setattr(doorstep, "PATIENCE", 0.1)
    await pair.open()
    reader, writer = await asyncio.open_unix_connection(pair.path)
    writer.write(said)
    with suppress(ConnectionError):
        await answer(reader.read())
    writer.close()
    await until(lambda: not pair.server._doorstep._here)


async def test_a_door_stays_though_it_is_long_there(pair, monkeypatch):
    monkeypatch.setattr(doorstep, "PATIENCE", SHORT)
    await pair.open()
    remote = await pair.connected()
    await asyncio.sleep(3 * SHORT)
    await answer(remote.lost("s1"))
    assert pair.server._doorstep._unknown == {}


async def test_nobody_speaks_for_the_door_of_another_process(pair, broker, monkeypatch):
    """Neither while it is there nor while it may come back; then the name is free."""
    await pair.open(grace=0.2)
    async with pair.raw(HELLO) as mine:
        await answer(mine.receive())
        own = mine
        other_process(monkeypatch)
        for _ in range(2):
            async with pair.raw(HELLO) as theirs:
                assert "another process" in (await answer(theirs.receive())).extra
        pair.doors.end_credential("k", "Gone.")
        assert "Gone." in (await answer(own.receive())).data
    async with pair.raw(HELLO) as theirs:
        assert "another process" in (await answer(theirs.receive())).extra
    await until(lambda: broker.count("gone") == 1)
    async with pair.raw(HELLO) as theirs:
        assert (await answer(theirs.receive())).type is aiohttp.WSMsgType.TEXT


async def test_refusals_do_not_fill_the_log(pair, broker, monkeypatch):
    """What it was spared, it says with the next line."""
    now = 0.0
    monkeypatch.setattr(doorstep, "LINES", 3)
    monkeypatch.setattr(doorstep, "_now", lambda: now)
    await pair.open()
    remote = await pair.connected()
    broker.errors["lost"] = EngineUnavailable("down")
    with structlog.testing.capture_logs() as logs:
        for _ in range(40):
            await answer(pair.begin(remote.lost("s1")))
        assert len(logs) == 3
        now = 1 / doorstep.LINES_AGAIN
        await answer(pair.begin(remote.lost("s1")))
    assert [line.get("spared") for line in logs] == [None, None, None, 37]


async def test_a_door_that_does_not_read_is_let_go(pair, broker):
    """What waits for it is bounded; whoever is told meanwhile does not wait."""
    await pair.open()
    async with pair.raw(HELLO) as deaf:
        await until(lambda: "door1" in pair.doors)
        deaf._conn.transport.pause_reading()
        sentence = "x" * (1 << 20)
        told = 0
        while pair.server._callers and told < 64:
            pair.doors.end_credential("k", sentence)
            told += 1
            await asyncio.sleep(0)
        await until(lambda: not pair.server._callers)
        assert told < 64
        await until(lambda: ("gone", "door1") in broker.calls)


async def test_a_door_that_reads_may_be_told_any_amount(pair, monkeypatch):
    """What was taken waits no more."""
    monkeypatch.setattr(broker_side, "WAITING", 10_000)
    await pair.open()
    door = FakeDoor()
    remote = await pair.connected(door)
    for _ in range(30):
        pair.doors.end_credential("k", "x" * 1000)
        await answer(remote.lost("s1"))
    assert len(door.told) == 30
    assert door.reports == 1


async def test_what_nobody_foresaw_is_told_to_the_log_alone(pair, broker):
    """The door learns that it failed; so it does of what an operator should read."""
    await pair.open()
    remote = await pair.connected()
    with structlog.testing.capture_logs() as logs:
        broker.errors["lost"] = ZeroDivisionError(SECRET)
        broken = await answer(pair.begin(remote.lost("s1")))
        broker.errors["lost"] = EngineUnavailable(SECRET)
        refused = await answer(pair.begin(remote.lost("s1")))
    assert (type(broken), str(broken)) == (DeskError, DeskError.default)
    assert (type(refused), str(refused)) == (EngineUnavailable, EngineUnavailable.default)
    assert [line["event"] for line in logs] == ["call failed", "call refused"]
    assert logs[1]["problem"] == SECRET


async def test_the_key_of_a_session_is_never_logged(pair, broker):
    """Nor is it in what a traceback or a log might show of a route."""
    with structlog.testing.capture_logs() as logs:
        await pair.open()
        remote = await pair.connected()
        assert (await answer(calls_of(remote, [])["route"]())).client_key == ROUTE.client_key
        await pair.shut()
    assert ROUTE.client_key not in str(logs) + repr(ROUTE)


async def test_a_door_knows_whether_the_broker_is_there(pair):
    """For what it passes on elsewhere: one that comes back soon was not away."""
    remote = pair.dial()
    with pytest.raises(BrokerUnavailable):
        await remote.there(SHORT)
    await pair.open()
    await answer(remote.there(10))
    patient, hasty = pair.begin(remote.away(10)), pair.begin(remote.away(SHORT))
    await asyncio.sleep(2 * SHORT)
    assert not hasty.done()
    await pair.shut()
    await until(hasty.done)
    await pair.open()
    await answer(remote.there(10))
    await asyncio.sleep(2 * SHORT)
    assert not patient.done()
