"""What support may refund of one charge is counted over all its refunds, also of those who ask at once."""

from typing import Any

import pytest
from django.db import transaction

from apps.credits.models import Entry
from apps.organizations.rights import RightMissing
from apps.provisioning import credits, goodwill
from tests import make
from tests.credits import books, racing


def refund(by: make.Staff, charge: Entry, *, key: str) -> Any:
    """One credit of the charge, as the API does it."""
    micros = books.CREDIT
    with transaction.atomic():
        goodwill.require_may_refund(by.works, str(charge.pk), micros=micros)
        return credits.reverse(
            str(charge.pk), of=Entry.Kind.CHARGE, micros=micros, actor=by.works.actor, key=key, reason="sorry"
        )


@pytest.mark.django_db
def test_parts_of_one_charge_add_up(settings: Any):
    settings.SUPPORT_CREDITS_MAX = 2
    sam, charge = make.operator("support"), books.spend(make.customer(credits=10).team, 5)

    refund(sam, charge, key="1")
    refund(sam, charge, key="2")

    with pytest.raises(RightMissing, match="beyond your limit"):
        refund(sam, charge, key="3")
    refund(make.operator("billing"), charge, key="4")


@pytest.mark.django_db
def test_two_charges_are_counted_apart(settings: Any):
    settings.SUPPORT_CREDITS_MAX = 1
    sam, team = make.operator("support"), make.customer(credits=10).team

    for job in ("one", "two"):
        refund(sam, books.spend(team, 5, job=job), key=job)


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_two_at_once_get_no_more_than_one_after_the_other(settings: Any):
    settings.SUPPORT_CREDITS_MAX = 1
    sam, charge = make.operator("support"), books.spend(make.customer(credits=10).team, 5)

    first, second = racing.in_turn(lambda: refund(sam, charge, key="1"), lambda: refund(sam, charge, key="2"))

    assert isinstance(first, Entry)
    assert isinstance(second, RightMissing)
    assert Entry.objects.filter(kind=Entry.Kind.REFUND).count() == 1
