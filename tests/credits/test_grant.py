"""Credits in: a grant is an entry and a lot, once per key."""

import pytest

from apps.core.errors import IdempotencyConflict, InvalidRequest
from apps.credits import ledger
from apps.credits.models import ISSUED_ID, Entry, Grant
from tests import make
from tests.credits import books
from tests.credits.books import CREDIT

pytestmark = pytest.mark.usefixtures("_clean_books")


def test_grant_fills_the_wallet_with_one_lot(team):
    entry = books.give(team, 10, key="first", reason="a sale", source="order:1")

    wallet = books.wallet(team)
    assert books.figures(team) == {"posted": 10, "held": 0, "debt": 0, "allocated": 10, "used": 0}
    assert (entry.debit_account_id, entry.credit_account_id) == (ISSUED_ID, wallet.pk)
    assert (entry.debit_seq, entry.credit_seq, entry.credit_balance_micros) == (None, 1, 10 * CREDIT)
    assert (entry.kind, entry.actor, entry.reason, entry.source) == ("grant", "command:tests", "a sale", "order:1")
    assert books.lots(team) == [("paid", 10)]


def test_entries_of_a_wallet_are_numbered_with_their_running_balance(team):
    first, second = books.give(team, 10, key="first"), books.give(team, 5, key="second")

    assert [(entry.credit_seq, entry.credit_balance_micros // CREDIT) for entry in (first, second)] == [
        (1, 10),
        (2, 15),
    ]
    assert books.wallet(team).seq == 2


def test_replayed_grant_gives_nothing_more(team):
    first = books.give(team, 10, key="same")
    before = books.rows()

    assert books.give(team, 10, key="same") == first
    assert books.rows() == before
    assert books.figures(team)["posted"] == 10


def test_replayed_grant_is_the_first_one_when_the_wallet_is_empty_again(team):
    first = books.give(team, 10, key="same")
    books.hold(team, 10, job="job")
    books.charge(team, 10, job="job")

    assert books.give(team, 10, key="same") == first
    assert books.figures(team)["posted"] == 0


def test_key_of_another_amount_raises(team):
    books.give(team, 10, key="same")

    with pytest.raises(IdempotencyConflict):
        books.give(team, 11, key="same")
    assert books.figures(team)["posted"] == 10


def test_key_of_another_payment_raises(team):
    books.give(team, 10, key="same", external_id="payment-1")

    with pytest.raises(IdempotencyConflict):
        books.give(team, 10, key="same", external_id="payment-2")
    assert books.figures(team)["posted"] == 10


def test_key_of_another_kind_of_lot_raises(team):
    books.give(team, 10, key="same", kind=Grant.Kind.PROMOTIONAL)

    with pytest.raises(IdempotencyConflict):
        books.give(team, 10, key="same", kind=Grant.Kind.PAID)


def test_one_payment_is_credited_once_whatever_the_key(team):
    books.give(team, 10, key="webhook-1", external_id="payment-1")
    before = books.rows()

    with pytest.raises(IdempotencyConflict, match="external id"):
        books.give(team, 10, key="webhook-2", external_id="payment-1")
    assert books.rows() == before
    assert books.figures(team)["posted"] == 10


def test_one_payment_is_credited_to_one_team(team, other_team):
    books.give(team, 10, key="webhook-1", external_id="payment-1")

    with pytest.raises(IdempotencyConflict, match="external id"):
        books.give(other_team, 10, key="webhook-1", external_id="payment-1")
    assert books.figures(other_team)["posted"] == 100


def test_the_same_key_of_another_team_is_another_grant(team, other_team):
    mine = books.give(team, 10, key="monthly")
    theirs = books.give(other_team, 20, key="monthly")

    assert mine != theirs
    assert books.figures(team)["posted"] == 10
    assert books.figures(other_team)["posted"] == 120


@pytest.mark.parametrize("amount_micros", [0, -1, 10**18 + 1])
def test_grant_of_no_sensible_amount_is_refused(team, amount_micros):
    with pytest.raises(InvalidRequest):
        ledger.grant(team, amount_micros=amount_micros, actor=make.TESTER, key="k")
    assert not Entry.objects.filter(credit_account__team=team).exists()
    assert books.figures(team)["posted"] == 0


@pytest.mark.parametrize(
    ("kind", "priority"), [("promotional", 10), ("goodwill", 20), ("paid", 50), ("subscription", 50)]
)
def test_kind_of_a_grant_decides_when_it_burns(team, kind, priority):
    entry = books.give(team, 1, key="k", kind=Grant.Kind(kind))

    assert Grant.objects.get(entry=entry).priority == priority


def test_paid_grant_records_what_a_credit_was_sold_for(team):
    entry = books.give(team, 1000, key="k", price_nanousd_per_credit=99_000_000)

    assert Grant.objects.get(entry=entry).price_nanousd_per_credit == 99_000_000
