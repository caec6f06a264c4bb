"""The receipt of a job: everything that was used, held, charged and given back, and an arithmetic that adds up."""

import json
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core import append_only, clock
from apps.credits import ledger
from apps.credits.models import BillingSettings, Entry, Grant, RateCardVersion
from apps.jobs import cancelling, receipts, services
from apps.jobs.escrow import Budget
from apps.jobs.gateway.interface import GatewayError
from apps.jobs.models import Attempt, Call, Job
from tests import make
from tests.api.calling import Caller, opened_job
from tests.jobs import steps

pytestmark = pytest.mark.usefixtures("no_worker")

MICROS = 1_000_000


@pytest.fixture
def metered(db: None, monkeypatch: pytest.MonkeyPatch) -> make.Customer:
    """Metered in USD at 10 credits a dollar with 25 % on top; an answer costs us 12.5 cents: 1.5625 credits."""
    make.alias("priced", input_usd_per_mtok=0, output_usd_per_mtok=250, default_output_tokens=1_000)
    steps.take_route(monkeypatch, lambda _: steps.answer(completion=500, raw_usage='{"completion_tokens": 500}'))
    return make.metered_customer(
        team_id="acme", credits=100, access_groups=["priced"], cost_markup_percentage=Decimal(25)
    )


def served(customer: make.Customer, *texts: str, **more: Any) -> Job:
    """A job with a call for each text, completed."""
    job = steps.open_job(customer, **more)
    for text in texts:
        steps.run(steps.ask(customer, job, text))
    return steps.complete(customer, job)


def receipt(caller: Caller, job: Job | str) -> dict[str, Any]:
    answer = caller.get(f"/api/jobs/{getattr(job, 'pk', job)}/receipt")
    assert answer.status_code == 200, answer.content
    return answer.json()


def adds_up(body: dict[str, Any]) -> None:
    """The arithmetic sums to what was charged less what was given back, and the one line says the same."""
    total = sum(Decimal(line["credits"]) for line in body["arithmetic"])
    assert (
        total == Decimal(body["credits_net"]) == Decimal(body["credits_charged"]) - Decimal(body["credits_refunded"])
    )
    said, _, summands = body["explanation"].partition(" = ")
    assert Decimal(said.split()[0]) == total
    figures = re.findall(r"(?:^|( [-+] ))(-?\d+(?:\.\d+)?) \(", summands)
    assert sum(Decimal(figure) * (-1 if sign == " - " else 1) for sign, figure in figures) == total
    entries = {"deduction": 0, "refund": 0}
    for entry in body["entries"]:
        entries[entry["transaction_type"]] += Decimal(entry["credits"])
    assert entries["deduction"] - entries["refund"] == total


def test_receipt_of_a_flat_job(acme: make.Customer, team_key: Caller):
    job = served(acme, "a", "b", user_id="u-1")

    body = receipt(team_key, job)

    adds_up(body)
    assert body["explanation"] == "1 credit = 1 (the flat price of a job)"
    assert body["verdict"]["status"] == "completed"
    assert (body["verdict"]["closed_by"], body["verdict"]["charge"]) == ("test", "charged")
    assert body["pricing"] == {
        "card": {"of": "default", "job_type": None},
        "version": None,
        "version_id": None,
        "effective_from": None,
        "mode": "flat",
        "price_credits": "1",
    }
    assert [call["usage"]["total_tokens"] for call in body["calls"]] == [
        call.total_tokens for call in Call.objects.order_by("created_at")
    ]
    (hold,) = body["holds"]
    assert (hold["status"], hold["credits"], hold["closed_at"] is not None) == ("charged", "1", True)
    (charge,) = body["entries"]
    (grant,) = charge["grants"]
    assert (charge["transaction_type"], charge["credits"], grant["kind"], grant["credits"]) == (
        "deduction",
        "1",
        "paid",
        "1",
    )
    assert (body["user_id"], body["escrow"], body["credits_uncollected"]) == ("u-1", None, "0")


def test_receipt_of_a_metered_job_tells_rounding(metered: make.Customer):
    job = served(metered, "a", "b")

    body = receipt(Caller(metered.headers), job)

    adds_up(body)
    assert body["explanation"] == (
        "3 credits = 3.125 ($0.3125 at 10 credits per dollar) - 0.125 (rounded down to whole credits)"
    )
    assert (body["total_cost_usd"], [call["cost_usd"] for call in body["calls"]]) == (0.3125, [0.15625, 0.15625])
    version = RateCardVersion.objects.get()
    assert {name: body["pricing"][name] for name in ("version", "version_id", "mode", "rounding")} == {
        "version": 1,
        "version_id": str(version.pk),
        "mode": "metered_usd",
        "rounding": "down",
    }
    assert (body["pricing"]["card"], body["pricing"]["credits_per_dollar"]) == (
        {"of": "team", "job_type": None},
        "10",
    )
    assert body["pricing"]["minimum_credits"] == "1"


def test_receipt_tells_the_minimum(metered: make.Customer, monkeypatch: pytest.MonkeyPatch):
    steps.take_route(monkeypatch, lambda _: steps.answer(completion=10))

    body = receipt(Caller(metered.headers), served(metered, "a"))

    adds_up(body)
    assert body["explanation"] == (
        "1 credit = 0.03125 ($0.003125 at 10 credits per dollar) - 0.03125 (rounded down to whole credits)"
        " + 1 (up to the minimum of 1 credit)"
    )


@pytest.mark.parametrize("rounding", ["down", "up", "none"])
@pytest.mark.parametrize("completion", [1, 7, 333, 20_000])
def test_receipt_by_tokens_adds_up(db: None, monkeypatch: pytest.MonkeyPatch, rounding: str, completion: int):
    make.platform_model()
    steps.take_route(monkeypatch, lambda _: steps.answer(prompt=0, completion=completion))
    customer = make.customer(team_id="acme", credits=100_000, budget_mode="consumption_tokens", tokens_per_credit=3)
    with append_only.lifted():
        RateCardVersion.objects.update(rounding=rounding)

    body = receipt(Caller(customer.headers), served(customer, "a"))

    adds_up(body)
    assert f"{completion} tokens at 3 tokens per credit" in body["explanation"]


def test_receipt_tells_what_the_ceiling_kept_from_being_charged(metered: make.Customer, monkeypatch):
    steps.take_route(monkeypatch, lambda _: steps.answer(completion=5_000))
    job = served(metered, "a", budget=Budget(max_micros=4 * MICROS))

    body = receipt(Caller(metered.headers), job)

    adds_up(body)
    assert body["explanation"].endswith("- 11 (beyond its max_credits)")
    assert (body["credits_uncollected"], body["escrow"]["used_exact"]) == ("11", "4")


def test_receipt_tells_refunds_and_the_grants_that_paid(acme: make.Customer, team_key: Caller):
    ends = clock.db_now() + timedelta(days=30)
    ledger.grant(
        acme.team,
        amount_micros=400_000,
        kind=Grant.Kind.PROMOTIONAL,
        actor=make.TESTER,
        key="promo",
        reason="welcome",
        expires_at=ends,
    )
    job = served(acme, "a")
    charge = Entry.objects.get(kind=Entry.Kind.CHARGE)
    ledger.reverse(charge, amount_micros=250_000, actor=make.TESTER, key="r", reason="late")

    body = receipt(team_key, job)

    adds_up(body)
    assert body["explanation"] == "0.75 credits = 1 (the flat price of a job) - 0.25 (refunded)"
    paid, refunded = body["entries"]
    assert [(grant["kind"], grant["credits"]) for grant in paid["grants"]] == [
        ("promotional", "0.4"),
        ("paid", "0.6"),
    ]
    assert paid["grants"][0]["expires_at"].startswith(ends.date().isoformat())
    assert paid["grants"][1]["expires_at"] is None
    assert (refunded["transaction_type"], refunded["reverses"]) == ("refund", paid["transaction_id"])
    assert sum(Decimal(grant["credits"]) for grant in refunded["grants"]) == Decimal("-0.25")
    assert "actor" not in paid


# --- What cost nothing --------------------------------------------------------------------------------------


def test_receipt_says_why_nothing_was_charged(acme: make.Customer, team_key: Caller, monkeypatch):
    nothing = steps.complete(acme, steps.open_job(acme))
    cancelled = cancelling.cancel_job(acme.team, job_id=str(steps.open_job(acme).pk), closed_by="test")[0]
    failed = steps.open_job(acme)
    steps.run(steps.ask(acme, failed, "a"))
    steps.complete(acme, failed, "failed")

    def away(_: Any) -> Any:
        raise GatewayError("provider_unavailable", "away", status=503)

    steps.take_route(monkeypatch, away)
    unserved = served(acme, "b")
    waiting = steps.open_job(acme)
    steps.ask(acme, waiting, "c")
    steps.complete(acme, waiting)
    jobs = {"nothing": nothing, "cancelled": cancelled, "failed": failed, "unserved": unserved, "waiting": waiting}
    said = {name: receipt(team_key, job)["explanation"] for name, job in jobs.items()}

    assert said == {
        "nothing": "0 credits: no call was made.",
        "cancelled": "0 credits: no call was made.",
        "failed": "0 credits: failed: free (its card's policy).",
        "unserved": "0 credits: no call succeeded.",
        "waiting": "Not charged yet: the charge waits for calls that are still open (1).",
    }


def test_receipt_of_an_open_job_says_how_far_it_is(metered: make.Customer):
    caller = Caller(metered.headers)
    job = steps.open_job(metered)
    assert receipt(caller, job)["pricing"] is None
    assert receipt(caller, job)["explanation"] == "Not charged yet: the job is open. So far it comes to 0 credits."

    steps.run(steps.ask(metered, job, "a"))

    body = receipt(caller, job)
    assert body["explanation"] == "Not charged yet: the job is open. So far it comes to 1 credit."
    assert (body["arithmetic"], body["entries"], body["holds"][0]["status"]) == ([], [], "open")


def test_receipt_of_a_refused_one_call_job_says_who_closed_it(db: None):
    make.platform_model()
    poor = make.customer(team_id="acme", credits=0)
    with pytest.raises(Exception, match="Insufficient"):
        steps.create_and_call(poor)

    body = receipt(Caller(poor.headers), Job.objects.get())

    assert (body["verdict"]["closed_by"], body["verdict"]["status"]) == ("admission", "failed")
    assert "Insufficient credits" in body["verdict"]["error_message"]
    assert body["explanation"] == "0 credits: no call was made."


# --- Who sees what ------------------------------------------------------------------------------------------


def test_operators_see_tries_and_what_providers_take(metered: make.Customer, operator: Caller):
    job = served(metered, "a")

    body = receipt(operator, job)

    adds_up(body)
    (call,) = body["calls"]
    (tried,) = call["tries"]
    assert (call["attempts"], tried["provider_model"], tried["cost_usd"]) == (1, "provider/priced", 0.125)
    assert tried["raw_usage"] == {"completion_tokens": 500}
    assert (body["provider_cost_usd"], body["lost_cost_usd"], body["pricing"]["markup_percentage"]) == (0.125, 0, 25)
    assert body["entries"][0]["actor"]


def test_customers_see_neither_provider_models_nor_provider_costs(metered: make.Customer):
    job = served(metered, "a")

    text = json.dumps(receipt(Caller(metered.headers), job))

    for hidden in ("provider", "raw_usage", "markup", "0.125,", '"tries"', "some-model"):
        assert hidden not in text, hidden


def test_team_that_sees_no_costs_cannot_work_them_out(metered: make.Customer):
    BillingSettings.objects.update_or_create(team=metered.team, defaults={"show_costs": False})
    job = served(metered, "a", "b")

    body = receipt(Caller(metered.headers), job)

    adds_up(body)
    assert body["explanation"] == "3 credits = 3 (the price by its card, rounded)"
    assert body["total_cost_usd"] is None
    assert {call["cost_usd"] for call in body["calls"]} == {None}
    assert "$" not in json.dumps(body)


def test_usage_that_is_no_json_is_shown_as_it_is(metered: make.Customer, operator: Caller):
    job = served(metered, "a")
    Attempt.objects.update(raw_usage="tokens: many")

    assert receipt(operator, job)["calls"][0]["tries"][0]["raw_usage"] == "tokens: many"


def test_foreign_and_unknown_jobs_are_not_found(acme: make.Customer, team_key: Caller, stranger: Caller):
    job_id = opened_job(team_key)

    assert stranger.get(f"/api/jobs/{job_id}/receipt").status_code == 404
    assert team_key.get("/api/jobs/no-id/receipt").status_code == 404
    assert Caller().get(f"/api/jobs/{job_id}/receipt").status_code == 401


def test_receipt_takes_as_many_queries_for_many_calls(acme: make.Customer):
    counts = []
    for texts in ("a", "abcde"):
        job = services.find_job(acme.team, str(served(acme, *texts).pk))
        with CaptureQueriesContext(connection) as captured:
            found = receipts.of(job)
            assert len(found.calls) == len(texts)
        counts.append(len(captured))
    assert counts[0] == counts[1] <= 6
