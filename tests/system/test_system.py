"""What the operating system tells and keeps: lock, sockets, state directory, peers, routes, keys."""

from __future__ import annotations

import asyncio
import grp
import ipaddress
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
from types import SimpleNamespace

import asyncssh
import pytest

from broker.core.errors import ConfigError, DeskError, StateUnusable
from broker.system import net, peer, sockets, state, syslog
from broker.system.clock import SystemClock
from broker.system.hostkey import load_or_make
from broker.system.lock import StateLock, holder_of
from broker.system.peer import Peer, admin_gid, is_admin, parent_of, peer_of

ME = os.geteuid()


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# ---------------------------------------------------------------------------------------- lock


def test_the_lock_tells_who_holds_it(tmp_path):
    """While it is held, and nobody afterwards."""
    path = tmp_path / "lock"
    assert holder_of(path) is None
    with StateLock(path):
        assert holder_of(path) == os.getpid()
    assert holder_of(path) is None
    assert mode(path) == 0o600


def test_a_second_holder_is_refused_with_the_first_ones_pid(tmp_path):
    """And with what to do about it; the first keeps it."""
    with StateLock(tmp_path / "lock"):
        with pytest.raises(StateUnusable) as caught, StateLock(tmp_path / "lock"):
            raise AssertionError
        assert caught.value.public == (
            f"{tmp_path}: another broker (process {os.getpid()}) uses this state;"
            " stop it first, or give this one a state of its own."
        )
        assert holder_of(tmp_path / "lock") == os.getpid()


def test_a_holder_that_has_not_written_its_pid_yet_is_no_none(tmp_path):
    """Between taking the lock and writing there is a moment."""
    with StateLock(tmp_path / "lock"):
        (tmp_path / "lock").write_text("")
        assert holder_of(tmp_path / "lock") is None
        with (
            pytest.raises(StateUnusable, match=r"another broker uses"),
            StateLock(tmp_path / "lock"),
        ):
            raise AssertionError


def test_the_lock_dies_with_its_process(tmp_path):
    """Even one that is killed leaves nothing to clean up."""
    code = (
        "import sys, pathlib\n"
        "from broker.system.lock import StateLock\n"
        "with StateLock(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert holder_of(tmp_path / "lock") == holder.pid
        with (
            pytest.raises(StateUnusable, match=f"process {holder.pid}"),
            StateLock(tmp_path / "lock"),
        ):
            raise AssertionError
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with StateLock(tmp_path / "lock"):
            assert holder_of(tmp_path / "lock") == os.getpid()


def test_leaving_a_lock_that_was_never_held_is_nothing(tmp_path):
    """As a stack that unwinds does."""
    StateLock(tmp_path / "lock").__exit__(None, None, None)
    assert not (tmp_path / "lock").exists()


# ------------------------------------------------------------------------------------- sockets


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_free_port_is_bound(host):
    """Not listening yet, and not blocking."""
    with sockets.bind_tcp("ssh.listen", host, 0) as sock:
        assert sock.getsockname()[0] == host
        assert sock.getsockname()[1] > 0
        assert not sock.getblocking()


def test_a_taken_port_is_told_with_its_key():
    """One sentence that says which, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            sockets.bind_tcp("ssh.listen", "127.0.0.1", port)
    assert caught.value.public == (
        f"ssh.listen: port {port} of 127.0.0.1 is used by another program;"
        " stop it or choose another port."
    )


def test_an_address_of_another_machine_is_told():
    """192.0.2.1 is nobody's."""
    with pytest.raises(ConfigError) as caught:
        sockets.bind_tcp("web.listen", "192.0.2.1", 8080)
    assert caught.value.public == "web.listen: this machine has no address 192.0.2.1."


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied"), "port 22 needs root; choose one above 1023."),
        (OSError(97, "Family"), "127.0.0.1:22 cannot be listened on: Family."),
    ],
)
def test_other_troubles_of_binding_are_told(monkeypatch, error, said):
    """Without root, or without IPv6."""

    def bind(self, address):
        raise error

    monkeypatch.setattr(socket.socket, "bind", bind)
    with pytest.raises(ConfigError) as caught:
        sockets.bind_tcp("ssh.listen", "127.0.0.1", 22)
    assert caught.value.public == f"ssh.listen: {said}"


def test_a_unix_socket_is_its_owners_alone(tmp_path):
    """In place of one that an earlier broker left."""
    path = tmp_path / "admin.sock"
    for _ in range(2):
        sockets.bind_unix(path, mode=0o660, gid=None).close()
        assert mode(path) == 0o600


def test_a_unix_socket_is_given_to_the_admins_group(tmp_path):
    """The group may use it, the rest may not."""
    path = tmp_path / "admin.sock"
    sockets.bind_unix(path, mode=0o660, gid=os.getegid()).close()
    assert mode(path) == 0o660
    assert path.stat().st_gid == os.getegid()


def test_a_broker_outside_the_admins_group_keeps_its_socket_to_itself(tmp_path, monkeypatch):
    """The host has the group, but only root or a member may give it away."""

    def refuse(*_args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    path = tmp_path / "admin.sock"
    sockets.bind_unix(path, mode=0o660, gid=4242).close()
    assert mode(path) == 0o600


@pytest.mark.parametrize("name", ["x" * 200, "not/there/admin.sock"])
def test_a_path_that_no_socket_can_have_is_told(tmp_path, name):
    """Too long for the kernel, or in no directory."""
    with pytest.raises(ConfigError) as caught:
        sockets.bind_unix(tmp_path / name, mode=0o660, gid=None)
    assert caught.value.public.startswith(f"{tmp_path / name}: cannot be listened on: ")


# --------------------------------------------------------------------------------------- state


@pytest.fixture
def without_group(monkeypatch):
    """A host that has no group of admins."""
    monkeypatch.setattr(state, "admin_gid", lambda: None)


@pytest.mark.usefixtures("without_group")
def test_a_state_directory_is_made_private(tmp_path):
    """With those above it."""
    state.prepare(tmp_path / "lib" / "desk")
    assert mode(tmp_path / "lib" / "desk") == 0o700


@pytest.mark.usefixtures("without_group")
@pytest.mark.parametrize("lax", [0o755, 0o777, 0o710, 0o701])
def test_a_lax_state_directory_is_closed(tmp_path, lax):
    """Whatever it was open for."""
    tmp_path.chmod(lax)
    state.prepare(tmp_path)
    assert mode(tmp_path) == 0o700


def test_root_lets_admins_pass_through_to_the_socket(tmp_path, monkeypatch):
    """Pass, and list nothing."""
    monkeypatch.setattr(state, "admin_gid", os.getegid)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    tmp_path.chmod(0o777)
    real = tmp_path.stat()
    monkeypatch.setattr(type(tmp_path), "stat", lambda _self: owned(real, uid=0))
    monkeypatch.setattr(os, "chown", lambda *_args: None)
    state.prepare(tmp_path)
    assert os.stat(tmp_path).st_mode & 0o777 == 0o710


@pytest.mark.parametrize(("lax", "left"), [(0o777, 0o710), (0o750, 0o710), (0o710, 0o710)])
def test_another_owner_keeps_the_admins_group_where_it_is_given(tmp_path, monkeypatch, lax, left):
    """Nobody else comes in by that."""
    tmp_path.chmod(lax)
    monkeypatch.setattr(state, "admin_gid", lambda: tmp_path.stat().st_gid)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    real = os.stat(tmp_path)
    monkeypatch.setattr(type(tmp_path), "stat", lambda _self: owned(real, uid=4242))
    state.prepare(tmp_path)
    assert os.stat(tmp_path).st_mode & 0o777 == left


def owned(real, *, uid):
    return SimpleNamespace(st_uid=uid, st_gid=real.st_gid, st_mode=real.st_mode)


@pytest.mark.usefixtures("without_group")
def test_a_directory_of_somebody_else_is_refused(tmp_path, monkeypatch):
    """Its owner could change it under the broker."""
    monkeypatch.setattr(os, "geteuid", lambda: ME + 1)
    with pytest.raises(StateUnusable) as caught:
        state.prepare(tmp_path)
    assert caught.value.public == (
        f"{tmp_path}: belongs to uid {ME}, and the broker runs as uid {ME + 1};"
        " run it as the owner, or name another state directory."
    )


@pytest.mark.usefixtures("without_group")
def test_a_state_that_is_no_directory_is_told(tmp_path):
    """A file stands there."""
    (tmp_path / "desk").write_text("")
    with pytest.raises(StateUnusable) as caught:
        state.prepare(tmp_path / "desk")
    assert caught.value.public == f"{tmp_path}/desk: cannot be used: File exists."


# --------------------------------------------------------------------------------------- peers


def test_the_kernel_tells_who_connected():
    """Process, user and group of the other end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_of(ours) == Peer(os.getpid(), os.getuid(), os.getgid())


def test_whose_child_a_process_is(tmp_path):
    """Whatever it calls itself."""
    program = tmp_path / "a) S 1 (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([str(program), "30"]) as child:
        try:
            assert parent_of(child.pid) == os.getpid()
        finally:
            child.kill()
    assert parent_of(child.pid) is None


def test_root_and_the_brokers_own_user_are_admins(monkeypatch):
    """Nobody else is, on a host without the group."""
    monkeypatch.setattr(os, "geteuid", lambda: 990)
    monkeypatch.setattr(grp, "getgrnam", lambda name: {}[name])
    assert is_admin(Peer(1, 0, 0))
    assert is_admin(Peer(1, 990, 990))
    assert not is_admin(Peer(1, 1000, 1000))
    assert admin_gid() is None


def test_members_of_the_group_are_admins(monkeypatch):
    """By their primary group or by the list; a uid without a name is in no list."""
    group = SimpleNamespace(gr_gid=777, gr_mem=["ada"])
    people = {1001: SimpleNamespace(pw_name="ada"), 1002: SimpleNamespace(pw_name="bob")}
    monkeypatch.setattr(grp, "getgrnam", {"desk-admin": group}.__getitem__)
    monkeypatch.setattr(pwd, "getpwuid", people.__getitem__)
    monkeypatch.setattr(os, "geteuid", lambda: 990)
    assert peer.admin_gid() == 777
    assert is_admin(Peer(1, 1001, 1001))
    assert is_admin(Peer(1, 1002, 777))
    assert not is_admin(Peer(1, 1002, 1002))
    assert not is_admin(Peer(1, 1003, 1003))


# ------------------------------------------------------------------------------------- network

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
desk0123\t0000D50A\t00000000\t0001\t0\t0\t0\t00FCFFFF\t0\t0\t0
"""


def test_routes_are_read_but_the_default_and_ones_own(tmp_path):
    """As the kernel writes them: little-endian hexadecimal."""
    (tmp_path / "route").write_text(ROUTES)
    found = net.routed_networks("desk0123", tmp_path / "route")
    assert found == [ipaddress.IPv4Network("192.0.2.0/24"), ipaddress.IPv4Network("172.17.0.0/16")]
    assert ipaddress.IPv4Network("10.213.0.0/22") in net.routed_networks(
        "other", tmp_path / "route"
    )


def test_this_hosts_routes_can_be_read():
    """The real file has the form that is expected."""
    assert isinstance(net.routed_networks("none"), list)


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ("nameserver 192.0.2.53\n", None, ("192.0.2.53",)),
        ("nameserver 127.0.0.53\n", "nameserver 192.0.2.9\n", ("192.0.2.9",)),
        ("nameserver 127.0.0.53\n", None, ("9.9.9.9", "1.1.1.1")),
        ("nameserver 0.0.0.0\n", None, ("9.9.9.9", "1.1.1.1")),
        ("nameserver ::1\nnameserver fe80::1%eth0\n", None, ("9.9.9.9", "1.1.1.1")),
        ("# nothing\nnameserver\nsearch example.org\n", None, ("9.9.9.9", "1.1.1.1")),
        (
            "".join(f"nameserver 192.0.2.{n}\n" for n in range(1, 6)),
            None,
            ("192.0.2.1", "192.0.2.2", "192.0.2.3"),
        ),
        ("nameserver 127.0.0.1\nnameserver 192.0.2.7 # lab\n", None, ("192.0.2.7",)),
        ("\xff\xfe nameserver\n", None, ("9.9.9.9", "1.1.1.1")),
    ],
)
def test_name_servers_are_those_that_a_container_can_ask(tmp_path, first, second, wanted):
    """Never one on loopback, at most three, and public ones where the host names none."""
    files = (tmp_path / "resolv.conf", tmp_path / "resolved.conf")
    files[0].write_text(first, encoding="latin-1")
    if second is not None:
        files[1].write_text(second)
    assert net.resolvers(files, tmp_path / "absent") == wanted


ADDRESSES = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 192.0.2.0
        /24 link UNICAST
Local:
  +-- 0.0.0.0/0 3 0 5
        |-- 127.0.0.1
           /32 host LOCAL
        |-- 192.0.2.2
           /32 host LOCAL
           |-- 192.0.2.255
              /32 link BROADCAST
"""


def test_a_name_server_on_this_very_host_is_none_for_desktops(tmp_path):
    """They do not reach the host."""
    (tmp_path / "addresses").write_text(ADDRESSES)
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.2\nnameserver 192.0.2.3\n")
    files = (tmp_path / "resolv.conf",)
    assert net.resolvers(files, tmp_path / "addresses") == ("192.0.2.3",)


def test_the_hosts_own_addresses_are_read(tmp_path):
    """No broadcast address, no network; and this host has at least the one on loopback."""
    (tmp_path / "addresses").write_text(ADDRESSES)
    found = net.own_addresses(tmp_path / "addresses")
    assert {str(address) for address in found} == {"127.0.0.1", "192.0.2.2"}
    assert ipaddress.IPv4Address("127.0.0.1") in net.own_addresses()


def test_neighbours_are_networks_in_which_the_host_has_an_address(tmp_path):
    """Neither one that it only knows the way to, nor halves of the default route."""
    (tmp_path / "addresses").write_text(ADDRESSES)
    halves = "".join(
        f"tun0\t000000{first}\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n"
        for first in ("00", "80")
    )
    (tmp_path / "route").write_text(ROUTES + halves)
    found = net.neighbours("desk0123", tmp_path / "route", tmp_path / "addresses")
    assert found == [ipaddress.IPv4Network("192.0.2.0/24")]


# ------------------------------------------------------------------------------------ host key


def test_the_host_key_is_made_once_and_private(tmp_path):
    """The same for ever, with its public half beside it."""
    path = tmp_path / "ssh_host_key"
    made = load_or_make(path)
    assert made.get_algorithm() == "ssh-ed25519"
    assert mode(path) == 0o600
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ssh_host_key", "ssh_host_key.pub"]
    public = asyncssh.read_public_key(tmp_path / "ssh_host_key.pub")
    assert public.get_fingerprint() == made.get_fingerprint()
    assert load_or_make(path).get_fingerprint() == made.get_fingerprint()


def test_what_a_crash_left_of_making_it_is_made_anew(tmp_path):
    """An unfinished one never counts."""
    (tmp_path / "ssh_host_key.new").write_text("half")
    (tmp_path / "ssh_host_key.pub").write_text("stale")
    made = load_or_make(tmp_path / "ssh_host_key")
    public = asyncssh.read_public_key(tmp_path / "ssh_host_key.pub")
    assert public.get_fingerprint() == made.get_fingerprint()


def encrypted(path):
    key = asyncssh.generate_private_key("ssh-ed25519")
    path.write_bytes(key.export_private_key(passphrase="secret"))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text(""),
        lambda path: path.write_text("junk"),
        encrypted,
        lambda path: path.mkdir(),
    ],
    ids=["empty", "junk", "encrypted", "directory"],
)
def test_a_damaged_host_key_is_not_replaced(tmp_path, spoil):
    """A new one would look to every client like somebody else's host."""
    path = tmp_path / "ssh_host_key"
    spoil(path)
    with pytest.raises(StateUnusable) as caught:
        load_or_make(path)
    assert caught.value.public.startswith(f"{path}: the host key cannot be read (")
    assert "put it back from a backup" in caught.value.public
    assert path.exists()


# --------------------------------------------------------------------------------------- clock


async def test_the_real_clock_is_utc_and_goes_forward():
    """And its sleep is the loop's."""
    clock = SystemClock()
    before = clock.monotonic()
    assert clock.now().utcoffset().total_seconds() == 0
    await clock.sleep(0)
    assert clock.monotonic() >= before
    sleeper = asyncio.get_running_loop().create_task(clock.sleep(3600))
    await asyncio.sleep(0)
    sleeper.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeper


def test_the_systems_log_hears_a_line(tmp_path):
    """Under a name of its own, where logins are told."""
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(path))
        syslog.tell("entry 7", path)
        assert log.recv(100) == f"<85>desk-audit[{os.getpid()}]: entry 7".encode()


def test_a_log_that_is_not_there_is_told(tmp_path):
    with pytest.raises(DeskError, match="takes no line"):
        syslog.tell("entry 7", tmp_path / "log")
