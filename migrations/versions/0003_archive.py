"""When a desktop's home was packed away, and into which file."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_COLUMNS = ("archived_at", "archive_size", "archive_unpacked", "archive_sha256")


def upgrade() -> None:
    op.add_column("desktop", sa.Column("archived_at", sa.BigInteger()))
    op.add_column("desktop", sa.Column("archive_size", sa.BigInteger()))
    op.add_column("desktop", sa.Column("archive_unpacked", sa.BigInteger()))
    op.add_column("desktop", sa.Column("archive_sha256", sa.String(64)))
    op.create_index(
        "ix_desktop_archived",
        "desktop",
        ["archived_at"],
        sqlite_where=sa.text("archived_at IS NOT NULL"),
        postgresql_where=sa.text("archived_at IS NOT NULL"),
    )


def downgrade() -> None:
    """Refuses while a home is packed away: an older Desk would not find it, and start nothing."""
    bind = op.get_bind()
    packed = bind.scalar(sa.text("SELECT count(*) FROM desktop WHERE archived_at IS NOT NULL"))
    if packed:
        raise RuntimeError(f"{packed} homes are packed away: start their desktops first")
    op.drop_index("ix_desktop_archived", "desktop")
    for name in _COLUMNS:
        op.drop_column("desktop", name)
