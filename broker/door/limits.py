"""Every number of the front door, in one place."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.config import SshConfig

_KIB = 1024
_MIB = 1024 * _KIB
_GIB = 1024 * _MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of one front door. Sizes are bytes, times are seconds."""

    # -- connections
    unauthenticated: int = 384
    """Connections that have not proven anybody, in all: a multiple of what one address may have,
    so that one alone cannot shut the door. OpenSSH's MaxStartups is 100."""
    unauthenticated_start: int = 192
    """From so many on some are dropped at random: who tries again gets in, a flood mostly not."""
    unauthenticated_per_address: int = 96
    """The same from one address: see `ipv4_prefix`."""
    unauthenticated_per_address_start: int = 64
    """A class of sixty behind one address comes within a second, and none of it is dropped."""
    early_drop: int = 30
    """Percent that are dropped at the start of random early drop, rising to all at its end."""
    silence: float = 0.1
    """Who said nothing for so long gives their place to who comes when places are short: every
    client sends its version line with the end of TCP's handshake."""
    connections: int = 4096
    """Connections in all: fewer where the process may not have three descriptors for each."""
    descriptors_reserved: int = 256
    """Descriptors of the process that no client gets: listeners, the gateway, logs."""
    connections_per_user: int = 64
    """Connections of one person, by any of their keys."""
    ipv4_prefix: int = 32
    """Bits of an IPv4 address that tell one source from another."""
    ipv6_prefix: int = 64
    """The same of IPv6: a host chooses its address within a /64."""

    # -- before authentication
    login_timeout: float = 20.0
    """From accept to a proven identity, for a client that is asked nothing."""
    typing_timeout: float = 120.0
    """From the first question to a person on, what they typed included; OpenSSH's LoginGraceTime."""
    attempts: int = 6
    """Failed requests to authenticate, as OpenSSH's MaxAuthTries counts them."""
    early_packet: int = 35 * _KIB
    """Length of a packet before authentication: 35000 of RFC 4253 and some."""
    early_bytes: int = 256 * _KIB
    """Bytes received before authentication: a login with many agent keys needs 20 KiB."""
    early_packets: int = 200
    """Packets received before authentication: a login needs about 10."""

    # -- penalties of a source, in seconds for which it is turned away; see `penalties`
    penalties: bool = True
    """False turns nobody away."""
    penalty_crash: float = 90.0
    """For a fault of the door's own that a stranger brought about."""
    penalty_violation: float = 10.0
    """For breaking the protocol or a bound before authentication."""
    penalty_grace_exceeded: float = 10.0
    """For not having authenticated within the login time."""
    penalty_authfail: float = 3.0
    """For leaving after failed attempts: one failure every 3 s is never too many."""
    penalty_noauth: float = 1.0
    """For leaving without an attempt: scans, monitors."""
    penalty_min: float = 15.0
    """Nobody is turned away before so much has come together."""
    penalty_max: float = 600.0
    """However much comes together, it is no more than this."""
    penalty_sources: int = 16_384
    """Sources of IPv4 that are remembered, and as many of IPv6: 200 bytes each."""
    penalty_overflow: str = "permissive"
    """When there are more: `permissive` forgets those that are free soonest, `deny` turns away
    all who are not remembered, until there is room."""
    penalty_exempt: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Networks that never get a penalty."""

    # -- packets
    packet: int = 256 * _KIB
    """Length of a packet after authentication, as in OpenSSH."""
    packets_per_second: int = 30_000
    """Packets of the fast lane that one connection may have handled in a second before its reading
    pauses: bulk data needs 16,000 at 500 MB/s. A packet off that lane counts for several."""

    # -- channels and requests
    channels: int = 64
    """Open channels of one connection; OpenSSH's client seldom needs ten."""
    refused_opens: int = 1000
    """Channel opens refused before the connection is cut."""
    undecided_requests: int = 1024
    """Requests queued on a session channel before shell, exec or subsystem."""
    undecided_bytes: int = 256 * _KIB
    """Their bytes."""
    waiting_packets: int = 1024
    """Packets that wait for the inner connection before the client's reading pauses."""
    waiting_bytes: int = 256 * _KIB
    """Their bytes."""
    global_replies: int = 1024
    """Ready replies to global requests that wait behind one of the inner's."""
    environment_count: int = 32
    """Environment variables of one channel."""
    environment_bytes: int = 4 * _KIB
    """Their names and values together."""
    words: int = 4
    """Words of the broker that one connection waits for at a time."""
    word_bytes: int = 4 * _KIB
    """Length of a command that is one of the broker's words."""
    output_packet: int = 256
    """Smallest packet size of a client that the door's own output is cut into: below it the
    client gets the exit status alone."""

    # -- activity
    activity_bytes: int = 4 * _KIB
    """Bytes a minute over forwards and into commands up to which nobody is at work: a poll or a
    keepalive has some hundred in a minute, one page through a forward more than this."""

    # -- flow control
    write_high: int = 1 * _MIB
    """Bytes waiting in one transport before the other side's reading pauses."""
    write_low: int = 256 * _KIB
    """Where it resumes."""
    own_replies: int = 2 * _MIB
    """Bytes waiting in a transport, after a reply of the door's own, before its own reading
    pauses."""
    deferred: int = 4 * _MIB
    """Bytes that wait for the end of a key exchange."""

    # -- key exchange
    rekeys_per_minute: int = 20
    """Key exchanges that the peer may begin in a minute without moving data in between."""
    rekey_worth: int = 512 * _KIB
    """Bytes moved since the last exchange that make the next one the peer's good right: with
    `RekeyLimit 1M` an OpenSSH client at full speed begins a hundred in a second."""
    rekey_stall: float = 30.0
    """Time that a key exchange may take while the door reads from its peer."""
    inner_rekey: int = 16 * _GIB
    """Bytes sent inwards under one key: the GCM nonce is a counter, 2^32 blocks would do."""
    outer_rekey: int = 1 * _GIB
    """Bytes sent to a client under one key: asyncssh's and OpenSSH's default."""

    # -- timers
    optimistic: float = 0.02
    """Silence after a request on an undecided channel that shows a client waiting for its
    reply."""
    linger: float = 30.0
    """Time that a closed connection has to take what was written."""
    orphaned: float = 5.0
    """Time that a client has to end its channels after its desktop went away."""
    report_every: float = 5.0
    """Time between two reports of who is attached: short beside the minutes after which a desktop
    sleeps."""
    report_gap: float = 1.0
    """Least time between two, though somebody left who did something."""
    outer_keepalive: float = 30.0
    """Silence of a client before it is asked whether it lives; three unanswered end it."""
    inner_keepalive: float = 15.0
    """The same of a desktop's sshd."""

    # -- inner connections
    connect_timeout: float = 3.0
    """TCP connect to one endpoint of a desktop."""
    handshake_timeout: float = 20.0
    """Key exchange and authentication with a desktop's sshd."""
    first_dial: float = 5.0
    """All of the first try to reach a desktop, and of a spare's: one that froze meanwhile accepts
    and says nothing, and asking for its route again thaws it."""
    spare_delay: float = 0.05
    """Time after one inner connection was taken until the next is made in advance."""
    spare_patience: float = 2.0
    """Time that a client waits for a spare in the making before it has a connection of its own
    dialled as well."""
    spare_idle: float = 60.0
    """Time that a spare stays after the session's last client left."""

    @classmethod
    def of(cls, config: SshConfig) -> Limits:
        """The numbers that the configuration has a say in, and for all others what is here."""
        numbers = config.limits.model_dump()
        numbers["write_low"] = config.limits.write_high // 4
        penalties = config.penalties.model_dump()
        numbers["penalties"] = penalties.pop("enabled")
        numbers |= {f"penalty_{name}": value for name, value in penalties.items()}
        known = {field.name for field in fields(cls)}
        assert numbers.keys() <= known
        return cls(**numbers)
