"""Hashes of passwords: argon2id in threads, a few at a time, so that no flood holds the broker."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError
from asyncssh.saslprep import SASLPrepError, saslprep

from broker.core.errors import BadRequest, CapacityExhausted
from broker.core.model import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

#: Hashes made at once, and those that wait for their turn: each takes about 20 ms and 19 MiB.
AT_ONCE, WAITING = 2, 62

#: Of all these, one address has so many: it alone cannot keep others' passwords from being checked.
EACH = (AT_ONCE + WAITING) // 2

#: Bytes of a password that can be set, and characters.
LONGEST, SHORTEST = 1024, 10

#: How much the threads give way to the event loop's own.
_NICE = 10


def acceptable(password: str) -> str:
    """Return it when it can be set, else raise `BadRequest` with what is allowed."""
    size = len(password.encode("utf-8", "replace"))
    if len(password) < SHORTEST or size > LONGEST:
        raise BadRequest(
            public=f"A password has at least {SHORTEST} characters and at most {LONGEST} bytes."
        )
    if not password.isprintable():
        raise BadRequest(public="A password has no characters that cannot be printed.")
    if not _unchanged(password):
        raise BadRequest(
            public="A password has no characters that SSH clients change or refuse on the way, as"
            " pictures and look-alikes of letters are."
        )
    return password


def _unchanged(password: str) -> bool:
    """By the rules of the method `password`; questions are answered as it was typed."""
    with suppress(SASLPrepError):
        return saslprep(password) == password
    return False


class Passwords:
    """Makes and checks hashes. `close` ends its threads."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(
            time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID
        )
        self._threads = ThreadPoolExecutor(
            AT_ONCE, thread_name_prefix="password", initializer=_give_way
        )
        self._taken: Counter[str | None] = Counter()
        """Places by who has them; None: who sets one."""
        self._nobodys: str | None = None

    @contextmanager
    def place(self, source: str | None = None) -> Iterator[None]:
        """One of a bounded number, to be had before anything is done for whoever shows a password;
        `source` is where from. Raises `CapacityExhausted`.
        """
        crowded = source is not None and self._taken[source] >= EACH
        if crowded or self._taken.total() >= AT_ONCE + WAITING:
            raise CapacityExhausted(
                "too many passwords wait to be checked",
                public="Too many people sign in with a password just now. Try again in a few"
                " seconds.",
            )
        self._taken[source] += 1
        try:
            yield
        finally:
            self._taken[source] -= 1
            if not self._taken[source]:
                del self._taken[source]

    async def hash(self, password: str) -> str:
        """Raises `BadRequest` for one that cannot be set, `CapacityExhausted`."""
        with self.place():
            return await self._run(self._hasher.hash, acceptable(password))

    async def check(self, password: str, hash: str | None) -> bool:  # noqa: A002 - the field's word
        """Whether the hash is the password's. Without one, as much is computed, and it is not. For
        whoever has a `place`.
        """
        return await self._run(self._check, password, hash)

    def close(self) -> None:
        """Nobody asks any more."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _check(self, password: str, hash: str | None) -> bool:  # noqa: A002 - as above
        if self._nobodys is None:
            self._nobodys = self._hasher.hash(new_id())
        if len(password) > LONGEST:
            password, hash = "", None  # noqa: A001 - as above; as much is computed for it
        with suppress(VerificationError, InvalidHashError):
            return self._hasher.verify(hash or self._nobodys, _bytes(password)) and bool(hash)
        return False

    async def _run(self, work: Callable[..., T], *args: str | None) -> T:
        """A caller who goes away takes what has not begun with them."""
        return await asyncio.wrap_future(self._threads.submit(work, *args))


def _bytes(password: str) -> bytes:
    """Whatever a client sent: a lone surrogate is nobody's password, and no defect either."""
    return password.encode("utf-8", "surrogatepass")


def _give_way() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
