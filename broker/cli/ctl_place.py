"""Where deskctl finds the broker: the admin socket, or an address with a token."""

from __future__ import annotations

import ipaddress
import ssl
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

import click
from click.core import ParameterSource

from broker.cli.client import Remote
from broker.core.errors import BadRequest
from broker.core.model import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Command = Callable[..., Any]

#: Characters of a token's file that are read at most: more than a token has.
_LONGEST = 4096

SOCKET = Path("/var/lib/desk/admin.sock")


def where(command: Command) -> Command:
    """Add the options that `place` reads."""
    file = click.Path(path_type=Path, dir_okay=False)
    options = (
        click.option(
            "--socket",
            type=click.Path(path_type=Path),
            default=SOCKET,
            show_default=True,
            envvar="DESK_SOCKET",
            help="The broker's admin socket.",
        ),
        click.option(
            "--url", envvar="DESK_URL", help="A broker elsewhere, by its door: https://HOST."
        ),
        click.option(
            "--token-file", type=file, envvar="DESK_TOKEN_FILE", help="What proves you to --url."
        ),
        click.option(
            "--ca",
            type=file,
            envvar="DESK_CA",
            help="The authority of --url's certificate, where it is none of this host's.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def place(context: click.Context) -> Path | Remote:
    """What the options of `where` name; what is typed counts before the environment. Raises
    `BadRequest`.
    """
    found = context.params
    socket, url = Path(found["socket"]), found["url"]
    if url is None or _typed(context, "socket") > _typed(context, "url"):
        return socket
    if _typed(context, "socket") == _typed(context, "url") == 2:
        raise BadRequest(public="--socket and --url are two ways to a broker: choose one.")
    address = _address(url)
    if found["token_file"] is None:
        raise BadRequest(
            public="--url needs a token: --token-file FILE or DESK_TOKEN_FILE names the file that it"
            " is in."
        )
    trust = _trust(found["ca"]) if address.scheme == "https" else None
    return Remote(f"{address.scheme}://{address.netloc}", _token(found["token_file"]), trust)


def _typed(context: click.Context, name: str) -> int:
    """How near somebody said it: 2 on the command line, 1 in the environment, 0 nowhere."""
    ranks = {ParameterSource.COMMANDLINE: 2, ParameterSource.ENVIRONMENT: 1}
    source = context.get_parameter_source(name)
    return 0 if source is None else ranks.get(source, 0)


def _address(url: str) -> SplitResult:
    with suppress(ValueError):
        found = urlsplit(url)
        # Asking for the port is what checks it.
        plain = found.port != 0 and found.username is None and found.path in {"", "/"}
        if plain and found.hostname and not (found.query or found.fragment):
            if found.scheme == "https":
                return found
            if found.scheme == "http" and _loopback(found.hostname):
                return found
    raise BadRequest(
        public=f"--url: found {shown(url)}; allowed is https://HOST or https://HOST:PORT, and http://"
        " for this host's own loopback alone, as others could read the token."
    )


def _loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _token(file: Path) -> str:
    try:
        with file.open(encoding="ascii") as lines:
            token = lines.read(_LONGEST).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "that is no token"
        raise BadRequest(public=f"{file}: the token cannot be read: {reason}.") from None
    if not token or not token.isprintable() or " " in token:
        raise BadRequest(public=f"{file}: allowed is one token and nothing else, as desk_….")
    return token


def _trust(authority: Path | None) -> ssl.SSLContext:
    if authority is None:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError) as error:
        missing = isinstance(error, OSError) and not isinstance(error, ssl.SSLError)
        reason = error.strerror if missing else "there is no certificate in PEM in it"
        raise BadRequest(public=f"{authority}: {reason}.") from None
