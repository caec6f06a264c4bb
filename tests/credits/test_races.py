"""Real threads on PostgreSQL: what meets never spends twice, overdraws, deadlocks or leaves a trace.

A deadlock is an OperationalError, which no helper here catches.
"""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F

from apps.core import clock, verification
from apps.core.errors import DomainError, IdempotencyConflict
from apps.credits import ledger
from apps.credits.errors import HoldClosed, InsufficientCredits, ReversalExceedsEntry
from apps.credits.models import Account, Entry, Grant, Hold
from apps.jobs import execution, lifecycle
from apps.jobs.errors import JobClosed
from apps.jobs.models import Attempt, Call
from apps.provisioning import credits as provisioning
from tests import make
from tests.credits import books, racing, work
from tests.credits.books import CREDIT

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("_clean_books"),
]


@pytest.fixture
def funded(team):
    """The team, with 10 credits."""
    books.give(team, 10, key="start")
    return team


@pytest.fixture
def embedded_acme(acme, settings):
    """acme, whose calls the demo provider may answer here."""
    settings.EMBEDDED = True
    # A settlement that the database refuses is tried again until then.
    settings.CALL_DEADLINE_S = 20
    return acme


def count(results, kind) -> int:
    return sum(isinstance(result, kind) for result in results)


# --- All at once -------------------------------------------------------------------------------------------


def test_parallel_holds_on_a_balance_for_ten_admit_exactly_ten(funded):
    results = racing.at_once([lambda n=n: books.hold(funded, 1, job=f"job-{n}") for n in range(30)])

    assert (count(results, Hold), count(results, InsufficientCredits)) == (10, 20)
    assert books.figures(funded) == {"posted": 10, "held": 10, "debt": 0, "allocated": 10, "used": 0}


def test_parallel_holds_of_one_job_hold_once(funded):
    results = racing.at_once([lambda: books.hold(funded, 3, job="job")] * 12)

    assert {result.pk for result in results} == {Hold.objects.get().pk}
    assert books.figures(funded)["held"] == 3


def test_parallel_charges_of_one_job_post_one_entry(funded):
    books.hold(funded, 4, job="job")

    results = racing.at_once([lambda: books.charge(funded, 4, job="job")] * 20)

    assert {result.entry_id for result in results} == {Entry.objects.get(kind="charge").pk}
    assert books.figures(funded) == {"posted": 6, "held": 0, "debt": 0, "allocated": 10, "used": 4}


def test_parallel_completions_of_one_job_charge_once(embedded_acme):
    acme = embedded_acme
    job = work.open_job(acme)
    execution.run_call(work.submit(acme, job))

    results = racing.at_once([lambda: work.complete(acme, job)] * 20)

    assert {(job.status, job.charge_state, job.charged_micros) for job in results} == {
        ("completed", "charged", CREDIT)
    }
    assert Entry.objects.filter(kind="charge").count() == 1
    assert verification.verify().differences == []


def test_parallel_grants_with_one_key_grant_once(team):
    results = racing.at_once([lambda: books.give(team, 10, key="same", external_id="payment-1")] * 12)

    assert {result.pk for result in results} == {Entry.objects.get().pk}
    assert books.figures(team)["posted"] == 10


def test_parallel_grants_of_one_payment_under_many_keys_grant_once(team, other_team):
    results = racing.at_once(
        [
            lambda n=n, to=to: books.give(to, 10, key=f"k{n}", external_id="payment-1")
            for n, to in enumerate([team, other_team] * 6)
        ]
    )

    assert (count(results, Entry), count(results, IdempotencyConflict)) == (1, 11)
    assert Entry.objects.filter(external_id="payment-1").count() == 1


def test_parallel_adjustments_with_one_key_take_once(funded):
    results = racing.at_once([lambda: books.adjust(funded, 4, key="same")] * 12)

    assert {result.pk for result in results} == {Entry.objects.get(kind="adjust").pk}
    assert books.figures(funded)["posted"] == 6


def test_grants_and_adjustments_meet_without_a_loss(funded):
    grants = [lambda n=n: books.give(funded, 1, key=f"g{n}") for n in range(6)]
    adjustments = [lambda n=n: books.adjust(funded, 3, key=f"a{n}") for n in range(10)]

    results = racing.at_once([*grants, *adjustments])

    taken = sum(isinstance(result, Entry) and result.kind == "adjust" for result in results)
    assert taken + count(results, InsufficientCredits) == 10
    assert books.figures(funded)["posted"] == 16 - 3 * taken
    assert taken >= 3


def test_racing_allocations_end_at_one_of_them(funded):
    wanted = [5, 20, 30, 40] * 3

    racing.at_once(
        [
            lambda n=n, credits=credits: provisioning.set_allocation(
                funded, credits=credits, actor=make.TESTER, key=f"k{n}"
            )
            for n, credits in enumerate(wanted)
        ]
    )

    assert books.figures(funded)["allocated"] in wanted
    assert books.figures(funded)["posted"] == books.figures(funded)["allocated"]


def test_racing_allocations_and_holds_never_take_what_is_held(funded):
    holds = [lambda n=n: books.hold(funded, 1, job=f"job-{n}") for n in range(10)]
    lowered = [
        lambda n=n: provisioning.set_allocation(funded, credits=n, actor=make.TESTER, key=f"k{n}") for n in range(8)
    ]

    racing.at_once([*holds, *lowered])

    figures = books.figures(funded)
    assert figures["posted"] >= figures["held"] == Hold.objects.filter(state="open").count()


def test_racing_reversals_sum_to_at_most_the_original(funded):
    grant = Entry.objects.get(kind="grant", credit_account__team=funded)

    results = racing.at_once([lambda n=n: books.reverse(grant, 3, key=f"t{n}") for n in range(10)])

    assert (count(results, Entry), count(results, ReversalExceedsEntry)) == (3, 7)
    assert books.figures(funded)["posted"] == 1


def test_submit_against_complete_never_leaves_a_hold(embedded_acme):
    acme = embedded_acme
    for number in range(12):
        job = work.open_job(acme)
        execution.run_call(work.submit(acme, job, "first"))

        submitted, completed = racing.at_once(
            [
                lambda job=job, n=number: work.submit(acme, job, f"second {n}"),
                lambda job=job: work.complete(acme, job),
            ]
        )

        assert not isinstance(completed, DomainError)
        if isinstance(submitted, str):
            execution.run_call(submitted)
        else:
            assert isinstance(submitted, JobClosed)
    assert Entry.objects.filter(kind="charge").count() == 12
    assert books.figures(acme.team)["held"] == 0
    assert verification.verify().differences == []


def test_ending_calls_against_complete_charge_once(embedded_acme):
    acme = embedded_acme
    for _ in range(6):
        job = work.open_job(acme)
        calls = [work.submit(acme, job, f"question {n}") for n in range(3)]

        racing.at_once(
            [*(lambda c=c: execution.run_call(c) for c in calls), lambda job=job: work.complete(acme, job)]
        )

        job.refresh_from_db()
        assert (job.charge_state, job.open_calls, job.successful_calls) == ("charged", 0, 3)
    assert Entry.objects.filter(kind="charge").count() == 6
    assert verification.verify().differences == []


# --- One waits for the other's lock, with what it read before gone stale ------------------------------------


def op_charge(team):
    return books.charge(team, 4, job="job")


def op_release(_team):
    return ledger.release(job="job")


def op_extend_to(credits: int):
    return lambda team: ledger.extend(team, job="job", to_micros=credits * CREDIT)


@pytest.mark.parametrize(
    ("first", "second", "refusal", "posted", "held"),
    [
        pytest.param(op_charge, op_charge, None, 6, 0, id="charge, charge"),
        pytest.param(op_charge, op_extend_to(8), HoldClosed, 6, 0, id="charge, extend up"),
        pytest.param(op_charge, op_extend_to(2), HoldClosed, 6, 0, id="charge, extend down"),
        pytest.param(op_charge, op_release, None, 6, 0, id="charge, release"),
        pytest.param(op_extend_to(8), op_charge, None, 6, 0, id="extend up, charge"),
        pytest.param(op_extend_to(2), op_charge, None, 6, 0, id="extend down, charge"),
        pytest.param(op_extend_to(8), op_extend_to(9), None, 10, 9, id="extend up, extend up"),
        pytest.param(op_extend_to(2), op_extend_to(8), None, 10, 8, id="extend down, extend up"),
        pytest.param(op_extend_to(8), op_release, None, 10, 0, id="extend up, release"),
        pytest.param(op_extend_to(2), op_release, None, 10, 0, id="extend down, release"),
        pytest.param(op_release, op_charge, None, 10, 0, id="release, charge"),
        pytest.param(op_release, op_extend_to(8), HoldClosed, 10, 0, id="release, extend up"),
        pytest.param(op_release, op_extend_to(2), HoldClosed, 10, 0, id="release, extend down"),
        pytest.param(op_release, op_release, None, 10, 0, id="release, release"),
    ],
)
def test_hold_is_resolved_once_whoever_comes_second(funded, first, second, refusal, posted, held):
    books.hold(funded, 6, job="job")

    _, result = racing.in_turn(lambda: first(funded), lambda: second(funded))

    if refusal:
        assert isinstance(result, refusal)
    else:
        assert not isinstance(result, DomainError)
    figures = books.figures(funded)
    assert (figures["posted"], figures["held"]) == (posted, held)


def test_charge_behind_a_shrinking_hold_of_the_only_job_still_charges(funded):
    books.hold(funded, 10, job="job")

    _, charge = racing.in_turn(
        lambda: ledger.extend(funded, job="job", to_micros=CREDIT), lambda: books.charge(funded, 7, job="job")
    )

    assert charge.charged_micros == 7 * CREDIT
    assert books.figures(funded) == {"posted": 3, "held": 0, "debt": 0, "allocated": 10, "used": 7}


@pytest.mark.parametrize(
    ("first", "second", "held"),
    [(6, 6, 6), (6, 8, 8), (8, 5, 5)],
)
def test_first_holds_of_one_job_that_meet_end_as_the_second_wants(funded, first, second, held):
    racing.in_turn(lambda: op_extend_to(first)(funded), lambda: op_extend_to(second)(funded))

    assert books.figures(funded)["held"] == held
    assert Hold.objects.get().amount_micros == held * CREDIT


@pytest.mark.parametrize("credits", [4, 10])
def test_repeated_adjustment_behind_its_twin_returns_it(funded, credits):
    first, second = racing.in_turn(
        lambda: books.adjust(funded, credits, key="same"), lambda: books.adjust(funded, credits, key="same")
    )

    assert first == second
    assert books.figures(funded)["posted"] == 10 - credits


def test_repeated_grant_behind_its_twin_returns_it(team):
    first, second = racing.in_turn(lambda: books.give(team, 10, key="same"), lambda: books.give(team, 10, key="same"))

    assert first == second


def test_repeated_reversal_behind_its_twin_returns_it(funded):
    grant = Entry.objects.get(kind="grant", credit_account__team=funded)

    first, second = racing.in_turn(
        lambda: books.reverse(grant, 10, key="same"), lambda: books.reverse(grant, 10, key="same")
    )

    assert first == second
    assert books.figures(funded)["posted"] == 0


@pytest.fixture
def taken_over(acme, settings):
    """A call whose first worker lost its lease: back in the queue, its first try still to be accounted for."""
    settings.EMBEDDED = True
    make.alias("priced", input_usd_per_mtok=1, output_usd_per_mtok=1, is_open=True)
    job = work.open_job(acme)
    call_id = work.submit(acme, job, model="priced")
    execution.claim(call_id)
    Call.objects.filter(pk=call_id).update(state=Call.State.QUEUED, lease_until=None)
    return Call.objects.get(pk=call_id)


def settle_first_claim(call: Call) -> bool:
    served = lifecycle.Outcome(Call.State.SUCCEEDED, prompt_tokens=1, completion_tokens=1, cost_nanousd=2)
    return lifecycle.end_call(call.job_id, call.pk, served, claim=1)


def test_settlement_behind_the_next_claim_changes_nothing(taken_over):
    call = taken_over

    claimed, settled = racing.in_turn(lambda: execution.claim(str(call.pk)), lambda: settle_first_claim(call))

    assert (claimed.call.claim, settled) == (2, False)
    assert list(Attempt.objects.order_by("claim").values_list("state", flat=True)) == ["abandoned", "running"]
    assert verification.verify().differences == []


def test_claim_that_arrives_amid_a_late_settlement_finds_nothing_to_do(taken_over):
    call = taken_over

    settled, claimed = racing.in_turn(
        lambda: lifecycle.lock_job(call.job_id),
        lambda: execution.claim(str(call.pk)),
        then=lambda: settle_first_claim(call),
    )

    assert (settled, claimed) == (True, None)
    assert Attempt.objects.get().state == "succeeded"
    assert verification.verify().differences == []


# --- Everything at once ------------------------------------------------------------------------------------


def test_storm_of_everything_ends_without_a_deadlock_and_in_order(funded, other_team):
    teams = [funded, other_team]
    stop = threading.Event()

    def storm(seed: int) -> int:
        dice = random.Random(seed)
        done = 0
        for step in range(40):
            team = dice.choice(teams)
            job = f"job-{dice.randrange(12)} of {team.team_id}"
            act = dice.choice(ACTS)
            result = racing.outcome(lambda t=team, j=job, a=act, s=step: _act(dice, a, t, j, key=f"{seed}:{s}"))
            done += not isinstance(result, DomainError)
        return done

    def audit() -> int:
        runs = 0
        while not stop.is_set():
            found = [each for each in verification.verify().differences if not each.check.startswith("job.")]
            assert [each for each in found if each.check != "entry.job"] == []
            runs += 1
        connection.close()
        return runs

    with ThreadPoolExecutor(1) as auditor:
        audits = auditor.submit(audit)
        try:
            done = racing.at_once([lambda seed=seed: storm(seed) for seed in range(6)])
        finally:
            stop.set()
        assert audits.result(20) > 0
    assert sum(done) > 60
    overdrawn = Account.objects.filter(
        posted_micros__lt=F("held_micros") - F("debt_micros") - F("credit_line_micros")
    )
    assert not overdrawn.exists()


ACTS = ["grant", "hold", "hold", "extend", "charge", "release", "reverse", "adjust", "set", "move", "line", "expire"]


def _act(dice: random.Random, act: str, team, job: str, *, key: str):
    credits = dice.randint(1, 6)
    amount = {"amount_micros": credits * CREDIT}
    job_type = "report" if int(job.split()[0][4:]) % 2 else "query"
    match act:
        case "grant":
            return _grant(dice, team, key=key, **amount)
        case "hold":
            return ledger.hold(team, job=job, job_type=job_type, **amount)
        case "extend":
            return ledger.extend(team, job=job, to_micros=credits * CREDIT, job_type=job_type)
        case "charge":
            return ledger.charge(team, job=job, job_type=job_type, **amount)
        case "move":
            return dice.choice([ledger.allocate, ledger.reclaim])(team, actor=make.TESTER, key=key, **amount)
        case "line":
            return ledger.set_credit_line(team, amount_micros=dice.choice([0, 5 * CREDIT]))
        case "expire":
            return ledger.expire_due()
        case "release":
            return ledger.release(job=job)
        case "adjust":
            return books.adjust(team, credits, key=key)
        case "set":
            return provisioning.set_allocation(team, credits=credits * 20, actor=make.TESTER, key=key)
        case _:
            entries = list(Entry.objects.filter(kind__in=["charge", "grant"]))
            return books.reverse(dice.choice(entries), credits, key=key)


def _grant(dice: random.Random, team, **amount):
    """Some expire amid the storm, some are for reports alone, some are the pool's."""
    terms = {
        **amount,
        "actor": make.TESTER,
        "kind": dice.choice(Grant.Kind.values),
        "expires_at": dice.choice([None, clock.now() + timedelta(milliseconds=dice.randint(20, 600))]),
    }
    match dice.choice(["wallet", "reports", "pool"]):
        case "pool":
            return ledger.grant_to_pool(team.organization, **terms)
        case "reports":
            return ledger.grant(team, job_types=["report"], **terms)
        case _:
            return ledger.grant(team, **terms)
