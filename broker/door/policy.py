"""What a client and a desktop may ask of each other, by name; and what a session is for.

Everything that is not named here is refused.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from dataclasses import dataclass
from enum import Flag, auto
from types import MappingProxyType
from typing import TYPE_CHECKING

from broker.core.errors import AccessDenied, Unsupported
from broker.core.gateway import Allowance
from broker.door import xpra
from broker.door.activity import Kind
from broker.door.messages import string

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from broker.door.limits import Limits


class Grant(Flag):
    """What a desktop may open towards the client, once the client asked and was granted it."""

    NONE = 0
    TCP = auto()
    STREAMLOCAL = auto()
    X11 = auto()
    AGENT = auto()


#: Channel types that a client may open, beside `session`.
CLIENT_FORWARDS = frozenset({b"direct-tcpip", b"direct-streamlocal@openssh.com"})

#: Channel types that a desktop may open, and the grant that each needs.
INNER_OPENS: Mapping[bytes, Grant] = MappingProxyType(
    {
        b"forwarded-tcpip": Grant.TCP,
        b"forwarded-streamlocal@openssh.com": Grant.STREAMLOCAL,
        b"x11": Grant.X11,
        b"auth-agent@openssh.com": Grant.AGENT,
    }
)

#: Global requests of a client that travel on, and what their success grants.
GLOBAL_REQUESTS: Mapping[bytes, Grant] = MappingProxyType(
    {
        b"tcpip-forward": Grant.TCP,
        b"cancel-tcpip-forward": Grant.NONE,
        b"streamlocal-forward@openssh.com": Grant.STREAMLOCAL,
        b"cancel-streamlocal-forward@openssh.com": Grant.NONE,
    }
)
KEEPALIVE = b"keepalive@openssh.com"
NO_MORE_SESSIONS = b"no-more-sessions@openssh.com"

#: Channel requests that say what a session is for.
DECIDING = frozenset({b"shell", b"exec", b"subsystem"})

#: Channel requests of a client that travel on, and what their success grants.
CHANNEL_REQUESTS: Mapping[bytes, Grant] = MappingProxyType(
    {
        **dict.fromkeys(DECIDING, Grant.NONE),
        b"pty-req": Grant.NONE,
        b"env": Grant.NONE,
        b"window-change": Grant.NONE,
        b"xon-xoff": Grant.NONE,
        b"signal": Grant.NONE,
        b"break": Grant.NONE,
        b"eow@openssh.com": Grant.NONE,
        b"x11-req": Grant.X11,
        b"auth-agent-req@openssh.com": Grant.AGENT,
    }
)

#: What of all that needs an allowance.
NEEDS: Mapping[bytes, Allowance] = MappingProxyType(
    {
        b"direct-tcpip": Allowance.FORWARD_LOCAL,
        b"direct-streamlocal@openssh.com": Allowance.FORWARD_LOCAL,
        b"tcpip-forward": Allowance.FORWARD_REMOTE,
        b"streamlocal-forward@openssh.com": Allowance.FORWARD_REMOTE,
        b"auth-agent-req@openssh.com": Allowance.AGENT,
        b"x11-req": Allowance.X11,
        b"pty-req": Allowance.PTY,
    }
)


def permits(name: bytes, allowed: Collection[Allowance]) -> bool:
    """Whether the person may have what is asked under that name."""
    return name not in NEEDS or NEEDS[name] in allowed


#: The name under which a refused request travels on, so that its reply keeps its place.
REFUSED = b"refused@desk"

_ENVIRONMENT = re.compile(rb"LANG|LC_[A-Z_]{1,32}|TERM|COLORTERM")


@dataclass(slots=True)
class Environment:
    """What one channel may still set of its environment."""

    count: int = 0
    size: int = 0

    def admits(self, request: bytes, limits: Limits) -> bool:
        """Count the `env` request, and say whether it may travel on."""
        _, offset = string(request, 5)
        name, offset = string(request, offset + 1)
        value, _ = string(request, offset)
        if not _ENVIRONMENT.fullmatch(name):
            return False
        self.count += 1
        self.size += len(name) + len(value)
        return self.count <= limits.environment_count and self.size <= limits.environment_bytes


@dataclass(frozen=True, slots=True)
class Word:
    """The broker is spoken to: `argv` is what stands behind `desk`."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Desktop:
    """The session is for a desktop; `display` picks one of several."""

    display: int | None
    kind: Kind


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing can serve it, and `sentence` says why."""

    sentence: str


_NO_MOSH = Unsupported(
    public="mosh needs UDP, which does not reach a desktop: connect with ssh, and start tmux in it"
    " for a session that outlives the connection."
)

#: mosh's start, as its own script and other clients spell it, in the beginning of a command: a long
#: one costs no more than a short one.
_MOSH = re.compile(
    r"""(?:^|[;&|])\s*(?:env\s+)?(?:\w+=\S*\s+)*["']?(?:[\w.~/-]*/)?mosh-server["']?\s+["']?new\b"""
)
_MOSH_WITHIN = 2048

_NO_FILES = AccessDenied(public="sftp and scp are not allowed here.")

#: scp's own protocol, and sftp's server by its path, in the beginning of a command.
_FILES = re.compile(
    r"""\s*["']?(?:[\w./-]*/)?(?:scp["']?\s(?:.*\s)?-\w*[tf]\b|sftp-server["']?(?:\s|$))"""
)

_FILES_WITHIN = 2048

_WORD = re.compile(r"""\s*(["']?)desk\1(?:\s|$)""")


def decide(
    request: bytes, limits: Limits, allowed: Collection[Allowance]
) -> Word | Refusal | Desktop:
    """What a shell, exec or subsystem request is for."""
    name, offset = string(request, 5)
    files = Allowance.SFTP in allowed
    if name == b"shell":
        return Desktop(None, Kind.SHELL)
    if name == b"subsystem":
        sftp = string(request, offset + 1)[0] == b"sftp"
        if sftp and not files:
            return Refusal(_NO_FILES.told)
        return Desktop(None, Kind.SFTP if sftp else Kind.EXEC)
    command = string(request, offset + 1)[0].decode("utf-8", "replace")
    if _WORD.match(command):
        return Word(tuple(_split(command, limits)[1:]))
    if not files and _FILES.match(command, 0, _FILES_WITHIN):
        return Refusal(_NO_FILES.told)
    if _MOSH.search(command, 0, _MOSH_WITHIN):
        return Refusal(_NO_MOSH.told)
    wanted = xpra.parse_command(command)
    return Desktop(wanted.display, Kind.XPRA) if wanted else Desktop(None, Kind.EXEC)


#: Where the desktop's viewers listen: Xvnc and xpra below the first, xpra's own places besides.
_VIEWERS = re.compile(rb"/?(?:/var)?/run/desk/|.*/\.?xpra/", re.DOTALL)


def forward(opened: bytes) -> Kind:
    """What a client's open of a forward is for."""
    kind, offset = string(opened, 1)
    if kind != b"direct-streamlocal@openssh.com":
        return Kind.FORWARD
    path = posixpath.normpath(string(opened, offset + 12)[0])
    return Kind.VIEWER if _VIEWERS.match(path) else Kind.FORWARD


def _split(command: str, limits: Limits) -> list[str]:
    """Shell words of a short command; a long or broken one is cut at blanks, for it will be
    refused by whoever reads it.
    """
    if len(command) <= limits.word_bytes:
        try:
            return shlex.split(command)
        except ValueError:
            pass
    return command[: limits.word_bytes].split()
