"""The operating system: clocks, sockets, peer credentials."""
