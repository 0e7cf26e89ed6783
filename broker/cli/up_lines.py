"""What `make up` prints at its end: lines that work as they are."""

from __future__ import annotations

import ipaddress
import shlex
import socket
from typing import TYPE_CHECKING

from broker.cli import up_keys

if TYPE_CHECKING:
    from pathlib import Path

    from broker.cli.up_place import Place
    from broker.config import Config, Listen

_WIDTH = 18


def reached_at(listen: Listen) -> str:
    """The address at which this machine reaches what listens there."""
    address = ipaddress.ip_address(listen.host)
    if not address.is_unspecified:
        return listen.host
    return "127.0.0.1" if address.version == 4 else "::1"


def known_hosts(listen: Listen, public: str) -> str:
    """The front door's key under the names by which this machine reaches it."""
    names = [reached_at(listen)]
    if ipaddress.ip_address(names[0]).is_loopback:
        names.append("localhost")
    pattern = ",".join(name if listen.port == 22 else f"[{name}]:{listen.port}" for name in names)
    kind, blob = public.split()[:2]
    return f"{pattern} {kind} {blob}\n"


def ssh_options(place: Place, *, with_pair: bool) -> list[str]:
    """What ssh needs to ask nothing: the host's key, and the pair where one was made."""
    options = ["-o", f"UserKnownHostsFile={_for_ssh(place.known_hosts)}"]
    if with_pair:
        options += ["-o", "IdentitiesOnly=yes", "-i", str(place.key_pair)]
    return options


def _for_ssh(path: Path) -> str:
    """A path in one of ssh's options, which are split at spaces."""
    return f'"{path}"' if " " in str(path) else str(path)


def ssh_line(place: Place, listen: Listen, *, with_pair: bool) -> str:
    options = ssh_options(place, with_pair=with_pair)
    return shlex.join(["ssh", "-p", str(listen.port), *options, f"desk@{reached_at(listen)}"])


def xpra_line(place: Place, listen: Listen, *, with_pair: bool) -> str:
    host = reached_at(listen)
    host = f"[{host}]" if ":" in host else host
    ssh = shlex.join(["ssh", *ssh_options(place, with_pair=with_pair)])
    quoted = f'"{ssh}"' if not set(ssh) & set("\"'$`\\") else shlex.quote(ssh)
    return f"xpra attach ssh://desk@{host}:{listen.port}/ --ssh={quoted}"


def admin_line(place: Place, config: Config, deskctl: str) -> str:
    admin_socket = shlex.quote(str(config.admin_socket))
    return f"{place.sudo}DESK_SOCKET={admin_socket} {deskctl} session ls"


def final(
    place: Place, config: Config, *, deskctl: str, with_pair: bool, pid: int
) -> list[tuple[str, str]]:
    """Pairs of a label and a line."""
    listen = config.ssh.listen
    public = place.host_key.read_text(encoding="utf-8")
    lines = [
        ("a shell", ssh_line(place, listen, with_pair=with_pair)),
        ("the desktop", xpra_line(place, listen, with_pair=with_pair)),
        ("in a browser", _browser(place, config, with_pair=with_pair)),
        ("administration", admin_line(place, config, deskctl)),
        ("stop the broker", f"{place.make} down{place.settings}"),
        ("you are", f"{place.caller.user}, an admin, by {_proof(place, with_pair=with_pair)}"),
        ("host key", up_keys.fingerprint(public)),
        ("broker", f"process {pid}, log {place.log}"),
    ]
    if not listen.loopback:
        lines.insert(3, ("for others", _others(listen)))
    return lines


def _proof(place: Place, *, with_pair: bool) -> str:
    return f"the key {place.key_pair}" if with_pair else "your own ssh keys"


def _browser(place: Place, config: Config, *, with_pair: bool) -> str:
    """Where the pages have an address."""
    if config.web.pages is None:
        return "name the pages' address with web.url in the configuration"
    return f"{ssh_line(place, config.ssh.listen, with_pair=with_pair)} desk web   (prints a link)"


def _others(listen: Listen) -> str:
    host = socket.gethostname() if reached_at(listen) in ("127.0.0.1", "::1") else listen.host
    return f"ssh -p {listen.port} desk@{host}   (once deskctl has added them and their key)"


def table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(f"  {label:<{_WIDTH}}{line}" for label, line in rows)
