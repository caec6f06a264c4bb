"""What accounts had at an instant and what moved in a month, by the numbers of their entries.

An account's entries are numbered without gaps and never change, so two numbers fix a stretch of its history for ever:
those of a closed period are recorded, those of an open one are found by when the entries were written.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from django.db.models import Count, Max, Q, QuerySet, Sum

from apps.core import clock
from apps.core.errors import InvalidField
from apps.credits import periods
from apps.credits.billing import Posting, seen_by
from apps.credits.models import Account, Entry, Grant, GrantUse, Hold, Period, PeriodBalance

# Accounts asked about in one statement, so that it stays short on both databases.
_BATCH = 100
_SIDES = (("credit", 1), ("debit", -1))
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Span:
    """An account's entries numbered after `after_seq` up to `last_seq`, and what was posted at both ends."""

    account: Account
    after_seq: int
    last_seq: int
    opening_micros: int
    closing_micros: int

    @property
    def entries(self) -> int:
        return self.last_seq - self.after_seq


@dataclass(frozen=True, slots=True)
class Month:
    """Accounts in a month of UTC. Once it is closed (`closed_at`) nothing of it changes."""

    name: str
    starts_at: datetime
    ends_at: datetime
    closed_at: datetime | None
    spans: list[Span]

    @property
    def entries(self) -> int:
        return sum(span.entries for span in self.spans)


@dataclass(frozen=True, slots=True)
class Movement:
    """All entries of one kind: their number and what they added to the account (negative: took)."""

    account_id: int
    kind: str
    count: int
    micros: int


@dataclass(frozen=True, slots=True)
class Standing:
    """An account at an instant: by its last entry until then. `held_micros` is None where it cannot be told."""

    entry: Entry | None
    posted_micros: int
    held_micros: int | None


def standing(account: Account, at: datetime) -> Standing:
    """What the account had at that instant.

    A hold changes while its job runs and keeps no history: what was held is known only if no hold was open.
    """
    closed, _ = _closed_before([account.pk], at)
    seq = _last_seqs([account.pk], until=Q(created_at__lte=at), after=closed).get(account.pk, 0)
    entry = _entries_at({account.pk: seq}).get(account.pk)
    open_then = Hold.objects.filter(account=account, opened_at__lte=at).filter(
        Q(closed_at__isnull=True) | Q(closed_at__gt=at)
    )
    held = None if open_then.filter(amount_micros__gt=0).exists() else 0
    return Standing(entry, seen_by(account, entry).after_micros if entry else 0, held)


def month(accounts: Sequence[Account], name: str) -> Month:
    """What a month is to these accounts, which were read just now. Raises: InvalidField unless it has begun."""
    starts_at, ends_at = periods.bounds(name)
    now = clock.db_now()
    if starts_at > now:
        raise InvalidField("period", f"{name} has not begun.", value=name)
    closed = Period.objects.filter(pk=name).first()
    ids = [account.pk for account in accounts]
    opening, opened_at = _closed_before(ids, starts_at)
    if opened_at != starts_at and closed is None:
        opening |= _last_seqs(ids, until=Q(created_at__lt=starts_at), after=opening)
    if closed is not None:
        closing = _recorded(ids, closed)
    elif ends_at > now:
        closing = {account.pk: account.seq for account in accounts}
    else:
        closing = _last_seqs(ids, until=Q(created_at__lt=ends_at), after=opening)
    after = {pk: opening.get(pk, 0) for pk in ids}
    last = {pk: max(closing.get(pk, 0), after[pk]) for pk in ids}
    before, afterwards = _posted(accounts, after), _posted(accounts, last)
    spans = [
        Span(account, after[account.pk], last[account.pk], before[account.pk], afterwards[account.pk])
        for account in accounts
    ]
    return Month(name, starts_at, ends_at, closed.closed_at if closed else None, spans)


def sides(spans: Sequence[Span]) -> Iterator[tuple[str, int, QuerySet[Entry, Entry]]]:
    """The spans' entries: by `credit` (+1) and by `debit` (-1), of some accounts at a time."""
    for batch in _batches([span for span in spans if span.entries]):
        for side, sign in _SIDES:
            yield side, sign, Entry.objects.filter(_any_of(side, batch)).order_by()


def movements(spans: Sequence[Span]) -> list[Movement]:
    """What each account's entries added, by kind."""
    found = []
    for side, sign, entries in sides(spans):
        rows = entries.values_list(f"{side}_account", "kind").annotate(Count("pk"), Sum("amount_micros"))
        found += [Movement(account, kind, count, sign * micros) for account, kind, count, micros in rows]
    return found


def postings(spans: Sequence[Span], *, limit: int, offset: int) -> list[tuple[Span, Posting]]:
    """A page of the spans' entries, account by account and oldest first.

    Their numbers have no gaps, so a page is found without counting what is before it.
    """
    wanted: list[Span] = []
    for span in spans:
        if limit and offset < span.entries:
            first = span.after_seq + offset
            last = min(first + limit, span.last_seq)
            wanted.append(Span(span.account, first, last, 0, 0))
            limit -= last - first
        offset = max(0, offset - span.entries)
    order = {span.account.pk: place for place, span in enumerate(wanted)}
    page = []
    for side, _, entries in sides(wanted):
        for entry in entries:
            span = wanted[order[getattr(entry, f"{side}_account_id")]]
            page.append((span, seen_by(span.account, entry)))
    return sorted(page, key=lambda found: (order[found[0].account.pk], found[1].number))


def expiring(spans: Sequence[Span], *, since: datetime, until: datetime) -> list[tuple[Grant, int]]:
    """Lots that expire from `since` to before `until` and what was left of each at the end of its account's span."""
    last = {span.account.pk: span.last_seq for span in spans}
    lots = [
        lot
        for lot in Grant.objects.filter(account__in=last, expires_at__gte=since, expires_at__lt=until)
        .select_related("entry", "account__team")
        .order_by("expires_at", "id")
        if (lot.entry.credit_seq or 0) <= last[lot.account_id]
    ]
    used: dict[Any, int] = {}
    for accounts in _batches(sorted({lot.account_id for lot in lots})):
        until_then = Q()
        for pk in accounts:
            until_then |= Q(grant__account=pk, entry__credit_account=pk, entry__credit_seq__lte=last[pk])
            until_then |= Q(grant__account=pk, entry__debit_account=pk, entry__debit_seq__lte=last[pk])
        uses = GrantUse.objects.filter(until_then, grant__in=[lot for lot in lots if lot.account_id in accounts])
        used |= dict(uses.order_by().values_list("grant").annotate(Sum("amount_micros")))
    left = [(lot, lot.amount_micros - used.get(lot.pk, 0)) for lot in lots]
    return [(lot, micros) for lot, micros in left if micros > 0]


def _closed_before(ids: Sequence[int], instant: datetime) -> tuple[dict[int, int], datetime | None]:
    """The accounts' last numbers of the newest closed period that was over by then, and when it ended."""
    newest = Period.objects.filter(ends_at__lte=instant).order_by("-ends_at").first()
    return (_recorded(ids, newest), newest.ends_at) if newest else ({}, None)


def _recorded(ids: Sequence[int], period: Period) -> dict[int, int]:
    return dict(PeriodBalance.objects.filter(period=period, account__in=ids).values_list("account", "last_seq"))


def _last_seqs(ids: Sequence[int], *, until: Q, after: dict[int, int] | None = None) -> dict[int, int]:
    """The number of each account's last entry of those that `until` admits; looks at none before `after`."""
    found = dict(after or {})
    for batch in _batches(ids):
        for side, _ in _SIDES:
            new = Q()
            for pk in batch:
                new |= Q(**{f"{side}_account": pk, f"{side}_seq__gt": (after or {}).get(pk, 0)})
            rows = Entry.objects.filter(until, new).order_by()
            for pk, seq in rows.values_list(f"{side}_account").annotate(Max(f"{side}_seq")):
                found[pk] = max(found.get(pk, 0), seq)
    return found


def _posted(accounts: Sequence[Account], seqs: dict[int, int]) -> dict[int, int]:
    """What was posted on each account after its entry of that number."""
    # What was read of an account is as old as its number: no entry needs to be looked up for the newest.
    known = {account.pk: account.posted_micros for account in accounts if account.seq == seqs[account.pk]}
    found = _entries_at({pk: seq for pk, seq in seqs.items() if pk not in known})
    for account in accounts:
        entry = found.get(account.pk)
        if account.pk not in known:
            known[account.pk] = seen_by(account, entry).after_micros if entry else 0
    return known


def _entries_at(seqs: dict[int, int]) -> dict[int, Entry]:
    """Entries by account, of the given numbers; none of number 0."""
    found = {}
    for batch in _batches(((pk, seq) for pk, seq in seqs.items() if seq)):
        for side, _ in _SIDES:
            wanted = Q()
            for pk, seq in batch:
                wanted |= Q(**{f"{side}_account": pk, f"{side}_seq": seq})
            for entry in Entry.objects.filter(wanted).order_by():
                found[getattr(entry, f"{side}_account_id")] = entry
    return found


def _any_of(side: str, spans: Sequence[Span]) -> Q:
    wanted = Q()
    for span in spans:
        wanted |= Q(
            **{
                f"{side}_account": span.account.pk,
                f"{side}_seq__gt": span.after_seq,
                f"{side}_seq__lte": span.last_seq,
            }
        )
    return wanted


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, _BATCH)):
        yield batch
