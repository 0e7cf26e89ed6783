"""What comes back from the desktop to the client: agents and X11, each only when asked for."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from .clients import Person, end, environment, run, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def _agent(folder: Path, name: str) -> Iterator[dict[str, str]]:
    """The environment of a client with an agent that holds one key of that name."""
    socket = folder / f"agent-{name}"
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(socket.exists, 5, "the agent listens")
        key = folder / f"key-{name}"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)])
        env = environment(SSH_AUTH_SOCK=str(socket))
        assert run(["ssh-add", "-q", str(key)], env=env).status == 0
        yield env
    finally:
        end(process)


@contextlib.contextmanager
def _display(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of a client with an X server of 320x240."""
    authority = folder / "xauthority"
    authority.touch()
    read, write = os.pipe()
    server = subprocess.Popen(
        [
            "Xvfb",
            "-displayfd",
            str(write),
            "-auth",
            str(authority),
            "-screen",
            "0",
            "320x240x24",
            "-noreset",
        ],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    try:
        with os.fdopen(read, "rb") as pipe:
            number = pipe.readline().decode().strip()
        assert number, "Xvfb chose no display"
        cookie = "0123456789abcdef" * 2
        run(["xauth", "-f", str(authority), "add", f":{number}", ".", cookie])
        server.send_signal(1)
        yield environment(DISPLAY=f":{number}", XAUTHORITY=str(authority))
    finally:
        end(server)


def test_two_agents_of_one_person_at_once(desk: Person) -> None:
    """Each connection reaches its own client's agent and never the other's."""
    with _agent(desk.folder, "first") as first, _agent(desk.folder, "second") as second:
        command = "for i in 1 2 3 4 5; do ssh-add -l; done; read line; ssh-add -l"
        running = [desk.start("-A", command, env=env) for env in (first, second)]
        heard = [process.communicate(b"go\n", timeout=20)[0] for process in running]
    assert (heard[0].count(b"first"), heard[0].count(b"second")) == (6, 0)
    assert (heard[1].count(b"second"), heard[1].count(b"first")) == (6, 0)


def test_no_agent_unless_asked_for(desk: Person) -> None:
    """Without -A the desktop has no way to the client's agent."""
    with _agent(desk.folder, "hidden") as env:
        done = desk.ssh("-a", "echo S=$SSH_AUTH_SOCK; ssh-add -l", env=env)
    assert done.out.startswith(b"S=\n")
    assert b"hidden" not in done.out


@pytest.mark.parametrize("option", ["-X", "-Y"])
def test_x11_program_shows_on_the_client_s_display(desk: Person, option: str) -> None:
    """A program inside talks to the client's X server."""
    with _display(desk.folder) as env:
        done = desk.ssh(option, "echo D=$DISPLAY; xdpyinfo", env=env)
    assert b"D=localhost:1" in done.out
    assert b"320x240" in done.out


def test_no_x11_unless_asked_for(desk: Person) -> None:
    """With -x the session has no display of the client's."""
    with _display(desk.folder) as env:
        assert desk.ssh("-x", "echo D=$DISPLAY", env=env).out == b"D=\n"
