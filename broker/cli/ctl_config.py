"""deskctl config: the configuration of the broker that runs."""

from __future__ import annotations

import click

from broker.cli.ctl import Desk, verb


@click.group()
def config() -> None:
    """The configuration file of the broker that runs."""


@verb(config, "reload")
def reload(desk: Desk) -> None:
    """Read the file anew and tell what comes of each key that changed. One with a mistake changes
    nothing.
    """
    answer = desk.client.call("POST", "/config/reload")
    found = answer["changes"]
    widest = max((len(change["key"]) for change in found), default=0)
    lines = [f"{change['key']:{widest}}  {change['effect']}" for change in found]
    desk.out.text(answer, "\n".join(lines) or "Nothing has changed.")
