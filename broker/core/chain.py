"""The audit's chain: each entry is tied to the one before it with a key that is not in the database,
so that who can write the database alone can change nothing of the past unseen.
"""

from __future__ import annotations

import hmac
import json
from datetime import UTC
from typing import TYPE_CHECKING

from broker.core.model import AuditHead, Verification

if TYPE_CHECKING:
    from broker.core.model import AuditEntry

#: What the first entry is tied to.
BEGINNING = AuditHead(seq=0, hash="0" * 64)

#: The entries by which the broker tells of the chain itself: that it begins here and holds what was
#: there before, or that it is not whole up to here.
BEGUN, BROKEN = "audit.begin", "audit.broken"


class Chain:
    """Ties entries together with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.begun = False
        """Whether the note of the last entry is sealed, also where there is none yet."""

    def seal(self, last: AuditHead) -> str:
        """What is noted of the last entry, in hex digits. Who has no key can note no other entry as
        the last one, though each has its own hash.
        """
        said = json.dumps(["last", last.seq, last.hash], separators=(",", ":"))
        return hmac.digest(self._key, said.encode(), "sha256").hex()

    def notes(self, last: AuditHead, note: AuditHead) -> bool:
        """Whether the note, whose hash is a seal, is of that entry."""
        if last == note == BEGINNING and not self.begun:
            return True
        return last.seq == note.seq and hmac.compare_digest(self.seal(last), note.hash)

    def link(self, previous: str, entry: AuditEntry) -> str:
        """The `hash` of an entry that follows the one with the hash `previous`, in hex digits:
        HMAC-SHA256 over that and all fields of the entry but `hash`, as JSON without spaces.
        """
        fields = [
            previous,
            entry.seq,
            entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
            entry.actor,
            entry.proof,
            entry.origin,
            entry.action,
            entry.subject,
            entry.detail,
        ]
        said = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hmac.digest(self._key, said.encode(), "sha256").hex()

    def holds(self, previous: str, entry: AuditEntry) -> bool:
        """Whether the entry is as it was written, behind that one."""
        return entry.hash is not None and hmac.compare_digest(
            self.link(previous, entry), entry.hash
        )


class Walk:
    """A look at the entries one after the other, from behind `start` on, until one is wrong."""

    def __init__(self, chain: Chain, start: AuditHead) -> None:
        self._chain = chain
        self._entries = 0
        self._problem: str | None = None
        self.last = start

    def step(self, entry: AuditEntry) -> bool:
        """Go on to the entry, which is the next one there is; False when it is wrong."""
        self._problem = self._wrong(entry)
        if self._problem is None:
            self._entries += 1
            self.last = AuditHead(seq=entry.seq, hash=entry.hash or "")
        return self._problem is None

    def end(self, note: AuditHead) -> Verification:
        """What was found, where no more entries are there or one was wrong; `note` was read after
        the last of them.
        """
        if self._problem is None and not self._chain.notes(self.last, note):
            self._problem = self._torn(note)
        return Verification(entries=self._entries, head=self.last, problem=self._problem)

    def _wrong(self, entry: AuditEntry) -> str | None:
        seq, before = entry.seq, self.last.seq
        if not self._chain.holds(self.last.hash, entry):
            if seq == before + 1:
                return (
                    f"Entry {seq} is not what was written there: it was changed, inserted or moved,"
                    " or the audit's key is another one."
                )
            one, last = f"Entry {before + 1} is", f"Entries {before + 1} to {seq - 1} are"
            return f"{one if seq == before + 2 else last} missing, or entry {seq} was changed."
        if entry.action == BROKEN:
            return (
                f"Entry {seq} says that what is before it is not whole: {entry.detail.get('why')}"
            )
        return None

    def _torn(self, note: AuditHead) -> str:
        seq = self.last.seq
        if note.seq > seq:
            return f"The audit ends at entry {seq}, and entry {note.seq} was written: the end is missing."
        if note.seq < seq:
            return f"Entry {note.seq} was noted as the last one, and entry {seq} is there."
        return f"Entry {seq} is not what was noted as the last one."
