"""Each verb of deskctl, and each route of the API by a verb."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from dataclasses import dataclass

import click
import pytest
from structlog.testing import capture_logs

from broker.cli import deskctl
from broker.core.gateway import Allowance
from broker.core.model import Actor
from broker.core.shares import Mode
from broker.core.tokens import ALL_SCOPES, Caller, Reach, Scope
from broker.http.routes import PREFIX
from broker.http.table import TABLE
from tests.cli.conftest import Served, invoke
from tests.service.browsers import Browser
from tests.service.harness import memory_directory, new_key
from tests.service.people import Person


@dataclass(frozen=True)
class Verb:
    """Words, in which `{session}` and the like stand for what is made for them, the routes that
    they call, and the ids that `--quiet` prints: a pattern, or the field of each item of a list.
    """

    words: str
    routes: tuple[str, ...]
    quiet: str = ""
    stdin: str = ""
    """What is piped in, in which the same stand."""

    @property
    def listed(self) -> bool:
        return "watched" in {parameter.name for parameter in COMMANDS[path_of(self)].params}

    def __str__(self) -> str:
        return self.words


VERBS = [
    Verb(
        "user add {fresh} --admin --key - --invite",
        ("add_user", "add_invite"),
        r"invite\+\S{32}",
        "{key}",
    ),
    Verb("user ls", ("list_users",), "name"),
    Verb("user show {user}", ("get_user",), "{user}"),
    Verb("user rm {user} --yes", ("remove_user",), "{user}"),
    Verb("user disable {user}", ("disable_user",), "{user}"),
    Verb("user enable {user}", ("enable_user",), "{user}"),
    Verb("user policy {user}", ("get_user_policy",), "key"),
    Verb("user invite {user} --valid 1h", ("add_invite",), r"invite\+\S{32}"),
    Verb("user recover {user}", ("recover_user",), r"invite\+\S{32}"),
    Verb("user key add {user} --key -", ("add_key",), r"SHA256:\S{43}", "{key}"),
    Verb("user key ls {keyed}", ("list_keys",), "fingerprint"),
    Verb("user key rename {keyed} ada@laptop new", ("rename_key",), r"SHA256:\S{43}"),
    Verb("user key rm {keyed} ada@laptop", ("remove_key",), "ada@laptop"),
    Verb("user password set {user}", ("set_password",), "{user}", "another horse battery"),
    Verb("user password rm {typing}", ("remove_password",), "{typing}"),
    Verb("user unbind {bound}", ("unbind_user",), "{bound}"),
    Verb("user code rm {coded}", ("remove_codes",), "{coded}"),
    Verb("invite ls --user {invited} --state open", ("list_invites",), "id"),
    Verb("invite rm {invite}", ("revoke_invite",), "{invite}"),
    Verb(
        "token add ci --user {user} --scope read --scope users --valid 1d",
        ("add_token",),
        r"desk_\S{40}",
    ),
    Verb("token ls --user {tokened}", ("list_tokens",), "id"),
    Verb("token rm {token}", ("revoke_token",), "{token}"),
    Verb("sign-in ls --user {signed}", ("list_sign_ins",), "id"),
    Verb("sign-in rm {signin}", ("end_sign_in",), "{signin}"),
    Verb("whoami", ("get_caller",), r"uid:\d+"),
    Verb("group add {fresh} allow.x11=false --priority 3", ("add_group",), "{fresh}"),
    Verb("group set {group} limits.desktops=4", ("change_group",), "{group}"),
    Verb("group ls", ("list_groups",), "name"),
    Verb("group show {group}", ("get_group",), "{group}"),
    Verb("group rm {group} --yes", ("remove_group",), "{group}"),
    Verb("group join {group} {user}", ("join_group",), "{user}"),
    Verb("group leave {group} {member}", ("leave_group",), "{member}"),
    Verb("policy ls", ("list_policies",), "key"),
    Verb("login-block ls", ("list_login_blocks",), "account"),
    Verb("login-block rm {blocked}", ("lift_login_block",), "{blocked}"),
    Verb("session ls --user {running} --state ready", ("list_sessions",), "id"),
    Verb("session show {session}", ("get_session",), "{session}"),
    Verb("session why {session}", ("explain_session",), "{session}"),
    Verb("session stop {session}", ("stop_session",), "{session}"),
    Verb("session kill {session} --force", ("kill_session",), "{session}"),
    Verb("session extend {session} 1h", ("extend_session",), "{session}"),
    Verb("session keep {session}", ("keep_session",), "{session}"),
    Verb("session freeze {session}", ("freeze_session",), "{session}"),
    Verb("session thaw {frozen}", ("thaw_session",), "{frozen}"),
    Verb("session resize {session} 1920x1080", ("resize_session",), "{session}"),
    Verb("session message {session} hello", ("message_session",), "{session}"),
    Verb("share ls --user {sharing}", ("list_shares",), "id"),
    Verb("share end {share}", ("end_share",), "{share}"),
    Verb("attachment ls --user ada", ("list_attachments",), "session"),
    Verb("desktop ls --all --user {running} --state ready", ("list_desktops",), "id"),
    Verb("desktop show {desktop}", ("get_desktop",), "{desktop}"),
    Verb("desktop add {user} work", ("add_desktop",), "[0-9a-f]+"),
    Verb("desktop start {stopped}", ("start_desktop",), "[0-9a-f]+"),
    Verb("desktop stop {desktop}", ("stop_desktop",), "{desktop}"),
    Verb("desktop rm {desktop} --with-home --yes", ("remove_desktop",), "{desktop}"),
    Verb("template ls", ("list_templates",), "name"),
    Verb("template show default", ("get_template",), "default"),
    Verb("lease ls --desktop {desktop} --kind uid", ("list_leases",), "value"),
    Verb("settings ls --key limits.desktops", ("list_settings",), "key"),
    Verb("maintenance drain --message later", ("drain",)),
    Verb("maintenance status", ("show_maintenance",)),
    Verb("maintenance resume", ("resume",)),
    Verb("status", ("get_status",)),
    Verb("broadcast hello", ("broadcast",)),
    Verb("desktop outdated", ("list_outdated",), "desktop"),
    Verb("config reload", ("reload_config",)),
    Verb("audit ls --limit 3 --user {user}", ("list_audit",), "seq"),
    Verb("audit verify", ("verify_audit",), r"\d+"),
    Verb("audit export --after 0", ("list_audit_chain",), "seq"),
]

#: What ends by Ctrl-C alone: `test_deskctl_watch` drives them.
ENDLESS = {"events follow": "follow_events"}

#: Routes that no verb calls, and why.
_FOR_PAGES = "what a browser's pages do by a cookie, which deskctl has none of"

_FOR_ONESELF = "a user's own, who has 'desk code' over SSH; an administrator takes codes away"

FOR_PROGRAMS = {
    "get_openapi": "the API's own description",
    "make_share": "its owner's alone: their page's, and 'desk share' says it",
    "let_in_guest": "likewise",
    "refuse_guest": "a page's; 'desk share refuse' says it",
    "send_guest_away": "likewise; 'share end' ends all of them",
    "come_as_guest": "a guest's page's",
    "get_guest": "likewise",
    "leave_as_guest": "likewise",
    "examine": "a part of what deskd doctor does, who looks at the host as well",
    "get_ways_to_sign_in": _FOR_PAGES,
    "sign_in": _FOR_PAGES,
    "sign_in_by_code": _FOR_PAGES,
    "sign_in_by_link": _FOR_PAGES,
    "leave_for_provider": _FOR_PAGES,
    "come_back_from_provider": _FOR_PAGES,
    "sign_out": _FOR_PAGES,
    "get_codes": _FOR_ONESELF,
    "begin_codes": _FOR_ONESELF,
    "confirm_codes": _FOR_ONESELF,
}

ROUTES = {
    (route.method, f"{PREFIX}{route.plain_path}"): route.name
    for noun in TABLE
    for route in noun.routes
}


def leaves(command, path=""):
    """The words of every command, and the command."""
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from leaves(child, f"{path} {name}".strip())
    else:
        yield path, command


#: Of this host, or others' to drive.
ELSEWHERE = {"image", "completion"}

COMMANDS = {
    path: command for path, command in leaves(deskctl.main) if path.split()[0] not in ELSEWHERE
}


class Scene:
    """What is made for a word, once: each case has things of its own."""

    numbers = itertools.count()

    def __init__(self, served) -> None:
        self.broker, self.do = served.broker, served.do
        self.number = next(self.numbers)
        self.made: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        if name not in self.made:
            work = getattr(self, f"_{name}")()
            self.made[name] = work if isinstance(work, str) else self.do(work)
        return self.made[name]

    def filled(self, text: str) -> str:
        return re.sub(r"\{([a-z]+)\}", lambda found: self[found[1]], text)

    def _fresh(self) -> str:
        return f"fresh{next(self.numbers)}"

    def _key(self) -> str:
        return new_key()[1]

    async def _account(self):
        name = f"user{self.number}"
        return await self.broker.store.user(name) or await self.broker.user(name)

    async def _user(self) -> str:
        return (await self._account()).name

    async def _typing(self) -> str:
        return (await Person.make(self.broker, f"typing{self.number}")).name

    async def _invite(self) -> str:
        user = await self._account()
        return (await self.broker.invites.make(user, valid=None, actor="uid:0"))[0].id

    async def _invited(self) -> str:
        await self._invite()
        return await self._user()

    async def _token(self) -> str:
        kernel = Caller(actor=Actor("uid:0"), scopes=ALL_SCOPES, reach=Reach.ALL, user_id=None)
        token, _ = await self.broker.services.tokens.make(
            await self._account(),
            name="ci",
            scopes=frozenset({Scope.READ}),
            reach=Reach.OWN,
            valid=None,
            maker=kernel,
        )
        return token.id

    async def _tokened(self) -> str:
        await self._token()
        return await self._user()

    async def _signin(self) -> str:
        person = await Person.make(self.broker, f"signed{self.number}")
        browser = Browser(person)
        await browser.type()
        return browser.id

    async def _signed(self) -> str:
        await self._signin()
        return f"signed{self.number}"

    async def _member(self) -> str:
        await self.broker.groups.join(await self._account(), self.made["group"], actor="uid:0")
        return await self._user()

    async def _keyed(self) -> str:
        name = await self._user()
        await self.broker.accounts.add_key(name, new_key()[1], actor="uid:0")
        return name

    async def _coded(self) -> str:
        person = await Person.make(self.broker, f"coded{self.number}")
        return (await person.enrol()).name

    async def _bound(self) -> str:
        name = f"bound{self.number}"
        user = await self.broker.user(name)
        await self.broker.store.vouch(user.id, source="sso", subject=name, actor="x")
        return name

    async def _group(self) -> str:
        name = f"group{self.number}"
        await self.broker.groups.set(name, priority=self.number, policy={}, actor="uid:0")
        return name

    async def _blocked(self) -> str:
        person = await Person.make(self.broker, f"blocked{self.number}")
        await person.fail()
        return person.name

    async def _run(self):
        desktop = await self.broker.desktop(f"runs{self.number}")
        return desktop, await self.broker.ensure(desktop)

    async def _running(self) -> str:
        await self._run()
        return f"runs{self.number}"

    async def _desktop(self) -> str:
        return (await self._run())[0].id

    async def _stopped(self) -> str:
        return (await self.broker.desktop(f"runs{self.number}")).id

    async def _session(self) -> str:
        return (await self._run())[1].id

    async def _share(self) -> str:
        desktop = await self.broker.desktop(f"runs{self.number}")
        made, _ = await self.broker.shares.make(
            desktop, mode=Mode.LOOK, valid=None, allowed=list(Allowance), actor="user:x"
        )
        return made.id

    async def _sharing(self) -> str:
        await self._share()
        return f"runs{self.number}"

    async def _frozen(self) -> str:
        session = (await self._run())[1]
        assert await self.broker.freeze(session)
        return session.id


@pytest.fixture(scope="module")
def hall(tmp_path_factory):
    """A broker for all cases."""
    directory = memory_directory()
    with capture_logs():
        made = Served(directory, tmp_path_factory.mktemp("hall") / "admin.sock")
        yield made
        made.close()
    shutil.rmtree(directory)


@pytest.fixture
def scene(hall):
    hall.asked.clear()
    yield Scene(hall)
    # What one case drains another one starts.
    invoke(["--socket", str(hall.path), "maintenance", "resume"], 0)


def said(hall, scene, verb, *form) -> str:
    words = ["--socket", str(hall.path), *(scene.filled(word) for word in verb.words.split())]
    return invoke([*words, *form], 0, input=scene.filled(verb.stdin))


@pytest.mark.parametrize("verb", VERBS, ids=str)
def test_a_verb_calls_its_routes_and_prints_what_came_of_it(hall, scene, verb):
    """For people: a sentence or a table, harmless to a terminal."""
    told = said(hall, scene, verb)
    assert tuple(dict.fromkeys(ROUTES[asked] for asked in hall.asked)) == verb.routes
    assert told.strip()
    assert all(line.isprintable() for line in told.splitlines())


@pytest.mark.parametrize("verb", VERBS, ids=str)
def test_a_verb_speaks_json(hall, scene, verb):
    """One document, or one on each line where there is no end to them."""
    lines = said(hall, scene, verb, "--json").splitlines()
    assert lines
    documents = [json.loads(line) for line in lines]
    assert len(lines) == 1 or verb.words.startswith("audit export")
    if verb.listed:
        assert isinstance(documents[0], list)


@pytest.mark.parametrize("verb", VERBS, ids=str)
def test_a_verb_names_ids_alone(hall, scene, verb):
    """Those of a list's items, that of what was done something to, or what is shown once."""
    quiet = said(hall, scene, verb, "--quiet").splitlines()
    if verb.quiet == "":
        assert quiet == []
        return
    if not verb.listed and not verb.words.startswith("audit export"):
        assert len(quiet) == 1
        assert re.fullmatch(scene.filled(verb.quiet), quiet[0])
        return
    listed = said(hall, scene, verb, "--json").splitlines()
    items = json.loads(listed[0]) if verb.listed else [json.loads(line) for line in listed]
    assert quiet == [str(item[verb.quiet]) for item in items]


def test_no_route_is_without_a_verb():
    """But those that are for programs alone."""
    called = {*ENDLESS.values(), *(route for verb in VERBS for route in verb.routes)}
    assert called | set(FOR_PROGRAMS) == set(ROUTES.values())
    assert called.isdisjoint(FOR_PROGRAMS)


def path_of(verb):
    """The command that its words are of."""
    return max((path for path in COMMANDS if f"{verb.words} ".startswith(f"{path} ")), key=len)


def test_no_verb_is_without_a_case():
    """Each is driven above."""
    assert {path_of(verb) for verb in VERBS} | set(ENDLESS) == set(COMMANDS)


@pytest.mark.parametrize("path", [path for path in COMMANDS if path.endswith(" ls")])
def test_every_list_can_be_watched(path):
    assert "watched" in {parameter.name for parameter in COMMANDS[path].params}


def test_one_form_at_a_time(hall):
    """Before the noun or behind the command."""
    for words in (["--json", "user", "ls", "-q"], ["user", "ls", "--json", "--quiet"]):
        assert "choose one" in invoke(["--socket", str(hall.path), *words], 2)
    assert invoke(["--socket", str(hall.path), "-q", "template", "ls"], 0) == "default\n"
