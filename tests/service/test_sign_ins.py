"""Browsers in which somebody signed in: links, places in desktops, and how both end."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from broker.core.errors import (
    AccessDenied,
    Blocked,
    CapacityExhausted,
    NotFound,
    Unauthenticated,
)
from broker.core.gateway import Activity, Attachment, Holdings, Right
from broker.core.issued import Hashes, Issued
from broker.core.model import SessionState
from broker.service.entry import WRONG
from broker.service.links import MOST
from tests.service.browsers import Browser
from tests.service.people import ABROAD, HOME, PASSWORD, Person

URL = "http://127.0.0.1:8080"


@pytest.fixture
async def ada(broker):
    return await Browser.signed_in(broker)


@pytest.fixture
async def keyed(broker):
    """Somebody who came by a key over SSH: their identity, and a browser of theirs."""
    person = await Person.make(broker, "kay", password=None)
    key = await person.key()
    return await person.identify(key), Browser(person), key


async def word(broker, identity, *argv):
    return await broker.gateway.word(identity, argv)


async def link_of(broker, identity, *argv):
    reply = await word(broker, identity, "web", *argv)
    assert reply.status == 0, reply
    return reply.stdout.split()[0]


# ------------------------------------------------------------------------------------------ links


async def test_a_word_gives_a_link_that_signs_a_browser_in(broker, keyed):
    """Once, and it stands by the key that asked for it."""
    identity, browser, key = keyed
    link = await link_of(broker, identity)
    assert re.fullmatch(rf"{URL}/#link=[A-Za-z0-9_-]{{43}}", link)
    entered = await browser.follow(link)
    assert (entered.user, entered.sign_in.proven.credential) == ("kay", key.fingerprint)
    assert (await browser.caller()).user_id == browser.person.user.id
    with pytest.raises(Unauthenticated) as refused:
        await browser.follow(link)
    assert refused.value.public == WRONG


async def test_a_link_can_lead_to_a_desktop(broker, keyed):
    identity, _browser, _ = keyed
    work = await broker.desktop("kay", "work")
    assert (await link_of(broker, identity, "work")).endswith(f"&desktop={work.id}")
    await broker.desktop("other", "theirs")
    for name in ("theirs", "none"):
        reply = await word(broker, identity, "web", name)
        told = f"desk: You have no desktop '{name}'. (not_found)\n"
        assert (reply.status, reply.stderr) == (1, told)


async def test_a_link_is_told_to_programs_too(broker, keyed):
    identity, browser, _ = keyed
    reply = await word(broker, identity, "web", "--json")
    assert re.fullmatch(rf'{{"url": "{URL}/#link=\S+", "seconds": 60.0}}\n', reply.stdout)


async def test_of_a_hundred_racers_one_gets_in(broker, keyed):
    identity, browser, _ = keyed
    link = await link_of(broker, identity)
    racers = [Browser(browser.person, address=f"192.0.2.{n}") for n in range(100)]
    found = await asyncio.gather(*(one.follow(link) for one in racers), return_exceptions=True)
    assert sum(isinstance(each, Unauthenticated) for each in found) == 99
    assert len(await broker.store.sign_ins()) == 1


async def test_a_link_is_dead_after_a_minute(broker, keyed):
    identity, browser, _ = keyed
    link = await link_of(broker, identity)
    broker.clock.advance(60)
    with pytest.raises(Unauthenticated):
        await browser.follow(link)


async def test_the_next_broker_revives_no_used_link(broker, world, keyed):
    """And it knows those that were not used."""
    identity, browser, _ = keyed
    used, fresh = await link_of(broker, identity), await link_of(broker, identity)
    await browser.follow(used)
    other = Browser(browser.person.at(await world.broker()))
    with pytest.raises(Unauthenticated):
        await other.follow(used)
    assert await other.follow(fresh)


async def test_a_link_ends_with_the_key_that_asked_for_it(broker, keyed):
    """Whatever it signed in, too: within the very call."""
    identity, browser, key = keyed
    await broker.accounts.set_password("kay", PASSWORD, actor="x")
    waiting, used = await link_of(broker, identity), await link_of(broker, identity)
    await browser.follow(used)
    broker.connections.ended.clear()
    await broker.accounts.remove_key("kay", key.fingerprint, actor="x")
    assert set(broker.connections.ended) == {key.fingerprint, browser.credential}
    with pytest.raises(Unauthenticated):
        await browser.caller()
    with pytest.raises(Unauthenticated):
        await browser.follow(waiting)


async def test_a_key_for_some_addresses_lets_no_browser_in_elsewhere(broker):
    person = await Person.make(broker, "kay", password=None)
    identity = await person.identify(await person.key(sources=["192.0.2.0/24"]), HOME)
    at_home, abroad = Browser(person, address=HOME), Browser(person)
    with pytest.raises(Unauthenticated):
        await abroad.follow(await link_of(broker, identity))
    await at_home.follow(await link_of(broker, identity))
    assert await at_home.caller()
    at_home.address = ABROAD
    with pytest.raises(Unauthenticated):
        await at_home.caller()


async def test_of_many_links_the_newest_count(broker, keyed):
    identity, browser, _ = keyed
    links = []
    for _n in range(MOST + 1):
        broker.clock.advance(1)
        links.append(await link_of(broker, identity))
    with pytest.raises(Unauthenticated):
        await browser.follow(links[0])
    assert await browser.follow(links[1])


async def test_who_gets_no_link(broker, keyed):
    """Whoever may use no browser, whoever has to enrol, and what runs in a desktop."""
    identity, _browser, _ = keyed
    person = await Person.make(broker, "pat")
    await person.ways("password+code", "key", allow__browser=False)
    denied = await person.identify(await person.key())
    reply = await word(broker, denied, "web")
    assert (reply.status, "may not use" in reply.stderr) == (1, True)
    enrolling = await person.type()
    reply = await word(broker, enrolling, "web")
    assert (reply.status, "one-time code" in reply.stderr) == (1, True)
    session = await broker.ensure(await broker.desktop("kay"))
    reply = await broker.words.answer_inside(session.id, ["web"])
    assert (reply.status, "is no word of Desk" in reply.stderr) == (2, True)


@pytest.mark.parametrize(
    ("web", "found"),
    [
        ({"url": "https://desk.example"}, "https://desk.example/#link="),
        ({"listen": "127.0.0.1:8000"}, "http://127.0.0.1:8000/#link="),
        ({"listen": "[::1]:8000"}, "http://[::1]:8000/#link="),
        ({"listen": "0.0.0.0:80", "proxies": ["192.0.2.1"]}, None),
        ({"proxies": ["192.0.2.1"]}, None),
    ],
)
async def test_a_link_begins_where_the_pages_are(world, web, found):
    """Where nobody can tell, the sentence says what is to be configured."""
    broker = await world.broker(web=web)
    person = await Person.make(broker, "kay", password=None)
    identity = await person.identify(await person.key())
    reply = await word(broker, identity, "web")
    if found:
        assert reply.stdout.startswith(found)
    else:
        assert "'web.url'" in reply.stderr


async def test_no_link_is_in_the_log_or_the_state(broker, world, keyed):
    """Before it is used and afterwards."""
    identity, browser, _ = keyed
    with capture_logs() as logs:
        link = await link_of(broker, identity)
        token = link.partition("=")[2]
        before = b"".join(path.read_bytes() for path in world.directory.glob("desk.db*"))
        await browser.follow(link)
        with pytest.raises(Unauthenticated):
            await browser.follow(link)
    after = b"".join(path.read_bytes() for path in world.directory.glob("desk.db*"))
    for secret in (token, browser.secret):
        assert secret not in repr(logs) + repr(await broker.store.audit(limit=1000))
        assert secret.encode() not in before + after


# ------------------------------------------------------------------------------------------ seats


async def test_a_browser_has_a_place_in_its_own_desktop(broker, ada):
    """It is started for that, and the audit names the browser."""
    desktop = await broker.desktop()
    seat = await ada.seat(desktop.id)
    assert ada.said
    assert (seat.desktop, seat.route.desktop_id) == ("main", desktop.id)
    assert seat.rights == tuple(Right)
    identity = seat.identity
    assert (identity.credential, identity.method) == (ada.credential, "browser")
    assert (identity.user, identity.address) == ("ada", ABROAD)
    begun = [e for e in await broker.store.audit() if e.action == "session.begin"]
    assert [(e.actor, e.proof, e.origin) for e in begun] == [
        ("user:ada", f"browser {ada.id}", ABROAD)
    ]
    session = await broker.store.live_session(desktop.id)
    assert session.id == seat.route.session_id
    assert seat.route == await broker.route(await broker.person("ada"))


async def test_a_look_for_a_picture_starts_and_wakes_nothing(broker, ada):
    desktop = await broker.desktop()
    assert (await ada.seat(desktop.id, wake=False)).route is None
    assert await broker.store.live_session(desktop.id) is None
    session = await broker.ensure(desktop)
    assert (await ada.seat(desktop.id, wake=False)).route.session_id == session.id
    await broker.freeze(session)
    assert (await ada.seat(desktop.id, wake=False)).route is None
    assert await broker.state(session) is SessionState.FROZEN
    assert (await ada.seat(desktop.id)).route.session_id == session.id
    assert await broker.state(session) is SessionState.READY


async def test_anothers_desktop_looks_like_one_that_is_missing(broker, ada):
    theirs = await broker.desktop("bob")
    gone = await broker.desktop("ada", "gone")
    await broker.ensure(gone)  # so that its home, and with it the record, stays
    await broker.accounts.remove_desktop(gone.id, with_home=False, actor="x")
    told = set()
    for desktop_id in (theirs.id, gone.id, "0" * 16, "'--", "../x"):
        for wake in (True, False):
            error = await broker.refused(NotFound, ada.seat(desktop_id, wake=wake))
            told.add(error.public.replace(desktop_id, "X"))
    assert told == {"There is no desktop 'X'."}
    assert await broker.store.live_session(theirs.id) is None


@pytest.mark.parametrize("secret", ["", "x", "x" * 43, "\ud800", "x" * 10_000])
async def test_a_secret_of_nobody_has_no_place(broker, ada, secret):
    desktop = await broker.desktop()
    ada.secret = secret
    await broker.refused(Unauthenticated, ada.seat(desktop.id))
    await broker.refused(Unauthenticated, ada.seat(None))


async def test_rights_are_what_the_policy_allows(broker, ada):
    desktop = await broker.desktop()
    await ada.person.ways(allow__clipboard_in=False, allow__sftp=False)
    seat = await ada.seat(desktop.id)
    assert set(Right) - set(seat.rights) == {Right.CLIPBOARD_IN, Right.FILES}
    await ada.person.ways(allow__clipboard_out=False)
    assert set(Right) - set((await ada.seat(desktop.id)).rights) == {Right.CLIPBOARD_OUT}
    await ada.person.ways(allow__browser=False)
    await broker.refused(Unauthenticated, ada.seat(desktop.id))


async def test_who_has_to_enrol_has_no_place(broker, ada):
    desktop = await broker.desktop()
    await ada.person.ways("password+code")
    error = await broker.refused(AccessDenied, ada.seat(desktop.id))
    assert "one-time code" in error.public


async def test_what_denied_a_link_its_maker_denies_the_browser(broker, keyed):
    """A certificate without files gives none by a detour."""
    identity, browser, _ = keyed
    allowed = tuple(each for each in identity.allowed if each != "sftp")
    await browser.follow(await link_of(broker, replace(identity, allowed=allowed)))
    seat = await browser.seat((await broker.desktop("kay")).id)
    assert Right.FILES not in seat.rights
    assert Right.CLIPBOARD_IN in seat.rights


# ------------------------------------------------------------------------------------------- ends


async def test_a_door_learns_what_ended_while_the_broker_was_away(broker, world, ada):
    """What stands, stands."""
    kept = await Browser.signed_in(broker, "kay")
    desktop, other = await broker.desktop(), await broker.desktop("kay")
    held = [(await ada.seat(desktop.id)).identity, (await kept.seat(other.id)).identity]
    await broker.store.end_sign_in(ada.id, actor="x")
    later = await world.broker()

    class Door:
        ended = []

        def end_credential(self, credential, sentence):
            self.ended.append(credential)

        def end_session(self, *_args, **_more):
            raise AssertionError

    await later.gateway.catch_up(Holdings(identities=tuple(held), sessions=()), Door())
    assert Door.ended == [ada.credential]


async def test_a_revoked_key_ends_the_browser_that_stands_by_it(broker, keyed, tmp_path):
    """By the list of what is revoked, as a connection over SSH."""
    identity, browser, key = keyed
    await browser.follow(await link_of(broker, identity))
    await browser.seat((await broker.desktop("kay")).id)
    revoked = tmp_path / "revoked"
    revoked.write_text(f"{key.public}\n")
    await broker.certificates.revocations.move(revoked)
    await broker.standing.look()
    assert broker.connections.ended == [browser.credential]
    await broker.refused(Unauthenticated, browser.caller())


async def test_whoever_is_in_a_desktop_by_it_uses_it(broker, ada):
    """Without a word to the API for longer than it may be idle; but not for ever."""
    seat = await ada.seat((await broker.desktop()).id)
    here = Attachment(
        id="a", session_id=seat.route.session_id, user="ada", peer=f"{ABROAD}:1", client="Firefox"
    )
    activity = Activity(attachment=here, attached_for=1.0, kinds=("browser",), ages={})
    hours = 0
    while await broker.store.sign_ins():
        broker.clock.advance(3600)
        broker.presence.report("door", [activity])
        await broker.sign_ins.look()
        hours += 1
    assert hours == 7 * 24
    assert broker.connections.ended == [ada.credential]


async def test_a_sign_in_that_nobody_uses_keeps_nobodys_place(broker, ada):
    """Another browser of the same user being in a desktop does not count for it."""
    other = Browser(ada.person)
    await other.type()
    seat = await other.seat((await broker.desktop()).id)
    here = Attachment(
        id="a", session_id=seat.route.session_id, user="ada", peer=f"{ABROAD}:1", client="Firefox"
    )
    for _hour in range(12):
        broker.clock.advance(3600)
        broker.presence.report(
            "door", [Activity(attachment=here, attached_for=1.0, kinds=("browser",), ages={})]
        )
        await broker.sign_ins.look()
    assert [each.id for each in await broker.store.sign_ins()] == [other.id]


# ---------------------------------------------------------------------------------------- entering


async def test_as_much_is_computed_whoever_it_is(broker, monkeypatch):
    """One hash each, as over SSH: the very same code."""
    person = await Person.make(broker)
    hashes = []
    check = broker.passwords._check
    monkeypatch.setattr(broker.passwords, "_check", lambda *args: hashes.append(1) or check(*args))
    browser = Browser(person)
    for name, password in [("ada", "wrong"), ("nobody", "wrong"), ("x" * 200, "y" * 2000)]:
        hashes.clear()
        with pytest.raises(Unauthenticated):
            await browser.type(password, name=name)
        assert len(hashes) == 1


async def test_passwords_of_browsers_have_the_places_of_all(broker):
    """A flood of them is refused by the same bound."""
    person = await Person.make(broker)
    found = await asyncio.gather(
        *(Browser(person).type("wrong", name=f"u{n}") for n in range(60)), return_exceptions=True
    )
    assert any(isinstance(each, CapacityExhausted) for each in found)
    assert {type(each) for each in found} <= {CapacityExhausted, Unauthenticated, Blocked}


async def test_failures_and_logins_are_counted_as_others(broker):
    person = await Person.make(broker)
    with pytest.raises(Unauthenticated):
        await Browser(person).type("wrong")
    await Browser(person).type()
    await broker.logins.settle()
    logins = [e for e in await broker.store.audit() if e.action == "login"]
    assert [(e.actor, e.proof, e.origin) for e in logins] == [("user:ada", "password", ABROAD)]
    assert 'desk_auth_failures_total{reason="password"} 1.0' in broker.metrics.render().decode()


async def test_a_code_set_up_in_the_browser_counts_for_it(broker, ada):
    """It is not asked to sign in again."""
    await ada.person.ways("password+code")
    assert (await ada.caller()).enrol
    caller = await ada.caller()
    await ada.person.enrol()
    await broker.refused(Unauthenticated, ada.caller())
    await broker.sign_ins.enrolled(caller.sign_in, actor=caller.actor)
    assert not (await ada.caller()).enrol


async def test_a_certificate_signs_in_for_no_longer_than_one_may_be_idle(broker, keyed):
    """When it ends is not known any more."""
    identity, browser, _ = keyed
    blob = Hashes(sha256=b"x" * 32, sha1=b"x" * 20)
    issued = Issued(authority=blob, serial=7, key=blob, key_id=b"x" * 32)
    broker.credentials.holder = lambda *_: soon(browser.person.user)
    by_certificate = replace(identity, credential=str(issued), method="certificate")
    await browser.follow(await link_of(broker, by_certificate))
    for _hour in range(11):
        broker.clock.advance(3600)
        assert await browser.caller()
    await broker.sign_ins.look()
    assert broker.connections.ended == []
    broker.clock.advance(3600)
    await broker.refused(Unauthenticated, browser.caller())
    await broker.sign_ins.look()
    assert broker.connections.ended == [browser.credential]


async def soon(value):
    return value
