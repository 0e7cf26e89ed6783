"""The containers of sessions: made, started, found, removed."""

from __future__ import annotations

import itertools
import math
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from docker.errors import APIError
from docker.errors import NotFound as Absent

from broker.core.errors import Conflict, EngineUnavailable, NotFound
from broker.core.spec import LABEL_INSTANCE, LABEL_SPEC
from broker.engine.cgroups import cpu_seconds, is_frozen, set_frozen
from broker.engine.executor import status, text_of
from broker.engine.facts import (
    cpu_from_stats,
    from_inspect,
    from_list,
    going,
    is_of,
    is_session,
    labels_of,
    shown_log,
    start_refusal,
    whole,
)
from broker.engine.hostconfig import dropped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from broker.core.interfaces import Container
    from broker.core.spec import ContainerSpec
    from broker.engine.executor import Calls
    from broker.engine.facts import Json
    from broker.engine.transport import Link

_log = structlog.get_logger(__name__)

#: How often a call looks again while another one makes or removes the same container.
_POLL_SECONDS = 0.05

#: How often a refused pause is tried: what ended just now is for a moment said to run.
_TRIES = 20

_ALIVE = frozenset({"running", "paused"})


#: What the runtime says when the engine, killed between the kernel's work and its own note of it,
#: has a container in the other state than the kernel.
_FROZEN = "cannot pause a paused container"
_AT_ODDS = (_FROZEN, "container not running", "container not paused")

#: Seconds in which a pause that somebody else asked for gets from the kernel to the engine's note.
_SETTLED = 0.25


class Containers:
    """Blocking; each method is one call of the engine's Protocol."""

    def __init__(self, instance: str, link: Link, calls: Calls) -> None:
        self._instance = instance
        self._link = link
        self._calls = calls
        self._warned: set[str] = set()
        self._mending = threading.Lock()

    def create(self, spec: ContainerSpec, config: Json) -> Container:
        replaced = False
        while True:
            made = self._try_create(spec, config)
            if made is not None:
                return made
            found = self._find(spec.name)
            if found is None:
                # The name is reserved from before a container can be seen until it is gone.
                self._wait(spec.name)
                continue
            if not is_of(self._instance, found):
                raise Conflict(f"the engine's container {spec.name!r} belongs to somebody else")
            if _made_from(spec, found) and not going(found):
                return from_inspect(found)
            if replaced:
                raise Conflict(f"container {spec.name!r} is being made from another spec")
            self._remove(found, grace=0)
            replaced = True

    def start(self, name: str) -> Container:
        found = self._own(name)
        if found is None:
            raise NotFound(f"there is no container {name!r}")
        if found["State"]["Status"] not in _ALIVE:
            self._start(name, found)
            found = self._find(found["Id"])
        if found is None:
            raise NotFound(f"container {name!r} was removed while it started")
        return from_inspect(found)

    def remove(self, name: str, *, grace: float) -> None:
        found = self._own(name)
        if found is not None:
            self._remove(found, grace=grace)

    def kill(self, name: str) -> None:
        self.remove(name, grace=0)

    def pause(self, name: str) -> None:
        self._bring(name, "paused", self._link.client.pause)

    def unpause(self, name: str) -> None:
        self._bring(name, "running", self._link.client.unpause)

    def cpu_seconds(self, name: str) -> float | None:
        place = self.place(name)
        if place is None:
            return None
        # The kernel's own figure costs a look at two files; an old engine asked for statistics
        # answers with the next of its rounds, which it makes once a second.
        seconds = cpu_seconds(*place)
        return self._counted(place[0]) if seconds is None else seconds

    def place(self, name: str) -> tuple[str, int] | None:
        """Its id at the engine and its first process; None unless it runs."""
        found = self._own(name)
        if found is None or found["State"]["Status"] not in _ALIVE:
            return None
        return found["Id"], found["State"]["Pid"]

    def inspect(self, name: str) -> Container | None:
        found = self._own(name)
        return None if found is None else from_inspect(found)

    def all(self) -> list[Container]:
        label = f"{LABEL_INSTANCE}={self._instance}"
        entries = self._link.client.containers(all=True, filters={"label": label})
        seen = (self._listed(entry) for entry in entries if is_session(entry))
        return [container for container in seen if container is not None]

    def tail(self, name: str, *, lines: int) -> str:
        found = self._own(name)
        if found is None:
            return ""
        try:
            return shown_log(self._link.client.logs(found["Id"], tail=lines))
        except Absent:
            return ""

    def _try_create(self, spec: ContainerSpec, config: Json) -> Container | None:
        """None when the name is taken."""
        try:
            made = self._link.create(config, spec.name)
        except APIError as error:
            if status(error) == 409 and "already in use" in text_of(error):
                return None
            raise
        found = self._find(made["Id"])
        if found is None:
            raise EngineUnavailable(f"container {spec.name!r} was removed while it was made")
        self._warn(made["Warnings"] or (), dropped(config["HostConfig"], found["HostConfig"]))
        return from_inspect(found)

    def _warn(self, warnings: Iterable[str], ignored: Iterable[str]) -> None:
        for kind in {*warnings, *ignored} - self._warned:
            self._warned.add(kind)
            _log.warning("engine does not enforce all limits", limit=kind)

    def _start(self, name: str, found: Json) -> None:
        try:
            self._link.client.start(found["Id"])
        except APIError as error:
            sentence = text_of(error)
            if "no such container" in sentence or "marked for removal" in sentence:
                raise NotFound(f"container {name!r} was removed while it started") from error
            refusal = start_refusal(sentence, found)
            if refusal is not None:
                raise refusal from error
            raise

    def _bring(self, name: str, wanted: str, act: Callable[[str], object]) -> None:
        for tried in itertools.count(1):
            found = self._alive(name)
            if found["State"]["Status"] == wanted:
                if self._at_odds(found):
                    self._mend(name)
                return
            try:
                act(found["Id"])
            except APIError as error:
                # It is ending, or another call was first: its state says which.
                if tried == _TRIES:
                    raise
                if not any(words in text_of(error) for words in _AT_ODDS):
                    self._wait(name)
                elif not self._mend(name) and wanted == "paused" and _FROZEN in text_of(error):
                    return  # it is frozen, whatever the engine says of it
            else:
                return

    def _alive(self, name: str) -> Json:
        found = self._own(name)
        if found is None or found["State"]["Status"] not in _ALIVE:
            raise NotFound(f"container {name!r} does not run")
        return found

    def _at_odds(self, found: Json) -> bool:
        """Whether the kernel has it in another state than the engine."""
        state = found["State"]
        frozen = is_frozen(found["Id"], state["Pid"])
        return frozen is not None and frozen is not (state["Status"] == "paused")

    def _mend(self, name: str) -> bool:
        """Bring the kernel to what the engine says, which has no way back by itself. One at a time,
        and not in the midst of a pause that is under way. Whether the two agree now.
        """
        with self._mending:
            self._calls.closing.wait(_SETTLED)
            found = self._alive(name)
            container, pid = found["Id"], found["State"]["Pid"]
            paused = found["State"]["Status"] == "paused"
            if self._at_odds(found) and set_frozen(container, pid, frozen=paused):
                _log.warning("the engine had lost track", container=name, paused=paused)
            return is_frozen(container, pid) is paused

    def _counted(self, container: str) -> float | None:
        try:
            return cpu_from_stats(self._link.client.stats(container, stream=False, one_shot=True))
        except Absent:
            return None

    def _remove(self, found: Json, *, grace: float) -> None:
        container = found["Id"]
        if grace > 0:
            # The engine lets a paused container go on as soon as the signal waits for it.
            # What could not be stopped is killed next; that call's error is the one to tell.
            with suppress(APIError):
                self._link.client.stop(container, timeout=math.ceil(grace))
        while self._find(container) is not None:
            try:
                self._link.client.remove_container(container, v=True, force=True)
            except Absent:
                return
            except APIError as error:
                if status(error) != 409:
                    raise
                self._wait(container)

    def _wait(self, what: str) -> None:
        if self._calls.deadline.passed or self._calls.closing.wait(_POLL_SECONDS):
            raise EngineUnavailable(f"container {what!r} is busy with another call")

    def _listed(self, entry: Json) -> Container | None:
        container = from_list(entry)
        if container is not None:
            return container
        found = self._find(entry["Id"])
        return None if found is None else from_inspect(found)

    def _own(self, name: str) -> Json | None:
        """The container of that name, if it is a session's and the instance's."""
        found = self._find(name)
        if found is None or not is_of(self._instance, found) or not is_session(found):
            return None
        return found

    def _find(self, name: str) -> Json | None:
        try:
            reply = whole(self._link.client.inspect_container(name))
        except Absent:
            return None
        # The engine also takes an id's beginning for a name.
        return reply if name in {reply["Name"].removeprefix("/"), reply["Id"]} else None


def _made_from(spec: ContainerSpec, found: Json) -> bool:
    wanted, labels = dict(spec.labels), labels_of(found)
    return is_session(found) and (
        labels.get(LABEL_SPEC) == wanted.get(LABEL_SPEC)
        and from_inspect(found).session_id == spec.session_id
    )
