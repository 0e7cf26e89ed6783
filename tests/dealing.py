"""How `--dist loadscope` deals the tests out: those that share what their module makes stay together.

A module is one unit for each lane of the front door that it is run on. The tests of a module that is
named as independent share nothing: they go one by one to whoever has nothing to do. Modules of a folder
that is named share one Desk: they are one unit together.
"""

from __future__ import annotations

import re

from xdist.scheduler import LoadScopeScheduling

#: Units that take minutes, whatever the number of their tests: begun last, one worker would be alone
#: with them.
LONG = (
    "tests/service/test_model.py",
    "tests/chaos/test_chaos.py",
    "tests/e2e/test_sleep.py",
    "tests/db/test_invariants.py",
    "tests/browser",
    "tests/ssh/test_clients_bulk.py",
)

TOGETHER = {"tests/browser"}

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
    if (folder := _folder(module)) in TOGETHER:
        return folder
    lane = re.search(r"\[(fast|stock)\b", test)
    return f"{module}[{lane[1]}]" if lane else module


def turn(nodeid: str) -> int:
    """When a test's unit is dealt out, beside others: the small ones fill what is left."""
    module = nodeid.partition("::")[0]
    for long in (module, _folder(module)):
        if long in LONG:
            return LONG.index(long)
    return len(LONG) + (module in INDEPENDENT)


def _folder(module: str) -> str:
    return module.rpartition("/")[0]


class Dealing(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)
