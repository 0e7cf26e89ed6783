"""Until when a session is kept, when its next step is due, and an index of the live ones."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# What the words were when this was written: a migration never imports today's.
STEPS = "step IN ('freeze', 'stop')"
SIGNALS = (
    "signal IN ('input', 'typing', 'data', 'files', 'woke', 'arrived', 'job', 'transfer',"
    " 'keep', 'age')"
)


def upgrade() -> None:
    op.add_column("session", sa.Column("kept_until", sa.BigInteger()))
    # Nothing asks for one state; everything asks for the live ones of a host.
    op.drop_index("ix_session_state", "session")
    op.create_index(
        "ix_session_live_host",
        "session",
        ["host"],
        sqlite_where=sa.text("state != 'ended'"),
        postgresql_where=sa.text("state != 'ended'"),
    )
    op.create_table(
        "deadline",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("session_id", sa.String(16), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.String(16)),
        sa.Column("due_at", sa.BigInteger()),
        sa.Column("signal", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_deadline"),
        sa.ForeignKeyConstraint(["session_id"], ["session.id"], name="fk_deadline_session_id"),
        sa.CheckConstraint(STEPS, name=op.f("ck_deadline_step")),
        sa.CheckConstraint(SIGNALS, name=op.f("ck_deadline_signal")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_deadline_session_id", "deadline", ["session_id", "seq"])


def downgrade() -> None:
    """What is kept and what was due is forgotten; sessions and all else stay."""
    op.drop_table("deadline")
    op.drop_index("ix_session_live_host", "session")
    op.create_index("ix_session_state", "session", ["state"])
    # Not by a copy of the table, as is Alembic's way on SQLite: a copy forgets the checks.
    op.drop_column("session", "kept_until")
