"""The address of a PostgreSQL database, as the file has it in `database`."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

from broker.config.kinds import is_loopback

_RULE = (
    "allowed is postgresql+asyncpg://USER@HOST[:PORT]/NAME, or"
    " postgresql+asyncpg://USER@/NAME?host=/run/postgresql for a socket"
)
_ENCRYPTED = frozenset({"require", "verify-ca", "verify-full"})


def postgres(url: str) -> str:
    """The address, which holds no secret and lets none pass a network in clear; else `ValueError`
    with what is allowed.
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(_RULE)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(_RULE) from None
    if parts.scheme != "postgresql+asyncpg" or parts.path in {"", "/"} or parts.fragment:
        raise ValueError(_RULE)
    given = parse_qs(parts.query)
    if parts.password is not None or "password" in given:
        raise ValueError(
            "allowed is an address without a password: 'database_password' names a file"
        )
    if parts.username is None and "user" not in given:
        raise ValueError(_RULE)
    hosts = [parts.hostname] if parts.hostname else given.get("host", [])
    if not hosts:
        raise ValueError(_RULE)
    away = [host for host in map(unquote, hosts) if host[:1] != "/" and not is_loopback(host)]
    if away and given.get("sslmode", [""])[-1] not in _ENCRYPTED:
        raise ValueError(
            "allowed for a host elsewhere is an address with '?sslmode=verify-full' (or verify-ca,"
            " require): what the state holds would pass the network in clear"
        )
    return url
