"""The flavour with sound: what a program in the desktop plays is heard by who listens."""

from __future__ import annotations

import array
import math
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.e2e.images import eventually, output_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
RATE, TONE, LOUD = 48_000, 440, 12_000
FORMAT = ["--format=s16le", f"--rate={RATE}", "--channels=2"]


@pytest.fixture(scope="module")
def desktop(docker: Callable[..., str], engine_host: str) -> Iterator[Callable[..., list[str]]]:
    """A container of that flavour, and how a program is run in it as its user."""
    build = [str(ROOT / "docker" / "build.sh"), "--flavour", "xfce-sound"]
    image = output_of(build, seconds=800, env={**os.environ, "DOCKER_HOST": engine_host})
    name = f"desk-test-{uuid4().hex[:12]}"
    docker("run", "-d", "--name", name, "--label", "desk.test=1", image)

    def inside(*command: str) -> list[str]:
        env = ("-e", "XDG_RUNTIME_DIR=/run/user/1000")
        return ["docker", "-H", engine_host, "exec", "-i", "-u", "desk", *env, name, *command]

    try:
        eventually(
            lambda: subprocess.run(inside("pactl", "info"), capture_output=True).returncode == 0,
            "a server of sound",
        )
        yield inside
    finally:
        docker("rm", "-f", "-v", name)


def test_a_tone_is_heard_as_it_was_played(desktop: Callable[..., list[str]]) -> None:
    """By the very command that a front door listens with."""
    wave = [int(LOUD * math.sin(2 * math.pi * TONE * n / RATE)) for n in range(RATE)]
    played = array.array("h", [sample for sample in wave for _ in (0, 1)])
    listen = desktop("timeout", "5", "parec", "--device=@DEFAULT_MONITOR@", *FORMAT)
    with subprocess.Popen(listen, stdout=subprocess.PIPE) as listener:
        # What it hears at first is silence; who plays before that is not heard from the beginning.
        assert listener.stdout
        assert listener.stdout.read(4096)
        subprocess.run(desktop("pacat", *FORMAT), input=played.tobytes(), check=True)
        heard = array.array("h", listener.stdout.read())
    assert abs(max(heard) - LOUD) < LOUD / 20
    left = heard[::2]
    loud = [n for n, sample in enumerate(left) if abs(sample) > LOUD / 2]
    middle = left[loud[0] : loud[-1]]
    crossings = sum(1 for one, other in zip(middle, middle[1:], strict=False) if one < 0 <= other)
    assert abs(crossings / (len(middle) / RATE) - TONE) < TONE / 50
