"""What a change of the configuration needs to take effect, key by key: pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, auto
from functools import reduce
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel

from broker.config.kinds import Listen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from broker.config.whole import Config


class Needs(Flag):
    """What has to be done beside telling the broker that runs."""

    NOTHING = 0
    DOORS = auto()
    """Front doors in the place of those that run, which carry on what they carry."""
    BROKER = auto()
    """The broker started again: nobody is cut off, desktops run on."""
    STOP = auto()
    """All of Desk stopped and started."""


#: Keys that the broker takes over as it runs, one by one: whoever adds one makes it so.
_LIVE = (
    *("login.ways", "login.hardware_keys", "login.authorities", "login.revoked"),
    *("login.codes.issuer", "login.invites.valid"),
    *(f"login.blocks.{key}" for key in ("after", "first", "longest", "exempt")),
    *(f"allow.{key}" for key in ("forward_local", "forward_remote", "agent", "x11", "sftp", "pty")),
    *(f"allow.{key}" for key in ("browser", "clipboard_in", "clipboard_out", "share")),
    "share.admins",
    *(f"allow.{key}" for key in ("browser", "clipboard_in", "clipboard_out", "share")),
    *(f"starts.{key}" for key in ("at_once", "waiting", "per_user", "timeout")),
    *(f"limits.{key}" for key in ("desktops_per_user", "running", "running_per_user")),
    *("idle.freeze_after", "idle.stop_after", "idle.archive_after", "idle.max_age"),
    *("idle.warn_before", "idle.keep_up_to", "idle.busy_for", "idle.busy_cpu"),
)

#: The rest, where a section stands for all of it that is not named itself.
_RULES: dict[str, Needs] = {
    **dict.fromkeys(_LIVE, Needs.NOTHING),
    "state": Needs.STOP,
    "ssh": Needs.DOORS,
    "ssh.listen": Needs.STOP,
    "database": Needs.STOP,
    "database_password": Needs.STOP,
    "ssh.doors": Needs.STOP,
    "web": Needs.DOORS,
    "web.listen": Needs.STOP,
    "web.url": Needs.DOORS | Needs.BROKER,
    "web.sign_in": Needs.BROKER,
    "web.limits.requests": Needs.DOORS | Needs.BROKER,
    "login.sources": Needs.BROKER,
    "oidc": Needs.BROKER,
    "audit": Needs.BROKER,
    "engine": Needs.BROKER,
    "network": Needs.BROKER,
    "pools": Needs.BROKER,
    "pools.uids": Needs.STOP,
    "template": Needs.BROKER,
    "log": Needs.DOORS,
    "log_level": Needs.DOORS,
}


@dataclass(frozen=True, slots=True)
class Change:
    """A key whose value is another one."""

    key: str
    needs: Needs


def needs(key: str) -> Needs:
    """What a change of `key` needs. Raises `KeyError` for a key that nobody thought about."""
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        rule = _RULES.get(".".join(parts[:length]))
        if rule is not None:
            return rule
    raise KeyError(key)


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of the file, as it is written in sentences: `ssh.listen`."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not Listen:
            yield from keys_of(kind, f"{prefix}{name}.")
        else:
            yield prefix + name


def changes(before: Config, after: Config) -> list[Change]:
    """The keys whose values differ, in the order of the file."""
    return [
        Change(key, needs(key))
        for key in keys_of(type(before))
        if value_of(before, key) != value_of(after, key)
    ]


def all_needs(found: Sequence[Change]) -> Needs:
    """What all of them need together."""
    return reduce(Needs.__or__, (change.needs for change in found), Needs.NOTHING)


def value_of(config: Config, key: str) -> Any:
    return reduce(getattr, key.split("."), config)


def held_back(before: str, after: str, keys: Sequence[str]) -> str:
    """The text `after`, but with these keys as in `before`: what they are stays as it is until a
    stop. Both are good by themselves; what comes of them need not be.
    """
    if not keys:
        return after
    old, new = yaml.safe_load(before), yaml.safe_load(after)
    for key in keys:
        *sections, last = key.split(".")
        known = reduce(lambda data, name: (data or {}).get(name), sections, old) or {}
        place = new
        for name in sections:
            if not isinstance(place.get(name), dict):
                place[name] = {}
            place = place[name]
        if last in known:
            place[last] = known[last]
        else:
            place.pop(last, None)
    return yaml.safe_dump(new, sort_keys=False)
