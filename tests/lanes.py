"""The lanes of the front door, and which tests run on each.

A lane is how packets are switched once somebody is proven. A module whose tests end before that says
`BEFORE_AUTHENTICATION = True` and runs on one. The stock clients are held to both lanes in `tests/ssh`;
with a whole Desk around them a module runs on the default lane, and on both when it says
`BOTH_LANES = True` or the environment `DESK_LANES=both`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

FAST, STOCK = "fast", "stock"


def of_a_door(module: ModuleType) -> tuple[str, ...]:
    """Where the tests of a module of `tests/ssh` run."""
    return (FAST,) if getattr(module, "BEFORE_AUTHENTICATION", False) else (FAST, STOCK)


def of_a_desk(module: ModuleType) -> tuple[str, ...]:
    """Where the tests of a module of `tests/e2e` run."""
    both = getattr(module, "BOTH_LANES", False) or os.environ.get("DESK_LANES") == "both"
    return (FAST, STOCK) if both else (FAST,)
