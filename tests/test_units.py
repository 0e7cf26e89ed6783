"""The units, and what the package is made of: they say what the code and the configuration say."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from broker import activated
from broker.config import parse
from broker.config.desktops import NetworkConfig
from broker.door import unit
from broker.door.settings import API_SOCKET, DRAINED, GATEWAY_SOCKET
from broker.system import roll

ROOT = Path(__file__).resolve().parents[1]
SYSTEMD = ROOT / "systemd"
UNITS = sorted(
    path for kind in ("service", "socket", "target") for path in SYSTEMD.glob(f"*.{kind}")
)
SCRIPTS = sorted(path for path in (SYSTEMD / "debian").iterdir() if path.suffix != ".in")

#: What a unit may be worth without a system to look at; in a booted one both are lower.
EXPOSED = {"desk-broker.service": 1.6, "desk-door@.service": 1.2, "desk-firewall.service": 1.4}


def settings_of(name):
    """Key to values, whatever the section."""
    found = {}
    for line in (SYSTEMD / name).read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


def value_of(name, key):
    (value,) = settings_of(name)[key]
    return value


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not installed"
)


@needs_systemd
def test_systemd_understands_every_line(tmp_path):
    """Beside stand-ins of what other packages bring."""
    folder = tmp_path / "usr/lib/systemd/system"
    folder.mkdir(parents=True)
    for path in UNITS:
        shutil.copy(path, folder)
    for name in ("sysinit", "basic", "multi-user", "shutdown", "network", "time-sync", "sockets"):
        (folder / f"{name}.target").write_text("[Unit]\nDescription=A stand-in\n")
    for program in ("usr/bin/deskd", "bin/true", "bin/kill"):
        file = tmp_path / program
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
    names = [path.name.replace("@.", "@1.") for path in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", f"--root={tmp_path}", *names],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize(("name", "most"), EXPOSED.items())
def test_a_unit_is_closed_to_what_it_does_not_need(name, most):
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", SYSTEMD / name],
        capture_output=True,
        text=True,
        check=True,
    )
    (told,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert float(told) <= most, done.stdout


def test_sockets_have_the_names_by_which_they_are_taken():
    named = {
        name: value_of(f"desk-{name}.socket", "FileDescriptorName")
        for name in ("broker", "api", "admin", "firewall", "door", "web")
    }
    assert named == {
        "broker": activated.GATEWAY,
        "api": activated.API,
        "admin": activated.ADMIN,
        "firewall": activated.FIREWALL,
        "door": unit.SSH,
        "web": unit.HTTP,
    }


def test_each_service_gets_the_sockets_that_it_takes():
    broker = ["desk-broker.socket", "desk-api.socket", "desk-admin.socket"]
    doors = ["desk-door.socket", "desk-web.socket"]
    assert value_of("desk-broker.service", "Sockets").split()[:3] == broker
    assert value_of("desk-door@.service", "Sockets").split() == doors
    for socket in (*broker[1:], *doors):
        # While doors come and go, none of them is the one that the sockets wait for.
        wanted = "desk-doors.service" if socket in doors else "desk-broker.service"
        assert value_of(socket, "Service") == wanted


def test_the_gateway_is_where_doors_look_for_it():
    gateway = Path(value_of("desk-broker.socket", "ListenStream"))
    assert gateway.name == GATEWAY_SOCKET
    assert Path(value_of("desk-api.socket", "ListenStream")) == gateway.with_name(API_SOCKET)
    assert str(gateway.parent) == "/run/desk"


def test_ports_and_sockets_are_those_of_the_configuration_that_is_shipped():
    config = parse((ROOT / "config/desk.yaml").read_text(encoding="utf-8"), "desk.yaml")
    assert value_of("desk-door.socket", "ListenStream") == str(config.ssh.listen)
    assert value_of("desk-web.socket", "ListenStream") == str(config.web.listen)
    assert value_of("desk-admin.socket", "ListenStream") == str(config.admin_socket)
    assert value_of("desk-broker.service", "ReadWritePaths") == str(config.state)


def test_doors_may_dial_desktops_and_nothing_else():
    pool = NetworkConfig().pool
    assert settings_of("desk-door@.service")["IPAddressAllow"] == [f"localhost {pool}"]


def test_a_door_shares_its_sockets_and_is_not_followed_when_it_has_drained():
    assert value_of("desk-door@.service", "NonBlocking") == "yes"
    assert value_of("desk-door@.service", "RestartPreventExitStatus") == str(DRAINED)
    assert value_of("desk-door@.service", "SuccessExitStatus") == str(DRAINED)
    assert value_of("desk-door@.service", "StartLimitIntervalSec") == "0"


def test_doors_are_known_by_the_user_and_the_unit_that_they_have():
    assert value_of("desk-door@.service", "User") == activated.DOOR_USER
    assert (SYSTEMD / f"{activated.DOOR_UNIT}@.service").exists()
    assert "PrivateUsers" not in settings_of("desk-broker.service")
    assert "ProtectProc" not in settings_of("desk-broker.service")


@pytest.mark.parametrize("name", EXPOSED)
def test_no_service_may_become_more_than_it_is(name):
    rights = ["CAP_NET_ADMIN"] if name == "desk-firewall.service" else [""]
    settings = settings_of(name)
    for key in ("CapabilityBoundingSet", "AmbientCapabilities"):
        assert settings[key] == rights
    for key in ("NoNewPrivileges", "MemoryDenyWriteExecute", "RestrictSUIDSGID", "LockPersonality"):
        assert settings[key] == ["yes"]


def test_the_packet_filter_is_told_by_the_broker_alone():
    where = value_of("desk-firewall.socket", "ListenStream")
    assert value_of("desk-broker.service", "ExecStart").endswith(f" --firewall {where}")
    (user,) = settings_of("desk-broker.service")["User"]
    assert value_of("desk-firewall.socket", "SocketUser") == user
    assert value_of("desk-firewall.service", "ExecStart").endswith(f" --user {user}")
    assert value_of("desk-firewall.service", "CapabilityBoundingSet") == "CAP_NET_ADMIN"


def test_every_user_of_a_unit_is_made():
    made = re.findall(r"(?m)^[ug] (\S+)", (SYSTEMD / "desk.sysusers").read_text())
    for path in UNITS:
        settings = settings_of(path.name)
        for key in ("User", "Group", "SocketUser", "SocketGroup"):
            assert set(settings.get(key, [])) <= set(made)


def test_a_roll_finds_how_many_doors_are_wanted():
    wanted = value_of(roll.WANTING, "Wants").split()
    assert wanted == [roll.DOORS.format(number) for number in (1, 2)]


def test_what_is_watched_is_told_so():
    for name in EXPOSED:
        assert value_of(name, "Type") == "notify"
        assert value_of(name, "NotifyAccess") == "main"
        assert int(value_of(name, "WatchdogSec")) >= 20


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_of_the_package_can_be_read(script):
    first = script.read_text(encoding="utf-8").splitlines()[0]
    if "python" in first:
        compile(script.read_text(encoding="utf-8"), script.name, "exec")
    else:
        subprocess.run([first.rpartition("/")[2].split()[-1], "-n", script], check=True)
    assert script.stat().st_mode & 0o111


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_names_units_that_are_there(script):
    there = {path.name for path in UNITS}
    for name in re.findall(r"desk[a-z-]*@?\.(?:service|socket|target)", script.read_text()):
        assert name in there
