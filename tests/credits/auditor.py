"""What the ledger should do, said again in plain Python: a second opinion on every reply and balance.

Written from docs/ledger.md, not from `apps.credits.ledger`; no database, no SQL, no locks.
"""

from dataclasses import dataclass, field

from apps.core.errors import IdempotencyConflict
from apps.credits.errors import EntryNotReversible, HoldClosed, InsufficientCredits, ReversalExceedsEntry

PRIORITY = {"promotional": 10, "goodwill": 20, "subscription": 50, "paid": 50}
NEVER = 10**9


@dataclass(eq=False)
class Lot:
    """Credits of one grant. `expires` in days from now, NEVER if not."""

    kind: str
    expires: int
    number: int
    remaining: int

    @property
    def rank(self) -> tuple[int, int, int]:
        return PRIORITY[self.kind], self.expires, self.number


@dataclass(eq=False)
class Posted:
    """An entry: what it took from lots in burn order, what of it was reversed and returned."""

    kind: str
    amount: int
    external_id: str | None = None
    lot: Lot | None = None
    taken: dict[Lot, int] = field(default_factory=dict)
    reversed: int = 0
    reversals: "dict[str, Posted]" = field(default_factory=dict)


@dataclass
class Held:
    """A job's hold. `charge` is what the job was charged by, once it was."""

    amount: int
    is_open: bool = True
    charge: Posted | None = None


@dataclass
class Charged:
    """What a charge answers."""

    entry: Posted | None
    charged: int
    uncollected: int


class Auditor:
    """One wallet. Each operation returns what the ledger should, or raises what it should."""

    def __init__(self, credit_line: int) -> None:
        self.credit_line = credit_line
        self.posted = self.debt = self.allocated = self.used = self.seq = 0
        self.lots: list[Lot] = []
        self.holds: dict[str, Held] = {}
        self.grants: dict[str, Posted] = {}
        self.adjustments: dict[str, Posted] = {}
        self.external_ids: set[str] = set()

    @property
    def held(self) -> int:
        return sum(held.amount for held in self.holds.values() if held.is_open)

    @property
    def available(self) -> int:
        return self.posted - self.held + self.credit_line

    def grant(self, key: str, amount: int, kind: str, expires: int, external_id: str | None) -> Posted:
        if key in self.grants:
            first = self.grants[key]
            assert first.lot is not None
            return self._same(first, (amount, kind, external_id), (first.amount, first.lot.kind, first.external_id))
        self._claim(external_id)
        entry = self.grants[key] = self._post("grant", amount, external_id)
        self.allocated += amount
        entry.lot = self._new_lot(kind, expires, amount)
        paid_debt = min(self.debt, amount)
        self.debt -= paid_debt
        entry.lot.remaining -= paid_debt
        return entry

    def hold(self, job: str, amount: int) -> Held:
        if job in self.holds:
            return self._still_open(job)
        if amount > self.available:
            raise InsufficientCredits
        self.holds[job] = Held(amount)
        return self.holds[job]

    def extend(self, job: str, to: int) -> Held:
        if job not in self.holds:
            return self.hold(job, to)
        held = self._still_open(job)
        if to - held.amount > max(0, self.available):
            raise InsufficientCredits
        held.amount = to
        return held

    def release(self, job: str) -> int:
        held = self.holds.get(job)
        if held is None or not held.is_open:
            return 0
        held.is_open = False
        return held.amount

    def charge(self, job: str, amount: int) -> Charged:
        held = self.holds.setdefault(job, Held(0))
        if not held.is_open:
            first = held.charge
            return Charged(first, first.amount, max(0, amount - first.amount)) if first else Charged(None, 0, amount)
        take = min(amount, max(held.amount, self.available + held.amount))
        held.is_open = False
        if take:
            held.charge = self._post("charge", -take)
            self.used += take
            self._burn(held.charge, take, self._in_burn_order())
        return Charged(held.charge, take, amount - take)

    def adjust(self, key: str, amount: int) -> Posted:
        if key in self.adjustments:
            first = self.adjustments[key]
            return self._same(first, amount, first.amount)
        if self.posted - self.held < amount:
            raise InsufficientCredits
        entry = self.adjustments[key] = self._post("adjust", -amount)
        self.allocated -= amount
        self._burn(entry, amount, self._in_burn_order())
        return entry

    def reverse(self, original: Posted, key: str, amount: int, external_id: str | None) -> Posted:
        if original.kind not in ("charge", "grant"):
            raise EntryNotReversible
        if key in original.reversals:
            first = original.reversals[key]
            return self._same(first, (amount, external_id), (first.amount, first.external_id))
        if amount <= 0 or original.reversed + amount > original.amount:
            raise ReversalExceedsEntry
        self._claim(external_id)
        write = self._refund if original.kind == "charge" else self._take_back
        entry = original.reversals[key] = write(original, amount, external_id)
        original.reversed += amount
        return entry

    def _refund(self, original: Posted, amount: int, external_id: str | None) -> Posted:
        entry = self._post("refund", amount, external_id)
        self.used -= amount
        paid_debt = min(self.debt, amount)
        self.debt -= paid_debt
        left = amount - paid_debt
        for lot in reversed(original.taken):
            returned = min(left, original.taken[lot])
            original.taken[lot] -= returned
            lot.remaining += returned
            left -= returned
        if left:
            self._new_lot("goodwill", NEVER, left)
        return entry

    def _take_back(self, original: Posted, amount: int, external_id: str | None) -> Posted:
        entry = self._post("take_back", -amount, external_id)
        self.allocated -= amount
        free = max(0, sum(lot.remaining for lot in self.lots) - self.held)
        own_first = sorted(self._in_burn_order(), key=lambda lot: lot is not original.lot)
        self._burn(entry, min(free, amount), own_first)
        self.debt += amount - min(free, amount)
        return entry

    def _post(self, kind: str, change: int, external_id: str | None = None) -> Posted:
        self.posted += change
        self.seq += 1
        return Posted(kind, abs(change), external_id)

    def _burn(self, entry: Posted, amount: int, lots: list[Lot]) -> None:
        for lot in lots:
            used = min(lot.remaining, amount)
            if used:
                lot.remaining -= used
                entry.taken[lot] = used
                amount -= used
        self.debt += amount

    def _in_burn_order(self) -> list[Lot]:
        return sorted(self.lots, key=lambda lot: lot.rank)

    def _new_lot(self, kind: str, expires: int, amount: int) -> Lot:
        lot = Lot(kind, expires, len(self.lots), amount)
        self.lots.append(lot)
        return lot

    def _still_open(self, job: str) -> Held:
        if not self.holds[job].is_open:
            raise HoldClosed
        return self.holds[job]

    def _claim(self, external_id: str | None) -> None:
        if external_id in self.external_ids:
            raise IdempotencyConflict
        if external_id is not None:
            self.external_ids.add(external_id)

    def _same(self, first: Posted, content: object, first_content: object) -> Posted:
        if content != first_content:
            raise IdempotencyConflict
        return first
