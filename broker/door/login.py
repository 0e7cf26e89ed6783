"""The grammar of login names: `desk[+DESKTOP]`, `USER[+DESKTOP]` and `invite+TOKEN`."""

from __future__ import annotations

import re

from broker.core.errors import BadRequest
from broker.core.gateway import Login
from broker.core.model import SHARED_LOGIN, desktop_name, user_name

_SEPARATOR = "+"
_LONGEST = 63
"""Two names of 31 characters and the separator."""

_INVITE = "invite"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,56}")


def parse_login(text: str) -> Login | None:
    """Return what the login name asks for; None when it can be nobody's."""
    if len(text) > _LONGEST:
        return None
    name, separator, rest = text.partition(_SEPARATOR)
    if name == _INVITE:
        return Login(None, None, invite=rest) if _TOKEN.fullmatch(rest) else None
    try:
        user = None if name == SHARED_LOGIN else user_name(name)
        return Login(user, desktop_name(rest) if separator else None)
    except BadRequest:
        return None
