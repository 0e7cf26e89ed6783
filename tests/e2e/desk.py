"""One Desk under test: its broker process, its users, and the stock clients that visit it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import yaml
from click.testing import CliRunner

from broker.cli import deskd
from broker.cli.client import Client
from broker.core.firewall import table_name
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"

#: Seconds: a cold start on two busy cores.
START = 90


def until(condition: Callable[[], Any], *, within: float = 20, what: str = "it") -> Any:
    """The first true answer of `condition`; fails when there is none in time."""
    deadline = time.monotonic() + within
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {within} s")
        time.sleep(0.05)


def merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in more.items():
        deeper = isinstance(value, dict) and isinstance(base.get(key), dict)
        result[key] = merged(base[key], value) if deeper else value
    return result


@dataclass
class Person:
    """A user with a key pair and a client configuration of their own."""

    name: str
    config: Path
    key: Path


class Terminal:
    """A person at a terminal: what they type, and all that they read."""

    def __init__(self, process: subprocess.Popen[bytes], transcript: Path) -> None:
        self.process = process
        self._transcript = transcript

    @property
    def text(self) -> str:
        return self._transcript.read_text(errors="replace")

    def type(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()


@dataclass
class Instance:
    state: Path
    engine: str
    image: str
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ssh_port, self.http_port = free_port(), free_port()
        self.home = self.state.parent / f"{self.state.name}-clients"
        self.home.mkdir(parents=True)
        self.config = self.home / "desk.yaml"
        self.log = self.home / "broker.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.people: dict[str, Person] = {}
        self.before: list[str] = []
        """What stands before the broker's command line."""
        self.write_config()

    # -- the broker
    def write_config(self, **more: Any) -> None:
        base = {
            "state": str(self.state),
            "ssh": {"listen": f"{HOST}:{self.ssh_port}"},
            "web": {"listen": f"{HOST}:{self.http_port}"},
            "engine": {"socket": self.engine},
            "template": {"image": self.image, "memory": "1g"},
            "log": "json",
        }
        self.config.write_text(yaml.safe_dump(merged(merged(base, self.settings), more)))

    def deskd(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "broker.cli.deskd", *words, "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)

    def migrate(self) -> None:
        """As `deskd migrate`, in this process: a new one takes longer to begin than this to be done."""
        before = os.umask(0o022)
        try:
            done = CliRunner().invoke(deskd.main, ["migrate", "--config", str(self.config)])
        finally:
            os.umask(before)
        assert done.exit_code == 0, done.output

    def start(self, *, ready: bool = True) -> None:
        self.migrate()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *self.before,
                    sys.executable,
                    "-m",
                    "broker.cli.deskd",
                    "serve",
                    "--config",
                    str(self.config),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )
        if ready:
            until(self.ready, within=START, what=f"readiness ({self.log})")

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        return self.http("/readyz")[0] == 200

    def http(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(
                f"http://{HOST}:{self.http_port}{path}", timeout=30
            ) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(number)
            self.process.wait(30)
            self.process = None

    def children(self, of: str) -> list[int]:
        """The pids of its children with such a command line: `deskd broker`, `door.worker`."""
        assert self.process is not None
        found = subprocess.run(
            ["pgrep", "-P", str(self.process.pid), "-f", f"{of}"],
            capture_output=True,
            text=True,
            check=False,
        )
        return [int(pid) for pid in found.stdout.split()]

    def events(self, phrase: str) -> list[dict[str, Any]]:
        """The broker's log lines with that phrase."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        records = [json.loads(line) for line in lines if line.startswith("{")]
        return [record for record in records if record.get("event") == phrase]

    # -- the admin
    def deskctl(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "broker.cli.deskctl", *words]
        env = {**os.environ, "DESK_SOCKET": str(self.state / "admin.sock")}
        return subprocess.run(
            command, env=env, input=stdin, capture_output=True, text=True, timeout=150, cwd=ROOT
        )

    def api(self, method: str, path: str, **more: Any) -> Any:
        """What `deskctl` does, without a process for each time."""
        return Client(self.state / "admin.sock").call(method, path, **more)

    def listing(self, what: str) -> list[dict[str, Any]]:
        """What there is of `sessions`, `desktops` or whatever else can be listed."""
        return self.api("GET", f"/{what}")["items"]

    def person(self, name: str, *, registered: bool = True) -> Person:
        if name in self.people:
            return self.people[name]
        key = self.home / f"{name}.key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        config = self.home / f"{name}.ssh_config"
        config.write_text(
            f"Host *\n  HostName {HOST}\n  Port {self.ssh_port}\n  User desk\n  IdentityFile {key}\n"
            "  IdentitiesOnly yes\n  StrictHostKeyChecking yes\n  LogLevel ERROR\n"
            f"  UserKnownHostsFile {self._known_hosts()}\n  IdentityAgent none\n"
        )
        person = self.people[name] = Person(name, config, key)
        if registered:
            keys = [Path(f"{key}.pub").read_text().strip()]
            self.api("POST", "/users", body={"name": name, "admin": False, "keys": keys})
        return person

    def _known_hosts(self) -> Path:
        """Written whole: another person's client may be reading it."""
        public = (self.state / "ssh_host_key.pub").read_text().split()
        path, fresh = self.home / "known_hosts", self.home / "known_hosts.new"
        fresh.write_text(f"[{HOST}]:{self.ssh_port} {public[0]} {public[1]}\n")
        return fresh.replace(path)

    # -- stock clients
    @property
    def env(self) -> dict[str, str]:
        left_out = {"DISPLAY", "SSH_AUTH_SOCK", "XAUTHORITY", "WAYLAND_DISPLAY"}
        return {key: value for key, value in os.environ.items() if key not in left_out}

    def ssh_command(self, person: Person, *options: str) -> list[str]:
        return ["ssh", "-F", str(person.config), *options, "desk"]

    def ssh(
        self,
        person: Person,
        command: str | None,
        *options: str,
        stdin: bytes = b"",
        timeout: float = START,
        **environment: str,
    ) -> subprocess.CompletedProcess[bytes]:
        words = self.ssh_command(person, *options) + ([command] if command is not None else [])
        return subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            timeout=timeout,
            env={**self.env, **environment},
        )

    def ok(self, person: Person, command: str, *options: str, **more: Any) -> str:
        done = self.ssh(person, command, *options, **more)
        assert done.returncode == 0, (command, done)
        return done.stdout.decode()

    @contextmanager
    def terminal(self, person: Person) -> Iterator[Terminal]:
        """An interactive shell in the person's desktop, for as long as it is entered."""
        transcript = self.home / f"{person.name}.terminal"
        with transcript.open("wb") as out:
            process = subprocess.Popen(
                self.ssh_command(person, "-tt"),
                env=self.env,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
            )
        try:
            yield Terminal(process, transcript)
        finally:
            process.kill()
            process.communicate()

    # -- the engine, and the end
    def client(self) -> docker.DockerClient:
        return docker.DockerClient(base_url=self.engine, timeout=60)

    def label(self) -> str | None:
        """What all that the instance made carries; None for one that never ran."""
        if not (self.state / "desk.db").exists():
            return None
        with closing(sqlite3.connect(self.state / "desk.db")) as connection:
            found = connection.execute("select id from instance").fetchone()
        return f"desk.instance={found[0]}" if found else None

    def containers(self) -> dict[str, Any]:
        """Our containers by session id, helpers left out."""
        client = self.client()
        try:
            found = client.containers.list(
                all=True, ignore_removed=True, filters={"label": self.label()}
            )
            return {c.labels["desk.session"]: c for c in found if "desk.session" in c.labels}
        finally:
            client.close()

    def purge(self) -> None:
        self._end(signal.SIGTERM)
        label = self.label()
        if label is None:
            return
        client = docker.DockerClient(base_url=self.engine, timeout=60)
        try:
            for container in client.containers.list(
                all=True, ignore_removed=True, filters={"label": label}
            ):
                container.remove(force=True, v=True)
            for volume in client.volumes.list(filters={"label": label}):
                volume.remove(force=True)
            for network in client.networks.list(filters={"label": label}):
                network.remove()
        finally:
            client.close()
        self.remove_rules()

    def remove_rules(self) -> None:
        """As somebody on the host would take them away."""
        program = shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if program is not None:
            for family in ("inet", "bridge"):
                table = [family, self.rules]
                subprocess.run([program, "delete", "table", *table], capture_output=True)

    @property
    def rules(self) -> str:
        """The name of the tables of the instance's network."""
        label = self.label()
        assert label is not None
        return table_name(label.partition("=")[2])
