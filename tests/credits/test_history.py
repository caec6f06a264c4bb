"""B15: what has entries is never deleted, and history says whose it was when names change or customers leave."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import ProtectedError

from apps.core import clock
from apps.credits import billing, ledger
from apps.credits.models import Account, Entry, Grant, GrantUse, Hold
from apps.organizations import services as organizations
from apps.organizations.models import Organization
from apps.teams import services as teams
from apps.teams.models import Team
from tests import make
from tests.credits import books
from tests.credits.books import CREDIT

pytestmark = pytest.mark.usefixtures("_clean_books")


@pytest.fixture
def history(team):
    """A team with a grant, a charge, an expiry, an open hold, restricted credits and its organization's pool."""
    books.give(team, 10, key="start")
    books.give(team, 3, key="soon", expires_at=clock.now() + timedelta(days=1))
    books.spend(team, 1)
    books.pass_days(1)
    ledger.expire_due()
    books.give(team, 2, key="reports", job_types=["report"])
    books.hold(team, 1, job="open")
    ledger.grant_to_pool(team.organization, amount_micros=CREDIT, actor=make.TESTER, key="pool")
    return team


@pytest.mark.parametrize(
    "rows",
    [Organization.objects, Team.objects, Account.objects, Grant.objects.filter(uses__isnull=False), Entry.objects],
    ids=lambda rows: rows.model.__name__,
)
def test_b15_nothing_with_entries_can_be_deleted(history, rows):
    before = books.rows()
    found = list(rows.all())
    assert found

    for row in found:
        with pytest.raises((ProtectedError, IntegrityError)), transaction.atomic():
            row.delete()

    assert books.rows() == before


def test_b15_lot_that_is_deleted_behind_the_ledgers_back_is_found(history):
    unused = Grant.objects.filter(uses__isnull=True, account__restriction="report")
    with transaction.atomic():
        unused.delete()

        assert "entry.grants" in {difference.check for difference in books.ledger_differences()}
        transaction.set_rollback(True)


@pytest.mark.parametrize("model", [Entry, GrantUse])
def test_b15_entries_and_uses_cannot_be_deleted_by_sql_either(history, model):
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {model._meta.db_table}")


def test_b15_closed_customers_keep_their_history(history):
    total, before = billing.postings(history, limit=50, offset=0)

    teams.set_status(history, status=Team.Status.CLOSED, actor=make.TESTER, reason="left")
    organizations.set_status(
        history.organization, status=Organization.Status.SUSPENDED, actor=make.TESTER, reason="left"
    )

    assert billing.postings(history, limit=50, offset=0) == (total, before)
    assert {str(account) for account in Account.objects.filter(team=history)} == {f"wallet of {history}"}
    assert Hold.objects.get(job="open").account.team == history


def test_b15_ids_are_never_used_again(history):
    teams.set_status(history, status=Team.Status.CLOSED, actor=make.TESTER, reason="left")

    with pytest.raises(Exception, match="exists"):
        teams.create(history.organization, team_id=history.team_id, actor=make.TESTER)


def test_b15_entries_name_who_did_them_and_why_in_their_own_row(history):
    for entry in Entry.objects.all():
        assert entry.actor in ("command:tests", "system")
        assert entry.source or entry.kind == "grant"
