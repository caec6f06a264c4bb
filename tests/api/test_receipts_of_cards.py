"""Receipts by every mode and policy of a rate card add up, and say what made the charge."""

from decimal import Decimal
from typing import Any

import pytest

from apps.catalog import prices
from apps.catalog.rates import Rates
from apps.credits.models import BillingSettings
from apps.jobs import cancelling, execution
from apps.jobs.escrow import Budget
from apps.jobs.gateway.interface import Usage
from apps.jobs.models import Call
from tests import make
from tests.api.calling import Caller
from tests.api.test_receipts import adds_up, receipt
from tests.jobs import steps, test_policies
from tests.jobs.test_policies import ask, fail, put_in_force, serve

pytestmark = pytest.mark.usefixtures("no_worker")

MODES: list[tuple[str, dict[str, Any]]] = [
    ("flat", {"price_credits": 4}),
    ("metered_usd", {"cost_markup_percentage": 25, "rounding": "up"}),
    ("metered_usd", {"rounding": "none", "minimum_credits": 7, "included_tries": 0}),
    ("metered_tokens", {"tokens_per_credit": 7, "ceiling_credits": 3}),
    ("hybrid", {"price_credits": 2, "allowance_usd": "0.1", "ceiling_credits": 5, "included_tries": 1}),
    ("hybrid", {"price_credits": 2, "allowance_usd": "0.1", "cost_markup_percentage": 10}),
    ("hybrid", {"price_credits": 2, "allowance_tokens": 20, "tokens_per_credit": 3}),
]
POLICIES: list[dict[str, Any]] = [
    {},
    {"on_failed": "cost", "on_cancelled": "cost", "on_partly_failed": "cost"},
    {"on_failed": "percent", "on_cancelled": "percent", "on_partly_failed": "percent", "policy_percent": 33},
]


@pytest.fixture
def acme(db: None) -> make.Customer:
    make.alias("priced", input_usd_per_mtok=1_000, output_usd_per_mtok=2_000, max_output_tokens=1_000)
    return make.customer(team_id="acme", credits=100, access_groups=["priced"])


@pytest.mark.parametrize("show_costs", [True, False])
@pytest.mark.parametrize("ends", ["completed", "failed", "cancelled"])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("mode", "terms"), MODES)
def test_every_receipt_adds_up(
    acme: make.Customer, mode: str, terms: dict[str, Any], policy: dict[str, Any], ends: str, show_costs: bool
):
    put_in_force(acme, mode, **terms, **policy)
    BillingSettings.objects.update_or_create(team=acme.team, defaults={"show_costs": show_costs})
    job = steps.open_job(acme)
    serve(ask(acme, job, "a"), usd=0.333)
    serve(ask(acme, job, "b"), usd=0.0777, tokens=40)
    for text in "cd":
        fail(ask(acme, job, text), lost_usd=0.05)
    if ends == "cancelled":
        cancelling.cancel_job(acme.team, job_id=str(job.pk), closed_by="test")
    else:
        steps.complete(acme, job, ends)

    body = receipt(Caller(acme.headers), job)

    if body["arithmetic"]:
        adds_up(body)
        assert "by its card's other rules" not in body["explanation"]
    else:
        assert body["credits_charged"] == "0"
        assert body["explanation"] == f"0 credits: {ends}: free (its card's policy)."
    assert show_costs or "$" not in body["explanation"]


def explained(customer: make.Customer, job: Any) -> str:
    body = receipt(Caller(customer.headers), job)
    adds_up(body)
    return str(body["explanation"])


def test_receipt_of_a_hybrid_job_at_its_ceiling(acme: make.Customer):
    put_in_force(acme, "hybrid", price_credits=2, allowance_usd="0.5", ceiling_credits=4)
    job = steps.open_job(acme)
    serve(ask(acme, job), usd=0.95)
    steps.complete(acme, job)

    assert explained(acme, job) == (
        "4 credits = 2 (the flat price of a job) + 4.5 ($0.45 beyond the $0.5 that are included at 10 credits per"
        " dollar) - 0.5 (rounded down to whole credits) - 2 (down to its card's ceiling of 4 credits)"
    )


def test_receipt_names_failed_tries_that_are_the_customers(acme: make.Customer):
    put_in_force(acme, "metered_usd", included_tries=1)
    job = steps.open_job(acme)
    for text in "abc":
        fail(ask(acme, job, text), lost_usd=0.2)
    serve(ask(acme, job, "good"), usd=0.1)
    steps.complete(acme, job)

    assert explained(acme, job) == (
        "5 credits = 5 ($0.5, failed tries for $0.4 among them, at 10 credits per dollar)"
    )


def test_receipt_tells_a_ceiling_from_what_could_not_be_collected(acme: make.Customer):
    """A provider that went past its cap, in a job with a ceiling, of a team that had not even that."""
    put_in_force(acme, "metered_usd", minimum_credits=0)
    job = steps.open_job(acme, budget=Budget(max_micros=102_000_000))
    serve(ask(acme, job), usd=11)
    steps.complete(acme, job)

    assert explained(acme, job) == (
        "100 credits = 110 ($11 at 10 credits per dollar) - 8 (beyond its max_credits) - 2 (could not be collected)"
    )


def test_receipt_of_an_abandoned_job_that_is_free(acme: make.Customer):
    put_in_force(acme, "flat", price_credits=4, on_abandoned="free")
    job = steps.open_job(acme)
    serve(ask(acme, job), usd=0.1)
    test_policies.abandon(job)

    body = receipt(Caller(acme.headers), job)

    assert body["explanation"] == "0 credits = 4 (the flat price of a job) - 4 (abandoned: free)"
    assert body["pricing"]["on_abandoned"] == "free"


def test_receipt_of_a_failed_call_by_its_policy_of_cost(acme: make.Customer):
    """Nothing was served, and its tries cost: that much, within the price, is the customer's by this card."""
    put_in_force(acme, "flat", price_credits=4, on_failed="cost", included_tries=0)
    job = steps.open_job(acme)
    fail(ask(acme, job), lost_usd=0.15)
    steps.complete(acme, job)

    assert explained(acme, job) == "1.5 credits = 4 (the flat price of a job) - 2.5 (failed: at cost)"


def test_price_version_and_usage_classes(db: None, operator: Caller, monkeypatch: pytest.MonkeyPatch):
    """Which price it was only operators see; what was used everybody."""
    make.alias("dated", provider_model="provider/dated", max_output_tokens=1_000)
    price = prices.add("provider/dated", Rates(10**9, 2 * 10**9), actor=make.TESTER)
    usage = Usage(10, 5, classes={"input": 6, "cached_input": 4, "output": 5})
    steps.take_route(monkeypatch, lambda _: steps.answer(usage=usage))
    customer = make.customer(team_id="acme", access_groups=["dated"])
    job = steps.open_job(customer)
    assert execution.run_call(str(steps.ask(customer, job).call_id))

    (shown,) = receipt(operator, job)["calls"]
    (to_key,) = receipt(Caller(customer.headers), job)["calls"]

    assert shown["usage_classes"] == to_key["usage_classes"] == {"input": 6, "cached_input": 4, "output": 5}
    assert (shown["price_source"], shown["price_id"]) == ("price", str(price.pk))
    assert Call.objects.get().price_id == price.pk
    assert to_key.keys().isdisjoint({"price_source", "price_id", "provider_cost_usd"})
    assert Decimal(shown["provider_cost_usd"]) > 0
