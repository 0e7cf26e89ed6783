"""The way to a directory: its bytes in clear at the end of a local socket.

OpenLDAP's library makes TLS connections itself, but with GnuTLS below it a server that stops in the
middle of the handshake holds it for ever. So TLS is Python's here, and when the way is closed the
library sees the end of its socket, whatever it was waiting for.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pyasn1.codec.ber.decoder import decode
from pyasn1.codec.ber.encoder import encode
from pyasn1.error import PyAsn1Error, SubstrateUnderrunError
from pyasn1_modules import rfc2251

from broker.system.tasks import Tasks

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

#: Bytes that a directory may send for one question.
MOST = 4 << 20

#: Bytes of its answer to StartTLS.
_SHORT = 4096

_PIECE = 64 << 10

_STARTTLS = "1.3.6.1.4.1.1466.20037"

_PORTS = {"ldap": 389, "ldaps": 636}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How to get there."""

    url: str
    tls: ssl.SSLContext
    starttls: bool
    patience: float
    """Seconds for all addresses of the host together."""


class NoWay(Exception):
    """What is there does not do what was asked for."""


@asynccontextmanager
async def opened(way: Way) -> AsyncIterator[socket.socket]:
    """A socket that leads to the directory until the block is left. Raises `OSError`, that of TLS
    too, `TimeoutError` and `NoWay`.
    """
    reader, writer = await _connect(way)
    ours, theirs = socket.socketpair()
    tasks = Tasks()
    try:
        inner_reader, inner_writer = await asyncio.open_connection(sock=ours)
        tasks.start(_copy(inner_reader, writer), name="to the directory")
        tasks.start(_copy(reader, inner_writer), name="from the directory")
        try:
            yield theirs
        finally:
            inner_writer.transport.abort()
    finally:
        theirs.close()
        writer.transport.abort()
        await tasks.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    left = MOST
    with suppress(OSError):
        while left > 0 and (data := await source.read(min(_PIECE, left))):
            left -= len(data)
            sink.write(data)
            await sink.drain()
    sink.close()


async def _connect(way: Way) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(way.url)
    if parts.scheme == "ldapi":
        return await asyncio.open_unix_connection(unquote(parts.netloc))
    assert parts.hostname is not None
    sock = await _dial(parts.hostname, parts.port or _PORTS[parts.scheme], way.patience)
    try:
        if way.starttls:
            await _start_tls(sock)
        if not way.starttls and parts.scheme == "ldap":
            return await asyncio.open_connection(sock=sock)
        return await asyncio.open_connection(sock=sock, ssl=way.tls, server_hostname=parts.hostname)
    except BaseException:
        sock.close()
        raise


async def _dial(host: str, port: int, patience: float) -> socket.socket:
    """The first of its addresses that answers."""
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    problem: OSError | None = None
    for family, kind, protocol, _, address in addresses:
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(patience / len(addresses)):
                await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            problem = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise problem or OSError(f"{host} has no address")


async def _start_tls(sock: socket.socket) -> None:
    """On the bare socket: what came in clear behind the answer must not be taken for TLS's."""
    loop = asyncio.get_running_loop()
    message = rfc2251.LDAPMessage()
    message["messageID"] = 1
    message["protocolOp"]["extendedReq"]["requestName"] = _STARTTLS
    await loop.sock_sendall(sock, encode(message))
    answer = b""
    while True:
        piece = await loop.sock_recv(sock, _SHORT)
        answer += piece
        if not piece or len(answer) > _SHORT:
            raise NoWay("StartTLS was not answered")
        try:
            read, rest = decode(answer, asn1Spec=rfc2251.LDAPMessage())
        except SubstrateUnderrunError:
            continue
        except PyAsn1Error:
            raise NoWay("what answered StartTLS is no directory") from None
        break
    operation = read["protocolOp"]
    if rest or operation.getName() != "extendedResp":
        raise NoWay("what answered StartTLS is no directory")
    if int(operation["extendedResp"]["resultCode"]) != 0:
        raise NoWay("the directory does not offer StartTLS")
