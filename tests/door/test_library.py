"""The assertion on asyncssh."""

import pytest

from broker.core.errors import ConfigError
from broker.door import library


def test_the_installed_library_is_the_one_the_door_was_written_for():
    library.check()


def test_another_version_is_refused():
    with pytest.raises(ConfigError, match=r"needs asyncssh 2\.24\.1, found 9\.9"):
        library.check(version="9.9")


def test_a_changed_function_is_refused():
    """Its name is told to the operator."""

    def changed():
        return 1

    with pytest.raises(ConfigError, match="changed"):
        library.check(functions={changed: library.digest(library.check)})


def test_each_function_relied_on_is_pinned():
    """The receive and send paths, key exchange, ends and authentication are among them."""
    names = {function.__qualname__ for function in library.FUNCTIONS}
    for name in (
        *("_recv_pkthdr", "_recv_packet", "_finish_recv_packet", "send_packet", "send_newkeys"),
        *("_send_deferred_packets", "_send_kexinit", "_process_kexinit", "_process_newkeys"),
        *("_force_close", "_cleanup", "_recv_data", "send_userauth_success", "data_received"),
        *("_process_userauth_success",),
    ):
        assert f"SSHConnection.{name}" in names
