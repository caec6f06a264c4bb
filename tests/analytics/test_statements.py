"""Statements add up for every ledger, and a closed one never changes."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import Q
from hypothesis import HealthCheck, given, settings

from apps.analytics import statements
from apps.core import clock
from apps.core.errors import InvalidField
from apps.credits import history, periods
from apps.credits.models import ISSUED_ID, Account, Entry, Grant
from tests import make
from tests.analytics import ledgers, rows
from tests.credits import books

NOW = clock.now()
THIS_MONTH = f"{NOW:%Y-%m}"
START = NOW.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
LAST_MONTH = f"{START - timedelta(days=1):%Y-%m}"
NEXT_MONTH = f"{START + timedelta(days=32):%Y-%m}"
CREDIT = books.CREDIT


@pytest.fixture
def teams(db):
    org = make.organization()
    return [make.customer(credits=0, org=org).team for _ in range(2)]


def adds_up(month):
    movements = history.movements(month.spans)
    for span in month.spans:
        moved = sum(each.micros for each in movements if each.account_id == span.account.pk)
        assert span.opening_micros + moved == span.closing_micros
    assert sum(each.count for each in movements) == month.entries
    balances = {span.account.pk: span.opening_micros for span in month.spans}
    listed = list(statements.all_postings(month))
    for span, posting in listed:
        assert posting.before_micros == balances[span.account.pk]
        balances[span.account.pk] = posting.after_micros
    assert balances == {span.account.pk: span.closing_micros for span in month.spans}
    paged = [
        one for offset in range(0, month.entries, 3) for one in history.postings(month.spans, limit=3, offset=offset)
    ]
    assert [posting.entry.pk for _, posting in paged] == [posting.entry.pk for _, posting in listed]
    charged = statements.charged_by_job_type(month)
    moved = {kind: each.micros for kind, each in statements.by_kind(movements).items()}
    assert sum(line.charged_micros for line in charged.values()) == -moved.get("charge", 0)
    assert sum(line.refunded_micros for line in charged.values()) == moved.get("refund", 0)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(earlier=ledgers.steps, later=ledgers.steps)
def test_opening_and_movements_make_the_closing_balance(db, earlier, later):
    org = make.organization()
    teams = [make.customer(credits=0, org=org).team for _ in range(2)]
    ledgers.play(teams, earlier, run=f"{org.organization_id}-a")
    mine = Q(credit_account__organization=org) | Q(debit_account__organization=org)
    ledgers.date_all(Entry.objects.filter(mine), START - timedelta(days=2))
    ledgers.play(teams, later, run=f"{org.organization_id}-b")

    for month in (LAST_MONTH, THIS_MONTH):
        for team in teams:
            adds_up(statements.of_team(team, month))
        adds_up(statements.of_organization(org, month))

    before, now = (statements.of_organization(org, month) for month in (LAST_MONTH, THIS_MONTH))
    assert [span.closing_micros for span in before.spans] == [span.opening_micros for span in now.spans]
    assert [span.closing_micros for span in now.spans] == [span.account.posted_micros for span in now.spans]
    assert {span.opening_micros for span in before.spans} <= {0}


@pytest.mark.django_db(transaction=True)
def test_a_closed_months_statement_never_changes(monkeypatch):
    team = make.customer(credits=0).team
    entry = books.give(team, 10, key="start")
    Grant.objects.update(expires_at=NOW + timedelta(days=33))
    charge = books.spend(team, 3)
    real = clock.db_now
    monkeypatch.setattr(clock, "db_now", lambda: real() + timedelta(days=40))
    periods.close(THIS_MONTH, actor=make.TESTER)
    before = statements.of_team(team, THIS_MONTH)

    books.spend(team, 2, job="later")
    books.reverse(charge, 1, key="r")
    books.give(team, 50, key="more")
    books.reverse(entry, 4, key="t")
    after = statements.of_team(team, THIS_MONTH)

    assert before.closed_at is not None
    assert [(span.after_seq, span.last_seq, span.opening_micros, span.closing_micros) for span in after.spans] == [
        (0, 2, 0, 7 * CREDIT)
    ]
    assert history.movements(after.spans) == history.movements(before.spans)
    assert statements.charged_by_job_type(after) == statements.charged_by_job_type(before)
    assert [left for _, left in statements.expiring(after)] == [7 * CREDIT]
    assert list(statements.all_postings(after))[-1][1].after_micros == 7 * CREDIT
    adds_up(after)
    following = statements.of_team(team, NEXT_MONTH)
    assert following.closed_at is None
    assert (following.spans[0].opening_micros, following.spans[0].closing_micros) == (7 * CREDIT, 52 * CREDIT)


@pytest.mark.django_db(transaction=True)
def test_an_entry_dated_before_the_end_of_a_closed_month_is_in_the_next(monkeypatch):
    team = make.customer(credits=0).team
    books.give(team, 10, key="start")
    real = clock.db_now
    monkeypatch.setattr(clock, "db_now", lambda: real() + timedelta(days=40))
    periods.close(THIS_MONTH, actor=make.TESTER)
    books.spend(team, 3)

    this, following = (statements.of_team(team, month) for month in (THIS_MONTH, NEXT_MONTH))

    assert this.spans[0].closing_micros == following.spans[0].opening_micros == 10 * CREDIT
    assert following.entries == 1


def test_a_month_that_is_over_but_open_ends_with_what_was_written_in_it(teams):
    team = teams[0]
    ledgers.date_all(Entry.objects.filter(pk=books.give(team, 10, key="a").pk), START - timedelta(seconds=1))
    books.spend(team, 3)

    last, this = (statements.of_team(team, month) for month in (LAST_MONTH, THIS_MONTH))

    assert (last.spans[0].closing_micros, last.closed_at) == (10 * CREDIT, None)
    assert (this.spans[0].opening_micros, this.spans[0].closing_micros) == (10 * CREDIT, 7 * CREDIT)


def test_charges_are_told_by_job_type(acme):
    one, two = rows.job(acme, job_type="report"), rows.job(acme, job_type="query")
    entry = books.spend(acme.team, 3, job=str(one.pk))
    books.spend(acme.team, 4, job=str(two.pk))
    books.spend(acme.team, 1, job="no job")
    books.reverse(entry, 2, key="r")

    found = statements.charged_by_job_type(statements.of_team(acme.team, THIS_MONTH))

    figures = {name: (line.jobs, line.charged_micros, line.refunded_micros) for name, line in found.items()}
    assert figures == {
        "": (1, 1 * CREDIT, 0),
        "query": (1, 4 * CREDIT, 0),
        "report": (1, 3 * CREDIT, 2 * CREDIT),
    }


def test_lots_that_expire_soon_are_listed_with_what_is_left(teams):
    team = teams[0]
    books.give(team, 10, key="a", expires_at=NOW + timedelta(hours=1))
    books.give(team, 10, key="b", expires_at=NOW + timedelta(days=100))
    books.give(team, 2, key="c", expires_at=NOW + timedelta(minutes=30))
    books.spend(team, 5)

    assert [left for _, left in statements.expiring(statements.of_team(team, THIS_MONTH))] == [7 * CREDIT]


@pytest.mark.parametrize("period", ["2026-13", "2026", "soon", "2026-1", "", "9999-12"])
def test_bad_and_future_months_are_refused(teams, period):
    with pytest.raises(InvalidField):
        statements.of_team(teams[0], period)


def test_an_organizations_statement_takes_few_queries_whatever_its_teams(teams, django_assert_max_num_queries):
    org = teams[0].organization
    for number in range(30):
        books.give(make.customer(credits=0, org=org).team, 1, key=str(number))
    with django_assert_max_num_queries(20):
        month = statements.of_organization(org, THIS_MONTH)
        history.movements(month.spans)
        history.postings(month.spans, limit=100, offset=0)
        statements.charged_by_job_type(month)
        statements.expiring(month)
    assert month.entries == 30


def test_more_accounts_than_one_statement_asks_about(teams, monkeypatch):
    monkeypatch.setattr(history, "_BATCH", 1)
    for team in teams:
        books.give(team, 10, key="a")
        books.spend(team, 3, job=team.team_id)

    month = statements.of_organization(teams[0].organization, THIS_MONTH)

    assert month.entries == 4
    adds_up(month)


def test_a_balance_at_an_instant_is_that_of_the_last_entry_before(teams):
    team = teams[0]
    ledgers.date_all(Entry.objects.filter(pk=books.give(team, 10, key="a").pk), datetime(2026, 3, 1, tzinfo=UTC))
    ledgers.date_all(Entry.objects.filter(pk=books.spend(team, 3).pk), datetime(2026, 4, 1, tzinfo=UTC))
    wallet = Account.objects.get(team=team)

    def posted(*date):
        return history.standing(wallet, datetime(*date, tzinfo=UTC)).posted_micros // CREDIT

    assert [posted(2026, 2, 28), posted(2026, 3, 2), posted(2026, 3, 31), posted(2026, 4, 2)] == [0, 10, 10, 7]


def test_what_was_held_is_told_only_when_nothing_was(teams):
    team = teams[0]
    books.give(team, 10, key="a")
    wallet = Account.objects.get(team=team)
    assert history.standing(wallet, clock.db_now()).held_micros == 0

    books.hold(team, 3, job="j")

    assert history.standing(wallet, clock.db_now() + timedelta(seconds=1)).held_micros is None
    assert history.standing(wallet, NOW - timedelta(days=1)).held_micros == 0


def test_what_moves_within_an_organization_cancels_out(teams):
    team, org = teams[0], teams[0].organization
    books.give(team, 1, key="first")
    wallet = Account.objects.get(team=team)
    pool = Account.objects.create(kind="pool", organization=org)
    moved = [
        (Entry.Kind.GRANT, ISSUED_ID, pool.pk, 10, {"credit_seq": 1, "credit_balance_micros": 10}),
        (
            Entry.Kind.ALLOCATE,
            pool.pk,
            wallet.pk,
            4,
            {
                "debit_seq": 2,
                "debit_balance_micros": 6,
                "credit_seq": 2,
                "credit_balance_micros": CREDIT + 4,
            },
        ),
    ]
    for kind, debit, credit, micros, sides in moved:
        Entry.objects.create(
            kind=kind,
            debit_account_id=debit,
            credit_account_id=credit,
            amount_micros=micros,
            idempotency_key=kind,
            actor="test",
            **sides,
        )
    Account.objects.filter(pk=pool.pk).update(seq=2, posted_micros=6, allocated_micros=6)
    Account.objects.filter(pk=wallet.pk).update(seq=2, posted_micros=CREDIT + 4, allocated_micros=CREDIT + 4)

    month = statements.of_organization(org, THIS_MONTH)

    adds_up(month)
    assert [span.account.kind for span in month.spans] == ["pool", "wallet", "wallet"]
    kinds = statements.by_kind(history.movements(month.spans))
    assert (kinds["allocate"].micros, kinds["allocate"].count) == (0, 2)
    assert sum(span.closing_micros for span in month.spans) == CREDIT + 10
