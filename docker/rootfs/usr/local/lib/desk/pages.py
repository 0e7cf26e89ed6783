"""The desktop in a browser, for a container that stands alone: port 80, with the password of ssh.

Whoever asks meets a process of the ordinary user, who has the desktop anyway. Another, which keeps
root's rights, does nothing but say whether a password is right.
"""

import os
import socket
import sys

sys.path.insert(0, "/usr/local/lib/desk")

import passwords

USER, UID = "desk", 1000
PORT = 80


def main() -> None:
    """Bind, part with root, serve."""
    listener = socket.create_server(("", PORT), backlog=64)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        # It ends with the other, whose end of the pair is then closed.
        ours.close()
        listener.close()
        passwords.answer(theirs, USER)
        os._exit(0)
    theirs.close()
    os.initgroups(USER, UID)
    os.setgid(UID)
    os.setuid(UID)
    os.environ.update(
        DISPLAY=f":{os.environ['DESK_DISPLAY']}",
        XAUTHORITY=f"/run/user/{UID}/Xauthority",
        XDG_RUNTIME_DIR=f"/run/user/{UID}",
    )
    import relay  # not before: it is large, and needs no rights

    relay.serve(listener, ours)


if __name__ == "__main__":
    main()
