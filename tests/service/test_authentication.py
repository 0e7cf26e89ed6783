"""Who is let in by what: every way, under every policy, in every state of the account."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from itertools import combinations, product

import pytest

from broker.core.errors import AccessDenied, Conflict
from broker.core.gateway import Allowance, Identity, Invited, Login
from broker.core.policy import Way
from broker.service.credentials import Proof
from tests.service.harness import new_key
from tests.service.people import ABROAD, HOME, PASSWORD, Person, outcome

#: What a key alone comes to, by whether `key` and `key+code` are ways and whether a code is set up;
#: and what a right password does, by the same of `password`.
AFTER_KEY = {
    (False, False, False): "nobody",
    (False, False, True): "nobody",
    (False, True, False): "enrol",
    (False, True, True): "code",
    (True, False, False): "in",
    (True, False, True): "in",
    (True, True, False): "in",
    (True, True, True): "in",
}
AFTER_PASSWORD = {
    (False, False, False): "nobody",
    (False, False, True): "nobody",
    (False, True, False): "enrol",
    (False, True, True): "code",
    (True, False, False): "in",
    (True, False, True): "code",
    (True, True, False): "in",
    (True, True, True): "code",
}
WAYS = [ways for count in range(1, 5) for ways in combinations(Way, count)]


@pytest.fixture
async def ada(broker):
    return await Person.make(broker)


async def removed(person):
    await person.broker.accounts.remove_user(person.name, actor="uid:0")


async def disabled(person):
    await person.broker.store.set_enabled(person.user.id, enabled=False, actor="uid:0")


# -------------------------------------------------------------------------------------- the table


@pytest.mark.parametrize("coded", [False, True])
async def test_what_is_enough_is_what_the_policy_says(ada, coded):
    """Each of the fifteen sets of ways, for a key, a right password and a wrong one."""
    key = await ada.key()
    if coded:
        await ada.enrol()
    for ways in WAYS:
        await ada.ways(*ways)
        by_key = AFTER_KEY[Way.KEY in ways, Way.KEY_CODE in ways, coded]
        by_password = AFTER_PASSWORD[Way.PASSWORD in ways, Way.PASSWORD_CODE in ways, coded]
        assert outcome(await ada.identify(key)) == by_key, ways
        assert outcome(await ada.type()) == by_password, ways
        assert outcome(await ada.type("wrong")) == "nobody", ways
        await ada.broker.blocks.lift(ada.name, actor="uid:0") if ada.broker.blocks.standing() else 0


KEY_STATES = {
    "the key alone": ({}, Login(None, None), HOME, "in"),
    "under their name": ({}, Login("ada", "lab"), HOME, "in"),
    "under another's": ({}, Login("bob", None), HOME, "nobody"),
    "under nobody's": ({}, Login("eve", None), HOME, "nobody"),
    "expired": ({"expires_at": timedelta(0)}, Login(None, None), HOME, "nobody"),
    "not expired yet": ({"expires_at": timedelta(seconds=1)}, Login(None, None), HOME, "in"),
    "from its network": ({"sources": ["192.0.2.0/24"]}, Login(None, None), HOME, "in"),
    "from another": ({"sources": ["192.0.2.0/24"]}, Login(None, None), ABROAD, "nobody"),
    "from nowhere": ({"sources": ["192.0.2.0/24"]}, Login(None, None), "", "nobody"),
    "PIN wanted of a plain key": ({"verify_required": True}, Login(None, None), HOME, "nobody"),
}


@pytest.mark.parametrize("state", KEY_STATES)
async def test_a_key_proves_its_user_as_far_as_it_is_limited(ada, broker, state):
    limits, login, address, wanted = KEY_STATES[state]
    await Person.make(broker, "bob", password=None)
    if "expires_at" in limits:
        limits = {**limits, "expires_at": broker.clock.now() + limits["expires_at"]}
    key = await ada.key(**limits)
    assert outcome(await ada.identify(key, address, login=login)) == wanted


@pytest.mark.parametrize("end", [disabled, removed])
async def test_nothing_proves_an_account_that_is_gone(ada, end):
    key = await ada.key()
    await end(ada)
    assert await ada.identify(key) is None
    assert await ada.type() is None


async def test_a_key_that_nobody_has_proves_nobody(ada):
    assert await ada.identify(new_key()[0]) is None


PASSWORD_STATES = {
    "right": ("ada", PASSWORD, "in"),
    "wrong": ("ada", PASSWORD + " ", "nobody"),
    "empty": ("ada", "", "nobody"),
    "long": ("ada", "x" * 100_000, "nobody"),
    "no text": ("ada", "\ud800\x00", "nobody"),
    "nobody's": ("eve", PASSWORD, "nobody"),
    "of somebody without one": ("bob", PASSWORD, "nobody"),
    "of somebody whose password is kept elsewhere": ("cyd", PASSWORD, "nobody"),
    "of no name": ("desk", PASSWORD, "nobody"),
    "of what is no name": ("../ada\ud800", PASSWORD, "nobody"),
    "of a long name": ("a" * 10_000, PASSWORD, "nobody"),
}


@pytest.mark.parametrize("state", PASSWORD_STATES)
async def test_a_password_proves_whoever_has_it(ada, broker, state):
    """And as many hashes are computed whoever it is: one."""
    name, password, wanted = PASSWORD_STATES[state]
    await Person.make(broker, "bob", password=None)
    cyd = await broker.store.add_user("cyd", admin=False, source="campus", actor="uid:0")
    kept = (await broker.store.password(ada.user.id)).hash
    await broker.store.set_password(cyd.id, kept, actor="uid:0")
    checked = []
    check = broker.passwords._check
    broker.passwords._check = lambda *args: checked.append(args) or check(*args)
    verify = broker.passwords._hasher.verify
    hashed = []
    broker.passwords._hasher = Counting(broker.passwords._hasher, verify, hashed)
    assert outcome(await ada.type(password, name=name)) == wanted
    assert len(checked) == 1
    (against,) = hashed
    assert against.startswith("$argon2id$v=19$m=19456,t=2,p=1$"), "nobody's costs as much"


class Counting:
    """A hasher that remembers against what it was asked."""

    def __init__(self, real, verify, hashed) -> None:
        self._real, self._verify, self._hashed = real, verify, hashed

    def hash(self, password):
        return self._real.hash(password)

    def verify(self, kept, password):
        self._hashed.append(kept)
        return self._verify(kept, password)


async def test_without_a_name_a_password_is_nobodys(broker):
    found = await broker.authentication.check_password(Login(None, None), PASSWORD, HOME)
    assert found is None


# ------------------------------------------------------------------------------------- identities


async def test_an_identity_tells_who_how_and_from_where(ada, broker):
    key = await ada.key()
    stored = await broker.store.password(ada.user.id)
    by_key = await ada.identify(key, login=Login(None, "lab"))
    assert by_key == Identity(
        user_id=ada.user.id,
        user="ada",
        desktop="lab",
        credential=key.fingerprint,
        method="key",
        address=HOME,
        allowed=tuple(Allowance),
        enrol=False,
    )
    by_password = await ada.type()
    assert (by_password.method, by_password.address) == ("password", ABROAD)
    assert by_password.credential == f"password:{stored.id}"
    await ada.enrol()
    with_code = await ada.show(await ada.type(), ada.code())
    assert with_code == replace(by_password, method="password+code")
    await ada.ways("key+code")
    broker.clock.advance(60)
    found = await ada.show(await ada.identify(key, ABROAD), ada.code())
    assert found == replace(by_key, desktop=None, method="key+code", address=ABROAD)


async def test_what_is_allowed_is_what_the_policy_says(world):
    broker = await world.broker(allow={"sftp": False, "x11": False})
    ada = await Person.make(broker)
    key = await ada.key()
    rest = [a for a in Allowance if a not in {Allowance.SFTP, Allowance.X11}]
    assert list((await ada.identify(key)).allowed) == rest
    await ada.ways(allow__agent=False, allow__sftp=True)
    assert set((await ada.identify(key)).allowed) == {*rest, Allowance.SFTP} - {Allowance.AGENT}
    await ada.enrol()
    with_code = await ada.show(await ada.type(), ada.code())
    assert with_code.allowed == (await ada.identify(key)).allowed


async def test_what_a_credential_denies_no_code_gives_back(ada):
    """A certificate without a permit, then a code."""
    await ada.ways("key", "key+code")
    key = await ada.key()
    proof = Proof(
        user=ada.user,
        credential=key.fingerprint,
        method="key",
        denied=frozenset({Allowance.PTY}),
    )
    rest = [a for a in Allowance if a is not Allowance.PTY]
    let_in = ada.broker.authentication._let_in
    assert list((await let_in(proof, None, HOME)).allowed) == rest
    await ada.enrol()
    await ada.ways("key+code")
    found = await ada.show(await let_in(proof, None, HOME), ada.code(), HOME)
    assert (found.method, list(found.allowed)) == ("key+code", rest)


# ------------------------------------------------------------------------------------ device keys


@pytest.mark.parametrize(
    ("algorithm", "present", "verified", "wanted"),
    [
        ("ssh-ed25519", None, None, (True, False, False)),
        ("sk-ssh-ed25519@openssh.com", None, None, (True, True, True)),
        ("sk-ssh-ed25519@openssh.com", True, False, (True, False, False)),
        ("sk-ssh-ed25519@openssh.com", True, True, (True, True, True)),
        ("sk-ssh-ed25519@openssh.com", False, False, (False, False, False)),
        ("sk-ssh-ed25519@openssh.com", False, True, (False, False, False)),
        ("sk-ecdsa-sha2-nistp256@openssh.com", True, True, (True, True, True)),
    ],
)
async def test_a_key_in_a_device_is_used_as_the_policy_wants(
    ada, algorithm, present, verified, wanted
):
    """Under no demand, under that of the key, and under that of the policy; whatever is offered
    may do until it is signed with.
    """
    plain, strict = await ada.key(), await ada.key(verify_required=True)
    used = {"algorithm": algorithm, "user_present": present, "user_verified": verified}
    found = [await ada.identify(replace(key, **used)) for key in (plain, strict)]
    await ada.ways(login__hardware_keys=True)
    found.append(await ada.identify(replace(plain, **used)))
    assert tuple(one is not None for one in found) == wanted


# ------------------------------------------------------------------------------------------ codes


async def test_codes_count_once_also_after_a_restart(world, broker, ada):
    await ada.enrol()
    used = ada.code()
    assert await ada.show(await ada.type(), used) is not None
    assert await ada.show(await ada.type(), used) is None
    later = ada.at(await world.broker())
    assert await later.show(await later.type(), used) is None
    assert await later.show(await later.type(), ada.code(1)) is not None


@pytest.mark.parametrize(
    ("steps", "taken"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)]
)
async def test_a_code_counts_a_step_before_and_after_its_own(ada, steps, taken):
    await ada.enrol()
    found = await ada.show(await ada.type(), ada.code(steps))
    assert (found is not None) is taken


async def test_an_older_code_than_the_last_one_is_used_up_as_well(ada):
    await ada.enrol()
    assert await ada.show(await ada.type(), ada.code(1)) is not None
    assert await ada.show(await ada.type(), ada.code(0)) is None


@pytest.mark.parametrize("written", ["{0}", " {0} ", "{1} {2}", "{1}-{2}"])
async def test_a_code_is_taken_as_people_write_it(ada, written):
    await ada.enrol()
    code = ada.code()
    said = written.format(code, code[:3], code[3:])
    assert await ada.show(await ada.type(), said) is not None


@pytest.mark.parametrize(
    "code", ["", "000000", "x", "１２３４５６", "0" * 10_000, "\ud800", "12345\n"]
)
async def test_what_is_no_code_is_refused(ada, code):
    await ada.enrol()
    if code == ada.code():
        code = "000001"
    assert await ada.show(await ada.type(), code) is None


async def test_a_recovery_code_counts_once(world, broker, ada):
    await ada.enrol()
    first, second = ada.recovery[:2]
    assert (await ada.show(await ada.type(), first)).method == "password+code"
    assert await ada.show(await ada.type(), first) is None
    assert await ada.show(await ada.type(), second.lower().replace("-", " ")) is not None
    later = ada.at(await world.broker())
    assert await later.show(await later.type(), second) is None
    assert (await broker.store.codes(ada.user.id)).recovery_left == 8


async def test_the_code_that_confirmed_counts_no_more(broker, ada):
    enrolment = await broker.codes.begin(ada.user, actor="user:ada")
    ada.secret = enrolment.secret.replace(" ", "")
    code = ada.code()
    await broker.codes.confirm(ada.user, code, actor="user:ada")
    assert await ada.show(await ada.type(), code) is None


async def test_codes_that_are_not_confirmed_are_not_asked_for(broker, ada):
    await broker.codes.begin(ada.user, actor="user:ada")
    assert outcome(await ada.type()) == "in"
    await ada.ways("password+code")
    assert outcome(await ada.type()) == "enrol"


async def test_after_codes_are_taken_away_a_password_is_enough_again(broker, ada):
    await ada.enrol()
    await broker.store.remove_codes(ada.user.id, actor="uid:0")
    assert outcome(await ada.type()) == "in"


async def test_of_many_who_show_the_same_code_at_once_one_is_let_in(ada):
    await ada.enrol()
    wanted = [await ada.type() for _ in range(10)]
    code = ada.code()
    found = await asyncio.gather(*(ada.show(one, code) for one in wanted), return_exceptions=True)
    assert sum(isinstance(one, Identity) for one in found) == 1


# ---------------------------------------------------------------------------------------- tickets


async def test_a_ticket_is_good_for_two_minutes_from_the_same_address(broker, ada):
    await ada.enrol()
    wanted = await ada.type()
    assert await ada.show(wanted, ada.code(), HOME) is None
    broker.clock.advance(119)
    assert await ada.show(wanted, ada.code()) is not None
    broker.clock.advance(60)
    wanted = await ada.type()
    broker.clock.advance(120)
    assert await ada.show(wanted, ada.code()) is None


async def test_a_ticket_that_was_changed_or_made_up_is_nobodys(world, broker, ada):
    await ada.enrol()
    wanted = await ada.type()
    ticket = wanted.ticket
    at = len(ticket) // 2
    changed = ticket[:at] + ("A" if ticket[at] != "A" else "B") + ticket[at + 1 :]
    check = broker.authentication.check_code
    for made in (changed, ticket[:-4], "", "x", "é", "A" * 100_000, ticket + "AAAA"):
        assert await check(made, ada.code(), ABROAD) is None
    other = await world.broker()
    assert await other.authentication.check_code(ticket, ada.code(), ABROAD) is None
    assert ticket not in repr(wanted)
    assert not broker.blocks.standing()
    assert await ada.show(wanted, ada.code()) is not None


@pytest.mark.parametrize("end", ["disabled", "removed", "another password", "no password"])
async def test_a_ticket_falls_with_what_it_was_given_for(broker, ada, end):
    await ada.enrol()
    wanted = await ada.type()
    match end:
        case "disabled":
            await disabled(ada)
        case "removed":
            await removed(ada)
        case "another password":
            await broker.accounts.set_password("ada", "another one altogether", actor="uid:0")
        case "no password":
            await broker.accounts.remove_password("ada", actor="uid:0")
    assert await ada.show(wanted, ada.code()) is None


# --------------------------------------------------------------------------------------- enrolment


async def test_whoever_must_set_up_a_code_first_can_do_nothing_else(broker, ada):
    await ada.ways("password+code")
    identity = await ada.type()
    assert identity.enrol
    refused = await broker.refused(AccessDenied, broker.route(identity))
    assert "desk code enrol" in refused.public
    for word in ("list", "start", "status", "extend"):
        reply = await broker.gateway.word(identity, [word])
        assert (reply.status, reply.stdout) == (1, "")
        assert "desk code enrol" in reply.stderr
    assert (await broker.gateway.word(identity, ["help"])).status == 0
    assert not await broker.store.desktops()


# ------------------------------------------------------------------------------------------- still


@pytest.mark.parametrize(
    ("method", "end"),
    [
        *product(["key", "password"], ["disabled", "removed"]),
        ("key", "key removed"),
        ("key", "key expired"),
        ("password", "another password"),
        ("password", "no password"),
    ],
)
async def test_what_proved_somebody_is_looked_at_again(broker, ada, method, end):
    key = await ada.key(expires_at=broker.clock.now() + timedelta(hours=1))
    identity = await (ada.identify(key) if method == "key" else ada.type())
    assert (await broker.authentication.still(identity)).name == "ada"
    match end:
        case "disabled":
            await disabled(ada)
        case "removed":
            await removed(ada)
        case "key removed":
            await broker.accounts.remove_key("ada", key.fingerprint, actor="uid:0")
        case "key expired":
            broker.clock.advance(3600)
        case "another password":
            await broker.accounts.set_password("ada", "another one altogether", actor="uid:0")
        case "no password":
            await broker.accounts.remove_password("ada", actor="uid:0")
    await broker.refused(AccessDenied, broker.authentication.still(identity))
    if end not in {"disabled", "key expired"}:
        ended = ada.user.id if end == "removed" else identity.credential
        assert broker.connections.ended == [ended]


async def test_a_credential_of_somebody_else_is_nobodys(broker, ada):
    bob = await Person.make(broker, "bob")
    key = await bob.key()
    for stolen in (await bob.type(), await bob.identify(key)):
        forged = replace(stolen, user_id=ada.user.id, user="ada")
        await broker.refused(AccessDenied, broker.authentication.still(forged))
    made_up = replace(await ada.type(), credential="password:0")
    await broker.refused(AccessDenied, broker.authentication.still(made_up))


# ----------------------------------------------------------------------------------------- invites


async def test_an_invite_binds_the_key_of_whoever_comes_with_it(broker):
    ada = await Person.make(broker, password=None)
    invite, token = await broker.invites.make(ada.user, actor="uid:0")
    login, (key, _) = Login(None, None, token), new_key()
    assert token not in repr(login)
    assert await ada.identify(key, login=login) == Invited()
    assert await ada.identify(key) is None, "asking binds nothing"
    identity = await broker.authentication.redeem(login, key, HOME)
    assert (identity.user, identity.method, identity.credential) == ("ada", "key", key.fingerprint)
    assert outcome(await ada.identify(key)) == "in"
    assert await ada.identify(new_key()[0], login=login) is None, "it was good once"
    assert await broker.authentication.redeem(login, new_key()[0], HOME) is None
    (entry,) = [e for e in await broker.store.audit() if e.action == "key.add"]
    assert (entry.actor, entry.proof, entry.origin) == (
        "user:ada",
        f"key {key.fingerprint}",
        HOME,
    )
    assert (await broker.invites.all(ada.user))[0].fingerprint == key.fingerprint


async def test_of_a_hundred_who_come_with_one_invite_one_wins(broker):
    ada = await Person.make(broker, password=None)
    _, token = await broker.invites.make(ada.user, actor="uid:0")
    keys = [new_key()[0] for _ in range(100)]
    login = Login(None, None, token)
    found = await asyncio.gather(*(broker.authentication.redeem(login, k, HOME) for k in keys))
    assert sum(one is not None for one in found) == 1
    assert len(await broker.store.keys(ada.user.id)) == 1


@pytest.mark.parametrize("end", ["expired", "revoked", "disabled", "removed", "made up", "short"])
async def test_an_invite_that_is_not_open_is_nobodys(broker, end):
    ada = await Person.make(broker, password=None)
    invite, token = await broker.invites.make(ada.user, actor="uid:0", valid=60)
    match end:
        case "expired":
            broker.clock.advance(60)
        case "revoked":
            await broker.invites.revoke(invite.id, actor="uid:0")
        case "disabled":
            await disabled(ada)
        case "removed":
            await removed(ada)
        case "made up":
            token = "x" * 32
        case "short":
            token = token[:-1]
    login, (key, _) = Login(None, None, token), new_key()
    assert await ada.identify(key, login=login) is None
    assert await broker.authentication.redeem(login, key, HOME) is None


async def test_a_key_of_somebody_else_is_not_bound(broker, ada):
    bob = await Person.make(broker, "bob", password=None)
    theirs, own = await ada.key(), await bob.key()
    _, token = await broker.invites.make(bob.user, actor="uid:0")
    login = Login(None, None, token)
    assert await bob.identify(theirs, login=login) is None
    await broker.refused(Conflict, broker.authentication.redeem(login, theirs, HOME))
    assert await bob.identify(own, login=login) == Invited(), "their own one is fine"
    assert (await broker.authentication.redeem(login, own, HOME)).user == "bob"


async def test_a_key_that_would_let_nobody_in_is_not_bound(broker):
    ada = await Person.make(broker, password=None)
    _, token = await broker.invites.make(ada.user, actor="uid:0")
    login, (key, _) = Login(None, None, token), new_key()
    damaged = [
        replace(key, public=""),
        replace(key, public=key.public[:-8]),
        replace(key, public=new_key()[0].public),
        replace(key, public=key.public.replace("ssh-ed25519", "ssh-rsa")),
        replace(key, certificate="AAAA"),
    ]
    for one in damaged:
        assert await ada.identify(one, login=login) is None
        assert await broker.authentication.redeem(login, one, HOME) is None
    for policy in ({"login__ways": ["password"]}, {"login__hardware_keys": True}):
        await ada.ways(**policy)
        assert await ada.identify(key, login=login) is None
        assert await broker.authentication.redeem(login, key, HOME) is None
    await ada.ways("key+code")
    assert outcome(await broker.authentication.redeem(login, key, HOME)) == "enrol"


# ------------------------------------------------------------------------------------------ logins


async def test_a_login_is_told_to_the_key_and_the_audit(broker, ada):
    key = await ada.key()
    broker.authentication.proven(await ada.identify(key))
    broker.authentication.proven(await ada.type())
    await broker.logins.settle()
    (held,) = await broker.store.keys(ada.user.id)
    assert (held.last_used_at, held.last_used_from) == (broker.clock.now(), HOME)
    logins = [e for e in await broker.store.audit() if e.action == "login"]
    assert [(e.actor, e.proof, e.origin) for e in reversed(logins)] == [
        ("user:ada", f"key {key.fingerprint}", HOME),
        ("user:ada", "password", ABROAD),
    ]
