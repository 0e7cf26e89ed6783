"""What Desk's own SSH connections into desktops have in common, a door's and the broker's."""

from __future__ import annotations

import asyncssh

#: What a dial, and whatever is done over its connection, can raise: a tenant's own sshd can say
#: what asyncssh cannot decode, which is a `ValueError`.
BROKEN = (OSError, asyncssh.Error, TimeoutError, ValueError, EOFError)
