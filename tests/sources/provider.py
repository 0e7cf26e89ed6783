"""A real provider of OpenID Connect, npm's oidc-provider, and a browser that goes there and back."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import aiohttp
import pytest

from tests.ports import free_port

FOLDER = Path(__file__).parent / "oidc"

CLIENT_ID, SECRET = "desk/lab 7", "s3cret: of +desk&%"

BACK = "http://127.0.0.1:8080/api/v1/sign-in/oidc/back"

#: Seconds for npm, and for the whole way there and back.
_INSTALL, _ANSWER = 120, 10.0


def installed() -> None:
    """Skips where it cannot be had."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed, which the provider needs")
    if (FOLDER / "node_modules" / "oidc-provider").is_dir():
        return
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(
            command, cwd=FOLDER, capture_output=True, text=True, timeout=_INSTALL, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install the provider in {_INSTALL} s")
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["?"])[-1]
        pytest.skip(f"npm cannot install the provider here: {last}")


class RealProvider:
    """One that runs; `issuer` is its address."""

    def __init__(self) -> None:
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self._process = subprocess.Popen(
            ["node", "provider.mjs", str(self.port), BACK],
            cwd=FOLDER,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if said.strip() != "ready":
            self.close()
            pytest.fail("the provider did not start")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


async def visit(url: str, *, who: str) -> dict[str, str]:
    """What a browser comes back with that is sent there, of somebody who signs in as `who`."""
    jar = aiohttp.CookieJar(unsafe=True)  # on an address
    async with aiohttp.ClientSession(cookie_jar=jar) as session, asyncio.timeout(_ANSWER):
        for _ in range(12):
            async with session.get(url, allow_redirects=False) as reply:
                assert reply.status in {302, 303}, (reply.status, await reply.text())
                url = urljoin(url, reply.headers["Location"])
            if url.startswith(BACK):
                return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
            if urlsplit(url).path.startswith("/interaction/"):
                url = f"{url}?as={who}"
    raise AssertionError("it did not come back")
