"""deskd: the broker itself."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from broker import __version__, telemetry
from broker.cli.errors import plain_errors
from broker.config import load, parse, read

_CONFIG = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=Path("/etc/desk/desk.yaml"),
    show_default=True,
    envvar="DESK_CONFIG",
    help="The configuration file.",
)


@click.group()
@click.version_option(__version__, prog_name="deskd")
def main() -> None:
    """Desk's broker: a Linux desktop for every person, one ssh away."""


@main.command()
@_CONFIG
@plain_errors
def serve(path: Path) -> None:
    """Run Desk in the foreground until SIGTERM; desktops outlive it. SIGHUP reads the configuration
    anew.
    """
    from broker.parent import serve as run

    path = path.absolute()
    text = read(path)
    config = parse(text, str(path))
    telemetry.configure(config.log)
    sys.exit(asyncio.run(run(path, text, config)))


@main.command(hidden=True)
@_CONFIG
@click.option("--parent", type=int, required=True, help="The process to end with.")
@click.option("--gateway", type=int, required=True, help="The descriptor where doors are heard.")
@click.option("--door-uid", type=int, help="Whose doors are heard besides one's own.")
@plain_errors
def broker(path: Path, parent: int, gateway: int, door_uid: int | None) -> None:
    """Run the broker alone, as a child of `serve`, with the configuration on standard input."""
    from broker.app import serve as run
    from broker.system import child

    child.die_with(parent)
    config = parse(sys.stdin.read(), str(path))
    telemetry.configure(config.log)
    asyncio.run(run(config, gateway=gateway, door_uid=door_uid))


@main.command("check-config")
@_CONFIG
@plain_errors
def check_config(path: Path) -> None:
    """Read the configuration and say whether it can be used."""
    load(path)
    click.echo(f"{path}: good.")


@main.command()
@_CONFIG
@plain_errors
def migrate(path: Path) -> None:
    """Bring the state to this version's schema; stop the broker first."""
    from broker.db.migrate import migrate as run
    from broker.system.lock import StateLock
    from broker.system.state import prepare

    config = load(path)
    prepare(config.state)
    with StateLock(config.state / "lock"):
        before, after = asyncio.run(run(config.database))
    told = "is up to date" if before == after else f"went from {before or 'nothing'} to {after}"
    click.echo(f"{config.database}: the schema {told}.")


if __name__ == "__main__":
    sys.exit(main())
