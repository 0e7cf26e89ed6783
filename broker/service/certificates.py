"""Certificates of users: whether one lets somebody in, and whether one that did counts still."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from asyncssh import KeyImportError
from asyncssh.public_key import decode_ssh_public_key

from broker.core.certificates import objection, read_certificate
from broker.core.errors import ConfigError
from broker.core.issued import Hashes, Issued
from broker.core.model import shown
from broker.core.sshdata import Damaged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.certificates import Certificate
    from broker.core.gateway import Allowance
    from broker.core.interfaces import Clock
    from broker.service.revocations import Revocations

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A certificate counts."""

    issued: Issued
    denied: frozenset[Allowance]
    """What it does not permit, whatever the user's policy says."""
    verify_required: bool
    """The security key must have asked for a PIN or a finger."""

    @property
    def credential(self) -> str:
        return str(self.issued)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A certificate does not count."""

    reason: str
    """For the operator."""


class Certificates:
    """Judges certificates by the authorities that are trusted and by what they revoked."""

    def __init__(
        self, *, authorities: Sequence[str], revocations: Revocations, clock: Clock
    ) -> None:
        """`authorities` are trusted for everybody: each as `publickeys.authority` gives it."""
        self._authorities = tuple(authorities)
        self.revocations = revocations
        self._clock = clock

    def trust(self, authorities: Sequence[str]) -> None:
        """These alone from now on."""
        self._authorities = tuple(authorities)

    async def check(self) -> None:
        """Raises `ConfigError` when the revocation list cannot be used."""
        await self.revocations.current()

    def names(self, certificate: str, *, authorities: Sequence[str] = ()) -> tuple[str, ...]:
        """The principals of a certificate that an authority signed which is trusted for everybody,
        or one of `authorities`: those of whoever could be meant. None of any other: strangers would
        see by the time that it takes who is a user.

        Like all `certificate` here, it is the base64 of the whole.
        """
        vouched = self._vouched(certificate, authorities)
        return () if isinstance(vouched, Refusal) else vouched.principals

    def _vouched(self, certificate: str, authorities: Sequence[str]) -> Certificate | Refusal:
        """What it says, when its authority is trusted and signed it."""
        try:
            read = _read(certificate)
        except Damaged as damage:
            return Refusal(str(damage))
        if read.authority.public not in {*self._authorities, *authorities}:
            return Refusal("its authority is not trusted")
        return read if _signed(read) else Refusal("its authority did not sign it")

    async def judge(
        self, certificate: str, *, user: str, address: str, authorities: Sequence[str] = ()
    ) -> Verdict | Refusal:
        """Whether it lets that user in from that address now; `authorities` are those trusted for
        that user beside everybody's.
        """
        read = self._vouched(certificate, authorities)
        if isinstance(read, Refusal):
            return read
        issued = Issued.of(read)
        reason = objection(read, user=user, address=address, now=self._clock.now())
        reason = reason or await self._revoked(issued)
        if reason is None:
            return Verdict(issued=issued, denied=read.denied, verify_required=read.verify_required)
        # Only what an authority signed gets into the log: anybody can make the rest up.
        _log.info(
            "certificate refused",
            reason=reason,
            user=user,
            peer=address,
            authority=issued.signed_by,
            serial=issued.serial,
            key_id=shown(read.key_id.decode("utf-8", "backslashreplace")),
        )
        return Refusal(reason)

    async def still(self, issued: Issued, *, authorities: Sequence[str] = ()) -> str | None:
        """Why a certificate that let somebody in counts no more, for the operator; None while it
        does. `authorities` as in `judge`. Its end of validity is asked at the login alone, as sshd
        does: a connection outlives a certificate of minutes.
        """
        trusted = {_hashes(public) for public in (*self._authorities, *authorities)}
        if issued.authority not in trusted:
            return "its authority is trusted no more"
        return await self._revoked(issued)

    async def key_revoked(self, public: str) -> bool:
        """Whether the revocation list has that plain key, `TYPE BASE64`. While the list cannot be
        used, what it said last counts: a key is somebody's by the broker's own records.
        """
        return (await self.revocations.last()).key(_hashes(public))

    async def _revoked(self, issued: Issued) -> str | None:
        try:
            revoked = await self.revocations.current()
        except ConfigError:
            return "the revocation list cannot be used"
        return revoked.certificate(issued)


def _read(certificate: str) -> Certificate:
    try:
        blob = base64.b64decode(certificate, validate=True)
    except ValueError:
        raise Damaged("its base64 is damaged") from None
    return read_certificate(blob)


def _signed(certificate: Certificate) -> bool:
    try:
        key = decode_ssh_public_key(certificate.authority.blob)
    except KeyImportError:
        return False
    return key.verify(certificate.signed, certificate.signature)


def _hashes(public: str) -> Hashes:
    return Hashes.of(base64.b64decode(public.split(" ")[1]))
