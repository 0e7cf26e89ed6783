"""What holds for a user: the configuration, and what their groups say instead of it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from broker.core import words
from broker.core.errors import BadRequest
from broker.core.gateway import Allowance
from broker.core.idle import IdlePolicy
from broker.core.model import shown
from broker.core.publickeys import authority
from broker.core.shares import Looks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.core.model import Group


class Way(StrEnum):
    """What lets somebody in. A certificate counts as a key."""

    KEY = "key"
    KEY_CODE = "key+code"
    PASSWORD = "password"  # noqa: S105 - a word, not one of them
    PASSWORD_CODE = "password+code"  # noqa: S105 - likewise


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What one user may do, and how they prove who they are."""

    ways: frozenset[Way]
    hardware_keys: bool
    """Whether only keys in a device count that was touched and asked for its PIN."""
    authorities: tuple[str, ...]
    """`TYPE BASE64` of those whose certificates count, beside the configuration's."""
    idle: IdlePolicy
    desktops: int
    """How many they may have."""
    running: int
    """How many of them may run at a time."""
    allowed: frozenset[Allowance]
    looks: Looks
    """How an admin may look at a desktop of theirs."""


#: Where a value comes from that no group says anything of.
CONFIG = "config"


@dataclass(frozen=True, slots=True)
class Resolved:
    """What holds for a user, and who says so."""

    policy: Policy
    origins: Mapping[str, str]
    """`config` or `group NAME`, by flat key."""


def merge(default: Policy, groups: Sequence[Group]) -> Resolved:
    """What holds for somebody in all of these groups. Of those that say something of a key, the one
    with the highest priority counts, of equals the one whose name comes first.

    Raises `BadRequest` for what `parse_policy` would not have let through.
    """
    values = flat(default)
    origins = dict.fromkeys(values, CONFIG)
    for group in sorted(groups, key=lambda group: (group.priority, _backwards(group.name))):
        for key, value in _read(group.policy).items():
            values[key], origins[key] = value, f"group {group.name}"
    policy = _policy(values)
    return Resolved(_with_room_to_warn(policy, origins), origins)


def _backwards(name: str) -> tuple[int, ...]:
    """What sorts names the other way round; a name that continues another comes before it then."""
    return (*(-ord(c) for c in name), 1)


def _with_room_to_warn(policy: Policy, origins: dict[str, str]) -> Policy:
    """Where one group shortens what another or the configuration warns of, the warning gives way:
    each can be right by itself.
    """
    idle = policy.idle
    periods = {name: getattr(idle, name) for name in ("freeze_after", "stop_after", "max_age")}
    shortest, name = min(
        ((period, name) for name, period in periods.items() if period is not None),
        default=(None, ""),
    )
    if shortest is None or shortest > idle.warn_before:
        return policy
    origins["idle.warn_before"] = origins[f"idle.{name}"]
    return replace(policy, idle=replace(idle, warn_before=shortest / 2))


def flat(policy: Policy) -> dict[str, Any]:
    """Every value by its flat key."""
    return {
        "login.ways": policy.ways,
        "login.hardware_keys": policy.hardware_keys,
        "login.authorities": policy.authorities,
        **{f"idle.{field.name}": getattr(policy.idle, field.name) for field in fields(IdlePolicy)},
        "limits.desktops": policy.desktops,
        "limits.running": policy.running,
        **{f"allow.{allowance}": allowance in policy.allowed for allowance in Allowance},
        "share.admins": policy.looks,
    }


def _policy(values: Mapping[str, Any]) -> Policy:
    """The reverse of `flat`."""
    return Policy(
        ways=values["login.ways"],
        hardware_keys=values["login.hardware_keys"],
        authorities=values["login.authorities"],
        idle=IdlePolicy(
            **{field.name: values[f"idle.{field.name}"] for field in fields(IdlePolicy)}
        ),
        desktops=values["limits.desktops"],
        running=values["limits.running"],
        allowed=frozenset(a for a in Allowance if values[f"allow.{a}"]),
        looks=values["share.admins"],
    )


def written(key: str, value: Any) -> str:
    """A value of `flat`, for people."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, frozenset | tuple):
        return ", ".join(sorted(value)) or "none"
    if key in _PERIODS or key in _DURATIONS:
        return words.NEVER if value is None else words.spoken(value)
    return str(value)


def typed(key: str, text: str) -> Any:
    """The value that somebody means who types `text`: of lists the parts between commas. Whether it
    is one, `parse_policy` says.
    """
    if key in _LISTS:
        return [part.strip() for part in text.split(",")]
    if key in _FLAGS:
        return {"true": True, "false": False}.get(text, text)
    if key in _NUMBERS:
        for kind in (int, float):
            with suppress(ValueError):
                return kind(text)
    return text


def parse_policy(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """What a group says, checked: flat keys, durations in words, fit for JSON. Raises `BadRequest`
    with what was found and what is allowed.
    """
    _read(mapping)
    return {
        key: list(value) if isinstance(value, list | tuple) else value
        for key, value in mapping.items()
    }


def _read(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _value(key, value) for key, value in mapping.items()}


def _value(key: str, value: Any) -> Any:
    reader = _READERS.get(key)
    if reader is None:
        raise BadRequest(
            public=f"A group has no {shown(str(key))}; there are {', '.join(sorted(_READERS))}."
        )
    try:
        return reader(value)
    except ValueError as error:
        raise BadRequest(public=f"{key}: found {shown(str(value))}; {error}.") from None


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("allowed are true and false")  # noqa: TRY004 - one error for all readers
    return value


def ways(value: Any) -> frozenset[Way]:
    """A list of ways; else `ValueError` with what is allowed."""
    items = list(value) if isinstance(value, list | tuple | frozenset) else []
    if not items or any(item not in tuple(Way) for item in items):
        raise ValueError(f"allowed is a list of {', '.join(Way)}")
    return frozenset(Way(item) for item in items)


def looks(value: Any) -> Looks:
    """One of the words; else `ValueError` with what is allowed."""
    if value not in tuple(Looks):
        raise ValueError(f"allowed is one of {', '.join(Looks)}")
    return Looks(value)


def authorities(value: Any) -> tuple[str, ...]:
    """A list of public keys; else `ValueError` with what is allowed."""
    if not isinstance(value, list | tuple) or any(not isinstance(item, str) for item in value):
        raise ValueError("allowed is a list of public keys, each 'ssh-ed25519 AAAA…'")
    return tuple(authority(item) for item in value)


def _words(reader: Callable[[str], Any], rule: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError(f"allowed is {rule}")  # noqa: TRY004 - as in `_flag`
        return reader(value)

    return read


def _at_most(longest: float, written: str) -> Callable[[Any], float]:
    read = _words(words.seconds, words.DURATION_RULE)

    def check(value: Any) -> float:
        seconds: float = read(value)
        if seconds > longest:
            raise ValueError(f"allowed is at most {written}")
        return seconds

    return check


def _number(low: float, high: float, *, whole: bool) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        kind = int if whole else int | float
        if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
            raise ValueError(f"allowed is a number from {low:g} to {high:g}")
        return value

    return read


_PERIODS = ("idle.freeze_after", "idle.stop_after", "idle.max_age")
_DURATIONS = ("idle.warn_before", "idle.keep_up_to", "idle.busy_for")
_COUNT = _number(1, 1000, whole=True)

_LISTS = ("login.ways", "login.authorities")
_FLAGS = ("login.hardware_keys", *(f"allow.{allowance}" for allowance in Allowance))
_NUMBERS = ("idle.busy_cpu", "limits.desktops", "limits.running")

_READERS: dict[str, Callable[[Any], Any]] = {
    "login.ways": ways,
    "login.hardware_keys": _flag,
    "login.authorities": authorities,
    **dict.fromkeys(_PERIODS, _words(words.period, words.PERIOD_RULE)),
    **dict.fromkeys(_DURATIONS, _words(words.seconds, words.DURATION_RULE)),
    "idle.warn_before": _at_most(3600.0, "1h"),
    "idle.busy_cpu": _number(0.001, 256, whole=False),
    "limits.desktops": _COUNT,
    "limits.running": _COUNT,
    **{f"allow.{allowance}": _flag for allowance in Allowance},
    "share.admins": looks,
}

#: What a group can say something of.
KEYS = tuple(_READERS)
