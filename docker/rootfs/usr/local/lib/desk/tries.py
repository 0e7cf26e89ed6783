"""How often an address may be wrong."""

from collections import OrderedDict

WRONG = 5
SECONDS = 60.0
ADDRESSES = 1000


class Tries:
    """Counts wrong passwords by address: after WRONG in a row, the next one waits SECONDS."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait(self, address: str, now: float) -> float:
        """Seconds until this address may try; 0 when it may."""
        count, last = self._wrong.get(address, (0, 0.0))
        return max(0.0, last + SECONDS - now) if count >= WRONG else 0.0

    def note(self, address: str, *, right: bool, now: float) -> None:
        """It tried."""
        count, _ = self._wrong.pop(address, (0, 0.0))
        if right:
            return
        # Whoever has waited has one more try, not WRONG.
        self._wrong[address] = (min(count + 1, WRONG), now)
        while len(self._wrong) > ADDRESSES:
            self._wrong.popitem(last=False)
