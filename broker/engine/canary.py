"""A container that tries, from the desktops' own network, what it must not reach."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from docker.errors import APIError, NotFound

from broker.core.errors import Conflict, EngineUnavailable
from broker.core.spec import LABEL_INSTANCE
from broker.engine.facts import LABEL_HELPER, is_of, shown_log
from broker.engine.hostconfig import LOG_CONFIG, NO_NEW_PRIVILEGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.engine.transport import Link

#: Seconds that one try may take: what is dropped is never answered.
_PATIENCE = 2

#: Prints the number of each target that took a connection, and at the end that all were tried.
_SCRIPT = f"""
try() {{ timeout {_PATIENCE} bash -c ": </dev/tcp/$2/$3" 2>/dev/null && echo "$1"; }}
number=0
for target in $DESK_TARGETS; do
  try "$number" "${{target%:*}}" "${{target#*:}}" &
  number=$((number + 1))
done
wait
echo tried
"""


class Canaries:
    """Blocking; each method is one call of the engine's Protocol."""

    def __init__(self, instance: str, link: Link) -> None:
        self._instance = instance
        self._link = link

    def attempt(
        self, targets: Sequence[tuple[str, int]], *, network: str, image: str
    ) -> list[tuple[str, int]]:
        client, name = self._link.client, f"desk-canary-{self._instance}"
        self._link.image(image)
        self._remove(name)
        try:
            made = self._link.create(self._config(targets, network, image), name)["Id"]
            client.start(made)
            client.wait(made)
            said = client.logs(made).decode(errors="replace").split()
            if said[-1:] != ["tried"]:
                words = shown_log(client.logs(made, tail=5))
                raise EngineUnavailable(f"the canary did not try everything: {words}")
            return [targets[int(number)] for number in said[:-1]]
        finally:
            # The error that is under way tells more than one of the removal, which is made up for
            # at the next call.
            with suppress(APIError, OSError):
                self._remove(name)

    def _remove(self, name: str) -> None:
        with suppress(NotFound):
            found = self._link.client.inspect_container(name)
            if not is_of(self._instance, found):
                raise Conflict(f"the engine's container {name!r} belongs to somebody else")
            self._link.client.remove_container(found["Id"], v=True, force=True)

    def _config(
        self, targets: Sequence[tuple[str, int]], network: str, image: str
    ) -> dict[str, Any]:
        listed = " ".join(f"{host}:{port}" for host, port in targets)
        return {
            "Image": image,
            "Entrypoint": ["/bin/bash", "-c"],
            "Cmd": [_SCRIPT],
            "User": "65534:65534",
            "WorkingDir": "/",
            "Env": [f"DESK_TARGETS={listed}"],
            "Labels": {LABEL_INSTANCE: self._instance, LABEL_HELPER: "canary"},
            "HostConfig": {
                # Without an address of its own it gets one of the corner that nobody leases, and no
                # policy gives that anything.
                "NetworkMode": network,
                "CapDrop": ["ALL"],
                "SecurityOpt": [NO_NEW_PRIVILEGES],
                "ReadonlyRootfs": True,
                "PidsLimit": 128,
                "Memory": 64 << 20,
                "LogConfig": LOG_CONFIG,
                "RestartPolicy": {"Name": "no"},
            },
        }
