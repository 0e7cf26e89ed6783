"""The provider of sign-ins: what is believed of its answers, and what is not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from broker.config.oidc import OidcConfig
from broker.core.errors import ConfigError, SourceUnavailable
from broker.core.outside import Claims, NotBelieved
from broker.sources import oidc
from broker.sources.oidc import Provider
from broker.system.clock import SystemClock
from tests.clocks import ManualClock
from tests.sources.provider import BACK, CLIENT_ID, SECRET, RealProvider, installed, visit

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=")

KEYS = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def public(algorithm, **more):
    """As a provider publishes it."""
    maker = jwt.get_algorithm_by_name(algorithm)
    key = json.loads(maker.to_jwk(KEYS[algorithm].public_key()))
    return {"kid": algorithm, "use": "sig", "alg": algorithm, **key} | more


class Scripted:
    """A provider that says what a test wants."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.asked = []
        self.says = {}
        """Of the metadata, beside what is right."""
        self.keys = [public(algorithm) for algorithm in KEYS]
        self.claims = {}
        """Of the ID token, beside what is right; None takes one out."""
        self.algorithm, self.header = "RS256", {"kid": "RS256"}
        self.id_token = None
        self.answers = {}
        """A whole answer by the path."""
        self.userinfo = {"sub": "7", "preferred_username": "ada"}
        self.runner = None

    async def start(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.serve)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.issuer = f"http://127.0.0.1:{self.runner.addresses[0][1]}/realm"

    async def serve(self, request):
        self.asked.append((request.method, request.path, dict(await request.post()), request))
        answer = self.answers.get(request.path)
        if callable(answer):
            return await answer(request)
        if answer is not None:
            return answer
        return web.json_response(self.answer(request.path))

    def answer(self, path):
        match path.removeprefix("/realm"):
            case "/.well-known/openid-configuration":
                return {
                    "issuer": self.issuer,
                    "authorization_endpoint": f"{self.issuer}/auth?realm=x",
                    "token_endpoint": f"{self.issuer}/token",
                    "userinfo_endpoint": f"{self.issuer}/me",
                    "jwks_uri": f"{self.issuer}/keys",
                    "id_token_signing_alg_values_supported": [*KEYS, "HS256", "none"],
                    **self.says,
                }
            case "/keys":
                return {"keys": self.keys}
            case "/token":
                return {"access_token": "access", "token_type": "Bearer", "id_token": self.token()}
            case "/me":
                return self.userinfo
        raise AssertionError(path)

    def token(self):
        if self.id_token is not None:
            return self.id_token
        now = self.clock.now().timestamp()
        claims = {
            "iss": self.issuer, "sub": "7", "aud": "desk", "exp": now + 300, "iat": now,
            "nonce": "n", "preferred_username": "ada", **self.claims,
        }  # fmt: skip
        told = {name: value for name, value in claims.items() if value is not None}
        key = KEYS.get(self.algorithm)
        return jwt.encode(told, key, algorithm=self.algorithm, headers=self.header)

    def made(self, tmp_path, **more):
        secret = tmp_path / "secret"
        secret.write_text("s3cret\n")
        told = {"name": "sso", "issuer": self.issuer, "client_id": "desk", "client_secret": secret}
        return Provider(OidcConfig.model_validate(told | more), BACK, self.clock)


@pytest.fixture
async def scripted():
    made = Scripted()
    await made.start()
    yield made
    await made.runner.cleanup()


@pytest.fixture
def provider(scripted, tmp_path):
    return scripted.made(tmp_path)


async def finish(provider, **more):
    told = {"code": "c", "verifier": VERIFIER, "nonce": "n", "issuer": None} | more
    return await provider.finish(**told)


async def not_believed(provider, **more):
    with pytest.raises(NotBelieved) as refused:
        await finish(provider, **more)
    return str(refused.value)


async def unavailable(provider, **more):
    with pytest.raises(SourceUnavailable) as refused:
        await finish(provider, **more)
    return str(refused.value)


# ------------------------------------------------------------------------------------- the real one


@pytest.fixture(scope="module")
def real():
    installed()
    made = RealProvider()
    yield made
    made.close()


@pytest.fixture
def known(real, tmp_path):
    """The real one as a configuration names it."""
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")

    def make(**more):
        told = {
            "name": "sso", "issuer": real.issuer, "client_id": CLIENT_ID, "client_secret": secret,
            "groups_claim": "groups", "groups": {"staff": ["lab", "desk"], "boss": "admins"},
        }  # fmt: skip
        return Provider(OidcConfig.model_validate(told | more), BACK, SystemClock())

    return make


async def away(provider, who="ada", *, state="s", nonce="n"):
    url = await provider.begin(state=state, nonce=nonce, challenge=CHALLENGE.decode())
    return await visit(url, who=who)


async def test_a_real_provider_vouches_for_somebody(known):
    """Its groups are Desk's by the map, and others count for nothing."""
    provider = known()
    told = await away(provider)
    assert told["state"] == "s"
    found = await finish(provider, code=told["code"], issuer=told["iss"])
    assert found == Claims(subject="ada", name="ada", groups=frozenset({"lab", "desk"}))


async def test_a_code_of_a_real_provider_counts_once_and_with_its_verifier(known):
    provider = known()
    told = await away(provider)
    assert "invalid_grant" in await not_believed(
        provider, code=told["code"], verifier="w" * 43, issuer=told["iss"]
    )
    told = await away(provider)
    await finish(provider, code=told["code"], issuer=told["iss"])
    await not_believed(provider, code=told["code"], issuer=told["iss"])


async def test_a_real_providers_answer_is_its_own_and_of_this_sign_in(known):
    provider = known()
    told = await away(provider)
    await not_believed(provider, code=told["code"], issuer=None)
    await not_believed(provider, code=told["code"], issuer="https://other.example")
    assert "another sign-in" in await not_believed(
        provider, code=told["code"], nonce="other", issuer=told["iss"]
    )
    await not_believed(provider, code="guessed", issuer=told["iss"])


async def test_whoever_does_not_want_to_comes_back_without_a_code(known):
    told = await away(known(), "nobody")
    assert told["error"] == "access_denied"
    assert "code" not in told


async def test_a_real_provider_that_does_not_know_this_desk_is_told_to_the_operator(
    known, tmp_path
):
    wrong = tmp_path / "wrong"
    wrong.write_text("another\n")
    told = await away(known())
    assert "client_secret" in await unavailable(
        known(client_secret=wrong), code=told["code"], issuer=told["iss"]
    )


# -------------------------------------------------------------------------------- what is asked


async def test_what_a_browser_is_sent_with(provider, scripted):
    url = await provider.begin(state="s&s", nonce="n", challenge="c")
    assert url.startswith(f"{scripted.issuer}/auth?realm=x&")
    assert parse_qs(urlsplit(url).query) == {
        "realm": ["x"], "response_type": ["code"], "client_id": ["desk"], "redirect_uri": [BACK],
        "scope": ["openid profile"], "state": ["s&s"], "nonce": ["n"],
        "code_challenge": ["c"], "code_challenge_method": ["S256"],
    }  # fmt: skip


@pytest.mark.parametrize("ways", [["client_secret_post"], ["client_secret_basic", "none"], None])
async def test_the_secret_goes_as_the_provider_wants_it(scripted, tmp_path, ways):
    """And stands in no address."""
    if ways is not None:
        scripted.says["token_endpoint_auth_methods_supported"] = ways
    await finish(scripted.made(tmp_path))
    (form, request) = next(each[2:] for each in scripted.asked if each[1].endswith("/token"))
    assert form["code_verifier"] == VERIFIER
    assert form["redirect_uri"] == BACK
    if ways == ["client_secret_post"]:
        assert (form["client_id"], form["client_secret"]) == ("desk", "s3cret")
        assert "Authorization" not in request.headers
    else:
        assert (
            request.headers["Authorization"] == "Basic " + base64.b64encode(b"desk:s3cret").decode()
        )
        assert "client_secret" not in form
    assert not any("s3cret" in each[3].path_qs for each in scripted.asked)


@pytest.mark.parametrize("algorithm", list(KEYS))
async def test_signatures_of_each_kind_are_checked(provider, scripted, algorithm):
    scripted.algorithm, scripted.header = algorithm, {"kid": algorithm}
    assert (await finish(provider)).name == "ada"
    head, body, signature = scripted.token().split(".")
    other = jwt.utils.base64url_encode(
        jwt.utils.base64url_decode(body).replace(b'"ada"', b'"boss"')
    ).decode()
    scripted.id_token = f"{head}.{other}.{signature}"
    await not_believed(provider)


async def test_a_token_of_no_signature_or_of_a_public_secret_is_none(provider, scripted):
    """A key that everybody can read signs nothing."""
    now = scripted.clock.now().timestamp()
    claims = {
        "iss": scripted.issuer, "sub": "7", "aud": "desk", "exp": now + 300, "iat": now,
        "nonce": "n", "preferred_username": "boss",
    }  # fmt: skip
    scripted.id_token = jwt.encode(claims, None, algorithm="none")
    assert "signed by 'none'" in await not_believed(provider)
    scripted.id_token = jwt.encode(
        claims, "s3cret" * 8, algorithm="HS256", headers={"kid": "RS256"}
    )
    assert "signed by 'HS256'" in await not_believed(provider)
    scripted.algorithm, scripted.header = "ES256", {"kid": "RS256"}
    scripted.id_token = None
    await not_believed(provider)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "e30.e30.", 7, None, ["x"], "x" * 9000])
async def test_what_is_no_token_is_none(provider, scripted, token):
    scripted.answers["/realm/token"] = lambda _: answered({"id_token": token})
    await not_believed(provider)


async def answered(told, **more):
    return web.json_response(told, **more)


WRONG = {
    "another issuer": {"iss": "http://127.0.0.1/other"},
    "for somebody else": {"aud": "other"},
    "for several, by nobody": {"aud": ["desk", "other"]},
    "made out to another": {"aud": ["desk", "other"], "azp": "other"},
    "made out to another alone": {"azp": "other"},
    "no nonce": {"nonce": None},
    "another nonce": {"nonce": "m"},
    "a nonce that is no text": {"nonce": 7},
    "no subject": {"sub": None},
    "an empty subject": {"sub": ""},
    "a subject without an end": {"sub": "x" * 256},
    "no end": {"exp": None},
    "an end that is none": {"exp": "tomorrow"},
    "no beginning": {"iat": None},
    "no name": {"preferred_username": 7},
    "several names": {"preferred_username": ["ada", "boss"]},
}


@pytest.mark.parametrize("claims", WRONG.values(), ids=WRONG)
async def test_claims_that_are_not_for_here_and_now(provider, scripted, claims):
    scripted.claims = claims
    await not_believed(provider)


async def test_several_may_be_meant_when_it_is_made_out_to_this_desk(provider, scripted):
    scripted.claims = {"aud": ["desk", "other"], "azp": "desk"}
    assert (await finish(provider)).name == "ada"


@pytest.mark.parametrize(
    ("exp", "iat", "nbf", "counts"),
    [
        (-59, -300, 0, True), (-60, -300, 0, False), (300, -600, 0, True), (300, -601, 0, False),
        (300, 60, 0, True), (300, 61, 0, False), (300, 0, 61, False), (300, 0, 60, True),
    ],
)  # fmt: skip
async def test_it_counts_for_its_time_by_this_programs_clock(
    provider, scripted, exp, iat, nbf, counts
):
    now = scripted.clock.now().timestamp()
    scripted.claims = {"exp": now + exp, "iat": now + iat, "nbf": now + nbf}
    if counts:
        await finish(provider)
    else:
        await not_believed(provider)


# ------------------------------------------------------------------------------ keys and metadata


async def test_what_it_says_of_itself_is_asked_for_once_an_hour(provider, scripted):
    for _ in range(3):
        await finish(provider)
    asked = [each[1] for each in scripted.asked]
    assert asked.count("/realm/.well-known/openid-configuration") == 1
    assert asked.count("/realm/keys") == 1
    scripted.clock.advance(3600)
    await finish(provider)
    asked = [each[1] for each in scripted.asked]
    assert asked.count("/realm/.well-known/openid-configuration") == 2
    assert asked.count("/realm/keys") == 2


async def test_a_new_key_is_asked_for_but_not_by_everybody(provider, scripted):
    """Whoever names one that nobody has makes it ask once a minute."""
    await finish(provider)
    scripted.clock.advance(60)
    scripted.keys = [public("RS256", kid="new")]
    scripted.header = {"kid": "new"}
    assert (await finish(provider)).name == "ada"
    for _ in range(5):
        scripted.header = {"kid": "guessed"}
        await not_believed(provider)
    assert [each[1] for each in scripted.asked].count("/realm/keys") == 2


async def test_a_token_without_a_name_of_its_key_is_by_the_one_that_fits(provider, scripted):
    scripted.header = {}
    assert (await finish(provider)).name == "ada"
    scripted.keys.append(public("RS256", kid="second"))
    scripted.clock.advance(3600)
    await not_believed(provider)


@pytest.mark.parametrize(
    "more", [{"use": "enc"}, {"alg": "RS512"}, {"kty": "oct", "k": "c2VjcmV0"}, {"n": "x"}]
)
async def test_a_key_that_is_for_something_else_signs_nothing(provider, scripted, more):
    scripted.keys = [public("RS256", **more), "x", None]
    with pytest.raises((NotBelieved, SourceUnavailable)):
        await finish(provider)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("issuer", "http://127.0.0.1/other"),
        ("token_endpoint", "http://192.0.2.1/token"),
        ("jwks_uri", "file:///etc/passwd"),
        ("jwks_uri", None),
        ("authorization_endpoint", "javascript:alert(1)"),
        ("authorization_endpoint", "http://desk.example/auth"),
        ("userinfo_endpoint", "http://192.0.2.1/me"),
        ("token_endpoint", "https:///x"),
        ("token_endpoint_auth_methods_supported", "x"),
        ("id_token_signing_alg_values_supported", 7),
    ],
)
async def test_a_provider_that_is_not_as_agreed_is_away(provider, scripted, key, value):
    """Above all one that would have a secret pass a network in clear."""
    scripted.says[key] = value
    await unavailable(provider)
    with pytest.raises(SourceUnavailable):
        await provider.begin(state="s", nonce="n", challenge="c")
    assert len(scripted.asked) == 2


@pytest.mark.parametrize("path", [".well-known/openid-configuration", "keys", "token", "me"])
@pytest.mark.parametrize("how", ["redirect", "large", "deep", "text", "list", "500", "gzip"])
async def test_an_answer_that_is_not_as_agreed(provider, scripted, path, how, monkeypatch):
    """None is followed elsewhere, read without an end, or taken for another."""
    scripted.claims = {"preferred_username": None}

    async def odd(request):
        match how:
            case "redirect":
                raise web.HTTPFound("/realm/elsewhere")
            case "large":
                return web.json_response({"x": "x" * (300 << 10)})
            case "deep":
                return web.Response(text="[" * 100_000, content_type="application/json")
            case "text":
                return web.Response(text="<html>")
            case "list":
                return web.json_response([])
            case "500":
                return web.json_response({}, status=500)
            case "gzip":
                return web.Response(body=b"\x1f\x8b" * 9, headers={"Content-Encoding": "gzip"})

    scripted.answers[f"/realm/{path}"] = odd
    await unavailable(provider)
    assert not [each for each in scripted.asked if each[1] == "/realm/elsewhere"]


async def test_a_provider_that_does_not_answer_is_away(scripted, tmp_path, monkeypatch):
    monkeypatch.setattr(oidc, "_PATIENCE", 0.05)

    async def never(request):
        await request.read()
        await asyncio.Event().wait()

    scripted.answers["/realm/token"] = never
    begun = time.monotonic()
    await unavailable(scripted.made(tmp_path))
    assert time.monotonic() - begun < 1
    await scripted.runner.cleanup()
    await unavailable(scripted.made(tmp_path))


# ------------------------------------------------------------------------------------------ claims


async def test_what_the_token_does_not_say_is_asked_for(scripted, tmp_path):
    """Of the same person, and what is signed counts before what is not."""
    provider = scripted.made(tmp_path, groups_claim="groups", groups={"a": "lab"})
    scripted.userinfo = {"sub": "7", "preferred_username": "boss", "groups": ["a", "b", 7]}
    assert await finish(provider) == Claims(subject="7", name="ada", groups=frozenset({"lab"}))
    asked = next(each[3] for each in scripted.asked if each[1].endswith("/me"))
    assert asked.headers["Authorization"] == "Bearer access"
    scripted.userinfo["sub"] = "8"
    assert "somebody else's" in await not_believed(provider)


async def test_one_group_can_be_a_text_and_none_can_be_missing(scripted, tmp_path):
    provider = scripted.made(tmp_path, groups_claim="roles", groups={"a": ["lab", "desk"]})
    for said, found in [("a", {"lab", "desk"}), (["b"], set()), (7, set()), ({"a": 1}, set())]:
        scripted.claims = {"roles": said}
        assert (await finish(provider)).groups == found
    scripted.claims = {}
    assert (await finish(provider)).groups == set()


@pytest.mark.parametrize("told", [{"code": "x" * 5000}, {"issuer": "https://other.example"}])
async def test_what_comes_back_with_the_browser_is_bounded_and_looked_at(provider, scripted, told):
    await not_believed(provider, **told)
    assert not [each for each in scripted.asked if each[1].endswith("/token")]


async def test_a_provider_that_tells_who_it_is_must_do_so(scripted, tmp_path):
    """Else a code of another one could be slipped in."""
    scripted.says["authorization_response_iss_parameter_supported"] = True
    provider = scripted.made(tmp_path)
    await not_believed(provider)
    await finish(provider, issuer=scripted.issuer)


async def test_no_secret_is_in_what_the_operator_reads(scripted, tmp_path):
    scripted.answers["/realm/token"] = lambda _: answered({"error": "invalid_grant"}, status=400)
    provider = scripted.made(tmp_path)
    told = await not_believed(provider, code="the-code", verifier="the-verifier")
    for secret in ("the-code", "the-verifier", "s3cret"):
        assert secret not in told + repr(provider.__dict__["_config"])


def test_a_secret_that_cannot_be_read_is_told(scripted, tmp_path):
    config = {
        "name": "sso", "issuer": "https://id.example", "client_id": "desk",
        "client_secret": tmp_path / "none",
    }  # fmt: skip
    with pytest.raises(ConfigError, match="client_secret"):
        Provider(OidcConfig.model_validate(config), BACK, ManualClock())
