"""How one client proves who it is: keys, certificates, passwords, one-time codes and invites, as a
conversation that knows nothing of packets.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeVar

from broker.core.errors import Blocked, Conflict, DeskError
from broker.core.gateway import CodeWanted, Identity, Login
from broker.door.login import parse_login

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from broker.core.gateway import Gateway, KeyAnswer, OfferedKey

T = TypeVar("T")

#: Characters of a name, a password and a code that are worth asking the broker about.
_NAME, _PASSWORD, _CODE = 256, 1024, 64

_BAD_INVITE = (
    "desk: This invite is unknown, used or expired, or cannot bind this key. Ask whoever invited"
    " you for a new one.\n"
)
_NO_KEY = (
    "An invite binds a key, and your client has offered none that can be bound. Make one with"
    " 'ssh-keygen -t ed25519', then connect again."
)
_BOUND = "desk: The key {key} is {user}'s now: from here on, 'ssh desk@…' is enough.\n"

#: What is refused because of what was tried, and not because something is away.
_REFUSALS = (Blocked, Conflict)


@dataclass(frozen=True, slots=True)
class Question:
    """What keyboard-interactive asks next."""

    prompts: tuple[tuple[str, bool], ...]
    """Each with whether what is typed may be seen."""
    instruction: str = ""


class _Asked(Enum):
    """What the question that waits for its answers was."""

    NAME_AND_PASSWORD = auto()
    PASSWORD = auto()
    CODE = auto()
    NOTHING = auto()


_PASSWORD_PROMPT = ("Password: ", False)
_QUESTIONS = {
    _Asked.NAME_AND_PASSWORD: Question((("User name: ", True), _PASSWORD_PROMPT)),
    _Asked.PASSWORD: Question((_PASSWORD_PROMPT,)),
    _Asked.CODE: Question((("One-time code: ", True),)),
    _Asked.NOTHING: Question((), _NO_KEY),
}


class SignOn:
    """What a client has proven so far, and what it is asked. Whoever has a name that cannot be
    anybody's is asked the same, and has as much done for it, as everybody.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        tell: Callable[[str], None],
        trouble: Callable[[DeskError], None],
    ) -> None:
        """`tell` shows the client a sentence. `trouble` is told when nobody could say whether what
        was tried is right.
        """
        self._gateway = gateway
        self.address = ""
        """The client's, known once it is there."""
        self._tell = tell
        self._trouble = trouble
        self._told: set[str] = set()
        self._keys: dict[tuple[str, OfferedKey], KeyAnswer] = {}
        self._half: tuple[str, str] | None = None
        """The login name that a code is wanted for, and the ticket for it."""
        self._asked: _Asked | None = None
        self._ticket = ""
        """The ticket that belongs to the question about a code."""
        self.hopeless = False
        """Whether the client came by an invite and without a key, and knows by now how to make one."""
        self.waiting = 0
        """Questions to the broker that it has yet to answer."""

    def forget(self) -> None:
        """It is over: nothing that was typed or found out is kept."""
        self._keys.clear()
        self._half = self._asked = None
        self._ticket = ""

    def half(self, username: str) -> bool:
        """Whether a first proof under that login name was right, and a code is wanted."""
        return self._half is not None and self._half[0] == username

    # ---------------------------------------------------------------------------------- keys

    async def key(self, username: str, key: OfferedKey) -> KeyAnswer:
        """What the key would do, asked once for each: a probe and its signed step want the same."""
        if (username, key) not in self._keys:
            login = parse_login(username)
            answer: KeyAnswer = None
            if login is not None:
                answer = await self._ask(self._gateway.identify(login, key, self.address))
                if login.invite is not None and answer is None:
                    self._say(_BAD_INVITE)
            self._keys[username, key] = answer
        return self._keys[username, key]

    async def redeem(self, username: str, key: OfferedKey) -> Identity | CodeWanted | None:
        """Bind the key to the invite, its owner having signed."""
        login = parse_login(username)
        assert login is not None
        found = await self._ask(self._gateway.redeem(login, key, self.address))
        if found is None:
            self._say(_BAD_INVITE)
        elif isinstance(found, Identity):
            self._say(_BOUND.format(key=key.fingerprint, user=found.user))
        return found

    def begin_half(self, username: str, wanted: CodeWanted) -> None:
        """The first proof is given; only a code is asked from here on."""
        self._half = username, wanted.ticket

    # ----------------------------------------------------------------------- passwords, codes

    async def password(self, username: str, password: str) -> Identity | CodeWanted | None:
        """By the method of that name, which has no question to ask for a name with."""
        login = parse_login(username)
        if login is not None and (login.user is None or login.invite is not None):
            return None
        return await self._check(login or _nobody(username), password)

    def question(self, username: str) -> Question:
        """What keyboard-interactive begins with."""
        login = parse_login(username)
        if self._half is not None and self._half[0] == username:
            return self._put(_Asked.CODE, ticket=self._half[1])
        if login is not None and login.invite is not None:
            return self._put(_Asked.NOTHING)
        if login is not None and login.user is None:
            return self._put(_Asked.NAME_AND_PASSWORD)
        return self._put(_Asked.PASSWORD)

    async def answers(self, username: str, answers: Sequence[str]) -> Identity | Question | None:
        """What follows from what was typed."""
        asked, self._asked = self._asked, None
        ticket, self._ticket = self._ticket, ""
        login = parse_login(username) or _nobody(username)
        match asked, list(answers):
            case _Asked.NAME_AND_PASSWORD, [name, password]:
                found = await self._check(Login(name[:_NAME], login.desktop), password)
            case _Asked.PASSWORD, [password]:
                found = await self._check(login, password)
            case _Asked.CODE, [code] if len(code) <= _CODE:
                return await self._ask(self._gateway.check_code(ticket, code, self.address))
            case _:
                self.hopeless = asked is _Asked.NOTHING
                return None
        if isinstance(found, CodeWanted):
            return self._put(_Asked.CODE, ticket=found.ticket)
        return found

    def _put(self, asked: _Asked, *, ticket: str = "") -> Question:
        self._asked, self._ticket = asked, ticket
        return _QUESTIONS[asked]

    async def _check(self, login: Login, password: str) -> Identity | CodeWanted | None:
        if len(password) > _PASSWORD:
            return None
        return await self._ask(self._gateway.check_password(login, password, self.address))

    # --------------------------------------------------------------------------------- broker

    async def _ask(self, call: Awaitable[T]) -> T | None:
        self.waiting += 1
        try:
            return await call
        except DeskError as error:
            self._say(f"desk: {error.told}\n")
            if not isinstance(error, _REFUSALS):
                self._trouble(error)
            return None
        finally:
            self.waiting -= 1

    def _say(self, sentence: str) -> None:
        """Once is enough."""
        if sentence not in self._told:
            self._told.add(sentence)
            self._tell(sentence)


def _nobody(username: str) -> Login:
    """A login name that cannot be one."""
    return Login(username[:_NAME], None)
