"""The HTTP port with TLS: its certificate, and what a handshake may take."""

from __future__ import annotations

import asyncio
import os
import ssl
import time

import pytest
from aiohttp import web as aioweb

from broker.core.errors import ConfigError
from broker.door.certificate import Certificate
from broker.system.tls import Deposit
from tests.door.certificates import certificate
from tests.door.test_web import HOST
from tests.door.test_web_bounds import GET
from tests.door.webport import PATIENCE, Port, trust


@pytest.fixture
def pair(tmp_path):
    return certificate(tmp_path)


def port_with(folder, pair, **settings):
    return Port(folder, tls=Certificate(*pair).context, **settings)


async def test_requests_come_by_tls(tmp_path, pair):
    """Also to the API, and the answer streams as without."""
    async with port_with(tmp_path, pair) as port:
        line = await port.line(ssl=trust(pair[0]))
        for path, body in (("/healthz", b"ok\n"), ("/api/v1/x", b"GET /api/v1/x\n")):
            line.send(f"GET {path} HTTP/1.1\r\n{HOST}\r\n\r\n".encode())
            status, _, found = await line.answer()
            assert (status, found) == (200, body)


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
async def test_old_tls_is_refused(tmp_path, pair, version):
    async with port_with(tmp_path, pair) as port:
        context = trust(pair[0])
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning):
            context.maximum_version = ssl.TLSVersion[version]
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await port.line(ssl=context)


async def test_http_without_tls_is_not_answered(tmp_path, pair):
    async with port_with(tmp_path, pair) as port:
        line = await port.line()
        line.send(GET)
        assert b"HTTP" not in await line.rest()
        await port.empty()


async def test_a_handshake_that_does_not_end_is_not_waited_for(tmp_path, pair):
    """Of whoever says nothing, or is slow; they take a place until then."""
    async with port_with(tmp_path, pair, handshake_timeout=0.3) as port:
        line = await port.line()
        since = time.monotonic()
        await line.rest()
        assert 0.2 < time.monotonic() - since < 3
        await port.empty()


async def test_an_answer_that_nobody_takes_by_tls_is_given_up(tmp_path, pair, monkeypatch):
    """And so is a connection that the other side does not end: the goodbye has its time too."""
    monkeypatch.setattr("broker.door.visitors._GOODBYE", 0.3)
    async with port_with(tmp_path, pair, stall_timeout=0.3, header_timeout=0.5) as port:

        async def endless(request):
            answer = aioweb.StreamResponse()
            await answer.prepare(request)
            while True:
                await answer.write(b"x" * 65536)

        port.broker.reply = endless
        lines = [await port.line(ssl=trust(pair[0]), limit=1024) for _ in range(2)]
        for line in lines:
            line.send(GET)
            assert (await line.answer())[0] == 200
            line.writer.transport.pause_reading()
        lines[0].send(b"GET /api/v1/audit HTTP/1.1\r\nHost: desk\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            await port.broker.left.wait()
        await port.empty()


async def test_a_renegotiation_is_not_made(pair):
    """Each costs the server more than the client."""
    options = Certificate(*pair).context().options
    assert options & ssl.OP_NO_RENEGOTIATION
    assert options & ssl.OP_NO_COMPRESSION


async def test_a_certificate_that_was_exchanged_is_shown_to_whoever_comes_next(tmp_path, pair):
    """Who is connected stays so, and what is no pair changes nothing."""
    shown = Certificate(*pair)
    async with Port(tmp_path, tls=shown.context) as port:
        first = await port.line(ssl=trust(pair[0]))
        other = certificate(tmp_path, "other")
        os.replace(other[0], pair[0])
        before = await port.line(ssl=trust_any())
        assert name_of(before) == name_of(first)
        os.replace(other[1], pair[1])
        after = await port.line(ssl=trust(pair[0]))
        assert name_of(after) != name_of(first)
        pair[0].unlink()
        last = await port.line(ssl=trust_any())
        assert name_of(last) == name_of(after)
        for line in (first, before, after, last):
            line.send(GET)
            assert (await line.answer())[0] == 200


def trust_any():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def name_of(line):
    return line.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)


# ----------------------------------------------------------------------------- for whoever may not


def test_a_deposit_holds_both_for_one_user_alone(tmp_path, pair):
    deposit = Deposit(tmp_path / "tls.pem", None)
    deposit.take(tuple(map(str, pair)))
    assert deposit.path.stat().st_mode & 0o777 == 0o600
    Certificate(deposit.path, deposit.path)
    before = deposit.path.stat()
    deposit.take(tuple(map(str, pair)))
    assert deposit.path.stat() == before
    other = certificate(tmp_path, "other")
    deposit.take(tuple(map(str, other)))
    assert other[0].read_bytes() in deposit.path.read_bytes()
    deposit.take(None)
    assert not deposit.path.exists()
    deposit.take(tuple(map(str, other)))
    assert deposit.path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give it away")
def test_a_deposit_is_the_front_doors(tmp_path, pair):
    deposit = Deposit(tmp_path / "tls.pem", 4321)
    deposit.take(tuple(map(str, pair)))
    found = deposit.path.stat()
    assert (found.st_uid, found.st_mode & 0o777) == (4321, 0o600)


def wrong_key(folder, pair):
    return pair[0], certificate(folder, "other")[1]


def passphrase(folder, _):
    return certificate(folder, "locked", passphrase=b"secret")


def nonsense(folder, pair):
    (folder / "nonsense.pem").write_text("no certificate")
    return folder / "nonsense.pem", pair[1]


def missing(folder, pair):
    return pair[0], folder / "none.key"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (wrong_key, "are no certificate and its private key, both PEM and without a passphrase"),
        (passphrase, "are no certificate and its private key, both PEM and without a passphrase"),
        (nonsense, "are no certificate and its private key, both PEM and without a passphrase"),
        (missing, "none.key: No such file or directory."),
    ],
)
def test_what_is_no_pair_is_told_in_one_sentence(tmp_path, pair, spoil, said):
    """And a deposit stays as it was."""
    deposit = Deposit(tmp_path / "tls.pem", None)
    deposit.take(tuple(map(str, pair)))
    before = deposit.path.read_bytes()
    with pytest.raises(ConfigError) as caught:
        deposit.take(tuple(map(str, spoil(tmp_path, pair))))
    assert caught.value.public.startswith("web.tls: ")
    assert said in caught.value.public
    assert str(deposit.path) not in caught.value.public
    assert ".new" not in caught.value.public
    assert "\n" not in caught.value.public
    assert deposit.path.read_bytes() == before
    assert [path.name for path in tmp_path.glob("*.new")] == []
    with pytest.raises(ConfigError):
        Certificate(*spoil(tmp_path, pair))
