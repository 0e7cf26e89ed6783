"""Connections that stand by a key or a certificate: what a revocation list takes back, ends."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

import structlog

from broker.core.issued import Hashes, Issued
from broker.core.revocations import Revoked

if TYPE_CHECKING:
    from broker.service.connections import Connections
    from broker.service.revocations import Revocations

log = structlog.get_logger()

#: Seconds between two looks at the list.
LOOK_EVERY = 2.0

#: Credentials that are remembered, those heard of last: more than all doors can hold connections.
_MOST = 65_536

_KEY = re.compile(r"SHA256:([A-Za-z0-9+/]{43})", re.ASCII)

_REVOKED = "The key or certificate that you signed in with was revoked."


class Standing:
    """Remembers what let people in, for the doors alone know who is connected still. What has no
    connection any more is ended in vain.
    """

    def __init__(self, *, revocations: Revocations, connections: Connections) -> None:
        self._revocations = revocations
        self._connections = connections
        self._judged = Revoked()
        self._credentials: dict[str, Issued | Hashes] = {}

    def note(self, credential: str, *, by: str | None = None) -> None:
        """It let somebody in, and stands `by` another one where that is given. Whatever is no key's
        and no certificate's is passed over.
        """
        what = _what(by or credential)
        if what is None:
            return
        self._credentials.pop(credential, None)
        self._credentials[credential] = what
        if len(self._credentials) > _MOST:
            del self._credentials[next(iter(self._credentials))]
        # The list can have changed between the judgement and now.
        self._judge(credential, what)

    async def look(self) -> None:
        """When the list is another one, end what it revokes. One that cannot be used ends nothing:
        it may be half written.
        """
        revoked = await self._revocations.last()
        if revoked is self._judged:
            return
        self._judged = revoked
        for credential, what in list(self._credentials.items()):
            self._judge(credential, what)

    def _judge(self, credential: str, what: Issued | Hashes) -> None:
        if isinstance(what, Issued):
            over = self._judged.certificate(what) is not None
        else:
            over = self._judged.key(what)
        if over:
            del self._credentials[credential]
            log.info("revoked, connections ended", credential=credential)
            self._connections.end_credential(credential, _REVOKED)


def _what(credential: str) -> Issued | Hashes | None:
    key = _KEY.fullmatch(credential)
    if key is None:
        return Issued.parse(credential)
    # By SHA-1 alone it is found at the next login: a fingerprint does not tell the other.
    return Hashes(sha256=base64.b64decode(key[1] + "="), sha1=b"")
