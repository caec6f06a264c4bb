"""Organizations in the console: suspended, resumed, edited; every change audited."""

import pytest

from apps.core.models import AuditEntry
from apps.organizations.models import Organization
from tests import make
from tests.console.conftest import confirm, text_of

LIST = "/admin/organizations/organization/"


@pytest.fixture
def org(db):
    return make.organization("acme-org")


def now() -> Organization:
    return Organization.objects.get(organization_id="acme-org")


def test_suspended_and_resumed_with_reasons(ana, org):
    done = confirm(ana, "/admin/org/acme-org/suspend/", reason="unpaid bills")
    assert (done.status_code, done.url) == (303, "/admin/org/acme-org/")
    assert (now().status, now().status_reason) == ("suspended", "unpaid bills")
    page = text_of(ana.get(done.url))
    assert "Suspended: “unpaid bills”" in page
    confirm(ana, "/admin/org/acme-org/resume/", reason="paid again")
    assert now().status == "active"
    rows = AuditEntry.objects.filter(action="organization.status")
    assert set(rows.values_list("reason", flat=True)) == {"unpaid bills", "paid again"}
    timeline = text_of(ana.get("/admin/org/acme-org/activity/"))
    assert "unpaid bills" in timeline
    assert "status active → suspended" in timeline


@pytest.mark.parametrize(("action", "status"), [("suspend", "suspended"), ("resume", "active")])
def test_what_it_is_already_is_stale(ana, org, action, status):
    Organization.objects.update(status=status)
    page = ana.get(f"/admin/org/acme-org/{action}/")
    assert page.status_code == 409
    assert f"acme-org is {status} already." in text_of(page)


def edit(browser, **typed):
    fields = {"name": "Acme-Org", "time_zone": "UTC", "display_currency": "USD", "metadata": "{}"}
    return confirm(browser, "/admin/org/acme-org/edit/", **(fields | typed))


def test_edit_writes_what_changed_and_audits_it(ana, org):
    edit(ana, name="Acme", time_zone="Europe/Berlin", metadata='{"tier": 1}')
    assert (now().name, now().time_zone, now().metadata) == ("Acme", "Europe/Berlin", {"tier": 1})
    row = AuditEntry.objects.get(action="organization.update")
    assert (row.before, row.after) == (
        {"name": "Acme-Org", "metadata": {}},
        {"name": "Acme", "metadata": {"tier": 1}},
    )
    assert AuditEntry.objects.get(action="organization.time_zone").after == {"time_zone": "Europe/Berlin"}


def test_saving_without_a_change_leaves_no_audit_row(ana, org):
    assert edit(ana).status_code == 303
    assert not AuditEntry.objects.filter(actor="operator:ana@example.com").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "a\x00b"),
        ("time_zone", "Mars"),
        ("display_currency", "EURO"),
        ("display_currency", "12$"),
        ("metadata", "[1]"),
    ],
)
def test_wrong_field_changes_nothing(ana, org, field, value):
    page = edit(ana, **{"name": "Other", field: value})
    assert page.status_code == 422
    assert page.context["form"].errors[field]
    assert (now().name, now().time_zone) == ("Acme-Org", "UTC")


def test_currency_without_a_rate_is_said(ana, org):
    page = edit(ana, name="Other", display_currency="EUR")
    assert page.status_code == 422
    assert "EUR has no rate in force" in text_of(page)
    assert now().name == "Acme-Org"


@pytest.mark.parametrize(
    ("role", "status", "labels"),
    [
        ("viewer", 403, []),
        ("support", 403, ["Suspend"]),
        ("admin", 200, ["New team", "Suspend", "Edit"]),
    ],
)
def test_buttons_and_edit_are_for_those_with_the_right(browser_of, org, role, status, labels):
    browser = browser_of(role)
    shown = [button.label for button in browser.get("/admin/org/acme-org/").context["buttons"]]
    assert [label for label in shown if label != "Grant to pool"] == labels
    assert browser.get("/admin/org/acme-org/edit/").status_code == status


def test_list_says_what_customers_have_and_spend(ana, acme):
    make.customer(org=acme.organization, team_id="second", credits=50)
    shown = {column.label: str(value) for column, value in ana.get(LIST).context["table"][0]}
    assert (shown["Teams"], shown["Available"]) == ("2", "150")


def test_filters(ana, acme, globex):
    poor = make.customer(team_id="poor", credits=0)
    make.customer(org=poor.organization, team_id="other", credits=10)
    Organization.objects.filter(pk=globex.organization.pk).update(status="suspended")

    def found(**query):
        rows = ana.get(LIST, query).context["table"]
        return {str(cells[0][1]).split("/org/")[1].split("/")[0] for cells in rows}

    assert found(state="suspended") == {globex.organization.organization_id}
    assert found(balance="low") == found(credentials="own") == set()
    assert found(q=acme.organization.organization_id) == {acme.organization.organization_id}
