"""The bound of a home: what its uid may keep on the filesystem that the engine's volumes are on.

A desktop has a uid of its own for life, so the kernel's quota of users holds for its home alone.
Quotas of projects would hold nobody: whoever owns a file may give it to another project.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from broker.core.errors import EngineUnavailable, HomeUnbounded
from broker.engine.facts import shown_log
from broker.engine.hostconfig import HOME, LOG_CONFIG, NO_NEW_PRIVILEGES

if TYPE_CHECKING:
    from broker.engine.facts import Json
    from broker.engine.homes import Homes
    from broker.engine.transport import Link

#: Files that a home may have at the least, and bytes for each further one.
_FILES, _BYTES_A_FILE = 4096, 4096

#: quotactl_fd(2), which has one number everywhere, asks the filesystem of an open file: no device
#: has to be known. Limits are in KiB. Ends with the kernel's error, or 0 when what was set is read
#: back.
SCRIPT = f"""
import ctypes, os, struct, sys
uid, kib, files = map(int, sys.argv[1:])
kernel = ctypes.CDLL(None, use_errno=True)
place = os.open("{HOME}", os.O_RDONLY)
limits = struct.Struct("=8QI4x")
def ask(what, block):
    words = [ctypes.c_long(word) for word in (443, place, what << 8, uid)]
    if kernel.syscall(*words, block):
        sys.exit(ctypes.get_errno())
    return limits.unpack(block.raw)
GET, SET, LIMITS = 0x800007, 0x800008, 5
block = ctypes.create_string_buffer(limits.size)
ask(GET, block)
if kib:
    block.raw = limits.pack(kib, kib, 0, files, files, 0, 0, 0, LIMITS)
    ask(SET, block)
    if ask(GET, block)[0] != kib:
        sys.exit({errno.EIO})
"""

_REASONS = {
    errno.ENOSYS: "the kernel or the filesystem has no quotas",
    errno.EOPNOTSUPP: "the filesystem has no quotas",
    errno.ESRCH: "quotas of users are not switched on there: mount it with usrquota",
    errno.EPERM: "the engine lets nobody set quotas",
    errno.EIO: "what was set does not hold",
}


class Quotas:
    """Blocking; each method is one call of the engine's Protocol."""

    def __init__(self, homes: Homes, link: Link) -> None:
        self._homes = homes
        self._link = link
        self._bounded: dict[str, tuple[int, int]] = {}

    def bound(self, volume: str, *, image: str, uid: int, size: int) -> None:
        with self._homes.lock(volume):
            if self._bounded.get(volume) == (uid, size):
                return
            files = max(_FILES, size // _BYTES_A_FILE)
            words = (uid, size // 1024, files)
            self._run(volume, _config(image, words, volume))
            self._bounded[volume] = uid, size

    def check(self, image: str, *, name: str) -> None:
        """Whether bounds are possible at all; `name` is for the container that finds out."""
        with self._homes.lock(name):
            self._run(name, _config(image, (0, 0, 0), None))

    def _run(self, name: str, config: Json) -> None:
        client = self._link.client
        with self._homes.helper(name, config, {}) as made:
            client.start(made)
            code = client.wait(made)["StatusCode"]
            if code in _REASONS:
                raise HomeUnbounded(_REASONS[code])
            if code != 0:
                words = shown_log(client.logs(made, tail=5))
                raise EngineUnavailable(f"volume {name!r}: its quota ended with {code}: {words}")


def _config(image: str, words: tuple[int, int, int], volume: str | None) -> dict[str, Any]:
    mount = {"Type": "volume", "Target": HOME, "VolumeOptions": {"NoCopy": True}}
    return {
        "Image": image,
        "Entrypoint": ["/usr/bin/python3", "-I", "-c", SCRIPT],
        "Cmd": [str(word) for word in words],
        "User": "0:0",
        "WorkingDir": "/",
        "HostConfig": {
            "NetworkMode": "none",
            "CapDrop": ["ALL"],
            # The kernel lets nobody else set a quota; the engine's filter of system calls is from
            # before this one was made.
            "CapAdd": ["SYS_ADMIN", "DAC_READ_SEARCH"],
            "SecurityOpt": [NO_NEW_PRIVILEGES, "seccomp=unconfined"],
            "ReadonlyRootfs": True,
            "PidsLimit": 16,
            "Memory": 128 << 20,
            "LogConfig": LOG_CONFIG,
            "RestartPolicy": {"Name": "no"},
            "Mounts": [mount if volume is None else {**mount, "Source": volume}],
        },
    }
