"""What a browser has once its person has signed in, and the links by which they do."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from broker.core.gateway import Allowance
    from broker.core.model import UserId

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


def new_secret() -> str:
    """Of a cookie or a link: 256 random bits."""
    return secrets.token_urlsafe(32)


def is_secret(text: str) -> bool:
    """Whether it can be one at all."""
    return _SECRET.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """How somebody proved who they are, for what is to stand by that alone."""

    credential: str
    """As in `Identity`: whatever stands by it ends with it."""
    method: str
    """As in `Identity`, or `oidc`."""
    denied: tuple[str, ...] = ()
    """Allowances that the credential does without, whatever the policy allows."""

    def allows(self, allowed: Iterable[Allowance]) -> tuple[Allowance, ...]:
        """What is left of these."""
        return tuple(each for each in allowed if each not in self.denied)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """A browser in which somebody signed in; the secret in its cookie is kept nowhere."""

    id: str
    user_id: UserId
    proven: Proven
    address: str
    """From where it was made."""
    browser: str
    """Its name and version, as it says; safe to print."""
    made_at: datetime
    last_used_at: datetime
    """To the minute."""
