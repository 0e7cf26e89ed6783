"""Who may what: the table of routes says, and each answer of the real API is held to it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import timedelta

import pytest

from broker.core.model import SessionId, SessionState
from broker.core.shares import Mode
from broker.core.signins import Proven, new_secret
from broker.core.tokens import ALL_SCOPES, Reach, Scope, csrf_of
from broker.http.routes import PREFIX
from broker.http.table import TABLE
from broker.service import guests
from broker.service.entry import WRONG
from tests.service.harness import new_key

CLIENT = "192.0.2.7"


@dataclass(frozen=True)
class Role:
    """Who calls: by a token of one scope, by a browser, by nothing, or as the kernel's admin."""

    name: str
    who: str | None = None
    """Whose the token is: `member`, who is no admin, or `boss`, who is."""
    scopes: frozenset = frozenset()
    reach: Reach = Reach.OWN
    browser: bool = False
    """Whether they are signed in with one."""
    enrol: bool = False
    """Whether they have to set up a code before anything else."""


ROLES = [
    Role("kernel", scopes=frozenset(Scope), reach=Reach.ALL),
    Role("nobody"),
    *(
        Role(f"{who} {scope} {reach}", who, frozenset({scope}), reach)
        for who, scope, reach in itertools.product(("member", "boss"), Scope, Reach)
        if who == "boss" or (reach is Reach.OWN and scope is not Scope.ADMIN)
    ),
    Role("boss everything", "boss", frozenset(Scope), Reach.ALL),
    Role("member's browser", "member", ALL_SCOPES - {Scope.ADMIN}, browser=True),
    Role("boss's browser", "boss", ALL_SCOPES, Reach.ALL, browser=True),
    Role("newcomer's browser", "newcomer", ALL_SCOPES - {Scope.ADMIN}, browser=True, enrol=True),
]

#: Of each thing, whose it is to the caller.
TARGETS = ("own", "other", "admin")

#: A body that is taken, of each model; a route with a new one must say one here.
BODIES = {
    "NewUser": lambda cast: {"name": cast.fresh()},
    "NewKey": lambda _: {"key": new_key()[1]},
    "KeyChange": lambda cast: {"name": cast.fresh()},
    "NewPassword": lambda _: {"password": "short"},  # refused, behind the rule
    "NewInvite": lambda _: {},
    "Recovery": lambda _: {},
    "NewGroup": lambda cast: {"name": cast.fresh()},
    "GroupChange": lambda _: {},
    "Kill": lambda _: {},
    "NewDesktop": lambda cast: {"name": cast.fresh(), "user": cast.about},
    "Message": lambda _: {"text": "hello"},
    "NewShare": lambda _: {},
    "NewGuest": lambda _: {"token": "wrong", "name": "Eve"},  # refused, behind the rule
    "Size": lambda _: {"width": 1024, "height": 768},
    "Examination": lambda _: {},
    "Extend": lambda _: {"time": "1h"},
    "NewDrain": lambda _: {},
    "NewBroadcast": lambda _: {"text": "hello"},
    "ByPassword": lambda _: {"user": "nobody", "password": "wrong"},  # refused, behind the rule
    "ByCode": lambda _: {"ticket": "wrong", "code": "123456"},  # and these
    "CodeShown": lambda _: {"code": "123456"},
    "ByLink": lambda _: {"token": "wrong"},
}

#: Routes whose thing may be missing for whoever may use them, too.
MAY_MISS = {
    *("lift_login_block", "remove_password", "remove_codes", "leave_group", "confirm_codes"),
    *("leave_for_provider", "come_back_from_provider", "unbind_user"),
}


@pytest.fixture
async def broker(world):  # noqa: F811 - for more people than elsewhere
    return await world.broker(
        ports="20000-28999", displays="1000-9999", uids="200000-299999", at_once=8
    )


class Cast:
    """People and their things, made anew for a call that may take them away."""

    numbers = itertools.count()

    def __init__(self, broker, *, running=True) -> None:
        self.broker = broker
        self.running = running
        self.number = next(self.numbers)
        self.things = {}
        self.secrets = {}

    def fresh(self):
        return f"n{next(self.numbers)}"

    async def make(self, person):
        """The person, with one of each thing."""
        if person in self.things:
            return self.things[person]
        broker = self.broker
        name = f"{person}{self.number}"
        user = await broker.user(name, admin=person in {"boss", "admin"})
        offered, line = new_key()
        await broker.accounts.add_key(name, line, actor="x")
        self.things[person] = {"user": name, "key": offered.fingerprint}
        if self.running:
            desktop = await broker.desktop(name)
            session = await broker.ensure(desktop)
            self.things[person] |= {"desktops": desktop.id, "sessions": session.id}
            self.things[person] |= await self._shown(desktop, name)
        invite, _ = await broker.invites.make(user, valid=None, actor="x")
        token = await broker.store.add_token(
            user.id, token_hash=f"{name}", name="t", scopes=[Scope.READ], reach=Reach.OWN,
            expires_at=None, most=99, actor="x",
        )  # fmt: skip
        sign_in, _ = await broker.store.add_sign_in(
            user.id, secret_hash=f"s{name}", address=CLIENT, browser="b", most=99, actor="x",
            proven=Proven(credential=offered.fingerprint, method="key"),
        )  # fmt: skip
        self.things[person] |= {
            "invites": invite.id, "tokens": token.id, "sign-ins": sign_in.id,
        }  # fmt: skip
        return self.things[person]

    async def _shown(self, desktop, name):
        """A share of the desktop, and somebody who asks to come in by it."""
        share = await self.broker.store.add_share(
            desktop.id, token_hash=f"t{name}", mode=Mode.LOOK, most=9, actor="x",
            expires_at=self.broker.clock.now() + timedelta(hours=1),
        )  # fmt: skip
        guest = await self.broker.store.add_guest(
            share.id, secret_hash=f"g{name}", name="Eve", address=CLIENT, asked=9, most=9, actor="x"
        )
        return {"shares": share.id, "guest": guest.id}

    async def whole(self):
        """Whether all runs as it did; without desktops, a call has changed something."""
        for things in self.things.values():
            session = await self.broker.store.session(SessionId(things.get("sessions", "")))
            if session is None or session.state is not SessionState.READY:
                return False
            desktop = await self.broker.store.desktop(session.desktop_id)
            if desktop is None or desktop.removed_at is not None:
                return False
        return True

    async def headers(self, role):
        if role.who is None:
            return {"Desk-Client": CLIENT}
        await self.make(role.who)
        user = await self.broker.store.user(self.things[role.who]["user"])
        if role.browser:
            secret = await self._browser(role, user)
            told = {"Desk-Sign-In": secret, "Desk-CSRF": csrf_of(secret)}
            return {"Desk-Client": CLIENT, **told}
        if role not in self.secrets:
            secret = f"desk_{next(self.numbers):040}"
            await self.broker.store.add_token(
                user.id, token_hash=hashed(secret), name="t", scopes=role.scopes,
                reach=role.reach, expires_at=None, most=99, actor="x",
            )  # fmt: skip
            self.secrets[role] = secret
        return {"Desk-Client": CLIENT, "Authorization": f"Bearer {self.secrets[role]}"}

    async def _browser(self, role, user):
        """The secret of a sign-in of theirs; a call can end it, so that each has its own."""
        if role.enrol:
            await self.broker.groups.set(
                "enrol", priority=0, policy={"login.ways": ["key+code"]}, actor="x"
            )
            await self.broker.groups.join(user, "enrol", actor="x")
        secret = new_secret()
        await self.broker.store.add_sign_in(
            user.id, secret_hash=hashed(secret), address=CLIENT, browser="b", most=9, actor="x",
            proven=Proven(credential=self.things[role.who]["key"], method="key"),
        )  # fmt: skip
        return secret


def hashed(secret):
    from broker.core.digest import hashed

    return hashed(secret)


def expected(route, role, target):
    """The status of the refusal that the route's rule says; None: it is let through."""
    if route.open:
        return None
    if role.name == "nobody":
        return 401
    if role.enrol and not route.enrolling:
        return 403
    if route.needs is not None and route.needs not in role.scopes:
        return 403
    if not route.own and role.reach is Reach.OWN:
        return 403
    if route.whose is not None and route.whose.owner_alone and role.reach is Reach.ALL:
        return None if target == "own" and role.who is not None else 403
    if route.name in ONES_OWN and (target != "own" or role.name == "kernel"):
        return 403 if role.reach is Reach.ALL else 404
    if role.name == "kernel":
        return None
    about = route.whose is not None and route.whose.find is not None
    if route.name in MADE_FOR:
        about = True
    if about and target != "own" and role.reach is Reach.OWN:
        return 404
    if route.name == "add_token" and target != "own" and Scope.ADMIN not in role.scopes:
        return 403
    weak = route.needs is Scope.USERS and Scope.ADMIN not in role.scopes
    return 403 if about and weak and target == "admin" else None


def targets(noun, route, role):
    """Those that make another request."""
    named = {"groups": ["name"], "settings": ["name"]}.get(noun.name, [])
    one = not route.open and (route.name in MADE_FOR or route.parameters not in ([], named))
    return TARGETS if one and not role.enrol else TARGETS[:1]


#: Routes of one's own account alone, for whoever reaches everybody's too.
ONES_OWN = {"begin_codes", "confirm_codes"}

#: Routes whose body says for whom; a token for somebody else needs the scope `admin`.
MADE_FOR = {"add_token", "add_desktop"}


async def call(api, cast, noun, route, role, target):
    own = role.who or "other"
    things = await cast.make(own if target == "own" else target)
    values = {"name": things["user"], "user": things["user"], "account": things["user"],
              "key": things["key"], "guest": things.get("guest"), "id": things.get(route.path.split("/")[1])}  # fmt: skip
    values["name"] = {"groups": "group", "settings": "default"}.get(noun.name, values["name"])
    path = route.plain_path.format(**values)
    if route.name == "add_token":
        body = {"name": "t", "user": things["user"], "scopes": sorted(role.scopes)[:1] or ["read"]}
    else:
        cast.about = things["user"]
        body = BODIES[route.body.__name__](cast) if route.body else None
    headers = await cast.headers(role)
    if role.name == "kernel":
        headers = {}
    status, told = await api(route.method, path, json=body, headers=headers)
    return status, (told or {}).get("detail")


@pytest.mark.parametrize("noun", TABLE, ids=lambda noun: noun.name)
async def test_each_route_is_for_whom_its_rule_says(api, door, broker, noun):
    """Each role, at what is their own, another's, and an admin's."""
    running = noun.name in {"desktops", "sessions", "verbs", "shares"}
    wrong, cast = [], None
    calls = [
        (route, role, target)
        for route, role in itertools.product(noun.routes, ROLES)
        for target in targets(noun, route, role)
    ]
    for route, role, target in calls:
        if role.name == "nobody":
            broker.tokens._guesses.succeeded(("token", CLIENT))
        broker.entry._guesses.succeeded(("sign-in", CLIENT))
        wanted = expected(route, role, target)
        if cast is None:
            cast = Cast(broker, running=running)
            await broker.store.set_group("group", priority=0, policy={}, actor="x")
        found, detail = await call(
            api if role.name == "kernel" else door, cast, noun, route, role, target
        )
        taken = {401, 403} if route.name in MAY_MISS else {401, 403, 404}
        if route.open and detail in {WRONG, *NOBODY_KNOWS}:
            taken = set()
        fits = found == wanted if wanted else found not in taken and found < 500
        if not fits:
            wrong.append((route.name, role.name, target, found, wanted))
        if wanted is None and route.method != "GET" and not await cast.whole():
            cast = None
    assert wrong == []


#: How a link, and a cookie, are refused that are nobody's.
NOBODY_KNOWS = {guests._NO_LINK, guests._NOBODY}

#: What is the same for everybody, or for whoever has no provider to go to.
OPEN = {
    *("get_openapi", "follow_events", "get_ways_to_sign_in", "get_guest"),
    *("leave_for_provider", "come_back_from_provider"),
}


async def test_a_member_sees_nothing_of_anybody_else(door, broker):
    """In no list, whatever is asked for."""
    cast = Cast(broker)
    hers, others = await cast.make("member"), await cast.make("other")
    headers = await cast.headers(Role("x", "member", frozenset(Scope)))
    lists = [
        route
        for noun in TABLE
        for route in noun.routes
        if route.own and route.method == "GET" and not route.parameters and route.name not in OPEN
    ]
    assert len(lists) >= 8
    told = ""
    for route in lists:
        status, found = await door("GET", route.path, headers=headers)
        assert status == 200, (route.name, found)
        told += str(found)
    assert all(thing in told for name, thing in hers.items() if name != "key")
    assert not [thing for thing in others.values() if thing in told]
    session = await broker.store.session(SessionId(others["sessions"]))
    assert session.state is SessionState.READY


async def test_anothers_thing_is_answered_as_if_it_were_not_there(door, broker):
    """Word for word, but for the name that was asked for."""
    cast = Cast(broker)
    await cast.make("member")
    others = await cast.make("other")
    headers = await cast.headers(Role("x", "member", frozenset(Scope)))
    for route in [route for noun in TABLE for route in noun.routes]:
        if not route.own or route.whose.find is None:
            continue
        told = set()
        theirs = others.get(route.path.split("/")[1])
        for there in (theirs, "0" * 16):
            name = others["user"] if there == theirs else "nobody"
            path = route.plain_path.format(id=there, name=name, key="k", guest="0" * 16)
            detail = await door.problem(
                404, "not_found", route.method, path, json={}, headers=headers
            )
            told.add(detail.replace(str(there), "X").replace(name, "X"))
        assert len(told) == 1, (route.name, told)


def test_the_matrix_has_a_body_for_each_model():
    """Or a route would be refused before its rule was looked at."""
    models = {r.body.__name__ for n in TABLE for r in n.routes if r.body and r.name != "add_token"}
    assert models == set(BODIES)
    assert PREFIX == "/api/v1"
