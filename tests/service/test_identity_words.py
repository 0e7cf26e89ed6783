"""What people say about themselves: what proves them, and how far that goes."""

from __future__ import annotations

import asyncio
import json
import re
import shlex

import pyotp
import pytest
from structlog.testing import capture_logs

from broker.core.gateway import Allowance, CodeWanted, Login
from broker.service.vocabulary import ENROLLING, INSIDE, WORDS
from tests.service.harness import new_key
from tests.service.people import ABROAD, HOME, PASSWORD, Person, outcome


class Speaker:
    """A person at the door, let in by what the test says."""

    def __init__(self, person: Person, identity) -> None:
        self.person, self.broker, self.identity = person, person.broker, identity

    async def say(self, *argv):
        return await self.broker.gateway.word(self.identity, argv)

    async def ok(self, *argv):
        reply = await self.say(*argv)
        assert (reply.status, reply.stderr) == (0, "")
        return json.loads(reply.stdout) if "--json" in argv else reply.stdout.rstrip("\n")

    async def refused(self, *argv, code="conflict"):
        """The one sentence."""
        reply = await self.say(*argv)
        assert (reply.status, reply.stdout) == (2 if code == "bad_request" else 1, "")
        assert reply.stderr.rstrip("\n").isprintable()
        assert reply.stderr.endswith(f" ({code})\n")
        return reply.stderr.removeprefix("desk: ").removesuffix(f" ({code})\n")

    async def last(self):
        """The newest entry of the audit."""
        return (await self.broker.store.audit(limit=1))[0]


async def by_key(person: Person, **limits) -> Speaker:
    key = await person.key(**limits)
    identity = await person.identify(key)
    assert identity.method == "key"
    return Speaker(person, identity)


async def by_password(person: Person, password=PASSWORD) -> Speaker:
    return Speaker(person, await person.type(password))


async def answered(broker) -> None:
    """The answer is out, and nothing has ended until then."""
    for _ in range(20):
        await asyncio.sleep(0)
    assert broker.connections.ended == []
    broker.clock.advance(1)
    await broker.landed()


@pytest.fixture
async def person(broker):
    """With a password."""
    return await Person.make(broker)


@pytest.fixture
async def ada(person):
    """By a key."""
    return await by_key(person)


LAST = "That is your last way in: add another one first, by 'desk keys add' or 'desk password new'."

# --------------------------------------------------------------------------------------- whoami


async def test_who_one_is_is_told_with_how_and_from_where(broker, person, ada):
    """With what one may do; an admin is told so."""
    assert (await ada.ok("whoami")).splitlines() == [
        "user      ada",
        f"proved by key {ada.identity.credential}",
        "from      192.0.2.7",
        "groups    none",
        "let in by key, password, password+code",
        f"allowed   {', '.join(Allowance)}",
        "desktops  3 at most, 3 running at a time",
    ]
    await person.ways("password", allow__x11=False)
    await broker.store.set_admin(person.user.id, admin=True, actor="x")
    told = await (await by_password(person)).ok("whoami", "--json")
    assert (told["user"], told["admin"], told["proof"], told["from"]) == (
        "ada",
        True,
        "password",
        ABROAD,
    )
    assert (told["groups"], told["ways"]) == (["g"], ["password"])
    assert "x11" not in told["allowed"]


# ----------------------------------------------------------------------------------------- keys


async def test_a_key_is_added_listed_renamed_and_removed(broker, ada):
    """By the person, as they proved it and from where: the audit says so."""
    key, line = new_key()
    told = await ada.ok("keys", "add", *line.split())
    assert told == f"{key.fingerprint} now proves you; it is called ada@laptop."
    entry = await ada.last()
    assert (entry.action, entry.actor, entry.proof, entry.origin) == (
        "key.add",
        "user:ada",
        f"key {ada.identity.credential}",
        HOME,
    )
    assert await ada.ok("keys", "rename", "ada@laptop", "lamp") == (
        f"{key.fingerprint} is now called lamp."
    )
    for argv in (("keys",), ("keys", "list")):
        head, mine, lamp = (await ada.ok(*argv)).splitlines()
        assert head.split() == ["NAME", "FINGERPRINT", "EXPIRES", "FROM", "LAST", "USED"]
        assert ada.identity.credential in mine
        assert lamp.split() == ["lamp", key.fingerprint, "never", "anywhere", "-"]
    broker.authentication.proven(await ada.person.identify(key))
    await broker.logins.settle()
    assert (await ada.ok("keys", "--json"))[1]["last_used_from"] == HOME
    assert await ada.ok("keys", "rm", "lamp") == ("'lamp' proves you no more; what it opened ends.")
    assert broker.connections.ended == [key.fingerprint]
    assert (await ada.last()).proof == f"key {ada.identity.credential}"
    assert len(await broker.store.keys(ada.person.user.id)) == 1


async def test_a_name_with_blanks_is_one_name(ada):
    """However a shell took it apart."""
    _, line = new_key()
    await ada.ok("keys", "add", f"{line} of ada")
    assert (await ada.ok("keys", "rm", "ada@laptop", "of", "ada")).startswith(
        "'ada@laptop of ada' proves"
    )
    await ada.ok("keys", "add", *f"{line} of ada".split())
    await ada.ok("keys", "rename", "ada@laptop of ada", "x")


@pytest.mark.parametrize(
    "options",
    [
        'from="192.0.2.0/24,2001:db8::/48"',
        'from="192.0.2.0/24,2001:db8::/48",expiry-time="20351231Z"',
        'expiry-time="20351231Z",from="192.0.2.0/24,2001:db8::/48"',
    ],
)
async def test_options_survive_the_shell_that_takes_their_quotes(broker, ada, options):
    """As `ssh desk@host desk keys add "$(cat file)"` sends them, and quoted once more."""
    sources = ["192.0.2.0/24", "2001:db8::/48"]
    _, line = new_key()
    for said in (shlex.split(f"{options} {line}"), [f"{options} {line}"]):
        key = await ada.ok("keys", "add", *said, "--json")
        assert key["sources"] == sources
        assert key["expires_at"] == ("2035-12-31T00:00Z" if "expiry" in options else None)
        await ada.ok("keys", "rm", key["fingerprint"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("command=echo AAAA", "is no public key"),
        ('command="echo" ssh-ed25519 AAAA', "ssh-ed25519 key is damaged"),
        ("ssh-ed25519 AAAA", "is damaged"),
        ("\x1b[2J", "characters that do not print"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "This is a private key"),
    ],
)
async def test_a_line_that_is_no_key_is_refused(broker, ada, line, said):
    """One sentence; nothing is added."""
    assert said in await ada.refused("keys", "add", *shlex.split(line), code="bad_request")
    assert len(await broker.store.keys(ada.person.user.id)) == 1


async def test_an_option_that_cannot_be_kept_is_refused_by_name(ada):
    """After a shell, too."""
    _, line = new_key()
    said = await ada.refused(
        "keys", "add", *shlex.split(f'command="echo hi" {line}'), code="bad_request"
    )
    assert said.startswith("The option 'command=' cannot be honoured")


async def test_keys_that_one_has_not_are_not_found(broker, ada):
    """Somebody else's neither."""
    bob = await Person.make(broker, "bob")
    theirs = await bob.key()
    for named in ("lamp", theirs.fingerprint):
        await ada.refused("keys", "rm", named, code="not_found")
        await ada.refused("keys", "rename", named, "x", code="not_found")
    assert len(await broker.store.keys(bob.user.id)) == 1


async def test_the_key_one_came_by_ends_once_the_answer_is_out(broker, ada):
    """Else nobody would read it."""
    assert "proves you no more" in await ada.ok("keys", "rm", ada.identity.credential)
    await answered(broker)
    assert broker.connections.ended == [ada.identity.credential]


# ------------------------------------------------------------------------------------- last way


async def test_the_last_key_stays_where_nothing_else_lets_in(broker, ada):
    """No password, or none that counts; an expired key is none."""
    await broker.accounts.remove_password("ada", actor="x")
    assert await ada.refused("keys", "rm", ada.identity.credential) == LAST
    gone = broker.clock.now()
    await ada.person.key(expires_at=gone)
    assert await ada.refused("keys", "rm", ada.identity.credential) == LAST
    await broker.accounts.set_password("ada", PASSWORD, actor="x")
    await ada.person.ways("key")
    assert await ada.refused("keys", "rm", ada.identity.credential) == LAST
    other = await ada.person.key()
    await ada.ok("keys", "rm", ada.identity.credential)
    assert outcome(await ada.person.identify(other)) == "in"


async def test_of_two_keys_one_stays_whoever_is_quicker(broker, person):
    """Both are taken away at once."""
    await broker.accounts.remove_password("ada", actor="x")
    both = [await by_key(person), await by_key(person)]
    replies = await asyncio.gather(
        *(one.say("keys", "rm", one.identity.credential) for one in both)
    )
    assert sorted(reply.status for reply in replies) == [0, 1]
    assert len(await broker.store.keys(person.user.id)) == 1


async def test_a_key_that_the_policy_does_not_take_is_no_way(broker, person, ada):
    """Of hardware alone."""
    await person.ways("key", login__hardware_keys=True)
    await broker.store.add_key(
        person.user.id,
        fingerprint="SHA256:" + "h" * 43,
        public="sk-ssh-ed25519@openssh.com AAAA",
        name="token",
        actor="x",
    )
    assert await ada.refused("keys", "rm", "token") == LAST


async def test_the_last_password_stays(broker, person):
    """Until there is a key."""
    speaker = await by_password(person)
    assert await speaker.refused("password", "rm") == LAST
    await person.key()
    await person.ways("password")
    assert await speaker.refused("password", "rm") == LAST
    await person.ways("password", "key+code")
    await speaker.ok("password", "rm")


# ------------------------------------------------------------------------------------- password


async def test_a_new_password_is_made_and_shown_once(broker, person):
    """What the one before opened ends once the answer is out."""
    speaker = await by_password(person)
    assert await speaker.ok("password") == "You have a password."
    made, told = (await speaker.ok("password", "new")).splitlines()
    assert re.fullmatch(r"([a-z2-9]{5}-){3}[a-z2-9]{5}", made)
    assert told.endswith("It is shown once: keep it well.")
    assert broker.connections.ended == []
    assert outcome(await person.type()) == "nobody"
    assert outcome(await person.type(made)) == "in"
    broker.clock.advance(1)
    await broker.landed()
    assert broker.connections.ended == [speaker.identity.credential]
    again = await (await by_password(person, made)).ok("password", "new", "--json")
    assert again["password"] != made


async def test_a_password_is_taken_away(broker, ada):
    """And is not there twice."""
    await ada.ok("password", "rm")
    assert await ada.ok("password") == "You have no password."
    await ada.refused("password", "rm", code="not_found")
    entry = await ada.last()
    assert (entry.action, entry.proof) == ("password.remove", f"key {ada.identity.credential}")


async def test_no_password_is_made_where_none_counts(ada):
    """Or where another keeps it."""
    await ada.person.ways("key")
    assert "so you need none" in await ada.refused("password", "new")


async def test_a_password_that_is_kept_elsewhere_is_changed_there(broker):
    """The source is named; and it is a way in, so keys may go."""
    eve = await broker.store.add_user("eve", admin=False, source="ldap", actor="x")
    speaker = await by_key(Person(broker, eve))
    assert await speaker.ok("password") == "Your password is checked by ldap."
    assert "checked by ldap" in await speaker.refused("password", "new")
    await speaker.ok("keys", "rm", speaker.identity.credential)


@pytest.mark.parametrize("argv", [("new", "hunter2"), ("rm", "x"), ("set", "x"), ("hunter2",)])
async def test_no_password_is_an_argument(broker, ada, argv):
    """It would stand in somebody's history."""
    await ada.refused("password", *argv, code="bad_request")
    assert outcome(await ada.person.type()) == "in"


# ---------------------------------------------------------------------------------------- codes


async def test_codes_are_set_up_by_words(broker, ada):
    """Begun, confirmed by a code, asked for from then on, and taken away."""
    assert (await ada.ok("code")).startswith("You have no one-time codes")
    told = await ada.ok("code", "enrol")
    assert "otpauth://totp/" in told
    assert "█" in told
    assert "begun" in await ada.ok("code")
    begun = await ada.ok("code", "enrol", "--json")
    totp = pyotp.TOTP(begun["secret"])
    assert begun["uri"] == totp.provisioning_uri(name="ada", issuer_name="Desk")
    assert "not the code of just now" in await ada.refused(
        "code", "confirm", "000000", code="bad_request"
    )
    now = totp.at(broker.clock.now())
    told = await ada.ok("code", "confirm", now[:3], now[3:])
    recovery = re.findall(r"^  ([A-Z2-7-]+)$", told, re.MULTILINE)
    assert len(recovery) == 10
    assert (await ada.last()).action == "code.confirm"
    assert (await ada.ok("code")).endswith("and 10 recovery codes.")
    wanted = await ada.person.type()
    assert isinstance(wanted, CodeWanted)
    assert outcome(await ada.person.show(wanted, recovery[0])) == "in"
    assert (await ada.ok("code", "status", "--json"))["recovery_left"] == 9
    await ada.refused("code", "enrol")
    await ada.ok("code", "rm")
    assert outcome(await ada.person.type()) == "in"
    await ada.refused("code", "rm", code="not_found")
    await ada.refused("code", "confirm", "000000", code="not_found")


@pytest.fixture
async def enrolling(person):
    """Let in to set up a code and for nothing else."""
    await person.ways("password+code")
    speaker = await by_password(person)
    assert speaker.identity.enrol
    return speaker


@pytest.mark.parametrize("word", sorted(set(WORDS) - ENROLLING))
async def test_who_has_to_set_up_a_code_has_no_other_words(broker, enrolling, word):
    """And is told what to do."""
    wanted = WORDS[word][0].split()
    argv = [*word.split(), *(["x"] * (wanted.count("KEY") + wanted.count("ID")))]
    if word == "keys rename":
        argv.append("y")
    if word == "keys add":
        argv += new_key()[1].split()
    assert "desk code enrol" in await enrolling.refused(*argv, code="access_denied")
    assert await broker.store.desktops() == []


async def test_who_has_to_set_up_a_code_can(broker, person, enrolling):
    """Help names those words alone; the next login wants the code, and is whole."""
    words = {"help", "whoami", "code", "code enrol", "code confirm"}
    assert set(await enrolling.ok("help", "--json")) == words == ENROLLING
    assert (await enrolling.ok("whoami", "--json"))["user"] == "ada"
    secret = (await enrolling.ok("code", "enrol", "--json"))["secret"]
    code = pyotp.TOTP(secret).at(broker.clock.now())
    await enrolling.ok("code", "confirm", code)
    assert outcome(await person.type()) == "code"


async def test_who_came_without_the_code_does_not_take_it_away(broker, enrolling):
    """A connection can be older than the code that its account wants."""
    await enrolling.person.enrol()
    await enrolling.refused("code", "rm", code="access_denied")
    await enrolling.refused("code", "enrol")
    assert await broker.codes.wanted(enrolling.person.user.id)


# --------------------------------------------------------------------------------------- inside


@pytest.mark.parametrize("word", sorted(set(WORDS) - INSIDE))
async def test_what_runs_in_a_desktop_is_not_the_person(broker, ada, word):
    """None of these words is answered there."""
    route = await broker.route(ada.identity)
    reply = await broker.words.answer_inside(route.session_id, word.split())
    assert (reply.status, reply.stdout) == (2, "")
    assert "is no word of Desk inside a desktop" in reply.stderr


# ------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["keys", "drop"], "'drop' is no word of 'desk keys'; there are keys, keys add LINE,"),
        (["keys", "\x1b"], "'\\x1b' is no word of 'desk keys'"),
        (["keys", "add"], "This is written 'desk keys add LINE [--json]'."),
        (["keys", "rm"], "This is written 'desk keys rm KEY [--json]'."),
        (["keys", "rename", "x"], "This is written 'desk keys rename KEY NEW [--json]'."),
        (["keys", "rename", "x", "y", "z"], "This is written 'desk keys rename KEY NEW"),
        (["code", "confirm"], "This is written 'desk code confirm CODE [--json]'."),
        (["code", "enrol", "x"], "This is written 'desk code enrol [--json]'."),
        (["whoami", "x"], "This is written 'desk whoami [--json]'."),
    ],
)
async def test_what_is_written_wrong_is_told_right(ada, argv, said):
    """Exit status 2."""
    assert (await ada.refused(*argv, code="bad_request")).startswith(said)


async def test_other_changes_tell_how_their_person_proved_it_too(broker, ada):
    """A start, and what is slept and kept."""
    await broker.route(ada.identity)
    for argv, action in ((("extend", "1h"), "session.keep"), (("stop",), "session.stop")):
        await ada.ok(*argv)
        entries = [e for e in await broker.store.audit() if e.action == action]
        assert (entries[0].proof, entries[0].origin) == (f"key {ada.identity.credential}", HOME)
    starts = [e for e in await broker.store.audit() if e.action.startswith("desktop.")]
    assert {entry.origin for entry in starts} == {HOME}


# -------------------------------------------------------------------------------------- secrets


async def test_no_secret_of_a_word_is_logged_or_audited(broker, ada):
    """Passwords, what makes codes, recovery codes, and the codes themselves."""
    with capture_logs() as logs:
        secrets = {(await ada.ok("password", "new", "--json"))["password"]}
        secret = (await ada.ok("code", "enrol", "--json"))["secret"]
        code = pyotp.TOTP(secret).at(broker.clock.now())
        await ada.say("code", "confirm", "987654")
        told = await ada.ok("code", "confirm", code, "--json")
        secrets |= {secret, code, "987654", *told["recovery"]}
        await ada.say("code", code)
        await broker.landed()
    everything = f"{logs} {await broker.store.audit(limit=1000)}"
    for one in secrets:
        assert one not in everything
        assert one.replace("-", "") not in everything


async def test_the_login_name_changes_nothing_of_who_one_is(broker, ada):
    """`desk@` and `ada@` are the same person."""
    key = await ada.person.key()
    named = await ada.person.identify(key, login=Login("ada", "lab"))
    told = await Speaker(ada.person, named).ok("whoami", "--json")
    assert told["user"] == "ada"
