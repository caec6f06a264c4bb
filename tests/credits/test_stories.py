"""Whole months of customers, with the balance after each step. Every job goes through the real services."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.core import verification
from apps.credits import billing
from apps.credits.errors import InsufficientCredits
from apps.credits.models import Entry, Grant
from apps.jobs import execution, sweeper
from apps.jobs.models import Job
from apps.provisioning import credits as provisioning
from tests import make
from tests.credits import books, work
from tests.credits.books import CREDIT


@pytest.fixture
def gateway(monkeypatch):
    return work.provide(monkeypatch)


@pytest.fixture(autouse=True)
def _everything_adds_up(db):
    """Jobs, calls and ledger agree when a story ends."""
    yield
    assert [str(difference) for difference in verification.differences()] == []


@pytest.fixture
def flat(db):
    """Pays one credit a job, whatever it does; owns 10."""
    make.platform_model()
    return make.customer(credits=10)


@pytest.fixture
def metered(db):
    """Pays 10 credits a dollar for a model at 10 dollars a million tokens: 10,000 tokens a credit; owns 10."""
    make.alias("chat", input_usd_per_mtok=10, output_usd_per_mtok=10, is_open=True)
    return make.metered_customer(credits=10, credits_per_dollar=10)


def balance(customer: make.Customer) -> tuple[int, int, int, int]:
    """Whole credits that can be spent, held, used, and allocated in all."""
    found = billing.balance(customer.team)
    micros = (found.spendable_micros, found.held_micros, found.used_micros, found.allocated_micros)
    assert all(amount % CREDIT == 0 for amount in micros)
    return tuple(amount // CREDIT for amount in micros)


def outcome(job: Job) -> tuple[str, str, int, int]:
    """Status, state of the charge, whole credits charged and uncollected."""
    job.refresh_from_db()
    return job.status, job.charge_state, job.charged_micros // CREDIT, job.uncollected_micros // CREDIT


def charge_of(job: Job) -> Entry:
    return Entry.objects.get(kind="charge", job=str(job.pk))


def test_month_of_a_team_that_pays_by_the_job(flat, gateway):
    assert balance(flat) == (10, 0, 0, 10)

    # A report of three calls: one credit, held from the first call on.
    report = work.open_job(flat, "report")
    assert balance(flat) == (10, 0, 0, 10)
    gateway.will_use((100, 900), (5_000, 9_000), (10, 10))
    for text in ("Collect.", "Write.", "Check."):
        work.call(flat, report, text)
        assert balance(flat) == (9, 1, 0, 10)
    work.complete(flat, report)
    assert (outcome(report), balance(flat)) == (("completed", "charged", 1, 0), (9, 0, 1, 10))

    # A call fails at the provider and is asked again in the same job: still one credit.
    retried = work.open_job(flat)
    gateway.will_fail()
    gateway.will_use((10, 10))
    work.call(flat, retried, "First try.")
    work.call(flat, retried, "Second try.")
    work.complete(flat, retried)
    assert (outcome(retried), balance(flat)) == (("completed", "charged", 1, 0), (8, 0, 2, 10))

    # A job whose calls all fail costs nothing, whatever its verdict.
    unlucky = work.open_job(flat)
    gateway.will_fail()
    work.call(flat, unlucky)
    assert balance(flat) == (7, 1, 2, 10)
    work.complete(flat, unlucky)
    assert (outcome(unlucky), balance(flat)) == (("completed", "free", 0, 0), (8, 0, 2, 10))

    # The customer calls one a failure though a call succeeded: it does not pay.
    discarded = work.open_job(flat)
    gateway.will_use((10, 10))
    work.call(flat, discarded)
    work.complete(flat, discarded, "failed")
    assert (outcome(discarded), balance(flat)) == (("failed", "free", 0, 0), (8, 0, 2, 10))

    # Opened and never used: nothing.
    work.complete(flat, work.open_job(flat))
    assert balance(flat) == (8, 0, 2, 10)

    # The report was wrong: support refunds it, once.
    for _ in range(2):
        books.reverse(charge_of(report), 1, key="ticket-17")
    assert balance(flat) == (9, 0, 1, 10)

    # The next month's allocation, and a correction of it.
    provisioning.set_allocation(flat.team, credits=25, actor=make.TESTER, key="april")
    assert balance(flat) == (24, 0, 1, 25)
    provisioning.set_allocation(flat.team, credits=15, actor=make.TESTER, key="april, corrected")
    assert balance(flat) == (14, 0, 1, 15)

    # Completing again, with whatever verdict, moves nothing.
    work.complete(flat, report, "failed")
    work.complete(flat, retried)
    assert (outcome(report), balance(flat)) == (("completed", "charged", 1, 0), (14, 0, 1, 15))


def test_customer_who_completes_before_the_answer_pays_when_it_comes(flat, gateway):
    job = work.open_job(flat)
    call = work.submit(flat, job)
    gateway.will_use((10, 10))

    work.complete(flat, job)
    assert (outcome(job), balance(flat)) == (("completed", "pending", 0, 0), (9, 1, 0, 10))

    execution.run_call(call)
    assert (outcome(job), balance(flat)) == (("completed", "charged", 1, 0), (9, 0, 1, 10))


def test_customer_who_completes_before_a_failure_pays_nothing(flat, gateway):
    job = work.open_job(flat)
    call = work.submit(flat, job)
    gateway.will_fail()

    work.complete(flat, job)
    execution.run_call(call)

    assert (outcome(job), balance(flat)) == (("completed", "free", 0, 0), (10, 0, 0, 10))


def test_never_completing_is_not_free(flat, gateway, settings):
    served, unserved = work.open_job(flat), work.open_job(flat)
    gateway.will_use((10, 10))
    gateway.will_fail()
    work.call(flat, served)
    work.call(flat, unserved)
    assert balance(flat) == (8, 2, 0, 10)

    settings.JOB_ABANDONED_AFTER_H = 24
    Job.objects.update(active_at=timezone.now() - timedelta(hours=25))
    sweeper.run()

    assert outcome(served) == ("completed", "charged", 1, 0)
    assert outcome(unserved) == ("failed", "free", 0, 0)
    assert balance(flat) == (9, 0, 1, 10)


def test_wallet_that_runs_empty_stops_new_jobs_and_no_open_one(flat, gateway):
    jobs = [work.open_job(flat) for _ in range(11)]
    gateway.will_use(*[(10, 10)] * 13)
    for job in jobs[:10]:
        work.call(flat, job)
    assert balance(flat) == (0, 10, 0, 10)

    with pytest.raises(InsufficientCredits, match="Team has 0 credits remaining, but 1 required"):
        work.submit(flat, jobs[10])
    assert len(gateway.requests) == 10
    # What is held pays for more calls of the same job.
    work.call(flat, jobs[0], "And more.")
    for job in jobs[:10]:
        work.complete(flat, job)
    assert balance(flat) == (0, 0, 10, 10)

    work.complete(flat, jobs[10])
    assert outcome(jobs[10]) == ("completed", "free", 0, 0)
    refused = work.open_job(flat)
    with pytest.raises(InsufficientCredits):
        work.submit(flat, refused)
    books.give(flat.team, 1, key="top-up")
    work.call(flat, refused)
    work.complete(flat, refused)
    assert balance(flat) == (0, 0, 11, 11)


def test_month_of_a_team_that_pays_by_consumption(metered, gateway):
    # Two calls at once, each of at most 20,000 tokens: held are 2 credits, then 4.
    job = work.open_job(metered)
    first = work.submit(metered, job, "First.", model="chat", max_tokens=20_000)
    assert balance(metered) == (8, 2, 0, 10)
    second = work.submit(metered, job, "Second.", model="chat", max_tokens=20_000)
    assert balance(metered) == (6, 4, 0, 10)

    # The first uses half: a quarter of the hold is slack, which is not yet worth giving back.
    gateway.will_use((0, 10_000), (0, 10_000))
    execution.run_call(first)
    assert balance(metered) == (6, 4, 0, 10)
    execution.run_call(second)
    assert balance(metered) == (8, 2, 0, 10)
    work.complete(metered, job)
    assert (outcome(job), balance(metered)) == (("completed", "charged", 2, 0), (8, 0, 2, 10))

    # Less than a credit costs the minimum.
    small = work.open_job(metered)
    gateway.will_use((50, 50))
    work.call(metered, small, model="chat", max_tokens=100)
    work.complete(metered, small)
    assert (outcome(small), balance(metered)) == (("completed", "charged", 1, 0), (7, 0, 3, 10))

    # A bound beyond the wallet is refused before any provider is asked.
    asked = len(gateway.requests)
    large = work.open_job(metered)
    with pytest.raises(InsufficientCredits, match="7 credits remaining, but 8 required"):
        work.submit(metered, large, model="chat", max_tokens=80_000)
    assert (len(gateway.requests), balance(metered)) == (asked, (7, 0, 3, 10))

    # Prices change for new jobs alone: this one began at 10 credits a dollar.
    begun = work.open_job(metered)
    call = work.submit(metered, begun, model="chat", max_tokens=20_000)
    provisioning.billing.change_plan(metered.team, actor=make.TESTER, credits_per_dollar=20)
    gateway.will_use((0, 20_000))
    execution.run_call(call)
    work.complete(metered, begun)
    assert (outcome(begun), balance(metered)) == (("completed", "charged", 2, 0), (5, 0, 5, 10))
    dearer = work.open_job(metered)
    gateway.will_use((0, 20_000))
    work.call(metered, dearer, model="chat", max_tokens=20_000)
    work.complete(metered, dearer)
    assert (outcome(dearer), balance(metered)) == (("completed", "charged", 4, 0), (1, 0, 9, 10))


def test_job_that_costs_more_than_it_held_takes_what_is_there(metered, gateway):
    # The provider ignores the cap of 20,000 tokens and uses 70,000: 5 credits beyond the hold of 2.
    over = work.open_job(metered)
    gateway.will_use((0, 70_000))
    work.call(metered, over, model="chat", max_tokens=20_000)
    assert balance(metered) == (8, 2, 0, 10)
    work.complete(metered, over)
    assert (outcome(over), balance(metered)) == (("completed", "charged", 7, 0), (3, 0, 7, 10))

    # Again, while another job holds 1 of the 3 that are left: 2 can be taken of the 9.
    other = work.open_job(metered)
    gateway.will_use((0, 90_000))
    broke = work.open_job(metered)
    work.submit(metered, other, model="chat", max_tokens=10_000)
    work.call(metered, broke, "Again.", model="chat", max_tokens=20_000)
    work.complete(metered, broke)
    assert (outcome(broke), balance(metered)) == (("completed", "charged", 2, 7), (0, 1, 9, 10))

    # What was not collected is no debt: new credits are the customer's to spend.
    books.give(metered.team, 5, key="top-up")
    assert balance(metered) == (5, 1, 9, 15)
    assert books.figures(metered.team)["debt"] == 0


def test_long_chat_holds_what_it_costs_not_the_sum_of_its_maxima(metered, gateway):
    chat = work.open_job(metered, "chat")
    gateway.will_use(*[(500, 500)] * 30)

    for turn in range(30):
        work.call(metered, chat, f"Turn {turn}.", model="chat", max_tokens=20_000)
        assert billing.balance(metered.team).held_micros <= 5 * CREDIT

    work.complete(metered, chat)
    assert (outcome(chat), balance(metered)) == (("completed", "charged", 3, 0), (7, 0, 3, 10))


def test_month_of_a_team_that_pays_by_tokens(gateway):
    make.platform_model()
    tokens = make.customer(credits=5, budget_mode="consumption_tokens", tokens_per_credit=1_000)
    job = work.open_job(tokens)
    gateway.will_use((1_200, 300), (900, 400))

    work.call(tokens, job, "First.", max_tokens=900)
    assert balance(tokens) == (4, 1, 0, 5)
    work.call(tokens, job, "Second.", max_tokens=900)
    assert balance(tokens) == (3, 2, 0, 5)
    work.complete(tokens, job)

    assert (outcome(job), balance(tokens)) == (("completed", "charged", 2, 0), (3, 0, 2, 5))


def test_promotion_is_used_up_before_what_was_paid_for(flat, gateway):
    books.give(flat.team, 2, key="welcome", kind=Grant.Kind.PROMOTIONAL)
    assert balance(flat) == (12, 0, 0, 12)
    gateway.will_use(*[(10, 10)] * 3)
    jobs = [work.open_job(flat) for _ in range(3)]
    for job in jobs:
        work.call(flat, job)
        work.complete(flat, job)

    assert books.lots(flat.team) == [("promotional", 0), ("paid", 9)]
    books.reverse(charge_of(jobs[0]), 1, key="sorry")
    assert books.lots(flat.team) == [("promotional", 1), ("paid", 9)]
    assert balance(flat) == (10, 0, 2, 12)


def test_disputed_payment_is_taken_back_after_it_was_spent(flat, gateway):
    payment = books.give(flat.team, 20, key="invoice-1", external_id="payment-1")
    gateway.will_use(*[(10, 10)] * 16)
    for _ in range(15):
        job = work.open_job(flat)
        work.call(flat, job)
        work.complete(flat, job)
    running = work.open_job(flat)
    work.call(flat, running)
    assert balance(flat) == (14, 1, 15, 30)

    # 14 are free and go; 6 of the 20 become debt. The running job keeps its credit.
    books.reverse(payment, 20, key="dispute", external_id="dispute-1")
    assert balance(flat) == (-6, 1, 15, 10)
    assert books.figures(flat.team)["debt"] == 6
    with pytest.raises(InsufficientCredits):
        work.submit(flat, work.open_job(flat))
    work.complete(flat, running)
    assert (outcome(running), balance(flat)) == (("completed", "charged", 1, 0), (-6, 0, 16, 10))

    # The customer pays again: debt first, then it works again.
    books.give(flat.team, 8, key="invoice-2", external_id="payment-2")
    assert balance(flat) == (2, 0, 16, 18)
    assert books.figures(flat.team)["debt"] == 0
    assert books.lots(flat.team)[-1] == ("paid", 2)
    gateway.will_use((10, 10))
    work.call(flat, work.open_job(flat))
    assert balance(flat) == (1, 1, 16, 18)
