"""A front door as a process: what it is told, what it says, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import asyncssh
import pytest

from broker.config import WebConfig
from broker.core.messages import PROTOCOL
from broker.door.limits import Limits
from broker.door.settings import DRAIN, DRAINED, Settings, environment
from broker.door.websettings import WebSettings

PATIENCE = 20.0

#: A door whose gateway fails as soon as a file is there.
FAILING = """
import asyncio, pathlib, sys
from broker.door import worker

async def run(self, door):
    while not pathlib.Path(sys.argv[1]).exists():
        await asyncio.sleep(0.02)
    raise RuntimeError("the gateway is broken")

worker.RemoteGateway.run = run
worker.main()
"""

#: A door whose broker is there, and never says where a browser may sit.
SEATLESS = """
import asyncio
from broker.door import worker

async def wait(self, *words, **more):
    await asyncio.Event().wait()

worker.RemoteGateway.run = worker.RemoteGateway.seat = wait
worker.main()
"""


@pytest.fixture
def settings(tmp_path):
    """Of a door in a directory without a broker, and its port."""
    with ExitStack() as stack:
        ssh, http = (stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))
        way = os.open(tmp_path, os.O_PATH)
        stack.callback(os.close, way)
        key = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
        told = Settings(
            name="door 1",
            parent=os.getpid(),
            uid=None,
            ssh=ssh.fileno(),
            http=http.fileno(),
            gateway=way,
            host_key=key,
            fast=True,
            patience=5.0,
            drain=60.0,
            log="json",
            log_level="info",
            limits=Limits(),
            web=WebSettings.of(WebConfig()),
            tls=None,
        )
        yield told, ssh.getsockname()


@contextmanager
def door(told: bytes, descriptors, *program: str):
    process = subprocess.Popen(
        [sys.executable, *program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=descriptors,
        env=environment(os.environ),
    )
    try:
        process.stdin.write(told)
        process.stdin.close()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def test_a_door_that_loses_its_gateway_says_goodbye(settings, tmp_path):
    """It could let nobody in any more: its clients are told, and its parent starts another."""
    told, address = settings
    over = tmp_path / "over"
    descriptors = (told.ssh, told.http, told.gateway)
    with door(told.write(), descriptors, "-c", FAILING, str(over)) as process:
        assert process.stdout.readline() == f"ready {PROTOCOL}\n".encode()
        with socket.create_connection(address, timeout=PATIENCE) as client:
            assert client.recv(3) == b"SSH"
            over.touch()
            heard = b"".join(iter(lambda: client.recv(4096), b""))
        assert b"the front door is restarting" in heard
        assert process.wait(PATIENCE) == 1
        assert b"the gateway is broken" in process.stderr.read()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (DRAIN, DRAINED)])
def test_a_door_that_leaves_sends_browsers_away(settings, number, status):
    """By the code after which their pages come back, to another door."""
    told, _ = settings
    descriptors = (told.ssh, told.http, told.gateway)
    with socket.socket(fileno=os.dup(told.http)) as listener:
        host, port = listener.getsockname()
    with door(told.write(), descriptors, "-c", SEATLESS) as process:
        assert process.stdout.readline() == f"ready {PROTOCOL}\n".encode()
        with socket.create_connection((host, port), timeout=PATIENCE) as page:
            page.sendall(
                f"GET /ws/guest/screen HTTP/1.1\r\nHost: {host}:{port}\r\n"
                f"Origin: http://{host}:{port}\r\nCookie: desk-guest=g\r\n"
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: {'A' * 22}==\r\n\r\n".encode()
            )
            assert page.recv(4096).startswith(b"HTTP/1.1 101")
            process.send_signal(number)
            closing = page.recv(4096)
            assert (closing[0], int.from_bytes(closing[2:4], "big")) == (0x88, 1012)
        assert process.wait(PATIENCE) == status
        assert b"Traceback" not in process.stderr.read()


def test_a_door_of_another_version_than_its_parent_says_so(settings):
    """In one sentence, whatever it is that it was not told or does not know."""
    told, _ = settings
    for changed in ({"parent": None}, {"more": 1}):
        spoilt = {**json.loads(told.write()), **changed}
        text = json.dumps(
            {name: one for name, one in spoilt.items() if one is not None or name == "uid"}
        )
        with door(text.encode(), (), "-m", "broker.door.worker") as process:
            assert process.wait(PATIENCE) == 1
            assert process.stderr.read().decode() == (
                "This front door is of another version than the 'deskd serve' that started it:"
                " stop Desk and start it. (state_unusable)\n"
            )


def test_what_is_written_is_read(settings):
    """Whatever a value is."""
    told, _ = settings
    for one in (told, replace(told, uid=2_000_100_000, limits=Limits(unauthenticated=500))):
        assert Settings.read(one.write()) == one


def test_a_door_has_of_its_parents_environment_what_it_needs_to_run():
    """No agent, no engine, no credential, nothing of the service manager's."""
    kept = {
        "PATH": "/usr/bin",
        "LANG": "C.UTF-8",
        "LC_TIME": "C",
        "TZ": "UTC",
        "PYTHONPATH": "/opt/desk",
        "LD_LIBRARY_PATH": "/opt/python/lib",
        "NO_COLOR": "1",
    }
    secret = (
        *("DOCKER_HOST", "DOCKER_CERT_PATH", "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY"),
        *("SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "DESK_CONFIG"),
        *("AWS_SECRET_ACCESS_KEY", "LISTEN_FDS", "LD_PRELOAD", "INVOCATION_ID"),
    )
    whole = {**kept, **dict.fromkeys(secret, "x"), "HOME": "/root", "LOGNAME": "root"}
    assert environment(whole) == {**kept, "HOME": "/", "LOGNAME": "desk-door"}
