"""Credits for some job types alone lie in wallets of their own, which such jobs spend first."""

from datetime import timedelta

import pytest

from apps.core import clock, verification
from apps.core.errors import IdempotencyConflict, InvalidRequest
from apps.credits import ledger
from apps.credits.errors import HoldClosed, InsufficientCredits
from apps.credits.models import Account, Entry, Hold
from tests import make
from tests.credits import books, work
from tests.credits.books import CREDIT

pytestmark = pytest.mark.usefixtures("_clean_books")


@pytest.fixture
def restricted(team):
    """Five credits for reports, five for reports and audits, ten for all."""
    books.give(team, 10, key="general")
    books.give(team, 5, key="reports", job_types=["report"])
    books.give(team, 5, key="both", job_types=["report", "audit"])
    return team


def figures(team) -> dict[str, tuple[int, int]]:
    """Posted and held credits of each wallet, by its restriction."""
    return {
        wallet.restriction: (wallet.posted_micros // CREDIT, wallet.held_micros // CREDIT)
        for wallet in Account.objects.filter(team=team)
    }


def hold(team, credits: int, *, job: str = "job", job_type: str = "report") -> Hold:
    return ledger.hold(team, job=job, amount_micros=credits * CREDIT, job_type=job_type)


def charge(team, credits: int, *, job: str = "job", job_type: str = "report") -> tuple[int, int]:
    found = ledger.charge(team, job=job, amount_micros=credits * CREDIT, job_type=job_type)
    return found.charged_micros // CREDIT, found.uncollected_micros // CREDIT


def test_job_holds_of_its_restricted_wallets_first_and_the_narrowest_before_others(restricted):
    hold(restricted, 12)

    assert figures(restricted) == {"": (10, 2), "report": (5, 5), "audit,report": (5, 5)}


def test_job_of_another_type_holds_of_the_general_wallet_alone(restricted):
    hold(restricted, 10, job_type="query")

    assert figures(restricted) == {"": (10, 10), "report": (5, 0), "audit,report": (5, 0)}
    with pytest.raises(InsufficientCredits):
        hold(restricted, 1, job="second", job_type="query")
    hold(restricted, 1, job="third", job_type="audit")


def test_refusal_holds_nothing_anywhere_and_names_what_restricted_wallets_had(restricted):
    with pytest.raises(InsufficientCredits) as refused:
        hold(restricted, 21)

    assert refused.value.details["restricted_spendable_micros"] == 10 * CREDIT
    assert {held for _, held in figures(restricted).values()} == {0}
    assert Hold.objects.count() == 0


def test_charge_posts_one_entry_a_wallet_and_gives_the_rest_back(restricted):
    hold(restricted, 12)

    assert charge(restricted, 8) == (8, 0)
    assert figures(restricted) == {"": (10, 0), "report": (0, 0), "audit,report": (2, 0)}
    entries = Entry.objects.filter(kind="charge").order_by("debit_account")
    assert [entry.idempotency_key for entry in entries] == [
        f"charge:job:job:{entry.debit_account_id}" for entry in entries
    ]


def test_charge_beyond_the_hold_takes_restricted_credits_before_general_ones(restricted):
    hold(restricted, 2)

    assert charge(restricted, 13) == (13, 0)
    assert figures(restricted) == {"": (7, 0), "report": (0, 0), "audit,report": (0, 0)}
    assert Entry.objects.filter(idempotency_key="charge:job:job").count() == 1


def test_uncollected_is_only_what_no_wallet_can_bear(restricted):
    hold(restricted, 2)

    assert charge(restricted, 23) == (20, 3)


def test_second_charge_returns_the_first_of_all_wallets(restricted):
    hold(restricted, 12)
    first = ledger.charge(restricted, job="job", amount_micros=12 * CREDIT, job_type="report")
    before = books.rows()

    assert ledger.charge(restricted, job="job", amount_micros=12 * CREDIT, job_type="report") == first
    assert books.rows() == before
    with pytest.raises(HoldClosed):
        hold(restricted, 1)


def test_hold_grows_into_restricted_wallets_first_and_shrinks_out_of_them_last(restricted):
    hold(restricted, 3)

    ledger.extend(restricted, job="job", to_micros=12 * CREDIT, job_type="report")
    assert figures(restricted) == {"": (10, 2), "report": (5, 5), "audit,report": (5, 5)}
    ledger.extend(restricted, job="job", to_micros=4 * CREDIT, job_type="report")
    assert figures(restricted) == {"": (10, 0), "report": (5, 4), "audit,report": (5, 0)}
    assert ledger.release(job="job") == 4 * CREDIT
    assert {held for _, held in figures(restricted).values()} == {0}


def test_credits_granted_amid_a_job_pay_for_it_too(team):
    books.give(team, 1, key="general")
    hold(team, 1)
    books.give(team, 5, key="reports", job_types=["report"])

    assert charge(team, 4) == (4, 0)
    assert figures(team) == {"": (1, 0), "report": (1, 0)}


def test_restricted_credits_are_burnt_while_the_general_wallet_is_in_debt(team):
    books.give(team, 5, key="general")
    books.spend(team, 5, job="first")
    books.reverse(Entry.objects.get(idempotency_key="grant:mine:general"), 5, key="dispute")
    books.give(team, 5, key="reports", job_types=["report"])

    hold(team, 3)

    assert charge(team, 3) == (3, 0)
    assert figures(team) == {"": (-5, 0), "report": (2, 0)}


def test_restricted_credits_expire_in_their_wallet(team):
    books.give(team, 10, key="general")
    books.give(team, 5, key="reports", job_types=["report"], expires_at=clock.now() + timedelta(days=1))
    hold(team, 2, job="old")
    books.pass_days(1)

    hold(team, 6)

    assert figures(team) == {"": (10, 6), "report": (2, 2)}
    assert charge(team, 6) == (6, 0)
    assert charge(team, 2, job="old") == (2, 0)


def test_refund_of_a_restricted_charge_returns_to_its_wallet(restricted):
    hold(restricted, 12)
    charge(restricted, 12)
    entry = Entry.objects.get(kind="charge", debit_account__restriction="report")

    books.reverse(entry, 4, key="r")

    assert figures(restricted)["report"] == (4, 0)


def test_b7_same_key_for_other_job_types_raises(restricted):
    with pytest.raises(IdempotencyConflict):
        books.give(restricted, 5, key="reports", job_types=["audit"])
    assert Account.objects.filter(restriction="audit").count() == 0


@pytest.mark.parametrize("job_types", [["a,b"], [""], ["x" * 256]])
def test_job_types_that_cannot_be_told_apart_are_refused(team, job_types):
    with pytest.raises(InvalidRequest, match="without commas"):
        books.give(team, 1, key="k", job_types=job_types)


def test_order_and_repeats_of_job_types_make_no_other_wallet(team):
    books.give(team, 1, key="a", job_types=["b", "a", "b"])
    books.give(team, 1, key="b", job_types=["a", "b"])

    assert figures(team) == {"": (0, 0), "a,b": (2, 0)}


# --- Through jobs -------------------------------------------------------------------------------------------


@pytest.fixture
def gateway(monkeypatch):
    return work.provide(monkeypatch)


def test_flat_job_is_paid_by_restricted_credits(acme, gateway):
    books.give(acme.team, 3, key="reports", job_types=["report"])
    gateway.will_use((1, 1), (1, 1))
    for job_type in ("report", "query"):
        job = work.open_job(acme, job_type)
        work.call(acme, job, job_type)
        assert work.complete(acme, job).charged_micros == CREDIT

    assert figures(acme.team) == {"": (99, 0), "report": (2, 0)}
    assert list(verification.differences()) == []


def test_metered_job_over_two_wallets_holds_and_is_charged_their_sum(gateway):
    make.alias("chat", input_usd_per_mtok=10, output_usd_per_mtok=10, is_open=True)
    customer = make.metered_customer(credits=50)
    books.give(customer.team, 2, key="reports", job_types=["report"])
    gateway.will_use((0, 30_000), (0, 20_000))
    job = work.open_job(customer, "report")
    work.call(customer, job, "First.", model="chat", max_tokens=40_000)
    job.refresh_from_db()
    assert job.held_micros == 4 * CREDIT
    assert list(verification.differences()) == []
    work.call(customer, job, "Second.", model="chat", max_tokens=40_000)

    assert work.complete(customer, job).charged_micros == 5 * CREDIT
    assert figures(customer.team) == {"": (47, 0), "report": (0, 0)}
    assert list(verification.differences()) == []
