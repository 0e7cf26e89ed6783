"""A client and an idealised sshd on either side of a splice, for tests of the switch."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from broker.door import actions, messages
from broker.door.channels import DOOR_NUMBERS
from broker.door.limits import Limits
from broker.door.messages import Message, pack, pack_string, string, uint32
from broker.door.splice import Splice

TEXT = "gone"


def request(number: int, name: bytes, *, want: bool, rest: bytes = b"") -> bytes:
    return bytes((Message.REQUEST,)) + pack(number) + pack_string(name) + bytes((want,)) + rest


def env(number: int, value: str, *, want: bool = True, name: bytes = b"LANG") -> bytes:
    rest = pack_string(name) + pack_string(value.encode())
    return request(number, b"env", want=want, rest=rest)


def execute(number: int, command: str, *, want: bool = True) -> bytes:
    return request(number, b"exec", want=want, rest=pack_string(command.encode()))


def opening(kind: bytes, number: int, window: int = 1 << 20, packet: int = 32768) -> bytes:
    head = bytes((Message.OPEN,)) + pack_string(kind)
    return head + pack(number) + pack(window) + pack(packet)


def global_request(name: bytes, *, want: bool = True, rest: bytes = b"") -> bytes:
    return bytes((Message.GLOBAL_REQUEST,)) + pack_string(name) + bytes((want,)) + rest


@dataclass
class ClientChannel:
    """What the client knows of one of its channels."""

    own: int
    tag: str
    peer: int | None = None
    window: int = 0
    """What it may send."""
    given: int = 1 << 20
    """What it may be sent."""
    asked: deque = field(default_factory=deque)
    """Replies to come: the one that an sshd would give."""
    optimistic: int = 0
    decided: bool = False
    eof: bool = False
    sent_close: bool = False
    got_close: bool = False
    refused: bool = False
    got: bytes = b""
    err: bytes = b""
    status: int | None = None
    word: bool = False


@dataclass
class InnerChannel:
    """What the sshd knows of one of its channels."""

    own: int
    peer: int
    given: int
    window: int
    packet: int
    seen: list = field(default_factory=list)
    sent_close: bool = False
    got_close: bool = False
    kind: bytes = b"session"


class World:
    """Drives a splice; each side sees its packets in order, when the test lets it."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.splice = Splice(limits or Limits())
        self.to_client: deque[bytes] = deque()
        self.to_inner: deque[bytes] = deque()
        self.from_inner: deque[bytes] = deque()
        self.binds: list = []
        self.words: deque = deque()
        self.resolves: deque = deque()
        self.armed = False
        self.orphan_timer = False
        self.held = False
        self.bound = False
        self.disconnected: str | None = None
        self.keepalives_answered = 0
        self.unbound = 0
        self.client: dict[int, ClientChannel] = {}
        self.globals: deque[bytes] = deque()
        self.inner: dict[int, InnerChannel] = {}
        self.next_inner = 0
        self.next_client = 0
        self.inner_opens: dict[int, bytes] = {}

    # -- plumbing
    def do(self, todo) -> None:
        for action in todo:
            match action:
                case actions.ToClient(p) | actions.ReplyToClient(p):
                    self.to_client.append(p)
                case actions.ToInner(p) | actions.ReplyToInner(p):
                    assert self.bound, "a packet inwards with nobody there"
                    self.to_inner.append(p)
                case actions.Bind(display):
                    assert not self.bound
                    self.binds.append(display)
                case actions.Unbind():
                    self.unbound += 1
                    self._inner_gone()
                case actions.RunWord(channel, argv):
                    self.words.append((channel, argv))
                case actions.ResolveDisplay(channel, display):
                    self.resolves.append((channel, display))
                case actions.ArmOptimistic():
                    self.armed = True
                case actions.ArmOrphaned():
                    self.orphan_timer = True
                case actions.Hold():
                    assert not self.held
                    self.held = True
                case actions.Release():
                    assert self.held
                    self.held = False
                case actions.Disconnect(text):
                    self.disconnected = text
                case actions.KeepaliveAnswered():
                    self.keepalives_answered += 1

    def send(self, payload: bytes) -> None:
        self.do(self.splice.from_client(payload))

    def bind(self, **options) -> None:
        assert self.binds and not self.bound
        self.bound = True
        self.do(self.splice.inner_bound(**options))

    def _inner_gone(self) -> None:
        self.bound = False
        self.binds.clear()
        self.to_inner.clear()
        self.from_inner.clear()
        self.inner.clear()
        self.inner_opens.clear()

    def lose(self) -> None:
        self._inner_gone()
        self.do(self.splice.inner_lost(TEXT))

    # -- the client
    def open_session(self) -> ClientChannel:
        channel = ClientChannel(self.next_client, f"c{self.next_client}")
        self.next_client += 1
        self.client[channel.own] = channel
        self.send(opening(b"session", channel.own))
        self.settle_client()
        return channel

    def ask(self, channel: ClientChannel, value: str, *, want: bool, good: bool) -> None:
        """A request whose answer is known: variables with `bad` in their value are refused."""
        if want:
            channel.asked.append(Message.SUCCESS if good else Message.FAILURE)
        self.send(env(channel.peer, value if good else "bad", want=want))

    def settle_client(self) -> None:
        while self.to_client:
            self.client_reads()

    def client_reads(self) -> None:
        payload = self.to_client.popleft()
        kind = payload[0]
        if kind == Message.OPEN:
            _, offset = string(payload, 1)
            self.inner_opens[uint32(payload, offset)] = payload
            return
        if kind in (Message.REQUEST_SUCCESS, Message.REQUEST_FAILURE):
            assert payload == self.globals.popleft(), "global replies out of order"
            return
        channel = self.client[uint32(payload, 1)]
        assert not channel.got_close, "a packet after CLOSE"
        match kind:
            case Message.OPEN_CONFIRMATION:
                assert channel.peer is None
                channel.peer = uint32(payload, 5)
                channel.window = uint32(payload, 9)
            case Message.OPEN_FAILURE:
                assert channel.peer is None
                channel.refused = True
                del self.client[channel.own]
            case Message.WINDOW_ADJUST:
                channel.window += uint32(payload, 5)
            case Message.DATA:
                text, _ = string(payload, 5)
                channel.given -= len(text)
                channel.got += text
            case Message.EXTENDED_DATA:
                text, _ = string(payload, 9)
                channel.given -= len(text)
                channel.err += text
            case Message.SUCCESS | Message.FAILURE:
                assert channel.asked, "a reply to nothing"
                expected = channel.asked.popleft()
                if channel.optimistic:
                    channel.optimistic -= 1
                    assert kind == Message.SUCCESS
                elif not channel.word:
                    assert kind == expected, "a reply to another request"
            case Message.REQUEST:
                name, offset = string(payload, 5)
                if name == b"exit-status":
                    channel.status = uint32(payload, offset + 1)
            case Message.CLOSE:
                channel.got_close = True
                if channel.sent_close:
                    del self.client[channel.own]
        assert channel.given >= 0, "the client's window was exceeded"

    def close(self, channel: ClientChannel) -> None:
        channel.sent_close = True
        self.send(messages.close(channel.peer))
        if channel.got_close:
            self.client.pop(channel.own, None)

    # -- the sshd
    def inner_reads(self) -> None:
        payload = self.to_inner.popleft()
        kind = payload[0]
        if kind == Message.GLOBAL_REQUEST:
            name, offset = string(payload, 1)
            if payload[offset]:
                good = payload[offset + 1 :] != b"bad"
                reply = messages.global_reply(granted=good)
                self.from_inner.append(reply + (payload[offset + 1 :] if good else b""))
            return
        if kind == Message.OPEN:
            name, offset = string(payload, 1)
            peer, window, packet = (uint32(payload, offset + k) for k in (0, 4, 8))
            own = self.next_inner
            self.next_inner += 1
            assert own < DOOR_NUMBERS
            self.inner[own] = InnerChannel(own, peer, 1 << 16, window, packet, kind=name)
            self.from_inner.append(messages.open_confirmation(peer, own, 1 << 16, 32768))
            return
        if kind in (Message.REQUEST_SUCCESS, Message.REQUEST_FAILURE):
            return
        own = uint32(payload, 1)
        if kind == Message.OPEN_CONFIRMATION:
            peer, window, packet = (uint32(payload, k) for k in (5, 9, 13))
            self.inner[own] = InnerChannel(own, peer, 1 << 16, window, packet, kind=b"forwarded")
            return
        if kind == Message.OPEN_FAILURE:
            return
        channel = self.inner[own]
        assert not channel.got_close, "a packet after CLOSE"
        match kind:
            case Message.WINDOW_ADJUST:
                channel.window += uint32(payload, 5)
            case Message.DATA:
                text, _ = string(payload, 5)
                channel.seen.append(text)
                channel.given -= len(text)
                assert channel.given >= 0, "the sshd's window was exceeded"
            case Message.REQUEST:
                name, offset = string(payload, 5)
                channel.seen.append((name, payload[offset + 1 :]))
                if payload[offset] and not channel.sent_close:
                    good = b"bad" not in payload[offset + 1 :] and name != b"refused@desk"
                    build = messages.success if good else messages.failure
                    self.from_inner.append(build(channel.peer))
            case Message.CLOSE:
                channel.got_close = True
                if not channel.sent_close:
                    self.inner_closes(channel)

    def inner_closes(self, channel: InnerChannel) -> None:
        channel.sent_close = True
        self.from_inner.append(messages.close(channel.peer))

    def inner_says(self, channel: InnerChannel, text: bytes) -> None:
        text = text[: channel.window]
        if text:
            channel.window -= len(text)
            self.from_inner.append(messages.data(channel.peer, text))

    def deliver(self) -> None:
        """One packet of the sshd reaches the splice."""
        self.do(self.splice.from_inner(self.from_inner.popleft()))

    def settle(self) -> None:
        """Until nothing moves."""
        while self.to_inner or self.from_inner or self.to_client:
            if self.to_inner:
                self.inner_reads()
            elif self.from_inner:
                self.deliver()
            else:
                self.client_reads()
