"""What VS Code's Remote-SSH does to a host, as its log shows it, with a small server in its place.

`ssh -v -T -D PORT -o ConnectTimeout=15 HOST bash`, a script on its stdin, a server that the script
leaves behind on a loopback port, and connections to that port through the dynamic forward.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MARK = "4f1d5ad7d4e2"
"""Stands before and after what the script tells; the real one is random."""

# Gives back what it hears in capitals, to each of its connections; first of all says which one it is.
_SERVER = """\
import os, socketserver, sys, threading
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"%d\\n" % os.getpid())
        while data := self.request.recv(65536):
            self.request.sendall(data.upper())
class Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
class Unix(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
tcp = Tcp(("127.0.0.1", 0), Handler)
unix = Unix(sys.argv[1], Handler)
threading.Thread(target=unix.serve_forever, daemon=True).start()
print("Extension host agent listening on", tcp.server_address[1], flush=True)
tcp.serve_forever()
"""

# The steps and the form of the answer are the real script's.
_SCRIPT = """\
echo "{mark}: running"
umask 077
export VSCODE_AGENT_FOLDER="$HOME/{folder}"
server="$VSCODE_AGENT_FOLDER/bin/0123abcd/server.py"
log="$VSCODE_AGENT_FOLDER/.0123abcd.log"
pid="$VSCODE_AGENT_FOLDER/.0123abcd.pid"
if [ -f "$server" ]; then
  echo "Found existing installation at $VSCODE_AGENT_FOLDER..."
else
  echo "Installing to $VSCODE_AGENT_FOLDER..."
  mkdir -p "${{server%/*}}"
  cat >"$server" <<'END'
{server}
END
fi
if [ -f "$pid" ] && kill -0 "$(cat "$pid")" 2>/dev/null; then
  echo "Found running server..."
else
  nohup python3 "$server" "$VSCODE_AGENT_FOLDER/sock" >"$log" 2>&1 </dev/null &
  echo $! >"$pid"
fi
for _ in $(seq 200); do
  port="$(sed -n 's/.*listening on //p' "$log")"
  if [ -n "$port" ]; then break; fi
  sleep 0.05
done
echo "{mark}: start"
echo "listeningOn==$port=="
echo "osReleaseId==$(. /etc/os-release; echo "$ID")=="
echo "arch==$(uname -m)=="
echo "tmpDir==$XDG_RUNTIME_DIR=="
echo "platform==linux=="
echo "SSH_AUTH_SOCK==$SSH_AUTH_SOCK=="
echo "DISPLAY==$DISPLAY=="
echo "connectionToken==$(cat "$pid")=="
echo "{mark}: end"
"""


@dataclass
class Window:
    """One window of the editor: an ssh that stays, and what its script told."""

    process: subprocess.Popen[bytes]
    told: dict[str, str]
    said: str

    @classmethod
    def open(
        cls, ssh: Sequence[str], host: str, socks: int, folder: str, env: Mapping[str, str]
    ) -> Self:
        """`folder` is the server's in the home; `ssh` begins the command line."""
        process = subprocess.Popen(
            [*ssh, "-v", "-T", "-D", str(socks), "-o", "ConnectTimeout=15", host, "bash"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(
            _SCRIPT.format(mark=MARK, folder=folder, server=_SERVER.rstrip()).encode()
        )
        process.stdin.flush()
        lines: list[str] = []
        while not lines or lines[-1] != f"{MARK}: end":
            line = process.stdout.readline().decode()
            if not line:
                raise AssertionError(f"the script ended: {lines}")
            lines.append(line.rstrip("\n"))
        said = "\n".join(lines)
        begin = said.index(f"{MARK}: start")
        return cls(process, dict(re.findall(r"^(\w+)==(.*)==$", said[begin:], re.MULTILINE)), said)

    @property
    def port(self) -> int:
        return int(self.told["listeningOn"])

    def close(self) -> None:
        """As a window that is closed: the ssh is ended, the server stays."""
        self.process.terminate()
        self.process.communicate(timeout=10)


def kill_server(folder: str) -> str:
    """The command that `Kill VS Code Server on Host` amounts to; true when it was running."""
    home = f'"$HOME"/{shlex.quote(folder)}'
    return f"kill $(cat {home}/.0123abcd.pid) && rm -r {home}"
