"""What a successor finds that is started at once after its predecessor was killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import pytest

from broker.config import parse
from broker.core.errors import ConfigError, StateUnusable
from broker.inherited import Inherited
from broker.system import sockets
from broker.system.lock import StateLock, is_held_by
from broker.system.patience import holds_within

#: A parent with a child that has what it had, and is told to end only when somebody says so.
HEIR = """
import os, pathlib, subprocess, sys
from broker.system.lock import StateLock
with StateLock(pathlib.Path(sys.argv[1])) as lock:
    child = subprocess.Popen(["sleep", "600"], pass_fds=[lock.descriptor])
    print(child.pid, flush=True)
    sys.stdin.read()
"""


@contextmanager
def killed_parent(path):
    """The pid of the child that a parent left behind with the lock."""
    with subprocess.Popen(
        [sys.executable, "-c", HEIR, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        try:
            yield child
        finally:
            with suppress(ProcessLookupError):
                os.kill(child, 9)


@contextmanager
def soon(work):
    """Do it while the caller waits."""
    timer = threading.Timer(0.2, work)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def test_a_lock_that_a_dead_parents_child_holds_is_waited_for(tmp_path):
    """The child ends a moment after its parent."""
    path = tmp_path / "lock"
    with killed_parent(path) as child:
        with pytest.raises(StateUnusable), StateLock(path):
            raise AssertionError
        with soon(lambda: os.kill(child, 9)), StateLock(path, patience=20):
            assert path.read_text() == f"{os.getpid()}\n"


def test_a_lock_is_not_waited_for_for_ever(tmp_path):
    """One sentence comes in the end, as without patience."""
    path = tmp_path / "lock"
    with StateLock(path):
        began = time.monotonic()
        with pytest.raises(StateUnusable, match="another broker"), StateLock(path, patience=0.1):
            raise AssertionError
        assert 0.1 <= time.monotonic() - began < 10


def test_a_port_that_is_taken_is_waited_for():
    """And told of when it stays so."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match="used by another program"):
            sockets.bind_tcp("ssh.listen", "127.0.0.1", port, patience=0.1)
        with (
            soon(other.close),
            sockets.bind_tcp("ssh.listen", "127.0.0.1", port, patience=20) as sock,
        ):
            assert sock.getsockname()[1] == port


@pytest.mark.parametrize("last", ["lock", "ssh", "web"])
def test_desk_starts_right_behind_one_that_was_killed(tmp_path, last):
    """Whatever its children let go of last."""
    with ExitStack() as stack:
        held = {
            key: stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            for key in ("ssh", "web")
        }
        text = f"state: {tmp_path}\ntemplate: {{image: desk}}\n"
        for key, sock in held.items():
            text += f"{key}: {{listen: '127.0.0.1:{sock.getsockname()[1]}'}}\n"
            if key != last:
                sock.close()
        leave = held[last].close if last in held else None
        if leave is None:
            child = stack.enter_context(killed_parent(tmp_path / "lock"))
            leave = partial(os.kill, child, 9)
        with soon(leave):
            found = Inherited.open(parse(text, "desk.yaml"), None, stack)
        assert is_held_by(found.lock, tmp_path / "lock")


def test_what_cannot_be_bound_at_all_is_not_waited_for():
    """192.0.2.1 is nobody's, now and later."""
    began = time.monotonic()
    with pytest.raises(ConfigError, match="no address"):
        sockets.bind_tcp("ssh.listen", "192.0.2.1", 8080, patience=20)
    assert time.monotonic() - began < 10


def test_what_holds_already_is_not_waited_for():
    """Nor asked twice."""
    asked = []
    assert holds_within(20, lambda: not asked.append(1))
    assert asked == [1]


def test_a_descriptor_that_holds_the_lock_is_known(tmp_path):
    """Of this lock, and of no other file; not one that another holder stands in the way of."""
    path = tmp_path / "lock"
    with StateLock(path) as lock:
        assert is_held_by(lock.descriptor, path)
        second = os.open(path, os.O_RDWR)
        other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
        try:
            assert not is_held_by(second, path)
            assert not is_held_by(other, path)
            assert not is_held_by(other, tmp_path / "absent")
        finally:
            os.close(second)
            os.close(other)
        assert not is_held_by(other, path)


# ------------------------------------------------------------------------------ the doors' socket


def test_the_doors_socket_is_theirs_alone(tmp_path):
    """In a directory through which one can pass, and list nothing."""
    path = tmp_path / "doors" / "gateway.sock"
    with sockets.bind_private(path, None) as sock:
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o711
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        assert not sock.getblocking()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_doors_socket_is_given_to_their_user(tmp_path):
    path = tmp_path / "doors" / "gateway.sock"
    with sockets.bind_private(path, 2_000_100_000):
        assert path.stat().st_uid == 2_000_100_000


UNMAPPED = """
import pathlib, sys
from broker.core.errors import ConfigError
from broker.system import sockets
try:
    sockets.bind_private(pathlib.Path(sys.argv[1]), 2_000_100_000)
except ConfigError as error:
    print(error.public)
"""


def test_a_user_that_the_system_does_not_have_is_told(tmp_path):
    """As in most user namespaces, where root is root of few."""
    path = tmp_path / "gateway.sock"
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", UNMAPPED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "unshare" in done.stderr:
        pytest.skip(f"no user namespaces here: {done.stderr}")
    assert done.stderr == ""
    said = (
        "pools.uids: front doors run as the uid after the range, 2000100000, and there is none on"
        " this system (/proc/self/uid_map tells which there are); choose a lower range.\n"
    )
    assert done.stdout == said


def test_a_socket_that_cannot_be_given_away_is_told(tmp_path, monkeypatch):
    """Root without that right."""

    def refuse(*_args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    path = tmp_path / "gateway.sock"
    with pytest.raises(ConfigError) as caught:
        sockets.bind_private(path, 42)
    assert caught.value.public == (
        f"{path}: cannot be given to the front doors' uid 42: Operation not permitted."
    )
