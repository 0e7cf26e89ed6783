"""deskctl settings, policy, template: what the configuration says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from broker.cli.ctl import WATCH, Desk, filters, part, verb
from broker.cli.ctl_names import TEMPLATE
from broker.cli.output import Sheet
from broker.core.words import spoken_size

if TYPE_CHECKING:
    from collections.abc import Mapping


def _value(item: Mapping[str, Any]) -> str:
    value = item["value"]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_SETTINGS = Sheet(("key", "value"), cells={"value": _value})
_VALUES = Sheet(("key", "value", "from"))
_TEMPLATES = Sheet(
    ("name", "image", "memory", "cpus", "pids", "shm", "home", "geometry", "network"),
    cells={
        "memory": lambda item: spoken_size(item["memory"]),
        "shm": lambda item: spoken_size(item["shm"]),
        "home": lambda item: None if item["home"] is None else spoken_size(item["home"]),
    },
)


@click.group()
def settings() -> None:
    """The configuration, as far as it is safe to see."""


@verb(settings, "ls")
@click.option("--key", help="The one of that name.")
@WATCH
def settings_ls(desk: Desk, key: str | None, *, watched: bool) -> None:
    """List keys of the configuration; durations are seconds, sizes bytes."""
    desk.list("/settings", _SETTINGS, query=filters(key=key), watched=watched)


@click.group()
def policy() -> None:
    """What holds for whom no group says anything of."""


@verb(policy, "ls")
@WATCH
def policy_ls(desk: Desk, *, watched: bool) -> None:
    """List each value in words; what holds for somebody in groups, 'user policy' tells."""
    desk.list("/policies", _VALUES, watched=watched)


@click.group()
def template() -> None:
    """What desktops are made from."""


@verb(template, "ls")
@WATCH
def template_ls(desk: Desk, *, watched: bool) -> None:
    """List templates."""
    desk.list("/templates", _TEMPLATES, watched=watched)


@verb(template, "show")
@TEMPLATE
def template_show(desk: Desk, name: str) -> None:
    """Show a template."""
    desk.show(desk.client.call("GET", f"/templates/{part(name)}"), _TEMPLATES)
