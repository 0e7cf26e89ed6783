"""Which browser it is, as far as it tells."""

from __future__ import annotations

import re

#: Names in the order in which they are looked for: each names those behind it too.
_KNOWN = (
    ("Edge", re.compile(r"\bEdg(?:A|iOS)?/(\d{1,4})", re.ASCII)),
    ("Opera", re.compile(r"\bOPR/(\d{1,4})", re.ASCII)),
    ("Firefox", re.compile(r"\b(?:Firefox|FxiOS)/(\d{1,4})", re.ASCII)),
    ("Chrome", re.compile(r"\b(?:Headless)?(?:Chrome|CriOS)/(\d{1,4})", re.ASCII)),
    ("Safari", re.compile(r"\bVersion/(\d{1,4})\S* (?:Mobile/\S+ )?Safari/", re.ASCII)),
)

#: Characters of a `User-Agent` that are looked at.
_LONGEST = 512


def browser_of(user_agent: str | None) -> str:
    """Its name and version, `Firefox 140`, or `browser`. Safe to print: of what was sent, nothing
    but a number is in it.
    """
    text = (user_agent or "")[:_LONGEST]
    for name, pattern in _KNOWN:
        if found := pattern.search(text):
            return f"{name} {found[1]}"
    return "browser"
