"""Whom a provider of sign-ins means: by its own lasting word for a person, not by a name."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "vouched",
        sa.Column("source", sa.String(31), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("user_id", sa.String(16), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name="fk_vouched_user_id"),
        sa.PrimaryKeyConstraint("source", "subject", name="pk_vouched"),
        sa.UniqueConstraint("user_id", "source", name="uq_vouched_user_id_source"),
    )


def downgrade() -> None:
    """Who somebody is goes by the provider's name for them alone."""
    op.drop_table("vouched")
