"""What was changed, when, by whom: written at the end of each transaction, chained, read here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, func, insert, select, update

from broker.core.chain import BEGINNING, BEGUN, BROKEN
from broker.core.model import AuditEntry, AuditHead
from broker.db import rows
from broker.db.tables import audit, audit_head, user

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from broker.core.chain import Chain
    from broker.db.transaction import Transaction

#: Entries that are chained at a time where they were not.
_AT_A_TIME = 1000

#: Entries, the newest ones, in which homes are looked for: a second's work at most.
_HOMES_WITHIN = 1_000_000

_NO_NOTE = "the note of the last entry was gone."
_WRONG_NOTE = "the note of the last entry was changed."


async def write(
    connection: AsyncConnection, chain: Chain, told: Sequence[Mapping[str, Any]]
) -> None:
    """Append the entries. The head is held from here to the transaction's end, which is near."""
    newest = select(func.max(audit.c.seq)).scalar_subquery()
    found = await connection.execute(
        select(audit_head, newest.label("newest")).with_for_update(of=audit_head)
    )
    row = found.one_or_none()
    why = None
    if row is None:
        last = await read_last(connection) or BEGINNING
        await _note(connection, chain, last)
        seq, why = last.seq, _NO_NOTE
    else:
        # Read behind the lock: who had it may have written meanwhile. Where the entry is gone, what
        # is tied to its note is for a verification to find, as is one that somebody put behind it.
        hash_ = await connection.scalar(select(audit.c.hash).where(audit.c.seq == row.seq))
        last = AuditHead(seq=row.seq, hash=hash_ or (BEGINNING.hash if row.seq == 0 else row.hash))
        seq = max(row.seq, row.newest or 0)
        if (hash_ or row.seq == 0) and not chain.notes(last, AuditHead(seq=row.seq, hash=row.hash)):
            why = _WRONG_NOTE
    if why is not None and told[0]["action"] != BROKEN:
        told = [_broken(told[0]["at"], why), *told]
    previous = last.hash
    values = []
    for one in told:
        seq += 1
        previous = chain.link(previous, AuditEntry(seq=seq, **one))
        values.append({**one, "seq": seq, "hash": previous})
    await connection.execute(insert(audit), values)
    note = chain.seal(AuditHead(seq=seq, hash=previous))
    await connection.execute(update(audit_head).values(seq=seq, hash=note))


def _broken(at: datetime, why: str) -> dict[str, Any]:
    return {
        "at": at,
        "actor": "broker",
        "proof": None,
        "origin": None,
        "action": BROKEN,
        "subject": "audit",
        "detail": {"why": why},
    }


async def open_chain(tx: Transaction, chain: Chain, *, new: bool) -> str | None:
    """Chain what no Desk has chained yet, where the key is `new`, and look at the end of the chain
    where it is not. Returns the sentence that was written into the audit when it is not whole.
    """
    chain.begun = not new
    why = await _wrong(tx, chain, new=new)
    if why is not None:
        tx.record(BROKEN, "audit", {"why": why})
    chain.begun = True
    return why


async def _wrong(tx: Transaction, chain: Chain, *, new: bool) -> str | None:
    note = await read_note(tx.connection)
    if note is None:
        chained = await _newest(tx.connection, chained=True)
        count, last = await _chain_rest(tx.connection, chain, chained)
        await _note(tx.connection, chain, last)
        if not new or chained is not None:
            return _NO_NOTE
        if count:
            tx.record(BEGUN, "audit", {"entries": count})
        return None
    why = await _torn(tx.connection, chain, note)
    if why is None and note == BEGINNING:
        begun = chain.seal(BEGINNING)
        await tx.connection.execute(update(audit_head).values(hash=begun))
    return "the audit's key was gone, and a new one was made." if why and new else why


async def _torn(connection: AsyncConnection, chain: Chain, note: AuditHead) -> str | None:
    """What is wrong with the last entry, in words; None: nothing is."""
    last = await _newest(connection)
    if last is None:
        return None if chain.notes(BEGINNING, note) else "all entries were gone."
    if last.seq != note.seq:
        return f"the last entry was {last.seq}, and entry {note.seq} was noted as the last one."
    before = await connection.scalar(
        select(audit.c.hash).where(audit.c.seq < last.seq).order_by(audit.c.seq.desc()).limit(1)
    )
    # What an entry that tells of a torn chain is tied to may be gone.
    if last.action != BROKEN and not chain.holds(before or BEGINNING.hash, last):
        return f"entry {last.seq} was changed, or the audit's key is another one."
    return None if chain.notes(_head(last), note) else _WRONG_NOTE


async def _chain_rest(
    connection: AsyncConnection, chain: Chain, last: AuditEntry | None
) -> tuple[int, AuditHead]:
    """Chain all entries behind `last`; returns how many, and the head."""
    head = BEGINNING if last is None else _head(last)
    count = 0
    set_hash = update(audit).where(audit.c.seq == bindparam("of")).values(hash=bindparam("link"))
    while page := await entries_after(connection, head.seq, limit=_AT_A_TIME):
        links = []
        for entry in page:
            head = AuditHead(seq=entry.seq, hash=chain.link(head.hash, entry))
            links.append({"of": entry.seq, "link": head.hash})
        await connection.execute(set_hash, links)
        count += len(page)
    return count, head


async def _note(connection: AsyncConnection, chain: Chain, last: AuditHead) -> None:
    values = {"number": 1, "seq": last.seq, "hash": chain.seal(last)}
    await connection.execute(insert(audit_head).values(values))


async def read_note(connection: AsyncConnection) -> AuditHead | None:
    """Which entry is noted as the last one, and the seal of that."""
    row = (await connection.execute(select(audit_head))).one_or_none()
    return None if row is None else AuditHead(seq=row.seq, hash=row.hash)


async def read_last(connection: AsyncConnection) -> AuditHead | None:
    """The last entry that is there."""
    last = await _newest(connection)
    return None if last is None else _head(last)


def _head(entry: AuditEntry) -> AuditHead:
    return AuditHead(seq=entry.seq, hash=entry.hash or "")


async def _newest(connection: AsyncConnection, *, chained: bool = False) -> AuditEntry | None:
    query = select(audit).order_by(audit.c.seq.desc()).limit(1)
    if chained:
        query = query.where(audit.c.hash.is_not(None))
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _entry(row)


async def entry(connection: AsyncConnection, seq: int) -> AuditEntry | None:
    row = (await connection.execute(select(audit).where(audit.c.seq == seq))).one_or_none()
    return None if row is None else _entry(row)


async def entries_after(
    connection: AsyncConnection, seq: int, *, limit: int
) -> Sequence[AuditEntry]:
    """Oldest first."""
    query = select(audit).where(audit.c.seq > seq).order_by(audit.c.seq).limit(limit)
    return await rows.values(await connection.execute(query), _entry)


async def entries(
    connection: AsyncConnection,
    *,
    limit: int,
    subject: str | None,
    actor: str | None,
    before: int | None,
) -> Sequence[AuditEntry]:
    """Newest first."""
    query = select(audit).order_by(audit.c.seq.desc()).limit(limit)
    if subject is not None:
        query = query.where(audit.c.subject == subject)
    if actor is not None:
        query = query.where(audit.c.actor == actor)
    if before is not None:
        query = query.where(audit.c.seq < before)
    return await rows.values(await connection.execute(query), _entry)


async def homes(
    connection: AsyncConnection, *, since: datetime, limit: int
) -> Sequence[tuple[str, str, datetime]]:
    """Accounts, where they logged in from, and when last, the latest first."""
    newest = select(func.max(audit.c.seq)).scalar_subquery()
    last = func.max(audit.c.at).label("last")
    query = (
        select(user.c.name, audit.c.origin, last)
        .join(user, (user.c.id == audit.c.subject) & user.c.removed_at.is_(None))
        .where(audit.c.action == "login", audit.c.origin.is_not(None), audit.c.at >= since)
        .where(audit.c.seq > newest - _HOMES_WITHIN)
        .group_by(user.c.name, audit.c.origin)
        .order_by(last.desc())
        .limit(limit)
    )
    return await rows.values(
        await connection.execute(query), lambda row: (row.name, row.origin, row.last)
    )


def _entry(row: Row[*tuple[Any, ...]]) -> AuditEntry:
    return AuditEntry(
        seq=row.seq,
        at=row.at,
        actor=row.actor,
        proof=row.proof,
        origin=row.origin,
        action=row.action,
        subject=row.subject,
        detail=row.detail,
        hash=row.hash,
    )
