"""Names and limits of keys, passwords, codes, invites, groups; the chain of the audit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# What the rules were when this was written: a migration never imports today's.
NAME_LENGTH = 64

APPEND_ONLY = {
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

WRITABLE = {
    "sqlite": ("DROP TRIGGER audit_update", "DROP TRIGGER audit_delete"),
    "postgresql": (
        "DROP TRIGGER audit_update ON audit",
        "DROP TRIGGER audit_delete ON audit",
        "DROP FUNCTION audit_refuse()",
    ),
}


def upgrade() -> None:
    _accounts()
    _credentials()
    _groups()
    _audit()


def _accounts() -> None:
    op.add_column(
        "user", sa.Column("source", sa.String(31), nullable=False, server_default="local")
    )
    # Not by a copy of the table, as is Alembic's way on SQLite: a copy forgets the checks.
    op.execute("ALTER TABLE user_key RENAME COLUMN comment TO name")
    for column in (
        sa.Column("expires_at", sa.BigInteger()),
        sa.Column("sources", sa.JSON(), nullable=False, server_default="[]"),
        sa.Column("verify_required", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("last_used_at", sa.BigInteger()),
        sa.Column("last_used_from", sa.Text()),
    ):
        op.add_column("user_key", column)
    _name_keys()
    op.create_index("uq_user_key_user_id_name", "user_key", ["user_id", "name"], unique=True)


def _name_keys() -> None:
    """A comment was free text: empty, the same on two keys, of any length."""
    key = sa.table("user_key", *map(sa.column, ("fingerprint", "user_id", "position", "name")))
    bind = op.get_bind()
    taken: set[tuple[str, str]] = set()
    found = bind.execute(sa.select(key).order_by(key.c.user_id, key.c.position)).all()
    for fingerprint, user_id, position, comment in found:
        stem = "".join(c for c in comment if c.isprintable()).strip()[:NAME_LENGTH].strip()
        name, number = stem or f"key-{position}", 2
        while (user_id, name) in taken:
            end = f"-{number}"
            name = (stem or f"key-{position}")[: NAME_LENGTH - len(end)] + end
            number += 1
        taken.add((user_id, name))
        if name != comment:
            bind.execute(sa.update(key).where(key.c.fingerprint == fingerprint).values(name=name))


def _credentials() -> None:
    op.create_table(
        "password",
        sa.Column("user_id", sa.String(16), nullable=False),
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_password"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name="fk_password_user_id"),
    )
    op.create_table(
        "codes",
        sa.Column("user_id", sa.String(16), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("confirmed_at", sa.BigInteger()),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_codes"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name="fk_codes_user_id"),
    )
    op.create_table(
        "recovery_code",
        sa.Column("user_id", sa.String(16), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("used_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("user_id", "hash", name="pk_recovery_code"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name="fk_recovery_code_user_id"),
    )
    op.create_table(
        "invite",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(16), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger()),
        sa.Column("fingerprint", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_invite"),
        sa.UniqueConstraint("token_hash", name="uq_invite_token_hash"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name="fk_invite_user_id"),
    )
    op.create_index("ix_invite_user_id", "invite", ["user_id"])


def _groups() -> None:
    op.create_table(
        "group",
        sa.Column("name", sa.String(31), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("policy", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_group"),
    )
    op.create_table(
        "membership",
        sa.Column("user_id", sa.String(16), nullable=False),
        sa.Column("group_name", sa.String(31), nullable=False),
        sa.Column("source", sa.String(31), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "group_name", "source", name="pk_membership"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name="fk_membership_user_id"),
        sa.ForeignKeyConstraint(["group_name"], ["group.name"], name="fk_membership_group_name"),
    )
    op.create_index("ix_membership_group_name", "membership", ["group_name"])


def _audit() -> None:
    """The entries of before are chained by the broker's next start: here is no key for it. Where
    there are none the chain begins.
    """
    op.add_column("audit", sa.Column("proof", sa.Text()))
    op.add_column("audit", sa.Column("origin", sa.Text()))
    op.add_column("audit", sa.Column("hash", sa.String(64)))
    op.create_index("ix_audit_actor", "audit", ["actor", "seq"])
    op.create_table(
        "audit_head",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit_head"),
        sa.CheckConstraint("number = 1", name=op.f("ck_audit_head_one_row")),
    )
    if not op.get_bind().scalar(sa.text("SELECT count(*) FROM audit")):
        columns = map(sa.column, ("number", "seq", "hash"))
        op.bulk_insert(
            sa.table("audit_head", *columns), [{"number": 1, "seq": 0, "hash": "0" * 64}]
        )
    for statement in APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    """Passwords, codes, invites, groups and the chain are forgotten; users, keys and the audit's
    entries stay. Refuses while a key has a limit that an older Desk would not hold it to.
    """
    bind = op.get_bind()
    limited = bind.scalar(
        sa.text(
            "SELECT count(*) FROM user_key WHERE expires_at IS NOT NULL OR verify_required"
            " OR CAST(sources AS VARCHAR) != '[]'"
        )
    )
    if limited:
        raise RuntimeError(f"{limited} keys expire or are limited: remove them first")
    for statement in WRITABLE[bind.dialect.name]:
        op.execute(statement)
    for table in ("audit_head", "membership", "group", "invite", "recovery_code", "codes"):
        op.drop_table(table)
    op.drop_table("password")
    op.drop_index("ix_audit_actor", "audit")
    for column in ("proof", "origin", "hash"):
        op.drop_column("audit", column)
    op.drop_index("uq_user_key_user_id_name", "user_key")
    for column in ("expires_at", "sources", "verify_required", "last_used_at", "last_used_from"):
        op.drop_column("user_key", column)
    op.execute("ALTER TABLE user_key RENAME COLUMN name TO comment")
    op.drop_column("user", "source")
