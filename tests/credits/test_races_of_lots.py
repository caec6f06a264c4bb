"""B11, B7: expiry, pools, restricted wallets and refunds among real threads on PostgreSQL.

A deadlock is an OperationalError, which no helper here catches.
"""

from datetime import timedelta

import pytest
from django.db.models import F

from apps.core import clock
from apps.core.errors import DomainError
from apps.credits import ledger
from apps.credits.errors import InsufficientCredits, PoolTooSmall, ReclaimExceedsAllocation, ReversalExceedsEntry
from apps.credits.models import Account, Entry, Grant, Hold
from apps.jobs.services import NewJob, open_job
from tests import make
from tests.credits import books, racing, work
from tests.credits.books import CREDIT

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("_clean_books"),
]


@pytest.fixture
def expiring(team):
    """Ten credits that have just expired, and that nobody posted; five that never do."""
    books.give(team, 10, key="soon", expires_at=clock.now() + timedelta(days=1))
    books.give(team, 5, key="never")
    books.pass_days(1)
    return team


def count(results, kind) -> int:
    return sum(isinstance(result, kind) for result in results)


# --- Expiry -------------------------------------------------------------------------------------------------


def test_b11_holds_that_meet_an_expiry_get_what_does_not_expire_and_no_more(expiring):
    results = racing.at_once(
        [*(lambda n=n: books.hold(expiring, 1, job=f"job-{n}") for n in range(12)), *[ledger.expire_due] * 4]
    )

    assert (count(results, Hold), count(results, InsufficientCredits)) == (5, 7)
    assert books.figures(expiring) == {"posted": 5, "held": 5, "debt": 0, "allocated": 5, "used": 0}
    assert Entry.objects.filter(kind="expire").count() == 1


def test_b11_parallel_sweeps_post_an_expiry_once(expiring):
    racing.at_once([ledger.expire_due] * 8)
    ledger.expire_due()

    assert [entry.amount_micros for entry in Entry.objects.filter(kind="expire")] == [10 * CREDIT]


def test_hold_behind_an_expiry_of_the_same_account_sees_what_is_left(expiring):
    _, refused = racing.in_turn(ledger.expire_due, lambda: books.hold(expiring, 6, job="job"))

    assert isinstance(refused, InsufficientCredits)


def test_hold_behind_a_hold_that_posted_the_expiry_is_not_refused_for_it(expiring):
    """Its guard failed by what it read before the lock; what was in the way is seen to when it looks again."""
    first, second = racing.in_turn(
        lambda: books.hold(expiring, 2, job="first"), lambda: books.hold(expiring, 3, job="second")
    )

    assert (first.amount_micros, second.amount_micros) == (2 * CREDIT, 3 * CREDIT)


def test_charge_behind_a_sweep_still_has_what_its_hold_kept(team):
    books.give(team, 10, key="soon", expires_at=clock.now() + timedelta(days=1))
    books.hold(team, 4, job="job")
    books.pass_days(1)

    _, charge = racing.in_turn(ledger.expire_due, lambda: books.charge(team, 4, job="job"))

    assert charge.charged_micros == 4 * CREDIT
    assert books.figures(team) == {"posted": 0, "held": 0, "debt": 0, "allocated": 4, "used": 4}


def test_charges_releases_and_sweeps_leave_no_expired_credit(team):
    books.give(team, 20, key="soon", expires_at=clock.now() + timedelta(days=1))
    for number in range(10):
        books.hold(team, 2, job=f"job-{number}")
    books.pass_days(1)

    racing.at_once(
        [
            *(lambda n=n: books.charge(team, 1, job=f"job-{n}") for n in range(5)),
            *(lambda n=n: ledger.release(job=f"job-{n}") for n in range(5, 10)),
            *[ledger.expire_due] * 4,
        ]
    )
    ledger.expire_due()

    assert books.figures(team) == {"posted": 0, "held": 0, "debt": 0, "allocated": 5, "used": 5}


def test_group_of_first_calls_leaves_a_team_with_expired_credits_to_be_held_alone(acme):
    books.give(acme.team, 5, key="soon", expires_at=clock.now() + timedelta(days=1))
    books.pass_days(1)

    held = ledger.hold_many([(acme.team, "a", CREDIT), (acme.team, "b", CREDIT)])

    assert held == set()
    books.hold(acme.team, 1, job="a")
    assert ledger.hold_many([(acme.team, "b", CREDIT)]) == {"b"}


def test_group_of_first_calls_leaves_a_team_with_restricted_credits_to_be_held_alone(acme):
    books.give(acme.team, 1, key="reports", job_types=["report"])
    jobs = [open_job(acme.principal, NewJob("report"))[0] for _ in range(4)]
    assert ledger.hold_many([(acme.team, str(jobs[0].pk), CREDIT)]) == set()

    racing.at_once([lambda job=job: work.submit(acme, job) for job in jobs])

    assert Account.objects.get(restriction="report").held_micros == CREDIT
    assert books.figures(acme.team)["held"] == 3


# --- Pools --------------------------------------------------------------------------------------------------


def test_hundred_pairs_of_allocate_and_reclaim_end_without_a_deadlock(team, other_team):
    other_team.organization = team.organization
    other_team.save()
    ledger.grant_to_pool(team.organization, amount_micros=30 * CREDIT, actor=make.TESTER, key="pool")
    terms = {"amount_micros": CREDIT, "actor": make.TESTER}

    def pairs(thread: int) -> int:
        done = 0
        for pair in range(25):
            to = (team, other_team)[(thread + pair) % 2]
            for move in (ledger.allocate, ledger.reclaim):
                done += not isinstance(
                    racing.outcome(lambda m=move, t=to, k=f"{thread}:{pair}": m(t, key=k, **terms)), DomainError
                )
        return done

    done = racing.at_once([lambda n=n: pairs(n) for n in range(4)])

    assert sum(done) == 200
    assert Account.objects.get(kind="pool").posted_micros == 30 * CREDIT
    assert Entry.objects.filter(kind="allocate").count() == Entry.objects.filter(kind="reclaim").count() == 100


def test_parallel_allocations_share_no_more_than_the_pool_has(team):
    ledger.grant_to_pool(team.organization, amount_micros=10 * CREDIT, actor=make.TESTER, key="pool")

    results = racing.at_once(
        [lambda n=n: ledger.allocate(team, amount_micros=CREDIT, actor=make.TESTER, key=f"k{n}") for n in range(20)]
    )

    assert (count(results, Entry), count(results, PoolTooSmall)) == (10, 10)
    assert books.figures(team)["posted"] == 10


def test_reclaims_and_holds_never_share_a_credit(team):
    ledger.grant_to_pool(team.organization, amount_micros=10 * CREDIT, actor=make.TESTER, key="pool")
    ledger.allocate(team, amount_micros=10 * CREDIT, actor=make.TESTER, key="all")

    results = racing.at_once(
        [
            *(lambda n=n: books.hold(team, 1, job=f"job-{n}") for n in range(8)),
            *(
                lambda n=n: ledger.reclaim(team, amount_micros=CREDIT, actor=make.TESTER, key=f"k{n}")
                for n in range(8)
            ),
        ]
    )

    assert count(results, Hold) + count(results, Entry) == 10
    assert count(results, InsufficientCredits) + count(results, ReclaimExceedsAllocation) == 6


@pytest.mark.parametrize("move", [ledger.allocate, ledger.reclaim])
def test_b7_repeated_move_behind_its_twin_returns_it(team, move):
    ledger.grant_to_pool(team.organization, amount_micros=10 * CREDIT, actor=make.TESTER, key="pool")
    ledger.allocate(team, amount_micros=5 * CREDIT, actor=make.TESTER, key="before")
    again = {"amount_micros": 5 * CREDIT, "actor": make.TESTER, "key": "same"}

    first, second = racing.in_turn(lambda: move(team, **again), lambda: move(team, **again))

    assert first == second


# --- Refunds and restricted wallets -------------------------------------------------------------------------


def test_b12_parallel_refunds_sum_to_the_charge(team):
    books.give(team, 10, key="start")
    charge = books.spend(team, 6)

    results = racing.at_once([lambda n=n: books.reverse(charge, 1, key=f"r{n}") for n in range(12)])

    assert (count(results, Entry), count(results, ReversalExceedsEntry)) == (6, 6)
    assert books.figures(team)["posted"] == 10


def test_b12_of_two_refunds_of_all_that_is_left_one_is_made(team):
    books.give(team, 10, key="start")
    charge = books.spend(team, 6)
    everything = {"amount_micros": None, "actor": make.TESTER, "reason": "all"}

    first, second = racing.in_turn(
        lambda: ledger.reverse(charge, key="a", **everything), lambda: ledger.reverse(charge, key="b", **everything)
    )

    assert (first.amount_micros, type(second)) == (6 * CREDIT, ReversalExceedsEntry)


def test_restricted_holds_admit_what_both_wallets_bear(team):
    books.give(team, 6, key="general")
    books.give(team, 4, key="reports", job_types=["report"])

    results = racing.at_once(
        [
            lambda n=n: ledger.hold(
                team, job=f"job-{n}", amount_micros=CREDIT, job_type="report" if n % 3 else "query"
            )
            for n in range(30)
        ]
    )

    assert (count(results, Hold), count(results, InsufficientCredits)) == (10, 20)
    assert not Account.objects.filter(team=team).exclude(held_micros=F("posted_micros")).exists()


def test_parallel_restricted_holds_of_one_job_hold_once(team):
    books.give(team, 6, key="general")
    books.give(team, 4, key="reports", job_types=["report"])

    racing.at_once([lambda: ledger.hold(team, job="job", amount_micros=7 * CREDIT, job_type="report")] * 8)

    assert sorted(Hold.objects.values_list("amount_micros", flat=True)) == [3 * CREDIT, 4 * CREDIT]


def test_release_behind_an_extension_gives_back_what_that_held_of_another_wallet(team):
    books.give(team, 6, key="general")
    ledger.hold(team, job="job", amount_micros=6 * CREDIT, job_type="report")
    books.give(team, 4, key="reports", job_types=["report"])

    _, released = racing.in_turn(
        lambda: ledger.extend(team, job="job", to_micros=9 * CREDIT, job_type="report"),
        lambda: ledger.release(job="job"),
    )

    assert released == 9 * CREDIT
    assert not Account.objects.filter(held_micros__gt=0).exists()


def test_parallel_charges_over_two_wallets_charge_each_once(team):
    books.give(team, 6, key="general")
    books.give(team, 4, key="reports", job_types=["report"])
    ledger.hold(team, job="job", amount_micros=7 * CREDIT, job_type="report")

    results = racing.at_once(
        [lambda: ledger.charge(team, job="job", amount_micros=7 * CREDIT, job_type="report")] * 10
    )

    assert {(each.charged_micros, each.entry_id) for each in results} == {
        (7 * CREDIT, Entry.objects.get(idempotency_key="charge:job:job").pk)
    }
    assert Entry.objects.filter(kind="charge").count() == 2


def test_first_restricted_grants_and_holds_end_without_a_deadlock(team):
    books.give(team, 10, key="general")

    results = racing.at_once(
        [
            *(lambda n=n: books.give(team, 1, key=f"r{n}", job_types=["report"]) for n in range(6)),
            *(
                lambda n=n: ledger.hold(team, job=f"job-{n}", amount_micros=CREDIT, job_type="report")
                for n in range(10)
            ),
        ]
    )

    assert count(results, Entry) == 6
    assert Account.objects.filter(team=team, restriction="report").count() == 1
    assert Grant.objects.filter(account__restriction="report").count() == 6
