"""Which front door a process is, by the unit that systemd keeps it in."""

from __future__ import annotations

import os

import pytest

from broker.system.peer import child_of, instance_of

DOOR = "/system.slice/system-desk\\x2ddoor.slice/desk-door@1.service"


@pytest.fixture
def found(tmp_path):
    """What a process with such a file is taken for."""

    def of(*lines):
        (tmp_path / "7").mkdir(exist_ok=True)
        (tmp_path / "7" / "cgroup").write_text("".join(f"{line}\n" for line in lines))
        return instance_of("desk-door", tmp_path)(7)

    return of


@pytest.mark.parametrize(
    "lines",
    [
        (f"0::{DOOR}",),
        ("12:memory:/", f"1:name=systemd:{DOOR}", "0::/"),
        ("12:memory:/", f"1:name=systemd:{DOOR}"),
        (f"0::/desk.slice{DOOR.removeprefix('/system.slice')}",),
    ],
)
def test_a_door_is_known_by_its_unit(found, lines):
    """By either version of control groups, and in a slice of the administrator's."""
    assert found(*lines) == "desk-door@1.service"


@pytest.mark.parametrize(
    "path",
    [
        "/user.slice/user-0.slice/user@0.service/app.slice/desk-door@1.service",
        "/system.slice/desk-doors.service",
        "/system.slice/other.service",
        "/system.slice/docker-abc.scope/system.slice/desk-door@1.service",
        f"{DOOR}/more",
        "/desk-door@1.service",
        "/",
        "",
    ],
)
def test_nobody_else_is_one(found, path):
    """Whatever somebody names a service of their own, or a group below another's."""
    assert found(f"0::{path}") is None


def test_a_process_that_is_gone_is_none(tmp_path):
    assert instance_of("desk-door", tmp_path)(8) is None


def test_a_child_is_known_by_its_parent():
    assert child_of(os.getppid())(os.getpid()) == os.getpid()
    assert child_of(os.getpid())(os.getpid()) is None
