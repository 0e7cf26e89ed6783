"""No spec, whatever it says, makes a container that could reach the host."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.model import InstanceId
from broker.core.spec import ContainerSpec, FileMount, SessionFiles
from broker.engine.hostconfig import container_config, dropped, host_config
from tests.contract.engines import Specs

#: All that may ever be said to the engine about a container's relation to its host.
ALLOWED = {
    "Privileged",
    "CapDrop",
    "SecurityOpt",
    "ReadonlyRootfs",
    "Tmpfs",
    "Init",
    "IpcMode",
    "NetworkMode",
    "PortBindings",
    "Dns",
    "DnsSearch",
    "Memory",
    "MemorySwap",
    "NanoCpus",
    "PidsLimit",
    "ShmSize",
    "Ulimits",
    "LogConfig",
    "RestartPolicy",
    "Mounts",
}

nasty = st.sampled_from(
    [
        "host",
        "none",
        "bridge",
        "default",
        "container:abc",
        "/",
        "/etc",
        "/var/run/docker.sock",
        "..",
        "desk-../x",
        "desk-a:/etc",
        "desk-",
        "",
        "desk-ok",
        "desk-home-ok",
    ]
)
words = nasty | st.text(max_size=40)
numbers = st.integers(-(2**40), 2**40)
paths = st.sampled_from(
    [
        "/var/run/docker.sock",
        "/etc/passwd",
        "/etc/desk/../passwd",
        "/etc/desk/host_key",
        "/state/s/host_key",
        "/state/s/../host_key",
        "/state/s/passwd",
        "state/s/passwd",
        "/",
        "/proc",
        "/dev/sda",
        "/home/desk",
        "/passwd",
    ]
) | st.text(max_size=30)
labels = st.sampled_from(["s", "", "etc", "run"]).map(lambda s: (("desk.session", s),))
specs = st.builds(
    ContainerSpec,
    name=words,
    image=words,
    hostname=words,
    uid=numbers | st.just(20000),
    environment=st.lists(st.tuples(words, words), max_size=3).map(tuple),
    files=st.lists(st.builds(FileMount, paths, paths), max_size=3).map(tuple),
    home_volume=words,
    network=words,
    address=words | st.just("10.213.0.9"),
    port=numbers | st.just(21000),
    resolvers=st.lists(words | st.just("192.0.2.53"), max_size=2).map(tuple),
    memory=numbers | st.just(1 << 30),
    cpus=st.floats() | st.just(1.0),
    pids=numbers | st.just(512),
    shm=numbers | st.just(1 << 20),
    labels=labels,
)
sane = {
    "name": st.just("desk-ok"),
    "home_volume": st.just("desk-home-ok"),
    "network": st.just("desk-ok"),
    "address": st.just("10.213.0.9"),
    "port": st.just(21000),
    "resolvers": st.just(("192.0.2.53",)),
    "memory": st.just(1 << 30),
    "cpus": st.just(1.0),
    "pids": st.just(512),
    "shm": st.just(1 << 20),
    "uid": st.just(20000),
}


@st.composite
def nearly_sane(draw):
    """Specs with few things wrong, so that many of them get as far as the engine."""
    spec = draw(specs)
    wrong = draw(st.sets(st.sampled_from(sorted(sane)), max_size=1))
    return replace(spec, **{k: draw(v) for k, v in sane.items() if k not in wrong})


def assert_locked_down(config) -> None:
    host = config["HostConfig"]
    assert set(host) <= ALLOWED
    assert host["Privileged"] is False
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["ReadonlyRootfs"] is True
    assert host["IpcMode"] == "private"
    assert host["NetworkMode"].startswith("desk-")
    assert ":" not in host["NetworkMode"]
    assert set(config["NetworkingConfig"]["EndpointsConfig"]) == {host["NetworkMode"]}
    assert host["Memory"] == host["MemorySwap"] > 0
    assert min(host["NanoCpus"], host["PidsLimit"], host["ShmSize"]) > 0
    assert host["Dns"]
    ((binding,),) = host["PortBindings"].values()
    assert binding["HostIp"] == "127.0.0.1"
    user, group = map(int, config["User"].split(":"))
    assert user == group > 0
    home, *files = host["Mounts"]
    assert (home["Type"], home["Target"]) == ("volume", "/home/desk")
    assert home["Source"].startswith("desk-")
    assert "/" not in home["Source"]
    session = config["Labels"]["desk.session"]
    for mount in files:
        source = PurePosixPath(mount["Source"])
        assert mount["Type"] == "bind"
        assert mount["ReadOnly"] is True
        assert mount["Target"].startswith("/etc/")
        assert source.parent.name == session != ""
        assert ".." not in source.parts
        assert source.is_absolute()
        assert source.name == PurePosixPath(mount["Target"]).name


@given(specs | nearly_sane())
def test_no_spec_makes_a_container_that_reaches_the_host(spec):
    try:
        config = container_config(spec)
    except ValueError:
        return
    assert_locked_down(config)


@pytest.fixture
def spec(tmp_path):
    return Specs(InstanceId("0" * 16), "desk:latest", tmp_path).make()


def test_an_ordinary_spec_is_allowed(spec):
    config = container_config(spec)
    assert_locked_down(config)
    host = config["HostConfig"]
    assert host["PortBindings"] == {
        "2222/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(spec.port)}]
    }
    assert host["NanoCpus"] == 500_000_000
    assert f"uid={spec.uid},gid={spec.uid}," in host["Tmpfs"]["/run"]
    assert config["Env"] == [f"DESK_SESSION={spec.session_id}"]


def test_the_files_of_a_session_are_all_allowed(spec):
    files = SessionFiles(directory=PurePosixPath("/var/lib/desk/sessions") / spec.session_id)
    mounts = host_config(replace(spec, files=files.mounts))["Mounts"]
    assert [mount["Target"] for mount in mounts[1:]] == [
        "/etc/desk/host_key",
        "/etc/desk/authorized_keys",
        "/etc/passwd",
        "/etc/group",
    ]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"network": "host"}, "network"),
        ({"network": "container:other"}, "network"),
        ({"home_volume": "/etc"}, "home volume"),
        ({"name": "postgres"}, "name"),
        ({"memory": 0}, "memory"),
        ({"pids": 0}, "pids"),
        ({"shm": -1}, "shm"),
        ({"cpus": 0.0}, "cpus"),
        ({"cpus": float("nan")}, "cpus"),
        ({"uid": 0}, "uid"),
        ({"port": 70000}, "port"),
        ({"resolvers": ()}, "resolver"),
        ({"resolvers": ("127.0.0.53x",)}, "IPv4"),
        ({"address": "::1"}, "IPv4"),
        ({"files": (FileMount("/var/run/docker.sock", "/etc/desk/docker.sock"),)}, "session"),
        ({"files": (FileMount("/etc/passwd", "/etc/passwd"),)}, "session"),
        ({"files": (FileMount("/etc/shadow", "/etc/shadow"),)}, "mounted"),
        ({"files": (FileMount("/x/../y/passwd", "/etc/passwd"),)}, "plain"),
    ],
)
def test_what_is_forbidden_is_told(spec, change, word):
    with pytest.raises(ValueError, match=word):
        host_config(replace(spec, **change))


def test_what_an_engine_took_in_another_order_is_not_dropped(spec):
    asked = host_config(spec)
    taken = dict(asked)
    taken["Ulimits"] = [dict(reversed(u.items())) for u in reversed(asked["Ulimits"])]
    assert dropped(asked, taken) == ()
    assert dropped(asked, taken | {"PidsLimit": None}) == ("PidsLimit",)


def test_the_module_is_the_only_one_that_names_the_engines_privileges():
    engine = Path(__file__).parents[2] / "broker"
    naming = {
        path.name
        for path in engine.rglob("*.py")
        if any(
            word in path.read_text()
            for word in ('"Privileged"', '"PidMode"', '"Devices"', '"Binds"')
        )
    }
    assert naming <= {"hostconfig.py"}
