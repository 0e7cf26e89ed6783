"""`make up`, `make down`, `make purge`: one instance of Desk, started and removed by one command.

It writes progress to standard error and the lines to connect with to standard output.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broker.cli import (
    up_api,
    up_config,
    up_daemon,
    up_keys,
    up_lines,
    up_memory,
    up_place,
    up_purge,
)
from broker.config import EngineConfig
from broker.core.errors import ConfigError, Conflict, DeskError, EngineUnavailable, ImageMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from broker.cli.up_memory import Memory
    from broker.cli.up_place import Place
    from broker.config import Config


def say(sentence: str) -> None:
    click.echo(f"desk: {sentence}", err=True)


# ------------------------------------------------------------------------------------------ up


def bring_up(place: Place) -> None:
    """Every step finds what an earlier run did. What can be refused is refused before anything
    long is done.
    """
    up_place.prepare(place)
    with only_one(place):
        memory = up_memory.read(place)
        with not_left_empty(place):
            demand_ports(place)
        engine = find_engine(place)
        text, memory = settle(place, engine, memory)
        config = up_config.checked(text, place)
        pid = serve(place, config, up_memory.signature(text, up_place.ROOT), memory)
        with_pair = register(place, config)
        for sentence in up_daemon.warnings(config.web):
            say(f"a warning: {sentence}")
    show(place, config, pid=pid, with_pair=with_pair)


@contextmanager
def only_one(place: Place) -> Iterator[None]:
    """Two of these at once on one state would start two brokers."""
    descriptor = os.open(place.state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(public=f"{place.state}: another make works on this state.") from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def not_left_empty(place: Place) -> Iterator[None]:
    """A refusal leaves no new directory behind."""
    try:
        yield
    except DeskError:
        with suppress(OSError):
            place.state.rmdir()
        raise


def demand_ports(place: Place) -> None:
    """Raises `ConfigError` for a broken file, `Conflict` for a port that is not to be had."""
    before = up_config.text_of(place) or up_config.first(place, engine="unix:///x", image="x")
    after, _ = up_config.with_ports(before, place)
    config = up_config.checked(after, place)
    if up_daemon.running(place) is not None:
        # Its own ports are its own.
        now = up_config.checked(before, place)
        held = {now.ssh.listen, now.web.listen}
        up_daemon.demand_free_ports(config, place, besides=held)
    else:
        up_daemon.demand_free_ports(config, place)


def find_engine(place: Place) -> str:
    """The engine that the configuration names, or any other that answers or can be started."""
    text = up_config.text_of(place)
    if text is not None:
        named = up_config.checked(text, place).engine.socket
        if answers(named):
            return named
    return script("docker/engine.sh", "up", error=EngineUnavailable)


def answers(engine: str) -> bool:
    try:
        with up_purge.engine(engine):
            return True
    except EngineUnavailable:
        return False


def settle(place: Place, engine: str, memory: Memory) -> tuple[str, Memory]:
    """Write the configuration, or change in it what was asked for or was `make up`'s own."""
    before = up_config.text_of(place)
    if before is None:
        image = build(engine)
        memory = replace(memory, image=image, engine=engine)
        text = up_config.first(place, engine=engine, image=image)
        up_config.checked(text, place)
        up_memory.write(place, memory)
        up_config.save(place.config, text)
        say(f"wrote {place.config}.")
        return text, memory
    text, told = up_config.with_ports(before, place)
    text, more = up_config.with_engine(
        text, engine, memory, has_desktops=up_purge.instance_of(place) is not None
    )
    told += more
    image = up_config.checked(text, place).template.image
    if image == memory.image:
        image = build(engine)
        text, more = up_config.with_image(text, image, memory)
        told += more
    else:
        say(f"template.image is {image}, the administrator's own: nothing is built.")
    memory = replace(memory, engine=engine if memory.engine else None, image=memory.image and image)
    up_config.checked(text, place)
    up_memory.write(place, memory)
    if text != before:
        up_config.save(place.config, text)
    for sentence in told:
        say(f"{place.config}: {sentence}")
    return text, memory


def build(engine: str) -> str:
    return script("docker/build.sh", error=ImageMissing, DOCKER_HOST=engine)


def script(*command: str, error: type[DeskError], **environment: str) -> str:
    """Run one of the clone's scripts, its progress on our standard error; returns what it prints."""
    with subprocess.Popen(
        [str(up_place.ROOT / command[0]), *command[1:]],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            told, _ = process.communicate()
        except KeyboardInterrupt:
            # The terminal interrupted it as well, and it tidies up: killed, it would leave a build
            # that goes on and holds the next one up.
            process.wait()
            raise
    if process.returncode or not told.strip():
        raise error(public=f"{command[0]} failed; its words stand above. Nothing was started.")
    return told.strip().splitlines()[-1]


def serve(place: Place, config: Config, signature: str, memory: Memory) -> int:
    """See that a broker of this configuration and code runs; returns its pid."""
    pid = up_daemon.running(place)
    if pid is not None:
        if pid != memory.pid:
            say(f"process {pid}, which make up did not start, serves this state: left as it is.")
            return pid
        if memory.signature == signature:
            say(f"the broker runs already (process {pid}).")
            return pid
        say("the configuration or the code has changed: restarting the broker; desktops go on.")
        up_daemon.stop(place)
    up_daemon.migrate(place)
    say("starting the broker ...")
    pid = up_daemon.start(place, config.web)
    up_memory.write(place, replace(memory, pid=pid, signature=signature))
    return pid


def register(place: Place, config: Config) -> bool:
    """Make the caller a user with their keys; whether a pair had to be made for them."""
    own = up_keys.of_caller(place.caller)
    keys = own or [up_keys.made_pair(place)]
    for told in up_api.AdminApi(config.admin_socket).ensure_user(place.caller.user, keys):
        say(told)
    line = up_lines.known_hosts(config.ssh.listen, place.host_key.read_text(encoding="utf-8"))
    up_place.give(place.known_hosts, line, mode=0o644, caller=place.caller)
    if place.reach != place.state:
        memory = up_memory.read(place)
        reach = tuple(sorted({*memory.reach, str(place.reach)}))
        up_memory.write(place, replace(memory, reach=reach))
    return not own


def show(place: Place, config: Config, *, pid: int, with_pair: bool) -> None:
    program = Path(sys.prefix) / "bin/deskctl"
    near = program.is_relative_to(Path.cwd())
    deskctl = str(program.relative_to(Path.cwd()) if near else program)
    rows = up_lines.final(place, config, deskctl=deskctl, with_pair=with_pair, pid=pid)
    click.echo("\nDesk is ready.\n\n" + up_lines.table(rows) + "\n")


# --------------------------------------------------------------------------------- down, purge


def take_down(place: Place) -> None:
    pid = up_daemon.stop(place) if place.state.exists() else None
    if pid is None:
        say(f"no broker runs for {place.state}.")
    else:
        say(f"the broker (process {pid}) has stopped; desktops run on.")
        say(f"to come back: {place.make} up{place.settings}")


def purge(place: Place) -> None:
    """Remove the instance. Raises before anything is removed when the engine does not answer."""
    if not place.state.exists():
        say(f"{place.state} does not exist: nothing to remove.")
        return
    up_place.prepare(place)
    with only_one(place):
        memory, instance = up_memory.read(place), up_purge.instance_of(place)
        if instance is None:
            confirm(f"the files of Desk in {place.state}")
            up_daemon.stop(place)
        else:
            purge_engine(place, instance, memory)
        left = up_purge.remove_files(place, memory)
    for path in left:
        say(f"{path} was not made by Desk and stays.")
    say("removed. The image and the engine stay, for other instances may use them.")
    if memory.engine and memory.image:
        say(f"to remove the image: {place.sudo}docker -H {memory.engine} image rm {memory.image}")
    say(f"to stop an engine that Desk started: {place.sudo}docker/engine.sh down")


def purge_engine(place: Place, instance: str, memory: Memory) -> None:
    with up_purge.engine(engine_of(place, memory)) as client:
        found = up_purge.look(client, instance)
        confirm(f"{found}, with all that people keep in them, and the files in {place.state}")
        up_daemon.stop(place)
        # Looked at again: the broker may have started something until it stopped.
        up_purge.remove(up_purge.look(client, instance))
    # Last: until its containers are gone, the rules have somebody to hold.
    reason = up_purge.remove_rules(instance)
    if reason is not None:
        say(f"rules of its network stay where there are any: {reason}.")


def engine_of(place: Place, memory: Memory) -> str:
    """The engine that the instance used; a broken configuration is no reason to keep it."""
    try:
        text = up_config.text_of(place)
        named = text and up_config.checked(text, place).engine.socket
    except ConfigError:
        if memory.engine is None:
            raise
        named = None
    return named or memory.engine or EngineConfig().socket


def confirm(what: str) -> None:
    """Raises `Conflict` unless a person, or YES=1, agrees."""
    say(f"this removes {what}.")
    if os.environ.get("YES") == "1":
        return
    if not sys.stdin.isatty():
        raise Conflict(public="Nothing was removed: there is nobody to ask; YES=1 answers yes.")
    if click.prompt("Type yes to remove it", default="no", err=True) != "yes":
        raise Conflict(public="Nothing was removed.")


# -------------------------------------------------------------------------------- command line

ACTIONS: dict[str, Callable[[Place], None]] = {
    "up": bring_up,
    "down": take_down,
    "purge": purge,
}


def _number(_context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    if not value:
        return None
    if not value.isdigit() or not 1 <= int(value) <= 65535:
        raise click.BadParameter(f"{parameter.envvar}={value}: allowed is a port, 1 to 65535.")
    return int(value)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("action", type=click.Choice(list(ACTIONS)))
@click.option("--state", envvar="STATE", help="The directory of this instance.")
@click.option("--ssh-port", envvar="SSH_PORT", callback=_number, help="Where users connect.")
@click.option("--http-port", envvar="HTTP_PORT", callback=_number, help="The local HTTP port.")
def main(action: str, state: str | None, ssh_port: int | None, http_port: int | None) -> None:
    """Start, stop or remove one instance of Desk."""
    os.umask(0o077)
    where = Path(state).expanduser().absolute() if state else up_place.default_state()
    place = up_place.Place(
        state=Path(os.path.normpath(where)),
        caller=up_place.find_caller(),
        ssh_port=ssh_port,
        http_port=http_port,
    )
    try:
        ACTIONS[action](place)
    except DeskError as error:
        say(error.public)
        sys.exit(1)
    except OSError as error:
        say(f"{error}.")
        sys.exit(1)
    except KeyboardInterrupt:
        say("interrupted.")
        sys.exit(130)


if __name__ == "__main__":
    main()
