"""What the ledger should do, said again in plain Python: a second opinion on every reply and balance.

Written from docs/ledger.md, not from `apps.credits.ledger`; no database, no SQL, no locks. Time is a number of days.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from apps.core.errors import IdempotencyConflict
from apps.credits.errors import (
    CreditLineInUse,
    EntryNotReversible,
    HoldClosed,
    InsufficientCredits,
    PoolTooSmall,
    ReclaimExceedsAllocation,
    ReversalExceedsEntry,
)

PRIORITY = {"promotional": 10, "goodwill": 20, "subscription": 50, "paid": 50}
NEVER = 10**9
GRACE_DAYS = 5


@dataclass(eq=False)
class Lot:
    """Credits of one grant. `expires` on that day, NEVER if not; `source` is the pool's lot that it came from.

    `dated` is the number of when that day was fixed, where it was before the lot was made.
    """

    kind: str
    expires: int
    number: int
    remaining: int
    source: "Lot | None" = None
    dated: int | None = None

    @property
    def instant(self) -> tuple[int, int]:
        """Of those that expire on one day, the first dated goes first, a part of a lot with the whole."""
        if self.source is not None:
            return self.source.instant
        return self.expires, self.number if self.dated is None else self.dated

    @property
    def rank(self) -> tuple[int, tuple[int, int], int]:
        instant = (NEVER, 0) if self.expires == NEVER else self.instant
        return PRIORITY[self.kind], instant, self.number


@dataclass(eq=False)
class Posted:
    """An entry: what it took from lots in burn order, what of it was reversed and returned."""

    kind: str
    amount: int
    account: "Account"
    external_id: str | None = None
    lot: Lot | None = None
    taken: dict[Lot, int] = field(default_factory=dict)
    reversed: int = 0
    reversals: "dict[str, Posted]" = field(default_factory=dict)


@dataclass
class Part:
    """What a job holds of one wallet, and since what day."""

    amount: int
    opened: int


@dataclass
class Held:
    """A job's holds. `charges` are what the job was charged by, once it was."""

    parts: "dict[Account, Part]"
    is_open: bool = True
    charges: list[Posted] = field(default_factory=list)

    @property
    def amount(self) -> int:
        return sum(part.amount for part in self.parts.values())


@dataclass
class Charged:
    """What a charge answers."""

    entries: list[Posted]
    charged: int
    uncollected: int


class Account:
    """A wallet or a pool."""

    def __init__(self, auditor: "Auditor", name: str, credit_line: int = 0) -> None:
        self.auditor = auditor
        self.name = name
        self.credit_line = credit_line
        self.posted = self.debt = self.allocated = self.used = self.seq = 0
        self.lots: list[Lot] = []

    @property
    def parts(self) -> list[Part]:
        holds = self.auditor.holds.values()
        return [held.parts[self] for held in holds if held.is_open and self in held.parts]

    @property
    def held(self) -> int:
        return sum(part.amount for part in self.parts)

    @property
    def available(self) -> int:
        return self.posted - self.held + self.credit_line

    @property
    def in_burn_order(self) -> list[Lot]:
        return sorted(self.lots, key=lambda lot: lot.rank)

    def post(self, kind: str, change: int, external_id: str | None = None, *, is_use: bool = False) -> Posted:
        self.posted += change
        if is_use:
            self.used -= change
        else:
            self.allocated += change
        self.seq += 1
        return Posted(kind, abs(change), self, external_id)

    def add_lot(
        self, kind: str, expires: int, amount: int, source: Lot | None = None, dated: int | None = None
    ) -> Lot:
        lot = Lot(kind, expires, self.auditor.next_number(), amount, source, dated)
        self.lots.append(lot)
        paid = min(self.debt, amount)
        self.debt -= paid
        lot.remaining -= paid
        return lot

    def burn(self, entry: Posted, amount: int, lots: list[Lot]) -> None:
        for lot in lots:
            used = min(lot.remaining, amount)
            if used:
                lot.remaining -= used
                entry.taken[lot] = used
                amount -= used
        self.debt += amount

    def usable(self, since: int) -> list[Lot]:
        """Lots that had not expired that day, in burn order."""
        return [lot for lot in self.in_burn_order if lot.expires > since]

    def due(self) -> list[tuple[Lot, int]]:
        """What has expired: of a lot all that older holds, burning in order, do not reach."""
        left = {lot: lot.remaining for lot in self.in_burn_order}
        found = []
        for lot in sorted(self.lots, key=lambda lot: lot.instant):
            if lot.expires > self.auditor.today:
                continue
            reached = sum(part.amount for part in self.parts if part.opened < lot.expires)
            for earlier, amount in left.items():
                if earlier is lot:
                    break
                reached -= amount
            gone = left[lot] - max(0, min(reached, left[lot]))
            left[lot] -= gone
            if gone:
                found.append((lot, gone))
        return found

    def settle(self) -> list[tuple[Lot, int]]:
        due = self.due()
        for lot, amount in due:
            self.post("expire", -amount)
            lot.remaining -= amount
        return due

    def unsettle(self, due: list[tuple[Lot, int]]) -> None:
        for lot, amount in due:
            lot.remaining += amount
            self.posted += amount
            self.allocated += amount
            self.seq -= 1


class Auditor:
    """A team's wallets and its organization's pool. Each operation returns what the ledger should, or raises what it
    should."""

    def __init__(self, credit_line: int) -> None:
        self.today = 0
        self.numbers = 0
        self.holds: dict[str, Held] = {}
        self.general = Account(self, "", credit_line)
        self.pool = Account(self, "pool")
        self.restricted: dict[str, Account] = {}
        self.granted: dict[tuple[bool, str], Posted] = {}
        self.done: dict[tuple[str, str], Posted] = {}
        self.external_ids: set[str] = set()

    @property
    def accounts(self) -> list[Account]:
        return [self.general, *self.restricted.values(), self.pool]

    def next_number(self) -> int:
        self.numbers += 1
        return self.numbers

    def grant(self, key: str, amount: int, kind: str, days: int, external_id: str | None, to: str = "") -> Posted:
        """`to` is "pool" or a restriction, the general wallet without."""
        if to not in ("", "pool"):
            self.restricted.setdefault(to, Account(self, to))
        account = {"": self.general, "pool": self.pool}.get(to) or self.restricted[to]
        name = (to == "pool", key)
        if name in self.granted:
            first = self.granted[name]
            assert first.lot is not None
            return self._same(
                first,
                (amount, kind, external_id, account),
                (first.amount, first.lot.kind, first.external_id, first.account),
            )
        self._claim(external_id)
        entry = self.granted[name] = account.post("grant", amount, external_id)
        entry.lot = account.add_lot(kind, NEVER if days == NEVER else self.today + days, amount)
        return entry

    def hold(self, job: str, job_type: str, amount: int) -> Held:
        if job in self.holds:
            return self._still_open(job)
        spending = self._spending(job_type)
        with self._settled(spending):
            shares = self._shares(amount, [wallet.available for wallet in spending])
            if self.general.available < 0 and not any(shares):
                raise InsufficientCredits
        parts = {
            wallet: Part(share, self.today)
            for wallet, share in zip(spending, shares, strict=True)
            if share or wallet is self.general
        }
        self.holds[job] = Held(parts)
        return self.holds[job]

    def extend(self, job: str, job_type: str, to: int) -> Held:
        if job not in self.holds:
            return self.hold(job, job_type, to)
        held = self._still_open(job)
        spending = self._spending(job_type)
        with self._settled(spending):
            had = [held.parts[wallet].amount if wallet in held.parts else 0 for wallet in spending]
            if to >= held.amount:
                changes = self._shares(to - held.amount, [wallet.available for wallet in spending])
            else:
                given_back = self._shares(held.amount - to, list(reversed(had)))
                changes = [-share for share in reversed(given_back)]
        for wallet, change in zip(spending, changes, strict=True):
            if change:
                held.parts.setdefault(wallet, Part(0, self.today)).amount += change
        return held

    def release(self, job: str) -> int:
        held = self.holds.get(job)
        if held is None or not held.is_open:
            return 0
        held.is_open = False
        return held.amount

    def charge(self, job: str, job_type: str, amount: int) -> Charged:
        held = self.holds.get(job)
        if held is not None and not held.is_open:
            charged = sum(entry.amount for entry in held.charges)
            return Charged(held.charges, charged, max(0, amount - charged))
        spending = self._spending(job_type)
        for wallet in spending:
            wallet.settle()
        held = self.holds.setdefault(job, Held({self.general: Part(0, self.today)}))
        held.is_open = False
        left = amount
        for wallet in spending:
            part = held.parts.get(wallet, Part(0, self.today))
            take = min(left, max(part.amount, wallet.available))
            left -= take
            if take:
                entry = wallet.post("charge", -take, is_use=True)
                wallet.burn(entry, take, wallet.usable(part.opened))
                held.charges.append(entry)
        return Charged(held.charges, amount - left, left)

    def adjust(self, key: str, amount: int) -> Posted:
        with self._settled([self.general]):
            first = self.done.get(("adjust", key))
            if first is not None:
                return self._same(first, amount, first.amount)
            if self.general.posted - self.general.held < amount:
                raise InsufficientCredits
        entry = self.done["adjust", key] = self.general.post("adjust", -amount)
        self.general.burn(entry, amount, self.general.usable(self.today))
        return entry

    def allocate(self, key: str, amount: int) -> Posted:
        with self._settled([self.pool, self.general]):
            first = self.done.get(("allocate", key))
            if first is not None:
                return self._same(first, amount, first.amount)
            if amount > self.pool.posted - self.pool.held:
                raise PoolTooSmall
        entry = self.done["allocate", key] = self.pool.post("allocate", -amount)
        self.general.post("allocate", amount)
        self.pool.burn(entry, amount, self.pool.usable(self.today))
        for source, part in entry.taken.items():
            self.general.add_lot(source.kind, source.expires, part, source)
        return entry

    def reclaim(self, key: str, amount: int) -> Posted:
        with self._settled([self.pool, self.general]):
            first = self.done.get(("reclaim", key))
            if first is not None:
                return self._same(first, amount, first.amount)
            ours = [lot for lot in self.general.usable(self.today) if lot.source in self.pool.lots]
            free = min(self.general.posted - self.general.held, sum(lot.remaining for lot in ours))
            if amount > max(0, free):
                raise ReclaimExceedsAllocation
        entry = self.done["reclaim", key] = self.general.post("reclaim", -amount)
        self.pool.post("reclaim", amount)
        self.general.burn(entry, amount, ours[::-1])
        paid = min(self.pool.debt, amount)
        self.pool.debt -= paid
        back = amount - paid
        for lot, part in entry.taken.items():
            assert lot.source is not None
            lot.source.remaining += min(back, part)
            back -= min(back, part)
        return entry

    def set_credit_line(self, amount: int) -> int:
        with self._settled([self.general]):
            before = self.general.credit_line
            if amount < min(before, self.general.held - self.general.posted):
                raise CreditLineInUse
        self.general.credit_line = amount
        return before

    def reverse(self, original: Posted, key: str, amount: int, external_id: str | None) -> Posted:
        if original.kind not in ("charge", "grant"):
            raise EntryNotReversible
        with self._settled([original.account]):
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
        account = original.account
        entry = account.post("refund", amount, external_id, is_use=True)
        paid_debt = min(account.debt, amount)
        account.debt -= paid_debt
        left = amount - paid_debt
        for lot in reversed(original.taken):
            returned = min(left, original.taken[lot])
            if returned == 0:
                continue
            original.taken[lot] -= returned
            left -= returned
            if lot.expires > self.today:
                lot.remaining += returned
            else:
                account.add_lot("goodwill", self.today + GRACE_DAYS, returned)
        if left:
            account.add_lot("goodwill", NEVER, left)
        return entry

    def _take_back(self, original: Posted, amount: int, external_id: str | None) -> Posted:
        account = original.account
        entry = account.post("take_back", -amount, external_id)
        free = max(0, sum(lot.remaining for lot in account.lots) - account.held)
        own = [lot for lot in account.lots if lot is original.lot]
        others = [lot for lot in account.usable(self.today) if lot is not original.lot]
        account.burn(entry, min(free, amount), own + others)
        account.debt += amount - min(free, amount)
        return entry

    def _spending(self, job_type: str) -> list[Account]:
        fitting = [account for name, account in self.restricted.items() if job_type in name.split(",")]
        return [*sorted(fitting, key=lambda account: account.name.count(",")), self.general]

    @contextmanager
    def _settled(self, accounts: list[Account]) -> Iterator[None]:
        """What has expired is posted first, unless the operation is refused."""
        posted = [(account, account.settle()) for account in accounts]
        try:
            yield
        except Exception:
            for account, due in posted:
                account.unsettle(due)
            raise

    def _shares(self, amount: int, most: list[int]) -> list[int]:
        shares = []
        for each in most:
            shares.append(min(amount, max(0, each)))
            amount -= shares[-1]
        if amount:
            raise InsufficientCredits
        return shares

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
