"""A whole Desk for each module that asks: a real broker process, engine, image and clients."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import lanes
from tests.e2e import screens
from tests.e2e.desk import Instance
from tests.e2e.images import output_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def engine_host() -> str:
    """The address of an engine that answers, started when there is none."""
    return os.environ.get("DOCKER_HOST") or _say(ROOT / "docker/engine.sh", "up")


@pytest.fixture(scope="session")
def desktop_image(engine_host: str) -> str:
    """The reference of the desktop image, built when it is not there."""
    return os.environ.get("DESK_IMAGE") or _say(ROOT / "docker/build.sh", DOCKER_HOST=engine_host)


@pytest.fixture(scope="session")
def docker(engine_host: str) -> Callable[..., str]:
    """The docker command, on that engine."""

    def run(*arguments: str) -> str:
        return output_of(["docker", *arguments], env={**os.environ, "DOCKER_HOST": engine_host})

    return run


def _say(*command: object, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def new_desk(tmp_path, engine_host, desktop_image) -> Iterator[object]:
    """Make instances that are taken away whole, whatever the test does to them."""
    made: list[Instance] = []

    def make(**settings) -> Instance:
        state = tmp_path / f"desk{len(made)}"
        instance = Instance(state, engine=engine_host, image=desktop_image, settings=settings)
        made.append(instance)
        return instance

    yield make
    for instance in made:
        instance.purge()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "lane" in metafunc.fixturenames:
        metafunc.parametrize("lane", lanes.of_a_desk(metafunc.module), scope="module")


@pytest.fixture(scope="module")
def desk(lane, tmp_path_factory, engine_host, desktop_image) -> Iterator[Instance]:
    """A running instance for the whole module, on that lane of the front door."""
    state = tmp_path_factory.mktemp("desk")
    settings = {"ssh": {"fast": lane == lanes.FAST}}
    instance = Instance(state / "state", engine=engine_host, image=desktop_image, settings=settings)
    try:
        instance.start()
        yield instance
    finally:
        instance.purge()


@pytest.fixture
def xvfb(tmp_path):
    """Make a screen of a size, as long as it is entered."""
    return lambda size: screens.xvfb(tmp_path, size)
