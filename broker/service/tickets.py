"""Tickets: what somebody has shown so far, signed, so that nothing is kept for whoever never comes
back.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.core.interfaces import Clock

#: Seconds for which a ticket is good.
VALID = 120.0

#: Characters of a ticket, more than any has.
_LONGEST = 2048

_DIGEST = "sha256"
_MAC = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A first proof that was right."""

    user_id: str
    account: str
    """The name under which wrong codes count."""
    desktop: str | None
    credential: str
    method: str
    """`key`, `certificate` or `password`."""
    denied: tuple[str, ...] = ()
    """Allowances that the credential itself does without."""
    address: str


class Tickets:
    """Writes and reads tickets of this process alone: a restart makes people begin anew."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)

    def write(self, shown: Shown) -> str:
        until = self._clock.monotonic() + VALID
        body = json.dumps({**asdict(shown), "until": until}, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._mac(body) + body).decode()

    def read(self, ticket: str, *, address: str) -> Shown | None:
        """What was shown; None for a ticket of another address, too old, or of nobody's."""
        if len(ticket) > _LONGEST:
            return None
        try:
            data = base64.b64decode(ticket.encode("ascii"), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            return None
        mac, body = data[:_MAC], data[_MAC:]
        if not hmac.compare_digest(mac, self._mac(body)):
            return None
        fields = json.loads(body)
        until = fields.pop("until")
        shown = Shown(**{**fields, "denied": tuple(fields["denied"])})
        if self._clock.monotonic() >= until or shown.address != address:
            return None
        return shown

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, _DIGEST)
