"""The user's connection: bounds before authentication, and an identity from what proved it alone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol

from asyncssh import DisconnectError, MACError, ProtocolError, SSHServer
from asyncssh.connection import SSHServerConnection
from asyncssh.packet import String

from broker.core.gateway import CodeWanted, Identity, Invited, Offence
from broker.door import offered
from broker.door.signon import Question, SignOn
from broker.door.traffic import Sender
from broker.door.upgrade import Upgrading

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Sequence

    from asyncssh.auth import Auth, KbdIntChallenge
    from asyncssh.packet import SSHPacket

    from broker.core.errors import DeskError
    from broker.core.gateway import Gateway
    from broker.door.admission import Place
    from broker.door.source import Source

_SERVICE_REQUEST = 5
_USERAUTH_REQUEST = 50
_USERAUTH = b"ssh-userauth"
_NO_METHOD_LEFT = 14

#: What ends a connection whose peer broke the protocol, or one of the door's bounds.
_VIOLATIONS = (ProtocolError, MACError, ValueError)


class Owner(SSHServer):
    """asyncssh's idea of an application: everybody must authenticate."""

    def begin_auth(self, username: str) -> bool:
        del username
        return True


class Listener(Protocol):
    """Who wants to know how it goes."""

    def authenticated(self, identity: Identity) -> None:
        """The identity was proven; called once."""

    def unknowable(self, error: DeskError) -> None:
        """Nobody could say whether what the client tried is right."""


class OuterWire(Upgrading, SSHServerConnection):
    """The connection of a user."""

    sender = Sender.CLIENT

    def __init__(
        self,
        *args: Any,
        place: Place,
        offended: Callable[[Source, Offence], None],
        gateway: Gateway,
        listener: Listener,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._place = place
        self._offended = offended
        self._listener = listener
        self._sign_on = SignOn(gateway, tell=self._banner, trouble=self._unknowable)
        self._proven = self._excused = self._typing = False
        self._offence: Offence | None = None
        self._early_packets = self._early_bytes = 0
        self._requests = self._failures = 0
        self._unknown = 0
        """Failures of which nobody can say whether what was tried is right: they are no offence, but
        they excuse no other."""
        self._free_failure = False
        self._proof: tuple[Auth | None, Identity] | None = None
        self._halfway: Auth | None = None
        """The attempt that gave a first proof, behind which a code is wanted."""
        self._max_recv_pktlen = self.common.limits.early_packet

    @property
    def client_version(self) -> str:
        """The client's version line, as it was received."""
        return self._client_version.decode("ascii", "replace")

    @property
    def source(self) -> Source:
        """Where it comes from."""
        return self._place.source

    # -- before authentication
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._sign_on.address = self._peer_addr.partition("%")[0]

    def connection_lost(self, exc: Exception | None = None) -> None:
        self._place.close()
        super().connection_lost(exc)

    def _cleanup(self, exc: Exception | None) -> None:
        self._place.leave()
        if not self.gone and not self._proven:
            offence = self._judged(exc)
            if offence is not None:
                self._offended(self.source, offence)
        super()._cleanup(exc)

    def _judged(self, exc: Exception | None) -> Offence | None:
        """What it did that is worth a penalty, when it ends with nobody proven."""
        if self._offence is Offence.CRASH:
            return self._offence
        if self._offence is None and self._client_version and isinstance(exc, _VIOLATIONS):
            return Offence.VIOLATION
        if self._excused or (self._unknown and self._failures <= self._unknown):
            return None
        return self._offence or (Offence.AUTHFAIL if self._failures else Offence.NOAUTH)

    def excuse(self) -> None:
        """Whatever its keys were, nobody could tell."""
        self._excused = True

    def say_goodbye(self, text: str) -> None:
        self._excused = True
        super().say_goodbye(text)

    def _login_timer_callback(self) -> None:
        """Out at once: nothing that was written is worth waiting for."""
        self._login_timer = None
        self._offence = Offence.GRACE_EXCEEDED
        if self._sign_on.waiting:
            self.excuse()
        self.drop()

    def internal_error(self, exc_info: Any = None, error_logger: Any = None) -> None:
        error = (exc_info or sys.exc_info())[1]
        if isinstance(error, ValueError):  # asyncssh would tell nobody
            self.fail("a packet cannot be read")
            return
        if not isinstance(error, DisconnectError):
            self._offence = Offence.CRASH
        super().internal_error(exc_info, error_logger)

    def _stock(self, data: bytes) -> None:
        if not self._auth_complete:
            self._place.spoke()
            self._early_bytes += len(data)
            if self._early_bytes > self.common.limits.early_bytes:
                self.fail("too much data before authentication")
                return
        super()._stock(data)

    def _recv_pkthdr(self) -> bool:
        if not super()._recv_pkthdr():
            return False
        if not self._auth_complete:
            self._early_packets += 1
            if self._early_packets > self.common.limits.early_packets:
                raise ProtocolError("too many packets before authentication")
        return True

    def _get_extra_kex_algs(self) -> list[bytes]:
        """dropbear guesses: by `kexguess2` a guess is right when its first algorithm is the chosen
        one, which is how asyncssh takes every guess.
        """
        return [*super()._get_extra_kex_algs(), b"kexguess2@matt.ucc.asn.au"]

    def process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> bool | Awaitable[None]:
        if pkttype == _SERVICE_REQUEST and self._auth_in_progress and self._next_service is None:
            # paramiko asks for the service again before each attempt.
            self._next_service = _USERAUTH
        elif pkttype == _USERAUTH_REQUEST:
            if self._sign_on.waiting and self._exhausted():  # the one before is given up
                return True
            self._requests += 1
            first_none = self._requests == 1 and _method(packet) == b"none"
            self._free_failure = first_none
        return super().process_packet(pkttype, pktid, packet)

    async def reload_config(self) -> None:
        """There is no configuration file that depends on the user."""

    # -- authentication
    def public_key_auth_supported(self) -> bool:
        return not self._sign_on.half(self._username)

    def password_auth_supported(self) -> bool:
        return not self._sign_on.half(self._username)

    def kbdint_auth_supported(self) -> bool:
        return True

    async def validate_public_key(
        self, username: str, key_data: bytes, msg: bytes, signature: bytes
    ) -> bool:
        """Whether the key is somebody's; with `msg`, whether its owner signed, which alone binds
        the identity. A probe binds nothing.
        """
        attempt = self._begin()
        try:
            offer, key = offered.read(key_data)
        except ValueError:
            return False
        found = await self._sign_on.key(username, offer)
        if found is None or not msg:
            return found is not None
        key.set_touch_required(True)
        if offered.algorithm(signature).encode() not in self._sig_algs:
            return False
        if not key.verify(String(self._session_id) + msg, signature):
            return False
        offer = offered.signed(offer, signature)
        found = await self._sign_on.key(username, offer)
        if isinstance(found, Invited):
            found = await self._sign_on.redeem(username, offer)
        return self._conclude(attempt, username, found)

    async def validate_password(self, username: str, password: str) -> bool:
        attempt = self._begin()
        return self._conclude(attempt, username, await self._sign_on.password(username, password))

    async def get_kbdint_challenge(
        self, username: str, lang: str, submethods: str
    ) -> KbdIntChallenge:
        del lang, submethods
        self._begin()
        self._give_time()
        return _challenge(self._sign_on.question(username))

    async def validate_kbdint_response(
        self, username: str, responses: Sequence[str]
    ) -> KbdIntChallenge:
        attempt = self._begin()
        found = await self._sign_on.answers(username, responses)
        if isinstance(found, Question):
            return _challenge(found)
        if self._sign_on.hopeless:
            self._refuse("an invite binds a key, and none was offered that can be bound")
        return self._conclude(attempt, username, found)

    def _begin(self) -> Auth | None:
        """Another attempt, or step of one: what an earlier one proved is nothing of its own."""
        self._proof = None
        return self._auth

    def _conclude(
        self, attempt: Auth | None, username: str, found: Identity | CodeWanted | Invited | None
    ) -> bool:
        """What the attempt proved."""
        if isinstance(found, Identity):
            self._proof = attempt, found
            return True
        if isinstance(found, CodeWanted) and attempt is self._auth:
            self._sign_on.begin_half(username, found)
            self._halfway = attempt
        return False

    def _give_time(self) -> None:
        """A person types what a program sends at once; they get that time once."""
        if not self._typing and self._login_timer is not None:
            self._typing = True
            self._login_timer.cancel()
            self._login_timer = self._loop.call_later(
                self.common.limits.typing_timeout, self._login_timer_callback
            )

    def _banner(self, text: str) -> None:
        if self._auth_in_progress and not self._auth_complete and self.alive:
            self.send_auth_banner(text)

    def _unknowable(self, error: DeskError) -> None:
        self._unknown += 1
        self._listener.unknowable(error)

    def send_userauth_failure(self, partial_success: bool) -> None:
        halfway, self._halfway = self._halfway, None
        if halfway is not None and halfway is self._auth:
            super().send_userauth_failure(True)
            return
        if self._free_failure or not self._exhausted():
            super().send_userauth_failure(partial_success)

    def _exhausted(self) -> bool:
        """Count a failure; whether it was the last one that anybody has."""
        self._failures += 1
        if self._failures < self.common.limits.attempts:
            return False
        self._refuse("Too many authentication failures")
        return True

    def _refuse(self, text: str) -> None:
        """Nothing that the client still could try would do."""
        self._offence = Offence.AUTHFAIL
        self.fail(text, _NO_METHOD_LEFT)

    async def send_userauth_success(self) -> None:
        """Only for the very attempt that carried the proof."""
        proof, self._proof = self._proof, None
        self._sign_on.forget()
        if proof is None or proof[0] is not self._auth:
            self.fail("authentication failed", _NO_METHOD_LEFT)
            return
        self._proven = True
        self._place.leave()
        self._max_recv_pktlen = self.common.limits.packet
        await super().send_userauth_success()
        self._listener.authenticated(proof[1])


def _method(packet: SSHPacket) -> bytes:
    """The method of an authentication request that asyncssh has yet to read."""
    payload = packet.get_full_payload()
    offset = 1
    text = b""
    for _ in range(3):
        size = int.from_bytes(payload[offset : offset + 4], "big")
        text = payload[offset + 4 : offset + 4 + size]
        offset += 4 + size
    return text


def _challenge(question: Question) -> KbdIntChallenge:
    return "", question.instruction, "", question.prompts
