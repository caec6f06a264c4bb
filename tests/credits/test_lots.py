"""Burn order: which lots pay, and where refunds go."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.credits.models import Grant
from tests.credits import books

pytestmark = pytest.mark.usefixtures("_clean_books")

Kind = Grant.Kind


def in_days(days: int):
    return timezone.now() + timedelta(days=days)


def test_promotional_lots_burn_before_goodwill_before_paid(team):
    for kind in (Kind.PAID, Kind.GOODWILL, Kind.PROMOTIONAL):
        books.give(team, 5, key=kind, kind=kind)

    entry = books.spend(team, 12)

    assert books.paid_by(entry) == [("promotional", 5), ("goodwill", 5), ("paid", 2)]
    assert books.lots(team) == [("promotional", 0), ("goodwill", 0), ("paid", 3)]


def test_paid_lots_and_subscriptions_burn_by_expiry_alone(team):
    books.give(team, 5, key="never")
    books.give(team, 5, key="later", kind=Kind.SUBSCRIPTION, expires_at=in_days(60))
    books.give(team, 5, key="sooner", expires_at=in_days(30))

    assert books.paid_by(books.spend(team, 12)) == [("paid", 5), ("subscription", 5), ("paid", 2)]
    assert [lot.remaining_micros for lot in Grant.objects.order_by("id")] == [3_000_000, 0, 0]


def test_lots_of_equal_rank_burn_oldest_first(team):
    first, second = books.give(team, 5, key="first"), books.give(team, 5, key="second")

    books.spend(team, 6)

    remaining = {lot.entry_id: lot.remaining_micros for lot in Grant.objects.all()}
    assert remaining == {first.pk: 0, second.pk: 4_000_000}


def test_one_charge_spans_many_lots(team):
    for number in range(8):
        books.give(team, 1, key=str(number))

    entry = books.spend(team, 8)

    assert len(books.paid_by(entry)) == 8
    assert books.figures(team)["posted"] == 0


def test_partial_refund_returns_first_to_the_lot_that_burned_last(team):
    books.give(team, 5, key="promo", kind=Kind.PROMOTIONAL)
    books.give(team, 5, key="paid")
    entry = books.spend(team, 8)

    first, second = books.reverse(entry, 4, key="r1"), books.reverse(entry, 4, key="r2")

    assert books.paid_by(first) == [("paid", -3), ("promotional", -1)]
    assert books.paid_by(second) == [("promotional", -4)]
    assert books.lots(team) == [("promotional", 5), ("paid", 5)]


def test_refund_of_one_charge_never_refills_what_another_took(team):
    books.give(team, 10, key="paid")
    first, second = books.spend(team, 4, job="first"), books.spend(team, 5, job="second")

    books.reverse(first, 4, key="r")

    assert books.lots(team) == [("paid", 5)]
    books.reverse(second, 5, key="r")
    assert books.lots(team) == [("paid", 10)]


def test_adjustment_burns_lots_like_a_charge(team):
    books.give(team, 5, key="promo", kind=Kind.PROMOTIONAL)
    books.give(team, 5, key="paid")

    assert books.paid_by(books.adjust(team, 7, key="a")) == [("promotional", 5), ("paid", 2)]


def test_charge_burns_only_lots_of_its_own_wallet(team, other_team):
    books.give(team, 5, key="paid")

    books.spend(team, 5)

    assert books.lots(other_team) == [("paid", 100)]
