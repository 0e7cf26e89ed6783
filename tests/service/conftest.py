"""A world and the broker in it."""

from __future__ import annotations

import shutil

import pytest

from tests.service.harness import World, memory_directory


@pytest.fixture
def directory():
    """Where the state lies."""
    place = memory_directory()
    yield place
    shutil.rmtree(place)


@pytest.fixture
async def world(directory):
    """What outlives brokers; those that a test made in it are closed."""
    made = await World.create(directory)
    yield made
    await made.close()


@pytest.fixture
async def broker(world):
    """A broker that has looked around."""
    return await world.broker()
