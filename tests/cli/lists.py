"""Items of every list, as the API answers them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

AT = "2030-01-01T09:00:00.123456+00:00"
LATER = "2031-12-31T23:59:59+00:00"
FINGERPRINT = "SHA256:gqT7Zlq4vC0mT1nA8uW3xYbR5dK9eHjL2pSfVoI6sQw"
TOUCHED = "SHA256:Xb1N0uF4rC7kPz2LwQ8aDy5GhT3jV6mEoR9sIiKpUcY"


@dataclass(frozen=True)
class Listed:
    """A list: its path, and what is in it."""

    path: str
    items: list[dict[str, Any]]


_SESSION = {
    "id": "3f9c2b7a10d84e65",
    "user": "ada",
    "desktop": "main",
    "desktop_id": "b1946ac92492d234",
    "state": "ready",
    "display": 1000,
    "port": 20000,
    "address": "10.77.0.12",
    "attached": 2,
    "kinds": ["shell", "xpra"],
    "idle": 185,
    "next": "freeze",
    "next_in": 3420,
    "kept_until": None,
    "cpu": 0.25,
    "memory": 524_288_000,
    "outdated": False,
    "reason": None,
    "created_at": AT,
    "changed_at": LATER,
}
_DESKTOP = {
    "id": "b1946ac92492d234",
    "user": "ada",
    "name": "main",
    "template": "default",
    "uid": 200000,
    "state": "ready",
    "session": "3f9c2b7a10d84e65",
    "removed": False,
    "created_at": AT,
    "archived_at": None,
    "archive_size": None,
}
_ARCHIVED = {
    **_DESKTOP,
    "id": "0cc175b9c0f1b6a8",
    "user": "margaret.hamilton",
    "name": "flight-software-review",
    "uid": 200001,
    "state": "archived",
    "session": None,
    "archived_at": LATER,
    "archive_size": 5 << 20,
}
_ENTRY = {
    "seq": 1204,
    "at": AT,
    "actor": "user:ada",
    "proof": f"key {FINGERPRINT}",
    "origin": "2001:db8:85a3::8a2e:370:7334",
    "action": "session.start",
    "subject": "3f9c2b7a10d84e65",
    "detail": {"desktop": "main", "image": "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e"},
    "hash": "9f86d081884c7d65",
}

LISTS = {
    "user ls": Listed(
        "/users",
        [
            {
                "id": "u1",
                "name": "ada",
                "admin": True,
                "enabled": True,
                "source": "local",
                "keys": 2,
                "created_at": AT,
            },
            {
                "id": "u2",
                "name": "margaret.hamilton.of.draper.lab",
                "admin": False,
                "enabled": False,
                "source": "campus-directory",
                "keys": 0,
                "created_at": LATER,
            },
        ],
    ),
    "user policy ada": Listed(
        "/users/{name}/policy",
        [
            {"key": "allow.x11", "value": "true", "from": "config"},
            {
                "key": "login.authorities",
                "value": ", ".join(f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{at}" for at in "abc"),
                "from": "group staff",
            },
        ],
    ),
    "user key ls ada": Listed(
        "/users/{name}/keys",
        [
            {
                "name": "ada@laptop",
                "fingerprint": FINGERPRINT,
                "type": "ssh-ed25519",
                "added_at": AT,
                "expires_at": None,
                "sources": [],
                "verify_required": False,
                "last_used_at": LATER,
                "last_used_from": "203.0.113.9",
            },
            {
                "name": "the security key that lies in the safe",
                "fingerprint": TOUCHED,
                "type": "sk-ssh-ed25519@openssh.com",
                "added_at": AT,
                "expires_at": LATER,
                "sources": ["192.0.2.0/24", "2001:db8::/48"],
                "verify_required": True,
                "last_used_at": None,
                "last_used_from": None,
            },
        ],
    ),
    "invite ls": Listed(
        "/invites",
        [
            {
                "id": "9b74c9897bac770f",
                "user": "ada",
                "state": "used",
                "made_at": AT,
                "made_by": "uid:0",
                "expires_at": LATER,
                "used_at": LATER,
                "fingerprint": FINGERPRINT,
            },
            {
                "id": "45c48cce2e2d7fbd",
                "user": "grace",
                "state": "open",
                "made_at": AT,
                "made_by": "user:ada",
                "expires_at": LATER,
                "used_at": None,
                "fingerprint": None,
            },
        ],
    ),
    "token ls": Listed(
        "/tokens",
        [
            {
                "id": "7d793037a0760186",
                "user": "ada",
                "name": "nightly build",
                "scopes": ["read", "sessions"],
                "reach": "own",
                "made_at": AT,
                "made_by": "user:ada",
                "expires_at": LATER,
                "last_used_at": LATER,
                "last_used_from": "203.0.113.9",
            }
        ],
    ),
    "sign-in ls": Listed(
        "/sign-ins",
        [
            {
                "id": "5f4dcc3b5aa765d6",
                "user": "ada",
                "made_at": AT,
                "last_used_at": LATER,
                "address": "2001:db8:abcd:12:3456:789a:bcde:f012",
                "browser": "Firefox 140",
                "current": False,
            },
            {
                "id": "1d8327deb882cf99",
                "user": "margaret.hamilton.of.draper.lab",
                "made_at": AT,
                "last_used_at": AT,
                "address": "203.0.113.9",
                "browser": "browser",
                "current": False,
            },
        ],
    ),
    "group ls": Listed(
        "/groups",
        [
            {
                "name": "staff",
                "priority": 10,
                "policy": {
                    "allow.agent": False,
                    "idle.freeze_after": "2h",
                    "login.ways": ["key", "password+code"],
                },
                "members": ["ada", "grace"],
            },
            {"name": "everybody", "priority": 0, "policy": {}, "members": []},
        ],
    ),
    "policy ls": Listed(
        "/policies",
        [
            {"key": "idle.freeze_after", "value": "1 h", "from": "config"},
            {"key": "login.ways", "value": "key, password", "from": "config"},
        ],
    ),
    "login-block ls": Listed(
        "/login-blocks",
        [
            {"account": "ada", "place": "192.0.2.0/24", "failures": 7, "seconds": 1900},
            {"account": None, "place": None, "failures": 5, "seconds": 30},
        ],
    ),
    "session ls": Listed(
        "/sessions",
        [
            _SESSION,
            {
                **_SESSION,
                "id": "c4ca4238a0b92382",
                "user": "margaret.hamilton",
                "desktop": "flight-software-review",
                "state": "frozen",
                "display": 1001,
                "attached": 0,
                "kinds": [],
                "idle": None,
                "next": "stop",
                "next_in": 86400,
                "reason": "nobody used it",
            },
            {
                **_SESSION,
                "id": "c81e728d9d4c2f63",
                "user": "grace",
                "state": "starting",
                "display": None,
                "attached": 0,
                "kinds": [],
                "idle": None,
                "next": None,
                "next_in": None,
            },
        ],
    ),
    "attachment ls": Listed(
        "/attachments",
        [
            {
                "user": "ada",
                "desktop": "main",
                "session": "3f9c2b7a10d84e65",
                "kinds": ["forward", "sftp", "shell", "xpra"],
                "since": AT,
                "from": "203.0.113.9:50000",
                "client": "SSH-2.0-OpenSSH_10.0p2 Debian-7",
                "idle": 185,
            },
            {
                "user": "margaret.hamilton",
                "desktop": None,
                "session": "c4ca4238a0b92382",
                "kinds": ["browser"],
                "since": LATER,
                "from": "[2001:db8:85a3::8a2e:370:7334]:50001",
                "client": "",
                "idle": None,
            },
        ],
    ),
    "desktop ls": Listed(
        "/desktops",
        [_DESKTOP, {**_ARCHIVED, "archived_at": None, "archive_size": None, "state": "stopped"}],
    ),
    "desktop ls --all": Listed("/desktops", [_DESKTOP, {**_ARCHIVED, "removed": True}]),
    "template ls": Listed(
        "/templates",
        [
            {
                "name": "default",
                "image": "registry.example/desk/xfce-cjk:2030-01-01",
                "memory": 2 << 30,
                "cpus": 2.0,
                "pids": 1024,
                "shm": 512 << 20,
                "home": 20 << 30,
                "geometry": "1920x1080",
                "network": "internet",
            }
        ],
    ),
    "share ls": Listed(
        "/shares",
        [
            {
                "id": "9d3f0a7c51b2e864",
                "user": "ada",
                "desktop": "main",
                "desktop_id": "b1946ac92492d234",
                "mode": "rw",
                "made_at": AT,
                "expires_at": LATER,
                "guests": [
                    {
                        "id": f"{n:016}",
                        "name": name,
                        "address": "198.51.100.7",
                        "state": state,
                        "since": AT,
                    }
                    for n, (name, state) in enumerate(
                        [("Eve <b>", "in"), ("数据", "asked"), ("Mallory", "refused")]
                    )
                ],
            },
            {
                "id": "1c0b5e2f7a498d36",
                "user": "bob",
                "desktop": "lab",
                "desktop_id": "c4ca4238a0b92382",
                "mode": "ro",
                "made_at": AT,
                "expires_at": LATER,
                "guests": [],
            },
        ],
    ),
    "lease ls": Listed(
        "/leases",
        [
            {
                "host": "h1",
                "kind": "port",
                "value": "20000",
                "desktop_id": "b1946ac92492d234",
                "session_id": "3f9c2b7a10d84e65",
                "since": AT,
            },
            {
                "host": "h1",
                "kind": "uid",
                "value": "200000",
                "desktop_id": "b1946ac92492d234",
                "session_id": None,
                "since": AT,
            },
        ],
    ),
    "settings ls": Listed(
        "/settings",
        [
            {"key": "allow.agent", "value": True},
            {"key": "idle.max_age", "value": None},
            {"key": "limits.desktops", "value": 5},
            {"key": "template.network", "value": ["192.0.2.0/24 tcp 443", "198.51.100.0/24"]},
        ],
    ),
    "audit ls": Listed(
        "/audit",
        [
            _ENTRY,
            {
                **_ENTRY,
                "seq": 1203,
                "actor": "uid:0",
                "proof": None,
                "origin": "local",
                "action": "user.disable",
                "subject": "u1",
                "detail": {},
            },
        ],
    ),
    "desktop outdated": Listed(
        "/maintenance/outdated",
        [
            {
                "desktop": "b1946ac92492d234",
                "user": "margaret.hamilton",
                "name": "flight-software-review",
                "session": "3f9c2b7a10d84e65",
                "state": "ready",
                "since": AT,
                "image": "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e",
                "next_image": "sha256:486ea46224d1bb4fb680f34f7c9ad96a",
            }
        ],
    ),
}
