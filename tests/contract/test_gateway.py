"""What every Gateway promises, shown for the one in the broker's process and the one over a socket."""

from __future__ import annotations

import asyncio

import pytest

from broker.core.errors import (
    AccessDenied,
    BadRequest,
    Blocked,
    CapacityExhausted,
    HeldBack,
    NotFound,
    StartFailed,
)
from broker.core.gateway import Allowance, Holdings, Identity, Load, Login, OfferedKey, Penalty
from broker.core.idle import Signal
from broker.core.model import SessionId, SessionState
from broker.service.connections import Doors
from tests.contract.gateways import PENALTY, FakeDoor, Pair, activity, attachment, until
from tests.service.conftest import directory, world  # noqa: F401 - fixtures
from tests.service.harness import Gate, new_key

STRANGER = OfferedKey(algorithm="ssh-ed25519", fingerprint="SHA256:" + "x" * 43)


class Site:
    """A broker, the doors that it knows, and a gateway of the one under test."""

    def __init__(self, broker, doors, door, gateway) -> None:
        self.broker, self.doors, self.door, self.gateway = broker, doors, door, gateway
        self.said: list[str] = []

    async def route(self, identity, display=None):
        return await self.gateway.route(identity, display=display, progress=self.said.append)

    @property
    def present(self):
        return {one.attachment.id: one for one in self.broker.presence.everybody()}


@pytest.fixture(params=["local", "remote"])
async def site(request, world, tmp_path):  # noqa: F811 - fixtures
    doors, door = Doors(), FakeDoor()
    broker = await world.broker(connections=doors)
    if request.param == "local":
        doors.join(door.id, door)
        yield Site(broker, doors, door, broker.gateway)
        return
    pair = Pair(tmp_path, broker.gateway, doors)
    await pair.open()
    yield Site(broker, doors, door, await pair.connected(door))
    await pair.close()


# ------------------------------------------------------------------------------------ identify


async def test_a_key_names_its_person(site):
    """Whole, with the desktop that the login asked for."""
    key, line = new_key()
    user = await site.broker.accounts.add_user("ada", admin=False, keys=[line], actor="uid:0")
    found = await site.gateway.identify(Login("ada", "lab"), key, "192.0.2.1")
    assert found == Identity(
        user_id=user.id,
        user="ada",
        desktop="lab",
        credential=key.fingerprint,
        method="key",
        address="192.0.2.1",
        allowed=tuple(Allowance),
    )


async def test_a_key_that_nobody_has_names_nobody(site):
    assert await site.gateway.identify(Login(None, None), STRANGER, "192.0.2.1") is None


# --------------------------------------------------------------------------------------- route


async def test_a_route_leads_to_the_desktop_and_starts_it(site):
    """With all that a dial needs, and a sentence while it starts."""
    identity = await site.broker.person()
    route = await site.route(identity)
    assert site.said == ["Starting your desktop 'main' …"]
    session = await site.broker.store.session(SessionId(route.session_id))
    access = site.broker.keys.access(session.id)
    assert (session.state, route.display) == (SessionState.READY, session.display)
    assert (route.host_key, route.client_key) == (access.host_key, access.client_key)
    assert route.endpoints == site.broker.sessions.endpoints(session)
    assert await site.route(identity, display=session.display) == route


async def test_a_display_of_somebody_else_leads_to_the_default_desktop(site):
    ada, bob = await site.broker.person("ada"), await site.broker.person("bob")
    theirs = await site.route(bob)
    mine = await site.route(ada, display=theirs.display)
    assert mine.session_id != theirs.session_id


async def test_a_refusal_keeps_its_code_and_its_sentence(site):
    """A desktop that does not exist, and a start that failed."""
    identity = await site.broker.person(desktop="lab")
    refused = await site.broker.refused(NotFound, site.route(identity))
    assert refused.public.startswith("You have no desktop 'lab'")
    site.broker.world.engine.fail_next("create", StartFailed("its secret reason"))
    refused = await site.broker.refused(StartFailed, site.route(await site.broker.person("bob")))
    assert refused.told == f"{StartFailed.default} (start_failed)"


@pytest.mark.parametrize("kind", [Blocked, CapacityExhausted, HeldBack])
async def test_a_refusal_for_a_while_says_for_how_long(site, kind):
    wanted = kind(public="Not now.", retry_after=40)

    async def full(*_args, **_kwargs):
        raise wanted

    site.broker.sessions.ensure = full
    refused = await site.broker.refused(kind, site.route(await site.broker.person()))
    assert (refused.public, refused.retry_after) == (wanted.public, 40)


async def test_a_key_that_was_taken_away_since_leads_nowhere(site):
    """Its connection was proven by a key that was good a moment before."""
    identity = await site.broker.person()
    await site.broker.accounts.remove_key("ada", identity.credential, actor="uid:0")
    await site.broker.refused(AccessDenied, site.route(identity))


async def test_a_cancelled_caller_stops_waiting_and_the_start_goes_on(site):
    identity = await site.broker.person()
    gate = site.broker.world.engine.before = Gate("create")
    waiting = asyncio.get_running_loop().create_task(site.route(identity))
    await gate.reached.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.open.set()
    await site.broker.landed()
    desktop = await site.broker.desktop()
    assert (await site.broker.store.live_session(desktop.id)).state is SessionState.READY


async def test_a_lost_session_is_looked_at(site):
    """And ended, when its container died."""
    route = await site.route(await site.broker.person())
    session = await site.broker.store.session(SessionId(route.session_id))
    site.broker.world.engine.die(site.broker.world.running[session.id])
    site.broker.clock.advance(5)
    await site.gateway.lost(session.id)
    assert await site.broker.state(session) is SessionState.ENDED


# --------------------------------------------------------------------------- words, the HTTP port


async def test_a_word_is_answered(site):
    identity = await site.broker.person()
    reply = await site.gateway.word(identity, ["list"])
    assert (reply.status, reply.stderr) == (0, "")
    assert "You have no desktop yet" in reply.stdout


async def test_a_refused_word_is_a_reply(site):
    """Also one that is no valid text."""
    reply = await site.gateway.word(await site.broker.person(), ["dän\udcff\x00"])
    assert reply.status == 2
    assert "is no word of Desk" in reply.stderr


async def test_the_http_port_is_answered(site):
    reply = await site.gateway.http("GET", "/metrics")
    assert reply.status == 200
    assert b"# HELP desk_session_starts_total" in reply.body
    assert (await site.gateway.http("POST", "/readyz")).status == 405


# ---------------------------------------------------------------------------------- attachments


async def test_who_comes_and_goes_is_known(site):
    """However often it is told."""
    for _ in range(2):
        await site.gateway.attached(site.door.id, attachment("a"))
        await site.gateway.attached(site.door.id, attachment("b"))
    assert {name: one.attachment for name, one in site.present.items()} == {
        "a": attachment("a"),
        "b": attachment("b"),
    }
    for _ in range(2):
        await site.gateway.detached(site.door.id, "a")
    assert set(site.present) == {"b"}


async def test_a_report_is_the_whole(site):
    """What it does not name has left; what it tells of is known."""
    await site.gateway.attached(site.door.id, attachment("gone"))
    told = [activity("a", ages={Signal.TYPING: 2.0, Signal.DATA: 7.0}), activity("b", ages={})]
    await site.gateway.report(site.door.id, told)
    assert set(site.present) == {"a", "b"}
    now = site.broker.clock.monotonic()
    assert site.present["a"].kinds == ("shell",)
    assert now - site.present["a"].last_input == 2.0
    assert site.present["b"].last_input is None
    await site.gateway.report(site.door.id, [])
    assert site.present == {}


async def test_how_much_a_door_carries_is_known_for_as_long_as_it_is_there(site):
    """The last word counts."""
    site.broker.presence.carries("another", Load(connections=1, authenticated=1))
    for number in (7, 5):
        await site.gateway.carries(site.door.id, Load(connections=number, authenticated=3))
    told = {(load.connections, load.authenticated) for load in site.broker.presence.loads()}
    assert told == {(1, 1), (5, 3)}
    site.broker.gateway.gone(site.door.id)
    assert len(site.broker.presence.loads()) == 1


async def test_a_door_that_is_gone_has_lost_everybody(site):
    await site.gateway.attached(site.door.id, attachment("a"))
    site.broker.presence.attached("another", attachment("b"))
    site.broker.gateway.gone(site.door.id)
    site.broker.gateway.gone(site.door.id)
    assert set(site.present) == {"b"}


# ------------------------------------------------------------------------------------ penalties


async def test_a_penalty_is_told_to_all_other_doors(site):
    others = [FakeDoor("two"), FakeDoor("three")]
    for other in others:
        site.doors.join(other.id, other)
    await site.gateway.penalise(site.door.id, PENALTY)
    assert [other.told for other in others] == [[("penalty", PENALTY)]] * 2
    assert site.door.told == []


@pytest.mark.parametrize(
    "changes",
    [
        {"source": "0.0.0.0/0"},
        {"source": "::/0"},
        {"source": "everybody"},
        {"seconds": 0.0},
        {"seconds": 1e9},
        {"offence": "x\n" * 99},
        {"offence": ""},
    ],
)
async def test_no_door_shuts_out_everybody_or_for_ever(site, changes):
    """Nor tells others what is no penalty."""
    other = FakeDoor("two")
    site.doors.join(other.id, other)
    given = {"source": "192.0.2.0/24", "offence": "crash", "seconds": 30.0}
    await site.broker.refused(
        BadRequest, site.gateway.penalise(site.door.id, Penalty(**{**given, **changes}))
    )
    await site.gateway.penalise(site.door.id, Penalty(**given))
    assert other.told == [("penalty", Penalty(**given))]


# ---------------------------------------------------------------------------- what a door is told


async def test_ends_reach_the_door(site):
    """Of a key, a session that sleeps, one that was stopped, and a person."""
    identity = await site.broker.person()
    route = await site.route(identity)
    session = await site.broker.store.session(SessionId(route.session_id))
    await site.broker.freeze(session)
    await site.broker.sessions.stop(session.id, reason="it was time", actor="uid:0")
    await site.broker.accounts.remove_key("ada", identity.credential, actor="uid:0")
    await site.broker.accounts.remove_user("ada", actor="uid:0")
    await until(lambda: len(site.door.told) == 4)
    asleep, stopped, key, user = site.door.told
    assert asleep == ("session", session.id, "It sleeps.", True)
    assert stopped == ("session", session.id, "Your desktop was stopped: it was time.", False)
    assert (*key[:2], *user[:2]) == ("key", identity.credential, "user", identity.user_id)


async def test_a_door_that_was_away_hears_what_is_over_meanwhile(site):
    """Sessions that sleep, ended or are unknown, keys that were taken away and people who were
    removed; of what goes on it hears nothing.
    """
    broker = site.broker
    people = {name: await broker.person(name) for name in ("ada", "bob", "cyd", "eve")}
    routes = {name: (await site.route(person)).session_id for name, person in people.items()}
    sessions = {name: await broker.store.session(SessionId(s)) for name, s in routes.items()}
    site.doors.part(site.door.id, site.doors._doors[site.door.id])
    await broker.freeze(sessions["ada"])
    await broker.sessions.stop(sessions["bob"].id, reason="it was time", actor="uid:0")
    await broker.accounts.remove_key("cyd", people["cyd"].credential, actor="uid:0")
    await broker.accounts.remove_user("bob", actor="uid:0")
    held = Holdings(identities=tuple(people.values()), sessions=(*routes.values(), "unknown"))
    back = FakeDoor()
    await broker.gateway.catch_up(held, back)
    ends = {told[1]: told for told in back.told}
    assert len(back.told) == len(ends)
    assert set(ends) == {
        routes["ada"],
        routes["bob"],
        "unknown",
        people["bob"].credential,
        people["cyd"].credential,
    }
    asleep = "Your desktop sleeps: nobody used it. Connect again to wake it."
    assert ends[routes["ada"]] == ("session", routes["ada"], asleep, True)
    kind, _, sentence, sleeps = ends[routes["bob"]]
    assert (kind, sleeps) == ("session", False)
    assert sentence.startswith("Your desktop was stopped: it was time. Connect again")
    assert ends[people["cyd"].credential][0] == "key"
