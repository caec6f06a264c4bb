"""A month of one customer with all kinds of credits: its balance after each step, until the month is closed."""

from datetime import timedelta

import pytest

from apps.core import clock, verification
from apps.credits import allowances, card_terms, cards, ledger, periods, pricing, vouchers
from apps.credits.errors import VoucherRedeemed
from apps.credits.models import Account, Grant, PeriodBalance
from apps.jobs import sweeper
from tests import make
from tests.credits import books, work
from tests.credits.books import CREDIT
from tests.credits.test_stories import balance, charge_of, outcome


@pytest.fixture
def reporter(db):
    """Reports cost it the provider's price and half as much again, ten credits a dollar: 10,000 tokens 1.5 credits.
    A report that failed costs no less than it cost us."""
    make.alias("chat", input_usd_per_mtok=10, output_usd_per_mtok=10, is_open=True)
    customer = make.customer(credits=0)
    terms = card_terms.TermsInput(mode="metered_usd", cost_markup_percentage=50, on_failed="cost")
    card = cards.create(team=customer.team, job_type="report", actor=make.TESTER, terms=card_terms.columns(terms))
    cards.activate(card, 1, actor=make.TESTER)
    pricing.forget_cached()
    return customer


def pool(customer: make.Customer) -> int:
    return Account.objects.get(kind="pool", organization=customer.organization).posted_micros // CREDIT


def test_month_of_a_customer_with_all_kinds_of_credits(reporter, monkeypatch):
    gateway = work.provide(monkeypatch)
    team = reporter.team
    assert balance(reporter) == (0, 0, 0, 0)

    # The 1st: an invoice of 20 is paid, 5 are given as a welcome for ten days, a voucher brings 3 for thirty.
    books.give(team, 20, key="invoice", external_id="payment-1")
    assert balance(reporter) == (20, 0, 0, 20)
    ten_days = clock.db_now() + timedelta(days=10)
    books.give(team, 5, key="welcome", kind=Grant.Kind.PROMOTIONAL, expires_at=ten_days)
    assert balance(reporter) == (25, 0, 0, 25)
    _, code = vouchers.create(amount_micros=3 * CREDIT, actor=make.TESTER, max_uses=5, credits_last_days=30)
    vouchers.redeem(team, code, actor=make.TESTER)
    assert balance(reporter) == (28, 0, 0, 28)
    with pytest.raises(VoucherRedeemed):
        vouchers.redeem(team, code, actor=make.TESTER)
    assert balance(reporter) == (28, 0, 0, 28)

    # Ten a week from now on, of which nothing is kept: the first a week from now.
    allowances.configure(
        team, enabled=True, amount_micros=10 * CREDIT, period="weekly", rolls_over=False, actor=make.TESTER
    )
    sweeper.run()
    assert balance(reporter) == (28, 0, 0, 28)
    books.pass_days(7)
    sweeper.run()
    assert balance(reporter) == (38, 0, 0, 38)

    # The 8th: a report of 40,000 tokens. What was given goes first, and of that what goes soonest.
    report = work.open_job(reporter, "report")
    call = work.submit(reporter, report, model="chat", max_tokens=40_000)
    assert balance(reporter) == (32, 6, 0, 38)
    gateway.will_use((0, 40_000))
    work.execution.run_call(call)
    assert balance(reporter) == (32, 6, 0, 38)
    work.complete(reporter, report)
    assert (outcome(report), balance(reporter)) == (("completed", "charged", 6, 0), (32, 0, 6, 38))
    assert books.paid_by(charge_of(report)) == [("promotional", 5), ("promotional", 1)]

    # Another one comes to nothing, by its caller's word: it pays what 20,000 tokens cost. The allowance, which goes
    # at the end of the week, pays before what was paid for.
    failed = work.open_job(reporter, "report")
    gateway.will_use((0, 20_000))
    work.call(reporter, failed, model="chat", max_tokens=20_000)
    assert balance(reporter) == (29, 3, 6, 38)
    work.complete(reporter, failed, "failed")
    assert (outcome(failed), balance(reporter)) == (("failed", "charged", 3, 0), (29, 0, 9, 38))
    assert books.paid_by(charge_of(failed)) == [("promotional", 2), ("subscription", 1)]

    # A job whose call fails at the provider costs nothing; until it is closed it holds the least that it might.
    unserved = work.open_job(reporter, "report")
    gateway.will_fail()
    work.call(reporter, unserved, model="chat", max_tokens=20_000)
    assert balance(reporter) == (28, 1, 9, 38)
    work.complete(reporter, unserved)
    assert (outcome(unserved), balance(reporter)) == (("completed", "free", 0, 0), (29, 0, 9, 38))

    # Support gives back 2 of the 6, once: to the voucher's lot, then to the welcome's.
    for _ in range(2):
        books.reverse(charge_of(report), 2, key="ticket-4")
    assert balance(reporter) == (31, 0, 7, 38)
    assert books.lots(team) == [("promotional", 1), ("promotional", 1), ("subscription", 9), ("paid", 20)]

    # The 12th: the welcome is over, and with it the credit that came back to it.
    books.pass_days(4)
    assert balance(reporter) == (30, 0, 7, 37)
    sweeper.run()
    assert balance(reporter) == (30, 0, 7, 37)

    # Its organization buys 50 for all and gives the team 15 of them.
    ledger.grant_to_pool(reporter.organization, amount_micros=50 * CREDIT, actor=make.TESTER, key="invoice-2")
    ledger.allocate(team, amount_micros=15 * CREDIT, actor=make.TESTER, key="for reports")
    assert (balance(reporter), pool(reporter)) == ((45, 0, 7, 52), 35)

    # The 15th: the week's 9 are gone, the next 10 are there.
    books.pass_days(3)
    sweeper.run()
    assert balance(reporter) == (46, 0, 7, 53)
    sweeper.run()
    assert balance(reporter) == (46, 0, 7, 53)

    # The organization takes 5 back.
    ledger.reclaim(team, amount_micros=5 * CREDIT, actor=make.TESTER, key="too many")
    assert (balance(reporter), pool(reporter)) == ((41, 0, 7, 48), 40)

    # Finance closes the month. What comes later belongs to the next one.
    now = clock.db_now()
    monkeypatch.setattr(clock, "db_now", lambda: now + timedelta(days=32))
    period, _ = periods.close(f"{now:%Y-%m}", actor=make.TESTER)
    monkeypatch.undo()
    books.give(team, 1, key="of the next month")
    closed = PeriodBalance.objects.filter(period=period).values_list("account__kind", "posted_micros")
    assert sorted(closed) == [("pool", 40 * CREDIT), ("wallet", 41 * CREDIT)]
    assert balance(reporter) == (42, 0, 7, 49)
    assert [str(difference) for difference in verification.differences()] == []
