"""An engine of a cell's own: it is killed, stopped and started at will."""

from __future__ import annotations

import subprocess
import time
from contextlib import closing
from typing import TYPE_CHECKING

import docker
from docker.errors import DockerException

from tests.chaos.cell import CGROUP

if TYPE_CHECKING:
    from pathlib import Path

#: Seconds until an engine answers, or has stopped with all its containers.
_PATIENCE = 60


class PrivateEngine:
    """`directory` keeps the image from one run to the next, and nothing else."""

    def __init__(self, directory: Path, *, live_restore: bool) -> None:
        self._directory = directory
        self._live_restore = live_restore
        self._process: subprocess.Popen[bytes] | None = None
        self.address = f"unix://{directory / 'docker.sock'}"
        self.log = directory / "dockerd.log"
        self.volumes = directory / "data" / "volumes"

    def begin(self) -> None:
        """Start it. What answers may still be about to find its containers."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = [
            "dockerd",
            "--host", self.address,
            "--data-root", str(self._directory / "data"),
            "--exec-root", str(self._directory / "exec"),
            "--pidfile", str(self._directory / "docker.pid"),
            "--bridge", "none",
            "--exec-opt", "native.cgroupdriver=cgroupfs",
            "--cgroup-parent", f"/{CGROUP}",
            "--log-driver", "local",
        ]  # fmt: skip
        if self._live_restore:
            command.append("--live-restore")
        # One that was killed has left its number, which may be somebody else's by now.
        (self._directory / "docker.pid").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the engine did not start: {self.log.read_text()[-1500:]}")
            try:
                with closing(self.client()) as client:
                    client.ping()
            except (DockerException, OSError):
                time.sleep(0.1)
            else:
                return

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def client(self) -> docker.DockerClient:
        return docker.DockerClient(base_url=self.address, version="1.41", timeout=60)

    def end(self, *, kill: bool) -> None:
        """SIGKILL it, or ask it to stop."""
        if self._process is not None:
            if kill:
                self._process.kill()
            else:
                self._process.terminate()
            self._process.wait(_PATIENCE)
            self._process = None

    def clear(self) -> None:
        """Take away what an earlier run left here."""
        with closing(self.client()) as client:
            for container in client.containers.list(all=True, ignore_removed=True):
                container.remove(force=True, v=True)
            for volume in client.volumes.list():
                volume.remove(force=True)
            client.networks.prune()

    def load(self, image: str, source: str) -> None:
        """Take the image from the engine at `source`; of other ones nothing is kept."""
        with closing(self.client()) as client:
            known = {tag: found for found in client.images.list() for tag in found.tags}
            if image in known:
                return
            for tag in known:
                client.images.remove(tag, force=True)
        save = subprocess.Popen(["docker", "-H", source, "save", image], stdout=subprocess.PIPE)
        load = subprocess.run(
            ["docker", "-H", self.address, "load", "-q"],
            stdin=save.stdout,
            stdout=subprocess.DEVNULL,
        )
        assert save.stdout is not None
        save.stdout.close()
        if save.wait() or load.returncode:
            raise RuntimeError(f"the image {image} could not be taken from {source}")
