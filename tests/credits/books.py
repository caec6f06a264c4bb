"""What the tests of the ledger ask of it. Amounts are micros of a credit unless named credits."""

from datetime import timedelta
from typing import Any

from django.db.models import F

from apps.core.verification import Difference
from apps.credits import ledger
from apps.credits.models import Account, Allowance, Entry, Grant, GrantUse, Hold, ScheduledGrant, Voucher
from apps.credits.verification import CHECKS
from apps.teams.models import Team
from tests import make

CREDIT = 1_000_000


def wallet(team: Team) -> Account:
    return Account.objects.get(team=team, restriction="")


def figures(team: Team) -> dict[str, int]:
    """A wallet's balance in whole credits; a fraction would be a mistake of the test."""
    account = wallet(team)
    names = ("posted", "held", "debt", "allocated", "used")
    micros = {name: getattr(account, f"{name}_micros") for name in names}
    assert all(amount % CREDIT == 0 for amount in micros.values())
    return {name: amount // CREDIT for name, amount in micros.items()}


def give(team: Team, credits: int, *, key: str, **more: Any) -> Entry:
    return ledger.grant(team, amount_micros=credits * CREDIT, actor=make.TESTER, key=key, **more)


def hold(team: Team, credits: int, *, job: str) -> Hold:
    return ledger.hold(team, job=job, amount_micros=credits * CREDIT)


def charge(team: Team, credits: int, *, job: str) -> ledger.Charge:
    return ledger.charge(team, job=job, amount_micros=credits * CREDIT)


def spend(team: Team, credits: int, *, job: str = "job") -> Entry:
    """Hold and charge the same amount: the entry."""
    hold(team, credits, job=job)
    return Entry.objects.get(pk=charge(team, credits, job=job).entry_id)


def reverse(entry: Entry, credits: int, *, key: str, **more: Any) -> Entry:
    return ledger.reverse(entry, amount_micros=credits * CREDIT, actor=make.TESTER, key=key, reason="a test", **more)


def adjust(team: Team, credits: int, *, key: str) -> Entry:
    return ledger.adjust(team, amount_micros=credits * CREDIT, actor=make.TESTER, key=key, reason="a test")


def lots(team: Team) -> list[tuple[str, int]]:
    """Kind and remaining credits of each lot, in burn order."""
    found = Grant.objects.filter(account__team=team)
    return [(lot.kind, lot.remaining_micros // CREDIT) for lot in found]


def paid_by(entry: Entry) -> list[tuple[str, int]]:
    """Kind of lot and credits it paid of an entry, in the order recorded."""
    uses = GrantUse.objects.filter(entry=entry).order_by("id").select_related("grant")
    return [(use.grant.kind, use.amount_micros // CREDIT) for use in uses]


def pass_days(days: float) -> None:
    """Have that many days (and a minute, for what expires on a day's instant) gone by: all that is compared with the
    clock moves back by them."""
    by = timedelta(days=days, minutes=1)
    Account.objects.filter(next_expiry_at__isnull=False).update(next_expiry_at=F("next_expiry_at") - by)
    Grant.objects.filter(expires_at__isnull=False).update(expires_at=F("expires_at") - by)
    Hold.objects.update(opened_at=F("opened_at") - by)
    Voucher.objects.update(expires_at=F("expires_at") - by)
    Allowance.objects.update(anchor_at=F("anchor_at") - by, next_at=F("next_at") - by)
    ScheduledGrant.objects.update(effective_at=F("effective_at") - by, expires_at=F("expires_at") - by)


def rows() -> tuple[int, int, int, int]:
    """How many entries, holds, lots and uses there are: what a refused or repeated operation leaves alone."""
    return Entry.objects.count(), Hold.objects.count(), Grant.objects.count(), GrantUse.objects.count()


def ledger_differences() -> list[Difference]:
    """What `ledger_verify` would print of the ledger itself: these tests hold and charge for jobs of no row."""
    return [difference for check in CHECKS for difference in check()]
