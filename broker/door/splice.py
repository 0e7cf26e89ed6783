"""The switch between one client and its desktop: packets and events in, actions out.

No socket, no clock, no library of ours or others: `bridge` feeds it and does what it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.door import actions, messages, policy
from broker.door.activity import Kind
from broker.door.channels import Channel, ChannelTable, Stage
from broker.door.ends import Ends
from broker.door.inwards import Inwards
from broker.door.messages import Message, OpenFailure, ProtocolViolation
from broker.door.policy import Grant
from broker.door.replies import GlobalReplies
from broker.door.sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Collection

    from broker.core.gateway import Allowance
    from broker.door.actions import Action
    from broker.door.limits import Limits


class Splice:
    """One client connection's side of the switch.

    Each method that takes an event returns what is to be done, in order. A `ProtocolViolation`
    means that whoever sent the packet is to be cut.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._out: list[Action] = []
        self.table = ChannelTable()
        self._sessions = Sessions(self.table, limits, self._emit)
        self._held = False
        self._globals = GlobalReplies(self._emit)
        self._inwards = Inwards(self.table, self._sessions, self._globals, self._emit)
        self._ends = Ends(self.table, self._sessions, self._inwards, self._globals, self._emit)
        self._more_sessions = True
        self._refused = 0
        self._words = 0

    def allow(self, allowed: Collection[Allowance]) -> None:
        """What the person may have, now that it is known who they are."""
        self._sessions.allowed = frozenset(allowed)

    def _emit(self, action: Action) -> None:
        self._out.append(action)

    def _done(self) -> list[Action]:
        self._balance()
        done, self._out = self._out, []
        return done

    # ---------------------------------------------------------------------------------- client

    def from_client(self, payload: bytes) -> list[Action]:
        """A connection-protocol packet of the client."""
        match payload[0]:
            case Message.OPEN:
                self._client_open(payload)
            case Message.GLOBAL_REQUEST:
                self._client_global(payload)
            case Message.REQUEST_SUCCESS | Message.REQUEST_FAILURE:
                self._emit(actions.KeepaliveAnswered(payload))
            case Message.OPEN_CONFIRMATION | Message.OPEN_FAILURE:
                self._client_answers_open(payload)
            case kind if Message.WINDOW_ADJUST <= kind <= messages.LAST:
                self._client_channel(payload)
            case _:
                raise ProtocolViolation("unknown message")
        return self._done()

    def _client_open(self, payload: bytes) -> None:
        kind, offset = messages.string(payload, 1)
        number = messages.uint32(payload, offset)
        window = messages.uint32(payload, offset + 4)
        packet = messages.uint32(payload, offset + 8)
        if packet < 1:
            raise ProtocolViolation("packet size of zero")
        if len(self.table) + len(self._inwards.opens) >= self._limits.channels:
            self._refuse_open(number, OpenFailure.RESOURCE_SHORTAGE, "too many channels")
        elif kind == b"session" and self._more_sessions:
            self._sessions.open(number, window, packet)
        elif kind in policy.CLIENT_FORWARDS:
            purpose = policy.forward(payload)
            if purpose is not Kind.VIEWER and not policy.permits(kind, self._sessions.allowed):
                reason = OpenFailure.ADMINISTRATIVELY_PROHIBITED
                self._refuse_open(number, reason, "forwards are not allowed here")
                return
            self.table.add(
                Channel(number, Stage.OPENING, window=window, packet=packet, kind=purpose)
            )
            self._inwards.send(payload)
        else:
            self._refuse_open(number, OpenFailure.ADMINISTRATIVELY_PROHIBITED, "not allowed")

    def _refuse_open(self, number: int, reason: OpenFailure, text: str) -> None:
        self._refused += 1
        if self._refused > self._limits.refused_opens:
            raise ProtocolViolation("too many refused channels")
        self._emit(actions.ReplyToClient(messages.open_failure(number, reason, text)))

    def _client_global(self, payload: bytes) -> None:
        name, offset = messages.string(payload, 1)
        wanted = messages.boolean(payload, offset)
        if name in policy.GLOBAL_REQUESTS and policy.permits(name, self._sessions.allowed):
            if wanted:
                self._globals.owe(None)
            self._inwards.send(payload)
            return
        if name == policy.NO_MORE_SESSIONS:
            self._more_sessions = False
        if wanted:
            self._globals.owe(messages.global_reply(granted=name == policy.KEEPALIVE))

    def _client_answers_open(self, payload: bytes) -> None:
        number = messages.uint32(payload, 1)
        alive = self._inwards.opens.pop(number, None)
        if alive is None:
            raise ProtocolViolation("answer to no open")
        if payload[0] == Message.OPEN_FAILURE:
            if alive:
                self._emit(actions.ToInner(payload))
            self._inwards.drained()
            return
        if messages.uint32(payload, 13) < 1:
            raise ProtocolViolation("packet size of zero")
        channel = Channel(messages.uint32(payload, 5), Stage.BOUND, kind=Kind.FORWARD)
        self.table.add(channel)
        self.table.bind(channel, number)
        if alive:
            self._emit(actions.ToInner(payload))
        else:
            self._ends.orphan(channel)
            self.table.unroute()

    def _client_channel(self, payload: bytes) -> None:
        channel = self.table.of_client(messages.uint32(payload, 1))
        if channel.closed_by_client:
            return
        match channel.stage:
            case Stage.BOUND:
                self._to_bound(channel, payload)
            case Stage.ORPHANED:
                if payload[0] == Message.CLOSE:
                    self.table.client_closed(channel)
                    self._inwards.drained()
            case _:
                if self._sessions.receive(channel, payload):
                    self._decided(channel)
        self._ends.leave_when_drained()

    def _to_bound(self, channel: Channel, payload: bytes) -> None:
        assert channel.inner is not None
        inner = messages.pack(channel.inner)
        if payload[0] == Message.REQUEST:
            allowed = self._sessions.admit(channel, payload)
            if allowed is None:
                return
            payload = allowed
            self._inwards.grants |= self._sessions.expect(channel, payload, swallow=False)
        elif payload[0] in _DATA:
            self.table.client_bytes[inner] += messages.content(payload)
        elif payload[0] == Message.CLOSE:
            self.table.client_closed(channel)
        self._emit(actions.ToInner(messages.readdressed(payload, inner)))

    # ------------------------------------------------------------------------------- deciding

    def _decided(self, channel: Channel) -> None:
        """Shell, exec or subsystem was asked: find out for whom, and go there."""
        choice = policy.decide(channel.queue[-1], self._limits, self._sessions.allowed)
        if isinstance(choice, policy.Word):
            self._run_word(channel, choice.argv)
            return
        if isinstance(choice, policy.Refusal):
            self._sessions.refuse(channel, choice.sentence)
            return
        channel.stage = Stage.WAITING
        channel.display, channel.kind = choice.display, choice.kind
        self._sessions.show_progress(channel)
        self._inwards.need()

    def _run_word(self, channel: Channel, argv: tuple[str, ...]) -> None:
        """A word runs to its end though its channel closes: it is words that are counted."""
        if self._words >= self._limits.words:
            self._sessions.refuse(channel, _TOO_MANY_WORDS)
            return
        self._words += 1
        self._sessions.take_over(channel)
        self._emit(actions.RunWord(channel.number, argv))

    def display_resolved(self, number: int, *, same: bool) -> list[Action]:
        """Whether the display that the channel wants is the bound desktop's."""
        channel = self.table.of_door(number)
        if channel is None or channel.stage is not Stage.RESOLVING:
            return self._done()
        if not self._inwards.resolved(channel, same=same):
            self._sessions.refuse(channel, _other_desktop(channel.display))
        return self._done()

    def display_refused(self, number: int, sentence: str) -> list[Action]:
        """The display cannot be had."""
        channel = self.table.of_door(number)
        if channel is not None and channel.stage is Stage.RESOLVING:
            self._sessions.refuse(channel, sentence)
        return self._done()

    # ----------------------------------------------------------------------------------- inner

    def from_inner(self, payload: bytes) -> list[Action]:
        """A connection-protocol packet of the desktop's sshd."""
        match payload[0]:
            case Message.GLOBAL_REQUEST:
                self._inner_global(payload)
            case Message.REQUEST_SUCCESS | Message.REQUEST_FAILURE:
                self._inwards.grants |= self._globals.answered(payload)
            case Message.OPEN:
                self._inner_open(payload)
            case kind if Message.OPEN_CONFIRMATION <= kind <= messages.LAST:
                self._inner_channel(payload)
            case _:
                raise ProtocolViolation("unknown message")
        return self._done()

    def _inner_global(self, payload: bytes) -> None:
        """Answered here and never told to the client: it would learn the container's host keys."""
        name, offset = messages.string(payload, 1)
        if messages.boolean(payload, offset):
            reply = messages.global_reply(granted=name == policy.KEEPALIVE)
            self._emit(actions.ReplyToInner(reply))

    def keepalive_sent(self) -> None:
        """The door itself asked the inner for a global reply."""
        self._globals.keepalives_sent()

    def _inner_open(self, payload: bytes) -> None:
        kind, offset = messages.string(payload, 1)
        number = messages.uint32(payload, offset)
        if number in self._inwards.opens:
            raise ProtocolViolation("channel number in use")
        allowed = policy.INNER_OPENS.get(kind, Grant.NONE) & self._inwards.grants
        full = len(self.table) + len(self._inwards.opens) >= self._limits.channels
        if not allowed or full:
            reason = OpenFailure.ADMINISTRATIVELY_PROHIBITED
            refusal = messages.open_failure(number, reason, "not allowed")
            self._emit(actions.ReplyToInner(refusal))
            return
        self._inwards.opens[number] = True
        self._emit(actions.ToClient(payload))

    def _inner_channel(self, payload: bytes) -> None:
        channel = self.table.of_inner(messages.uint32(payload, 1))
        kind = payload[0]
        if channel.stage is Stage.OPENING and kind == Message.OPEN_CONFIRMATION:
            self._confirmed(channel, payload)
        elif channel.stage is Stage.OPENING and kind == Message.OPEN_FAILURE:
            self._open_failed(channel, payload)
        elif channel.stage is not Stage.BOUND or kind in _OPEN_ANSWERS:
            raise ProtocolViolation("packet on a channel that is not open")
        elif channel.closed_to_client:
            return
        elif kind in _REPLIES:
            self._reply(channel, payload)
        else:
            if kind in _DATA:
                self.table.inner_bytes[messages.pack(channel.client)] += messages.content(payload)
            elif kind == Message.EOF:
                channel.spoken = True
            elif kind == Message.CLOSE:
                self.table.closed_to_client(channel)
            self._emit(actions.ToClient(payload))

    def _reply(self, channel: Channel, payload: bytes) -> None:
        if not channel.expected:
            raise ProtocolViolation("reply to no request")
        expected = channel.expected.popleft()
        if payload[0] == Message.SUCCESS:
            self._inwards.grants |= expected.grants
        if not expected.swallow:
            self._emit(actions.ToClient(payload))

    def _confirmed(self, channel: Channel, payload: bytes) -> None:
        inner = messages.uint32(payload, 5)
        window = messages.uint32(payload, 9)
        packet = messages.uint32(payload, 13)
        self.table.bind(channel, inner)
        self._ends.retried = False
        if not channel.is_session:
            self._emit(actions.ToClient(payload))
            return
        if packet < messages.DATA_PACKET:
            raise ProtocolViolation("packet size below what the client was promised")
        self._emit(actions.ToClient(messages.window_adjust(channel.client, window)))
        self._inwards.grants |= self._sessions.replay(channel)

    def _open_failed(self, channel: Channel, payload: bytes) -> None:
        if channel.is_session:
            text = messages.string(payload, 9)[0].decode("utf-8", "replace")
            self._sessions.refuse(channel, text)
        else:
            self.table.remove(channel)
            self._emit(actions.ToClient(payload))

    # ---------------------------------------------------------------------------------- events

    def inner_bound(self, *, display: int | None = None, keepalives: int = 0) -> list[Action]:
        """An inner connection to the desktop with that display is there, with so many keepalives
        of the door's unanswered.
        """
        self._globals.keepalives_sent(keepalives)
        self._sessions.progress = None
        self._inwards.bound(display)
        return self._done()

    def progress(self, sentence: str) -> list[Action]:
        """The desktop is not ready yet: tell whoever looks at an interactive shell."""
        self._sessions.tell_progress(sentence)
        return self._done()

    def inner_unbindable(self, sentence: str) -> list[Action]:
        """There is no desktop to be had."""
        self._ends.unbindable(sentence)
        return self._done()

    def inner_lost(self, sentence: str) -> list[Action]:
        """The inner connection is gone; all that it sent was passed on."""
        self._ends.lost(sentence)
        return self._done()

    def session_ended(self, sentence: str) -> list[Action]:
        """The broker ended the session that the client is in or was about to enter: it gets no
        other on this connection.
        """
        self._ends.over(sentence)
        return self._done()

    def orphaned_due(self) -> list[Action]:
        """The client had its time to end the channels of a lost desktop."""
        self._ends.due()
        return self._done()

    def optimistic_due(self) -> list[Action]:
        """A client that was silent for so long waits for replies: give them."""
        self._sessions.reply_optimistically()
        return self._done()

    def word_answered(self, number: int, stdout: str, stderr: str, status: int) -> list[Action]:
        """The broker answered the word of the channel; once for each."""
        self._words -= 1
        channel = self.table.of_door(number)
        if channel is not None and channel.stage is Stage.ANSWERED:
            self._sessions.answer(channel, stdout, stderr, status)
        return self._done()

    # -------------------------------------------------------------------------------- pressure

    def _balance(self) -> None:
        """Stop or resume the client's reading by how much waits for the inner."""
        limits = self._limits
        queued, size = self._sessions.load()
        full = (
            len(self._inwards.waiting) + queued > limits.waiting_packets
            or self._inwards.size + size > limits.waiting_bytes
            or len(self._globals) > limits.global_replies
        )
        if full != self._held:
            self._held = full
            self._emit(actions.Hold() if full else actions.Release())


_OPEN_ANSWERS = frozenset({Message.OPEN_CONFIRMATION, Message.OPEN_FAILURE})
_DATA = frozenset({Message.DATA, Message.EXTENDED_DATA})
_REPLIES = frozenset({Message.SUCCESS, Message.FAILURE})

_TOO_MANY_WORDS = "Too many words at once; wait until one of them is answered."


def _other_desktop(display: int | None) -> str:
    return (
        f"this connection is in another of your desktops, and display :{display} needs one of "
        "its own: connect again without sharing (OpenSSH: ssh -S none)."
    )
