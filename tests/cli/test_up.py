"""`make up`: the parts of it that need no engine and no broker."""

from __future__ import annotations

import http.server
import itertools
import json
import os
import signal
import socket
import socketserver
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
from click.testing import CliRunner

from broker import parent
from broker.cli import (
    up,
    up_api,
    up_config,
    up_daemon,
    up_keys,
    up_lines,
    up_memory,
    up_place,
    up_purge,
)
from broker.config import Listen, WebConfig, parse
from broker.config.web import TlsConfig
from broker.core.errors import ConfigError, Conflict, StateUnusable
from broker.core.model import user_name
from broker.system import children
from broker.system.fakenft import FakeFilter
from broker.system.lock import StateLock
from broker.system.tls import server_context
from tests.door.certificates import certificate

ENGINE = "unix:///run/engine.sock"


@pytest.fixture
def place(tmp_path):
    caller = up_place.Caller(
        login="ada", uid=os.geteuid(), gid=os.getegid(), home=tmp_path / "home"
    )
    (tmp_path / "state").mkdir()
    return up_place.Place(state=tmp_path / "state", caller=caller)


def at(place, **ports):
    return up_place.Place(state=place.state, caller=place.caller, **ports)


def config_of(place, **ports):
    return parse(up_config.first(at(place, **ports), engine=ENGINE, image="desk:1"), "x")


def free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# ------------------------------------------------------------------------------- caller, place


@pytest.mark.parametrize(
    ("login", "user"),
    [
        ("ada", "ada"),
        ("Ada.Lovelace", "ada-lovelace"),
        ("CORP\\ada", "ada"),
        ("ada@corp.example", "ada"),
        ("42ada", "ada"),
        ("_apt", "apt"),
        ("root", "operator"),
        ("desk", "operator"),
        ("admin", "operator"),
        ("invite", "operator"),
        ("", "operator"),
        ("1234", "operator"),
        ("é", "operator"),
        ("a" * 40, "a" * 31),
    ],
)
def test_every_login_becomes_a_user_name_that_desk_takes(login, user):
    assert up_place.user_of(login) == user
    assert user_name(up_place.user_of(login)) == user


def test_behind_sudo_the_caller_is_the_one_who_typed_it(monkeypatch):
    monkeypatch.setenv("SUDO_USER", "nobody")
    caller = up_place.find_caller()
    assert caller.login == "nobody"
    assert caller.elevated == (os.geteuid() != caller.uid)


def test_a_sudo_user_that_is_not_known_here_is_not_believed(monkeypatch):
    monkeypatch.setenv("SUDO_USER", "no-such-person")
    assert up_place.find_caller().uid == os.geteuid()


def test_what_the_caller_must_read_lies_in_their_home_behind_sudo(place, tmp_path):
    caller = up_place.Caller(login="ada", uid=os.geteuid() + 1, gid=1, home=tmp_path / "home")
    elevated = up_place.Place(state=place.state, caller=caller)
    assert elevated.known_hosts.is_relative_to(tmp_path / "home")
    assert place.known_hosts.parent == place.state


def test_a_directory_with_other_things_in_it_is_no_state(place):
    (place.state / "thesis.tex").touch()
    with pytest.raises(StateUnusable, match="holds other things"):
        up_place.prepare(place)
    assert place.state.stat().st_mode & 0o777 != 0o700


def test_a_new_state_is_private(tmp_path, place):
    fresh = up_place.Place(state=tmp_path / "a/b", caller=place.caller)
    up_place.prepare(fresh)
    up_place.prepare(fresh)
    assert fresh.state.stat().st_mode & 0o777 == 0o700


def test_a_path_too_long_for_sockets_is_refused_at_once(tmp_path, place):
    long = up_place.Place(state=tmp_path / ("x" * 100), caller=place.caller)
    with pytest.raises(StateUnusable, match="too long"):
        up_place.prepare(long)
    assert not long.state.exists()


# -------------------------------------------------------------------------------- configuration


def test_the_first_configuration_says_what_was_asked_for(place):
    config = config_of(place, ssh_port=2345, http_port=8081)
    assert (str(config.ssh.listen), str(config.web.listen)) == ("0.0.0.0:2345", "127.0.0.1:8081")
    assert (config.state, config.engine.socket) == (place.state, ENGINE)
    assert config.template.image == "desk:1"


def test_a_state_path_with_a_space_is_quoted(tmp_path, place):
    spaced = up_place.Place(state=tmp_path / "a b", caller=place.caller)
    text = up_config.first(spaced, engine=ENGINE, image="desk:1")
    assert up_config.checked(text, spaced).state == spaced.state


def test_asking_for_other_ports_changes_them_alone_and_tells(place):
    before = up_config.first(place, engine=ENGINE, image="desk:1") + "# mine\n"
    after, told = up_config.with_ports(before, at(place, ssh_port=2300))
    assert after == before.replace("0.0.0.0:2222", "0.0.0.0:2300")
    assert told == ["ssh.listen: 0.0.0.0:2222 -> 0.0.0.0:2300, as asked for."]


def test_without_asking_the_file_keeps_its_ports(place):
    text = up_config.first(at(place, ssh_port=2300), engine=ENGINE, image="desk:1")
    assert up_config.with_ports(text, place) == (text, [])


def test_an_address_that_the_admin_set_stays_when_the_port_moves(place):
    text = up_config.first(place, engine=ENGINE, image="desk:1")
    text = text.replace("0.0.0.0:2222", "10.0.0.1:2222")
    after, _ = up_config.with_ports(text, at(place, ssh_port=22))
    assert up_config.checked(after, place).ssh.listen == Listen(host="10.0.0.1", port=22)


@pytest.mark.parametrize(
    "ssh",
    [
        "",
        "ssh: {}\n",
        "ssh:\n  # slow\n  fast: false\n",
        "ssh: {fast: false}\n",
        'ssh:\n  listen: "0.0.0.0:2222" # here\n',
        "ssh:\n  listen:\n    host: 0.0.0.0\n    port: 2222\n",
    ],
)
def test_a_port_can_be_set_however_the_admin_wrote_the_section(place, ssh):
    text = f"# top\nstate: {place.state}\n{ssh}template: {{image: a}}\n# end\n"
    after, _ = up_config.with_ports(text, at(place, ssh_port=2300))
    config = up_config.checked(after, place)
    assert config.ssh.listen.port == 2300
    assert config.ssh.fast == ("false" not in ssh)
    assert after.startswith("# top\n")
    assert "# end\n" in after


def test_a_new_build_moves_the_image_that_make_up_wrote(place):
    text = up_config.first(place, engine=ENGINE, image="desk:1")
    after, told = up_config.with_image(text, "desk:2", up_memory.Memory(image="desk:1"))
    assert parse(after, "x").template.image == "desk:2"
    assert "desk:1 -> desk:2" in told[0]


@pytest.mark.parametrize("wrote", ["desk:1", None])
def test_an_image_that_the_admin_set_is_never_moved(place, wrote):
    text = up_config.first(place, engine=ENGINE, image="mine:7")
    assert up_config.with_image(text, "desk:2", up_memory.Memory(image=wrote)) == (text, [])


def test_an_engine_that_the_admin_named_is_never_exchanged(place):
    text = up_config.first(place, engine=ENGINE, image="desk:1")
    with pytest.raises(ConfigError, match="no engine answers") as caught:
        up_config.with_engine(text, "unix:///other.sock", up_memory.Memory(), has_desktops=False)
    assert ENGINE in caught.value.public
    moved, told = up_config.with_engine(
        text, "unix:///o.sock", up_memory.Memory(engine=ENGINE), has_desktops=False
    )
    with pytest.raises(ConfigError, match="desktops and homes are on the first"):
        up_config.with_engine(
            text, "unix:///o.sock", up_memory.Memory(engine=ENGINE), has_desktops=True
        )
    assert parse(moved, "x").engine.socket == "unix:///o.sock"
    assert told


def test_a_file_of_another_state_is_refused(place, tmp_path):
    other = up_place.Place(state=tmp_path / "other", caller=place.caller)
    text = up_config.first(other, engine=ENGINE, image="desk:1")
    with pytest.raises(ConfigError, match=f"make up STATE={other.state}"):
        up_config.checked(text, place)


def test_one_port_cannot_be_both(place):
    text = up_config.first(at(place, ssh_port=8080), engine=ENGINE, image="desk:1")
    with pytest.raises(ConfigError, match="both name port 8080"):
        up_config.checked(text, place)


def test_a_mistake_in_the_file_starts_nothing_and_is_told_in_one_sentence(place, monkeypatch):
    place.config.write_text("template: {image: a}\nshh: {}\n")
    monkeypatch.setattr(up, "script", lambda *_, **__: pytest.fail("something was started"))
    done = CliRunner().invoke(up.main, ["up", "--state", str(place.state)])
    assert done.exit_code == 1
    assert f"desk: {place.config}:2: shh: this key is unknown" in done.stderr


# ------------------------------------------------------------------------------ ports, process


def test_a_port_of_somebody_elses_is_named_with_the_variable_to_set(place):
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        config = config_of(place, ssh_port=free_port(), http_port=port)
        with pytest.raises(Conflict, match=rf"Port {port} is in use .* HTTP_PORT=\d+"):
            up_daemon.demand_free_ports(config, place)
        up_daemon.demand_free_ports(config, place, besides={config.web.listen})


def test_the_command_to_type_instead_means_the_same_instance(place):
    with closing(socket.socket()) as one, closing(socket.socket()) as two:
        taken = []
        for other in (one, two):
            other.bind(("127.0.0.1", 0))
            other.listen()
            taken.append(other.getsockname()[1])
        free = free_port()
        asked = at(place, ssh_port=free, http_port=taken[1])
        with pytest.raises(Conflict) as refused:
            up_daemon.demand_free_ports(config_of(asked, ssh_port=free, http_port=taken[1]), asked)
        words = refused.value.public
        assert f"make up STATE={place.state} SSH_PORT={free} HTTP_PORT=" in words
        config = config_of(place, ssh_port=taken[0], http_port=taken[1])
        with pytest.raises(Conflict) as refused:
            up_daemon.demand_free_ports(config, place)
    words = refused.value.public
    assert f"Port {taken[0]} is" in words
    assert f"Port {taken[1]} is" in words
    ports = [word.partition("=")[2] for word in words.split() if "_PORT=" in word]
    assert len(set(ports)) == 2
    assert not set(ports) & {str(port) for port in taken}


def test_a_port_in_use_stops_before_anything_long(place, monkeypatch):
    monkeypatch.setattr(up, "script", lambda *_, **__: pytest.fail("something long was done"))
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        arguments = ["up", "--state", str(place.state), "--ssh-port", str(port)]
        done = CliRunner().invoke(up.main, arguments)
    assert done.exit_code == 1
    assert f"Port {port} is in use" in done.stderr
    assert not place.state.exists()


def test_an_interrupted_script_may_tidy_up(tmp_path):
    """Ctrl-C reaches `make up` and its script at once; a script that is killed would leave its
    directories, and the build under way.
    """
    (tmp_path / "slow").write_text(
        "#!/bin/bash\ntrap 'sleep 1; touch tidied; exit 130' INT\ntouch begun\nsleep 60\n"
    )
    (tmp_path / "slow").chmod(0o755)
    program = (
        # What was started in a shell's background ignores it.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "import pathlib, sys; from broker.cli import up, up_place;"
        "up_place.ROOT = pathlib.Path.cwd(); up.script('slow', error=up.ImageMissing)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 20
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=20) != 0
    assert (tmp_path / "tidied").exists()


def test_two_makes_on_one_state_do_not_meet(place):
    with up.only_one(place), pytest.raises(Conflict), up.only_one(place):
        pass
    with up.only_one(place):
        pass


def at_port(port):
    return WebConfig(listen=Listen(host="127.0.0.1", port=port))


def somewhere():
    """Where nobody listens."""
    return at_port(free_port())


def fake_broker(place, monkeypatch, script):
    """A shell script in the place of `deskd`."""
    program = place.state / "fake"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(up_daemon, "_deskd", lambda command, _: [str(program), command])


def test_a_broker_that_dies_is_shown_by_the_end_of_its_log(place, monkeypatch):
    place.log.write_text("of an earlier life\n")
    fake_broker(place, monkeypatch, "echo cannot do it >&2; exit 3")
    with pytest.raises(StateUnusable) as caught:
        up_daemon.start(place, somewhere())
    assert "cannot do it" in caught.value.public
    assert "earlier life" not in caught.value.public


def test_a_broker_that_does_not_come_is_not_left_half_started(place, monkeypatch):
    monkeypatch.setattr(up_daemon, "ANSWER_SECONDS", 0.3)
    fake_broker(place, monkeypatch, "echo $$ > ${0%/*}/pid; exec sleep 600")
    with pytest.raises(StateUnusable, match="not ready within"):
        up_daemon.start(place, somewhere())
    pid = int((place.state / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_one_that_answers_and_is_not_well_gets_less_time(place, monkeypatch):
    """Than one that is on its way still."""
    monkeypatch.setattr(up_daemon, "READY_SECONDS", 0.3)
    answers = itertools.chain([0, 0], itertools.repeat(503))
    monkeypatch.setattr(up_daemon, "_readiness", lambda _: (next(answers), b""))
    fake_broker(place, monkeypatch, "exec sleep 600")
    with pytest.raises(StateUnusable, match=r"not ready within 0\.3 seconds"):
        up_daemon.start(place, somewhere())


def test_who_is_waited_for_gets_the_time_that_it_takes():
    """A child that starts, and doors and broker that leave one after the other."""
    assert up_daemon.ANSWER_SECONDS > children._READY_WITHIN
    assert up_daemon.STOP_SECONDS > parent.DOOR_PATIENCE + parent.BROKER_PATIENCE


def test_a_broker_that_failed_gets_the_time_to_leave(place, monkeypatch):
    """A parent that is killed takes starts under way with it."""
    monkeypatch.setattr(up_daemon, "ANSWER_SECONDS", 0.5)
    waits = []
    wait = subprocess.Popen.wait

    def noted(process, timeout=None):
        waits.append(timeout)
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", noted)
    fake_broker(place, monkeypatch, "exec sleep 600")
    with pytest.raises(StateUnusable):
        up_daemon.start(place, somewhere())
    assert waits[0] == up_daemon.STOP_SECONDS


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (
            {"checks": {"network": "Wide open.", "image": "ok"}, "warnings": ["network"]},
            ["Wide open."],
        ),
        ({"checks": {"network": "ok"}, "warnings": []}, []),
        ({"checks": {}, "warnings": ["network"]}, []),
        ({"ready": True}, []),
        ("nothing", []),
    ],
)
@pytest.mark.parametrize("tls", [False, True])
def test_what_a_ready_broker_warns_of_is_known(tmp_path, told, found, tls):
    """By TLS too, whatever name the certificate is for."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(told).encode())

        def log_message(self, *_):
            """Not to standard error."""

    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        web = at_port(server.server_address[1])
        if tls:
            files = certificate(tmp_path)
            web = web.model_copy(update={"tls": TlsConfig(certificate=files[0], key=files[1])})
            server.socket = server_context(*files).wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert up_daemon.warnings(web) == found
        thread.join()
    assert up_daemon.warnings(web) == []


def test_a_failed_migration_says_why(place, monkeypatch):
    fake_broker(place, monkeypatch, "echo the disk is full >&2; exit 1")
    with pytest.raises(StateUnusable) as caught:
        up_daemon.migrate(place)
    assert "the disk is full" in caught.value.public


def test_a_large_log_is_set_aside_at_the_start(place, monkeypatch):
    monkeypatch.setattr(up_daemon, "LOG_BYTES", 10)
    place.log.write_text("x" * 11)
    os.close(up_daemon._open_log(place.log))
    assert (place.state / "deskd.log.1").read_text() == "x" * 11
    assert place.log.read_text() == ""
    assert place.log.stat().st_mode & 0o777 == 0o600


def test_down_stops_whoever_holds_the_state_and_waits(place):
    code = (
        "import pathlib, sys, time; from broker.system.lock import StateLock\n"
        "with StateLock(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [up_daemon.sys.executable, "-c", code, str(place.lock)], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline()
        assert up_daemon.running(place) == holder.pid
        assert up_daemon.stop(place) == holder.pid
        assert up_daemon.running(place) is None
    assert up_daemon.stop(place) is None


def test_a_restart_is_for_a_change_alone(place, monkeypatch):
    monkeypatch.setattr(up_daemon, "stop", lambda _: pytest.fail("stopped"))
    config = config_of(place)
    with StateLock(place.lock):
        mine = up_memory.Memory(pid=os.getpid(), signature="same")
        assert up.serve(place, config, "same", mine) == os.getpid()
        other = up_memory.Memory(pid=1, signature="same")
        assert up.serve(place, config, "changed", other) == os.getpid()


def test_the_signature_tells_a_changed_file_and_changed_code(tmp_path):
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker/a.py").write_text("1")
    first = up_memory.signature("a: 1", tmp_path)
    assert first == up_memory.signature("a: 1", tmp_path)
    assert first != up_memory.signature("a: 2", tmp_path)
    (tmp_path / "broker/a.py").write_text("2")
    assert first != up_memory.signature("a: 1", tmp_path)


@pytest.mark.parametrize("text", [None, "", "no json", '{"pid": 7, "of_a_later_version": 1}'])
def test_a_lost_memory_is_no_error(place, text):
    if text is not None:
        (place.state / "up.json").write_text(text)
    assert up_memory.read(place).image is None


def test_the_memory_comes_back_as_it_was(place):
    memory = up_memory.Memory(image="a", pid=3, reach=("/x",))
    up_memory.write(place, memory)
    assert up_memory.read(place) == memory


# -------------------------------------------------------------------------------- keys and lines


def key(letter="A"):
    return "ssh-ed25519 " + "AAAAC3NzaC1lZDI1NTE5AAAAI" + letter * 43


def test_the_keys_are_those_that_ssh_offers(place, monkeypatch):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    ssh = place.caller.home / ".ssh"
    ssh.mkdir(parents=True)
    (ssh / "id_ed25519").touch()
    (ssh / "id_ed25519.pub").write_text(key("A") + " ada@home\n")
    (ssh / "id_rsa.pub").write_text(key("B"))  # its private half is not here
    (ssh / "other").touch()
    (ssh / "other.pub").write_text(key("C"))  # ssh offers it only when told to
    (ssh / "id_ecdsa").touch()
    (ssh / "id_ecdsa.pub").write_text("this is no key\n")
    assert up_keys.of_caller(place.caller) == [key("A") + " ada@home"]


def test_an_agents_keys_count_and_none_counts_twice(place, monkeypatch):
    monkeypatch.setattr(up_keys, "_in_agent", lambda: [key("A"), key("A") + " again", key("B")])
    assert up_keys.of_caller(place.caller) == [key("A"), key("B")]


def test_without_a_key_a_pair_is_made_once(place):
    public = up_keys.made_pair(place)
    assert public == up_keys.made_pair(place)
    assert place.key_pair.stat().st_mode & 0o777 == 0o600
    told = subprocess.run(
        ["ssh-keygen", "-lf", place.key_pair], capture_output=True, text=True, check=True
    )
    assert up_keys.fingerprint(public) in told.stdout


@pytest.mark.parametrize(
    ("listen", "names"),
    [
        (Listen(host="0.0.0.0", port=2222), "[127.0.0.1]:2222,[localhost]:2222"),
        (Listen(host="::", port=2222), "[::1]:2222,[localhost]:2222"),
        (Listen(host="127.0.0.1", port=22), "127.0.0.1,localhost"),
        (Listen(host="10.0.0.7", port=22), "10.0.0.7"),
    ],
)
def test_the_host_key_is_known_under_the_name_that_is_printed(listen, names):
    assert up_lines.known_hosts(listen, key() + " comment") == f"{names} {key()}\n"


def test_the_ssh_line_asks_nothing(place):
    listen = Listen(host="0.0.0.0", port=2222)
    line = up_lines.ssh_line(place, listen, with_pair=False)
    known = place.state / "known_hosts"
    assert line == f"ssh -p 2222 -o UserKnownHostsFile={known} desk@127.0.0.1"
    with_pair = up_lines.ssh_line(place, listen, with_pair=True)
    assert f"-i {place.state}/id_ed25519 desk@127.0.0.1" in with_pair


def test_ssh_itself_reads_a_path_with_a_space_from_the_line(tmp_path, place):
    odd = up_place.Place(state=tmp_path / "a b", caller=place.caller)
    up_place.prepare(odd)
    up_keys.made_pair(odd)
    line = up_lines.ssh_line(odd, Listen(host="127.0.0.1", port=2222), with_pair=True)
    told = subprocess.run(
        ["sh", "-c", line.replace("ssh ", "ssh -G ", 1)], capture_output=True, text=True, check=True
    ).stdout
    assert f"userknownhostsfile {odd.state}/known_hosts" in told
    assert f"identityfile {odd.state}/id_ed25519" in told


@pytest.mark.parametrize("name", ["a%h", 'a"b', "a\nb", "a'b", "$HOME"])
def test_a_path_that_no_shell_would_like_is_refused(tmp_path, place, name):
    with pytest.raises(StateUnusable, match="letters, digits"):
        up_place.prepare(up_place.Place(state=tmp_path / name, caller=place.caller))


def test_the_lines_name_the_socket_the_instance_and_the_person(place):
    place.host_key.write_text(key())
    rows = dict(
        up_lines.final(place, config_of(place), deskctl=".venv/bin/deskctl", with_pair=False, pid=7)
    )
    assert rows["a shell"].startswith("ssh -p 2222 ")
    assert rows["the desktop"].startswith("xpra attach ssh://desk@127.0.0.1:2222/ --ssh=")
    assert rows["in a browser"] == f"{rows['a shell']} desk web   (prints a link)"
    assert rows["administration"].startswith(f"DESK_SOCKET={place.state}/admin.sock .venv/bin/")
    assert rows["stop the broker"] == f"make down STATE={place.state}"
    assert rows["you are"].startswith("ada, ")
    assert rows["host key"] == up_keys.fingerprint(key())
    assert "for others" in rows


def test_a_door_on_loopback_is_not_offered_to_others(place):
    place.host_key.write_text(key())
    text = up_config.first(place, engine=ENGINE, image="a").replace("0.0.0.0", "127.0.0.1")
    rows = dict(up_lines.final(place, parse(text, "x"), deskctl="deskctl", with_pair=False, pid=7))
    assert "for others" not in rows


def test_pages_without_an_address_are_told_how_to_get_one(place):
    place.host_key.write_text(key())
    text = up_config.first(place, engine=ENGINE, image="a")
    text = text.replace("\nweb:\n", "\nweb:\n  proxies: [192.0.2.1]\n")
    rows = dict(up_lines.final(place, parse(text, "x"), deskctl="deskctl", with_pair=False, pid=7))
    assert rows["in a browser"].startswith("name the pages' address with web.url")


# ------------------------------------------------------------------------------------- the API


class Api(http.server.BaseHTTPRequestHandler):
    users: dict[str, list[str]]

    def answer(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        name = self.path.split("/")[-2]
        if self.path.endswith("/keys"):
            found = [{"fingerprint": up_keys.fingerprint(k)} for k in self.users[name]]
        else:
            found = [{"name": user} for user in self.users]
        self.answer(200, {"items": found})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/v1/users":
            assert body["admin"] is True
            self.users[body["name"]] = []
            return self.answer(201, {})
        if any(body["key"] in keys for keys in self.users.values()):
            return self.answer(409, {"code": "conflict", "detail": "That key is bob's."})
        self.users[self.path.split("/")[-2]].append(body["key"])
        return self.answer(201, {})

    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass


@pytest.fixture
def api(tmp_path):
    path = tmp_path / "s"
    handler = type("Handler", (Api,), {"users": {}})
    with socketserver.ThreadingUnixStreamServer(str(path), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield up_api.AdminApi(path), handler.users
        server.shutdown()
        thread.join()


def test_registering_twice_changes_nothing(api):
    client, users = api
    assert client.ensure_user("ada", [key("A")]) == []
    assert client.ensure_user("ada", [key("A"), key("B")]) == []
    assert users == {"ada": [key("A"), key("B")]}


def test_a_key_of_somebody_elses_is_told_and_left(api):
    client, users = api
    users["bob"] = [key("A")]
    assert client.ensure_user("ada", [key("A")]) == ["That key is bob's."]


def test_a_broker_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(StateUnusable, match="does not answer"):
        up_api.AdminApi(tmp_path / "none").ensure_user("ada", [])


# --------------------------------------------------------------------------------------- purge


def database(place, instance):
    with closing(sqlite3.connect(place.state / "desk.db")) as connection, connection:
        if instance is not None:
            connection.execute("CREATE TABLE instance (number INTEGER, id TEXT)")
            connection.execute("INSERT INTO instance VALUES (1, ?)", (instance,))
        else:
            connection.execute("CREATE TABLE other (x)")


@pytest.mark.parametrize("instance", ["0123456789abcdef", None])
def test_the_instance_is_known_from_the_database(place, instance):
    assert up_purge.instance_of(place) is None
    database(place, instance)
    assert up_purge.instance_of(place) == instance


def test_a_damaged_database_removes_nothing(place):
    (place.state / "desk.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(StateUnusable, match="nothing was removed"):
        up_purge.instance_of(place)


def test_purge_removes_the_rules_of_the_instance_and_no_others(monkeypatch):
    host = FakeFilter()
    monkeypatch.setattr(up_purge, "Nftables", lambda: host)
    host.tables = {"0123456789abcdef": "ours", "0123456789abcdee": "theirs"}
    assert up_purge.remove_rules("0123456789abcdef") is None
    assert host.tables == {"0123456789abcdee": "theirs"}


def test_purge_says_why_rules_stay(monkeypatch):
    host = FakeFilter()
    host.broken = "that takes root"
    monkeypatch.setattr(up_purge, "Nftables", lambda: host)
    assert up_purge.remove_rules("0123456789abcdef") == "that takes root"


def test_purge_leaves_what_desk_did_not_make(place, tmp_path):
    reach = tmp_path / "desk/reach"
    for path in (place.config, place.state / "sessions/a/host_key", reach / "known_hosts"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (place.state / "thesis.tex").touch()
    left = up_purge.remove_files(place, up_memory.Memory(reach=(str(reach),)))
    assert left == [place.state / "thesis.tex"] == list(place.state.iterdir())
    assert not reach.parent.exists()


def test_purge_does_not_follow_a_link(place, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").touch()
    (place.state / "sessions").symlink_to(tmp_path / "precious")
    up_purge.remove_files(place, up_memory.Memory())
    assert (tmp_path / "precious/file").exists()


def test_purge_with_the_engine_down_removes_nothing(place, tmp_path, monkeypatch):
    monkeypatch.setenv("YES", "1")
    engine = f"unix://{tmp_path}/none.sock"
    place.config.write_text(up_config.first(place, engine=engine, image="a"))
    database(place, "0123456789abcdef")
    done = CliRunner().invoke(up.main, ["purge", "--state", str(place.state)])
    assert done.exit_code == 1
    assert f"The container engine at {engine} does not answer" in done.stderr
    assert place.config.exists()


def test_purge_asks_and_takes_silence_for_no(place, monkeypatch):
    monkeypatch.delenv("YES", raising=False)
    place.config.write_text(up_config.first(place, engine=ENGINE, image="a"))
    done = CliRunner().invoke(up.main, ["purge", "--state", str(place.state)])
    assert done.exit_code == 1
    assert "YES=1" in done.stderr
    assert place.config.exists()


def test_purge_removes_an_instance_that_never_ran(place, monkeypatch):
    monkeypatch.setenv("YES", "1")
    place.config.write_text(up_config.first(place, engine=ENGINE, image="a"))
    done = CliRunner().invoke(up.main, ["purge", "--state", str(place.state)])
    assert done.exit_code == 0
    assert not place.state.exists()


# -------------------------------------------------------------------------------- command line


@pytest.mark.parametrize("port", ["0", "65536", "ssh", "-1"])
def test_a_port_that_is_none_is_refused(port):
    done = CliRunner().invoke(up.main, ["up"], env={"SSH_PORT": port, "STATE": "/nonexistent/x"})
    assert done.exit_code == 2
    assert "allowed is a port" in done.stderr


def test_empty_variables_are_none(place):
    env = {"SSH_PORT": "", "HTTP_PORT": "", "STATE": str(place.state)}
    done = CliRunner().invoke(up.main, ["down"], env=env)
    assert done.exit_code == 0
    assert "no broker runs" in done.stderr
