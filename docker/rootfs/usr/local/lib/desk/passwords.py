"""Is this the user's password? Asked by a process without rights, answered by one with them."""

import ctypes
import hashlib
import hmac
import socket
import time
from collections.abc import Callable

SHADOW = "/etc/shadow"
LONGEST = 1024
WRONG_SECONDS = 1.0
NO, YES = b"-", b"+"

_crypt = ctypes.CDLL("libcrypt.so.1").crypt
_crypt.restype = ctypes.c_char_p
_crypt.argtypes = [ctypes.c_char_p, ctypes.c_char_p]


def hash_of(user: str, path: str = SHADOW) -> str | None:
    """What the system keeps of a password; None where the user has none to log in with."""
    with open(path) as shadow:
        for line in shadow:
            name, kept, *_ = line.split(":")
            if name == user and kept.startswith("$"):
                return kept
    return None


def is_password(kept: str, word: str) -> bool:
    """Whether `word` is what `kept` was made of."""
    if "\0" in word:
        return False
    made = _crypt(word.encode(), kept.encode())
    return made is not None and hmac.compare_digest(made, kept.encode())


def mark_of(kept: str) -> bytes:
    """Tells one password from the next one, and nothing about either."""
    return hashlib.sha256(b"desk sign-in " + kept.encode()).digest()


def answer(
    asked: socket.socket, user: str, pause: Callable[[float], None] = time.sleep, path: str = SHADOW
) -> None:
    """Answer words on a packet socket until it is closed, one at a time and a wrong one slowly: a
    right one by the mark of the password, as an empty one asks for the mark alone.
    """
    while packet := asked.recv(LONGEST + 1):
        kept = hash_of(user, path)
        question, word = packet[:1], packet[1:].decode(errors="replace")
        if kept is not None and (question == b"m" or is_password(kept, word)):
            asked.send(YES + mark_of(kept))
        else:
            pause(WRONG_SECONDS)
            asked.send(NO)
