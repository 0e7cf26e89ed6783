"""A Debian that boots in a container: made once from its packages, with an engine inside."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent

#: The suite, and what its engine is called there.
RELEASES = {
    "bookworm": ("docker.io", "iptables"),
    "trixie": ("docker.io", "docker-cli", "iptables"),
}

_PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "libpam-systemd", "udev", "iproute2", "openssh-client"),
    *("ca-certificates", "python3", "procps", "kmod", "nftables", "netbase"),
)

#: The engine inside has its controllers where init.sh put them, and no other containerd beside it,
#: which would look from another mount namespace.
_ENGINE = """\
[Service]
BindPaths=-/cg1:/sys/fs/cgroup
ExecStart=
ExecStart=/usr/sbin/dockerd -H fd:// --mtu 1400 {driver}
"""

_RIGHTS = (
    *("--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE", "--device-cgroup-rule", "a *:* rwm"),
    *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
    *("--security-opt", "systempaths=unconfined", "--cgroupns", "private"),
    *("--tmpfs", "/run", "--tmpfs", "/tmp", "--stop-signal", "SIGRTMIN+3"),
)


def _said(*words, **more) -> str:
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, **more
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def image_of(suite: str) -> str:
    """The image of a Debian of that suite, which is made where it is not there."""
    recipe = repr((_PACKAGES, RELEASES[suite]))
    name = f"desk-booted:{suite}-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"
    known = subprocess.run(["docker", "image", "inspect", name], capture_output=True)
    if known.returncode == 0:
        return name
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "base.tar"
        packages = ",".join(_PACKAGES)
        _said("mmdebstrap", "-q", "--variant=minbase", f"--include={packages}", suite, archive)
        base = _said("docker", "import", archive).strip()
    made = f"desk-booted-{suite}-{os.getpid()}"
    script = (
        "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -yq"
        f" --no-install-recommends {' '.join(RELEASES[suite])} && apt-get clean"
    )
    try:
        _said(
            *("docker", "run", "--name", made, "--network", "host"),
            *("-v", "/dev/null:/etc/systemd/system/containerd.service:ro"),
            *(base, "sh", "-c", script),
        )
        _said("docker", "commit", made, name)
    finally:
        subprocess.run(["docker", "rm", "-f", made], capture_output=True)
        subprocess.run(["docker", "image", "rm", base], capture_output=True)
    return name


class System:
    """One that runs."""

    def __init__(self, suite: str, files: Path) -> None:
        """Boot it; `files` is the directory `/files` in it."""
        self.suite = suite
        self.name = f"desk-booted-{suite}-{os.getpid()}"
        first = not Path("/sys/fs/cgroup/cgroup.controllers").exists()
        driver = "--exec-opt native.cgroupdriver=cgroupfs" if first else ""
        (files / "engine.conf").write_text(_ENGINE.format(driver=driver))
        _said(
            *("docker", "run", "-d", "--name", self.name, "--hostname", suite, *_RIGHTS),
            *("-e", "container=docker", "-v", "/var/lib/docker"),
            *("-v", f"{HERE}/init.sh:/init.sh:ro", "-v", f"{files}:/files"),
            *("-v", "/dev/null:/etc/systemd/system/containerd.service:ro"),
            *("-v", f"{files}/engine.conf:/etc/systemd/system/docker.service.d/desk.conf:ro"),
            *(image_of(suite), "/init.sh"),
        )
        self.until("systemctl is-system-running | grep -qE 'running|degraded'", 60)

    def run(self, script: str, *, code: int = 0, given: str = "", seconds: float = 120) -> str:
        """What a line of shell prints in it, as root."""
        done = subprocess.run(
            ["docker", "exec", "-i", self.name, "bash", "-c", script],
            capture_output=True,
            input=given,
            text=True,
            timeout=seconds,
            check=False,
        )
        told = f"{script}\n-> {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode == code, f"{told}\n{self.journal()}"
        return done.stdout + done.stderr

    @contextmanager
    def session(self, script: str) -> Iterator[subprocess.Popen[str]]:
        """A line of shell that is spoken with."""
        process = subprocess.Popen(
            ["docker", "exec", "-i", self.name, "bash", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def until(self, script: str, seconds: float = 30) -> None:
        """Until that succeeds."""
        deadline = time.monotonic() + seconds
        while True:
            done = subprocess.run(
                ["docker", "exec", self.name, "bash", "-c", script], capture_output=True, text=True
            )
            if done.returncode == 0:
                return
            assert time.monotonic() < deadline, f"{script}: not in time\n{self.journal()}"
            time.sleep(0.1)

    def journal(self) -> str:
        done = subprocess.run(
            ["docker", "exec", self.name, "journalctl", "-u", "desk*", "-n", "60", "--no-pager"],
            capture_output=True,
            text=True,
        )
        return done.stdout

    def load(self, image: str) -> str:
        """Hand it an image of the outer engine, by `deskctl`; what that says."""
        saving = subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE)
        with saving:
            return _said(
                *("docker", "exec", "-i", self.name, "deskctl", "image", "load", "-"),
                stdin=saving.stdout,
                timeout=300,
            )

    def close(self) -> None:
        subprocess.run(["docker", "rm", "-f", "-v", self.name], capture_output=True)
