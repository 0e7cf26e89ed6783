"""How Alembic runs a migration; `broker.db.migrate` hands the connection over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import context

from broker.db.tables import metadata

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext


def check_references(*, ctx: MigrationContext, **_: object) -> None:
    """SQLite rebuilds tables with its foreign keys off; look before the step commits."""
    connection = ctx.connection
    if connection is None or connection.dialect.name != "sqlite":
        return
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        raise RuntimeError(f"the migration leaves broken references: {broken[:3]}")


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transaction_per_migration=True,
    transactional_ddl=True,
    on_version_apply=check_references,
)

with context.begin_transaction():
    context.run_migrations()
