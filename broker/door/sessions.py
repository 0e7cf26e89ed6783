"""Session channels until they are bound to a desktop, and those that the door itself answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.gateway import Allowance
from broker.door import actions, messages, policy
from broker.door.activity import Kind
from broker.door.channels import Channel, ChannelTable, Expected, Stage
from broker.door.messages import Message, ProtocolViolation
from broker.door.policy import Grant

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from broker.door.actions import Action
    from broker.door.limits import Limits

_WINDOW_MAX = 0xFFFFFFFF

#: The undecided channels of one connection together may queue this many times what one may, and
#: are added up only when one has queued this fraction.
_TOTAL = 4
_SHARE = 16

#: Exit status of a session that could not be served.
REFUSED_STATUS = 1


class Sessions:
    """The part of the splice that holds sessions back until it is known where they go."""

    def __init__(self, table: ChannelTable, limits: Limits, emit: Callable[[Action], None]) -> None:
        self._table = table
        self._limits = limits
        self._emit = emit
        self._pending: set[Channel] = set()
        """Undecided channels whose client may be waiting for a reply."""
        self._queued: set[Channel] = set()
        """Decided channels that hold a queue."""
        self.progress: str | None = None
        self.allowed: Collection[Allowance] = frozenset(Allowance)
        """What the person may have."""

    def _say(self, payload: bytes) -> None:
        self._emit(actions.ReplyToClient(payload))

    def open(self, number: int, window: int, packet: int) -> None:
        """Confirm a session with a window of zero: no data before it is bound."""
        channel = Channel(number, Stage.UNDECIDED, window=window, packet=packet)
        self._table.add_session(channel)
        size = messages.DATA_PACKET
        self._say(messages.open_confirmation(number, channel.number, 0, size))

    def waiting(self) -> list[Channel]:
        return [channel for channel in self._table if channel.stage is Stage.WAITING]

    def wanted_display(self) -> int | None:
        """The display of the first who waits for a desktop."""
        return next((channel.display for channel in self.waiting()), None)

    def load(self) -> tuple[int, int]:
        """Packets and bytes that decided sessions hold back."""
        queued = self._queued
        return sum(len(c.queue) for c in queued), sum(c.queued for c in queued)

    # -------------------------------------------------------------------------------- requests

    def receive(self, channel: Channel, payload: bytes) -> bool:
        """A packet on a session that is not bound; True when it decides what the session is for."""
        kind = payload[0]
        if kind == Message.WINDOW_ADJUST:
            channel.window = min(channel.window + messages.uint32(payload, 5), _WINDOW_MAX)
            self._speak(channel)
            return False
        if kind in (Message.DATA, Message.EXTENDED_DATA):
            raise ProtocolViolation("window exceeded")
        if kind in (Message.SUCCESS, Message.FAILURE):
            raise ProtocolViolation("reply to no request")
        if channel.stage is Stage.ANSWERED:
            self._receive_answered(channel, payload)
            return False
        if channel.stage is Stage.UNDECIDED and kind == Message.CLOSE:
            self._pending.discard(channel)
            self._say(messages.close(channel.client))
            self._table.closed_to_client(channel)
            self._table.client_closed(channel)
            return False
        return self._queue(channel, payload)

    def _queue(self, channel: Channel, payload: bytes) -> bool:
        decides = False
        if payload[0] == Message.REQUEST:
            allowed = self.admit(channel, payload)
            if allowed is None:
                return False
            decides = channel.stage is Stage.UNDECIDED and _name(allowed) in policy.DECIDING
            payload = allowed
            if messages.wants_reply(payload):
                channel.owed += 1
                if channel.stage is Stage.UNDECIDED and not decides:
                    self._pending.add(channel)
                    self._emit(actions.ArmOptimistic())
        channel.queue.append(payload)
        channel.queued += len(payload)
        if channel.stage is Stage.UNDECIDED:
            self._check_undecided(channel)
        if decides:
            self._pending.discard(channel)
            self._queued.add(channel)
        return decides

    def _check_undecided(self, channel: Channel) -> None:
        limits = self._limits
        most = limits.undecided_bytes
        full = len(channel.queue) > limits.undecided_requests or channel.queued > most
        if channel.queued > most // _SHARE:
            full |= sum(c.queued for c in self._table if c.stage is Stage.UNDECIDED) > _TOTAL * most
        if full:
            raise ProtocolViolation("too many requests")

    def admit(self, channel: Channel, request: bytes) -> bytes | None:
        """The request as it may travel on, renamed when it is refused; None when it is dropped."""
        name = _name(request)
        wanted = messages.wants_reply(request)
        allowed = name in policy.CHANNEL_REQUESTS and policy.permits(name, self.allowed)
        if name == b"env":
            allowed = channel.environment.admits(request, self._limits)
        if not allowed:
            return messages.renamed(request, policy.REFUSED) if wanted else None
        if name == b"pty-req":
            channel.pty = True
        return request

    def expect(self, channel: Channel, request: bytes, *, swallow: bool) -> Grant:
        """Note the reply that a request inwards will get; return what it grants without one."""
        grants = policy.CHANNEL_REQUESTS.get(_name(request), Grant.NONE)
        if not messages.wants_reply(request):
            return grants
        channel.expected.append(Expected(swallow, grants))
        return Grant.NONE

    def reply_optimistically(self) -> None:
        pending, self._pending = self._pending, set()
        for channel in pending:
            self._reply(channel, channel.queue)
            channel.forestalled += channel.owed
            channel.owed = 0

    def _reply(self, channel: Channel, queue: Sequence[bytes]) -> None:
        """Reply to those of the queue's requests that nobody has replied to."""
        waiting = [p for p in queue if p[0] == Message.REQUEST and messages.wants_reply(p)]
        for payload in waiting[channel.forestalled :]:
            refused = _name(payload) == policy.REFUSED
            reply = messages.failure if refused else messages.success
            self._say(reply(channel.client))

    # --------------------------------------------------------------------------------- inwards

    def open_inside(self, channel: Channel) -> None:
        """Open it at the desktop with the client's own number, window and packet size."""
        channel.stage = Stage.OPENING
        channel.output.clear()
        channel.offered, channel.window = channel.window, 0
        channel.granted = channel.offered
        opened = messages.open_session(channel.client, channel.offered, channel.packet)
        self._emit(actions.ToInner(opened))

    def wait_again(self, channel: Channel) -> None:
        """The desktop was lost before it confirmed."""
        channel.stage = Stage.WAITING
        self._take_window_back(channel)

    def _take_window_back(self, channel: Channel) -> None:
        """What an open inside carried was not used."""
        channel.window = min(channel.window + channel.offered, _WINDOW_MAX)
        channel.offered = 0

    def replay(self, channel: Channel) -> Grant:
        """The desktop confirmed: give it what the client asked; return what that grants."""
        assert channel.inner is not None
        inner = messages.pack(channel.inner)
        if channel.window:
            channel.granted += channel.window
            adjust = messages.window_adjust(channel.inner, channel.window)
            self._emit(actions.ToInner(adjust))
        queue = self._drop_queue(channel)
        channel.offered = 0
        grants = Grant.NONE
        for payload in queue:
            if payload[0] == Message.REQUEST:
                swallow = channel.forestalled > 0 and messages.wants_reply(payload)
                channel.forestalled -= swallow
                grants |= self.expect(channel, payload, swallow=swallow)
            elif payload[0] == Message.CLOSE:
                self._table.client_closed(channel)
            self._emit(actions.ToInner(messages.readdressed(payload, inner)))
        return grants

    def _drop_queue(self, channel: Channel) -> list[bytes]:
        queue, channel.queue = channel.queue, []
        channel.queued = 0
        self._queued.discard(channel)
        return queue

    # ------------------------------------------------------------------------- the door's voice

    def take_over(self, channel: Channel) -> None:
        """From now on the door itself answers the session."""
        queue = self._drop_queue(channel)
        self._take_window_back(channel)
        self._reply(channel, queue)
        channel.owed = 0
        channel.stage = Stage.ANSWERED
        if any(payload[0] == Message.CLOSE for payload in queue):
            self._end(channel)
            self._table.client_closed(channel)

    def refuse(self, channel: Channel, sentence: str) -> None:
        """One sentence on stderr, and an exit status that tells of failure."""
        self.take_over(channel)
        self.answer(channel, "", f"desk: {sentence}\n", REFUSED_STATUS)

    def answer(self, channel: Channel, stdout: str, stderr: str, status: int) -> None:
        """All that there is to say, and the end."""
        for kind, text in ((Message.DATA, stdout), (Message.EXTENDED_DATA, stderr)):
            self._add_output(channel, kind, text)
        channel.status = status
        self._speak(channel)

    def tell_end(self, channel: Channel, sentence: str) -> None:
        """One line on the stderr of a session that is bound, where it is certain that the client's
        window takes it. xpra's stream is not for reading.
        """
        if not channel.is_session or channel.closed_to_client:
            return
        self._table.count(channel)
        line = f"desk: {sentence}\n".encode()
        room = min(channel.granted - channel.taken, channel.packet)
        if channel.kind is not Kind.XPRA and not channel.spoken and len(line) <= room:
            self._say(messages.stderr(channel.client, line))

    def tell_progress(self, sentence: str) -> None:
        """To everybody who waits, unless they were told the same just now."""
        if sentence == self.progress:
            return
        self.progress = sentence
        for channel in self.waiting():
            self.show_progress(channel)

    def show_progress(self, channel: Channel) -> None:
        """One line on an interactive shell's stderr while it waits; who does not read the last one
        gets no other.
        """
        interactive = channel.kind is Kind.SHELL and channel.pty
        if self.progress and interactive and not channel.output:
            self._add_output(channel, Message.EXTENDED_DATA, f"{self.progress}\n")
            self._speak(channel)

    def _add_output(self, channel: Channel, kind: Message, text: str) -> None:
        if not text or channel.packet < self._limits.output_packet:
            return
        if channel.pty:
            text = text.replace("\n", "\r\n")
        channel.output.append((kind, text.encode("utf-8", "replace")))

    def _speak(self, channel: Channel) -> None:
        """Send what the client's window takes, and the end once all is said."""
        if channel.closed_to_client:
            return
        most = min(channel.packet, messages.DATA_PACKET)
        while channel.output and channel.window:
            kind, text = channel.output.popleft()
            count = min(len(text), channel.window, most)
            channel.window -= count
            build = messages.data if kind == Message.DATA else messages.stderr
            self._say(build(channel.client, text[:count]))
            if count < len(text):
                channel.output.appendleft((kind, text[count:]))
        if channel.status is not None and not channel.output:
            self._say(messages.exit_status(channel.client, channel.status))
            self._say(messages.eof(channel.client))
            self._end(channel)

    def _end(self, channel: Channel) -> None:
        if not channel.closed_to_client:
            self._say(messages.close(channel.client))
            self._table.closed_to_client(channel)

    def _receive_answered(self, channel: Channel, payload: bytes) -> None:
        if payload[0] == Message.REQUEST:
            if messages.wants_reply(payload):
                self._say(messages.failure(channel.client))
        elif payload[0] == Message.CLOSE:
            self._end(channel)
            self._table.client_closed(channel)


def _name(request: bytes) -> bytes:
    return messages.string(request, 5)[0]
