import os
import stat

import pytest

from broker.core.errors import StateUnusable
from broker.system.auditkey import AuditKey


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.key"


def test_it_is_made_once_and_is_for_its_owner_alone(path):
    old = os.umask(0)
    try:
        made = AuditKey(path)
        assert made.new
        made.keep()
    finally:
        os.umask(old)
    assert len(made.secret) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = AuditKey(path)
    assert (again.secret, again.new) == (made.secret, False)
    assert os.listdir(path.parent) == ["audit.key"]


def test_two_states_have_two_keys(path, tmp_path):
    assert AuditKey(path).secret != AuditKey(tmp_path / "other.key").secret


def test_until_it_is_kept_it_is_new_and_the_same(path):
    """A broker that died before the chain was begun begins it with the same key."""
    first = AuditKey(path)
    again = AuditKey(path)
    assert (again.secret, again.new) == (first.secret, True)
    again.keep()
    again.keep()
    last = AuditKey(path)
    assert (last.secret, last.new) == (first.secret, False)


def test_what_a_crash_left_half_written_is_made_again(path):
    path.with_name("audit.key.new-part").write_text("12")
    assert len(AuditKey(path).secret) == 32


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_one_that_others_may_read_or_write_is_refused(path, mode):
    AuditKey(path).keep()
    path.chmod(mode)
    with pytest.raises(StateUnusable, match=f"mode {mode:04o}.*chmod 600"):
        AuditKey(path)


@pytest.mark.parametrize("text", ["", "12", "no key", "zz" * 32, "00" * 31, "00" * 33, "ä" * 64])
def test_a_damaged_one_is_refused(path, text):
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(StateUnusable, match="damaged.*from a backup"):
        AuditKey(path)


def test_one_that_cannot_be_read_is_refused(path):
    path.mkdir(mode=0o700)
    with pytest.raises(StateUnusable, match=r"cannot be read \(Is a directory\)"):
        AuditKey(path)
