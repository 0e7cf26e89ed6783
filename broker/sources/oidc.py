"""A provider of OpenID Connect: the authorization code flow with PKCE, and what its tokens say.

Of whatever the provider answers nothing is believed that its keys did not sign, but who it says by
its own TLS where its answers are to be had.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import jwt

from broker.config.kinds import is_loopback
from broker.core.errors import SourceUnavailable
from broker.core.outside import Claims, NotBelieved
from broker.sources.files import LONGEST, secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.config.oidc import OidcConfig
    from broker.core.interfaces import Clock

#: Bytes of an answer, and seconds for it.
_LARGEST, _PATIENCE = 256 << 10, 8.0

#: Seconds for which what the provider says of itself is kept, and until its keys are asked for anew
#: because of one that is unknown: anybody could name one.
_KEPT, _KEYS_AGAIN = 3600.0, 60.0

#: Seconds by which clocks may differ, and how old a token may be.
_DRIFT, _OLDEST = 60.0, 600.0

#: Ways to sign that need no secret to check. That of no signature is none of them.
_ALGORITHMS = frozenset(
    f"{family}{bits}" for family in ("RS", "PS", "ES") for bits in (256, 384, 512)
) | {"EdDSA"}

#: Characters of what comes back with a browser, keys of a provider that are looked at, and
#: characters of its word for a person.
_CODE, _MOST_KEYS, _SUBJECT = 4096, 100, 255


@dataclass(frozen=True, slots=True, kw_only=True)
class _Metadata:
    """What is used of what a provider says of itself."""

    authorization: str
    token: str
    userinfo: str | None
    keys: str
    algorithms: tuple[str, ...]
    by_post: bool
    """Whether the secret goes in the body: the other way is not known there."""
    tells_issuer: bool


class Provider:
    """Implements `core.outside.SignOnProvider`."""

    def __init__(self, config: OidcConfig, back: str, clock: Clock) -> None:
        """`back` is where it sends browsers afterwards. Raises `ConfigError`."""
        self.name, self.create, self.adopt = config.name, config.create, config.adopt
        self._config = config
        self._secret = secret(config.client_secret, "oidc", "client_secret")
        self._back = back
        self._clock = clock
        self._metadata: tuple[float, _Metadata] | None = None
        self._keys: tuple[float, list[dict[str, Any]]] | None = None
        self._asking = asyncio.Lock()

    async def begin(self, *, state: str, nonce: str, challenge: str) -> str:
        metadata = await self._known()
        asked = {
            "response_type": "code",
            "client_id": self._config.client_id,
            "redirect_uri": self._back,
            "scope": " ".join(self._config.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        between = "&" if urlsplit(metadata.authorization).query else "?"
        return f"{metadata.authorization}{between}{urlencode(asked)}"

    async def finish(self, *, code: str, verifier: str, nonce: str, issuer: str | None) -> Claims:
        metadata = await self._known()
        if issuer != self._config.issuer and (metadata.tells_issuer or issuer is not None):
            raise NotBelieved("the answer is another provider's")
        if len(code) > _CODE:
            raise NotBelieved("the code is too long")
        tokens = await self._redeem(metadata, code, verifier)
        token = tokens.get("id_token")
        if not isinstance(token, str):
            raise NotBelieved("there is no ID token")
        claims = await self._verified(metadata, token, nonce)
        wanted = {self._config.user_claim, self._config.groups_claim} - {None}
        if metadata.userinfo is not None and not wanted <= claims.keys():
            claims = {**await self._userinfo(metadata.userinfo, tokens, claims), **claims}
        return self._claimed(claims)

    def _claimed(self, claims: Mapping[str, Any]) -> Claims:
        name = claims.get(self._config.user_claim)
        if not isinstance(name, str):
            raise NotBelieved(f"there is no text {self._config.user_claim!r} among the claims")
        theirs = claims.get(self._config.groups_claim or "", [])
        theirs = [theirs] if isinstance(theirs, str) else theirs
        groups: set[str] = set()
        if isinstance(theirs, list):
            for group in theirs:
                if isinstance(group, str):
                    groups.update(self._config.groups.get(group, ()))
        subject = claims["sub"]
        if not isinstance(subject, str) or not 1 <= len(subject) <= _SUBJECT:
            raise NotBelieved("the subject is none")
        return Claims(subject=subject, name=name, groups=frozenset(groups))

    # ----------------------------------------------------------------------------------- tokens

    async def _redeem(self, metadata: _Metadata, code: str, verifier: str) -> dict[str, Any]:
        config = self._config
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._back,
            "code_verifier": verifier,
        }
        headers = {}
        if metadata.by_post:
            form |= {"client_id": config.client_id, "client_secret": self._secret}
        else:
            # RFC 6749, 2.3.1: each is encoded as in a form first.
            user, password = quote(config.client_id, safe=""), quote(self._secret, safe="")
            proof = base64.b64encode(f"{user}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {proof}"
        status, body = await self._ask("POST", metadata.token, data=form, headers=headers)
        if status in {400, 401} and isinstance(body.get("error"), str):
            if body["error"] in {"invalid_client", "unauthorized_client"}:
                raise SourceUnavailable(f"{self.name}: it does not know this Desk: client_secret")
            raise NotBelieved(f"the code is not taken: {body['error'][:64]}")
        if status != 200:
            raise SourceUnavailable(f"{self.name}: answered the code with status {status}")
        return body

    async def _verified(self, metadata: _Metadata, token: str, nonce: str) -> dict[str, Any]:
        key, algorithm = await self._key(metadata, token)
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._config.client_id,
                issuer=self._config.issuer,
                options={
                    "require": ["iss", "sub", "aud", "exp", "iat"],
                    # By the clock of this program, which is not the library's.
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except jwt.PyJWTError as error:
            raise NotBelieved(f"the ID token is not believed: {error}"[:LONGEST]) from None
        self._check(claims, nonce)
        return claims

    def _check(self, claims: Mapping[str, Any], nonce: str) -> None:
        now = self._clock.now().timestamp()
        times = [claims["exp"], claims["iat"], claims.get("nbf", claims["iat"])]
        if not all(isinstance(each, int | float) for each in times):
            raise NotBelieved("the times of the ID token are none")
        ends, made, begins = times
        if ends <= now - _DRIFT or not now - _OLDEST <= made <= now + _DRIFT:
            raise NotBelieved("the ID token is too old, or the clocks differ")
        if begins > now + _DRIFT:
            raise NotBelieved("the ID token does not count yet")
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if several else self._config.client_id) != self._config.client_id:
            raise NotBelieved("the ID token is for somebody else")
        told = claims.get("nonce")
        if not isinstance(told, str) or not hmac.compare_digest(told.encode(), nonce.encode()):
            raise NotBelieved("the ID token is of another sign-in")

    async def _key(self, metadata: _Metadata, token: str) -> tuple[jwt.PyJWK, str]:
        """By which it says it is signed, and how. Raises `NotBelieved`."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise NotBelieved("the ID token is none") from None
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in metadata.algorithms:
            raise NotBelieved(f"the ID token is signed by {algorithm!r:.32}")
        for anew in (False, True):
            keys = await self._key_set(metadata, anew=anew)
            fitting = [key for key in keys if _fits(key, algorithm, kid)]
            if len(fitting) == 1:
                try:
                    return jwt.PyJWK(fitting[0], algorithm), algorithm
                except jwt.PyJWTError as error:
                    problem = f"{self.name}: a key of it cannot be read: {error}"
                    raise SourceUnavailable(problem[:LONGEST]) from None
        raise NotBelieved("no key of the provider fits the ID token")

    async def _userinfo(
        self, url: str, tokens: Mapping[str, Any], claims: Mapping[str, Any]
    ) -> dict[str, Any]:
        access = tokens.get("access_token")
        if not isinstance(access, str) or not access.isascii() or not access.isprintable():
            raise NotBelieved("there is no access token")
        status, told = await self._ask("GET", url, headers={"Authorization": f"Bearer {access}"})
        if status != 200:
            raise SourceUnavailable(f"{self.name}: answered who it is with status {status}")
        if told.get("sub") != claims["sub"]:
            raise NotBelieved("the claims are somebody else's")
        return told

    # --------------------------------------------------------------------- what it says of itself

    async def _known(self) -> _Metadata:
        now = self._clock.monotonic()
        async with self._asking:
            if self._metadata is None or now - self._metadata[0] >= _KEPT:
                url = f"{self._config.issuer.rstrip('/')}/.well-known/openid-configuration"
                status, told = await self._ask("GET", url)
                if status != 200:
                    raise SourceUnavailable(f"{self.name}: {url} answered with status {status}")
                self._metadata = now, self._read(told)
            return self._metadata[1]

    def _read(self, told: Mapping[str, Any]) -> _Metadata:
        if told.get("issuer") != self._config.issuer:
            raise SourceUnavailable(f"{self.name}: it calls itself {told.get('issuer')!r:.100}")
        ways = told.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        signed = told.get("id_token_signing_alg_values_supported", ["RS256"])
        if not isinstance(ways, list) or not isinstance(signed, list):
            raise SourceUnavailable(f"{self.name}: what it says of itself is not as agreed")
        return _Metadata(
            authorization=self._endpoint(told, "authorization_endpoint"),
            token=self._endpoint(told, "token_endpoint"),
            userinfo=self._endpoint(told, "userinfo_endpoint")
            if "userinfo_endpoint" in told
            else None,
            keys=self._endpoint(told, "jwks_uri"),
            algorithms=tuple(each for each in signed if each in _ALGORITHMS),
            by_post="client_secret_basic" not in ways,
            tells_issuer=told.get("authorization_response_iss_parameter_supported") is True,
        )

    def _endpoint(self, told: Mapping[str, Any], key: str) -> str:
        """Only where nobody can listen."""
        url = told.get(key)
        if isinstance(url, str) and url.isascii() and url.isprintable():
            parts = urlsplit(url)
            plain = parts.scheme == "http" and is_loopback(parts.hostname or "")
            if parts.hostname and (parts.scheme == "https" or plain) and not parts.fragment:
                return url
        raise SourceUnavailable(f"{self.name}: its {key} is no https:// address")

    async def _key_set(self, metadata: _Metadata, *, anew: bool) -> list[dict[str, Any]]:
        now = self._clock.monotonic()
        async with self._asking:
            age = _KEPT if self._keys is None else now - self._keys[0]
            if self._keys is None or age >= (_KEYS_AGAIN if anew else _KEPT):
                status, told = await self._ask("GET", metadata.keys)
                if status != 200:
                    raise SourceUnavailable(f"{self.name}: its keys have the status {status}")
                keys = told.get("keys")
                if not isinstance(keys, list):
                    raise SourceUnavailable(f"{self.name}: its keys are not as agreed")
                self._keys = now, [key for key in keys[:_MOST_KEYS] if isinstance(key, dict)]
            return self._keys[1]

    # ------------------------------------------------------------------------------------ asking

    async def _ask(
        self,
        method: str,
        url: str,
        *,
        data: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON of the answer, no redirect followed. Raises `SourceUnavailable`."""
        try:
            # A session for each question: no connection, cookie or proxy is anybody else's.
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(force_close=True),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    timeout=aiohttp.ClientTimeout(total=_PATIENCE),
                    auto_decompress=False,
                    trust_env=False,
                ) as session,
                session.request(
                    method,
                    url,
                    data=data,
                    headers={
                        "Accept": "application/json",
                        "Accept-Encoding": "identity",
                        **(headers or {}),
                    },
                    allow_redirects=False,
                ) as response,
            ):
                told = json.loads(await self._body(response))
        except (aiohttp.ClientError, OSError, ValueError, RecursionError) as error:
            what = str(error) or "no answer in time"  # TimeoutError is an OSError
            raise SourceUnavailable(f"{self.name}: {what[:LONGEST]}") from None
        if not isinstance(told, dict):
            raise SourceUnavailable(f"{self.name}: the answer is not as agreed")
        return response.status, told

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > _LARGEST:
                raise SourceUnavailable(f"{self.name}: the answer is longer than {_LARGEST} bytes")
        return bytes(body)


def _fits(key: Mapping[str, Any], algorithm: str, kid: object) -> bool:
    """Whether the key of that name, if it has one, signs so."""
    kinds = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
    return (
        key.get("kty") == kinds[algorithm[:2]]
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and kid in (None, key.get("kid"))
    )
