"""The broker as a process in the background: started, waited for, stopped."""

from __future__ import annotations

import errno
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from broker.core.errors import Conflict, StateUnusable
from broker.system.lock import holder_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from broker.cli.up_place import Place
    from broker.config import Config, Listen, WebConfig

#: Until something answers at all: longer than the parent waits for a child that is not ready, for
#: then it ends itself and its log tells why.
ANSWER_SECONDS = 130
#: From then on, until it is well.
READY_SECONDS = 30
#: Longer than the parent gives its doors to say goodbye and then its broker for starts under way:
#: a parent that is killed takes them with it in the middle of that.
STOP_SECONDS = 30
LOG_BYTES = 10 << 20
LOG_LINES = 15

#: Nothing of the caller's session belongs into a daemon.
_DROPPED = ("MAKE", "MFLAGS", "SUDO_", "SSH_", "DISPLAY", "XAUTHORITY", "DBUS_")


def running(place: Place) -> int | None:
    """The pid of this state's broker."""
    try:
        return holder_of(place.lock)
    except PermissionError as error:
        raise StateUnusable(
            public=f"{place.state}: this state is another user's; run make as that user, or with sudo."
        ) from error


def demand_free_ports(config: Config, place: Place, *, besides: Collection[Listen] = ()) -> None:
    """Raises `Conflict` naming each port that is not to be had, and the whole command to type
    instead: a part of it would mean another instance.
    """
    told, settings = [], []
    used = {config.ssh.listen.port, config.web.listen.port}
    for listen, variable, asked in (
        (config.ssh.listen, "SSH_PORT", place.ssh_port),
        (config.web.listen, "HTTP_PORT", place.http_port),
    ):
        reason = None if listen in besides else _taken(listen)
        if reason is not None:
            told.append(f"Port {listen.port} {reason}. ")
            settings.append(f" {variable}={suggested(listen, besides=used)}")
        elif asked is not None:
            settings.append(f" {variable}={asked}")
    if told:
        other = "another one" if len(told) == 1 else "others"
        command = f"{place.make} up{place.settings}{''.join(settings)}"
        raise Conflict(public=f"{''.join(told)}Set {other}: {command}")


def _taken(listen: Listen) -> str | None:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen.host, listen.port))
            probe.listen(1)
        except OSError as error:
            match error.errno:
                case errno.EADDRINUSE:
                    return "is in use by something else on this machine"
                case errno.EACCES:
                    return "may only be opened by root"
                case _:
                    return f"at {listen.host} cannot be opened ({error.strerror})"
    return None


def suggested(listen: Listen, *, besides: Collection[int] = ()) -> int:
    """A free port near the one that is taken."""
    near = range(listen.port + 1, min(listen.port + 100, 65536))
    for port in (port for port in near if port >= 1024 and port not in besides):
        if _taken(listen.model_copy(update={"port": port})) is None:
            return port
    return listen.port + 20 if listen.port >= 1024 else listen.port + 2200


def migrate(place: Place) -> None:
    """Bring the state to this version. Raises `StateUnusable` with the command's own words."""
    done = subprocess.run(
        _deskd("migrate", place),
        check=False,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        words = (done.stderr + done.stdout).strip()
        raise StateUnusable(public=f"The state could not be brought to this version.\n{words}")


def start(place: Place, web: WebConfig) -> int:
    """Start the broker and wait until it is ready; returns its pid. Whatever goes wrong, nothing is
    left running. Raises `StateUnusable` with the end of its log.
    """
    log = _open_log(place.log)
    begun = os.fstat(log).st_size
    try:
        process = subprocess.Popen(
            _deskd("serve", place),
            cwd="/",
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            umask=0o077,
        )
    finally:
        os.close(log)
    try:
        return _await_ready(place, web, process, begun)
    except BaseException:
        _end(process)
        raise


def _await_ready(place: Place, web: WebConfig, process: subprocess.Popen[bytes], begun: int) -> int:
    patience, answered = ANSWER_SECONDS, False
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise _not_up(f"The broker ended at once (status {process.returncode})", place, begun)
        status, _ = _readiness(web)
        if status == HTTPStatus.OK:
            # It outlives this process: what waits for it is init.
            process.returncode = 0
            return process.pid
        if status and not answered:
            patience, answered = READY_SECONDS, True
            deadline = time.monotonic() + patience
        time.sleep(0.1)
    raise _not_up(f"The broker was not ready within {patience} seconds", place, begun)


def _not_up(what: str, place: Place, begun: int) -> StateUnusable:
    return StateUnusable(
        public=f"{what}; nothing runs. The end of {place.log}:\n{tail(place.log, begun)}"
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def ready(web: WebConfig) -> bool:
    """Whether the broker behind that port says that it is ready."""
    return _readiness(web)[0] == HTTPStatus.OK


def warnings(web: WebConfig) -> list[str]:
    """What the broker behind that port says that does not keep it from serving."""
    try:
        told = json.loads(_readiness(web)[1])
        return [told["checks"][name] for name in told["warnings"]]
    except (ValueError, LookupError, TypeError):
        return []


def _readiness(web: WebConfig) -> tuple[int, bytes]:
    host, port = web.listen.host, web.listen.port
    if web.tls.files is None:
        connection = http.client.HTTPConnection(host, port, timeout=2)
    else:
        # The certificate is for a name, and this is the host itself.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=2, context=context)
    try:
        connection.request("GET", "/readyz")
        reply = connection.getresponse()
        return reply.status, reply.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def stop(place: Place) -> int | None:
    """Stop this state's broker, wait until it is gone, return the pid that it had. Desktops are
    left running. Raises `StateUnusable` when it does not stop.
    """
    pid = running(place)
    if pid is None:
        return None
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return pid
    except PermissionError as error:
        raise StateUnusable(
            public=f"The broker (process {pid}) is another user's: run this as that user, or with sudo."
        ) from error
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        if running(place) is None:
            return pid
        time.sleep(0.1)
    raise StateUnusable(
        public=f"The broker (process {pid}) did not stop within {STOP_SECONDS} seconds;"
        f" see {place.log}."
    )


def tail(log: Path, begun: int) -> str:
    """The last lines that were written from the byte `begun` on."""
    with log.open("rb") as file:
        file.seek(max(begun, file.seek(0, os.SEEK_END) - 16384))
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-LOG_LINES:]) or "  (it said nothing)"


def _open_log(path: Path) -> int:
    """Bounded: what the broker said before goes to one older file when it is large."""
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _deskd(command: str, place: Place) -> list[str]:
    program = Path(sys.prefix) / "bin/deskd"
    return [str(program), command, "--config", str(place.config)]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_DROPPED)}
