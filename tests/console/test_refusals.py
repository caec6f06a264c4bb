"""Refusals in the console: a list, and a page that says why, whether it would pass now, and what helps."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.html import escape

from apps.core.errors import DomainError
from apps.credits import ledger
from apps.credits.models import Account, Entry, Hold
from apps.jobs import services
from apps.limits import services as limits
from apps.limits.models import Decision
from apps.teams import services as teams
from tests import make
from tests.console.conftest import text_of

REFUSALS = "/admin/limits/decision/"
SIGN_IN = 2

pytestmark = pytest.mark.usefixtures("no_worker")


def refuse(customer, *, model=None):
    """A call that is refused, and its decision."""
    job, _ = services.open_job(customer.principal, services.NewJob("query"))
    body = {"messages": [{"role": "user", "content": "hello"}]} | ({"model": model} if model else {})
    request = services.CallRequest(body=body, fingerprint=str(job.pk), model=model)
    with pytest.raises(DomainError):
        services.submit_call(customer.principal, request, job_id=str(job.pk), wait_s=28, reply_to="")
    return Decision.objects.order_by("-created_at", "-id").first()


@pytest.fixture
def poor(db):
    make.platform_model()
    return make.customer(team_id="poor", credits=0)


def page_of(decision):
    return f"/admin/decision/{decision.pk}/"


def test_list_takes_a_constant_number_of_queries(ana, poor):
    refuse(poor)
    with CaptureQueriesContext(connection) as captured:
        ana.get(REFUSALS)
    few = [query for query in captured.captured_queries if "limits_decision" in query["sql"]]
    for _ in range(5):
        refuse(poor)
    with CaptureQueriesContext(connection) as captured:
        page = ana.get(REFUSALS)
    many = [query for query in captured.captured_queries if "limits_decision" in query["sql"]]
    assert len(many) == len(few) <= 8
    assert page.context["total"] == 6
    assert "Not enough credits" in text_of(page)
    assert len(page.content) < 200_000


def test_page_says_why_and_that_it_is_still_refused(ana, poor):
    decision = refuse(poor)
    with CaptureQueriesContext(connection) as captured:
        page = ana.get(page_of(decision))
    text = text_of(page)
    assert "team poor had 0 credits available" in page.context["sentence"]
    assert "refused this" in text
    assert "still refused" in text
    assert "Grant 1 credit to poor" in [each.label for each in page.context["view_helps"]]
    assert len(captured) <= 14 + SIGN_IN


def test_it_would_pass_once_there_are_credits_and_nothing_was_held(ana, poor):
    decision = refuse(poor)
    ledger.grant(poor.team, amount_micros=5_000_000, actor=make.TESTER, key="k")
    before = (Entry.objects.count(), Hold.objects.count(), Account.objects.get(team=poor.team).held_micros)
    page = ana.get(page_of(decision))
    assert "would pass now" in text_of(page)
    assert "The same request would pass now" in page.context["to_customer"]
    assert (Entry.objects.count(), Hold.objects.count(), Account.objects.get(team=poor.team).held_micros) == before


def test_suspended_team_is_helped_by_resuming_it(ana, acme):
    teams.set_status(acme.team, status="suspended", actor=make.TESTER, reason="chargeback")
    decision = Decision.objects.create(
        team=acme.team, organization=acme.organization, code="team_not_active", message="Team access is suspended."
    )
    page = ana.get(page_of(decision))
    assert "still refused" in text_of(page)
    helps = {each.label: each.url for each in page.context["view_helps"]}
    assert helps["Resume acme"] == f"/admin/team/acme/resume/?next=%2Fadmin%2Fdecision%2F{decision.pk}%2F"


def test_every_limit_on_the_way_is_shown_then_and_now(ana, acme):
    limits.put(scope="team", id="acme", metric="spend_per_day", amount=0, actor=make.TESTER)
    limits.put(
        scope="organization",
        id=acme.organization.organization_id,
        metric="spend_per_month",
        amount=10**8,
        actor=make.TESTER,
    )
    decision = refuse(acme)
    page = ana.get(page_of(decision))
    assert [(row.limit, row.verdict) for row in page.context["then"] if row.is_refusing] == [
        ("credits a day", "refused this")
    ]
    assert {row.limit for row in page.context["now"]} == {"credits a day", "credits a month"}
    assert "still refused" in text_of(page)
    assert any(each.label.startswith("Raise credits a day of team acme") for each in page.context["view_helps"])
    limits.put(scope="team", id="acme", metric="spend_per_day", amount=10**8, actor=make.TESTER)
    assert "would pass now" in text_of(ana.get(page_of(decision)))


def test_model_that_is_not_open_is_still_refused(ana, acme):
    decision = refuse(acme, model="secret-model")
    page = ana.get(page_of(decision))
    assert decision.code == "model_not_allowed"
    assert "still refused" in text_of(page)
    assert "secret-model" in page.context["to_customer"]


def test_answer_to_the_customer_names_no_provider(ana, acme):
    make.alias("dear", provider_model="vendor/very-large")
    decision = refuse(acme, model="dear")
    answer = ana.get(page_of(decision)).context["to_customer"]
    assert "vendor" not in answer
    assert str(decision.pk) in answer
    assert answer.rstrip(".").count(". ") == 2


def test_helps_are_for_those_who_may(vera, poor):
    decision = refuse(poor)
    page = vera.get(page_of(decision))
    assert page.status_code == 200
    assert page.context["view_helps"] == []


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("team=poor", 2),
        ("code=insufficient_credits", 2),
        ("code=rate_limited", 0),
        ("scope=team", 2),
        ("scope=organization", 0),
        ("user=ann", 1),
        ("model=x", 0),
    ],
)
def test_refusals_are_filtered(ana, poor, query, count):
    refuse(poor)
    Decision.objects.filter(pk=refuse(poor).pk).update(user_id="ann")
    page = ana.get(f"{REFUSALS}?{query}")
    assert [chip.value for chip in page.context["chips"] if chip.is_wrong] == []
    assert page.context["total"] == count


def test_grouped_by_team_and_reason(ana, poor):
    refuse(poor)
    refuse(poor)
    page = ana.get(f"{REFUSALS}?grouped=yes")
    groups = page.context["groups"]
    assert [(group["team_name"], group["reason"], group["number"]) for group in groups] == [
        ("poor", "Not enough credits", 2)
    ]
    assert ana.get(groups[0]["url"]).context["total"] == 2


def test_unknown_refusal_is_not_found_in_words(ana):
    page = ana.get("/admin/decision/0192e4a0-0000-7000-8000-000000000000/")
    assert page.status_code == 404
    assert "Refusals are deleted when their time is over." in text_of(page)


def test_go_leads_to_it_and_so_does_the_old_address(ana, poor):
    decision = refuse(poor)
    assert ana.get(f"/admin/go/{decision.pk}/").url == page_of(decision)
    assert ana.get(f"/admin/limits/decision/{decision.pk}/change/").url == page_of(decision)


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'])
def test_hostile_text_stays_text(ana, acme, text):
    decision = Decision.objects.create(
        team=acme.team,
        organization=acme.organization,
        code=text[:64],
        message=text,
        model=text,
        user_id=text,
        limits=[{"limit": text, "scope": text, "id": text, "verdict": text, "used": text, "resets_at": text}],
    )
    for url in (REFUSALS, page_of(decision)):
        page = text_of(ana.get(url))
        assert "<script>alert(1)" not in page
        assert "<img src=x" not in page
        assert escape(text)[:20] in page
