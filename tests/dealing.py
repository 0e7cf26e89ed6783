"""How `--dist loadscope` deals the tests out: those that share what their module makes stay together.

A module is one unit for each lane of the front door that it is run on, the biggest first. The tests
of a module that is named here share nothing: they go one by one to whoever has nothing to do.
"""

from __future__ import annotations

import re

from xdist.scheduler import LoadScopeScheduling

INDEPENDENT = {
    "tests/contract/test_engine.py",
    "tests/e2e/test_crash.py",
    "tests/e2e/test_image_alone.py",
    "tests/e2e/test_image_brokered.py",
    "tests/e2e/test_many.py",
    "tests/e2e/test_network.py",
    "tests/e2e/test_refusals.py",
}


def unit(nodeid: str) -> str:
    """The unit that a test goes with."""
    module, _, test = nodeid.partition("::")
    if module in INDEPENDENT:
        return nodeid
    lane = re.search(r"\[(fast|stock)\b", test)
    return f"{module}[{lane[1]}]" if lane else module


class Dealing(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)
