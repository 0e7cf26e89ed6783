"""The front door's composition root: a listener, and what its connections share."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from asyncssh.connection import SSHServerConnectionOptions

from broker.core.gateway import Holdings, Load
from broker.door import library
from broker.door.attendance import Attendance
from broker.door.binding import Binder
from broker.door.bridge import Bridge
from broker.door.entrance import Entrance
from broker.door.lane import Buffers, Common
from broker.door.limits import Limits
from broker.door.outer import OuterWire, Owner
from broker.door.traffic import Sender
from broker.system.lag import Worst, watch
from broker.system.tasks import Tasks

if TYPE_CHECKING:
    from asyncssh import SSHKey

    from broker.core.gateway import Gateway, Penalty
    from broker.door.admission import Place

log = structlog.get_logger()

_CLOSING = "desk: the front door is restarting. Connect again in a few seconds."
_TOO_MANY = "desk: You have too many connections open; close one of them and try again."

_KEX = ["mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org"]
_CIPHERS = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr", "aes128-ctr"]
#: The last is for dropbear, which has no other with the ciphers above.
_MACS = ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256"]
_SIGNATURES = [
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorStats:
    """What a door has done since it started, and what it carries now."""

    connections: int
    """Open now."""
    authenticated: int
    """Of those, the ones that proved who they are."""
    accepted: int
    """All that were ever accepted."""
    packets: int
    """Bulk packets switched by the fast lane."""
    bytes: int
    """Their size as it was written."""


class Door:
    """One SSH front door."""

    def __init__(
        self,
        gateway: Gateway,
        host_key: SSHKey,
        *,
        limits: Limits | None = None,
        fast: bool = True,
    ) -> None:
        self._gateway = gateway
        self._host_key = host_key
        self._limits = limits or Limits()
        self._common = Common(self._limits, fast, Buffers(self._limits.packet))
        self._binder = Binder(gateway, self._common)
        self._background = Tasks()
        self._entrance = Entrance(
            self._limits,
            welcome=self._welcome,
            tell=self._tell_penalty,
            background=self._background,
        )
        self._attendance = Attendance(gateway, self._limits, self._background, self._load)
        self._lag, self._watching = Worst(), Tasks()
        self._bridges: set[Bridge] = set()
        self._authenticated: set[Bridge] = set()
        self._parted = asyncio.Event()
        """Set whenever a connection has ended."""
        self._accepted = 0
        self._options: SSHServerConnectionOptions | None = None

    async def prepare(self) -> None:
        """Do what can be done before anybody may come. Raises `ConfigError` when asyncssh is not the
        one that the door was written for.
        """
        library.check()
        self._options = await self._server_options()

    async def start(
        self, host: str = "127.0.0.1", port: int = 0, *, sock: socket.socket | None = None
    ) -> None:
        """Listen, at an address or on a socket that is bound already. Raises as `prepare`, and
        `OSError` when it cannot listen.
        """
        if self._options is None:
            await self.prepare()
        self._entrance.open(sock or socket.create_server((host, port)))
        self._attendance.start()
        self._watching.start(watch(self._lag.note), name="lag")
        log.info("front door open", port=self.port, places=self._entrance.admission.places)

    @property
    def id(self) -> str:
        """Its name towards the broker, new with each start."""
        return self._attendance.door

    @property
    def attendance(self) -> Attendance:
        """Who is attached by it, to which others may add whom they let in."""
        return self._attendance

    @property
    def port(self) -> int:
        """The port of the listener."""
        return self._entrance.port

    def _load(self) -> Load:
        traffic, turned_away = self._common.traffic, self._entrance.turned_away
        return Load(
            connections=len(self._bridges),
            authenticated=len(self._authenticated),
            lag=self._lag.take(),
            accepted=self._accepted,
            penalised=turned_away["penalised"],
            crowded=turned_away["crowded"],
            from_clients=traffic.received(Sender.CLIENT),
            from_desktops=traffic.received(Sender.DESKTOP),
            offences=dict(self._entrance.offences),
        )

    def stats(self) -> DoorStats:
        counters = self._common.counters
        return DoorStats(
            connections=len(self._bridges),
            authenticated=len(self._authenticated),
            accepted=self._accepted,
            packets=counters.packets,
            bytes=counters.bytes,
        )

    def end_session(self, session_id: str, sentence: str, *, sleeps: bool = False) -> None:
        """Disconnect who is in the session or about to enter it, telling them why, and keep nothing
        of it. Who has no terminal gets a moment to take what was written, and is bound to nothing
        meanwhile. When it `sleeps`, who is only about to enter asks for it anew, and wakes it.
        """
        for bridge in list(self._authenticated):
            if bridge.session_id == session_id:
                bridge.end_session(sentence, sleeps=sleeps)
        self._binder.forget(session_id)

    def end_user(self, user_id: str, sentence: str) -> None:
        """Disconnect whoever proved to be that user."""
        for bridge in list(self._authenticated):
            if bridge.identity is not None and bridge.identity.user_id == user_id:
                bridge.say_goodbye(f"desk: {sentence}")

    def end_credential(self, credential: str, sentence: str) -> None:
        """Disconnect whoever came in by that credential."""
        for bridge in list(self._authenticated):
            if bridge.identity is not None and bridge.identity.credential == credential:
                bridge.say_goodbye(f"desk: {sentence}")

    def holdings(self) -> Holdings:
        """What a broker that comes back must know, to tell what of it is over."""
        identities = {}
        sessions = set(self._binder.sessions)
        for bridge in self._authenticated:
            assert bridge.identity is not None
            identities[bridge.identity.user_id, bridge.identity.credential] = bridge.identity
            if bridge.session_id is not None:
                sessions.add(bridge.session_id)
        return Holdings(identities=tuple(identities.values()), sessions=tuple(sessions))

    def report_now(self) -> None:
        """Tell the broker at once who is attached: it may know nothing of it."""
        self._attendance.report_now()

    def accept_no_more(self) -> None:
        """Leave who comes from now on to the other doors; who is here stays."""
        self._entrance.close()

    async def empty(self) -> None:
        """Wait until the last connection has ended."""
        while self._bridges:
            self._parted.clear()
            await self._parted.wait()

    async def close(self, grace: float = 5.0) -> None:
        """Stop accepting, tell every client a sentence, give them `grace` seconds to take what was
        written, then end what is left.
        """
        self._entrance.close()
        await self._watching.close()
        await self._attendance.close()
        bridges = list(self._bridges)
        for bridge in bridges:
            bridge.say_goodbye(_CLOSING)
        try:
            async with asyncio.timeout(grace):
                await asyncio.gather(*(bridge.outer.closed.wait() for bridge in bridges))
        except TimeoutError:
            for bridge in bridges:
                bridge.drop()
        await self._binder.close()
        await self._background.close(grace=grace)

    def penalise(self, penalty: Penalty) -> None:
        """Turn that source away: another door met it."""
        self._entrance.penalise(penalty)

    async def _tell_penalty(self, penalty: Penalty) -> None:
        await self._gateway.penalise(self.id, penalty)

    def _welcome(self, place: Place) -> OuterWire:
        assert self._options is not None
        bridge = Bridge(
            gateway=self._gateway,
            attendance=self._attendance,
            binder=self._binder,
            limits=self._limits,
            background=self._background,
            on_authenticated=self._proven,
            on_gone=self._gone,
        )
        wire = OuterWire(
            asyncio.get_running_loop(),
            self._options,
            common=self._common,
            place=place,
            offended=self._entrance.offended,
            gateway=self._gateway,
            listener=bridge,
        )
        bridge.adopt(wire)
        self._bridges.add(bridge)
        self._accepted += 1
        return wire

    def _proven(self, bridge: Bridge) -> None:
        assert bridge.identity is not None
        self._entrance.proven(bridge.outer.source)
        if self._entrance.admission.prove(bridge.identity.user_id):
            self._authenticated.add(bridge)
        else:
            log.warning("too many connections", user=bridge.identity.user)
            bridge.say_goodbye(_TOO_MANY)

    def _gone(self, bridge: Bridge) -> None:
        self._bridges.discard(bridge)
        self._parted.set()
        if bridge in self._authenticated:
            assert bridge.identity is not None
            self._authenticated.discard(bridge)
            self._entrance.admission.part(bridge.identity.user_id)

    async def _server_options(self) -> SSHServerConnectionOptions:
        limits = self._limits
        options: SSHServerConnectionOptions = await SSHServerConnectionOptions.construct(
            config=None,
            server_factory=Owner,
            server_host_keys=[self._host_key],
            send_server_host_keys=False,
            server_version="desk",
            kex_algs=_KEX,
            encryption_algs=_CIPHERS,
            mac_algs=_MACS,
            compression_algs=None,
            signature_algs=_SIGNATURES,
            host_based_auth=False,
            password_auth=True,
            kbdint_auth=True,
            gss_host=None,
            login_timeout=limits.login_timeout,
            rekey_bytes=limits.outer_rekey,
            keepalive_interval=limits.outer_keepalive,
            agent_forwarding=False,
        )
        return options
