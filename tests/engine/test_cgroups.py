"""CPU time by the layouts that hosts have."""

from __future__ import annotations

import pytest

from broker.engine.cgroups import cpu_seconds, is_frozen, memory_bytes, set_frozen

ID = "2118425de6adf5e0924e67fc8b849ae3e3623ebbc7536eee645cc03492ec1ad9"
PID = 4711

FIRST = "3:cpuset:/docker/{id}\n2:cpu,cpuacct:/docker/{id}\n1:name=systemd:/docker/{id}\n"
LAYOUTS = {
    "first version": (FIRST, "cpuacct/docker/{id}/cpuacct.usage"),
    "both versions": (FIRST + "0::/docker/{id}\n", "cpuacct/docker/{id}/cpuacct.usage"),
    "second version": ("0::/docker/{id}\n", "docker/{id}/cpu.stat"),
    "second version, systemd": (
        "0::/system.slice/docker-{id}.scope\n",
        "system.slice/docker-{id}.scope/cpu.stat",
    ),
    "a group inside its own": ("0::/docker/{id}/init\n", "docker/{id}/cpu.stat"),
    "a parent of the administrator's": (
        "0::/desk.slice/docker-{id}.scope\n",
        "desk.slice/docker-{id}.scope/cpu.stat",
    ),
}
USED = {
    "cpuacct.usage": "12345678901\n",
    "cpu.stat": "usage_usec 12345678\nuser_usec 12000000\nsystem_usec 345678\n",
    "freezer.state": "THAWED\n",
    "cgroup.freeze": "0\n",
}


@pytest.fixture
def host(tmp_path):
    def lay(lines: str, file: str | None) -> dict:
        proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
        (proc / str(PID)).mkdir(parents=True)
        (proc / str(PID) / "cgroup").write_text(lines.format(id=ID))
        if file is not None:
            path = cgroups / file.format(id=ID)
            path.parent.mkdir(parents=True)
            path.write_text(USED[path.name])
        return {"proc": proc, "cgroups": cgroups}

    return lay


@pytest.mark.parametrize(("lines", "file"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_the_time_is_found_in_every_layout(host, lines, file):
    assert cpu_seconds(ID, PID, **host(lines, file)) == pytest.approx(12.345678, abs=2e-6)


@pytest.mark.parametrize(
    ("lines", "file"),
    [
        ("0::/user.slice/session-1.scope\n", "user.slice/session-1.scope/cpu.stat"),
        ("2:cpuacct:/\n0::/docker/{id}\n", "docker/{id}/cpu.stat"),
        ("0::/docker/{id}\n", None),
        ("1:cpu:/docker/{id}\n", None),
        ("", None),
        ("nonsense\n", None),
    ],
    ids=["somebody else's", "the root's", "gone", "not counted", "empty", "nonsense"],
)
def test_what_is_not_the_containers_is_not_taken_for_it(host, lines, file):
    assert cpu_seconds(ID, PID, **host(lines, file)) is None


def test_a_process_that_is_gone_has_none(tmp_path):
    assert cpu_seconds(ID, PID, proc=tmp_path, cgroups=tmp_path) is None


def test_a_figure_that_cannot_be_read_is_none(host):
    roots = host("0::/docker/{id}\n", "docker/{id}/cpu.stat")
    (roots["cgroups"] / "docker" / ID / "cpu.stat").write_text("user_usec 5\n")
    assert cpu_seconds(ID, PID, **roots) is None


FREEZERS = {
    "first version": ("4:freezer:/docker/{id}\n" + FIRST, "freezer/docker/{id}/freezer.state"),
    "second version": ("0::/docker/{id}\n", "docker/{id}/cgroup.freeze"),
    "second version, systemd": (
        "0::/system.slice/docker-{id}.scope\n",
        "system.slice/docker-{id}.scope/cgroup.freeze",
    ),
}


@pytest.mark.parametrize(("lines", "file"), FREEZERS.values(), ids=FREEZERS.keys())
def test_the_freezer_is_found_in_every_layout(host, lines, file):
    where = host(lines, file)
    for frozen in (True, False):
        assert set_frozen(ID, PID, frozen=frozen, **where)
        assert is_frozen(ID, PID, **where) is frozen


def test_a_freezer_that_freezes_just_now_is_frozen(host):
    where = host(*FREEZERS["first version"])
    (where["cgroups"] / FREEZERS["first version"][1].format(id=ID)).write_text("FREEZING\n")
    assert is_frozen(ID, PID, **where) is True


@pytest.mark.parametrize(
    ("lines", "file"),
    [
        ("4:freezer:/\n", "freezer/docker/{id}/freezer.state"),
        ("0::/docker/{id}\n", None),
        ("", None),
    ],
    ids=["another's", "no group", "no process"],
)
def test_a_freezer_out_of_reach_is_unknown(host, lines, file):
    where = host(lines, file)
    assert is_frozen(ID, PID, **where) is None
    assert not set_frozen(ID, PID, frozen=True, **where)


HOLDS = {
    "first version": (
        "5:memory:/docker/{id}\n" + FIRST,
        "memory/docker/{id}",
        ("memory.usage_in_bytes", "total_inactive_file"),
    ),
    "second version": ("0::/docker/{id}\n", "docker/{id}", ("memory.current", "inactive_file")),
}


@pytest.mark.parametrize(("lines", "group", "names"), HOLDS.values(), ids=HOLDS.keys())
def test_the_memory_is_what_the_kernel_cannot_let_go_of(host, lines, group, names):
    where = host(lines, None)
    place = where["cgroups"] / group.format(id=ID)
    place.mkdir(parents=True)
    (place / names[0]).write_text("5000\n")
    (place / "memory.stat").write_text(f"anon 1\n{names[1]} 2000\n")
    assert memory_bytes(ID, PID, **where) == 3000
    (place / "memory.stat").write_text(f"{names[1]} 6000\n")
    assert memory_bytes(ID, PID, **where) == 0
    (place / names[0]).unlink()
    assert memory_bytes(ID, PID, **where) is None
