"""The inner sshd, doors on both lanes, people with keys."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests import lanes

from .clients import DoorProcess, Person
from .inner import InnerSshd
from .watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def inner() -> Iterator[InnerSshd]:
    """One real sshd for all tests of a worker."""
    sshd = InnerSshd()
    try:
        sshd.start()
        yield sshd
    finally:
        sshd.stop()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "lane" in metafunc.fixturenames:
        metafunc.parametrize("lane", lanes.of_a_door(metafunc.module), scope="session")


@pytest.fixture(scope="session")
def common_door(inner: InnerSshd, lane: str) -> Iterator[DoorProcess]:
    door = DoorProcess(inner, fast=lane == lanes.FAST)
    yield door
    complaint = door.close()
    assert not complaint, complaint


@pytest.fixture
def door(common_door: DoorProcess) -> Iterator[DoorProcess]:
    """The lane's door; the test fails when the door wrote a traceback meanwhile."""
    yield common_door
    complaint = common_door.complaints()
    assert not complaint, complaint


@pytest.fixture
def own_door(inner: InnerSshd, lane: str) -> Iterator[Callable[..., DoorProcess]]:
    """Makes doors for this test alone, with limits of its own."""
    made: list[DoorProcess] = []

    def make(**limits: Any) -> DoorProcess:
        made.append(DoorProcess(inner, fast=lane == lanes.FAST, limits=limits))
        return made[-1]

    yield make
    complaint = "".join([door.close() for door in made])
    assert not complaint, complaint


@pytest.fixture
def new_person() -> Iterator[Callable[..., Person]]:
    made: list[Person] = []

    def make(door: DoorProcess, *, keys: int = 1) -> Person:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
        made.append(Person(door, f"u{next(_numbers)}{worker}", keys=keys))
        return made[-1]

    yield make
    for person in made:
        person.close()


@pytest.fixture
def desk(door: DoorProcess, new_person: Callable[..., Person]) -> Person:
    """Somebody new at the lane's door: their session and spare are nobody else's."""
    return new_person(door)


@pytest.fixture
def watch(
    own_door: Callable[..., DoorProcess], new_person: Callable[..., Person]
) -> Callable[..., Watch]:
    def make(**limits: float) -> Watch:
        door = own_door(**limits)
        watch = Watch(door, new_person(door), new_person(door))
        watch.warm()
        return watch

    return make
