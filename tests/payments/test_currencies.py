"""B21: costs in the customer's currency, at a dated rate that is shown, beside the dollars."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from apps.core import clock
from apps.core.models import AuditEntry
from apps.credits.models import BillingSettings
from apps.jobs.models import Job
from apps.payments import currencies
from apps.payments.models import CurrencyRate
from tests import make
from tests.api.calling import MESSAGES, finished_job, located

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("worker")]


def rate(ppb: int, *, valid_from: datetime | None = None, currency: str = "EUR") -> CurrencyRate:
    """A rate as if it had been there then."""
    return CurrencyRate.objects.create(
        currency=currency,
        units_per_usd_ppb=ppb,
        valid_from=valid_from or datetime(2026, 1, 1, tzinfo=UTC),
        created_by="tests",
    )


@pytest.fixture
def euros(acme: make.Customer) -> CurrencyRate:
    """Acme is shown its costs in euros."""
    found = rate(920_000_000)
    currencies.set_display_currency(acme.organization, "EUR", actor=make.TESTER)
    return found


def cost(job_id: str, usd: float) -> None:
    Job.objects.filter(pk=job_id).update(provider_cost_nanousd=int(usd * 10**9))


def test_B21_job_is_shown_in_euros_with_the_rate_and_its_date(acme, euros, team_key, operator):
    job_id = finished_job(team_key)
    cost(job_id, 1.5)
    expected = {
        "currency": "EUR",
        "total_cost": 1.38,
        "rate": "0.92",
        "rate_valid_from": "2026-01-01T00:00:00.000Z",
    }

    for answer in (
        team_key.get(f"/api/jobs/{job_id}/costs"),
        team_key.get(f"/api/jobs/{job_id}"),
        team_key.post(f"/api/jobs/{job_id}/complete", {"status": "completed"}),
        operator.get(f"/api/jobs/{job_id}"),
    ):
        costs = answer.json()["costs"]
        assert costs["total_cost_usd"] == 1.5
        assert costs["display"] == expected


def test_one_call_jobs_and_balances_show_it_too(acme, euros, team_key):
    body = {"team_id": "acme", "job_type": "query", "messages": MESSAGES}

    answer = team_key.post("/api/jobs/create-and-call", body).json()
    streamed = team_key.post("/api/jobs/create-and-call-stream", body)
    balance = team_key.get("/api/credits/teams/acme/balance").json()

    assert answer["costs"]["display"]["currency"] == "EUR"
    assert b'"display":{"currency":"EUR"' in b"".join(streamed.streaming_content)
    assert balance["display"] == {"currency": "EUR", "rate": "0.92", "rate_valid_from": "2026-01-01T00:00:00.000Z"}


def test_usage_of_a_past_month_keeps_the_rate_it_ended_with(acme, euros, team_key):
    rate(900_000_000, valid_from=datetime(2026, 3, 10, tzinfo=UTC))
    rate(500_000_000, valid_from=datetime(2026, 4, 1, tzinfo=UTC))
    Job.objects.create(
        team=acme.team,
        organization=acme.organization,
        job_type="query",
        provider_cost_nanousd=10 * 10**9,
        created_at=datetime(2026, 3, 5, tzinfo=UTC),
    )

    summary = team_key.get("/api/teams/acme/usage?period=2026-03").json()["summary"]

    assert summary["total_cost_usd"] == 10.0
    assert (summary["display"]["total_cost"], summary["display"]["rate"]) == (9.0, "0.9")
    now = clock.now()
    today = team_key.get(f"/api/teams/acme/usage?period={now:%Y-%m-%d}").json()["summary"]
    assert today["display"]["rate"] == "0.5"


def test_job_keeps_the_rate_of_its_completion(acme, euros, team_key):
    job_id = finished_job(team_key)
    Job.objects.filter(pk=job_id).update(completed_at=datetime(2026, 2, 1, tzinfo=UTC))
    rate(500_000_000, valid_from=datetime(2026, 2, 1, 0, 0, 1, tzinfo=UTC))

    assert team_key.get(f"/api/jobs/{job_id}/costs").json()["costs"]["display"]["rate"] == "0.92"


def test_receipt_shows_the_jobs_cost_in_euros(acme, euros, team_key, operator):
    job_id = finished_job(team_key)
    cost(job_id, 1.5)

    for caller in (team_key, operator):
        receipt = caller.get(f"/api/jobs/{job_id}/receipt").json()
        assert (receipt["total_cost_usd"], receipt["display"]["total_cost"]) == (1.5, 1.38)


def test_statement_has_the_rate_that_its_month_ended_with(acme, euros, team_key, operator):
    rate(900_000_000, valid_from=datetime(2026, 3, 10, tzinfo=UTC))
    rate(500_000_000, valid_from=datetime(2026, 4, 2, tzinfo=UTC))
    organization_id = acme.organization.organization_id

    for answer in (
        team_key.get("/api/teams/acme/statements/2026-03"),
        operator.get(f"/api/organizations/{organization_id}/statements/2026-03"),
    ):
        assert answer.json()["display"] == {
            "currency": "EUR",
            "rate": "0.9",
            "rate_valid_from": "2026-03-10T00:00:00.000Z",
        }
    running = team_key.get(f"/api/teams/acme/statements/{clock.now():%Y-%m}").json()
    assert running["display"]["rate"] == "0.5"


def test_team_that_sees_no_costs_sees_none_in_euros(acme, euros, team_key):
    job_id = finished_job(team_key)
    BillingSettings.objects.create(team=acme.team, show_costs=False)

    assert "display" not in team_key.get(f"/api/jobs/{job_id}/costs").json()["costs"]
    assert "display" not in team_key.get(f"/api/jobs/{job_id}/receipt").json()
    assert "display" not in team_key.get(f"/api/teams/acme/usage?period={clock.now():%Y-%m}").json()["summary"]


def test_dollars_show_nothing_and_ask_nothing(acme, globex, team_key):
    rate(920_000_000)
    job_id = finished_job(team_key)

    with CaptureQueriesContext(connection) as captured:
        shown = team_key.get(f"/api/jobs/{job_id}/costs").json()
        receipt = team_key.get(f"/api/jobs/{job_id}/receipt").json()
        statement = team_key.get(f"/api/teams/acme/statements/{clock.now():%Y-%m}").json()

    assert "display" not in shown["costs"].keys() | receipt.keys() | statement.keys()
    assert not any("currencyrate" in query["sql"] for query in captured)


def test_small_amounts_are_exact_in_integers(euros):
    assert currencies.converted(1, euros) == 0
    assert currencies.converted(10**18, euros) == 92 * 10**16
    assert currencies.exact_rate(rate(157_123_456_789, currency="JPY")) == "157.123456789"
    assert currencies.exact_rate(rate(3_000_000_000, currency="KWD")) == "3"


@pytest.mark.parametrize(
    ("amount", "currency", "credits", "nanousd"),
    [
        (2500, "USD", 250, 100_000_000),
        (1, "USD", 3, 3_333_333),
        (2300, "EUR", 250, 100_000_000),
        (15_000, "JPY", 100, 1_000_000_000),
        (3000, "KWD", 10, 1_000_000_000),
        (100, "CHF", 1, None),
    ],
)
def test_price_of_a_credit_is_told_in_dollars(db, amount, currency, credits, nanousd):
    rate(920_000_000)
    rate(150_000_000_000, currency="JPY")
    rate(300_000_000, currency="KWD")

    assert currencies.price_nanousd_per_credit(amount, currency, credits) == nanousd


# --- Rates -------------------------------------------------------------------------------------------------


def test_rates_are_added_and_listed(operator, team_key):
    body = {"currency": "eur", "units_per_usd": 0.92}

    made = operator.post("/api/currency-rates", body, key="r").json()

    assert operator.post("/api/currency-rates", body, key="r").json() == made
    assert (made["currency"], made["units_per_usd"]) == ("EUR", "0.92")
    ahead = (clock.now() + timedelta(days=9)).isoformat()
    operator.post("/api/currency-rates", body | {"units_per_usd": 1, "valid_from": ahead})
    listed = operator.get("/api/currency-rates?currency=eur").json()
    assert [each["units_per_usd"] for each in listed["rates"]] == ["1", "0.92"]
    assert currencies.exact_rate(currencies.rate_at("EUR")) == "0.92"
    assert team_key.get("/api/currency-rates").status_code == 401
    again = operator.post("/api/currency-rates", body | {"valid_from": ahead})
    assert (again.status_code, again.json()["code"]) == (400, "currency_rate_exists")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"units_per_usd": 0}, "units_per_usd"),
        ({"units_per_usd": -1}, "units_per_usd"),
        ({"units_per_usd": 1e-12}, "units_per_usd"),
        ({"units_per_usd": 10**9}, "units_per_usd"),
        ({"currency": "USD"}, "currency"),
        ({"currency": "EURO"}, "currency"),
        ({"currency": "€€€"}, "currency"),
        ({"valid_from": "2026-01-01T00:00:00Z"}, "valid_from"),
        ({"valid_from": "tomorrow"}, "valid_from"),
    ],
)
def test_wrong_rates_name_their_field(operator, wrong, field):
    body = {"currency": "EUR", "units_per_usd": 0.92} | wrong

    assert located(operator.post("/api/currency-rates", body)) == [["body", field]]


def test_rate_is_never_changed_or_deleted(euros):
    for write in (lambda: CurrencyRate.objects.update(units_per_usd_ppb=1), CurrencyRate.objects.all().delete):
        with pytest.raises(DatabaseError), transaction.atomic():
            write()


def test_display_currency_needs_a_rate_in_force(acme, operator, team_key):
    url = f"/api/organizations/{acme.organization.organization_id}/display-currency"

    missing = operator.put(url, {"display_currency": "EUR"})
    assert (missing.status_code, missing.json()["code"]) == (400, "currency_rate_missing")
    rate(920_000_000)
    for _ in range(2):
        assert operator.put(url, {"display_currency": "eur"}).json()["display_currency"] == "EUR"
    assert AuditEntry.objects.filter(action="organization.display_currency").count() == 1
    assert operator.put(url, {"display_currency": "USD"}).json()["display_currency"] == "USD"
    assert team_key.put(url, {"display_currency": "USD"}).status_code == 401
    assert operator.put("/api/organizations/none/display-currency", {"display_currency": "USD"}).status_code == 404


def shown_to(caller: Any, organization_id: str) -> Any:
    return caller.get(f"/api/organizations/{organization_id}").json()["display_currency"]


def test_organization_tells_its_currency(acme, euros, team_key, operator):
    for caller in (team_key, operator):
        assert shown_to(caller, acme.organization.organization_id) == "EUR"
