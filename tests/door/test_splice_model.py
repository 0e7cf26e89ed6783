"""The switch under every interleaving of client, sshd and events that hypothesis finds."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.door import messages
from broker.door.limits import Limits
from broker.door.messages import Message, uint32
from tests.door.world import World, execute, global_request, opening

LIMITS = Limits(waiting_packets=20, channels=8)


class Player:
    """Draws moves and makes them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = World(LIMITS)
        self.count = 0
        self.over = False

    def pick(self, options):
        return self.random.choice(options)

    def flag(self) -> bool:
        return self.random.random() < 0.5

    def play(self, steps: int) -> World:
        for _ in range(steps):
            moves = self.moves()
            if not moves:
                # Held, and waiting for a client that is not read: the timer ends that.
                assert self.world.orphan_timer
                moves = [lambda: self.world.do(self.world.splice.orphaned_due())]
            self.pick(moves)()
            if self.world.disconnected is not None:
                break
            self.check_bounds()
        return self.world

    def moves(self):
        world = self.world
        moves = []
        if not world.held:
            moves += self.client_moves()
        if world.to_client:
            moves += [world.client_reads] * 2
        if world.to_inner:
            moves += [world.inner_reads] * 2
        if world.from_inner:
            moves += [world.deliver] * 2
        if world.binds and not world.bound:
            moves += [world.bind, self.unbindable]
        if world.bound:
            moves += [self.keepalive, self.inner_talks, self.inner_loss]
        if (world.bound or world.binds) and self.random.random() < 0.1:
            moves.append(self.session_end)
        if world.armed:
            moves.append(self.optimistic)
        if world.words:
            moves.append(self.word_done)
        return moves

    def client_moves(self):
        world = self.world
        moves = [self.global_]
        if len(world.client) < 5:
            moves += [self.open_session, self.open_forward]
        live = [c for c in world.client.values() if c.peer is not None and not c.sent_close]
        if live:
            channel = self.pick(live)
            moves.append(lambda: world.close(channel))
            if not channel.word and channel.tag.startswith("c"):
                moves.append(lambda: self.ask(channel))
            if not channel.decided and channel.tag.startswith("c"):
                moves += [lambda: self.decide(channel)] * 2
            if channel.window >= 8:
                moves.append(lambda: self.talk(channel))
            moves.append(lambda: self.adjust(channel))
        return moves

    # -- the client's
    def open_session(self):
        from tests.door.world import ClientChannel

        world = self.world
        channel = ClientChannel(world.next_client, f"c{world.next_client}")
        world.next_client += 1
        world.client[channel.own] = channel
        world.send(opening(b"session", channel.own))

    def open_forward(self):
        from tests.door.world import ClientChannel

        world = self.world
        channel = ClientChannel(world.next_client, f"f{world.next_client}")
        world.next_client += 1
        world.client[channel.own] = channel
        world.send(opening(b"direct-tcpip", channel.own))

    def ask(self, channel):
        self.count += 1
        self.world.ask(channel, f"{channel.tag}.{self.count}", want=self.flag(), good=self.flag())

    def decide(self, channel):
        channel.decided = True
        channel.asked.append(Message.SUCCESS)
        word = self.flag()
        if word:
            channel.word = True
        self.world.send(execute(channel.peer, "desk list" if word else f"run {channel.tag}"))

    def talk(self, channel):
        text = channel.tag.encode()
        channel.window -= len(text)
        self.world.send(messages.data(channel.peer, text))

    def adjust(self, channel):
        channel.given += 100
        self.world.send(messages.window_adjust(channel.peer, 100))

    def global_(self):
        self.count += 1
        rest = b"bad" if self.flag() else messages.pack(self.count)
        name = self.pick([b"tcpip-forward", b"keepalive@openssh.com", b"strange@example.org"])
        want = self.flag()
        if want:
            if name == b"tcpip-forward":
                good = rest != b"bad"
                reply = messages.global_reply(granted=good) + (rest if good else b"")
            else:
                reply = messages.global_reply(granted=name.startswith(b"keepalive"))
            self.world.globals.append(reply)
        self.world.send(global_request(name, want=want, rest=rest))

    # -- the rest
    def unbindable(self):
        world = self.world
        world.binds.clear()
        self.lose_globals()
        for channel in world.client.values():
            channel.word = True
        world.do(world.splice.inner_unbindable("no"))

    def lose_globals(self):
        """Replies that the inner owed are failures now, those that are on their way are not."""
        world = self.world
        coming = sum(p[0] in (81, 82) for p in world.to_client)
        kept = list(world.globals)
        for k in range(coming, len(kept)):
            if kept[k][0] == Message.REQUEST_SUCCESS and len(kept[k]) > 1:
                kept[k] = messages.global_reply(granted=False)
        world.globals.clear()
        world.globals.extend(kept)

    def inner_loss(self):
        self.lose_globals()
        for channel in self.world.client.values():
            channel.word = True
        self.world.lose()

    def session_end(self):
        """The broker's; from then on the client gets no desktop, whatever it asks for."""
        self.lose_globals()
        for channel in self.world.client.values():
            channel.word = True
        self.world._inner_gone()
        self.world.do(self.world.splice.session_ended("over"))
        self.over = True

    def keepalive(self):
        world = self.world
        world.splice.keepalive_sent()
        world.to_inner.append(global_request(b"keepalive@openssh.com", rest=b"bad"))

    def inner_talks(self):
        world = self.world
        live = [c for c in world.inner.values() if not c.sent_close]
        if not live:
            return
        channel = self.pick(live)
        if self.flag():
            world.inner_says(channel, b"to%d" % channel.peer)
        else:
            world.inner_closes(channel)

    def optimistic(self):
        world = self.world
        world.armed = False
        before = {c.own: 0 for c in world.client.values()}
        start = len(world.to_client)
        world.do(world.splice.optimistic_due())
        for payload in list(world.to_client)[start:]:
            assert payload[0] == Message.SUCCESS
            before[uint32(payload, 1)] += 1
        for own, count in before.items():
            channel = world.client.get(own)
            if channel is None or not count:
                continue
            # What was asked last is answered now; replies to what came before are on their way.
            for _ in range(count):
                channel.asked.pop()
            channel.asked.extend([Message.SUCCESS] * count)

    def word_done(self):
        channel, argv = self.world.words.popleft()
        assert argv == ("list",)
        self.world.do(self.world.splice.word_answered(channel, "out\n", "err\n", 7))

    def check_bounds(self):
        splice = self.world.splice
        assert not (self.over and (self.world.binds or self.world.bound))
        waiting = len(splice._inwards.waiting) + splice._sessions.load()[0]
        if not self.world.held:
            assert waiting <= LIMITS.waiting_packets
        assert len(splice.table) <= LIMITS.channels
        for number, inner in splice.table.client_routes.items():
            channel = splice.table.of_client(number)
            assert messages.pack(channel.inner) == inner
            assert not channel.closed_by_client


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(10, 200))
def test_any_interleaving_keeps_replies_numbers_and_windows_right(seed, steps):
    """Replies keep their order and number, packets reach their channel, windows and bounds hold."""
    player = Player(seed)
    world = player.play(steps)
    if world.disconnected is not None:
        return
    finish(player)
    if player.over and world.disconnected is None:
        assert world.orphan_timer
        world.do(world.splice.orphaned_due())
    if player.over:
        assert world.disconnected == "desk: over"
        return
    for channel in world.client.values():
        assert world.held or channel.got_close or channel.sent_close or _quiet(channel), channel
    for channel in world.inner.values():
        for seen in channel.seen:
            if isinstance(seen, bytes):
                assert int(seen[1:]) == channel.peer
    if not world.held:
        assert not world.globals


def finish(player):
    """Everybody does what is theirs to do, until nothing moves."""
    world = player.world
    while True:
        world.settle()
        ended = [c for c in world.client.values() if c.got_close and not c.sent_close]
        if ended:
            world.close(ended[0])
        elif world.words:
            player.word_done()
        elif world.binds and not world.bound:
            world.bind()
        else:
            return


def _quiet(channel) -> bool:
    """No reply is owed to a decided channel once all has settled."""
    return not channel.decided or not channel.asked
