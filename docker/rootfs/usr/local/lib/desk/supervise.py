"""Keep a few programs running: start them in order, start again what dies, keep their words bounded."""

import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

LOG_DIRECTORY = "/run/log/desk"
LOG_BYTES = 256 * 1024
FIRST_DELAY, LONGEST_DELAY = 0.1, 30.0
STEADY_SECONDS = 30.0
STOP_SECONDS = 3.0
NOTIFY_FD = 3


def say(text: str) -> None:
    """One line for the container's log."""
    with suppress(OSError):
        os.write(1, f"{text}\n".encode())


class BoundedLog:
    """A log that keeps its last words: one file and its predecessor, each of at most LOG_BYTES."""

    def __init__(self, name: str) -> None:
        self.path = f"{LOG_DIRECTORY}/{name}.log"
        self.size = 0
        self.fd = -1

    def write(self, data: bytes) -> None:
        """Append; a log that cannot be written is no reason to stop anything."""
        with suppress(OSError):
            if self.fd < 0 or self.size + len(data) > LOG_BYTES:
                self._turn()
            self.size += os.write(self.fd, data)

    def _turn(self) -> None:
        os.makedirs(LOG_DIRECTORY, exist_ok=True)
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if os.path.exists(self.path):
            os.replace(self.path, f"{self.path}.1")
        self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
        self.size = 0


@dataclass
class Service:
    """A program that is to run always. One that notifies is ready once it has written to NOTIFY_FD."""

    name: str
    command: list[str]
    env: Mapping[str, str]
    needs: tuple[str, ...] = ()
    notifies: bool = False
    umask: int = 0o077
    before: Callable[[], None] = lambda: None

    pid: int = field(default=0, init=False)
    ready: bool = field(default=False, init=False)
    started: float = field(default=0.0, init=False)
    delay: float = field(default=FIRST_DELAY, init=False)
    not_before: float = field(default=0.0, init=False)
    kill_at: float = field(default=0.0, init=False)


class Supervisor:
    """Runs services until SIGTERM or SIGINT. What a lost service was needed by is started anew after it."""

    def __init__(
        self,
        services: Iterable[Service],
        before_stop: Callable[[dict[str, int]], None] | None = None,
    ) -> None:
        self.services = {service.name: service for service in services}
        self.logs = {name: BoundedLog(name) for name in self.services}
        self.before_stop = before_stop
        self.stopping = False
        self.selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Serve until told to stop."""
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(self, "stopping", True))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.selector.register(woken, selectors.EVENT_READ, lambda: os.read(woken, 512))
        while not self.stopping:
            self._start_due()
            self._turn(self._pause())
        self._stop_all()

    def _turn(self, timeout: float | None) -> None:
        for key, _ in self.selector.select(timeout):
            key.data()
        self._reap()
        self._kill_overdue()

    def _pause(self) -> float | None:
        now = time.monotonic()
        waiting = [s.not_before for s in self.services.values() if not s.pid and self._needs_met(s)]
        waiting += [s.kill_at for s in self.services.values() if s.pid and s.kill_at]
        return max(0.0, min(waiting) - now) if waiting else None

    def _needs_met(self, service: Service) -> bool:
        return all(self.services[name].ready for name in service.needs)

    def _start_due(self) -> None:
        now = time.monotonic()
        for service in self.services.values():
            if not service.pid and service.not_before <= now and self._needs_met(service):
                self._start(service)

    def _start(self, service: Service) -> None:
        output = self._pipe(self.logs[service.name].write)
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ]
        opened = [output]
        if service.notifies:
            opened.append(self._pipe(lambda _: self._mark_ready(service, pid)))
            actions.append((os.POSIX_SPAWN_DUP2, opened[-1], NOTIFY_FD))
        service.started = time.monotonic()
        previous = os.umask(service.umask)
        pid = 0
        try:
            service.before()
            pid = os.posix_spawn(
                service.command[0], service.command, dict(service.env),
                file_actions=actions, setsid=True, setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT),
            )  # fmt: skip
        except OSError as error:
            say(f"desk: {service.name} cannot start: {error}")
            self._back_off(service)
        finally:
            os.umask(previous)
            for fd in opened:
                os.close(fd)
        service.pid = pid
        service.ready = bool(pid) and not service.notifies

    def _pipe(self, receive: Callable[[bytes], None]) -> int:
        """The writing end of a pipe whose data goes to `receive`."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reader, False)

        def readable() -> None:
            data = os.read(reader, 65536)
            if data:
                receive(data)
            else:
                self.selector.unregister(reader)
                os.close(reader)

        self.selector.register(reader, selectors.EVENT_READ, readable)
        return writer

    def _mark_ready(self, service: Service, pid: int) -> None:
        if service.pid == pid:
            service.ready = True

    def _back_off(self, service: Service) -> None:
        now = time.monotonic()
        if now - service.started >= STEADY_SECONDS:
            service.delay = FIRST_DELAY
        service.not_before = now + service.delay
        service.delay = min(service.delay * 2, LONGEST_DELAY)

    def _reap(self) -> None:
        """Collect the dead: ours, and as process 1 those that others left behind."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for service in self.services.values():
                if service.pid == pid:
                    self._lost(service, status)

    def _lost(self, service: Service, status: int) -> None:
        asked = bool(service.kill_at)
        service.pid, service.ready, service.kill_at = 0, False, 0.0
        if self.stopping:
            return
        if asked:
            service.not_before = 0.0
        else:
            self._back_off(service)
            code = os.waitstatus_to_exitcode(status)
            how = f"by signal {-code}" if code < 0 else f"with status {code}"
            say(f"desk: {service.name} ended {how}; starting it again")
        for other in self.services.values():
            if service.name in other.needs and other.pid:
                self._end(other)

    def _end(self, service: Service) -> None:
        if not service.kill_at:
            service.kill_at = time.monotonic() + STOP_SECONDS
            service.ready = False
            self._signal(service, signal.SIGTERM)

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for service in self.services.values():
            if service.pid and service.kill_at and service.kill_at <= now:
                service.kill_at = now + STOP_SECONDS
                self._signal(service, signal.SIGKILL)

    def _signal(self, service: Service, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(service.pid, number)

    def _stop_all(self) -> None:
        if self.before_stop:
            self.before_stop({service.name: service.pid for service in self.services.values()})
        for service in self.services.values():
            if service.pid:
                self._end(service)
        deadline = time.monotonic() + STOP_SECONDS
        while any(s.pid for s in self.services.values()) and time.monotonic() < deadline:
            self._turn(0.1)
