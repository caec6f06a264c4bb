"""What must hold in the ledger, re-derived from its entries and the uses of its grants.

Each check is a few aggregates over whole tables; only what differs leaves the database. The one exception
streams every side of every entry in order, because each must follow from the one before.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from apps.core import append_only, clock
from apps.core.verification import Difference, compare, each
from apps.credits import periods, sealing
from apps.credits.ledger import expiry
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
_SWEPT_WITHIN_S = 86_400.0
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
    """A grant or an allocation made lots of its whole amount; a refund's lots are no larger than it."""
    with_lots = Entry.objects.annotate(in_lots=Coalesce(Sum("grants__amount_micros"), 0))
    makes_lots = [Kind.GRANT, Kind.ALLOCATE]
    wrong = Q(kind__in=makes_lots) & ~Q(in_lots=F("amount_micros"))
    wrong |= Q(kind=Kind.REFUND, in_lots__gt=F("amount_micros"))
    wrong |= ~Q(kind__in=[*makes_lots, Kind.REFUND]) & Q(in_lots__gt=0)
    return each(
        with_lots.filter(wrong), check="entry.grants", kind="entry", expected="lots of its amount", found="in_lots"
    )


def uses_fit_their_entries() -> Iterator[Difference]:
    """Uses of an entry are of its accounts' grants and fit its amount: what is taken of the debited side, and on the
    credited side debt that is paid, or what is given back (negative). What expires or moves is all of lots."""
    amount = F("amount_micros")
    taken, kept = _used_of("debit_account"), _used_of("credit_account")
    gives_back = Q(kind__in=[Kind.REFUND, Kind.RECLAIM])
    fits = ~Q(kind__in=[Kind.EXPIRE, Kind.ALLOCATE, Kind.RECLAIM]) & Q(taken__gte=0, taken__lte=amount)
    fits |= Q(kind__in=[Kind.EXPIRE, Kind.ALLOCATE, Kind.RECLAIM], taken=amount)
    fits &= (gives_back & Q(kept__lte=0, kept__gte=-amount)) | (~gives_back & Q(kept__gte=0, kept__lte=amount))
    yield from each(
        Entry.objects.annotate(taken=taken, kept=kept).exclude(fits),
        check="entry.uses",
        kind="entry",
        expected="its amount at most, on each side",
        found="taken",
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


def expiries_are_noted() -> Iterator[Difference]:
    """No lot with something left expires before its account's next_expiry_at: by that a hold is guarded."""
    left = Grant.objects.filter(account=OuterRef("pk"), remaining_micros__gt=0, expires_at__isnull=False)
    soonest = left.order_by("expires_at").values("expires_at")[:1]
    late = Q(soonest__isnull=False) & (Q(next_expiry_at__isnull=True) | Q(next_expiry_at__gt=F("soonest")))
    yield from each(
        Account.objects.filter(_OWNED).annotate(soonest=Subquery(soonest)).filter(late),
        check="account.next_expiry_at",
        kind="account",
        expected="its soonest expiry",
        found="next_expiry_at",
    )


def expired_lots_keep_what_holds_may_burn() -> Iterator[Difference]:
    """A lot that an EXPIRE entry took from had expired; a day after its expiry it has no more than older holds."""
    taken_early = GrantUse.objects.filter(entry__kind=Kind.EXPIRE).exclude(
        grant__expires_at__lte=F("entry__created_at")
    )
    yield from each(taken_early, check="use.expiry", kind="use", expected="of a lot that had expired", found="grant")
    # Not at once: the sweeper may be behind.
    long_ago = Grant.objects.filter(remaining_micros__gt=0, expires_at__lte=clock.from_now(-_SWEPT_WITHIN_S))
    for account_id in long_ago.order_by().values_list("account", flat=True).distinct():
        for lot_id, amount in expiry.due_on(account_id):
            yield Difference("grant.expired", f"grant:{lot_id}", "nothing left to expire", amount)


def wallets_beside_the_general_one_are_known() -> Iterator[Difference]:
    """Restricted wallets are a team's, sorted job types, and marked on its general wallet, which is older."""
    restricted = Account.objects.filter(_OWNED).exclude(restriction="")
    general = Account.objects.filter(
        team=OuterRef("team"), kind=Account.Kind.WALLET, restriction="", has_restricted=True, pk__lt=OuterRef("pk")
    )
    yield from each(
        restricted.exclude(Exists(general)),
        check="account.has_restricted",
        kind="account",
        expected="marked on the general wallet",
        found="restriction",
    )
    for pk, restriction in restricted.values_list("pk", "restriction").iterator():
        if restriction != ",".join(sorted(set(restriction.split(",")))):
            yield Difference("account.restriction", f"account:{pk}", "sorted job types", restriction)


def allocations_join_pools_and_their_wallets() -> Iterator[Difference]:
    """Credits are allocated by a pool to a general wallet of its organization, in lots of the same terms, and a pool
    gets back at most what it gave."""
    pool_gives = Q(
        kind=Kind.ALLOCATE,
        debit_account__kind=Account.Kind.POOL,
        credit_account__kind=Account.Kind.WALLET,
        debit_account__organization=F("credit_account__team__organization"),
    )
    pool_gets = Q(
        kind=Kind.RECLAIM,
        debit_account__kind=Account.Kind.WALLET,
        credit_account__kind=Account.Kind.POOL,
        credit_account__organization=F("debit_account__team__organization"),
    )
    between = Entry.objects.filter(kind__in=[Kind.ALLOCATE, Kind.RECLAIM])
    yield from each(
        between.exclude(pool_gives | pool_gets),
        check="entry.pool",
        kind="entry",
        expected="a pool and a wallet of its organization",
        found="kind",
    )
    balance: Counter[tuple[int, int]] = Counter()
    moved = between.order_by().values_list("kind", "debit_account", "credit_account").annotate(Sum("amount_micros"))
    for kind, debit, credit, amount in moved.iterator():
        balance[(debit, credit) if kind == Kind.ALLOCATE else (credit, debit)] += (
            amount if kind == Kind.ALLOCATE else -amount
        )
    for (_, wallet), amount in balance.items():
        if amount < 0:
            yield Difference("account.reclaimed", f"account:{wallet}", "at most what was allocated", -amount)
    same = Q(kind=F("source_grant__kind"), priority=F("source_grant__priority"))
    for name in ("expires_at", "price_nanousd_per_credit"):
        same &= Q(**{name: F(f"source_grant__{name}")}) | Q(
            **{f"{name}__isnull": True, f"source_grant__{name}__isnull": True}
        )
    yield from each(
        Grant.objects.filter(entry__kind=Kind.ALLOCATE).exclude(same),
        check="grant.source_grant",
        kind="grant",
        expected="the terms of the pool's lot",
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
    expiries_are_noted,
    expired_lots_keep_what_holds_may_burn,
    wallets_beside_the_general_one_are_known,
    allocations_join_pools_and_their_wallets,
    jobs_are_charged_once,
    sealing.blocks_hold_what_was_sealed,
    periods.periods_are_as_they_were_closed,
    triggers_exist,
)


def accounts() -> int:
    return Account.objects.filter(_OWNED).count()


def entries() -> int:
    return Entry.objects.count()


def _used_of(side: str) -> Coalesce:
    return Coalesce(Sum("uses__amount_micros", filter=Q(uses__grant__account=F(side))), 0)


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
