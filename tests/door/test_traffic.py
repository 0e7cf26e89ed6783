"""What a door received: of connections that are there, and of those that were."""

from __future__ import annotations

from broker.door.traffic import Sender, Traffic


class Connection:
    received = 0


def test_what_was_received_is_known_while_it_is_there_and_after():
    """Once each, by whoever sent it."""
    traffic = Traffic()
    client, desktop = Connection(), Connection()
    traffic.begins(Sender.CLIENT, client)
    traffic.begins(Sender.DESKTOP, desktop)
    client.received, desktop.received = 5, 70
    told = [traffic.received(sender) for sender in Sender]
    traffic.ends(Sender.CLIENT, client)
    traffic.ends(Sender.CLIENT, client)
    client.received = 1000
    assert told == [traffic.received(sender) for sender in Sender] == [5, 70]
