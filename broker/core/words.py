"""Durations and sizes as people write them: `30m`, `4g`."""

from __future__ import annotations

import re

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_WORD = re.compile(r"(\d+(?:\.\d+)?)([a-z])")

DURATION_RULE = "a number and a unit: 30s, 10m, 8h, 7d"
SIZE_RULE = "a number and a unit: 512m, 2g"


def seconds(text: str) -> float:
    """The seconds that `text` stands for; above 0, else `ValueError` with what is allowed."""
    return _parse(text, _SECONDS, DURATION_RULE)


def size(text: str) -> int:
    """The bytes that `text` stands for (powers of 1024); above 0, else `ValueError`."""
    return int(_parse(text, _BYTES, SIZE_RULE))


def _parse(text: str, units: dict[str, int], rule: str) -> float:
    match = _WORD.fullmatch(text.strip().lower())
    if match is None or match[2] not in units:
        raise ValueError(f"allowed is {rule}")
    value = float(match[1]) * units[match[2]]
    if value <= 0:
        raise ValueError(f"0 is not allowed; allowed is {rule}")
    return value
