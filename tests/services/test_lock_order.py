"""Whatever is done to a job locks in one order: job, calls, spend windows, accounts, then holds and grants."""

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import close_old_connections, connection, transaction
from django.test.utils import CaptureQueriesContext

from apps.core import clock, verification
from apps.credits import ledger
from apps.jobs import budgets, cancelling, execution, lifecycle, services, sweeper
from apps.jobs.budgets import Change
from apps.jobs.errors import JobCapReached
from apps.jobs.escrow import Budget
from apps.jobs.models import Attempt, Call, Job
from apps.limits.models import Metric
from tests import make
from tests.credits import racing
from tests.jobs import steps
from tests.limits.limiting import limit

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


def test_taking_a_call_over_does_not_deadlock_with_its_late_end(acme: make.Customer) -> None:
    make.alias("priced", input_usd_per_mtok=1, output_usd_per_mtok=1, is_open=True)
    job, _ = services.open_job(acme.principal, services.NewJob("query"))
    request = services.CallRequest(
        body={"messages": [{"role": "user", "content": "Who is first?"}]}, fingerprint="", model="priced"
    )
    call_id = services.submit_call(acme.principal, request, job_id=str(job.pk), wait_s=28, reply_to="").call_id
    assert execution.claim(str(call_id)) is not None
    # As the sweeper leaves it once the lease has expired.
    Call.objects.filter(pk=call_id).update(state=Call.State.QUEUED, lease_until=None)
    claimed: list[execution.Claimed | None] = []

    def take_over() -> None:
        claimed.append(execution.claim(str(call_id)))
        close_old_connections()

    thread = threading.Thread(target=take_over)
    with transaction.atomic():
        lifecycle.lock_job(job.pk)
        thread.start()
        # It waits for the job's lock now; had it taken another row's first, that would be asked for here in vain.
        thread.join(timeout=0.5)
        Call.objects.filter(pk=call_id).update(purpose="changed by the one who has the job")
        Attempt.objects.filter(call_id=call_id).update(worker="changed by the one who has the job")
    thread.join(timeout=10)

    assert [found.call.claim for found in claimed if found] == [2]


# --- Budgets, limits and wallets together -------------------------------------------------------------------

MICROS = 1_000_000
RANKS = (
    {"jobs_job"},
    {"jobs_call"},
    {"limits_spendwindow"},
    {"credits_account"},
    {"credits_hold", "credits_grant"},
)
_LOCKS = re.compile(
    # A hold changes the wallet in a WITH of its own.
    r'^(?:WITH \w+ AS \( ?)?UPDATE "?(\w+)|^SELECT .*FOR UPDATE OF "(\w+)"|^SELECT .*? FROM "(\w+)" .*FOR UPDATE',
    re.DOTALL,
)


def locks_of(queries: Iterable[dict[str, str]]) -> Iterator[list[str]]:
    """The tables of which each transaction locks rows that were there, in the order of its first lock of each."""
    tables: list[str] = []
    for query in queries:
        sql = query["sql"]
        if sql in ("BEGIN", "COMMIT", "ROLLBACK"):
            yield tables
            tables = []
        elif sql.startswith('INSERT INTO "jobs_job"'):
            # Nobody else sees it yet, so nobody waits for it.
            tables.insert(0, "jobs_job")
        elif found := _LOCKS.search(sql):
            table = found[1] or found[2] or found[3]
            tables += [table] if table not in tables else []
    yield tables


def require_order(queries: Iterable[dict[str, str]]) -> set[str]:
    """The tables that were locked, each transaction's in the order of their ranks."""
    seen: set[str] = set()
    for tables in locks_of(queries):
        ranks = [rank for table in tables for rank, named in enumerate(RANKS) if table in named]
        assert ranks == sorted(ranks), tables
        seen.update(tables)
    return seen


def request_for(text: str) -> services.CallRequest:
    return steps.request_for(text, model="dear")


def ask(customer: make.Customer, job: Job, text: str) -> services.Submitted:
    return steps.ask(customer, job, text, model="dear")


@pytest.fixture
def metered(acme: make.Customer, monkeypatch: pytest.MonkeyPatch, settings: Any) -> make.Customer:
    """A call may cost 20 credits. Limits of spend that refuse nothing; credits for such jobs alone, and some that
    expire."""
    settings.EMBEDDED = True
    steps.take_route(monkeypatch, lambda _: steps.answer(prompt=1, completion=500))
    make.alias("dear", input_usd_per_mtok=1, output_usd_per_mtok=2_000, max_output_tokens=1_000)
    customer = make.metered_customer(team_id="metered", credits=1_000, access_groups=["dear"])
    ledger.grant(customer.team, amount_micros=25 * MICROS, actor=make.TESTER, key="r", job_types=["query"])
    ends = clock.db_now() + timedelta(hours=1)
    ledger.grant(customer.team, amount_micros=5 * MICROS, actor=make.TESTER, key="e", expires_at=ends)
    for metric in (Metric.SPEND_DAY, Metric.SPEND_MONTH):
        limit("team", "metered", metric, 100_000)
        limit("key", customer.principal.key_id, metric, 100_000)
    return customer


def change(customer: make.Customer, job: Job, **wanted: Any) -> Job:
    return budgets.change(customer.principal, job_id=str(job.pk), wanted=Change(frozenset(wanted), **wanted))


def cancel(customer: make.Customer, job: Job) -> None:
    cancelling.cancel_job(customer.team, job_id=str(job.pk), closed_by="test")


def only_call(customer: make.Customer, text: str = "Only", **budget: Any) -> services.Submitted:
    return services.submit_one_call_job(
        customer.principal,
        services.NewJob("query", budget=Budget(**budget)),
        request_for(text),
        wait_s=28,
        reply_to="",
    )


def test_life_of_jobs_with_budgets_limits_and_several_wallets_locks_in_order(metered: make.Customer) -> None:
    with CaptureQueriesContext(connection) as queries:
        grown = steps.open_job(metered, budget=Budget(max_micros=60 * MICROS, on_cap="pause"))
        steps.run(ask(metered, grown, "a"))
        ask(metered, grown, "b")
        ask(metered, grown, "c")
        with pytest.raises(JobCapReached):
            ask(metered, grown, "d")
        change(metered, grown, max_micros=90 * MICROS)
        change(metered, grown, reserves=True)
        change(metered, grown, reserves=False)
        cancel(metered, grown)
        reserved = steps.open_job(metered, budget=Budget(max_micros=30 * MICROS, reserves=True))
        steps.run(ask(metered, reserved, "f"))
        change(metered, reserved, max_micros=40 * MICROS)
        steps.complete(metered, reserved)
        steps.run(only_call(metered, max_micros=30 * MICROS, reserves=True))
        late = steps.open_job(metered, budget=Budget(deadline=60))
        steps.run(ask(metered, late, "g"))
        unwaited = ask(metered, steps.open_job(metered), "h")
        steps.at(late, deadline_at=-1)
        Call.objects.filter(pk=unwaited.call_id).update(wait_until=clock.from_now(-1))
        sweeper.run()

    locked = {"jobs_job", "jobs_call", "limits_spendwindow", "credits_account", "credits_hold"}
    assert require_order(queries) >= locked
    assert steps.fresh(late).closed_by == "deadline"
    assert [str(difference) for difference in verification.differences()] == []


def test_order_is_told_from_disorder() -> None:
    right = [
        {"sql": 'SELECT 1 FROM "limits_spendwindow" WHERE x FOR UPDATE'},
        {"sql": "UPDATE credits_account SET x"},
    ]
    assert require_order(right) == {"limits_spendwindow", "credits_account"}
    with pytest.raises(AssertionError):
        require_order(reversed(right))
    with pytest.raises(AssertionError):
        require_order([{"sql": "WITH taken AS (UPDATE credits_account SET x) SELECT 1"}, right[0]])


def test_everything_at_once_to_the_same_jobs_ends_without_a_deadlock(metered: make.Customer) -> None:
    """Cancelling, raising, calling, ending and sweeping, with the same windows and the same wallets."""
    principal = metered.principal
    jobs = [
        steps.open_job(metered, budget=Budget(max_micros=70 * MICROS, on_cap="pause", reserves=number % 2 == 0))
        for number in range(3)
    ]
    calls = [ask(metered, job, f"first {job.pk}") for job in jobs]

    def raised(job: Job, credits: int) -> Callable[[], Any]:
        wanted = Change(frozenset({"max_micros"}), max_micros=credits * MICROS)
        return lambda: budgets.change(principal, job_id=str(job.pk), wanted=wanted)

    def asked(job: Job, text: str) -> Callable[[], Any]:
        request = request_for(f"{text} {job.pk}")
        return lambda: services.submit_call(principal, request, job_id=str(job.pk), wait_s=28, reply_to="")

    def made(call: services.Submitted) -> Callable[[], Any]:
        return lambda: steps.run(call)

    def cancelled(job: Job) -> Callable[[], Any]:
        return lambda: cancel(metered, job)

    operations: list[Callable[[], Any]] = [
        lambda: only_call(metered, max_micros=30 * MICROS, reserves=True),
        lambda: sweeper.run(),
    ]
    for job, call in zip(jobs, calls, strict=True):
        operations += [asked(job, "a"), made(call), raised(job, 95), cancelled(job), asked(job, "b"), raised(job, 80)]

    racing.at_once(operations)

    assert [str(difference) for difference in verification.differences()] == []
    assert set(Job.objects.filter(pk__in=[job.pk for job in jobs]).values_list("status", flat=True)) == {"cancelled"}
