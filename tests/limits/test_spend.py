"""Limits of spend: held with the job, used with its charge, given back with its release. B2: no phantom refusals."""

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext

from apps.core import verification
from apps.core.money import MICROS
from apps.credits.models import Account, Hold
from apps.jobs import execution, sweeper
from apps.jobs import services as jobs
from apps.jobs.escrow import Budget
from apps.jobs.models import Call, Job
from apps.limits import services
from apps.limits.errors import SpendLimitReached
from apps.limits.models import Decision, Metric, SpendWindow
from apps.organizations.models import Organization
from apps.virtual_keys import services as virtual_keys
from tests import make
from tests.jobs import steps
from tests.limits.limiting import call, ids, limit, windows


def test_what_a_flat_job_holds_and_is_charged_counts_once(customer):
    limit("team", "acme", Metric.SPEND_DAY, 5)
    job = steps.open_job(customer)
    assert windows() == []
    for number in range(3):
        steps.run(steps.ask(customer, job, f"Call {number}"))
        assert windows() == [("team", 1, 0)]
    steps.complete(customer, job)
    assert windows() == [("team", 0, 1)]
    steps.complete(customer, job)
    assert windows() == [("team", 0, 1)]


def test_every_scope_of_the_way_counts_it(customer):
    for scope, named in ids(customer).items():
        for metric in (Metric.SPEND_DAY, Metric.SPEND_MONTH):
            limit(scope, metric=metric, amount=5, **named)
    execution.run_call(str(call(customer).call_id))
    scopes = ("key", "model", "organization", "platform", "team", "user")
    assert windows() == [(scope, 0, 1) for scope in scopes for _ in range(2)]


@pytest.mark.parametrize("verdict", ["failed", "completed"])
def test_a_job_that_is_not_charged_gives_its_room_back(customer, verdict):
    limit("team", "acme", Metric.SPEND_DAY, 1)
    job = steps.open_job(customer)
    submitted = steps.ask(customer, job)
    Call.objects.filter(pk=submitted.call_id).update(wait_until="2020-01-01T00:00Z")
    sweeper.run()
    steps.complete(customer, job, verdict)
    assert windows() == [("team", 0, 0)]
    call(customer, "There is room again")


def test_a_refused_call_holds_nothing_anywhere(customer):
    limit("team", "acme", Metric.SPEND_DAY, 1)
    limit("organization", customer.organization.organization_id, Metric.SPEND_MONTH, 100)
    call(customer, "First")
    for number in range(3):
        with pytest.raises(SpendLimitReached):
            call(customer, f"Refused {number}")
    assert windows() == [("organization", 1, 0), ("team", 1, 0)]
    assert steps.money(customer) == (100, 1)


def test_a_call_without_credits_holds_nothing_of_its_limits(db):
    make.platform_model()
    poor = make.customer(team_id="acme", credits=0)
    limit("team", "acme", Metric.SPEND_DAY, 5)
    with pytest.raises(Exception, match="Insufficient credits"):
        call(poor)
    assert windows() == [("team", 0, 0)]
    (spend, credits) = Decision.objects.get().limits
    assert (spend["limit"], spend["verdict"]) == (Metric.SPEND_DAY, "passed")
    assert (credits["limit"], credits["verdict"], credits["allowed"]) == ("credits", "refused", 0)


def test_windows_are_locked_before_the_account_that_a_reservation_of_a_jobs_only_call_takes(customer):
    limit("team", "acme", Metric.SPEND_DAY, 50)
    new = jobs.NewJob("query", budget=Budget(max_micros=20 * MICROS, reserves=True))
    with CaptureQueriesContext(connection) as queries:
        jobs.submit_one_call_job(customer.principal, new, steps.request_for(), wait_s=28, reply_to="")
    assert windows() == [("team", 20, 0)]
    statements = [query["sql"] for query in queries]
    # The hold is one statement with the wallet's change, so it need not begin with it.
    locks = [place for place, sql in enumerate(statements) if '"limits_spendwindow"."held_micros"' in sql]
    changes = [place for place, sql in enumerate(statements) if "UPDATE credits_account" in sql]
    assert locks[0] < changes[0]


def test_further_calls_of_a_job_that_holds_its_price_are_not_refused(customer):
    limit("team", "acme", Metric.SPEND_DAY, 1)
    job = steps.open_job(customer)
    steps.ask(customer, job, "First")
    steps.ask(customer, job, "Second")
    assert windows() == [("team", 1, 0)]


@pytest.fixture
def metered(db) -> make.Customer:
    """A dollar a token of output; ten credits a dollar."""
    make.alias("chat-default", is_open=True, is_default=True, input_usd_per_mtok=0, output_usd_per_mtok=1_000_000)
    return make.metered_customer(team_id="acme", credits=1000)


def test_a_limited_key_does_not_spend_in_jobs_that_another_began(customer):
    """B2: else every job of the team would be a way past the limit."""
    _, secret = virtual_keys.issue(customer.team, actor=make.TESTER)
    limited = make.Customer(customer.organization, customer.team, secret)
    limit("key", limited.principal.key_id, Metric.SPEND_DAY, 1)
    limit("team", "acme", Metric.SPEND_DAY, 50)
    one, two = steps.open_job(customer), steps.open_job(customer)
    steps.run(steps.ask(customer, one, "First"))
    steps.run(steps.ask(customer, two, "First"))
    assert windows() == [("team", 2, 0)]

    steps.run(steps.ask(limited, one, "Second"))
    steps.ask(limited, one, "Third")
    assert windows() == [("key", 1, 0), ("team", 2, 0)]
    with pytest.raises(SpendLimitReached) as refused:
        steps.ask(limited, two, "Second")

    assert refused.value.details["id"] == limited.principal.key_id
    steps.ask(customer, two, "The other key's own")
    steps.complete(customer, one)
    assert windows() == [("key", 0, 1), ("team", 1, 1)]


def test_a_limited_model_is_not_asked_in_jobs_that_another_began(customer):
    """A job has one charge: it counts whole for each limited model that it asks."""
    make.alias("precious", is_open=True)
    limit("model", "precious", Metric.SPEND_DAY, 1)
    one, two = steps.open_job(customer), steps.open_job(customer)
    steps.run(steps.ask(customer, one, "First"))
    steps.run(steps.ask(customer, two, "First"))
    assert windows() == []

    steps.run(steps.ask(customer, one, "Second", model="precious"))
    steps.ask(customer, one, "Third", model="precious")
    assert windows() == [("model", 1, 0)]
    with pytest.raises(SpendLimitReached) as refused:
        steps.ask(customer, two, "Second", model="precious")

    assert (refused.value.details["scope"], refused.value.details["id"]) == ("model", "precious")
    steps.ask(customer, two, "Another model")
    steps.complete(customer, one)
    assert windows() == [("model", 0, 1)]


def test_days_of_a_model_are_those_of_utc(customer):
    Organization.objects.update(time_zone="Pacific/Kiritimati")
    limit("model", "chat-default", Metric.SPEND_DAY, 5)
    limit("team", "acme", Metric.SPEND_DAY, 5)

    call(customer)

    ends = {row.scope: row.ends_at.hour for row in SpendWindow.objects.all()}
    assert ends == {"model": 0, "team": 10}


def test_a_job_keeps_the_period_of_a_key_that_began_it(customer):
    limit("key", customer.principal.key_id, Metric.SPEND_DAY, 5)
    job = steps.open_job(customer)
    steps.ask(customer, job, "Yesterday")
    SpendWindow.objects.update(period="2020-01-01")

    steps.ask(customer, job, "Today")

    assert sorted(row.held_micros for row in SpendWindow.objects.all()) == [0, MICROS]


def test_a_metered_job_counts_what_its_hold_grows_and_shrinks_by(metered, monkeypatch):
    limit("team", "acme", Metric.SPEND_DAY, 200)
    steps.take_route(monkeypatch, lambda request: steps.answer(prompt=1, completion=2))
    job = steps.open_job(metered)
    first = steps.ask(metered, job, "First", parameters={"max_tokens": 10})
    assert windows() == [("team", 100, 0)]
    second = steps.ask(metered, job, "Second", parameters={"max_tokens": 10})
    assert windows() == [("team", 200, 0)]
    with pytest.raises(SpendLimitReached) as refused:
        steps.ask(metered, job, "Third", parameters={"max_tokens": 1})
    assert refused.value.details["needed"] == 10 * MICROS
    assert steps.fresh(job).held_micros == 200 * MICROS

    steps.run(first)
    # Its slack is given back: 20 credits were used and the other may come to 100.
    assert windows() == [("team", 120, 0)]
    steps.run(second)
    steps.complete(metered, job)
    assert windows() == [("team", 0, 40)]


def test_a_charge_above_the_hold_is_counted_whole(metered, monkeypatch):
    limit("team", "acme", Metric.SPEND_DAY, 100)
    steps.take_route(monkeypatch, lambda request: steps.answer(prompt=1, completion=30))
    execution.run_call(str(call(metered, parameters={"max_tokens": 10}).call_id))
    assert windows() == [("team", 0, 300)]
    with pytest.raises(SpendLimitReached):
        call(metered, "Over", parameters={"max_tokens": 1})


def test_a_job_keeps_its_windows_when_limits_come_and_go(customer):
    one = limit("team", "acme", Metric.SPEND_DAY, 5)
    job = steps.open_job(customer)
    steps.run(steps.ask(customer, job))
    services.delete(one.pk, actor=make.TESTER)
    limit("team", "acme", Metric.SPEND_MONTH, 5)
    steps.complete(customer, job)
    # Of the month, which it did not begin in, it is not.
    assert windows() == [("team", 0, 1)]
    assert Job.objects.get().spend_windows == [SpendWindow.objects.get().pk]


def test_a_limit_that_was_lowered_refuses_and_one_that_was_raised_admits(customer):
    limit("team", "acme", Metric.SPEND_DAY, 5)
    call(customer, "First")
    limit("team", "acme", Metric.SPEND_DAY, 1)
    with pytest.raises(SpendLimitReached):
        call(customer, "Second")
    limit("team", "acme", Metric.SPEND_DAY, 2)
    call(customer, "Third")


def test_an_abandoned_job_settles_its_windows(customer):
    limit("team", "acme", Metric.SPEND_DAY, 5)
    job = steps.open_job(customer)
    steps.run(steps.ask(customer, job))
    steps.at(job, active_at=-100 * 3600)
    sweeper.run()
    assert windows() == [("team", 0, 1)]


def test_a_window_is_never_below_nothing(customer):
    limit("team", "acme", Metric.SPEND_DAY, 5)
    call(customer)
    for column in ("held_micros", "used_micros"):
        with pytest.raises(IntegrityError), transaction.atomic():
            SpendWindow.objects.update(**{column: -1})


def test_verification_finds_windows_that_do_not_follow_from_jobs(customer):
    limit("team", "acme", Metric.SPEND_DAY, 5)
    call(customer)
    window = SpendWindow.objects.get()
    SpendWindow.objects.update(held_micros=7, used_micros=9)
    found = {str(difference) for difference in verification.differences()}
    assert found == {
        f"spend_window.held_micros of spend_window:{window.pk}: expected 1000000, found 7",
        f"spend_window.used_micros of spend_window:{window.pk}: expected 0, found 9",
    }
    SpendWindow.objects.update(held_micros=1_000_000, used_micros=0)


def test_free_jobs_pass_a_limit_of_nothing(db):
    make.platform_model()
    customer = make.customer(credits=10)
    limit("team", customer.team.team_id, Metric.SPEND_DAY, 0)
    with pytest.raises(SpendLimitReached):
        call(customer)


# --- B2 ------------------------------------------------------------------------------------------------------


def test_b2_what_is_held_can_be_listed_row_by_row(customer):
    for number in range(3):
        call(customer, f"Call {number}")
    wallet = Account.objects.get(team=customer.team)
    open_holds = Hold.objects.filter(account=wallet, state=Hold.State.OPEN)
    assert wallet.held_micros == open_holds.aggregate(total=Sum("amount_micros"))["total"] == 3 * MICROS
    assert {hold.job for hold in open_holds} == {str(pk) for pk in Job.objects.values_list("pk", flat=True)}


@pytest.mark.django_db(transaction=True)
def test_b2_a_process_killed_between_hold_and_settlement_leaves_no_phantom_refusal():
    make.platform_model()
    customer = make.customer(team_id="acme", credits=1)
    limit("team", "acme", Metric.SPEND_DAY, 1)
    limit("team", "acme", Metric.CALLS, 1)
    submitted = call(customer)
    # Its worker took it, and was never heard of again.
    assert execution.claim(str(submitted.call_id)) is not None
    with pytest.raises(Exception, match="exceeded"):
        call(customer, "Meanwhile")
    steps.at(steps.call_of(submitted), deadline_at=-60)

    sweeper.run()

    assert steps.money(customer) == (1, 0)
    assert windows() == [("team", 0, 0)]
    assert Hold.objects.get().state == Hold.State.RELEASED
    again = call(customer, "The same credit, the same room, the same place")
    assert steps.run(again)
    assert windows() == [("team", 0, 1)]
