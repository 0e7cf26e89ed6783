"""What the engine's answers mean: pure readings of its JSON and of its sentences."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

from broker.core.errors import AddressTaken, DeskError, PortTaken
from broker.core.interfaces import Container, ContainerState, EngineEvent, EventKind
from broker.core.spec import LABEL_DESKTOP, LABEL_INSTANCE, LABEL_SESSION, LABEL_SPEC

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Json: TypeAlias = "Mapping[str, Any]"

#: Marks a container that serves the engine's own work; no session's.
LABEL_HELPER = "desk.helper"

_STATES = {
    "created": ContainerState.CREATED,
    "running": ContainerState.RUNNING,
    "paused": ContainerState.PAUSED,
}
_EVENTS = {
    "die": EventKind.DIED,
    "oom": EventKind.OOM,
    "destroy": EventKind.DESTROYED,
    "pause": EventKind.PAUSED,
    "unpause": EventKind.UNPAUSED,
    "health_status": EventKind.HEALTH,
}

#: What the engine has to tell of.
EVENT_ACTIONS = tuple(_EVENTS)

_FIRST_WITHOUT_VSOCK = 23
#: From here on the engine calls that filter off or says nothing, and turns it on when it needs it.
_FIRST_SILENT_ON_BRIDGES = 28
_TAIL_BYTES = 8192


def whole(reply: Json | None) -> Json:
    """The reply of an inspect; none at all is a broken answer, and not an absent thing."""
    if reply is None:
        raise TypeError("the engine answered nothing")
    return reply


def labels_of(reply: Json) -> dict[str, str]:
    """The labels in an inspect's or a list's reply, of a container, network or volume.

    Something without a place for labels is no such reply: taken for one it would read as somebody
    else's, and so as absent.
    """
    holder = reply.get("Config", reply)
    return dict(holder["Labels"] or {})


def is_of(instance: str, reply: Json) -> bool:
    """Whether it carries the instance's label."""
    return labels_of(reply).get(LABEL_INSTANCE) == instance


def is_session(reply: Json) -> bool:
    """Whether one of our containers is a session's."""
    labels = labels_of(reply)
    return LABEL_HELPER not in labels and LABEL_SESSION in labels and LABEL_DESKTOP in labels


def from_inspect(reply: Json) -> Container:
    state = reply["State"]
    return _container(
        reply,
        name=reply["Name"],
        state=_STATES.get(state["Status"], ContainerState.EXITED),
        exit_code=state["ExitCode"],
        oom_killed=state["OOMKilled"],
    )


def from_list(entry: Json) -> Container | None:
    """The container of one entry of the list; None when only an inspect tells how it ended."""
    state = _STATES.get(entry["State"])
    if state is None:
        return None
    return _container(entry, name=entry["Names"][0], state=state, exit_code=0, oom_killed=False)


def _container(
    reply: Json, *, name: str, state: ContainerState, exit_code: int, oom_killed: bool
) -> Container:
    labels = labels_of(reply)
    return Container(
        name=name.removeprefix("/"),
        state=state,
        desktop_id=labels[LABEL_DESKTOP],
        session_id=labels[LABEL_SESSION],
        spec_hash=labels.get(LABEL_SPEC, ""),
        address=_address(reply),
        exit_code=exit_code if state is ContainerState.EXITED else None,
        oom_killed=oom_killed,
    )


def _address(reply: Json) -> str | None:
    """The address that was asked for: it stays the container's while that does not run."""
    networks = reply["NetworkSettings"]["Networks"] or {}
    for endpoint in networks.values():
        asked = endpoint.get("IPAMConfig") or {}
        if address := asked.get("IPv4Address") or endpoint.get("IPAddress"):
            return str(address)
    return None


def event_of(instance: str, message: Json) -> EngineEvent | None:
    """What happened to a session's container of the instance; None for anything else."""
    # The health check's word comes with its verdict: "health_status: healthy".
    kind = _EVENTS.get(message["Action"].partition(":")[0])
    # The labels stand among the container's other attributes.
    attributes = message["Actor"]["Attributes"]
    reply = {"Labels": attributes}
    if kind is None or not is_of(instance, reply) or not is_session(reply):
        return None
    return EngineEvent(kind=kind, name=attributes["name"], session_id=attributes[LABEL_SESSION])


def cpu_from_stats(reply: Json) -> float | None:
    """CPU seconds in a statistics' reply; None for the empty one of what does not run."""
    nanoseconds: int = reply["cpu_stats"]["cpu_usage"]["total_usage"]
    return nanoseconds / 1e9 if nanoseconds else None


def going(reply: Json) -> bool:
    """Whether the container is on its way out and cannot be adopted."""
    return reply["State"]["Status"] in {"removing", "dead"}


def start_refusal(sentence: str, reply: Json) -> DeskError | None:
    """Why a start failed, when it failed for a lease that somebody else holds.

    The sentences changed over the engine's versions: a port is told by 'port is already allocated'
    (held by a container) or by 'address already in use' behind a word of binding (held by a
    process); an address by 'Address already in use' alone.
    """
    text = sentence.lower()
    if "port is already allocated" in text or "ports are not available" in text:
        return PortTaken(_port(reply))
    if "address already in use" not in text:
        return None
    if re.search(r"\bbind\b|\blisten\b|userland proxy|host port|external connectivity", text):
        return PortTaken(_port(reply))
    return AddressTaken(_address(reply) or "")


def _port(reply: Json) -> int:
    bindings = reply["HostConfig"]["PortBindings"] or {}
    return next(int(binding[0]["HostPort"]) for binding in bindings.values())


def shortcomings(info: Json) -> Iterator[str]:
    """What the engine cannot enforce of what every container asks for."""
    for key, sentence in _NEEDED:
        if not info.get(key):
            yield sentence
    if not any(
        "name=seccomp" in option and "unconfined" not in option
        for option in info.get("SecurityOptions") or ()
    ):
        yield "The engine filters no system calls (seccomp is off)."
    if "local" not in ((info.get("Plugins") or {}).get("Log") or ()):
        yield "The engine has no log driver 'local': containers cannot be made."
    version = _major(info)
    if version < _FIRST_SILENT_ON_BRIDGES and not info.get("BridgeNfIptables"):
        yield "The sysctl net.bridge.bridge-nf-call-iptables is 0: the engine cannot keep desktops apart."
    if version < _FIRST_WITHOUT_VSOCK:
        yield "This engine lets containers open vsock sockets; versions from 23.0 on do not."


def _major(info: Json) -> int:
    match = re.match(r"\d+", str(info["ServerVersion"]))
    return int(match[0]) if match else 0


_NEEDED = (
    ("MemoryLimit", "The engine cannot limit a container's memory."),
    ("SwapLimit", "The engine cannot limit a container's swap: memory limits hold for RAM alone."),
    ("CpuCfsQuota", "The engine cannot limit a container's share of the CPUs."),
    ("PidsLimit", "The engine cannot limit a container's number of processes."),
    ("IPv4Forwarding", "The host does not forward IPv4: desktops have no network."),
    (
        "LiveRestoreEnabled",
        "The engine's live-restore is off: all desktops end when the engine restarts.",
    ),
)


def shown_log(raw: bytes) -> str:
    """The end of a log, safe to print: a tenant's escape codes are text, not deeds."""
    text = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in _lines(raw))
    return text.encode()[-_TAIL_BYTES:].decode(errors="ignore")


def _lines(raw: bytes) -> str:
    return raw[-_TAIL_BYTES:].decode(errors="replace").replace("\r\n", "\n").replace("\t", "    ")
