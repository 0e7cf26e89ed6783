"""What the container that bounds a home is, and what becomes of the kernel's answers."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from threading import Lock

import pytest

from broker.core.errors import EngineUnavailable, HomeUnbounded
from broker.engine.quotas import Quotas


class Client:
    def __init__(self, code):
        self.code = code

    def start(self, _made): ...

    def wait(self, _made):
        return {"StatusCode": self.code}

    def logs(self, _made, **_):
        return b"no such thing\n"


class Homes:
    """Where helpers are made."""

    def __init__(self):
        self.made = []

    def lock(self, _name):
        return Lock()

    @contextmanager
    def helper(self, name, config, _labels):
        self.made.append((name, config))
        yield "made"


def quotas(code=0):
    homes = Homes()
    link = type("Link", (), {"client": Client(code)})()
    return Quotas(homes, link), homes.made


def bound(one, **more):
    one.bound("desk-home-1", **{"image": "desk:1", "uid": 20001, "size": 20 << 20, **more})


def test_the_bound_is_in_kib_with_a_file_for_each_four_of_them():
    one, made = quotas()
    bound(one)
    bound(one, size=1 << 30)
    assert made[0][1]["Cmd"] == ["20001", "20480", "5120"]
    assert made[1][1]["Cmd"] == ["20001", "1048576", "262144"]


def test_a_small_home_may_have_a_few_thousand_files_all_the_same():
    one, made = quotas()
    bound(one, size=1 << 20)
    assert made[0][1]["Cmd"] == ["20001", "1024", "4096"]


def test_what_is_bounded_already_is_left_alone():
    one, made = quotas()
    for more in ({}, {}, {"size": 1 << 30}, {"uid": 20002}):
        bound(one, **more)
    assert len(made) == 3


def test_it_has_the_one_right_that_it_takes_and_no_network():
    one, made = quotas()
    bound(one)
    config = made[0][1]
    host = config["HostConfig"]
    assert (host["NetworkMode"], host["ReadonlyRootfs"]) == ("none", True)
    assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], ["SYS_ADMIN", "DAC_READ_SEARCH"])
    assert host["Mounts"][0]["Source"] == "desk-home-1"


def test_a_check_changes_nothing_and_mounts_no_home():
    one, made = quotas()
    one.check("desk:1", name="desk-quota-1")
    config = made[0][1]
    assert config["Cmd"] == ["0", "0", "0"]
    assert "Source" not in config["HostConfig"]["Mounts"][0]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ENOSYS, "has no quotas"),
        (errno.ESRCH, "mount it with usrquota"),
        (errno.EPERM, "lets nobody set quotas"),
        (errno.EIO, "does not hold"),
    ],
)
def test_the_kernels_refusal_is_told_as_a_reason(code, reason):
    one, made = quotas(code)
    for _ in range(2):
        with pytest.raises(HomeUnbounded, match=reason):
            bound(one)
    assert len(made) == 2  # asked anew each time


def test_another_end_is_the_engines_trouble():
    one, _ = quotas(127)
    with pytest.raises(EngineUnavailable, match="no such thing"):
        bound(one)
