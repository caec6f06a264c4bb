"""The form that grants credits: once, with a reason, by those who may."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.test import Client

from apps.core.models import AuditEntry
from apps.credits import billing
from apps.credits.models import Entry, Grant
from tests import make
from tests.admin.conftest import signed_in, staff


def url(customer: make.Customer) -> str:
    return f"/admin/teams/team/{customer.team.pk}/grant-credits/"


def form_of(site: Client, customer: make.Customer, **changes: str) -> dict[str, str]:
    """What a browser would post: the form as the page shows it, filled in."""
    page = site.get(url(customer))
    token = re.search(r'name="once" value="([^"]+)"', page.content.decode())
    assert token is not None
    return {"once": token[1], "amount": "25", "kind": "paid", "reason": "Invoice 17"} | changes


def grants(customer: make.Customer) -> list[Entry]:
    return list(Entry.objects.filter(credit_account__team=customer.team, reason="Invoice 17"))


def test_form_shows_the_balance(site, acme):
    page = site.get(url(acme)).content.decode()
    assert "100 credits" in page
    assert "Can be spent" in page


def test_grant_posts_one_entry_by_the_operator(site, acme):
    page = site.post(url(acme), form_of(site, acme, kind="promotional"), follow=True)

    [entry] = grants(acme)
    assert (entry.amount_micros, entry.actor) == (25_000_000, "operator:owner@example.com")
    assert Grant.objects.get(entry=entry).kind == Grant.Kind.PROMOTIONAL
    assert "100 before, 125 after" in page.content.decode()
    assert billing.balance(acme.team).posted_micros == 125_000_000


def test_grant_is_audited_with_its_reason(site, acme):
    site.post(url(acme), form_of(site, acme))
    audited = AuditEntry.objects.get(action="team.credits", reason="Invoice 17")
    assert (audited.actor, audited.address) == ("operator:owner@example.com", "127.0.0.1")
    assert (audited.before, audited.after) == ({"credits_allocated": "100"}, {"credits_allocated": "125"})


def test_same_page_submitted_twice_grants_once(site, acme):
    form = form_of(site, acme)
    site.post(url(acme), form)

    page = site.post(url(acme), form, follow=True)

    assert "Nothing was done a second time" in page.content.decode()
    assert len(grants(acme)) == 1


def test_same_page_with_another_amount_is_refused(site, acme):
    form = form_of(site, acme)
    site.post(url(acme), form)

    page = site.post(url(acme), form | {"amount": "26"})

    assert "used before with another request" in page.content.decode()
    assert len(grants(acme)) == 1


def test_two_pages_grant_twice(site, acme):
    for _ in range(2):
        site.post(url(acme), form_of(site, acme))
    assert len(grants(acme)) == 2


@pytest.mark.parametrize("amount", ["0", "-5", "1.5", "", "x", "1000000000001", "9" * 400])
def test_amount_that_is_no_whole_credit_is_refused(site, acme, amount):
    page = site.post(url(acme), form_of(site, acme, amount=amount))
    assert page.context["adminform"].form.errors["amount"]
    assert grants(acme) == []


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501, "a\x00b"])
def test_grant_without_a_storable_reason_is_refused(site, acme, reason):
    page = site.post(url(acme), form_of(site, acme, reason=reason))
    assert page.context["adminform"].form.errors["reason"]
    assert billing.balance(acme.team).posted_micros == 100_000_000


@pytest.mark.parametrize("token", ["", "not-a-uuid"])
def test_grant_without_its_token_is_refused(site, acme, token):
    page = site.post(url(acme), form_of(site, acme, once=token))
    assert page.status_code == 200
    assert grants(acme) == []


def test_largest_grant_fits_the_ledger(site):
    customer = make.customer(credits=0)
    site.post(url(customer), form_of(site, customer, amount="1000000000000"))
    assert billing.balance(customer.team).posted_micros == 1_000_000_000_000_000_000


def test_what_the_ledger_refuses_is_said_on_the_form(site, acme):
    page = site.post(url(acme), form_of(site, acme, amount="1000000000000"))
    assert "at most 1000000000000 credits in all" in page.content.decode()
    assert grants(acme) == []


def test_grant_needs_the_right_to_grant(acme):
    form = form_of(signed_in(staff("billing")), acme)
    operator = signed_in(staff("support", email="support@example.com"))

    assert operator.get(url(acme)).status_code == 403
    assert operator.post(url(acme), form).status_code == 403
    assert grants(acme) == []


def test_button_is_drawn_for_those_alone_who_may_grant(acme):
    page = f"/admin/team/{acme.team.team_id}/"
    with_right = signed_in(staff("billing")).get(page).content.decode()
    without = signed_in(staff("viewer", email="support@example.com")).get(page).content.decode()
    assert "Grant</a>" in with_right
    assert "Grant</a>" not in without


@pytest.mark.parametrize("team", ["999999", "abc", "9" * 40, "_00"])
def test_unknown_team_is_not_found(site, team):
    assert site.get(f"/admin/teams/team/{team}/grant-credits/").status_code == 404


def test_grant_without_csrf_token_is_refused(owner, acme):
    form = form_of(signed_in(owner), acme)
    assert signed_in(owner, enforce_csrf_checks=True).post(url(acme), form).status_code == 403
    assert grants(acme) == []


def test_operator_with_the_longest_address_can_grant(acme, db):
    operator = staff("billing", email=f"{'a' * 242}@example.com")
    site = signed_in(operator)
    site.post(url(acme), form_of(site, acme))
    assert len(grants(acme)) == 1


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_same_page_submitted_eight_times_at_once_grants_once(owner):
    customer = make.customer(credits=100)
    form = form_of(signed_in(owner), customer)
    browsers = [signed_in(owner) for _ in range(8)]

    def submit(browser: Client) -> int:
        try:
            return browser.post(url(customer), form).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(submit, browsers))

    assert statuses == [302] * 8
    assert len(grants(customer)) == 1
    assert billing.balance(customer.team).posted_micros == 125_000_000
