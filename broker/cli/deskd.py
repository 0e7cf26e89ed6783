"""deskd: the broker itself."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import click

from broker import __version__, telemetry
from broker.cli.deskd_unit import unit
from broker.cli.errors import CONFIG, FAILED, plain_errors
from broker.cli.output import Output
from broker.config import load, parse, read
from broker.core.errors import ConfigError, StateUnusable

_CONFIG = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=Path("/etc/desk/desk.yaml"),
    show_default=True,
    envvar="DESK_CONFIG",
    help="The configuration file.",
)

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

_NO_PARENT = "'deskd broker' is for 'deskd serve' alone, which holds the state for it: run that."


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
    telemetry.configure(config.log, config.log_level)
    sys.exit(asyncio.run(run(path, text, config)))


@main.command(hidden=True)
@_CONFIG
@click.option("--parent", type=int, help="The process to end with.")
@click.option("--gateway", type=int, help="The descriptor where doors are heard.")
@click.option("--api", type=int, help="The descriptor where they pass requests on.")
@click.option("--lock", type=int, help="The descriptor that holds the state.")
@click.option("--door-uid", type=int, help="Whose doors are heard besides one's own.")
@plain_errors
def broker(
    path: Path,
    *,
    parent: int | None,
    gateway: int | None,
    api: int | None,
    lock: int | None,
    door_uid: int | None,
) -> None:
    """Run the broker alone, as a child of `serve`, with the configuration on standard input."""
    from broker.system import child
    from broker.system.lock import is_held_by

    if parent is None or gateway is None or api is None or lock is None:
        raise StateUnusable(public=_NO_PARENT)
    text = sys.stdin.read()
    config = parse(text, str(path))
    if not is_held_by(lock, config.state / "lock"):
        raise StateUnusable(public=_NO_PARENT)
    child.die_with(parent)
    from broker.app import Doorway
    from broker.app import serve as run
    from broker.core.messages import PROTOCOL
    from broker.kept import Origin
    from broker.system.notify import ParentNotifier

    telemetry.configure(config.log, config.log_level)
    doorway = Doorway.beside(parent, gateway=gateway, api=api, door_uid=door_uid)
    origin = Origin(path, text, parent)
    asyncio.run(run(config, doorway, ParentNotifier(PROTOCOL), origin=origin))


@main.command("check-config")
@_CONFIG
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the file, for editors.")
@_JSON
@plain_errors
def check_config(path: Path, *, schema: bool, as_json: bool) -> None:
    """Read the configuration and say whether it can be used."""
    if schema:
        from broker.config.schema import document

        click.echo(document(), nl=False)
        return
    try:
        load(path)
    except ConfigError as error:
        if as_json:
            problems = error.public.splitlines()
            click.echo(json.dumps({"file": str(path), "good": False, "problems": problems}))
            sys.exit(CONFIG)
        raise
    Output(as_json).done({"file": str(path), "good": True, "problems": []}, f"{path}: good.")


@main.command()
@_CONFIG
@_JSON
@plain_errors
def migrate(path: Path, *, as_json: bool) -> None:
    """Bring the state to this version's schema, a copy of it first; stop the broker before."""
    from broker.db.migrate import migrate as run
    from broker.db.place import database_of
    from broker.service.restore import refuse_unfinished
    from broker.system.lock import SUCCESSION, StateLock
    from broker.system.state import prepare

    config = load(path)
    prepare(config.state)
    refuse_unfinished(config.state)
    database = database_of(config)
    with StateLock(config.state / "lock", patience=SUCCESSION):
        before, after, copy = asyncio.run(run(database))
    told = "is up to date" if before == after else f"went from {before or 'nothing'} to {after}"
    kept = "" if copy is None else f" What was there before is in {copy}."
    Output(as_json).done(
        {"before": before, "after": after, "backup": None if copy is None else str(copy)},
        f"{database}: the schema {told}.{kept}",
    )


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--homes", is_flag=True, help="With the homes that are on the engine.")
@_CONFIG
@_JSON
@plain_errors
def backup(path: Path, file: Path, *, homes: bool, as_json: bool) -> None:
    """Write the state, its keys and the packed homes to FILE, while the broker runs or not. For root
    and the state's owner; there are secrets in it.
    """
    from broker.cli.backup import back_up

    answer, told = back_up(path, file, homes=homes)
    Output(as_json).text(answer, told)


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--no-homes", is_flag=True, help="Leave the homes that are in it.")
@_CONFIG
@_JSON
@plain_errors
def restore(path: Path, file: Path, *, no_homes: bool, as_json: bool) -> None:
    """Bring a backup back into an empty state; all of it or nothing. A configuration that is there
    stays, else the backup's is taken.
    """
    from broker.cli.backup import restore as run

    answer, told = run(path, file, homes=not no_homes)
    Output(as_json).text(answer, told)


@main.command("copy-database")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option(
    "--password",
    type=click.Path(path_type=Path),
    help="A file with the password, where PostgreSQL asks for one that is not the configuration's.",
)
@_CONFIG
@_JSON
@plain_errors
def copy_database(
    path: Path, source: str, target: str, *, password: Path | None, as_json: bool
) -> None:
    """Copy the state from one database to another one, which must hold nothing; stop the broker
    first. Each is a file of SQLite's, or postgresql+asyncpg://USER@HOST/NAME.
    """
    from broker.cli.copying import copy

    answer, told = copy(load(path), source, target, password=password)
    Output(as_json).text(answer, told)


@main.command()
@click.option("--fix", is_flag=True, help="Mend what can be mended without losing anything.")
@_CONFIG
@_JSON
@plain_errors
def doctor(path: Path, *, fix: bool, as_json: bool) -> None:
    """Look for what is not as it should be, one line each with what mends it; ends with 1 when
    something is left. For root and the state's owner; the broker may run or not.
    """
    from broker.cli.doctor import examine

    config = load(path)
    telemetry.configure(config.log, "warning")
    answer, told, well = examine(config, fix=fix)
    Output(as_json).text(answer, told)
    sys.exit(0 if well else FAILED)


@main.command("recover-access")
@click.argument("name")
@click.option("--admin", is_flag=True, help="Make the user an admin.")
@click.option("--valid", help="For how long the invite is good: 3d.")
@click.option("--host", default="HOST", help="The name of this host, as people reach it.")
@_CONFIG
@plain_errors
def recover_access(path: Path, name: str, *, admin: bool, valid: str | None, host: str) -> None:
    """Let a user in again who lost every way: enable them, lift their blocks, print an invite. For
    root and the state's owner; the broker may run or not.
    """
    from broker.cli.recover import recover

    click.echo(recover(load(path), name, admin=admin, valid=valid, host=host))


main.add_command(unit)


if __name__ == "__main__":
    sys.exit(main())
