"""Operators set, change, raise and remove limits; the list says what is used; a request is checked."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.core import clock
from apps.core.models import AuditEntry
from apps.limits import services
from apps.limits.models import Limit, SpendWindow
from tests import make
from tests.console.conftest import confirm, text_of

LIST = "/admin/limits/limit/"
NEW = "/admin/limit/new/"
CHECK = "/admin/limits/check/"


@pytest.fixture
def limit(db: None) -> Limit:
    make.customer(team_id="acme")
    return services.put(scope="team", id="acme", metric="requests_per_minute", amount=60, actor=make.TESTER)[0]


def page_of(limit: Limit, name: str) -> str:
    return f"/admin/limit/{limit.pk}/{name}/"


def audited() -> list[tuple[str, str]]:
    rows = AuditEntry.objects.filter(object_kind="limit", actor__startswith="operator:")
    return [(row.action, row.actor) for row in rows.order_by("id")]


def in_days(days: float) -> str:
    return f"{timezone.localtime(clock.now() + timedelta(days=days)):%Y-%m-%dT%H:%M}"


def new(**changes: str) -> dict[str, str]:
    return {"scope": "user", "id": "ann", "team_id": "acme", "metric_": "spend_per_day", "how": "limit"} | changes


def test_limit_is_set_in_credits(ana: Client):
    make.customer(team_id="acme")
    assert confirm(ana, NEW, **new(amount="5.5")).status_code == 303
    made = Limit.objects.get()
    assert (made.scope, made.subject, made.metric, made.amount) == ("user", "acme/ann", "spend_per_day", 5_500_000)
    assert audited() == [("limit.set", "operator:ana@example.com")]


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("amount", {"amount": ""}),
        ("amount", {"amount": "-1"}),
        ("amount", {"amount": "0.0000001"}),
        ("amount", {"amount": "1.5", "metric_": "requests_per_minute"}),
        ("team_id", {"amount": "1", "team_id": ""}),
        ("id", {"amount": "1", "scope": "team", "id": ""}),
        ("metric_", {"amount": "1", "metric_": "wishes"}),
    ],
)
def test_what_makes_no_limit_is_refused_at_its_field(ana: Client, field: str, changes: dict[str, Any]):
    make.customer(team_id="acme")
    page = confirm(ana, NEW, **new(**changes))
    assert (page.status_code, list(page.context["form"].errors)) == (422, [field])
    assert Limit.objects.count() == 0


def test_unknown_team_is_said(ana: Client):
    page = confirm(ana, NEW, **new(amount="1", team_id="nobody"))
    assert page.context["form"].errors
    assert Limit.objects.count() == 0


def test_amount_is_changed_and_nothing_else(ana: Client, limit: Limit):
    confirm(ana, page_of(limit, "edit"), how="limit", amount="90", subject="globex", scope="platform")
    limit.refresh_from_db()
    assert (limit.amount, limit.subject, limit.scope) == (90, "acme", "team")
    assert audited() == [("limit.set", "operator:ana@example.com")]


def test_no_limit_of_its_own_removes_it_and_says_what_still_binds(ana: Client, limit: Limit):
    org = limit.organization
    assert org is not None
    services.put(scope="organization", id=org.organization_id, metric=limit.metric, amount=70, actor=make.TESTER)
    first = ana.get(page_of(limit, "remove"))
    assert f"requests a minute of organization {org.organization_id}: 70" in text_of(first)
    confirm(ana, page_of(limit, "edit"), how="none")
    assert not Limit.objects.filter(pk=limit.pk).exists()
    assert audited() == [("limit.delete", "operator:ana@example.com")]


def test_limit_is_raised_for_a_time_with_a_reason(ana: Client, limit: Limit):
    typed = {"amount": "600", "until": in_days(1), "reason": "launch day"}
    assert confirm(ana, page_of(limit, "raise"), **typed).status_code == 303
    limit.refresh_from_db()
    assert (limit.amount, limit.raised_to, limit.raise_reason) == (60, 600, "launch day")
    assert audited() == [("limit.raise", "operator:ana@example.com")]
    shown = text_of(ana.get(LIST, {"from": "raised"}))
    assert "raised until" in shown
    assert "then 60" in shown


@pytest.mark.parametrize(
    ("field", "changes"),
    [("until", {"until": "2020-01-01T12:00"}), ("until", {"until": ""}), ("reason", {"reason": ""})],
)
def test_a_raise_without_end_reason_or_future_is_refused(ana: Client, limit: Limit, field: str, changes: Any):
    page = confirm(
        ana, page_of(limit, "raise"), **{"amount": "600", "until": in_days(1), "reason": "launch day"} | changes
    )
    assert page.status_code == 422
    assert page.context["form"].errors[field]
    limit.refresh_from_db()
    assert limit.raised_to is None


def test_support_raises_up_to_seven_days_and_no_longer(browser_of: Any, limit: Limit):
    sam = browser_of("support")
    typed = {"amount": "600", "reason": "launch day"}
    refused = confirm(sam, page_of(limit, "raise"), **typed, until=in_days(8))
    assert refused.status_code == 403
    assert "Owners and admins can." in text_of(refused)
    lower = confirm(sam, page_of(limit, "raise"), amount="10", reason="a punishment", until=in_days(1))
    assert lower.status_code == 403
    assert confirm(sam, page_of(limit, "raise"), **typed, until=in_days(6.9)).status_code == 303
    assert audited() == [("limit.raise", "operator:sam@example.com")]


def test_limit_is_removed_once(ana: Client, limit: Limit):
    assert confirm(ana, page_of(limit, "remove")).status_code == 303
    assert ana.get(page_of(limit, "remove")).status_code == 404
    assert audited() == [("limit.delete", "operator:ana@example.com")]


def test_change_of_another_meanwhile_is_shown_first(ana: Client, limit: Limit):
    page = ana.get(page_of(limit, "edit"))
    form = {"once": str(page.context["form"]["once"].value()), "seen": page.context["preview"].seen, "how": "limit"}
    services.change(limit.pk, amount=75, actor=make.TESTER)
    answer = ana.post(page_of(limit, "edit"), form | {"amount": "90"})
    assert answer.status_code == 409
    change = answer.context["preview"].changes[0]
    assert (change.before, change.after) == ("75", "90")
    assert Limit.objects.get().amount == 75


def test_who_may_only_look_changes_nothing(vera: Client, browser_of: Any, limit: Limit):
    assert vera.get(LIST).status_code == vera.get(f"/admin/limit/{limit.pk}/").status_code == 200
    assert "/raise/" not in text_of(vera.get(LIST))
    for url in (NEW, *(page_of(limit, name) for name in ("edit", "raise", "remove"))):
        for answer in (vera.get(url), vera.post(url, {"amount": "90"})):
            assert answer.status_code == 403
    sam = browser_of("support")
    for name in ("edit", "remove"):
        assert sam.post(page_of(limit, name), {"amount": "90"}).status_code == 403
    assert "/raise/" in text_of(sam.get(LIST))
    assert audited() == []


def test_list_says_what_is_used_and_finds_what_is_near_its_limit(ana: Client, limit: Limit):
    services.put(scope="team", id="acme", metric="spend_per_day", amount=10_000_000, actor=make.TESTER)
    SpendWindow.objects.create(
        scope="team",
        subject="acme",
        metric="spend_per_day",
        period="2026-11-24",
        ends_at=clock.now() + timedelta(hours=3),
        used_micros=7_000_000,
        held_micros=1_500_000,
    )
    assert "7 used, 1.5 held" in text_of(ana.get(LIST))
    near = ana.get(LIST, {"use": "near"})
    assert near.context["total"] == 1
    SpendWindow.objects.update(held_micros=0)
    assert ana.get(LIST, {"use": "near"}).context["total"] == 0


def test_request_is_checked_without_running(ana: Client, limit: Limit):
    services.put(scope="platform", metric="tokens_per_minute", amount=1000, actor=make.TESTER)
    page = ana.get(CHECK, {"team": "acme", "tokens": "1500"})
    assert [(row["what"], row["has_room"]) for row in page.context["rows"]] == [
        ("Tokens a minute", False),
        ("Requests a minute", True),
    ]
    assert "Refused now by: tokens a minute of platform." in text_of(page)
    assert "Every limit has room." in text_of(ana.get(CHECK, {"team": "acme"}))


@pytest.mark.parametrize(
    ("field", "asked"),
    [
        ("team", {"team": "nobody"}),
        ("team", {"team": "a\x00"}),
        ("team", {"model": "x"}),
        ("key", {"team": "acme", "key": "0192e4a0-0000-7000-8000-000000000000"}),
        ("tokens", {"team": "acme", "tokens": "many"}),
        ("credits", {"team": "acme", "credits": "NaN"}),
    ],
)
def test_what_cannot_be_checked_is_said_at_its_field(ana: Client, limit: Limit, field: str, asked: dict[str, str]):
    page = ana.get(CHECK, asked)
    assert page.status_code == 200
    assert field in page.context["errors"]
    assert "rows" not in page.context


def test_list_and_pages_take_a_fixed_number_of_queries(ana: Client, limit: Limit):
    def queries(url: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert ana.get(url).status_code == 200
        return len(captured)

    queries(LIST)
    few = queries(LIST)
    for number in range(6):
        make.customer(team_id=f"team-{number}-of-many")
        for metric in ("spend_per_day", "tokens_per_minute"):
            services.put(scope="team", id=f"team-{number}-of-many", metric=metric, amount=5, actor=make.TESTER)
    assert queries(LIST) <= few <= 10
    assert queries(f"/admin/limit/{limit.pk}/") <= 8
    assert queries(f"{CHECK}?team=acme") <= 12
