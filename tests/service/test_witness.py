"""The audit's newest entry is told elsewhere."""

import pytest

from broker.core.errors import DeskError
from broker.service.witness import Witness


async def test_each_new_head_is_told_once(broker):
    """With what it takes to find the entry in an export."""
    witness = Witness(broker.store, broker.witnessed.append)
    await broker.user("ada")
    await witness.look()
    await witness.look()
    newest, *_ = await broker.store.audit(limit=1)
    instance = await broker.store.instance()
    assert broker.witnessed == [f"entry {newest.seq} hash {newest.hash} instance {instance}"]
    await broker.user("bob")
    await witness.look()
    assert len(broker.witnessed) == 2


async def test_what_nobody_heard_is_told_again(broker):
    """The loop that asks for it tries again, and says so meanwhile."""
    told = []

    def deaf(line):
        told.append(line)
        if len(told) == 1:
            raise DeskError

    witness = Witness(broker.store, deaf)
    with pytest.raises(DeskError):
        await witness.look()
    await witness.look()
    assert len(told) == 2


@pytest.mark.parametrize("wanted", [True, False])
async def test_it_is_a_loop_where_it_is_wanted(world, wanted):
    broker = await world.broker(audit={"syslog": wanted})
    assert ("audit" in {loop.name for loop in broker.services.loops}) is wanted
