"""A maintenance that is announced: while it stands, nothing starts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "drain",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger()),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_drain"),
        sa.CheckConstraint("number = 1", name=op.f("ck_drain_one_row")),
    )


def downgrade() -> None:
    """Desktops start again."""
    op.drop_table("drain")
