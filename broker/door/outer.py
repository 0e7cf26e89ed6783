"""The user's connection: bounds before authentication, and an identity from the signed step alone."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Protocol

from asyncssh import DisconnectError, KeyImportError, MACError, ProtocolError, SSHServer
from asyncssh.connection import SSHServerConnection
from asyncssh.packet import String
from asyncssh.public_key import decode_ssh_public_key

from broker.core.gateway import OfferedKey
from broker.door.login import parse_login
from broker.door.penalties import Offence
from broker.door.upgrade import Upgrading

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncssh.auth import Auth
    from asyncssh.packet import SSHPacket

    from broker.core.gateway import Identity, Login
    from broker.door.admission import Place
    from broker.door.source import Source

_SERVICE_REQUEST = 5
_USERAUTH_REQUEST = 50
_USERAUTH = b"ssh-userauth"
_TOO_MANY_ATTEMPTS = 14

#: What ends a connection whose peer broke the protocol, or one of the door's bounds.
_VIOLATIONS = (ProtocolError, MACError, ValueError)


class Owner(SSHServer):
    """asyncssh's idea of an application: everybody must authenticate, by a key."""

    def begin_auth(self, username: str) -> bool:
        del username
        return True

    def public_key_auth_supported(self) -> bool:
        return True


class Authenticator(Protocol):
    """Who knows the people."""

    async def identify(self, login: Login, key: OfferedKey) -> Identity | None:
        """As the gateway's."""

    def authenticated(self, identity: Identity) -> None:
        """The identity was proven by a signature; called once."""


class OuterWire(Upgrading, SSHServerConnection, asyncio.BufferedProtocol):
    """The connection of a user. `BufferedProtocol` is last, as in `InnerWire`."""

    def __init__(
        self,
        *args: Any,
        place: Place,
        offended: Callable[[Source, Offence], None],
        authenticator: Authenticator,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._place = place
        self._offended = offended
        self._authenticator = authenticator
        self._proven = self._excused = False
        self._asking = 0
        self._offence: Offence | None = None
        self._early_packets = self._early_bytes = 0
        self._requests = self._failures = 0
        self._free_failure = False
        self._known: dict[tuple[str, bytes], Identity | None] = {}
        self._proof: tuple[Auth | None, Identity] | None = None
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
        if self._excused:
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
        if self._asking:
            self.excuse()
        self.drop()

    def internal_error(self, exc_info: Any = None, error_logger: Any = None) -> None:
        error = (exc_info or sys.exc_info())[1]
        if not isinstance(error, (ValueError, DisconnectError)):
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
            self._requests += 1
            first_none = self._requests == 1 and _method(packet) == b"none"
            self._free_failure = first_none
        return super().process_packet(pkttype, pktid, packet)

    async def reload_config(self) -> None:
        """There is no configuration file that depends on the user."""

    # -- authentication
    async def validate_public_key(
        self, username: str, key_data: bytes, msg: bytes, signature: bytes
    ) -> bool:
        """Whether the key is somebody's; with `msg`, whether its owner signed, which alone binds
        the identity. A probe binds nothing.
        """
        attempt = self._auth
        self._proof = None
        try:
            key = decode_ssh_public_key(key_data)
        except KeyImportError:
            return False
        identity = await self._identify(username, key_data, key.get_fingerprint())
        if identity is None:
            return False
        if not msg:
            return True
        key.set_touch_required(True)
        if _algorithm(signature).encode() not in self._sig_algs:
            return False
        if not key.verify(String(self._session_id) + msg, signature):
            return False
        self._proof = (attempt, identity)
        return True

    async def _identify(self, username: str, key_data: bytes, fingerprint: str) -> Identity | None:
        """Ask once for each login and key: a probe and its signed step want the same answer."""
        known = self._known
        if (username, key_data) not in known:
            login = parse_login(username)
            identity = None
            if login is not None:
                algorithm = _algorithm(key_data)
                offered = OfferedKey(algorithm=algorithm, fingerprint=fingerprint)
                self._asking += 1
                try:
                    identity = await self._authenticator.identify(login, offered)
                finally:
                    self._asking -= 1
            known[username, key_data] = identity
        return known[username, key_data]

    def send_userauth_failure(self, partial_success: bool) -> None:
        if not self._free_failure:
            self._failures += 1
        if self._failures >= self.common.limits.attempts:
            self._offence = Offence.AUTHFAIL
            self.fail("Too many authentication failures", _TOO_MANY_ATTEMPTS)
        else:
            super().send_userauth_failure(partial_success)

    async def send_userauth_success(self) -> None:
        """Only for the very attempt that carried the signature."""
        proof, self._proof = self._proof, None
        self._known.clear()
        if proof is None or proof[0] is not self._auth:
            self.fail("authentication failed", _TOO_MANY_ATTEMPTS)
            return
        self._proven = True
        self._place.leave()
        self._max_recv_pktlen = self.common.limits.packet
        await super().send_userauth_success()
        self._authenticator.authenticated(proof[1])


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


def _algorithm(blob: bytes) -> str:
    """The name that a key or a signature begins with."""
    size = int.from_bytes(blob[:4], "big")
    return blob[4 : 4 + size].decode("ascii", "replace")
