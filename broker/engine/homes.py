"""Home volumes: made, filled from the image, given to the desktop's uid."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import structlog
from docker.errors import APIError, NotFound

from broker.core.errors import Conflict, EngineUnavailable
from broker.core.spec import LABEL_DESKTOP, LABEL_INSTANCE
from broker.engine.executor import status
from broker.engine.facts import LABEL_HELPER, is_of, shown_log, whole
from broker.engine.hostconfig import HOME, LOG_CONFIG, NO_NEW_PRIVILEGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.engine.facts import Json
    from broker.engine.transport import Link

_log = structlog.get_logger(__name__)

#: The home's own directory comes last: its owner tells that all below is done. Links are given
#: away themselves, never followed.
_SCRIPT = f"""
set -eu
[ "$(stat -c %u {HOME})" != "$DESK_UID" ] || exit 0
for entry in {HOME}/* {HOME}/.[!.]* {HOME}/..?*; do
  if [ -e "$entry" ] || [ -L "$entry" ]; then chown -hR "$DESK_UID:$DESK_UID" "$entry"; fi
done
chown "$DESK_UID:$DESK_UID" {HOME}
"""


class Homes:
    """Blocking; each method is one call of the engine's Protocol."""

    def __init__(self, instance: str, link: Link) -> None:
        self._instance = instance
        self._link = link
        self._owned: dict[str, int] = {}
        self._locks: dict[str, threading.Lock] = {}

    def ensure(self, volume: str, *, desktop_id: str, image: str, uid: int) -> None:
        # Two helpers at work on one volume would take each other for a crash's leftover.
        with self.lock(volume):
            found = self.find(volume)
            if found is not None and self._owned.get(volume) == uid:
                return
            if found is None and self._owned.pop(volume, None) is not None:
                _log.warning("home volume vanished", volume=volume, desktop=desktop_id)
            # Before the volume is made: an empty one without its helper would stay behind.
            self._link.image(image)
            if found is None:
                self.make(volume, desktop_id)
            self._give(volume, desktop_id, image, uid)
            self._owned[volume] = uid

    def remove(self, volume: str) -> None:
        with self.lock(volume):
            try:
                found = self.find(volume)
            except Conflict:
                return
            if found is not None:
                self.discard(volume)

    def lock(self, volume: str) -> threading.Lock:
        """Held by whoever works on the volume: two helpers on one would be in each other's way."""
        return self._locks.setdefault(volume, threading.Lock())

    def discard(self, volume: str) -> None:
        """Remove a volume of ours; the caller holds its lock. Gone already is success."""
        self._owned.pop(volume, None)
        self._remove_helper(_helper(volume))
        try:
            self._link.client.remove_volume(volume)
        except NotFound:
            return
        except APIError as error:
            if status(error) == 409:
                raise Conflict(f"volume {volume!r} is in use") from error
            raise

    def names(self) -> list[str]:
        label = f"{LABEL_INSTANCE}={self._instance}"
        reply = self._link.client.volumes(filters={"label": label})
        return sorted(volume["Name"] for volume in reply["Volumes"] or ())

    def find(self, volume: str) -> Json | None:
        """The volume, if it is there. Raises `Conflict` when it is somebody else's."""
        try:
            reply = whole(self._link.client.inspect_volume(volume))
        except NotFound:
            return None
        return self._ours(reply)

    def _ours(self, reply: Json) -> Json:
        if not is_of(self._instance, reply):
            raise Conflict(f"the engine's volume {reply['Name']!r} belongs to somebody else")
        return reply

    def make(self, volume: str, desktop_id: str) -> None:
        """Make the volume, empty; the caller holds its lock."""
        labels = {LABEL_INSTANCE: self._instance, LABEL_DESKTOP: desktop_id}
        # The engine answers with the one that is there, if another call was quicker.
        self._ours(self._link.client.create_volume(volume, labels=labels))

    def _give(self, volume: str, desktop_id: str, image: str, uid: int) -> None:
        """Run a container once whose mount lets the engine fill the volume, and which then gives
        everything in it to the uid.
        """
        client = self._link.client
        labels = {LABEL_DESKTOP: desktop_id}
        with self.helper(volume, _helper_config(volume, image, uid), labels) as made:
            client.start(made)
            code = client.wait(made)["StatusCode"]
            if code != 0:
                words = shown_log(client.logs(made, tail=5))
                raise EngineUnavailable(f"volume {volume!r}: its helper ended with {code}: {words}")

    @contextmanager
    def helper(self, volume: str, config: Json, labels: dict[str, str]) -> Iterator[str]:
        """A container of the volume's, made and not started, and removed at the end; yields its id.
        The caller holds the volume's lock.
        """
        name = _helper(volume)
        labels = {**labels, LABEL_INSTANCE: self._instance, LABEL_HELPER: "home"}
        self._remove_helper(name)
        try:
            yield str(self._link.create({**config, "Labels": labels}, name)["Id"])
        finally:
            # The error that is under way tells more than one of the removal, which is made up
            # for at the next call.
            with suppress(APIError, OSError):
                self._remove_helper(name)

    def _remove_helper(self, name: str) -> None:
        with suppress(NotFound):
            found = self._link.client.inspect_container(name)
            if not is_of(self._instance, found):
                raise Conflict(f"the engine's container {name!r} belongs to somebody else")
            self._link.client.remove_container(found["Id"], v=True, force=True)


def _helper(volume: str) -> str:
    return f"{volume}-helper"


def _helper_config(volume: str, image: str, uid: int) -> dict[str, Any]:
    return {
        "Image": image,
        "Entrypoint": ["/bin/sh", "-c"],
        "Cmd": [_SCRIPT],
        "User": "0:0",
        "WorkingDir": "/",
        "Env": [f"DESK_UID={uid}"],
        "HostConfig": {
            "NetworkMode": "none",
            "CapDrop": ["ALL"],
            # Directories in an image's home are often 0700: without the second, not even root
            # sees what is in them.
            "CapAdd": ["CHOWN", "DAC_OVERRIDE"],
            "SecurityOpt": [NO_NEW_PRIVILEGES],
            "ReadonlyRootfs": True,
            "PidsLimit": 16,
            "Memory": 128 << 20,
            "LogConfig": LOG_CONFIG,
            "RestartPolicy": {"Name": "no"},
            "Mounts": [{"Type": "volume", "Source": volume, "Target": HOME}],
        },
    }
