"""Signing in by a provider's word, from the button to the page, as a door passes it on."""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import parse_qs, urlsplit

import pytest
from structlog.testing import capture_logs

from broker.config.oidc import OidcConfig
from broker.core.errors import SourceUnavailable
from broker.core.model import LOCAL
from broker.core.outside import Claims, NotBelieved
from broker.service import oidc
from broker.sources.oidc import Provider
from broker.system.clock import SystemClock
from tests.http.test_sign_in import Visitor
from tests.service.people import Person
from tests.sources.provider import BACK, CLIENT_ID, SECRET, RealProvider, installed, visit


class Fake:
    """A provider that vouches for whom a test says."""

    name = "sso"

    def __init__(self) -> None:
        self.create = self.adopt = True
        self.claims = Claims(subject="sub-ada", name="ada", groups=frozenset())
        self.sent, self.taken = [], []
        self.away = False
        self.refuses = None

    async def begin(self, *, state, nonce, challenge):
        if self.away:
            raise SourceUnavailable("it is away")
        self.sent.append((state, nonce, challenge))
        return f"https://id.example/auth?state={state}"

    async def finish(self, *, code, verifier, nonce, issuer):
        if self.away:
            raise SourceUnavailable("it is away")
        self.taken.append((code, verifier, nonce, issuer))
        if self.refuses:
            raise NotBelieved(self.refuses)
        return self.claims


@pytest.fixture
def provider():
    return Fake()


@pytest.fixture
async def broker(world, provider):
    return await world.broker(provider=provider)


@pytest.fixture
async def door(broker, serve):
    return await serve(broker, "token")


class Traveller(Visitor):
    """A browser that goes to the provider and comes back, by what its cookies hold."""

    state = None

    async def get(self, path, **query):
        held = {} if self.state is None else {"Desk-State": self.state}
        found, _ = await self.door(
            "GET", path, headers=self.headers() | held, params=query, allow_redirects=False
        )
        headers = self.door.headers
        if "Desk-Sign-In" in headers:
            self.cookie = headers["Desk-Sign-In"] or None
        if "Desk-State" in headers:
            self.state = headers["Desk-State"] or None
        return found, headers.get("Location")

    async def leave(self):
        status, url = await self.get("/sign-in/oidc")
        assert status == 302
        return url

    async def come_back(self, url, **more):
        state = parse_qs(urlsplit(url).query)["state"][0]
        return await self.get("/sign-in/oidc/back", **{"state": state, "code": "c"} | more)


@pytest.fixture
def ada(door):
    return Traveller(door, None)


async def test_the_button_is_there_where_a_provider_is(ada):
    assert (await ada("GET", "/sign-in"))[1]["oidc"] == "sso"


async def test_somebody_new_goes_there_and_comes_back_with_an_account(ada, provider, broker):
    """It is of that source, and the audit says by whose word."""
    url = await ada.leave()
    assert url.startswith("https://id.example/")
    assert await ada.come_back(url) == (302, "/")
    assert ada.state is None
    _, caller = await ada("GET", "/caller")
    assert (caller["user"], caller["admin"], caller["enrol"]) == ("ada", False, False)
    user = await broker.store.user("ada")
    assert user.source == "sso"
    told = {e.action: (e.actor, e.proof) for e in await broker.store.audit(subject=user.id)}
    assert told == {
        "user.add": ("user:ada", "oidc sso"), "user.bind": ("user:ada", "oidc sso"),
        "sign-in.add": ("user:ada", "oidc sso"),
    }  # fmt: skip
    (sent,), ((code, verifier, nonce, issuer),) = provider.sent, provider.taken
    assert (code, issuer) == ("c", None)
    assert nonce == sent[1]
    digest = hashlib.sha256(verifier.encode()).digest()
    assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == sent[2]
    assert len({sent[0], sent[1], verifier}) == 3


async def test_somebody_known_is_the_user_of_that_name(ada, provider, broker):
    """Of Desk's own too, but of no other source."""
    person = await Person.make(broker, "ada")
    await ada.come_back(await ada.leave())
    (only,) = (await ada("GET", "/sign-ins"))[1]["items"]
    assert only["user"] == "ada"
    assert (await broker.store.user("ada")).id == person.user.id
    await broker.store.add_user("eve", admin=False, source="campus", actor="x")
    provider.claims = Claims(subject="sub-eve", name="eve", groups=frozenset())
    assert await ada.come_back(await ada.leave()) == (302, "/#refused=access_denied")


async def test_who_was_here_before_is_known_by_the_providers_own_word(ada, provider, broker):
    """Another name there changes nothing here, and the old one given to somebody else lets nobody in."""
    await ada.come_back(await ada.leave())
    provider.claims = Claims(subject="sub-ada", name="lovelace", groups=frozenset())
    assert await ada.come_back(await ada.leave()) == (302, "/")
    assert (await ada("GET", "/caller"))[1]["user"] == "ada"
    assert await broker.store.user("lovelace") is None
    ada.cookie = None
    provider.claims = Claims(subject="sub-eve", name="ada", groups=frozenset({"admins"}))
    assert await ada.come_back(await ada.leave()) == (302, "/#refused=access_denied")
    assert ada.cookie is None


async def test_an_admin_lets_the_next_one_of_the_name_be_the_user(ada, provider, broker, api):
    """What the one before signed in ends; what was signed in otherwise stays."""
    person = await Person.make(broker, "ada")
    other = Visitor(ada.door, person)
    await other.sign_in()
    await api.problem(404, "not_found", "DELETE", "/users/ada/provider")
    await ada.come_back(await ada.leave())
    assert (await api("DELETE", "/users/ada/provider"))[0] == 204
    await ada.problem(401, "unauthenticated", "GET", "/caller")
    assert (await other("GET", "/caller"))[0] == 200
    assert len(broker.connections.ended) == 1
    ada.cookie = None
    provider.claims = Claims(subject="sub-new", name="ada", groups=frozenset())
    assert await ada.come_back(await ada.leave()) == (302, "/")
    assert (await ada("GET", "/caller"))[1]["user"] == "ada"
    provider.claims = Claims(subject="sub-ada", name="ada", groups=frozenset())
    assert await ada.come_back(await ada.leave()) == (302, "/#refused=access_denied")


@pytest.mark.parametrize("name", ["Ada", "ada@example.org", "", "root", "../x", "a" * 40, "<b>"])
async def test_whoever_cannot_be_a_user_is_none(ada, provider, broker, name):
    provider.claims = Claims(subject="sub", name=name, groups=frozenset())
    assert await ada.come_back(await ada.leave()) == (302, "/#refused=access_denied")
    assert ada.cookie is None
    assert await broker.store.users() == []


async def test_where_no_accounts_are_made_a_stranger_gets_none(ada, provider, broker):
    provider.create = False
    assert await ada.come_back(await ada.leave()) == (302, "/#refused=access_denied")
    assert await broker.store.users() == []
    await broker.accounts.add_user("ada", admin=False, keys=(), source="sso", actor="x")
    assert await ada.come_back(await ada.leave()) == (302, "/")


async def test_a_name_alone_makes_nobody_a_user_of_desks_own(ada, provider, broker):
    """Unless that is so configured; whom the provider was taken at its word for stays bound."""
    person = await Person.make(broker, "ada")
    provider.adopt = False
    assert await ada.come_back(await ada.leave()) == (302, "/#refused=access_denied")
    assert ada.cookie is None
    assert await broker.store.user_vouched("sso", "sub-ada") is None
    provider.adopt = True
    assert await ada.come_back(await ada.leave()) == (302, "/")
    provider.adopt = False
    assert await ada.come_back(await ada.leave()) == (302, "/")
    assert (await broker.store.user_vouched("sso", "sub-ada")).id == person.user.id


async def test_who_is_disabled_stays_out(ada, broker):
    await ada.come_back(await ada.leave())
    await broker.accounts.set_enabled("ada", enabled=False, actor="x")
    await ada.problem(401, "unauthenticated", "GET", "/caller")
    assert await ada.come_back(await ada.leave()) == (302, "/#refused=access_denied")


async def test_groups_are_as_the_provider_says_at_each_sign_in(ada, provider, broker):
    """Beside those that an admin said."""
    for group in ("lab", "desk", "own"):
        await broker.groups.add(group, priority=0, policy={}, actor="x")
    provider.claims = Claims(subject="sub-ada", name="ada", groups=frozenset({"lab", "none"}))
    await ada.come_back(await ada.leave())
    user = await broker.store.user("ada")
    await broker.groups.join(user, "own", actor="x")
    assert [each.name for each in await broker.store.groups_of(user.id)] == ["lab", "own"]
    provider.claims = Claims(subject="sub-ada", name="ada", groups=frozenset({"desk"}))
    await ada.come_back(await ada.leave())
    assert [each.name for each in await broker.store.groups_of(user.id)] == ["desk", "own"]


async def test_policy_refuses_the_browser_here_too(ada, broker):
    person = await Person.make(broker, "ada")
    await person.ways(allow__browser=False)
    assert await ada.come_back(await ada.leave()) == (302, "/#refused=access_denied")
    assert ada.cookie is None


@pytest.mark.parametrize("source", [LOCAL, "sso"])
async def test_it_lasts_while_the_provider_is_whose_word_counts(ada, broker, world, serve, source):
    await broker.store.add_user("ada", admin=False, source=source, actor="x")
    await ada.come_back(await ada.leave())
    other = Fake()
    ada.door = await serve(await world.broker(provider=other), "token")
    assert (await ada("GET", "/caller"))[0] == 200
    ada.door = await serve(await world.broker(), "token")
    await ada.problem(401, "unauthenticated", "GET", "/caller")


# --------------------------------------------------------------------------------- what is refused


async def refused(traveller, url, **more):
    """That it comes to nothing, and the provider is not even asked."""
    before = len(traveller.broker_asked)
    assert await traveller.come_back(url, **more) == (302, "/#refused=unauthenticated")
    assert traveller.cookie is None
    assert traveller.state is None
    assert len(traveller.broker_asked) == before


@pytest.fixture
def wary(ada, provider):
    ada.broker_asked = provider.taken
    return ada


async def test_a_state_is_the_browsers_that_was_sent_with_it(wary, door, provider):
    """What somebody else began, nobody can have another browser end."""
    attacker = Traveller(door, None)
    theirs = await attacker.leave()
    await refused(wary, theirs)
    await wary.leave()
    await refused(wary, theirs)


@pytest.mark.parametrize("state", ["", "x", "x" * 43, "\ud7ff", "x" * 5000])
async def test_another_state_is_none(wary, state):
    await refused(wary, await wary.leave(), state=state)


@pytest.mark.parametrize("cookie", [".", "x.1", "x" * 43, f"{'x' * 43}.1", f"{'x' * 43}.²"])
async def test_another_cookie_is_none(wary, cookie):
    url = await wary.leave()
    wary.state = cookie
    await refused(wary, url)


async def test_a_cookie_cannot_be_made_younger(wary, broker):
    url = await wary.leave()
    secret, _, at = wary.state.partition(".")
    broker.clock.advance(oidc.VALID)
    wary.state = f"{secret}.{int(at) + 300}"
    await refused(wary, url)


async def test_who_takes_too_long_begins_anew(wary, broker):
    url = await wary.leave()
    broker.clock.advance(oidc.VALID)
    await refused(wary, url)


async def test_who_comes_back_without_a_code_is_not_signed_in(wary):
    """As whoever did not want to, there."""
    await refused(wary, await wary.leave(), code="", error="access_denied")


async def test_the_next_broker_knows_no_state_of_the_one_before(wary, world, serve, provider):
    url = await wary.leave()
    wary.door = await serve(await world.broker(provider=provider), "token")
    await refused(wary, url)


async def test_what_a_provider_adds_is_passed_over(ada):
    """Each sends something of its own."""
    url = await ada.leave()
    assert await ada.come_back(url, session_state="x", scope="openid", iss="https://id") == (
        302,
        "/",
    )


async def test_a_provider_that_is_away_is_told_on_the_page(ada, provider):
    url = await ada.leave()
    provider.away = True
    assert await ada.come_back(url) == (302, "/#refused=source_unavailable")
    assert await ada.get("/sign-in/oidc") == (302, "/#refused=source_unavailable")


async def test_answers_that_are_not_believed_make_an_address_wait(ada, provider):
    """As wrong passwords do."""
    provider.refuses = "the ID token is none"
    for _ in range(20):
        assert (await ada.come_back(await ada.leave()))[1] == "/#refused=unauthenticated"
    assert (await ada.come_back(await ada.leave()))[1] == "/#refused=blocked"


async def test_where_there_is_no_provider_there_is_nothing(world, serve):
    lonely = Traveller(await serve(await world.broker(), "token"), None)
    for path in ("/sign-in/oidc", "/sign-in/oidc/back"):
        assert (await lonely.get(path))[0] == 404


async def test_too_many_at_once_are_told_so(ada, broker):
    broker.sso._here = oidc.AT_ONCE
    assert await ada.get("/sign-in/oidc") == (302, "/#refused=full")


async def test_no_secret_is_in_the_log_or_the_audit(ada, provider, broker):
    with capture_logs() as logs:
        url = await ada.leave()
        state = ada.state
        await ada.come_back(url, code="the-code-itself")
        provider.refuses = "x"
        url = await ada.leave()
        await ada.come_back(url, code="the-code-itself")
    told = repr(logs) + repr(await broker.store.audit(limit=1000))
    secrets = ["the-code-itself", state, ada.cookie, *(each[1] for each in provider.taken)]
    for secret in secrets:
        assert secret not in told


# ----------------------------------------------------------------------------------- the real one


async def test_a_real_provider_signs_somebody_in(world, serve, tmp_path):
    """From the button to the page, by npm's oidc-provider; and a code is good once."""
    installed()
    real = RealProvider()
    try:
        secret = tmp_path / "secret"
        secret.write_text(SECRET)
        told = {
            "name": "sso", "issuer": real.issuer, "client_id": CLIENT_ID, "client_secret": secret,
            "groups_claim": "groups", "groups": {"staff": "lab"},
        }  # fmt: skip
        config = OidcConfig.model_validate(told)
        broker = await world.broker(provider=Provider(config, BACK, SystemClock()))
        await broker.groups.add("lab", priority=0, policy={}, actor="x")
        ada = Traveller(await serve(broker, "token"), None)
        back = await visit(await ada.leave(), who="ada")
        held = ada.state
        assert await ada.get("/sign-in/oidc/back", **back) == (302, "/")
        _, caller = await ada("GET", "/caller")
        assert caller["user"] == "ada"
        user = await broker.store.user("ada")
        assert [each.name for each in await broker.store.groups_of(user.id)] == ["lab"]
        ada.cookie, ada.state = None, held
        assert (await ada.get("/sign-in/oidc/back", **back))[1] == "/#refused=unauthenticated"
        assert ada.cookie is None
        back = await visit(await ada.leave(), who="odd")
        assert (await ada.get("/sign-in/oidc/back", **back))[1] == "/#refused=access_denied"
        back = await visit(await ada.leave(), who="nobody")
        assert (await ada.get("/sign-in/oidc/back", **back))[1] == "/#refused=unauthenticated"
    finally:
        real.close()
