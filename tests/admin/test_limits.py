"""Operators set, change, raise and delete limits in the admin: by the services, each with an audit row."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from apps.core import clock
from apps.core.models import AuditEntry
from apps.limits import services
from apps.limits.models import Limit
from tests import make
from tests.admin.conftest import signed_in, staff

LIST = "/admin/limits/limit/"


@pytest.fixture
def limit(db: None) -> Limit:
    make.customer(team_id="acme")
    return services.put(scope="team", id="acme", metric="requests_per_minute", amount=60, actor=make.TESTER)[0]


def audited() -> list[tuple[str, str]]:
    rows = AuditEntry.objects.filter(object_kind="limit", actor__startswith="operator:")
    return [(row.action, row.actor) for row in rows.order_by("id")]


def test_limit_is_set(site: Client):
    make.customer(team_id="acme")
    form = {"scope": "user", "id": "ann", "team_id": "acme", "metric": "spend_per_day", "amount": "5000000"}
    assert site.post(f"{LIST}add/", form).status_code == 302
    made = Limit.objects.get()
    assert (made.scope, made.subject, made.metric, made.amount) == ("user", "acme/ann", "spend_per_day", 5_000_000)
    assert audited() == [("limit.set", "operator:owner@example.com")]


def test_what_makes_no_limit_is_refused_at_its_field(site: Client):
    form: dict[str, Any] = {"scope": "user", "id": "ann", "team_id": "", "metric": "spend_per_day", "amount": "1"}
    page = site.post(f"{LIST}add/", form)
    assert (page.status_code, list(page.context["form"].errors)) == (200, ["team_id"])
    page = site.post(f"{LIST}add/", form | {"team_id": "nobody"})
    assert page.context["form"].errors
    assert Limit.objects.count() == 0


def test_amount_is_changed_and_nothing_else(site: Client, limit: Limit):
    site.post(f"{LIST}{limit.pk}/change/", {"amount": "90", "subject": "globex", "scope": "platform"})
    limit.refresh_from_db()
    assert (limit.amount, limit.subject, limit.scope) == (90, "acme", "team")
    assert audited() == [("limit.set", "operator:owner@example.com")]


def test_limits_are_raised_for_a_time(site: Client, limit: Limit):
    until = clock.now() + timedelta(days=1)
    asked = {"action": "raise_for_a_time", "_selected_action": [limit.pk]}
    assert b"Raise limits" in site.post(LIST, asked).content
    form = {
        "confirmed": "1",
        "amount": "600",
        "until_0": until.strftime("%Y-%m-%d"),
        "until_1": "12:00:00",
        "reason": "launch",
    }
    site.post(LIST, asked | form)
    limit.refresh_from_db()
    assert (limit.amount, limit.raised_to, limit.raise_reason) == (60, 600, "launch")
    assert audited() == [("limit.raise", "operator:owner@example.com")]


def test_a_raise_that_is_over_is_refused(site: Client, limit: Limit):
    form = {"confirmed": "1", "amount": "600", "until_0": "2020-01-01", "until_1": "12:00:00", "reason": ""}
    page = site.post(LIST, {"action": "raise_for_a_time", "_selected_action": [limit.pk]} | form, follow=True)
    assert "Must be later than now." in page.content.decode()
    limit.refresh_from_db()
    assert limit.raised_to is None


@pytest.mark.parametrize("many", [False, True])
def test_limits_are_deleted(site: Client, limit: Limit, many: bool):
    if many:
        site.post(LIST, {"action": "delete_selected", "_selected_action": [limit.pk], "post": "yes"})
    else:
        site.post(f"{LIST}{limit.pk}/delete/", {"post": "yes"})
    assert Limit.objects.count() == 0
    assert audited() == [("limit.delete", "operator:owner@example.com")]


def test_who_may_only_look_changes_nothing(limit: Limit):
    looker = signed_in(staff("viewer"))
    assert looker.get(f"{LIST}{limit.pk}/change/").status_code == 200
    assert looker.post(f"{LIST}{limit.pk}/change/", {"amount": "90"}).status_code == 403
    assert looker.get(f"{LIST}add/").status_code == 403
    assert looker.post(f"{LIST}{limit.pk}/delete/", {"post": "yes"}).status_code == 403
    looker.post(LIST, {"action": "raise_for_a_time", "_selected_action": [limit.pk], "confirmed": "1"})
    limit.refresh_from_db()
    assert (limit.amount, limit.raised_to) == (60, None)
