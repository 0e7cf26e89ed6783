"""The tables of the state, in words that SQLite and PostgreSQL both understand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Enum,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    bindparam,
    event,
    false,
)

from broker.core.idle import Signal, Step
from broker.core.model import LOCAL, LeaseKind, SessionState
from broker.core.shares import GuestState, Mode

if TYPE_CHECKING:
    from enum import StrEnum

    from sqlalchemy import Connection, Dialect

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, kept as microseconds since 1970: exact, and sorted alike everywhere."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002 - SQLAlchemy's signature
    ) -> int | None:
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(
        self,
        value: int | None,
        dialect: Dialect,  # noqa: ARG002 - SQLAlchemy's signature
    ) -> datetime | None:
        return None if value is None else _EPOCH + value * _MICROSECOND


def _words(kind: type[StrEnum]) -> Enum:
    """An enumeration as text that the database checks: a new word is a migration."""
    return Enum(
        kind,
        native_enum=False,
        create_constraint=True,
        length=16,
        name=kind.__name__.lower(),
        values_callable=lambda words: [word.value for word in words],
    )


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

instance = Table(
    "instance",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("id", String(16), nullable=False),
    CheckConstraint("number = 1", name="one_row"),
)

user = Table(
    "user",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String(31), nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("removed_at", UtcDateTime),
    Column("source", String(31), nullable=False, server_default=LOCAL),
)

#: A removed user's name may be given again, to somebody else under another id.
user_name = Index(
    "uq_user_name",
    user.c.name,
    unique=True,
    sqlite_where=user.c.removed_at.is_(None),
    postgresql_where=user.c.removed_at.is_(None),
)

user_key = Table(
    "user_key",
    metadata,
    Column("fingerprint", String(64), primary_key=True),
    Column("user_id", String(16), ForeignKey("user.id"), nullable=False),
    # A clock that was set back must not shuffle them.
    Column("position", Integer, nullable=False),
    Column("public", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("added_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("sources", JSON, nullable=False, server_default="[]"),
    Column("verify_required", Boolean, nullable=False, server_default=false()),
    Column("last_used_at", UtcDateTime),
    Column("last_used_from", Text),
    UniqueConstraint("user_id", "position"),
)

user_key_name = Index("uq_user_key_user_id_name", user_key.c.user_id, user_key.c.name, unique=True)

password = Table(
    "password",
    metadata,
    Column("user_id", String(16), ForeignKey("user.id"), primary_key=True),
    Column("id", String(16), nullable=False),
    Column("hash", Text, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
)

codes = Table(
    "codes",
    metadata,
    Column("user_id", String(16), ForeignKey("user.id"), primary_key=True),
    Column("secret", Text, nullable=False),
    Column("confirmed_at", UtcDateTime),
    Column("last_step", BigInteger, nullable=False),
)

recovery_code = Table(
    "recovery_code",
    metadata,
    Column("user_id", String(16), ForeignKey("user.id"), primary_key=True),
    Column("hash", Text, primary_key=True),
    Column("used_at", UtcDateTime),
)

invite = Table(
    "invite",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("user_id", String(16), ForeignKey("user.id"), nullable=False, index=True),
    Column("made_at", UtcDateTime, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("used_at", UtcDateTime),
    Column("fingerprint", String(64)),
)

token = Table(
    "token",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("user_id", String(16), ForeignKey("user.id"), nullable=False, index=True),
    Column("name", String(64), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("reach", String(3), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    Column("last_used_from", Text),
    CheckConstraint("reach IN ('own', 'all')", name="reach"),
)

sign_in = Table(
    "sign_in",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("secret_hash", String(64), nullable=False, unique=True),
    Column("user_id", String(16), ForeignKey("user.id"), nullable=False, index=True),
    # What proved its person, and stands behind it for as long as it counts.
    Column("credential", Text, nullable=False, index=True),
    Column("method", Text, nullable=False),
    Column("denied", JSON, nullable=False),
    Column("address", Text, nullable=False),
    Column("browser", Text, nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("last_used_at", UtcDateTime, nullable=False),
)

sign_in_link = Table(
    "sign_in_link",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("user_id", String(16), ForeignKey("user.id"), nullable=False, index=True),
    Column("credential", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("denied", JSON, nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

#: A provider's own word for a person: names can change there, and be given to somebody else.
vouched = Table(
    "vouched",
    metadata,
    Column("source", String(31), primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("user_id", String(16), ForeignKey("user.id"), nullable=False),
    Column("since", UtcDateTime, nullable=False),
    UniqueConstraint("user_id", "source"),
)

#: What was answered to a call, for whoever asks the same again.
answer = Table(
    "answer",
    metadata,
    Column("caller", String(64), primary_key=True),
    Column("key", String(128), primary_key=True),
    # The hash of what was asked.
    Column("request", String(64), nullable=False),
    Column("at", UtcDateTime, nullable=False, index=True),
    # None while it is worked on.
    Column("status", Integer),
    Column("location", Text),
    Column("body", Text),
)

group = Table(
    "group",
    metadata,
    Column("name", String(31), primary_key=True),
    Column("priority", Integer, nullable=False),
    Column("policy", JSON, nullable=False),
)

membership = Table(
    "membership",
    metadata,
    Column("user_id", String(16), ForeignKey("user.id"), primary_key=True),
    Column("group_name", String(31), ForeignKey("group.name"), primary_key=True, index=True),
    # `local` where an admin said so, else the outside source that did.
    Column("source", String(31), primary_key=True),
)

desktop = Table(
    "desktop",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("user_id", String(16), ForeignKey("user.id"), nullable=False),
    Column("name", String(31), nullable=False),
    Column("template", Text, nullable=False),
    Column("uid", BigInteger, nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("home_made_at", UtcDateTime),
    Column("removed_at", UtcDateTime),
    Column("archived_at", UtcDateTime),
    Column("archive_size", BigInteger),
    Column("archive_unpacked", BigInteger),
    Column("archive_sha256", String(64)),
    # Over removed ones too: the same user's next desktop of the name takes the old one up.
    UniqueConstraint("user_id", "name"),
)

is_archived = desktop.c.archived_at.is_not(None)

Index(
    "ix_desktop_archived",
    desktop.c.archived_at,
    sqlite_where=is_archived,
    postgresql_where=is_archived,
)

share = Table(
    "share",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("desktop_id", String(16), ForeignKey("desktop.id"), nullable=False, index=True),
    Column("mode", _words(Mode), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
)

_stands = share.c.ended_at.is_(None)

Index(
    "ix_share_standing",
    share.c.expires_at,
    sqlite_where=_stands,
    postgresql_where=_stands,
)

#: Who came by a share.
guest = Table(
    "guest",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("share_id", String(16), ForeignKey("share.id"), nullable=False, index=True),
    Column("secret_hash", String(64), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("state", _words(GuestState), nullable=False, index=True),
    Column("asked_at", UtcDateTime, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("reason", Text),
)

session = Table(
    "session",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("desktop_id", String(16), ForeignKey("desktop.id"), nullable=False, index=True),
    Column("state", _words(SessionState), nullable=False),
    Column("host", Text, nullable=False),
    Column("image", Text, nullable=False),
    Column("deadline", UtcDateTime),
    Column("reason", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("kept_until", UtcDateTime),
)

#: The word stands in the statement itself. That the indexes of the live ones hold the answer, a
#: planner learns of a bound word late: SQLite by planning again at each call, PostgreSQL never once
#: it has a plan for every word.
is_live = session.c.state != bindparam(
    "ended", SessionState.ENDED, type_=session.c.state.type, literal_execute=True
)

#: The refusal of a desktop's second live session.
session_live = Index(
    "uq_session_live",
    session.c.desktop_id,
    unique=True,
    sqlite_where=is_live,
    postgresql_where=is_live,
)

Index(
    "ix_session_live_host",
    session.c.host,
    sqlite_where=is_live,
    postgresql_where=is_live,
)

deadline = Table(
    "deadline",
    metadata,
    # As in the audit. A clock that was set back must not shuffle them.
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("session_id", String(16), ForeignKey("session.id"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("step", _words(Step)),
    Column("due_at", UtcDateTime),
    Column("signal", _words(Signal), nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Index("ix_deadline_session_id", "session_id", "seq"),
    sqlite_autoincrement=True,
)

lease = Table(
    "lease",
    metadata,
    Column("host", Text, primary_key=True),
    Column("kind", _words(LeaseKind), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("session_id", String(16), ForeignKey("session.id")),
    Column("desktop_id", String(16), ForeignKey("desktop.id"), nullable=False),
    Column("since", UtcDateTime, nullable=False),
    UniqueConstraint("session_id", "kind"),
    CheckConstraint("(kind = 'uid') = (session_id IS NULL)", name="holder"),
    sqlite_with_rowid=False,
)

_is_uid = lease.c.kind == LeaseKind.UID

lease_uid = Index(
    "uq_lease_uid",
    lease.c.desktop_id,
    unique=True,
    sqlite_where=_is_uid,
    postgresql_where=_is_uid,
)

set_aside = Table(
    "set_aside",
    metadata,
    Column("host", Text, primary_key=True),
    Column("kind", _words(LeaseKind), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("until", UtcDateTime, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False, index=True),
    Column("detail", JSON, nullable=False),
    Column("proof", Text),
    Column("origin", Text),
    # None where it was written by a Desk that knew no chain, until the next start.
    Column("hash", String(64)),
    Index("ix_audit_actor", "actor", "seq"),
    # A number of a deleted entry is never given again.
    sqlite_autoincrement=True,
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
    CheckConstraint("number = 1", name="one_row"),
)

drain = Table(
    "drain",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("since", UtcDateTime, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("at", UtcDateTime),
    Column("message", Text, nullable=False),
    CheckConstraint("number = 1", name="one_row"),
)

#: What is written stays as it is; only an entry without a hash may be given one. It keeps accidents
#: away: who owns the database can take the triggers away, and the chain tells of what follows.
_APPEND_ONLY = {
    "sqlite": (
        (
            "CREATE TRIGGER audit_update BEFORE UPDATE ON audit"
            " WHEN OLD.hash IS NOT NULL OR NEW.hash IS NULL"
            " BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"
        ),
        (
            "CREATE TRIGGER audit_delete BEFORE DELETE ON audit"
            " BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"
        ),
    ),
    "postgresql": (
        (
            "CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'the audit is append-only'; END $$"
        ),
        (
            "CREATE TRIGGER audit_update BEFORE UPDATE ON audit FOR EACH ROW"
            " WHEN (OLD.hash IS NOT NULL OR NEW.hash IS NULL) EXECUTE FUNCTION audit_refuse()"
        ),
        (
            "CREATE TRIGGER audit_delete BEFORE DELETE OR TRUNCATE ON audit"
            " FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()"
        ),
    ),
}


@event.listens_for(audit, "after_create")
def _protect(_table: Table, connection: Connection, **_: object) -> None:
    for statement in _APPEND_ONLY[connection.dialect.name]:
        connection.exec_driver_sql(statement)
