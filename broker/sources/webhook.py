"""A web service of the operator's own that is asked whether a password is right."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import aiohttp
from pydantic import BaseModel, ConfigDict, ValidationError

from broker.core.errors import SourceUnavailable
from broker.core.model import shown
from broker.core.outside import Found, Refused, can_be_password
from broker.sources.files import LONGEST, context, secret

if TYPE_CHECKING:
    from broker.config.sources import WebhookSource

#: Bytes of an answer.
_LONGEST = 64 << 10


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)

    ok: bool
    groups: list[str] = []
    known: bool = False


class Webhook:
    """POSTs `{"user", "password", "address"}` and believes exactly one form of answer."""

    def __init__(self, config: WebhookSource) -> None:
        """Raises `ConfigError`."""
        self.name, self.create = config.name, config.create
        self._config = config
        self._secret = secret(config.secret, config.name, "secret")
        self._tls = context(config.ca, config.name)

    async def check(self, name: str, password: str, *, address: str) -> Found | Refused:
        if not can_be_password(password):
            return Refused(known=False)
        try:
            text = await self._ask({"user": name, "password": password, "address": address})
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            what = str(error) or "no answer in time"
            raise SourceUnavailable(f"{self.name}: {what[:LONGEST]}") from error
        try:
            answer = _Answer.model_validate_json(text)
        except ValidationError:  # its text would quote the answer
            raise SourceUnavailable(f"{self.name}: the answer is not as agreed") from None
        if not answer.ok:
            return Refused(known=answer.known)
        groups = self._config.groups
        named = {group for theirs in answer.groups for group in groups.get(theirs, ())}
        return Found(source=self.name, name=name, groups=frozenset(named))

    def close(self) -> None:
        """Nothing is held between questions."""

    async def _ask(self, question: dict[str, str]) -> bytes:
        """What the service answers. Raises what the library does, and `SourceUnavailable`."""
        # A session for each question: no connection, cookie or proxy is anybody else's.
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=self._config.timeout),
                auto_decompress=False,
                trust_env=False,
            ) as session,
            session.post(
                self._config.url,
                data=json.dumps(question).encode(),
                headers={
                    "Authorization": f"Bearer {self._secret}",
                    "Content-Type": "application/json",
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                },
                allow_redirects=False,
            ) as response,
        ):
            if response.status != 200:
                raise SourceUnavailable(f"{self.name}: answered with status {response.status}")
            if response.content_type != "application/json":
                kind = shown(response.content_type)
                raise SourceUnavailable(f"{self.name}: answered with {kind} and not with JSON")
            return await self._body(response)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > _LONGEST:
                raise SourceUnavailable(f"{self.name}: the answer is longer than {_LONGEST} bytes")
        return bytes(body)
