"""The grammar of login names: `desk[+DESKTOP]` and `USER[+DESKTOP]`."""

from __future__ import annotations

from broker.core.errors import BadRequest
from broker.core.gateway import Login
from broker.core.model import SHARED_LOGIN, desktop_name, user_name

_SEPARATOR = "+"
_LONGEST = 63
"""Two names of 31 characters and the separator."""


def parse_login(text: str) -> Login | None:
    """Return what the login name asks for; None when it can be nobody's.

    `invite+TOKEN` is nobody's yet: `invite` is a reserved name.
    """
    if len(text) > _LONGEST:
        return None
    name, separator, desktop = text.partition(_SEPARATOR)
    try:
        user = None if name == SHARED_LOGIN else user_name(name)
        return Login(user, desktop_name(desktop) if separator else None)
    except BadRequest:
        return None
