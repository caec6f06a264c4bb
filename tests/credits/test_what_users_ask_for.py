"""What users of gateways ask for and do not get, and the tests that hold us to it; those that have no other home.

Each test is named after its item.
"""

import ast
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from apps.core import verification
from apps.credits import billing
from apps.credits.errors import InsufficientCredits
from apps.credits.models import Entry, GrantUse, Hold
from apps.jobs import sweeper
from apps.jobs.models import Attempt, Call, CallPayload
from tests import make
from tests.credits import books, work

ROOT = Path(__file__).resolve().parents[2]
HERE = "tests/credits/test_what_users_ask_for.py"

ASKED_FOR: dict[str, tuple[str, list[str]]] = {
    "B1": (
        "a hard ceiling under concurrency",
        [
            "tests/services/test_races.py::test_b1_five_hundred_calls_against_ten_credits_admit_exactly_ten",
            f"{HERE}::test_b1_of_any_number_of_jobs_on_credits_for_ten_ten_are_admitted",
        ],
    ),
    "B2": (
        "reservations that never turn into phantom refusals",
        [
            "tests/limits/test_spend.py::test_b2_what_is_held_can_be_listed_row_by_row",
            "tests/limits/test_spend.py::test_b2_a_process_killed_between_hold_and_settlement_leaves_no_phantom_refusal",
        ],
    ),
    "B3": (
        "aborted streams billed for what was used",
        [
            "tests/api/test_streams.py::test_b3_stream_that_is_not_wanted_any_more_is_broken_off_and_paid_as_far_as_it_went",
            "tests/api/test_streams.py::test_b3_client_that_left_and_asks_again_is_given_the_whole_answer",
            "tests/api/test_streams.py::test_b3_provider_that_dies_ends_the_stream_with_an_error_and_what_was_sent_is_counted",
            "tests/services/test_streams.py::test_b3_clients_that_cut_the_line_anywhere_are_counted_and_answered_later",
        ],
    ),
    "B4": (
        "long streams that outrun the balance",
        [
            "tests/api/test_budgets.py::test_b4_stream_ends_with_length_and_usage_at_what_its_job_may_hold",
            "tests/api/test_budgets.py::test_b4_stream_that_might_outrun_its_job_is_not_begun",
        ],
    ),
    "B5": (
        "async work settled exactly once",
        [
            "tests/jobs/test_b5_settled_once.py::test_b5_price_and_card_are_those_of_the_submission",
            "tests/jobs/test_b5_settled_once.py::test_b5_call_is_settled_by_its_first_end_alone",
        ],
    ),
    "B6": (
        "cost and caps for a run of many calls",
        [
            "tests/api/test_budgets.py"
            "::test_b6_run_of_many_calls_pauses_at_its_cap_loses_nothing_and_goes_on_when_raised"
        ],
    ),
    "B7": (
        "idempotent money",
        [
            "tests/api/test_offers.py::test_B7_a_payment_arrives_once",
            "tests/api/test_corrections.py::test_b7_repeated_refund_refunds_once_even_when_the_request_was_forgotten",
            "tests/api/test_pools.py::test_b7_repeated_moves_move_once",
        ],
    ),
    "B8": (
        "prices that have dates",
        [
            "tests/catalog/test_prices.py::test_b8_price_is_never_changed_or_deleted",
            "tests/jobs/test_prices.py::test_b8_call_keeps_the_price_of_its_admission",
            "tests/jobs/test_prices_command.py::test_b8_change_shows_old_new_and_percent_and_the_last_days_repriced",
        ],
    ),
    "B9": (
        "token arithmetic that matches the invoice",
        [
            "tests/jobs/test_usage_vectors.py::test_b9_classes_cost_what_the_invoice_says",
            "tests/jobs/test_usage_vectors.py::test_b9_classes_add_up_to_the_total_or_the_usage_is_flagged",
        ],
    ),
    "B10": (
        "spend records that survive crashes",
        [
            f"{HERE}::test_b10_call_and_hold_are_written_before_the_provider_is_asked",
            "tests/services/test_kills.py::test_b10_call_of_a_killed_worker_is_taken_over_and_settled_once",
            "tests/services/test_kills.py::test_b10_cut_database_connections_during_a_call_cost_nothing",
        ],
    ),
    "B11": (
        "credits with visible expiry and a sane burn order",
        [
            "tests/credits/test_expiry.py::test_b11_soonest_expiry_burns_first_and_promotional_before_paid",
            "tests/api/test_credit_lots.py::test_b11_credits_that_expire_are_shown_with_their_instant",
            "tests/credits/test_vouchers.py::test_B11_credits_last_from_their_redemption_not_from_the_codes_making",
        ],
    ),
    "B12": (
        "refunds and failed work by policy",
        [
            "tests/jobs/test_policies.py::test_B12_failed_job_pays_by_its_cards_policy",
            "tests/jobs/test_policies.py::test_B12_the_servers_outcome_decides_not_the_clients_word",
            "tests/api/test_corrections.py::test_b12_refunds_sum_to_at_most_the_charge",
        ],
    ),
    "B14": (
        "auto top-up that cannot run away",
        [
            "tests/payments/test_topups.py::test_B14_nobody_is_topped_up_who_did_not_ask",
            "tests/payments/test_topups.py::test_B14_monthly_ceiling_holds",
            "tests/payments/test_topups.py::test_B14_one_attempt_is_open_at_a_time",
            "tests/payments/test_topups.py::test_B14_two_sweeps_at_once_make_one_attempt_and_one_charge",
            "tests/payments/test_webhooks.py::test_B14_credits_come_by_the_webhook_alone",
        ],
    ),
    "B15": (
        "deleting things must not damage history",
        [
            "tests/credits/test_history.py::test_b15_nothing_with_entries_can_be_deleted",
            "tests/credits/test_history.py::test_b15_closed_customers_keep_their_history",
        ],
    ),
    "B16": (
        "a database that stays small",
        [
            f"{HERE}::test_b16_ledger_rows_are_of_jobs_not_of_calls",
            f"{HERE}::test_b16_bodies_lie_apart_and_are_forgotten",
            f"{HERE}::test_b16_call_takes_few_bytes_however_long_it_was",
        ],
    ),
    "B17": (
        "resets that match the customer's calendar",
        ["tests/limits/test_periods.py::test_b17_a_spend_limit_begins_anew_at_the_organization_s_midnight"],
    ),
    "B18": (
        "clear precedence and honest refusals",
        [
            "tests/limits/test_precedence.py::test_b18_every_scope_and_metric_admits_exactly_what_is_allowed",
            "tests/limits/test_precedence.py::test_b18_six_limits_at_once_and_each_of_them_can_say_no",
        ],
    ),
    "B19": (
        "rate and concurrency limits that heal",
        [
            "tests/limits/test_rates.py::test_b19_a_call_refused_by_one_rate_uses_none_of_the_others",
            "tests/limits/test_rates.py::test_b19_a_call_of_a_dead_worker_gives_its_place_back_when_it_is_swept",
        ],
    ),
    "B21": (
        "money in the customer's unit",
        ["tests/payments/test_currencies.py::test_B21_job_is_shown_in_euros_with_the_rate_and_its_date"],
    ),
}

# Not of the ledger, or not there yet: an item moves up with its tests.
WITHOUT_TESTS = {
    "B13": "alerts",
    "B20": "self-service",
}


def test_every_item_is_listed() -> None:
    assert {*ASKED_FOR, *WITHOUT_TESTS} == {f"B{number}" for number in range(1, 22)}
    assert not {*ASKED_FOR} & {*WITHOUT_TESTS}


@pytest.mark.parametrize("item", ASKED_FOR)
def test_each_item_has_tests_of_its_name(item: str) -> None:
    _, named = ASKED_FOR[item]
    for test in named:
        path, name = test.split("::")
        assert name in _tests_of(path), f"{test} is gone"
        assert name.lower().startswith(f"test_{item.lower()}_")
    assert named


def _tests_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.fixture
def gateway(monkeypatch):
    return work.provide(monkeypatch)


@pytest.fixture
def flat(db):
    """Pays one credit a job; owns ten."""
    make.platform_model()
    yield make.customer(credits=10)
    assert [str(difference) for difference in verification.differences()] == []


def test_b1_of_any_number_of_jobs_on_credits_for_ten_ten_are_admitted(flat, gateway):
    """One after the other, on both databases. In parallel: see the table."""
    admitted = 0
    for _ in range(25):
        try:
            work.submit(flat, work.open_job(flat))
            admitted += 1
        except InsufficientCredits:
            pass

    assert admitted == Hold.objects.count() == Call.objects.count() == 10
    assert billing.balance(flat.team).spendable_micros == 0


def test_b10_call_and_hold_are_written_before_the_provider_is_asked(flat, gateway, monkeypatch):
    """Whoever dies from then on leaves rows from which the call is settled."""
    seen = []
    complete = gateway.complete

    def asked(request, *, timeout_s):
        call, attempt, hold = Call.objects.get(), Attempt.objects.get(), Hold.objects.get()
        seen.append((call.state, attempt.state, hold.state, hold.amount_micros))
        return complete(request, timeout_s=timeout_s)

    monkeypatch.setattr(gateway, "complete", asked)
    gateway.will_use((10, 10))

    work.call(flat, work.open_job(flat))

    assert seen == [("running", "running", "open", books.CREDIT)]


def test_b16_ledger_rows_are_of_jobs_not_of_calls(flat, gateway):
    before = (Entry.objects.count(), GrantUse.objects.count(), Hold.objects.count())
    job = work.open_job(flat)
    gateway.will_use(*[(10, 10)] * 20)
    for number in range(20):
        work.call(flat, job, f"Question {number}.")
    work.complete(flat, job)

    after = (Entry.objects.count(), GrantUse.objects.count(), Hold.objects.count())
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 1]
    assert (Call.objects.count(), Attempt.objects.count(), CallPayload.objects.count()) == (20, 20, 20)


def test_b16_bodies_lie_apart_and_are_forgotten(flat, gateway):
    job = work.open_job(flat)
    gateway.will_use((10, 10))
    work.call(flat, job, "A secret of the customer.")
    work.complete(flat, job)
    CallPayload.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    sweeper.run()

    assert not CallPayload.objects.exists()
    assert "secret" not in str([*Call.objects.values(), *Attempt.objects.values(), *Entry.objects.values()])
    assert Entry.objects.get(kind="charge").amount_micros == books.CREDIT


@pytest.mark.postgresql
def test_b16_call_takes_few_bytes_however_long_it_was(flat, gateway):
    """A call and its attempt for ever, whatever was asked: under a kilobyte together."""
    job = work.open_job(flat)
    for text in ("Short.", "Long. " * 20_000):
        gateway.will_use((10, 10))
        work.call(flat, job, text)

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_column_size(call.*) + pg_column_size(attempt.*) FROM jobs_call AS call"
            " JOIN jobs_attempt AS attempt ON attempt.call_id = call.id ORDER BY call.created_at"
        )
        sizes = [row[0] for row in cursor.fetchall()]
    assert len(sizes) == 2
    assert max(sizes) < 1_000, sizes
    assert abs(sizes[1] - sizes[0]) < 50, sizes
