"""B12: refunds and disputes take credits back, in any order and never more than was sold."""

import itertools

import pytest

from apps.core.models import AuditEntry, Event
from apps.credits import ledger
from apps.credits.models import Account, Entry
from apps.payments.models import Dispute, Payment
from apps.provisioning import credits as provisioning
from tests import make
from tests.credits import books
from tests.payments.conftest import PAYMENT, Sale, differences

pytestmark = pytest.mark.django_db

_numbers = itertools.count(1)


def refund(sale: Sale, total: int, **more):
    """Stripe tells how much was refunded in all."""
    return sale.send("charge.refunded", event_id=f"evt_refund_{next(_numbers)}", amount_refunded=total, **more)


def exact(sale: Sale) -> int:
    return Account.objects.get(team=sale.team).posted_micros


def test_refund_takes_credits_back_in_proportion(sale):
    sale.send("checkout.session.completed")

    assert sale.send("charge.refunded").json()["outcome"] == "applied"

    assert sale.credits == 250
    assert Payment.objects.get().status == "partially_refunded"
    taken = Entry.objects.get(kind="take_back")
    assert (taken.reason, taken.actor) == (f"Refund of payment {PAYMENT}", "provider:stripe")
    assert differences() == []


def test_B12_partial_refunds_sum_to_what_was_sold_and_the_last_takes_the_rest(sale):
    sale.send("checkout.session.completed")
    sold = 250 * books.CREDIT

    for total in (1, 834, 1667, 2500):
        refund(sale, total)
        assert exact(sale) == 100 * books.CREDIT + sold - sold * total // 2500

    assert (sale.credits, Payment.objects.get().status) == (100, "refunded")
    refund(sale, 2600)
    assert sale.credits == 100
    assert differences() == []


def test_refund_told_again_or_late_takes_nothing_more(sale):
    sale.send("checkout.session.completed")
    refund(sale, 1000)
    refund(sale, 1000)
    refund(sale, 400)

    assert sale.credits == 250


def test_refund_of_what_was_spent_becomes_debt(sale):
    sale.send("checkout.session.completed")
    books.spend(sale.team, 340)

    refund(sale, 2500)

    assert books.figures(sale.team) == {"posted": -240, "held": 0, "debt": 240, "allocated": 100, "used": 340}
    assert differences() == []


def test_refund_before_the_payment_ends_right(sale):
    refund(sale, 1000)
    assert (sale.credits, Payment.objects.get().state) == (100, "expected")

    sale.send("checkout.session.completed")

    assert (sale.credits, sale.state) == (250, "paid")
    assert Payment.objects.get().status == "partially_refunded"


def test_failed_refund_is_flagged_for_a_person(sale):
    sale.send("checkout.session.completed")
    refund(sale, 1000)

    answer = sale.send("refund.failed")

    assert answer.json()["outcome"] == "flagged"
    assert Event.objects.filter(kind="payment.flagged").count() == 1
    assert sale.credits == 250


def test_refund_of_a_payment_that_is_not_ours_changes_no_credits(sale):
    refund(sale, 1000, payment_intent="pi_of_another_shop")
    refund(sale, 1000, payment_intent=None)

    assert sale.credits == 100


def test_operator_who_took_back_by_hand_is_not_followed_by_a_second_take_back(sale):
    sale.send("checkout.session.completed")
    entry = Payment.objects.get().entry
    ledger.reverse(entry, amount_micros=100 * books.CREDIT, actor=make.TESTER, key="1", reason="by hand")

    refund(sale, 1000)

    assert sale.credits == 250


def by_hand(sale: Sale) -> None:
    provisioning.replenish(
        sale.team, credits=250, payment_type="one_time", payment_id=PAYMENT, actor=make.TESTER, key="by hand"
    )


def test_refund_and_dispute_of_a_payment_that_an_operator_entered(sale):
    by_hand(sale)
    refund(sale, 1000)
    assert sale.credits == 250

    sale.send("charge.dispute.created")
    assert sale.credits == 100
    sale.send("charge.dispute.closed")

    assert sale.credits == 250
    assert differences() == []


def test_dispute_alone_of_a_payment_that_an_operator_entered(sale):
    by_hand(sale)

    sale.send("charge.dispute.created")

    assert sale.credits == 100


# --- Disputes ----------------------------------------------------------------------------------------------


def test_B12_dispute_takes_back_all_that_is_left(sale):
    sale.send("checkout.session.completed")
    refund(sale, 1000)
    books.spend(sale.team, 200)

    sale.send("charge.dispute.created")

    assert books.figures(sale.team) == {"posted": -100, "held": 0, "debt": 100, "allocated": 100, "used": 200}
    dispute = Dispute.objects.get()
    assert (dispute.state, dispute.reason, dispute.taken_back_micros) == ("open", "fraudulent", 150_000_000)
    assert AuditEntry.objects.filter(action="team.credits", after__has_key="payment.disputed").exists()
    assert differences() == []


def test_dispute_that_is_won_gives_them_again(sale):
    sale.send("checkout.session.completed")
    sale.send("charge.dispute.created")
    assert sale.credits == 100

    sale.send("charge.dispute.closed")
    sale.send("charge.dispute.closed", event_id="evt_again")
    sale.send("charge.dispute.created", event_id="evt_late")

    assert (sale.credits, Dispute.objects.get().state) == (350, "won")
    again = Entry.objects.get(external_id="du_1TestDispute")
    assert again.grants.get().kind == "paid"
    assert again.grants.get().price_nanousd_per_credit == 100_000_000
    assert differences() == []


def test_dispute_that_is_lost_leaves_them_taken(sale):
    sale.send("checkout.session.completed")
    sale.send("charge.dispute.created")
    sale.send("charge.dispute.closed", status="lost")

    assert (sale.credits, Dispute.objects.get().state) == (100, "lost")


def test_inquiry_has_moved_no_money(sale):
    sale.send("checkout.session.completed")

    assert sale.send("charge.dispute.created", status="warning_needs_response").json()["outcome"] == "ignored"
    assert sale.credits == 350


def test_refund_after_a_dispute_was_won_takes_back_what_was_given_again(sale):
    sale.send("checkout.session.completed")
    sale.send("charge.dispute.created")
    sale.send("charge.dispute.closed")

    refund(sale, 2500)

    assert sale.credits == 100
    assert differences() == []


def test_refund_within_a_dispute_counts_when_it_is_won(sale):
    sale.send("checkout.session.completed")
    sale.send("charge.dispute.created")
    refund(sale, 1000)

    sale.send("charge.dispute.closed")

    assert sale.credits == 250


def test_two_disputes_of_one_payment(sale):
    sale.send("checkout.session.completed")
    sale.send("charge.dispute.created")
    sale.send("charge.dispute.created", event_id="evt_2", id="du_2")
    sale.send("charge.dispute.closed")
    assert sale.credits == 100

    sale.send("charge.dispute.closed", event_id="evt_3", id="du_2")

    assert sale.credits == 350
    assert differences() == []


EVENTS = {
    "paid": ("checkout.session.completed", {}),
    "refund": ("charge.refunded", {}),
    "dispute": ("charge.dispute.created", {}),
    "won": ("charge.dispute.closed", {}),
}


@pytest.mark.parametrize("order", list(itertools.permutations(EVENTS)), ids=" ".join)
def test_every_order_of_events_ends_alike(sale, order):
    for name in order:
        assert sale.send(EVENTS[name][0], **EVENTS[name][1]).status_code == 200

    assert (sale.credits, sale.state) == (250, "paid")
    assert differences() == []
