"""deskd unit: what systemd's units run; each is one process of Desk."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import click

from broker import telemetry
from broker.cli.errors import plain_errors
from broker.config import load, parse, read
from broker.kept import Origin
from broker.system.activation import handed_on
from broker.system.notify import Notifier

_CONFIG = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=Path("/etc/desk/desk.yaml"),
    show_default=True,
    help="The configuration file.",
)


@click.group(hidden=True)
def unit() -> None:
    """What the units of systemd run; nothing of it is for people."""


@unit.command(hidden=True)
@_CONFIG
@click.option(
    "--firewall",
    type=click.Path(path_type=Path, readable=False),
    help="The socket of desk-firewall.service.",
)
@plain_errors
def broker(path: Path, firewall: Path | None) -> None:
    """The broker, for desk-broker.service."""
    from broker.activated import serve

    sockets, notifier = handed_on(os.environ), Notifier.of(os.environ)
    origin = Origin(path, read(path), None)
    config = parse(origin.text, str(path))
    telemetry.configure(config.log, config.log_level)
    asyncio.run(serve(config, sockets, notifier, origin=origin, firewall=firewall))


@unit.command(hidden=True)
@click.option("--user", required=True, help="Whose processes are heard.")
@plain_errors
def firewall(user: str) -> None:
    """The rules of the desktops' network, for desk-firewall.service."""
    from broker.activated import keep_rules

    sockets, notifier = handed_on(os.environ), Notifier.of(os.environ)
    telemetry.configure()
    asyncio.run(keep_rules(sockets, notifier, user=user))


@unit.command(hidden=True)
@click.argument("name")
@_CONFIG
@click.option("--host-key", type=click.Path(path_type=Path), required=True, help="Its private key.")
@click.option(
    "--gateway",
    type=click.Path(path_type=Path, readable=False),
    default=Path("/run/desk"),
    show_default=True,
    help="The directory of the broker's socket.",
)
@plain_errors
def door(name: str, path: Path, host_key: Path, gateway: Path) -> None:
    """A front door, for desk-door@NAME.service."""
    from broker.door.unit import serve
    from broker.system.child import forbid_privileges

    forbid_privileges()
    sockets, notifier = handed_on(os.environ), Notifier.of(os.environ)
    serve(name, load(path), sockets, notifier, host_key=host_key, gateway=gateway)


@unit.command(hidden=True)
@plain_errors
def roll() -> None:
    """Put a new door in the place of each that runs; for desk-roll.service."""
    from broker.system.roll import roll as run

    sys.exit(run())
