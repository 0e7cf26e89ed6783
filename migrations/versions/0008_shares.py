"""Shares of desktops, and the guests who come by them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "share",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("desktop_id", sa.String(16), nullable=False),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_share"),
        sa.UniqueConstraint("token_hash", name="uq_share_token_hash"),
        sa.ForeignKeyConstraint(["desktop_id"], ["desktop.id"], name="fk_share_desktop_id"),
        sa.CheckConstraint("mode IN ('ro', 'rw')", name=op.f("ck_share_mode")),
    )
    op.create_index("ix_share_desktop_id", "share", ["desktop_id"])
    standing = sa.text("ended_at IS NULL")
    op.create_index(
        "ix_share_standing",
        "share",
        ["expires_at"],
        sqlite_where=standing,
        postgresql_where=standing,
    )
    op.create_table(
        "guest",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("share_id", sa.String(16), nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_guest"),
        sa.UniqueConstraint("secret_hash", name="uq_guest_secret_hash"),
        sa.ForeignKeyConstraint(["share_id"], ["share.id"], name="fk_guest_share_id"),
        sa.CheckConstraint(
            "state IN ('asked', 'in', 'refused', 'left', 'ended')",
            name=op.f("ck_guest_gueststate"),
        ),
    )
    op.create_index("ix_guest_share_id", "guest", ["share_id"])
    op.create_index("ix_guest_state", "guest", ["state"])


def downgrade() -> None:
    """Nothing is shared any more."""
    op.drop_table("guest")
    op.drop_table("share")
