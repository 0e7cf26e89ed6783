"""The contract between a front door and the broker: all that a door knows of the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.core.idle import Signal


@dataclass(frozen=True, slots=True)
class Login:
    """A login name at the front door, parsed."""

    user: str | None
    """None: the key alone names the person."""
    desktop: str | None
    """None: the default desktop."""
    invite: str | None = field(default=None, repr=False)
    """The token of an invite; nobody is named then."""


class Allowance(StrEnum):
    """What a person's connections may do beyond shells, commands and the viewers."""

    FORWARD_LOCAL = "forward_local"
    """Connections from the client's side, by `-L`, `-D` and `-W`."""
    FORWARD_REMOTE = "forward_remote"
    """Listening in the desktop for the client, by `-R`."""
    AGENT = "agent"
    X11 = "x11"
    SFTP = "sftp"
    PTY = "pty"
    """A terminal."""
    BROWSER = "browser"
    """Their desktops in a browser, and the pages around them."""
    CLIPBOARD_IN = "clipboard_in"
    CLIPBOARD_OUT = "clipboard_out"
    """What is copied goes into the desktop from a browser, and out to one."""
    SHARE = "share"
    """Showing a desktop to guests."""


class Offence(StrEnum):
    """What a stranger did, from the worst to the least."""

    CRASH = "crash"
    VIOLATION = "violation"
    GRACE_EXCEEDED = "grace_exceeded"
    AUTHFAIL = "authfail"
    NOAUTH = "noauth"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedKey:
    """A public key as a client offered it: not yet proof of anything."""

    algorithm: str
    """The key's type; of a certificate, that of the key in it."""
    fingerprint: str
    """`SHA256:…` of the key; of a certificate, of the key in it."""
    public: str = ""
    """`TYPE BASE64` of that key."""
    certificate: str | None = None
    """The whole certificate in base64, where one was offered."""
    user_present: bool | None = None
    user_verified: bool | None = None
    """Whether the device that holds the key was touched, and asked for its PIN or the like, as its
    signature says; None while nothing is signed yet, and for keys without a device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A person, proven by the signed step of authentication, by a password, or with a code."""

    user_id: str
    user: str
    desktop: str | None
    """The desktop that the login name asked for."""
    credential: str
    """What proved them: a key's `SHA256:…`, `password:ID`, or `certificate:…`."""
    method: str
    """`key`, `certificate` or `password`, with `+code` where one was given too."""
    address: str
    """The client's."""
    allowed: tuple[Allowance, ...]
    enrol: bool = False
    """Let in to set up a one-time code, and for nothing else."""


@dataclass(frozen=True, slots=True)
class CodeWanted:
    """Right so far; a one-time code is wanted too."""

    ticket: str = field(repr=False)
    """What the code is shown with, opaque; for two minutes, and never logged."""


@dataclass(frozen=True, slots=True)
class Invited:
    """The key is nobody's, and the invite would bind it once its owner signed."""


KeyAnswer = Identity | CodeWanted | Invited | None
"""What a key would do: let in, let in with a code behind it, be bound by the invite, nothing."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A TCP address where the sshd of a desktop listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a desktop is and how to get in: all that a door needs to dial."""

    session_id: str
    desktop_id: str
    desktop: str
    display: int
    user: str
    """The account inside the container."""
    endpoints: tuple[Endpoint, ...]
    """In the order in which to try them; the first that connects is used."""
    host_key: str
    """The pinned public host key: `ssh-ed25519 BASE64`."""
    client_key: str = field(repr=False)
    """The session's private key in OpenSSH's format. Never logged, never leaves the door."""


class Right(StrEnum):
    """What a browser may do in a desktop beyond seeing it."""

    CONTROL = "control"
    """Keyboard and mouse."""
    RESIZE = "resize"
    """Another size of the desktop."""
    CLIPBOARD_IN = "clipboard_in"
    CLIPBOARD_OUT = "clipboard_out"
    FILES = "files"
    """Upload to its home, and download from it."""
    SOUND = "sound"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A browser's place in a desktop."""

    identity: Identity
    """Whom to count there. Of a guest: the desktop's owner as `user_id`, so that what ends the
    owner ends them, and the name that the guest gave as `user`."""
    desktop: str
    """The desktop's name."""
    route: Route | None
    """None where nothing was to be started and the desktop does not run."""
    rights: tuple[Right, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WordReply:
    """What one of the broker's words answers."""

    stdout: str
    stderr: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One client connection that is in a session now."""

    id: str
    session_id: str
    user: str
    peer: str
    """`ADDRESS:PORT` of the client."""
    client: str
    """Its SSH version line, safe to print."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What one attachment carries, and what its client did in it."""

    attachment: Attachment
    attached_for: float
    """Seconds since it came."""
    kinds: tuple[str, ...]
    """What its channels are for now, sorted, each once: `shell`, `exec`, `sftp`, `xpra`,
    `forward`; empty for a connection without a channel. `browser` or `guest` for what came by the
    HTTP port."""
    ages: Mapping[Signal, float]
    """Seconds since each of `typing`, `data`, `files` and `transfer` was last seen; those alone
    that were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much a door carries now."""

    connections: int
    """Of clients, proven or not."""
    authenticated: int
    """Of those, the ones that proved who they are."""
    lag: float = 0.0
    """Seconds that its event loop was late at most since it told before."""
    accepted: int = 0
    """These and all that follow: since the door began."""
    penalised: int = 0
    crowded: int = 0
    """Turned away for what their source did, and for want of a place."""
    from_clients: int = 0
    from_desktops: int = 0
    """Bytes that it received, as they came encrypted."""
    offences: Mapping[Offence, int] = field(default_factory=dict, hash=False)
    """How connections ended that had proven nobody."""


#: Headers between a door and the broker's API, which no client can send and none gets. By the first
#: a door tells who its client is, as an address; by the others it passes on the secrets that the
#: client's cookies hold, and is told to set those cookies, or to take them back where one is empty.
CLIENT = "Desk-Client"
SIGN_IN, GUEST, STATE = "Desk-Sign-In", "Desk-Guest", "Desk-State"
COOKIES = (SIGN_IN, GUEST, STATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Penalty:
    """A source of connections that doors should meet with refusal for a while."""

    source: str
    """An address, or a network as `ADDRESS/BITS`."""
    offence: str
    """One short word for what it did."""
    seconds: float
    """For how long, from now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What a door holds open: what it would have been told to end, had it been there to hear."""

    identities: tuple[Identity, ...]
    """Whose connections it has, each person by each credential once."""
    sessions: tuple[str, ...]
    """Sessions that somebody is in or about to enter, or that it keeps a connection to."""


class DoorControl(Protocol):
    """What the broker tells a front door. None of it waits, and none of it fails."""

    def end_session(self, session_id: str, sentence: str, *, sleeps: bool = False) -> None:
        """Disconnect who is in the session, telling them why, and keep nothing of it. When it
        `sleeps`, who is only about to enter asks for it anew, and wakes it.
        """

    def end_user(self, user_id: str, sentence: str) -> None:
        """Disconnect all that proved to be that user."""

    def end_credential(self, credential: str, sentence: str) -> None:
        """Disconnect all that came in by that credential."""

    def penalise(self, penalty: Penalty) -> None:
        """Another door met that source."""


class Gateway(Protocol):
    """All that a front door knows of the rest. Its methods raise `DeskError` with a sentence for
    the user; a cancelled caller stops waiting, and what was begun for it goes on.
    """

    async def identify(self, login: Login, key: OfferedKey, address: str) -> KeyAnswer:
        """What the key would do under that login, for a client at that address; None for nothing.
        Reads alone, and is asked on mere probes too: an answer is worth nothing until the client
        has signed, and a device's key is asked about again with what its signature says.
        """

    async def redeem(
        self, login: Login, key: OfferedKey, address: str
    ) -> Identity | CodeWanted | None:
        """Bind the key to the invite's user, now that its owner has signed. None when the invite is
        not open any more. Raises `Conflict` when the key is somebody else's.
        """

    async def check_password(
        self, login: Login, password: str, address: str
    ) -> Identity | CodeWanted | None:
        """Whom the password proves; None for nobody. A login without a name, or with one that
        nobody has, is as much work as any. Raises `Blocked`, `CapacityExhausted`.
        """

    async def check_code(self, ticket: str, code: str, address: str) -> Identity | None:
        """Whom the ticket and the one-time code prove together. Raises `Blocked`."""

    async def proven(self, identity: Identity) -> None:
        """The door let them in."""

    async def route(
        self, identity: Identity, *, display: int | None, progress: Callable[[str], None]
    ) -> Route:
        """Find or start the desktop. `display` picks the one that holds it when it is the user's
        own; else the one that the login named, else the default. `progress` gets a sentence when
        the desktop is not ready yet, and another whenever that changes. Raises `DeskError`.
        """

    async def seat(
        self,
        secret: str,
        address: str,
        *,
        desktop_id: str | None,
        look: bool,
        wake: bool,
        progress: Callable[[str], None],
    ) -> Seat:
        """The place of a browser at that address whose cookie holds `secret`: of somebody who
        signed in at their own desktop, or with `look` of an admin at anybody's; without a
        `desktop_id` of a guest at the one that is shown to them. With `wake` the desktop is started
        or thawed, and `progress` is as in `route`. Raises `Unauthenticated` for a secret that does
        not count, `NotFound` for a desktop that is not theirs, `AccessDenied` where they may not.
        """

    async def lost(self, session_id: str) -> None:
        """The door could not reach the session or lost it: look at the engine now. Idempotent."""

    async def word(self, identity: Identity, argv: Sequence[str]) -> WordReply:
        """Answer `desk …`; `argv` is what stands behind the word `desk`. Never raises `DeskError`:
        a refusal is a reply. Starts nothing but what the word asks for.
        """

    async def attached(self, door: str, attachment: Attachment) -> None:
        """A client of that door is in the session. Idempotent by the attachment's id."""

    async def detached(self, door: str, attachment_id: str) -> None:
        """It left. Idempotent."""

    async def report(self, door: str, activities: Sequence[Activity]) -> None:
        """All that are attached by that door, and what they did: what is not named has left. A
        door tells this every few seconds, so that nobody is counted twice or lost whatever
        happened to a message or to the broker.
        """

    async def carries(self, door: str, load: Load) -> None:
        """That door carries so much now. Told with each report."""

    async def penalise(self, door: str, penalty: Penalty) -> None:
        """That door met a source that earned it: all other doors are told. Raises `BadRequest` for
        what is no such source, word or time.
        """

    async def http(self, method: str, path: str) -> HttpReply:
        """Answer what the HTTP port passes on: `/readyz`, `/metrics`."""


class GatewayService(Gateway, Protocol):
    """The Gateway as whoever serves it to doors in other processes needs it."""

    async def catch_up(self, holdings: Holdings, door: DoorControl) -> None:
        """Tell a door that was away what of its holdings is over meanwhile. Raises `DeskError`:
        then some of it may be told, and asking again is right.
        """

    def gone(self, door: str) -> None:
        """The door is no more, and all that were attached by it left with it. Idempotent."""

    def unheard(self) -> None:
        """A door is there that cannot be understood: anybody may be attached by it. To be told
        again and again while it is.
        """
