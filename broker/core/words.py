"""Durations and sizes as people write them: `30m`, `4g`."""

from __future__ import annotations

import re

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = 3650 * 86400
_LARGEST = 1 << 60
_BYTES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_WORD = re.compile(r"(\d+(?:\.\d+)?)([a-z])")

DURATION_RULE = "a number and a unit: 30s, 10m, 8h, 7d"
PERIOD_RULE = f"{DURATION_RULE}, or never"
SIZE_RULE = "a number and a unit: 512m, 2g"

#: What one writes for a period without an end.
NEVER = "never"


def seconds(text: str) -> float:
    """The seconds that `text` stands for; above 0 and at most ten years, else `ValueError` with
    what is allowed.
    """
    value = _parse(text, _SECONDS, DURATION_RULE)
    if value > _LONGEST:
        raise ValueError(f"that is longer than 3650d; allowed is {DURATION_RULE}")
    return value


def period(text: str) -> float | None:
    """Like `seconds`, but `never` is None."""
    if text.strip().lower() == NEVER:
        return None
    try:
        return seconds(text)
    except ValueError as error:
        raise ValueError(str(error).replace(DURATION_RULE, PERIOD_RULE)) from None


def written(seconds: float | None) -> str:
    """The reverse of `period`, in the largest unit that leaves no fraction: `90m`, `never`."""
    if seconds is None:
        return NEVER
    whole = [unit for unit in _SECONDS if seconds % _SECONDS[unit] == 0] or ["s"]
    unit = max(whole, key=_SECONDS.__getitem__)
    return f"{seconds / _SECONDS[unit]:g}{unit}"


def written_size(count: int) -> str:
    """The reverse of `size`, likewise: `35k`, `2g`."""
    whole = [unit for unit in _BYTES if count % _BYTES[unit] == 0] or ["k"]
    unit = max(whole, key=_BYTES.__getitem__)
    return f"{count / _BYTES[unit]:.17g}{unit}"


def spoken(seconds: float) -> str:
    """A span of time for people, in its two largest units: `1 h 5 min`, `40 s`."""
    whole = max(0, round(seconds))
    parts = []
    for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, whole = divmod(whole, size)
        if count:
            parts.append((size, f"{count} {name}"))
    if not parts:
        return "0 s"
    (largest, first), *others = parts
    second = [text for size, text in others if size * 60 >= largest][:1]
    return " ".join([first, *second])


def spoken_size(count: int) -> str:
    """So many bytes for people, in the largest unit (of powers of 1024): `1.2 GB`, `340 MB`."""
    value, unit = float(count), "B"
    for larger in ("KB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f} {unit}" if unit != "B" and value < 10 else f"{value:.0f} {unit}"


def size(text: str) -> int:
    """The bytes that `text` stands for (powers of 1024), at least one; else `ValueError`."""
    value = _parse(text, _BYTES, SIZE_RULE)
    if not 1 <= value <= _LARGEST:
        raise ValueError(f"no container can have that; allowed is {SIZE_RULE}")
    return int(value)


def _parse(text: str, units: dict[str, int], rule: str) -> float:
    match = _WORD.fullmatch(text.strip().lower())
    if match is None or match[2] not in units:
        raise ValueError(f"allowed is {rule}")
    value = float(match[1]) * units[match[2]]
    if value <= 0:
        raise ValueError(f"0 is not allowed; allowed is {rule}")
    return value
