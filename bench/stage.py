"""What is brought up to be measured, when it is first asked for; and all of it taken down again."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.peers import (
    SAME_CIPHER,
    Clients,
    HostSshd,
    Relay,
    Unavailable,
    compiled_relay,
    host_sshd,
    relay,
)
from tests.e2e.desk import HOST, Instance
from tests.ssh.clients import DoorProcess
from tests.ssh.clients import Person as Visitor
from tests.ssh.inner import ACCOUNT, InnerSshd

if TYPE_CHECKING:
    from tests.e2e.desk import Person

ROOT = Path(__file__).resolve().parents[1]

#: Its own of a desktop's sshd, as the image has it.
_INSIDE, _INSIDE_USER = 2222, "desk"


@dataclass(frozen=True)
class Container:
    """The sshd in a desktop's container, and what opens it."""

    address: str
    port: int
    key: Path


class Stage:
    """Desk and its peers, in a directory that goes with them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._stack = ExitStack()

    def close(self) -> None:
        self._stack.close()

    @cached_property
    def clients(self) -> Clients:
        return Clients(self.directory / "clients")

    # -- peers
    @cached_property
    def host(self) -> HostSshd:
        """With room for the eight at a time that its stock settings would refuse."""
        return self._stack.enter_context(host_sshd(self.directory / "host", "MaxStartups 100"))

    @cached_property
    def host_command(self) -> list[str]:
        return self.host.command(self.clients)

    @cached_property
    def _relay_program(self) -> Path | Unavailable:
        try:
            return compiled_relay(self.directory)
        except Unavailable as why:
            return why

    def relay(self, host: str, port: int) -> Relay:
        """A relay to there. Raises `Unavailable`."""
        if isinstance(self._relay_program, Unavailable):
            raise self._relay_program
        return self._stack.enter_context(relay(self._relay_program, host, port))

    # -- a door in a process of its own, before an sshd on the host
    @cached_property
    def inner(self) -> InnerSshd:
        """Raises `Unavailable` where it takes root to have it."""
        try:
            inner = InnerSshd()
        except RuntimeError as error:
            raise Unavailable(str(error)) from error
        self._stack.callback(inner.stop)
        inner.start()
        return inner

    @cached_property
    def inner_key(self) -> Path:
        path = self.directory / "inner_key"
        path.touch(0o600)
        path.write_text(self.inner.client_key)
        return path

    def inner_command(self, name: str, port: int, **more: str | None) -> list[str]:
        """To the sshd on the host, by whatever listens at that port."""
        return self.clients.add(name, port=port, user=ACCOUNT, key=self.inner_key, **more)

    @cached_property
    def door(self) -> DoorProcess:
        door = DoorProcess(self.inner, fast=True)
        self._stack.callback(door.close)
        return door

    @cached_property
    def people(self) -> list[Visitor]:
        """Four users of that door."""
        made = []
        for number in range(4):
            made.append(Visitor(self.door, f"visitor{number}"))
            self._stack.callback(made[-1].close)
        return made

    @cached_property
    def visitors(self) -> list[list[str]]:
        """Their command lines."""
        return [[*visitor.argv, *SAME_CIPHER, "desk"] for visitor in self.people]

    # -- a whole Desk
    @cached_property
    def desk(self) -> Instance:
        return self.own_desk("state")

    def own_desk(self, name: str, **settings: Any) -> Instance:
        """One with settings of its own."""
        engine = os.environ.get("DOCKER_HOST") or _say("docker/engine.sh", "up")
        image = os.environ.get("DESK_IMAGE") or _say("docker/build.sh", DOCKER_HOST=engine)
        desk = Instance(self.directory / name, engine=engine, image=image, settings=settings)
        self._stack.callback(desk.purge)
        desk.start()
        return desk

    def inside(self, name: str) -> Person:
        """A user whose desktop runs."""
        person = self.desk.person(name)
        self.desk.ok(person, "true")
        return person

    def visit(self, person: Person) -> list[str]:
        """The command line to that user's desktop, with the cipher of the peers."""
        return self.desk.ssh_command(person, *SAME_CIPHER)

    def container(self, person: Person) -> Container:
        """The sshd in that user's desktop, for who goes past the door."""
        for session in self.desk.listing("sessions"):
            if session["user"] == person.name:
                key = self.desk.state / "sessions" / session["id"] / "client_key"
                return Container(session["address"], int(session["port"]), key)
        raise RuntimeError(f"{person.name} has no session")

    def container_command(
        self, name: str, container: Container, host: str, port: int, jump: str | None = None
    ) -> list[str]:
        """To that sshd by whatever listens there."""
        user = _INSIDE_USER
        return self.clients.add(name, host=host, port=port, user=user, key=container.key, jump=jump)

    def published(self, name: str, container: Container) -> list[str]:
        """By the port on the host that the engine passes on."""
        return self.container_command(name, container, HOST, container.port)


def _say(script: str, *words: str, **environment: str) -> str:
    done = subprocess.run(
        [ROOT / script, *words],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip()
