"""The Desk of these tests, and who has an account there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.e2e.desk import HOST, Instance

if TYPE_CHECKING:
    from tests.e2e.desk import Person

#: Nobody's in the lists of those that are guessed first.
PASSWORD = "numbered window 83 lantern"


class Desk(Instance):
    """One that can be asked by an admin from within a running event loop too."""

    def api(self, method: str, path: str, **more: Any) -> Any:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(super().api, method, path, **more).result()

    @property
    def origin(self) -> str:
        return f"http://{HOST}:{self.http_port}"

    def with_password(self, name: str, *, admin: bool = False) -> Person:
        """Somebody with a key and with the password of all."""
        if name in self.people:
            return self.people[name]
        made = self.person(name, registered=False)
        keys = [Path(f"{made.key}.pub").read_text().strip()]
        self.api("POST", "/users", body={"name": name, "admin": admin, "keys": keys})
        self.api("PUT", f"/users/{name}/password", body={"password": PASSWORD})
        return made

    def desktop_of(self, name: str, called: str = "main") -> dict[str, Any]:
        """What the API says of that desktop."""
        return next(
            one for one in self.listing("desktops") if (one["user"], one["name"]) == (name, called)
        )
