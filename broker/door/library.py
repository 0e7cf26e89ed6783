"""Whether asyncssh is the one that the door's packet layer was written for."""

# ruff: noqa: SLF001 - the functions relied on are named here

from __future__ import annotations

import hashlib
import inspect
import logging
from types import MappingProxyType
from typing import TYPE_CHECKING

import asyncssh
from asyncssh import auth, connection, encryption, packet
from asyncssh.crypto import cipher

from broker.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VERSION = "2.24.1"

_CONNECTION = connection.SSHConnection
_SERVER = connection.SSHServerConnection
_CLIENT = connection.SSHClientConnection

#: What is overridden, called or relied on, and a digest of its source.
FUNCTIONS: Mapping[Callable[..., object], str] = MappingProxyType(
    {
        _CONNECTION.__init__: "41da2e469f2a39643016d7d1ae7e1b26",
        _CONNECTION.connection_made: "e7b867af0f590a2cd3e2a45023f70a23",
        _CONNECTION.connection_lost: "ea050d93536d711a50589a30badfd94f",
        _CONNECTION.data_received: "b2d14a83b2604db65c8775264dfbe38e",
        _CONNECTION.eof_received: "49d7a5b4cee006fd0aa83da553c95ed2",
        _CONNECTION.pause_writing: "a69ec7dae4f504a2bc87259decf5412b",
        _CONNECTION.resume_writing: "a324675672f6b924dad41bb3104c6446",
        _CONNECTION._cleanup: "ea4cd2aed57194e571addabce7dd2136",
        _CONNECTION._force_close: "264b4367525f4f864cf63d560aab5e02",
        _CONNECTION._reset_keepalive_timer: "7a9157707c514524758ca0bfdf360849",
        _CONNECTION._set_keepalive_timer: "23a054202a1cb32b532c5739de8c3bd1",
        _CONNECTION._keepalive_timer_callback: "6d8aa6656cfc6003eb94ae85b783b124",
        _CONNECTION._make_keepalive_request: "2f98f19daa4aa9b36565fda161a5dcc8",
        _CONNECTION._login_timer_callback: "fc3cf4a0305863dc655b3b09d2e5ed08",
        _CONNECTION._cancel_login_timer: "46e328157eab7b1e47cd39fc49f592b2",
        _CONNECTION.create_task: "a9bff2bae35cd56fb87cb199f955a246",
        _CONNECTION._reap_task: "d6d88bdf86f70401437cb75e84b512b1",
        _CONNECTION._recv_data: "fc4e0735191bb0fdd7fa8f9176106701",
        _CONNECTION._recv_version: "05573b0ac8886bf3ee44d2fc23e3a722",
        _CONNECTION._recv_pkthdr: "7adc4d88fe20593cef39c00322547733",
        _CONNECTION._recv_packet: "b3daa22e9763eee9f3ec710d1469c1b5",
        _CONNECTION._finish_recv_packet: "e12d96db58b3524e90032440bfd6f270",
        _CONNECTION.send_packet: "fb9da7bec6dd395a2f379f8a0f4dbfc5",
        _CONNECTION._send: "c6698a37eb80f574e53595c650f493b6",
        _CONNECTION._send_deferred_packets: "c5ef8240853eb331be28da0b38f68354",
        _CONNECTION._send_disconnect: "225d909cfce74f89b5a3f7756198729c",
        _CONNECTION._send_kexinit: "275ddc818b59f44b24a3b9d0ccc8cdd1",
        _CONNECTION.send_newkeys: "0b41234420373618bb7bae4fd482422d",
        _CONNECTION._process_kexinit: "439bdf2fc55e67370a3e0c1c5e1276fc",
        _CONNECTION._process_newkeys: "a0331fe3cfd09d0b414800a9c59ffef0",
        _CONNECTION._process_service_request: "faadd33529d2bc93dd1c01022fa2b969",
        _CONNECTION._process_userauth_request: "9d1a0e42d15a1526776e69718c7e08f4",
        _CONNECTION._finish_userauth: "bd2146536318273dba76844090e3c8d6",
        _CONNECTION._process_userauth_success: "02fe4fc8335c6d8142a4d6957a00cd3d",
        _CONNECTION.send_userauth_failure: "30f1eb63d0cb74c9197c86e7bcd8d923",
        _CONNECTION.send_userauth_success: "812e749ee2432e4b667cf83a1d7fa6b2",
        _CONNECTION._send_global_request: "7e8d49474edb909970565c8f67ec09b3",
        _CONNECTION._make_global_request: "5f4b41f0c38aeb650d8cf6bc2c95237f",
        _CONNECTION._process_global_response: "0a547db314bff44e1950b0e578ff90de",
        _CONNECTION._get_extra_kex_algs: "d9d27b4c78044a4157cf77bcc851f319",
        _SERVER.__init__: "1609a442fc4f5151e7d44d8f0b729b1c",
        _SERVER._cleanup: "c67135a4127b30299c4303bc495d0576",
        _SERVER.reload_config: "d78b0be8399d54917447c28d9ac0f4f2",
        _SERVER.validate_public_key: "eb5e224339282892cd579de8cad03ac7",
        _SERVER.send_server_host_keys: "420c0eba48118f66a04b6ce61c6c51d8",
        _SERVER.public_key_auth_supported: "15574dcfbd63ad3cd5f2384dbb7ae4ef",
        _CLIENT.__init__: "80ecd24f9f54653380c38e07b4162809",
        _CLIENT._cleanup: "9a3c2676a127a78fcc27e76d696063b9",
        _CLIENT._connection_made: "f777615b02719315b31a13bbd17786b3",
        packet.SSHPacketHandler.process_packet: "490a59d971d0ce03dbdc81e9e9a58283",
        auth.Auth.__init__: "ce8a307848f87ff65162bb72be22743a",
        auth.Auth.cancel: "10c87ba4959741bdd509d43926502615",
        auth.ServerAuth.send_failure: "93b74757d81848280b53251559b0dc5d",
        auth.ServerAuth.send_success: "a425bc98b9ecc35e58684c994e5a177a",
        auth._ServerPublicKeyAuth._start: "f736fe6663fc3aecd04c6cdfa37d976e",
        auth.lookup_server_auth: "50d9f6f25ca1d685cb0af65b0239c0f5",
        encryption.GCMEncryption.new: "ddc58af760186052d54516f4c78c492c",
        encryption.GCMEncryption.encrypt_packet: "6a59190103eaab06f3c5eed1854732ea",
        encryption.GCMEncryption.decrypt_header: "50d9112c6d6c1ced2db1cea7cde9f43b",
        encryption.GCMEncryption.decrypt_packet: "6feb840baa1102a45480a86f2bba0c24",
        cipher.GCMCipher.__init__: "8dbe9e768f4ecf7a4bac1641c2e574c2",
        cipher.GCMCipher._update_iv: "bce250a8d9dc82b6aa456657118d8773",
        cipher.GCMCipher.encrypt_and_sign: "adb87dbdb4f9039ab1f0029bd845b032",
        cipher.GCMCipher.verify_and_decrypt: "c09eb5b36d0f6a92a6df6430e70d479d",
    }
)


def digest(function: Callable[..., object]) -> str:
    """The first half of a SHA-256 over the source."""
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:32]


def check(
    version: str = asyncssh.__version__,
    functions: Mapping[Callable[..., object], str] = FUNCTIONS,
) -> None:
    """Raise `ConfigError` when version or source differ. Also silences asyncssh's own lines below
    WARNING: they show login names as they came.
    """
    if version != VERSION:
        raise ConfigError(f"the front door needs asyncssh {VERSION}, found {version}")
    for function, expected in functions.items():
        if digest(function) != expected:
            name = function.__qualname__
            raise ConfigError(f"asyncssh {version} was changed: {name} is not as expected")
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
