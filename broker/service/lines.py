"""What to type elsewhere to get in: lines for stock clients, as the user's page has them too."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from broker.core.model import DEFAULT_DESKTOP

_SSH_PORT = 22


@dataclass(frozen=True, slots=True)
class Entrance:
    """Where people come in."""

    host: str
    """The name or address of this host, an IPv6 one without brackets."""
    port: int
    """Of SSH."""
    url: str | None
    """Of the pages for browsers, without a slash at its end; None where nobody said so."""

    @classmethod
    def of(cls, *, url: str | None, host: str, port: int) -> Entrance:
        """By the name that browsers use, where there is one; else `host`."""
        return cls(urlsplit(url or "").hostname or host, port, url)

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def lines(self, desktop: str, desktop_id: str, display: int | None) -> dict[str, str]:
        """By their purpose, for the desktop of that name. `display` is None while it has none: a
        viewer finds it by its name in the login then.
        """
        login = _login(desktop)
        viewer, shown = login, ""
        if desktop != DEFAULT_DESKTOP and display is not None:
            viewer, shown = _login(DEFAULT_DESKTOP), str(display)
        lines = {
            "shell": f"ssh{self._flag('-p')} {login}@{self.host}",
            "files": f"sftp{self._flag('-P')} {login}@{self._bracketed}",
            "window": f"xpra attach ssh://{viewer}@{self._bracketed}:{self.port}/{shown}",
            "vscode": f"code --remote ssh-remote+{alias(desktop)} /home/desk",
        }
        return (
            lines if self.url is None else {**lines, "browser": f"{self.url}/desktop/{desktop_id}"}
        )

    def block(self, desktop: str) -> str:
        """For `~/.ssh/config`: `ssh desk`, or `ssh desk-NAME`, is enough with it."""
        return "\n".join(
            [
                f"Host {alias(desktop)}",
                f"    HostName {self.host}",
                f"    Port {self.port}",
                f"    User {_login(desktop)}",
            ]
        )

    def _flag(self, name: str) -> str:
        return "" if self.port == _SSH_PORT else f" {name} {self.port}"


def alias(desktop: str) -> str:
    """What the block calls it."""
    return "desk" if desktop == DEFAULT_DESKTOP else f"desk-{desktop}"


def _login(desktop: str) -> str:
    return "desk" if desktop == DEFAULT_DESKTOP else f"desk+{desktop}"
