"""Broker and door as systemd starts them: sockets by number, a socket to tell that they are ready."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import asyncssh
import pytest

from broker.cli.client import Client
from broker.door.settings import DRAINED

PATIENCE, PATIENCE_WITH_STRANGERS = 30.0, 6.0

#: Hands on sockets as systemd does: from descriptor 3 on, and by the pid of whom they are for.
SYSTEMD = """
import os, sys
held, names = [int(one) for one in sys.argv[1].split(",") if one], sys.argv[2]
spare = [os.dup(one) for one in held]
high = [os.dup2(one, 100 + place) for place, one in enumerate(spare)]
for place, one in enumerate(high):
    os.dup2(one, 3 + place)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(held)), "LISTEN_FDNAMES": names}
os.execv(sys.executable, [sys.executable, "-P", "-m", "broker.cli.deskd", *sys.argv[3:]])
"""


class Supervisor:
    """Systemd's ear."""

    def __init__(self, path) -> None:
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(path))
        self.sock.settimeout(PATIENCE)

    def hear(self) -> str:
        return self.sock.recv(4096).decode()

    @contextmanager
    def start(self, sockets, *words):
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", SYSTEMD),
                ",".join(str(one.fileno()) for one in sockets.values()),
                ":".join(sockets),
                *map(str, words),
            ],
            pass_fds=[one.fileno() for one in sockets.values()],
            env={**os.environ, "NOTIFY_SOCKET": str(self.path)},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            process.stderr.close()


@pytest.fixture
def supervisor(tmp_path):
    made = Supervisor(tmp_path / "notify.sock")
    yield made
    made.sock.close()


@pytest.fixture
def ports():
    with (
        socket.create_server(("127.0.0.1", 0)) as ssh,
        socket.create_server(("127.0.0.1", 0)) as http,
    ):
        yield {"ssh": ssh, "http": http}


@pytest.fixture
def config(tmp_path, ports):
    """And a host key beside it."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    (tmp_path / "hostkey").write_bytes(key.export_private_key())
    file = tmp_path / "desk.yaml"
    ssh, http = ("{}:{}".format(*one.getsockname()) for one in ports.values())
    file.write_text(
        f"state: {tmp_path}/state\nssh: {{listen: '{ssh}'}}\nweb: {{listen: '{http}'}}\n"
        f"template: {{image: desk}}\nengine: {{socket: 'unix://{tmp_path}/engine.sock'}}\nlog: json\n"
    )
    return file


def door_words(config):
    folder = config.parent
    own = ("--host-key", folder / "hostkey", "--gateway", folder)
    return ("unit", "door", "1", "--config", config, *own)


def test_a_door_begins_drains_and_ends(supervisor, ports, config):
    """A socket that it shares goes on to hear who comes."""
    with supervisor.start(ports, *door_words(config)) as door:
        assert supervisor.hear() == "READY=1\nSTATUS=Lets people in"
        client = socket.create_connection(ports["ssh"].getsockname(), timeout=PATIENCE)
        assert client.recv(4) == b"SSH-"
        door.send_signal(signal.SIGUSR1)
        assert supervisor.hear() == "STATUS=Drains: another has taken its place"
        late = socket.create_connection(ports["ssh"].getsockname(), timeout=PATIENCE)
        client.close()
        assert supervisor.hear() == "STOPPING=1\nSTATUS=Stops"
        assert door.wait(PATIENCE) == DRAINED
    with supervisor.start(ports, *door_words(config)):
        assert supervisor.hear() == "READY=1\nSTATUS=Lets people in"
        assert late.recv(4) == b"SSH-"
    late.close()


def test_a_door_that_is_told_to_stop_is_followed(supervisor, ports, config):
    with supervisor.start(ports, *door_words(config)) as door:
        supervisor.hear()
        door.send_signal(signal.SIGTERM)
        assert supervisor.hear() == "STOPPING=1\nSTATUS=Stops"
        assert door.wait(PATIENCE) == 0


def refusal(process) -> str:
    assert process.wait(PATIENCE) != 0
    return process.stderr.read()


def test_a_door_without_its_sockets_says_what_it_is_for(supervisor, ports, config):
    with supervisor.start({"ssh": ports["ssh"]}, *door_words(config)) as door:
        assert refusal(door) == (
            "'deskd unit door' is for desk-door@.service, which gets its port from desk-web.socket:"
            " start that, or run 'deskd serve'. (state_unusable)\n"
        )


def test_a_port_that_the_configuration_does_not_name_is_refused(supervisor, ports, config):
    """By the configuration it may be spoken on in the clear, or not."""
    http = ports["http"].getsockname()[1]
    config.write_text(config.read_text().replace(f":{http}", ":8080"))
    with supervisor.start(ports, *door_words(config)) as door:
        assert refusal(door) == (
            f"web.listen: desk-web.socket listens on 127.0.0.1:{http}, and this says"
            " 127.0.0.1:8080; have both say the same ('systemctl edit desk-web.socket')."
            " (config)\n"
        )


@pytest.fixture
def gateway(tmp_path):
    with ExitStack() as stack:
        held = {}
        for name in ("gateway", "api", "admin"):
            held[name] = stack.enter_context(socket.socket(socket.AF_UNIX))
            held[name].bind(str(tmp_path / f"{name}.sock"))
            held[name].listen(16)
        yield held


def test_a_broker_without_its_socket_says_what_it_is_for(supervisor, config):
    with supervisor.start({}, "unit", "broker", "--config", config) as broker:
        assert refusal(broker) == (
            "'deskd unit broker' is for desk-broker.service, whose sockets it needs: start that, or"
            " run 'deskd serve'. (state_unusable)\n"
        )


def test_a_broker_without_a_user_for_doors_says_so(supervisor, gateway, config):
    """As where the package is not installed: and its doors' host key is made by then."""
    with supervisor.start(gateway, "unit", "broker", "--config", config) as broker:
        assert "There is no user desk-door: " in refusal(broker)
    assert (config.parent / "state" / "ssh_host_key").exists()


AS_IF = """
import os, pwd, sys
from broker.cli.deskd import main
pwd.getpwnam = lambda name: pwd.getpwuid(os.getuid())
main()
"""


def test_a_broker_has_the_state_to_itself_and_hears_no_stranger(
    supervisor, gateway, config, monkeypatch
):
    """Whoever is no unit's process is none of its doors, though it is of their user."""
    from tests.test_activated import SYSTEMD as program

    monkeypatch.setattr(
        "tests.test_activated.SYSTEMD",
        program.replace('"-m", "broker.cli.deskd"', f'"-c", {AS_IF!r}'),
    )
    folder = config.parent
    subprocess.run(
        [sys.executable, "-m", "broker.cli.deskd", "migrate", "--config", config],
        check=True,
        capture_output=True,
    )
    words = ("unit", "broker", "--config", config)
    with supervisor.start(gateway, *words) as broker:
        assert supervisor.hear() == "READY=1\nSTATUS=Hears front doors"
        with supervisor.start(gateway, *words) as second:
            assert f"another broker (process {broker.pid}) uses this state" in refusal(second)
        with socket.socket(socket.AF_UNIX) as stranger:
            # Who may come, and says nothing, is cut off as well, but in ten seconds.
            stranger.settimeout(PATIENCE_WITH_STRANGERS)
            stranger.connect(str(folder / "gateway.sock"))
            assert stranger.recv(1) == b""
        assert Client(folder / "admin.sock").call("GET", "/users")["items"] == []
        broker.send_signal(signal.SIGTERM)
        assert supervisor.hear() == "STOPPING=1\nSTATUS=Stops"
        assert broker.wait(PATIENCE) == 0
    shutil.rmtree(folder / "state")
