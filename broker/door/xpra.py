"""What an xpra client's command over ssh asks for: which display it wants.

Such a command can carry a password, so nothing of it but the number leaves this module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Longest command that is searched. Real ones have a few hundred bytes.
_LONGEST = 65_536

_COMMAND = re.compile(
    r"""(?:^|[\s;"'\\/])(?:xpra|run-xpra|Xpra_cmd\.exe)\\?["']?"""
    r"""\s+\\?["']?_proxy(?:_\w+)?\\?["']?"""
    r"""((?:\s+(?:"[^"]*"|[^\s;]+))*)"""
)
_DISPLAY = re.compile(r":?(\d{1,5})(?:\.\d+)?")
_QUOTES = "\"'\\"


@dataclass(frozen=True, slots=True)
class XpraRequest:
    """A client of xpra wants to be joined to a display."""

    display: int | None
    """None: the default desktop's."""


def parse_command(command: str) -> XpraRequest | None:
    """Return what the command asks for, or None when it is no xpra client's."""
    if len(command) > _LONGEST:
        return None
    found = _COMMAND.search(command)
    if found is None:
        return None
    for word in re.findall(r'"[^"]*"|[^\s;]+', found[1]):
        bare = word.strip(_QUOTES)
        if bare and not bare.startswith("-"):
            display = _DISPLAY.fullmatch(bare)
            return XpraRequest(int(display[1]) if display else None)
    return XpraRequest(None)
