"""The readings of what an engine says, over the versions of its sentences."""

from __future__ import annotations

import pytest

from broker.core.errors import AddressTaken, PortTaken
from broker.core.interfaces import ContainerState, EngineEvent, EventKind
from broker.engine.facts import (
    cpu_from_stats,
    event_of,
    from_inspect,
    from_list,
    shortcomings,
    shown_log,
    start_refusal,
)

FOUND = {
    "HostConfig": {"PortBindings": {"2222/tcp": [{"HostIp": "127.0.0.1", "HostPort": "21000"}]}},
    "NetworkSettings": {"Networks": {"n": {"IPAMConfig": {"IPv4Address": "10.213.0.9"}}}},
}
PROGRAMMING = "driver failed programming external connectivity on endpoint desk-1 (ab): "


@pytest.mark.parametrize(
    "sentence",
    [
        PROGRAMMING + "Bind for 127.0.0.1:21000 failed: port is already allocated",
        PROGRAMMING + "Error starting userland proxy: listen tcp4 127.0.0.1:21000: bind: "
        "address already in use",
        "failed to set up container networking: " + PROGRAMMING + "failed to bind host port for "
        "127.0.0.1:21000:10.213.0.9:2222/tcp: address already in use",
        "Ports are not available: listen tcp 127.0.0.1:21000: bind: address already in use",
    ],
)
def test_a_taken_port_is_told_by_every_version(sentence):
    error = start_refusal(sentence, FOUND)
    assert isinstance(error, PortTaken)
    assert error.port == 21000


@pytest.mark.parametrize(
    "sentence",
    ["Address already in use", "failed to set up container networking: Address already in use"],
)
def test_a_taken_address_is_told_by_every_version(sentence):
    error = start_refusal(sentence, FOUND)
    assert isinstance(error, AddressTaken)
    assert error.address == "10.213.0.9"


@pytest.mark.parametrize(
    "sentence",
    ["OCI runtime create failed", "Invalid address 10.99.0.1: It does not belong to any subnet"],
)
def test_other_failures_are_no_lease_of_anybody(sentence):
    assert start_refusal(sentence, FOUND) is None


HEALTHY = {
    "ServerVersion": "26.1.5",
    "MemoryLimit": True,
    "SwapLimit": True,
    "CpuCfsQuota": True,
    "PidsLimit": True,
    "IPv4Forwarding": True,
    "BridgeNfIptables": True,
    "LiveRestoreEnabled": True,
    "SecurityOptions": ["name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"],
    "Plugins": {"Log": ["json-file", "local"]},
}


def test_an_engine_that_enforces_all_has_no_shortcomings():
    assert list(shortcomings(HEALTHY)) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"MemoryLimit": False}, "memory"),
        ({"SwapLimit": False}, "swap"),
        ({"CpuCfsQuota": False}, "CPU"),
        ({"PidsLimit": False}, "processes"),
        ({"IPv4Forwarding": False}, "forward"),
        ({"BridgeNfIptables": False}, "apart"),
        ({"LiveRestoreEnabled": False}, "live-restore"),
        ({"SecurityOptions": ["name=seccomp,profile=unconfined"]}, "seccomp"),
        ({"Plugins": {"Log": ["json-file"]}}, "'local'"),
        ({"ServerVersion": "20.10.24+dfsg1"}, "vsock"),
    ],
)
def test_each_shortcoming_has_its_sentence(change, word):
    (sentence,) = shortcomings(HEALTHY | change)
    assert word in sentence


def test_newer_engines_say_nothing_of_the_bridge_filter():
    silent = HEALTHY | {"ServerVersion": "28.2.2", "BridgeNfIptables": False}
    assert list(shortcomings(silent)) == []


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("created", ContainerState.CREATED),
        ("running", ContainerState.RUNNING),
        ("paused", ContainerState.PAUSED),
        ("exited", ContainerState.EXITED),
        ("restarting", ContainerState.EXITED),
        ("removing", ContainerState.EXITED),
        ("dead", ContainerState.EXITED),
    ],
)
def test_what_serves_nobody_counts_as_ended(status, state):
    labels = {"desk.desktop": "d", "desk.session": "s"}
    container = from_inspect(
        {
            "Name": "/desk-1",
            "State": {"Status": status, "ExitCode": 7, "OOMKilled": True},
            "Config": {"Labels": labels},
            "NetworkSettings": {"Networks": {"n": {"IPAddress": "10.213.0.9"}}},
        }
    )
    assert container.state is state
    assert container.exit_code == (7 if state is ContainerState.EXITED else None)
    assert container.address == "10.213.0.9"
    assert container.spec_hash == ""
    listed = from_list(
        {
            "Names": ["/desk-1"],
            "State": status,
            "Labels": labels,
            "NetworkSettings": {"Networks": {}},
        }
    )
    assert (listed is None) == (state is ContainerState.EXITED)


def test_a_logs_end_is_bounded_and_its_escape_codes_are_text():
    assert shown_log(b"a\x1b[31m\r\nb\tc\xff\n") == "a\\x1b[31m\nb    c\ufffd\n"
    long = shown_log("é".encode() * 9000)
    assert len(long.encode()) <= 8192
    assert set(long) == {"é"}


def message(action: str, **labels: str):
    ours = {"desk.instance": "i", "desk.session": "s", "desk.desktop": "d"}
    attributes = {"name": "desk-1", "image": "sha256:0", **ours, **labels}
    return {"Type": "container", "Action": action, "Actor": {"ID": "f", "Attributes": attributes}}


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("die", EventKind.DIED),
        ("oom", EventKind.OOM),
        ("destroy", EventKind.DESTROYED),
        ("pause", EventKind.PAUSED),
        ("unpause", EventKind.UNPAUSED),
        ("health_status: healthy", EventKind.HEALTH),
        ("health_status: unhealthy", EventKind.HEALTH),
    ],
)
def test_what_an_event_means(action, kind):
    expected = EngineEvent(kind=kind, name="desk-1", session_id="s")
    assert event_of("i", message(action)) == expected


@pytest.mark.parametrize(
    "other",
    [
        message("start"),
        message("exec_die: sh"),
        message("die", **{"desk.instance": "other"}),
        message("die", **{"desk.helper": "home"}),
        {"Action": "die", "Actor": {"Attributes": {"name": "x", "desk.instance": "i"}}},
    ],
    ids=["start", "exec", "another instance's", "helper", "no session's"],
)
def test_what_is_no_event_of_ours(other):
    assert event_of("i", other) is None


@pytest.mark.parametrize(("nanoseconds", "seconds"), [(1_500_000_000, 1.5), (0, None)])
def test_cpu_time_in_statistics(nanoseconds, seconds):
    assert cpu_from_stats({"cpu_stats": {"cpu_usage": {"total_usage": nanoseconds}}}) == seconds
