"""One-time codes: by the clock (TOTP, RFC 6238), and recovery codes for whoever lost the device."""

from __future__ import annotations

import base64
import hmac
import io
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyotp
import segno

from broker.core.digest import hashed
from broker.core.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.interfaces import Clock, Store
    from broker.core.model import Actor, User, UserId

#: Seconds of a step, and the steps before and after this one whose codes are taken: clocks differ.
STEP, DRIFT = 30, 1

#: Recovery codes that are made, and the characters of one: 80 bits.
RECOVERY, _RECOVERY_LENGTH = 10, 16

_CODE = re.compile(r"[0-9]{6}")
_RECOVERY_CODE = re.compile(rf"[A-Z2-7]{{{_RECOVERY_LENGTH}}}")


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What somebody's authenticator is to learn. Told once, to them alone."""

    secret: str = field(repr=False)
    """In base32, in groups of four for whoever types it."""
    uri: str = field(repr=False)
    picture: str = field(repr=False)
    """A QR code of the URI, for a terminal."""

    def svg(self) -> str:
        """The same for a page, black on white whatever its colours are, and of no size of its own."""
        drawn = io.BytesIO()
        segno.make(self.uri, error="m").save(
            drawn, kind="svg", xmldecl=False, nl=False, omitsize=True, dark="#000", light="#fff",
            svgclass=None, lineclass=None,
        )  # fmt: skip
        return drawn.getvalue().decode()


class OneTimeCodes:
    """Sets up, checks and uses up codes."""

    def __init__(self, *, store: Store, clock: Clock, issuer: str) -> None:
        self._store = store
        self._clock = clock
        self.issuer = issuer
        """What authenticators show beside the name; of codes that are set up from now on."""

    async def begin(self, user: User, *, actor: Actor | str) -> Enrolment:
        """A new secret, which counts for nothing until `confirm`. Raises `Conflict` when the user
        has codes already.
        """
        secret = pyotp.random_base32()
        await self._store.begin_codes(user.id, secret, actor=actor)
        uri = pyotp.TOTP(secret).provisioning_uri(name=user.name, issuer_name=self.issuer)
        return Enrolment(_grouped(secret, " "), uri, _picture(uri))

    async def confirm(self, user: User, code: str, *, actor: Actor | str) -> Sequence[str]:
        """The user's authenticator makes right codes: from now on they are asked for. Returns the
        recovery codes, which are told once. Raises `BadRequest` for a wrong code, `NotFound` when
        nothing was begun, `Conflict` when it is confirmed.
        """
        codes = await self._store.codes(user.id)
        if codes is None:
            raise NotFound(public="There is no one-time code to confirm: enrol one first.")
        step = self._step(codes.secret, _plain(code))
        if step is None:
            raise BadRequest(
                public="That is not the code of just now. Look at the clocks of this device and of"
                " the one with the authenticator, and try the next code."
            )
        recovery = [_recovery_code() for _ in range(RECOVERY)]
        await self._store.confirm_codes(
            user.id, step, [hashed(_plain(code)) for code in recovery], actor=actor
        )
        return recovery

    async def remove(self, user: User, *, actor: Actor | str) -> None:
        """With the recovery codes, and also what was only begun. Raises `NotFound`."""
        await self._store.remove_codes(user.id, actor=actor)

    async def wanted(self, user_id: UserId) -> bool:
        """Whether the user has confirmed codes."""
        codes = await self._store.codes(user_id)
        return codes is not None and codes.confirmed_at is not None

    async def take(self, user_id: UserId, code: str, *, actor: Actor | str) -> bool:
        """Whether it is one of the user's codes, and was not used before; it is used up then."""
        plain = _plain(code)
        if _RECOVERY_CODE.fullmatch(plain):
            return await self._store.take_recovery(user_id, hashed(plain), actor=actor)
        codes = await self._store.codes(user_id)
        if codes is None:
            return False
        step = self._step(codes.secret, plain)
        return step is not None and await self._store.take_step(user_id, step)

    def _step(self, secret: str, code: str) -> int | None:
        """Of which step the code is, if of one that is taken now."""
        if not _CODE.fullmatch(code):
            return None
        now = int(self._clock.now().timestamp()) // STEP
        made = pyotp.TOTP(secret)
        found = None
        for step in range(now - DRIFT, now + DRIFT + 1):
            if hmac.compare_digest(made.generate_otp(step), code):
                found = step
        return found


def _plain(code: str) -> str:
    """Without what people write between the characters."""
    return re.sub(r"[\s-]", "", code[:64]).upper()


def _recovery_code() -> str:
    return _grouped(base64.b32encode(secrets.token_bytes(10)).decode(), "-")


def _grouped(text: str, between: str) -> str:
    return between.join(text[i : i + 4] for i in range(0, len(text), 4))


def _picture(uri: str) -> str:
    drawn = io.StringIO()
    segno.make(uri, error="l").terminal(drawn, compact=True)
    return drawn.getvalue()
