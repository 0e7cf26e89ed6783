"""The broker's own words, plain and as JSON; whatever is said, the answer is a reply."""

from __future__ import annotations

import asyncio
import json
import socket
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from broker.core.errors import BadRequest
from broker.core.gateway import Attachment
from broker.core.model import SessionState
from broker.service.vocabulary import INSIDE, WORDS, parse
from tests.service.harness import WRITES, outage


async def say(broker, identity, *argv):
    return await broker.gateway.word(identity, argv)


async def ok(broker, identity, *argv):
    reply = await say(broker, identity, *argv)
    assert (reply.status, reply.stderr) == (0, "")
    assert reply.stdout.endswith("\n")
    return json.loads(reply.stdout) if "--json" in argv else reply.stdout.rstrip("\n")


@pytest.fixture
async def ada(broker):
    """A person at the door."""
    return await broker.person()


# ---------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("argv", [(), ("help",), ("--help",), ("-h",), ("stop", "--help")])
async def test_help_names_every_word(broker, ada, argv):
    """Alone, asked for, or as an option of another word."""
    told = await ok(broker, ada, *argv)
    for usage, meaning in WORDS.values():
        assert usage in told
        assert meaning in told


async def test_help_as_json(broker, ada):
    """Word and meaning."""
    assert set(await ok(broker, ada, "help", "--json")) == set(WORDS)


# ------------------------------------------------------------------------------- list, status


async def test_a_list_of_nothing_says_what_to_do(broker, ada):
    """The first connect makes the first desktop."""
    assert await ok(broker, ada, "list") == (
        "You have no desktop yet; the first connect makes 'main'."
    )
    assert await ok(broker, ada, "list", "--json") == []


async def test_the_list_shows_what_each_desktop_does(broker, ada):
    """One running with a client in it, one stopped; nobody else's."""
    route = await broker.route(ada)
    await broker.desktop(desktop="lab")
    await broker.desktop("bob")
    await broker.gateway.attached(
        "door", Attachment(id="a", session_id=route.session_id, user="ada", peer="p", client="c")
    )
    assert (await ok(broker, ada, "list")).splitlines() == [
        "NAME  STATE    DISPLAY  ATTACHED",
        "lab   stopped  -        0",
        f"main  ready    :{route.display}    1",
    ]
    lab, main = await ok(broker, ada, "--json", "list")
    assert (lab["name"], lab["state"], lab["display"]) == ("lab", "stopped", None)
    assert (main["name"], main["attached"], main["id"]) == ("main", 1, route.desktop_id)


async def test_a_status_tells_one_desktop_in_full(broker, ada):
    """By name, by the login's desktop, or the default one."""
    route = await broker.route(ada)
    told = await ok(broker, ada, "status")
    assert told.splitlines()[:2] == ["name      main", f"id        {route.desktop_id}"]
    assert f"display   :{route.display}" in told
    assert await ok(broker, ada, "status", "main") == told
    await broker.desktop(desktop="lab")
    lab = await ok(broker, await broker.person(desktop="lab"), "status", "--json")
    assert (lab["name"], lab["state"], lab["since"]) == ("lab", "stopped", None)


async def test_the_status_of_a_starting_desktop_says_so(broker, ada):
    """While somebody waits for it."""
    broker.probe.hold()
    waiting = broker.begin(await broker.desktop())
    await broker.probe.asked.wait()
    assert (await ok(broker, ada, "status", "--json"))["state"] == "starting"
    broker.probe.answering.set()
    await waiting


# -------------------------------------------------------------------------------- start, stop


async def test_start_starts_the_default_desktop(broker, ada):
    """And says on which display it is."""
    assert await ok(broker, ada, "start") == "main is ready on display :1000."
    assert (await ok(broker, ada, "start", "--json"))["state"] == "ready"
    await broker.check()


async def test_start_makes_a_new_desktop_by_name(broker, ada):
    """A name that is not there yet is one more desktop."""
    assert await ok(broker, ada, "start", "lab") == "lab is ready on display :1000."
    assert [d.name for d in await broker.store.desktops()] == ["lab"]


async def test_start_makes_no_more_desktops_than_allowed(broker, ada):
    """The refusal is a reply with a status and a code."""
    for name in ("a", "b", "c"):
        await ok(broker, ada, "start", name)
    reply = await say(broker, ada, "start", "d")
    assert (reply.status, reply.stdout) == (1, "")
    assert reply.stderr == (
        "desk: You have 3 desktops (a, b, c); more are not allowed. (conflict)\n"
    )
    await ok(broker, ada, "start", "a")


async def test_stop_stops_and_keeps_the_home(world, broker, ada):
    """By default the default one; a second stop says that there is nothing to do."""
    await broker.route(ada)
    assert await ok(broker, ada, "stop") == "main is stopped; its home is kept."
    assert await ok(broker, ada, "stop") == "main is not running."
    assert (await ok(broker, ada, "stop", "--json"))["state"] == "stopped"
    (entry,) = [e for e in await broker.store.audit() if e.action == "session.stop"]
    assert (entry.actor, entry.detail["reason"]) == ("user:ada", "ada stopped it")
    await broker.check()


async def test_stop_ends_a_start_under_way(broker, ada):
    """Its own desktop's."""
    broker.probe.hold()
    desktop = await broker.desktop()
    waiting = broker.begin(desktop)
    await broker.probe.asked.wait()
    await ok(broker, ada, "stop")
    await broker.refused(Exception, waiting)
    await broker.check()


@pytest.mark.parametrize("word", ["list", "status", "why", "help", "stop"])
async def test_only_start_starts_anything(world, broker, ada, word):
    """A stopped desktop stays stopped, whatever else is said."""
    await broker.desktop()
    await ok(broker, ada, word)
    assert not WRITES & set(world.engine.calls)
    assert await broker.store.live_sessions() == []


# -------------------------------------------------------------------------- keep, extend, sleep


@pytest.mark.parametrize(
    ("argv", "told", "kept"),
    [
        (["extend", "4h"], "main is kept awake for 4 h.", 4 * 3600),
        (["extend", "90m", "main"], "main is kept awake for 1 h 30 min.", 5400),
        (["extend", "3d"], "main is kept awake for 3 d.", 3 * 86_400),
        (["keep"], "main is kept awake for 3 d.", 3 * 86_400),
        (["keep", "main"], "main is kept awake for 3 d.", 3 * 86_400),
        (["extend", "0"], "main is no longer kept awake.", 0),
    ],
)
async def test_a_desktop_is_kept_for_as_long_as_one_says(broker, ada, argv, told, kept):
    """From now, and no longer than the last one said; it is in the record, with who asked."""
    await broker.route(ada)
    await ok(broker, ada, "extend", "2h")
    assert await ok(broker, ada, *argv) == told
    data = await ok(broker, ada, *argv, "--json")
    assert (data["desktop"], data["state"], data["kept_for"]) == ("main", "ready", kept)
    (session,) = await broker.store.live_sessions()
    until = broker.clock.now() + timedelta(seconds=kept)
    assert session.kept_until == (until if kept else None)
    entry = (await broker.store.audit())[0]
    assert (entry.action, entry.actor) == ("session.keep", "user:ada")


@pytest.mark.parametrize(
    ("time", "said"),
    [
        ("4d", "'4d' is too long: at most 3 d are allowed."),
        ("73h", "'73h' is too long: at most 3 d are allowed."),
        (
            "9999999d",
            "'9999999d' is no time: allowed is a number and a unit: 30s, 10m, 8h, 7d, or 0.",
        ),
        ("4", "'4' is no time: allowed is a number and a unit: 30s, 10m, 8h, 7d, or 0."),
        ("4h\x1b", "'4h\\x1b' is no time: allowed is a number and a unit: 30s, 10m, 8h, 7d, or 0."),
    ],
)
async def test_a_time_that_is_none_or_too_long_is_refused(broker, ada, time, said):
    """With what is allowed; what was kept before stays kept."""
    await broker.route(ada)
    await ok(broker, ada, "extend", "2h")
    reply = await say(broker, ada, "extend", time)
    assert (reply.status, reply.stdout) == (2, "")
    assert reply.stderr == f"desk: {said} (bad_request)\n"
    assert (await ok(broker, ada, "why", "--json"))["kept_for"] == 7200


async def test_extend_without_a_time_gives_four_hours(broker, ada):
    """As the button of a warning does; less where less is allowed, and a name may stand alone."""
    await broker.route(ada)
    for argv in ((), ("main",)):
        assert await ok(broker, ada, "extend", *argv) == "main is kept awake for 4 h."
    await broker.groups.set("lab", priority=0, policy={"idle.keep_up_to": "1h"}, actor="uid:0")
    await broker.groups.join(await broker.store.user("ada"), "lab", actor="uid:0")
    assert await ok(broker, ada, "extend") == "main is kept awake for 1 h."


async def test_a_keep_tells_when_the_age_ends_it_before(world):
    """Else somebody would count on it."""
    broker = await world.broker(idle={"max_age": "10h"})
    ada = await broker.person()
    await broker.route(ada)
    kept, told = (await ok(broker, ada, "extend", "2d")).splitlines()
    assert kept == "main is kept awake for 2 d."
    assert told.startswith("It may run for 10 h, and is stopped in 10 h, at ")


@pytest.mark.parametrize("argv", [("extend", "4h"), ("keep",), ("sleep",)])
async def test_what_does_not_run_is_neither_kept_nor_sent_to_sleep(world, broker, ada, argv):
    """Nor started for that; while it starts one is told to wait."""
    await broker.desktop()
    reply = await say(broker, ada, *argv)
    assert (reply.status, reply.stdout) == (1, "")
    assert reply.stderr == "desk: main is not running. (conflict)\n"
    assert not WRITES & set(world.engine.calls)
    broker.probe.hold()
    waiting = broker.begin(await broker.desktop())
    await broker.probe.asked.wait()
    reply = await say(broker, ada, *argv)
    assert reply.stderr == "desk: main is starting. Try again in a moment. (conflict)\n"
    broker.probe.answering.set()
    await waiting


async def test_a_desktop_is_sent_to_sleep_by_ssh(world, broker, ada):
    """Everybody in it is sent away with who did it; a second time there is nothing to do."""
    route = await broker.route(ada)
    world.clock.advance(1)
    assert await ok(broker, ada, "sleep") == "main sleeps; the next connect wakes it."
    assert broker.connections.sent_away == [
        (
            route.session_id,
            "Your desktop sleeps: ada sent it to sleep. Connect again to wake it.",
        )
    ]
    assert await ok(broker, ada, "sleep") == "main sleeps already."
    assert (await ok(broker, ada, "sleep", "--json"))["state"] == "frozen"
    assert world.written["pause"] == 1
    entry = (await broker.store.audit())[0]
    assert (entry.actor, entry.detail["reason"]) == ("user:ada", "ada sent it to sleep")
    await broker.check()


async def test_a_desktop_that_just_woke_is_sent_to_sleep_again(world, broker, ada):
    """The answer is of now, not of the last look at all desktops."""
    await broker.route(ada)
    await ok(broker, ada, "sleep")
    world.clock.advance(1)
    await broker.reaper.pass_once()
    await broker.route(ada)
    world.clock.advance(1)
    assert await ok(broker, ada, "sleep") == "main sleeps; the next connect wakes it."
    assert await ok(broker, ada, "sleep") == "main sleeps already."
    assert world.written["pause"] == 2
    await broker.check()


async def test_a_desktop_that_cannot_sleep_just_now_is_not_said_to(world, broker, ada):
    """The broker is on its way out, or somebody is about to wake it."""
    await broker.route(ada)
    await broker.sessions.quiesce(0.1)
    reply = await say(broker, ada, "sleep")
    assert (reply.status, reply.stdout) == (1, "")
    assert reply.stderr == "desk: main is wanted by somebody just now. Try again. (conflict)\n"
    assert "pause" not in world.engine.calls


# ------------------------------------------------------------------------------ from the inside


@pytest.fixture
async def inside(broker, ada):
    """What a program in ada's desktop says, and what it is answered."""
    route = await broker.route(ada)

    async def ask(*argv):
        return await broker.words.answer_inside(route.session_id, argv)

    broker.clock.advance(1)
    return ask


async def test_inside_the_session_is_who_one_is(broker, ada, inside):
    """The same answers as at the door, of this desktop; there is no other to speak of."""
    await broker.ensure(await broker.desktop("ada", "lab"))
    for word in ("status", "why"):
        assert (await inside(word)).stdout == (await say(broker, ada, word)).stdout
    told = (await inside("help")).stdout
    assert "desk why " in told
    assert "NAME" not in told.replace("[NAME]", "") and "desk list" not in told


@pytest.mark.parametrize("word", ["list", "start", "restart"])
async def test_inside_there_are_no_words_for_other_desktops(broker, inside, word):
    """Whatever runs there speaks for this one alone."""
    reply = await inside(word)
    assert (reply.status, reply.stdout) == (2, "")
    assert reply.stderr == (
        f"desk: '{word}' is no word of Desk inside a desktop; there are help, status, why, stop,"
        " extend, keep, sleep, share ls, share end, share let-in, share refuse. (bad_request)\n"
    )


@pytest.mark.parametrize("word", ["status", "why", "stop", "keep", "sleep"])
@pytest.mark.parametrize("name", ["lab", "main"])
async def test_inside_no_desktop_is_named(broker, inside, word, name):
    """Not even this one, and nothing is done."""
    lab = await broker.ensure(await broker.desktop("ada", "lab"))
    reply = await inside(word, name)
    assert reply.stderr == f"desk: This is written 'desk {word} [--json]'. (bad_request)\n"
    await broker.landed()
    assert await broker.state(lab) is SessionState.READY
    assert len(await broker.store.live_sessions()) == 2
    reply = await inside("extend", "4h", name)
    assert reply.stderr == "desk: This is written 'desk extend [TIME] [--json]'. (bad_request)\n"


async def test_inside_a_desktop_is_kept_as_from_outside(broker, ada, inside):
    """By the person whose desktop it is."""
    assert (await inside("extend", "4h")).stdout == "main is kept awake for 4 h.\n"
    assert (await ok(broker, ada, "why", "--json"))["kept_for"] == 4 * 3600
    assert (await broker.store.audit())[0].actor == "user:ada"


@pytest.mark.parametrize(
    ("word", "answer", "state", "calls"),
    [
        ("sleep", "main goes to sleep.\n", SessionState.FROZEN, {"pause": 1}),
        ("stop", "main is being stopped.\n", SessionState.ENDED, {"remove": 1}),
    ],
)
async def test_inside_the_answer_is_first_and_then_it_is_done(
    world, broker, inside, word, answer, state, calls
):
    """What is done ends the very connection on which the answer goes."""
    (session,) = await broker.store.live_sessions()
    written = world.written
    reply = await inside(word)
    assert (reply.stdout, reply.status) == (answer, 0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert await broker.state(session) is SessionState.READY
    assert world.written == written
    broker.clock.advance(1)
    await broker.landed()
    assert await broker.state(session) is state
    assert world.written - written == calls
    assert broker.inside.left == [session.id]
    await broker.check()


async def test_inside_what_cannot_be_done_after_the_answer_is_logged(world, broker, inside):
    """Nobody is there any more to be told."""
    with capture_logs() as logs:
        await inside("stop")
        with outage(world):
            broker.clock.advance(1)
            await broker.landed()
    assert ("a word was not done", "engine_unavailable") in [
        (entry["event"], entry.get("code")) for entry in logs
    ]
    await broker.settle()
    await broker.check()


async def test_a_desktop_that_ended_is_answered_nothing(broker, inside):
    """A late question of a program that is about to die."""
    (session,) = await broker.store.live_sessions()
    await broker.sessions.stop(session.id, reason="enough", actor="user:ada")
    reply = await inside("why")
    assert (reply.status, reply.stdout) == (1, "")
    assert reply.stderr == "desk: This desktop is not known any more. (not_found)\n"


async def test_another_persons_desktop_of_the_same_name_is_another(broker, inside):
    """Each speaks for its own."""
    theirs = await broker.ensure(await broker.desktop("bob"))
    reply = await broker.words.answer_inside(theirs.id, ["extend", "2h"])
    assert reply.status == 0
    kept = {s.id: s.kept_until for s in await broker.store.live_sessions()}
    assert [kept[theirs.id] is not None, len([k for k in kept.values() if k])] == [True, 1]


# ----------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("word", ["status", "why", "stop", "keep", "sleep"])
async def test_an_unknown_desktop_is_refused(broker, ada, word):
    """And not made."""
    reply = await say(broker, ada, word, "lab")
    assert (reply.status, reply.stdout) == (1, "")
    assert reply.stderr == (
        "desk: You have no desktop 'lab'; 'desk list' shows what you have. (not_found)\n"
    )
    assert await broker.store.desktops() == []


async def test_a_desktop_of_somebody_else_is_unknown(broker, ada):
    """Neither seen nor stopped."""
    theirs = await broker.ensure(await broker.desktop("bob", "lab"))
    for word in ("status", "why", "stop", "keep", "sleep"):
        assert (await say(broker, ada, word, "lab")).status == 1
    assert (await say(broker, ada, "extend", "1h", "lab")).status == 1
    assert await broker.state(theirs) is SessionState.READY


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ["restart"],
            "'restart' is no word of Desk; there are help, list, status, why, start, stop,",
        ),
        (["\x1b[2J"], "'\\x1b[2J' is no word of Desk"),
        ([""], "'' is no word of Desk"),
        (["--now"], "'--now' is no word of Desk"),
        (["list", "all"], "This is written 'desk list [--json]'."),
        (["help", "me"], "This is written 'desk help [--json]'."),
        (["stop", "a", "b"], "This is written 'desk stop [NAME] [--json]'."),
        (["stop", "--force"], "This is written 'desk stop [NAME] [--json]'."),
        (["start", "../x"], "The desktop name '../x' cannot be used"),
        (["status", "x\udcff"], "The desktop name 'x\\udcff' cannot be used"),
    ],
)
async def test_what_is_written_wrong_is_told_right(broker, ada, argv, said):
    """Exit status 2, one safe sentence with the usage; nothing is done."""
    reply = await say(broker, ada, *argv)
    assert (reply.status, reply.stdout) == (2, "")
    assert reply.stderr.startswith(f"desk: {said}")
    assert reply.stderr.endswith(" (bad_request)\n")
    assert reply.stderr.rstrip("\n").isprintable()
    assert await broker.store.desktops() == []


async def test_a_refusal_as_json_has_the_same_code(broker, ada):
    """On standard output, where a program reads."""
    reply = await say(broker, ada, "status", "lab", "--json")
    assert (reply.status, reply.stderr) == (1, "")
    assert json.loads(reply.stdout) == {
        "error": "not_found",
        "detail": "You have no desktop 'lab'; 'desk list' shows what you have.",
    }


async def test_an_engine_that_is_down_is_a_reply(world, broker, ada):
    """With the code to look up."""
    with outage(world):
        reply = await say(broker, ada, "start")
    assert reply.status == 1
    assert reply.stderr.endswith(" (engine_unavailable)\n")


async def test_who_lost_account_or_key_is_told_nothing_more(broker, ada):
    """The connection is older than the removal."""
    await broker.accounts.remove_key("ada", ada.credential, actor="uid:0")
    for argv in (["list"], ["start"], ["help"]):
        reply = await say(broker, ada, *argv)
        assert (reply.status, reply.stdout) == (1, "")
        assert (
            reply.stderr == "desk: Your account, password or key was taken away. (access_denied)\n"
        )
    assert await broker.store.live_sessions() == []


# ------------------------------------------------------------------------------------ anything

arguments = st.lists(
    st.one_of(
        st.sampled_from([*" ".join(WORDS).split(), "--json", "--help", "main", "-x"]),
        st.text(st.characters(), max_size=8),
    ),
    max_size=4,
)


@settings(deadline=None)
@given(arguments)
def test_any_arguments_are_a_call_or_bad_usage(argv):
    """Parsing never fails otherwise; inside a desktop it never names one."""
    for inside, words in ((False, set(WORDS)), (True, INSIDE)):
        try:
            call = parse(argv, inside=inside)
        except BadRequest as error:
            assert error.public.isprintable()
        else:
            assert call.word in words
            assert not (inside and call.name)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(argv=arguments)
async def test_words_never_raise(broker, ada, argv):
    """Whatever is said, one person at the door gets a reply."""
    reply = await say(broker, ada, *argv)
    assert reply.status in {0, 1, 2}
    assert bool(reply.stdout) != bool(reply.stderr)


# ------------------------------------------------------------------------- connect, ssh-config


async def test_lines_to_connect_with_name_the_desktop_and_its_display(broker, ada):
    started = await ok(broker, ada, "start", "art", "--json")
    told = await ok(broker, ada, "connect", "art", "--json")
    assert told["shell"].endswith(f"desk+art@{socket.gethostname()}")
    assert told["window"].endswith(f"/{started['display'].removeprefix(':')}")
    assert (await ok(broker, ada, "connect", "art")).splitlines()[0].startswith("a shell   ")
    block = await ok(broker, ada, "ssh-config", "art")
    assert block == (await ok(broker, ada, "ssh-config", "art", "--json"))["block"]
    assert "User desk+art" in block


async def test_lines_for_a_desktop_that_is_not_there_say_so(broker, ada):
    for word in ("connect", "ssh-config"):
        reply = await say(broker, ada, word, "art")
        assert (reply.status, reply.stdout) == (1, "")
        assert "You have no desktop 'art'" in reply.stderr
