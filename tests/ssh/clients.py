"""Stock clients and what stands at their far ends: ssh, terminals, echo servers, relays."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import asyncssh

from tests.scratch import new_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .inner import InnerSshd

HOST = "127.0.0.1"
HELLO, BYE = b"hello\n", b"bye\n"
SPOKEN = b"hello\nABCbye\n"
"""What `talk` hears from an `Echo`."""

_COMPLAINTS = (
    "Traceback (most recent call last)",
    "exception was never retrieved",
    "was never awaited",
    "was destroyed but it is pending",
    "ResourceWarning",
)


def until(check: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait for a true value of `check`, and give it back."""
    deadline = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


def listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), 1).close()
    except OSError:
        return False
    return True


def environment(**more: str) -> dict[str, str]:
    """The environment of a client: no display, no agent, plain English."""
    kept = {k: v for k, v in os.environ.items() if k not in {"DISPLAY", "SSH_AUTH_SOCK"}}
    return {**kept, "LC_ALL": "C", **more}


# ------------------------------------------------------------------------------------ far ends


class Server:
    """A thread that accepts; `close` ends it and every connection that it made."""

    def __init__(self, path: Path | None = None) -> None:
        if path is None:
            self._listener = socket.create_server((HOST, 0), backlog=100)
            self.port = self._listener.getsockname()[1]
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            path.chmod(0o777)
            self._listener.listen(100)
        self.accepted = 0
        self._closing = False
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def _run(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.accepted += 1
                self._open.add(peer)
            self._run(self._serve, peer)

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self.serve(peer)
        self._drop(peer)

    def _drop(self, peer: socket.socket) -> None:
        with self._lock:
            self._open.discard(peer)
        with contextlib.suppress(OSError):
            peer.shutdown(socket.SHUT_RDWR)
        peer.close()

    def serve(self, peer: socket.socket) -> None:
        raise NotImplementedError

    @property
    def open(self) -> int:
        with self._lock:
            return len(self._open)

    def cut(self) -> None:
        """End every connection that stands now."""
        with self._lock:
            peers = list(self._open)
        for peer in peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Echo(Server):
    """Says hello first, gives back what it hears in capitals, says bye at the end."""

    def serve(self, peer: socket.socket) -> None:
        peer.sendall(HELLO)
        while data := peer.recv(65536):
            peer.sendall(data.upper())
        peer.sendall(BYE)


class Sink(Server):
    """Accepts and never reads."""

    def __init__(self) -> None:
        self._closed = threading.Event()
        super().__init__()

    def serve(self, peer: socket.socket) -> None:
        self._closed.wait()

    def close(self) -> None:
        self._closed.set()
        super().close()


class Relay(Server):
    """Passes each connection on to a port; counts them, cuts them, can chop them into crumbs."""

    def __init__(self, target: int, *, chop: int | None = None) -> None:
        self.target = target
        self.chop = chop
        self.ports: list[int] = []
        """Its own port of each connection, as the target sees it."""
        super().__init__()

    def serve(self, peer: socket.socket) -> None:
        far = socket.create_connection((HOST, self.target), 5)
        far.settimeout(None)
        for end in (peer, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self.ports.append(far.getsockname()[1])
            self._open.add(far)
        if self._closing:
            self._drop(far)
            return
        back = threading.Thread(target=self._pump, args=(far, peer), daemon=True)
        back.start()
        self._pump(peer, far)
        back.join()
        self._drop(far)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        dice = random.Random(self.chop)
        with contextlib.suppress(OSError):
            while data := source.recv(
                65536 if self.chop is None else dice.choice((1, 7, 300, 5000, 70000))
            ):
                if self.chop is None:
                    sink.sendall(data)
                    continue
                while data:
                    size = dice.choice((1, 3, 15, 16, 17, 36, 1000, 33000))
                    sink.sendall(data[:size])
                    data = data[size:]
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
            if self.chop is None and source.fileno() == -1:
                sink.shutdown(socket.SHUT_RDWR)


def talk(far: socket.socket, message: bytes = b"abc") -> bytes:
    """Say something, end the own half, hear all of the answer."""
    with far:
        far.settimeout(10)
        far.sendall(message)
        far.shutdown(socket.SHUT_WR)
        heard = b""
        while data := far.recv(65536):
            heard += data
        return heard


def talk_tcp(port: int, message: bytes = b"abc") -> bytes:
    return talk(socket.create_connection((HOST, port), 5), message)


def talk_unix(path: Path, message: bytes = b"abc") -> bytes:
    """The file is there a moment before anybody listens at it."""
    patience = time.monotonic() + 2
    while True:
        far = socket.socket(socket.AF_UNIX)
        try:
            far.connect(str(path))
        except OSError as error:
            far.close()
            if not isinstance(error, ConnectionRefusedError) or time.monotonic() > patience:
                raise
            time.sleep(0.01)
        else:
            return talk(far, message)


def talk_socks(port: int, target: int, message: bytes = b"abc") -> bytes:
    """By SOCKS 5 to the target's port, then as `talk`."""
    far = socket.create_connection((HOST, port), 5)
    far.settimeout(12)
    try:
        far.sendall(b"\5\1\0")
        assert far.recv(2) == b"\5\0"
        far.sendall(b"\5\1\0\1" + socket.inet_aton(HOST) + struct.pack(">H", target))
        answer = far.recv(10)
        assert answer[:2] == b"\5\0", answer
    except BaseException:
        far.close()
        raise
    return talk(far, message)


# -------------------------------------------------------------------------------------- clients


@dataclass(frozen=True)
class Run:
    status: int
    out: bytes
    err: bytes
    seconds: float


def run(
    argv: list[str],
    stdin: bytes | None = None,
    *,
    timeout: float = 40,
    env: dict[str, str] | None = None,
) -> Run:
    began = time.monotonic()
    done = subprocess.run(
        argv,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=timeout,
        env=env or environment(),
        check=False,
    )
    return Run(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


class Terminal:
    """A program on a terminal of its own, as a person sees it."""

    def __init__(self, argv: list[str], *, rows: int = 24, columns: int = 80) -> None:
        self.master, slave = os.openpty()
        self.resize(rows, columns)
        self.process = subprocess.Popen(
            ["setsid", "-c", *argv],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(TERM="xterm"),
        )
        os.close(slave)
        self.seen = b""
        self._from = 0

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text: bytes) -> None:
        os.write(self.master, text)

    def _read(self, seconds: float) -> bool:
        """Whether more can come."""
        if not select.select([self.master], [], [], max(seconds, 0))[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.seen += data
        return bool(data)

    def expect(self, pattern: bytes, seconds: float = 10) -> re.Match[bytes]:
        """Wait for the pattern in what came since the last match."""
        deadline = time.monotonic() + seconds
        more = True
        while True:
            if found := re.compile(pattern).search(self.seen, self._from):
                self._from = found.end()
                return found
            if not more or time.monotonic() > deadline:
                raise AssertionError(f"{pattern!r} not seen after {self.seen[self._from :]!r}")
            more = self._read(min(0.2, deadline - time.monotonic()))

    def wait(self, seconds: float = 10) -> int:
        """Its exit status, its output read to the end."""
        deadline = time.monotonic() + seconds
        while self._read(0.2):
            if time.monotonic() > deadline:
                raise AssertionError(f"still there after {seconds} s: {self.seen!r}")
            if self.process.poll() is not None:
                while select.select([self.master], [], [], 0)[0] and self._read(0):
                    pass
                break
        return self.process.wait(max(deadline - time.monotonic(), 0.1))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(5)
        os.close(self.master)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# ----------------------------------------------------------------------------------- the door


def _path() -> str:
    """Where the door's process finds the project, installed or not."""
    root = str(Path(__file__).parents[2])
    return os.pathsep.join([root, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]).rstrip(":")


class DoorProcess:
    """A door in a process of its own, with its gateway under our orders."""

    def __init__(
        self, inner: InnerSshd, *, fast: bool, limits: dict[str, Any] | None = None
    ) -> None:
        self.inner = inner
        self.fast = fast
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._seen = 0
        self._closed = False
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("serve.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(PYTHONWARNINGS="default", PYTHONPATH=_path()),
            start_new_session=True,
        )
        self._lock = threading.Lock()
        self._buffer = b""
        try:
            self.port = self._begin(limits or {})
        except BaseException:
            self.close()
            raise

    def _begin(self, limits: dict[str, Any]) -> int:
        inner = self.inner
        answer = self._ask(
            {
                "inner": {
                    "port": inner.port,
                    "user": "desk",
                    "host_key": inner.host_key,
                    "client_key": inner.client_key,
                },
                "host_key": self.host_key.export_private_key().decode(),
                "fast": self.fast,
                "limits": limits,
            }
        )
        return int(answer["port"])

    def _ask(self, order: dict[str, Any]) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with self._lock:
            try:
                self.process.stdin.write(json.dumps(order).encode() + b"\n")
                self.process.stdin.flush()
                deadline = time.monotonic() + 20
                while b"\n" not in self._buffer:
                    left = deadline - time.monotonic()
                    if left < 0 or not select.select([self.process.stdout], [], [], left)[0]:
                        raise AssertionError(f"the door does not answer; it wrote: {self.errors()}")
                    data = os.read(self.process.stdout.fileno(), 1 << 20)
                    if not data:
                        raise AssertionError(f"the door is gone; it wrote: {self.errors()}")
                    self._buffer += data
            except BrokenPipeError as lost:
                raise AssertionError(f"the door is gone; it wrote: {self.errors()}") from lost
            line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def do(self, what: str, **order: Any) -> Any:
        return self._ask({"do": what, **order})

    def errors(self) -> str:
        """All that it wrote to stderr."""
        with os.fdopen(os.dup(self._errors.fileno()), "rb") as copy:
            return os.pread(copy.fileno(), 1 << 24, 0).decode(errors="replace")

    def complaints(self) -> str:
        """What it wrote since the last call, if a traceback or its like is in it."""
        if self.process.poll() is None:
            with contextlib.suppress(AssertionError, ValueError):
                self.do("settle")
        wrote = self.errors()
        fresh, self._seen = wrote[self._seen :], len(wrote)
        return fresh if any(text in fresh for text in _COMPLAINTS) else ""

    def memory(self) -> int:
        """Its resident bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) << 10  # type: ignore[index]

    def close(self) -> str:
        """End it as a door ends; what it complains about while it does is the answer; once."""
        if self._closed:
            return ""
        self._closed = True
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        complaint = self.complaints()
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait(5)
        self.process.stdout.close()
        complaint += self.complaints()
        if status != 0:
            complaint += f"the door's process ended with {status}: {self.errors()[-4000:]}"
        self._errors.close()
        return complaint


class Person:
    """A user of a door, with a key and a folder, and every way in."""

    def __init__(self, door: DoorProcess, name: str, *, keys: int = 1) -> None:
        self.door = door
        self.name = name
        self.inner = door.inner
        self.folder = new_directory()
        self.env = environment()
        self.keys = [
            asyncssh.generate_private_key("ssh-ed25519", comment=name) for _ in range(keys)
        ]
        self.key_file = self.folder / "id"
        self.key_file.touch(0o600)
        self.key_file.write_bytes(self.keys[0].export_private_key())
        (self.folder / "id.pub").write_bytes(self.keys[0].export_public_key())
        host_key = door.host_key.export_public_key().decode().strip()
        self.known_hosts = self.folder / "known_hosts"
        self.known_hosts.write_text(f"[{HOST}]:{door.port} {host_key}\n")
        self.config = self.folder / "config"
        self.write_config(door.port)
        self._started: list[subprocess.Popen[bytes]] = []
        door.do("add", user=name, fingerprints=[key.get_fingerprint() for key in self.keys])

    def write_config(self, port: int) -> None:
        self.config.write_text(
            f"""Host desk
  HostName {HOST}
  Port {port}
  HostKeyAlias [{HOST}]:{self.door.port}
  User desk
  IdentityFile {self.key_file}
  IdentitiesOnly yes
  PreferredAuthentications publickey
  BatchMode yes
  StrictHostKeyChecking yes
  UserKnownHostsFile {self.known_hosts}
  GlobalKnownHostsFile /dev/null
  UpdateHostKeys no
  LogLevel ERROR
"""
        )

    # -- ssh
    @property
    def argv(self) -> list[str]:
        return ["ssh", "-F", str(self.config)]

    def ssh(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        timeout: float = 40,
        env: dict[str, str] | None = None,
    ) -> Run:
        """`ssh OPTIONS desk COMMAND`: what starts with a dash, and what follows one, are options."""
        return run([*self.argv, *_placed(arguments)], stdin, timeout=timeout, env=env or self.env)

    def beside(self) -> list[str]:
        """`ssh inner`: to the inner sshd itself, past the door."""
        key = self.folder / "inner"
        key.touch(0o600)
        key.write_text(self.inner.client_key)
        config = self.folder / "beside"
        config.write_text(
            f"""{self.config.read_text()}
Host inner
  HostName {HOST}
  Port {self.inner.port}
  User desk
  IdentityFile {key}
  IdentitiesOnly yes
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
"""
        )
        return ["ssh", "-F", str(config), "inner"]

    def asyncssh(self, **options: Any) -> Any:
        """A connection of asyncssh, to be entered."""
        settings = {
            "username": "desk",
            "client_keys": [str(self.key_file)],
            "known_hosts": str(self.known_hosts),
            "config": None,
            "agent_path": None,
        }
        return asyncssh.connect(HOST, self.door.port, **settings | options)

    def start(
        self, *arguments: str, env: dict[str, str] | None = None, argv: list[str] | None = None
    ) -> subprocess.Popen[bytes]:
        """The same in the background, ended with the test."""
        process = subprocess.Popen(
            argv or [*self.argv, *_placed(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env or self.env,
        )
        self._started.append(process)
        return process

    def attached(self, *options: str, then: str = "cat") -> subprocess.Popen[bytes]:
        """A command in the background that runs by now; what it wrote to say so is read."""
        process = self.start(*options, f"echo up; {then}")
        assert process.stdout is not None
        assert process.stdout.readline().rstrip() == b"up"
        return process

    def terminal(self, *arguments: str, **size: int) -> Terminal:
        return Terminal([*self.argv, *_placed(arguments or ("-tt",))], **size)

    @contextlib.contextmanager
    def forwarding(
        self, *options: str, port: int | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """`ssh -N OPTIONS desk`, with the port listening."""
        process = self.start("-o", "ExitOnForwardFailure=yes", "-N", *options)
        try:
            if port is not None:
                until(lambda: listens(port), 10, f"{options} listens")
            yield process
        finally:
            end(process)

    # -- the gateway
    def plan(self, **changes: Any) -> None:
        self.door.do("plan", user=self.name, **changes)

    def calls(self, *kinds: str) -> list[dict[str, Any]]:
        """What the gateway was asked about this person."""
        calls = self.door.do("calls")
        mine = {
            call["id"] for call in calls if call["call"] == "attached" and call["user"] == self.name
        }
        return [
            call
            for call in calls
            if (not kinds or call["call"] in kinds)
            and (call["user"] == self.name or call.get("id") in mine)
        ]

    def through(self, relay: Relay) -> None:
        """Let the door reach this person's desktop by the relay alone."""
        self.plan(endpoints=[[HOST, relay.port]])

    def close(self) -> None:
        for process in self._started:
            end(process)
        shutil.rmtree(self.folder, ignore_errors=True)


_WITH_VALUE = frozenset(f"-{letter}" for letter in "bcDEeFIiJLlmOopQRSWw")
"""The options of ssh that take a value."""


def _placed(arguments: tuple[str, ...]) -> list[str]:
    """The host put between the options and the command."""
    at = 0
    while at < len(arguments) and arguments[at].startswith("-"):
        at += 2 if arguments[at] in _WITH_VALUE else 1
    return [*arguments[:at], "desk", *arguments[at:]]


def end(process: subprocess.Popen[bytes], seconds: float = 5) -> int:
    """Terminate a client and close its pipes."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    return process.wait(5)


def stopped(process: subprocess.Popen[bytes]) -> bool:
    state = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return state == "T"


@contextlib.contextmanager
def frozen(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """The client stands still meanwhile."""
    process.send_signal(signal.SIGSTOP)
    until(lambda: stopped(process), 5, "the client stands still")
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)
