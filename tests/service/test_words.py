"""The broker's own words, plain and as JSON; whatever is said, the answer is a reply."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.core.errors import BadRequest
from broker.core.gateway import Attachment
from broker.core.model import SessionState
from broker.service.words import WORDS, parse
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


@pytest.mark.parametrize("word", ["list", "status", "help", "stop"])
async def test_only_start_starts_anything(world, broker, ada, word):
    """A stopped desktop stays stopped, whatever else is said."""
    await broker.desktop()
    await ok(broker, ada, word)
    assert not WRITES & set(world.engine.calls)
    assert await broker.store.live_sessions() == []


# ----------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("word", ["status", "stop"])
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
    for word in ("status", "stop"):
        assert (await say(broker, ada, word, "lab")).status == 1
    assert await broker.state(theirs) is SessionState.READY


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ["restart"],
            "'restart' is no word of Desk; there are help, list, status, why, start, stop, extend, keep, sleep.",
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
    await broker.accounts.remove_key("ada", ada.fingerprint, actor="uid:0")
    for argv in (["list"], ["start"], ["help"]):
        reply = await say(broker, ada, *argv)
        assert (reply.status, reply.stdout) == (1, "")
        assert reply.stderr == "desk: Your account or key was taken away. (access_denied)\n"
    assert await broker.store.live_sessions() == []


# ------------------------------------------------------------------------------------ anything

arguments = st.lists(
    st.one_of(
        st.sampled_from([*WORDS, "--json", "--help", "main", "-x"]),
        st.text(st.characters(), max_size=8),
    ),
    max_size=4,
)


@settings(deadline=None)
@given(arguments)
def test_any_arguments_are_a_call_or_bad_usage(argv):
    """Parsing never fails otherwise."""
    try:
        call = parse(argv)
    except BadRequest as error:
        assert error.public.isprintable()
    else:
        assert call.word in WORDS


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(argv=arguments)
async def test_words_never_raise(broker, ada, argv):
    """Whatever is said, one person at the door gets a reply."""
    reply = await say(broker, ada, *argv)
    assert reply.status in {0, 1, 2}
    assert bool(reply.stdout) != bool(reply.stderr)
