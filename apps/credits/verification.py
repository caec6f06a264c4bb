"""What must hold in the ledger, re-derived from its entries and the uses of its grants.

Each check is a few aggregates over whole tables; only what differs leaves the database. The one exception
streams every side of every entry in order, because each must follow from the one before.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from apps.core import append_only
from apps.core.verification import Difference, compare, each
from apps.credits import periods, sealing
from apps.credits.models import (
    EXPIRED_ID,
    ISSUED_ID,
    REVENUE_ID,
    SYSTEM_ACCOUNTS,
    Account,
    Entry,
    Grant,
    GrantUse,
    Hold,
)

Kind = Entry.Kind
_OWNED = ~Q(pk__in=SYSTEM_ACCOUNTS)


def accounts_follow_from_entries() -> Iterator[Difference]:
    """posted, allocated, used and seq by both sides of all entries; debt by what lots did not cover."""
    posted: Counter[int] = Counter()
    used: Counter[int] = Counter()
    sides: Counter[int] = Counter()
    for side, sign in (("credit_account", 1), ("debit_account", -1)):
        totals = Entry.objects.order_by().values_list(side, "kind").annotate(Sum("amount_micros"), Count("pk"))
        for account_id, kind, amount, count in totals.iterator():
            posted[account_id] += sign * amount
            sides[account_id] += count
            if kind in (Kind.CHARGE, Kind.REFUND):
                used[account_id] -= sign * amount
    lots = _sums(Grant.objects.values_list("account"), "amount_micros")
    lots.subtract(_sums(GrantUse.objects.values_list("grant__account"), "amount_micros"))
    for account in Account.objects.filter(_OWNED).iterator():
        derived = {
            "posted_micros": posted[account.pk],
            "allocated_micros": posted[account.pk] + used[account.pk],
            "used_micros": used[account.pk],
            "debt_micros": lots[account.pk] - posted[account.pk],
            "seq": sides[account.pk],
        }
        for name, expected in derived.items():
            if getattr(account, name) != expected:
                yield Difference(f"account.{name}", f"account:{account.pk}", expected, getattr(account, name))


def held_is_the_sum_of_open_holds() -> Iterator[Difference]:
    """held = sum of open holds."""
    open_holds = Coalesce(Sum("holds__amount_micros", filter=Q(holds__state=Hold.State.OPEN)), 0)
    return compare(Account.objects.filter(_OWNED), kind="account", derived={"held_micros": open_holds})


def posted_is_what_lots_have_less_debt() -> Iterator[Difference]:
    """posted = sum of what remains of the grants - debt, by the stored columns alone."""
    remaining = Coalesce(Sum("grants__remaining_micros"), 0) - F("debt_micros")
    return compare(
        Account.objects.filter(_OWNED),
        kind="account",
        check="account.lots_less_debt",
        derived={"posted_micros": remaining},
    )


def entries_follow_each_other() -> Iterator[Difference]:
    """Per account, entries are numbered 1, 2, 3 … and each running balance follows from the one before."""
    sides = _sides("credit", F("amount_micros")).union(_sides("debit", -F("amount_micros")), all=True)
    current, seq, balance = 0, 0, 0
    for account_id, found_seq, found_balance, change, pk in sides.order_by("side_account", "side_seq").iterator():
        if account_id != current:
            current, seq, balance = account_id, 0, 0
        if found_seq != seq + 1:
            yield Difference("entry.seq", f"entry:{pk} of account:{account_id}", seq + 1, found_seq)
        if found_balance != balance + change:
            yield Difference(
                "entry.balance_micros", f"entry:{pk} of account:{account_id}", balance + change, found_balance
            )
        seq = seq + 1 if found_seq is None else found_seq
        balance = balance + change if found_balance is None else found_balance


def entries_join_the_right_accounts() -> Iterator[Difference]:
    """By its kind an entry moves credits from or to one system account, and to or from an owned one."""
    system_side = (
        Q(kind=Kind.GRANT, debit_account=ISSUED_ID)
        | Q(kind=Kind.CHARGE, credit_account=REVENUE_ID)
        | Q(kind=Kind.REFUND, debit_account=REVENUE_ID)
        | Q(kind__in=[Kind.TAKE_BACK, Kind.ADJUST], credit_account=ISSUED_ID)
        | Q(kind=Kind.EXPIRE, credit_account=EXPIRED_ID)
    )
    between_owned = Q(kind__in=[Kind.ALLOCATE, Kind.RECLAIM])
    both_system = Q(debit_account__in=SYSTEM_ACCOUNTS, credit_account__in=SYSTEM_ACCOUNTS)
    one_system = Q(debit_account__in=SYSTEM_ACCOUNTS) | Q(credit_account__in=SYSTEM_ACCOUNTS)
    return each(
        Entry.objects.exclude(system_side & ~both_system).exclude(between_owned & ~one_system),
        check="entry.accounts",
        kind="entry",
        expected="the accounts of its kind",
        found="kind",
    )


def system_accounts_carry_nothing() -> Iterator[Difference]:
    """One global balance would serialise all tenants: system accounts have neither balance nor numbers."""
    for account in Account.objects.filter(kind=Account.Kind.SYSTEM):
        for name in (
            "posted_micros",
            "held_micros",
            "debt_micros",
            "credit_line_micros",
            "allocated_micros",
            "used_micros",
            "seq",
        ):
            if getattr(account, name) != 0:
                yield Difference(f"account.{name}", f"account:{account.pk}", 0, getattr(account, name))
    for side in ("debit", "credit"):
        numbered = Q(**{f"{side}_seq__isnull": False}) | Q(**{f"{side}_balance_micros__isnull": False})
        yield from each(
            Entry.objects.filter(numbered, **{f"{side}_account__in": SYSTEM_ACCOUNTS}),
            check=f"entry.{side}_seq",
            kind="entry",
            expected="none on a system account",
            found=f"{side}_seq",
        )


def grants_have_what_their_uses_left() -> Iterator[Difference]:
    """remaining = amount - sum of uses."""
    left = F("amount_micros") - Coalesce(Sum("uses__amount_micros"), 0)
    return compare(Grant.objects.all(), kind="grant", derived={"remaining_micros": left})


def grants_are_as_large_as_their_entries() -> Iterator[Difference]:
    """A granting entry made one lot of its whole amount; a refund's lots are no larger than it."""
    with_lots = Entry.objects.annotate(in_lots=Coalesce(Sum("grants__amount_micros"), 0))
    wrong = Q(kind=Kind.GRANT) & ~Q(in_lots=F("amount_micros"))
    wrong |= Q(kind=Kind.REFUND, in_lots__gt=F("amount_micros"))
    wrong |= ~Q(kind__in=[Kind.GRANT, Kind.REFUND, Kind.ALLOCATE, Kind.RECLAIM]) & Q(in_lots__gt=0)
    return each(
        with_lots.filter(wrong), check="entry.grants", kind="entry", expected="lots of its amount", found="in_lots"
    )


def uses_fit_their_entries() -> Iterator[Difference]:
    """Uses of an entry sum to at most its amount (negative for a refund) and are of its own account's grants."""
    with_uses = Entry.objects.annotate(in_uses=Coalesce(Sum("uses__amount_micros"), 0))
    gives_back = Q(kind=Kind.REFUND)
    fits = gives_back & Q(in_uses__lte=0, in_uses__gte=-F("amount_micros"))
    fits |= ~gives_back & Q(in_uses__gte=0, in_uses__lte=F("amount_micros"))
    yield from each(
        with_uses.exclude(fits), check="entry.uses", kind="entry", expected="at most its amount", found="in_uses"
    )
    foreign = ~Q(grant__account=F("entry__debit_account")) & ~Q(grant__account=F("entry__credit_account"))
    yield from each(
        GrantUse.objects.filter(foreign),
        check="use.account",
        kind="use",
        expected="a grant of the entry's account",
        found="grant__account",
    )


def reversals_fit_their_entries() -> Iterator[Difference]:
    """Reversals sum to at most the original, and go the other way between the same accounts."""
    reversed_entries = Entry.objects.annotate(reversed_micros=Coalesce(Sum("reversals__amount_micros"), 0))
    yield from each(
        reversed_entries.filter(reversed_micros__gt=F("amount_micros")),
        check="entry.reversals",
        kind="entry",
        expected="at most its amount",
        found="reversed_micros",
    )
    opposite = Q(debit_account=F("reverses__credit_account"), credit_account=F("reverses__debit_account"))
    reversal = Q(kind=Kind.REFUND, reverses__kind=Kind.CHARGE) | Q(kind=Kind.TAKE_BACK, reverses__kind=Kind.GRANT)
    yield from each(
        Entry.objects.filter(Q(reverses__isnull=False) | Q(kind__in=[Kind.REFUND, Kind.TAKE_BACK])).exclude(
            opposite & reversal
        ),
        check="entry.reverses",
        kind="entry",
        expected="the opposite of what it reverses",
        found="kind",
    )


def jobs_are_charged_once() -> Iterator[Difference]:
    """At most one charge per job and account."""
    charges = Entry.objects.filter(kind=Kind.CHARGE).order_by().values("job", "debit_account")
    for row in charges.annotate(count=Count("pk")).filter(count__gt=1).iterator():
        yield Difference("job.charges", f"job:{row['job']} of account:{row['debit_account']}", 1, row["count"])


def triggers_exist() -> Iterator[Difference]:
    """Entries and uses cannot be changed or deleted."""
    for name in append_only.missing():
        yield Difference("trigger", name, "installed", "missing")


CHECKS = (
    accounts_follow_from_entries,
    held_is_the_sum_of_open_holds,
    posted_is_what_lots_have_less_debt,
    entries_follow_each_other,
    entries_join_the_right_accounts,
    system_accounts_carry_nothing,
    grants_have_what_their_uses_left,
    grants_are_as_large_as_their_entries,
    uses_fit_their_entries,
    reversals_fit_their_entries,
    jobs_are_charged_once,
    sealing.blocks_hold_what_was_sealed,
    periods.periods_are_as_they_were_closed,
    triggers_exist,
)


def accounts() -> int:
    return Account.objects.filter(_OWNED).count()


def entries() -> int:
    return Entry.objects.count()


def _sums(groups: QuerySet[Any, Any], column: str) -> Counter[int]:
    return Counter(dict(groups.order_by().annotate(total=Sum(column)).iterator()))


def _sides(side: str, change: Any) -> QuerySet[Any, Any]:
    return (
        Entry.objects.order_by()
        .exclude(**{f"{side}_account__in": SYSTEM_ACCOUNTS})
        .annotate(
            side_account=F(f"{side}_account"),
            side_seq=F(f"{side}_seq"),
            side_balance=F(f"{side}_balance_micros"),
            change=change,
        )
        .values_list("side_account", "side_seq", "side_balance", "change", "pk")
    )
