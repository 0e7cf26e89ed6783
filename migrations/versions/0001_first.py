"""Users and keys, desktops, sessions, leases, the audit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# What the words and types were when this was written: a migration never imports today's.
LEASE_KINDS = "kind IN ('port', 'display', 'address', 'uid')"
SESSION_STATES = "state IN ('starting', 'ready', 'frozen', 'stopping', 'ended')"


def upgrade() -> None:
    op.create_table(
        "instance",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_instance"),
        sa.CheckConstraint("number = 1", name=op.f("ck_instance_one_row")),
    )
    op.create_table(
        "user",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("name", sa.String(31), nullable=False),
        sa.Column("admin", sa.Boolean(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("removed_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_user"),
    )
    op.create_index(
        "uq_user_name",
        "user",
        ["name"],
        unique=True,
        sqlite_where=sa.text("removed_at IS NULL"),
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.create_table(
        "user_key",
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(16), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("public", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_user_key"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name="fk_user_key_user_id"),
        sa.UniqueConstraint("user_id", "position", name="uq_user_key_user_id_position"),
    )
    op.create_table(
        "desktop",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("user_id", sa.String(16), nullable=False),
        sa.Column("name", sa.String(31), nullable=False),
        sa.Column("template", sa.Text(), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("home_made_at", sa.BigInteger()),
        sa.Column("removed_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_desktop"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name="fk_desktop_user_id"),
        sa.UniqueConstraint("user_id", "name", name="uq_desktop_user_id_name"),
        sa.UniqueConstraint("uid", name="uq_desktop_uid"),
    )
    op.create_table(
        "session",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("desktop_id", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("deadline", sa.BigInteger()),
        sa.Column("reason", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_session"),
        sa.ForeignKeyConstraint(["desktop_id"], ["desktop.id"], name="fk_session_desktop_id"),
        sa.CheckConstraint(SESSION_STATES, name=op.f("ck_session_sessionstate")),
    )
    op.create_index("ix_session_desktop_id", "session", ["desktop_id"])
    op.create_index("ix_session_state", "session", ["state"])
    op.create_index(
        "uq_session_live",
        "session",
        ["desktop_id"],
        unique=True,
        sqlite_where=sa.text("state != 'ended'"),
        postgresql_where=sa.text("state != 'ended'"),
    )
    op.create_table(
        "lease",
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("session_id", sa.String(16)),
        sa.Column("desktop_id", sa.String(16), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("host", "kind", "number", name="pk_lease"),
        sa.ForeignKeyConstraint(["session_id"], ["session.id"], name="fk_lease_session_id"),
        sa.ForeignKeyConstraint(["desktop_id"], ["desktop.id"], name="fk_lease_desktop_id"),
        sa.UniqueConstraint("session_id", "kind", name="uq_lease_session_id_kind"),
        sa.CheckConstraint(LEASE_KINDS, name=op.f("ck_lease_leasekind")),
        sa.CheckConstraint("(kind = 'uid') = (session_id IS NULL)", name=op.f("ck_lease_holder")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "uq_lease_uid",
        "lease",
        ["desktop_id"],
        unique=True,
        sqlite_where=sa.text("kind = 'uid'"),
        postgresql_where=sa.text("kind = 'uid'"),
    )
    op.create_table(
        "set_aside",
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("host", "kind", "number", name="pk_set_aside"),
        sa.CheckConstraint(LEASE_KINDS, name=op.f("ck_set_aside_leasekind")),
    )
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_subject", "audit", ["subject"])


def downgrade() -> None:
    """Everything goes: there is no older schema to keep anything in."""
    for table in ("audit", "set_aside", "lease", "session", "desktop", "user_key", "user"):
        op.drop_table(table)
    op.drop_table("instance")
