"""Margin by any of its dimensions, and the statements of a month."""

import csv
import io
from datetime import UTC, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.core import append_only
from apps.core.models import AuditEntry
from apps.credits import ledger
from apps.credits.models import Entry, Period
from apps.jobs import services
from tests import make
from tests.console.conftest import confirm, text_of
from tests.console.test_credits import form_of

NOW = timezone.now().astimezone(UTC)
THIS = f"{NOW:%Y-%m}"
LAST = f"{NOW.replace(day=1) - timedelta(days=1):%Y-%m}"


@pytest.fixture
def acme(db):
    make.platform_model()
    customer = make.customer(team_id="acme", credits=0, org=make.organization("acme-org"))
    ledger.grant(
        customer.team,
        amount_micros=100_000_000,
        actor=make.TESTER,
        key="paid",
        price_nanousd_per_credit=200_000_000,
    )
    job, _ = services.open_job(customer.principal, services.NewJob("query"))
    ledger.charge(customer.team, job=str(job.pk), amount_micros=12_000_000, actor=make.TESTER)
    return customer


@pytest.mark.parametrize(
    ("by", "name"), [("job_type", "query"), ("team", "acme"), ("organization", "acme-org"), ("model", "")]
)
def test_margin_is_what_was_paid_less_what_providers_took(ana, acme, by, name):
    page = ana.get(f"/admin/margin/?by={by}")
    assert page.context["sentence"] == "$2.40 revenue less $0.00 provider cost leaves $2.40 (100.0 %)."
    row = next(row for row in page.context["rows"] if row.name == name)
    assert "from=" in row.url
    if by != "model":
        assert (row.margin.revenue_nanousd, row.percent) == (2_400_000_000, "100.0 %")


def test_margin_without_revenue_is_not_a_number(ana, acme):
    customer = make.customer(team_id="beta")
    services.open_job(customer.principal, services.NewJob("query"))
    page = ana.get("/admin/margin/?by=team")
    assert {row.name: row.percent for row in page.context["rows"]} == {"beta": "n/a", "acme": "100.0 %"}
    assert [row.name for row in page.context["rows"]] == ["beta", "acme"]


@pytest.mark.parametrize("query", ["by=weather", "range=ever", "from=soon", "from=2026-02-01&to=2026-01-01"])
def test_what_margin_does_not_understand_is_said(ana, acme, query):
    page = ana.get(f"/admin/margin/?{query}")
    assert page.context["wrong"]
    assert "Ignored: " in text_of(page)


def test_margin_of_a_time_without_jobs_says_so(ana, acme):
    assert "No charged job in this period" in text_of(ana.get("/admin/margin/?from=2020-01-01&to=2020-02-01"))


def test_margin_is_exported_with_an_audit_row(ana, browser_of, acme):
    answer = ana.post("/admin/margin/?by=team")
    [row] = csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode()))
    assert (row["group"], row["revenue_usd"], row["margin_percent"]) == ("acme", "2.40", "100")
    assert AuditEntry.objects.get(action="export").object_id == "margin"
    assert browser_of("viewer").post("/admin/margin/").status_code == 403


def test_margin_asks_a_fixed_number_of_queries(ana, acme):
    ana.get("/admin/margin/")
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as captured:
            ana.get("/admin/margin/?by=organization")
        counts.append(len(captured))
        for _ in range(3):
            services.open_job(make.customer().principal, services.NewJob("query"))
    assert counts[0] == counts[1] <= 14


def test_statements_add_up_for_every_organization(ana, acme):
    make.organization("idle-org")
    page = ana.get(f"/admin/statements/?month={THIS}")
    rows = {row.organization.organization_id: row for row in page.context["rows"]}
    acmes = rows["acme-org"]
    assert (acmes.opening, acmes.shown, acmes.other, acmes.closing) == (
        0,
        [100_000_000, -12_000_000, 0, 0],
        0,
        88_000_000,
    )
    assert rows["idle-org"].closing == 0
    assert "so far." in text_of(page)
    assert page.context["buttons"] == []


def test_default_is_the_month_before(ana, acme):
    page = ana.get("/admin/statements/")
    assert page.context["month"].name == LAST
    [row] = page.context["rows"]
    assert (row.opening, row.closing) == (0, 0)


def test_unknown_month_is_said(ana, acme):
    assert "Ignored: <bdi>no month" in text_of(ana.get("/admin/statements/?month=1999-01"))


def test_statement_is_a_page_a_json_and_a_csv(ana, acme):
    url = f"/admin/statement/acme-org/{THIS}/"
    assert "0 at the start, 88 credits by now." in text_of(ana.get(url))
    body = ana.get(f"{url}?format=json").json()
    assert (body["organization_id"], body["closing_balance"], body["total_entries"]) == ("acme-org", "88", 2)
    assert body["entries"][1]["transaction_type"] == "deduction"
    rows = list(csv.DictReader(io.StringIO(b"".join(ana.get(f"{url}?format=csv").streaming_content).decode())))
    assert [row["kind"] for row in rows] == ["opening_balance", "grant", "charge", "closing_balance"]
    assert rows[-1]["balance"] == "88"


@pytest.mark.parametrize("path", ["nobody/2026-01", "acme-org/2026-13", "acme-org/x", "acme-org/2999-01"])
def test_statement_of_nothing_is_not_found(ana, acme, path):
    assert ana.get(f"/admin/statement/{path}/").status_code == 404


def test_statements_are_exported_by_those_who_may(ana, browser_of, acme):
    answer = ana.post(f"/admin/statements/?month={THIS}")
    [row] = csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode()))
    assert (row["organization_id"], row["charge"], row["closing_balance"]) == ("acme-org", "-12", "88")
    vera = browser_of("viewer")
    assert vera.post("/admin/statements/").status_code == 403
    assert vera.get(f"/admin/statement/acme-org/{THIS}/?format=csv").status_code == 403
    assert vera.get(f"/admin/statement/acme-org/{THIS}/").status_code == 200


def test_statement_pages_ask_a_fixed_number_of_queries(ana, acme):
    urls = (f"/admin/statements/?month={THIS}", f"/admin/statement/acme-org/{THIS}/")

    def queries():
        counts = []
        for url in urls:
            with CaptureQueriesContext(connection) as captured:
                assert ana.get(url).status_code == 200
            counts.append(len(captured))
        return counts

    ana.get("/admin/margin/")
    few = queries()
    for _ in range(5):
        make.customer(credits=5)
    make.customer(credits=5, org=acme.organization)
    assert queries() == few
    assert max(few) <= 16


def test_month_is_closed_once_by_typing_it(ana, acme):
    with append_only.lifted():
        Entry.objects.update(created_at=NOW.replace(day=1) - timedelta(days=3))
    url = f"/admin/statements/{LAST}/close/"
    page = ana.post(url, form_of(ana, url, reason="month end", typed=THIS))
    assert page.context["form"].errors["typed"] == [f"Type exactly {LAST}."]
    done = confirm(ana, url, reason="month end", typed=LAST)
    assert (done.status_code, done.url) == (303, f"/admin/statements/?month={LAST}")
    period = Period.objects.get()
    assert (period.pk, period.closed_by) == (LAST, "operator:ana@example.com")
    assert ana.get(url).status_code == 409
    assert "nothing of it changes any more" in text_of(ana.get(done.url))


def test_month_that_runs_is_not_closed(ana, acme):
    url = f"/admin/statements/{THIS}/close/"
    page = confirm(ana, url, reason="month end", typed=THIS)
    assert page.status_code == 409 or page.status_code == 422
    assert "can be closed 15 minutes after its end" in text_of(page)
    assert Period.objects.count() == 0


@pytest.mark.parametrize("role", ["support", "viewer"])
def test_whoever_may_not_closes_nothing(browser_of, ana, acme, role):
    url = f"/admin/statements/{LAST}/close/"
    client = browser_of(role)
    form = form_of(ana, url, reason="month end", typed=LAST)
    assert client.get(url).status_code == client.post(url, form).status_code == 403
    assert Period.objects.count() == 0
