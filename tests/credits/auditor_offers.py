"""Vouchers, recurring allowances and grants dated ahead, as the auditor sees them: from docs/ledger.md, in days."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from apps.core.errors import InvalidRequest
from apps.credits.errors import VoucherNotFound, VoucherNotUsable, VoucherRedeemed
from tests.credits.auditor import NEVER, Auditor, Posted

DAYS = {"daily": 1, "weekly": 7}


@dataclass(eq=False)
class Code:
    """A voucher. `expires` is the day of the code's end, `last_days` the life of its credits."""

    amount: int
    kind: str
    max_uses: int
    is_ours_alone: bool
    expires: int
    last_days: int
    is_withdrawn: bool = False
    redeemed_by: set[str] = field(default_factory=set)


@dataclass(eq=False)
class Planned:
    """A grant dated ahead; `dated` is the number of when it was planned."""

    amount: int
    kind: str
    effective: int
    expires: int
    dated: int
    entry: Posted | None = None
    is_cancelled: bool = False


@dataclass
class Allowance:
    """A team's allowance: `done` periods since the anchor's day are behind it."""

    is_enabled: bool = False
    amount: int = 0
    period: str = ""
    rolls_over: bool = True
    anchor: int = 0
    dated: int = 0
    done: int = 0

    def day(self, number: int) -> int:
        return self.anchor + number * DAYS[self.period]


class Offers:
    """What one team was promised."""

    def __init__(self, auditor: Auditor) -> None:
        self.auditor = auditor
        self.allowance = Allowance()
        self.planned: list[Planned] = []

    def redeem(self, code: Code, who: str) -> Posted | None:
        """`who` is us or them; what they get is none of the auditor's business."""
        if who in code.redeemed_by:
            raise VoucherRedeemed
        if code.is_ours_alone and who != "us":
            raise VoucherNotFound
        is_over = code.is_withdrawn or code.expires <= self.auditor.today
        if is_over or len(code.redeemed_by) >= code.max_uses:
            raise VoucherNotUsable
        code.redeemed_by.add(who)
        if who != "us":
            return None
        expires = NEVER if code.last_days == NEVER else self.auditor.today + code.last_days
        return self._give(code.amount, code.kind, expires)

    def configure(self, enabled: bool, amount: int, period: str, rolls_over: bool) -> None:
        found = self.allowance
        if enabled:
            if not found.is_enabled or found.period != period:
                found.anchor, found.done, found.dated = self.auditor.today, 0, self.auditor.next_number()
            found.amount, found.period = amount, period
        found.rolls_over, found.is_enabled = rolls_over, enabled

    def refill(self) -> list[Posted]:
        """Each period that has gone by, but for credits that would be gone by now."""
        found = self.allowance
        posted = []
        while found.is_enabled and found.day(found.done + 1) <= self.auditor.today:
            found.done += 1
            expires = NEVER if found.rolls_over else found.day(found.done + 1)
            if expires > self.auditor.today:
                posted.append(self._give(found.amount, "subscription", expires, found.dated))
        return posted

    def schedule(self, amount: int, kind: str, ahead: int, days: int) -> Planned:
        effective = self.auditor.today + ahead
        expires = NEVER if days == NEVER else effective + days
        self.planned.append(Planned(amount, kind, effective, expires, self.auditor.next_number()))
        return self.planned[-1]

    def cancel(self, planned: Planned) -> None:
        if planned.entry is not None:
            raise InvalidRequest
        planned.is_cancelled = True

    def post_planned(self) -> list[Posted]:
        return list(self._post_planned())

    def _post_planned(self) -> Iterator[Posted]:
        for each in sorted(self.planned, key=lambda each: (each.effective, each.dated)):
            if each.entry is None and not each.is_cancelled and each.effective <= self.auditor.today:
                if each.expires <= self.auditor.today:
                    # Nobody could spend them any more: dropped, not given.
                    each.is_cancelled = True
                    continue
                each.entry = self._give(each.amount, each.kind, each.expires, each.dated)
                yield each.entry

    def _give(self, amount: int, kind: str, expires: int, dated: int | None = None) -> Posted:
        entry = self.auditor.general.post("grant", amount)
        entry.lot = self.auditor.general.add_lot(kind, expires, amount, dated=dated)
        return entry
