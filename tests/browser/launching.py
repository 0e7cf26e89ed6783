"""How Debian's browsers are started to be driven."""

from __future__ import annotations

from typing import Any

#: Without a sandbox, for tests are run as root; and without a word to anybody outside.
CHROMIUM: dict[str, Any] = {
    "executable_path": "/usr/bin/chromium",
    "args": [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ],
}
#: By WebDriver BiDi, which Debian's own build knows.
FIREFOX: dict[str, Any] = {"channel": "moz-firefox", "executable_path": "/usr/bin/firefox-esr"}
