"""What a front door may ask, answered."""

from __future__ import annotations

import json

import pytest

from broker.core.errors import (
    AccessDenied,
    BadRequest,
    CapacityExhausted,
    Conflict,
    NotFound,
    StateUnusable,
)
from broker.core.gateway import Attachment, Login, OfferedKey
from broker.core.model import DesktopId, SessionId, SessionState
from tests.service.harness import new_key

UNKNOWN = OfferedKey(algorithm="ssh-ed25519", fingerprint="SHA256:" + "x" * 43)


async def known(broker, name="ada"):
    key, line = new_key()
    await broker.accounts.add_user(name, admin=False, keys=[line], actor="uid:0")
    return key


# ------------------------------------------------------------------------------------ identify


@pytest.mark.parametrize("login", [Login(None, None), Login("ada", None)])
async def test_a_key_names_its_person_under_the_shared_and_the_own_name(broker, login):
    """`desk@` and `ada@` are the same person with ada's key."""
    key = await known(broker)
    identity = await broker.gateway.identify(login, key, "192.0.2.1")
    assert (identity.user, identity.desktop) == ("ada", None)
    assert identity.credential == key.fingerprint


async def test_the_login_names_the_desktop(broker):
    """It is taken as it stands; whether it exists is asked when it is wanted."""
    key = await known(broker)
    identity = await broker.gateway.identify(Login(None, "lab"), key, "192.0.2.1")
    assert identity.desktop == "lab"


async def test_a_key_proves_nobody_else(broker):
    """Under another's name one's own key is nothing."""
    key = await known(broker)
    await known(broker, "bob")
    assert await broker.gateway.identify(Login("bob", None), key, "192.0.2.1") is None
    assert await broker.gateway.identify(Login("nobody", None), key, "192.0.2.1") is None


async def test_an_unknown_key_is_nobody(broker):
    """Whatever name it comes with."""
    await known(broker)
    for name in (None, "ada"):
        assert await broker.gateway.identify(Login(name, None), UNKNOWN, "192.0.2.1") is None


async def test_a_removed_users_key_is_nobody(broker):
    """And may become somebody else's."""
    key = await known(broker)
    await broker.accounts.remove_user("ada", actor="uid:0")
    assert await broker.gateway.identify(Login(None, None), key, "192.0.2.1") is None


async def test_a_mere_probe_starts_and_writes_nothing(world, broker):
    """Anybody may ask with anybody's public key."""
    key = await known(broker)
    audit = await broker.store.audit()
    calls = len(world.engine.calls)
    for name in (None, "ada", "bob"):
        await broker.gateway.identify(Login(name, None), key, "192.0.2.1")
    assert await broker.store.audit() == audit
    assert len(world.engine.calls) == calls


# --------------------------------------------------------------------------------------- route


async def test_the_first_route_makes_and_starts_the_default_desktop(broker):
    """With one sentence of progress, and all that a door needs to dial."""
    identity = await broker.person()
    route = await broker.route(identity)
    assert broker.said == ["Starting your desktop 'main' …"]
    session = await broker.store.session(SessionId(route.session_id))
    assert (route.desktop, route.display, route.user) == ("main", session.display, "desk")
    assert [(e.host, e.port) for e in route.endpoints] == [
        (session.address, 2222),
        ("127.0.0.1", session.port),
    ]
    assert route.host_key.startswith("ssh-ed25519 ")
    assert "PRIVATE KEY" in route.client_key


async def test_a_running_desktop_is_routed_to_without_a_word(broker):
    """Nothing is said when nothing is waited for."""
    identity = await broker.person()
    first = await broker.route(identity)
    assert await broker.route(identity) == first
    assert broker.said == []


async def test_a_display_of_ones_own_picks_its_desktop(broker):
    """Whatever desktop the login named."""
    identity = await broker.person()
    main = await broker.route(identity)
    await broker.desktop(desktop="lab")
    lab = await broker.route(await broker.person(desktop="lab"))
    assert lab.desktop_id != main.desktop_id
    assert await broker.route(identity, lab.display) == lab
    assert await broker.route(await broker.person(desktop="lab"), main.display) == main


async def test_a_display_of_somebody_else_means_the_default(broker):
    """Nobody reaches another's desktop by its number."""
    theirs = await broker.route(await broker.person("bob"))
    mine = await broker.route(await broker.person("ada"), theirs.display)
    assert mine.desktop_id != theirs.desktop_id
    assert mine.desktop == "main"


@pytest.mark.parametrize("display", [0, 10, 99999])
async def test_a_display_that_nobody_holds_means_the_default(broker, display):
    """`:10` works for everybody."""
    route = await broker.route(await broker.person(), display)
    assert route.desktop == "main"


async def test_a_named_desktop_that_is_there_is_started(broker):
    """`desk+lab@`."""
    await broker.desktop(desktop="lab")
    route = await broker.route(await broker.person(desktop="lab"))
    assert route.desktop == "lab"
    assert broker.said == ["Starting your desktop 'lab' …"]


async def test_an_unknown_desktop_is_not_made_by_a_typo(broker):
    """The sentence says how it is made on purpose."""
    refused = await broker.refused(NotFound, broker.route(await broker.person(desktop="lba")))
    assert refused.public == (
        "You have no desktop 'lba'; 'ssh desk@… desk start lba' makes it,"
        " 'desk list' shows what you have."
    )
    assert await broker.store.desktops() == []


@pytest.mark.parametrize("name", ["../../etc", "x\x1b[2J", "x\udcff", ""])
async def test_an_impossible_desktop_is_refused_in_safe_words(broker, name):
    """No control character comes back, and nothing raises but a refusal."""
    identity = await broker.person(desktop=name)
    if not name:
        assert (await broker.route(identity)).desktop == "main"
        return
    refused = await broker.refused(BadRequest, broker.route(identity))
    assert "cannot be used" in refused.public
    assert refused.public.isprintable()


async def test_the_default_desktop_counts_against_the_bound_as_any(world):
    """Who has as many others as allowed is told so."""
    broker = await world.broker(desktops_per_user=1)
    await broker.desktop(desktop="lab")
    await broker.refused(Conflict, broker.route(await broker.person()))


async def test_a_key_taken_away_after_identifying_opens_nothing(world, broker):
    """The connection is older than the removal."""
    identity = await broker.person()
    await broker.accounts.remove_key("ada", identity.credential, actor="uid:0")
    refused = await broker.refused(AccessDenied, broker.route(identity))
    assert refused.public == "Your account, password or key was taken away."
    assert world.containers == set()


async def test_a_key_given_to_somebody_else_meanwhile_opens_nothing(broker):
    """The connection proved ada; the key is bob's now."""
    key, line = new_key()
    await broker.accounts.add_user("ada", admin=False, keys=[line], actor="uid:0")
    identity = await broker.gateway.identify(Login(None, None), key, "192.0.2.1")
    await broker.accounts.remove_user("ada", actor="uid:0")
    await broker.accounts.add_user("bob", admin=False, keys=[line], actor="uid:0")
    await broker.refused(AccessDenied, broker.route(identity))


async def test_a_refusal_of_a_start_reaches_the_door(world):
    """As the error that it is."""
    broker = await world.broker(ports="20000-20000")
    await broker.route(await broker.person("ada"))
    await broker.refused(CapacityExhausted, broker.route(await broker.person("bob")))


async def test_a_session_whose_keys_are_gone_is_refused_not_guessed(broker):
    """Without the pinned host key there is no way in."""
    identity = await broker.person()
    route = await broker.route(identity)
    broker.keys.remove(SessionId(route.session_id))
    await broker.refused(StateUnusable, broker.route(identity))


async def test_a_killed_container_is_replaced_with_the_same_home(world, broker):
    """Lost at once, started afresh at the next connect."""
    identity = await broker.person()
    first = await broker.route(identity)
    desktop = await broker.store.desktop(DesktopId(first.desktop_id))
    world.home(desktop).files["thesis.tex"] = "draft"
    world.engine.die(f"desk-{first.session_id}", oom_killed=True)
    broker.clock.advance(1)
    await broker.gateway.lost(first.session_id)
    second = await broker.route(identity)
    assert second.session_id != first.session_id
    assert world.home(desktop).files == {"thesis.tex": "draft"}
    ended = await broker.store.session(SessionId(first.session_id))
    assert (ended.state, ended.reason) == (
        SessionState.ENDED,
        "its container ran out of memory",
    )
    await broker.check()


# ---------------------------------------------------------------------------- presence, health


def attachment(number: int, session_id: str) -> Attachment:
    return Attachment(
        id=f"a{number}",
        session_id=session_id,
        user="ada",
        peer="192.0.2.1:50000",
        client="SSH-2.0-OpenSSH_10.0",
    )


async def test_attachments_are_counted_by_session(broker):
    """Told twice they count once; leaving twice is leaving."""
    gateway = broker.gateway
    for number, session in ((1, "s1"), (1, "s1"), (2, "s1"), (3, "s2")):
        await gateway.attached("door", attachment(number, session))
    assert broker.presence.counts() == {"s1": 2, "s2": 1}
    await gateway.detached("door", "a1")
    await gateway.detached("door", "a1")
    await gateway.detached("door", "never seen")
    assert broker.presence.counts() == {"s1": 1, "s2": 1}


async def test_readyz_is_well_when_everything_is(broker):
    """Each check says ok."""
    await beating(broker)
    reply = await broker.gateway.http("GET", "/readyz")
    assert reply.status == 200
    told = json.loads(reply.body)
    assert told["ready"] is True
    assert set(told["checks"].values()) == {"ok"}


async def beating(broker):
    """Each loop went through once."""
    for loop in broker.services.loops:
        # The pass of these is as long as their life.
        if loop in {broker.listening, broker.services.guarding}:
            loop.beat()
        else:
            await loop.once()


async def readiness(broker):
    reply = await broker.gateway.http("GET", "/readyz")
    assert reply.status == 503
    checks = json.loads(reply.body)["checks"]
    return {name: said for name, said in checks.items() if said != "ok"}


async def test_readyz_tells_of_an_engine_that_is_down(world, broker):
    """In words that anybody may read."""
    await beating(broker)
    world.engine.down = True
    assert set(await readiness(broker)) == {"engine", "image"}


async def test_readyz_tells_of_a_missing_image(world):
    """Nobody could start a desktop."""
    broker = await world.broker(image="desk:absent")
    await beating(broker)
    assert set(await readiness(broker)) == {"image"}


async def test_readyz_tells_of_a_state_that_cannot_be_read(broker):
    """Without the path or the reason, which are the operator's."""
    await beating(broker)

    async def broken():
        raise StateUnusable("/var/lib/desk/desk.db: disk I/O error")

    broker.real_store.instance = broken
    assert await readiness(broker) == {"state": "The state cannot be used."}


async def test_readyz_tells_of_a_loop_that_has_not_succeeded_in_time(broker):
    """Never yet, and too long ago: three of its periods."""
    found = await readiness(broker)
    assert found["reap"] == "the loop 'reap' has not succeeded yet"
    assert set(found) == {loop.name for loop in broker.services.loops}
    await beating(broker)
    broker.clock.advance(121)
    assert await readiness(broker) == {
        "reap": "the loop 'reap' last succeeded 121 s ago",
        "events": "the loop 'events' last succeeded 121 s ago",
        "firewall": "the loop 'firewall' last succeeded 121 s ago",
        "revoke": "the loop 'revoke' last succeeded 121 s ago",
        "expire": "the loop 'expire' last succeeded 121 s ago",
        "shares": "the loop 'shares' last succeeded 121 s ago",
    }
    broker.clock.advance(60)
    assert set(await readiness(broker)) == {
        *("reconcile", "reap", "events", "canary", "firewall", "revoke", "expire", "shares")
    }
    broker.clock.advance(30 * 86400)
    assert set(await readiness(broker)) == {loop.name for loop in broker.services.loops}


async def test_readyz_tells_that_the_broker_stops(broker):
    """So that nobody is sent here any more."""
    await beating(broker)
    broker.sessions.closing = True
    assert await readiness(broker) == {"stopping": "the broker is stopping"}


async def test_metrics_are_in_prometheus_format(broker):
    """With its content type."""
    reply = await broker.gateway.http("GET", "/metrics")
    assert reply.content_type.startswith("text/plain; version=0.0.4")
    assert b"# HELP desk_session_starts_total" in reply.body


async def test_other_paths_and_methods_are_refused(broker):
    """Nothing else is served, and nothing is changed here."""
    assert (await broker.gateway.http("GET", "/etc/passwd")).status == 404
    assert (await broker.gateway.http("POST", "/readyz")).status == 405
    assert (await broker.gateway.http("HEAD", "/metrics")).status == 200
