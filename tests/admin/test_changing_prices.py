"""The form that changes a team's prices: a new version of its card, audited, once."""

import re
from decimal import Decimal

import pytest

from apps.core.models import AuditEntry
from apps.credits import billing
from apps.credits.models import RateCardVersion
from tests import make
from tests.admin.conftest import signed_in, staff


def url(customer) -> str:
    return f"/admin/teams/team/{customer.team.pk}/prices/"


def form_of(site, customer, **changes) -> dict[str, str]:
    page = site.get(url(customer))
    shown = {field.html_name: field.value() for field in page.context["adminform"].form}
    token = re.search(r'name="once" value="([^"]+)"', page.content.decode())
    return {name: str(value) for name, value in shown.items()} | {"once": token[1]} | changes


def test_new_prices_are_in_force_and_audited(site, acme):
    form = form_of(site, acme, budget_mode="consumption_usd", credits_per_dollar="2.5", cost_markup_percentage="12.5")

    page = site.post(url(acme), form, follow=True)

    plan = billing.plan(acme.team)
    assert (plan.budget_mode, plan.micros_per_usd, plan.markup_ppm) == ("consumption_usd", 2_500_000, 125_000)
    assert "credits per dollar 2.5" in page.content.decode()
    audited = AuditEntry.objects.get(action="team.pricing")
    assert (audited.actor, audited.address) == ("operator:owner@example.com", "127.0.0.1")
    assert (audited.before["budget_mode"], audited.after["budget_mode"]) == ("job_based", "consumption_usd")


def test_same_page_submitted_twice_makes_one_version(site, acme):
    form = form_of(site, acme, budget_mode="consumption_tokens", tokens_per_credit="500")
    for _ in range(2):
        site.post(url(acme), form)
    assert RateCardVersion.objects.filter(card__team=acme.team).count() == 1


def test_unchanged_form_makes_no_version(site, acme):
    page = site.post(url(acme), form_of(site, acme), follow=True)
    assert "Nothing was changed" in page.content.decode()
    assert not RateCardVersion.objects.filter(card__team=acme.team).exists()


def test_rate_left_empty_stays(site, acme):
    billing.change_plan(acme.team, actor=make.TESTER, credits_per_dollar=Decimal(7))
    site.post(url(acme), form_of(site, acme, credits_per_dollar="", tokens_per_credit="9"))
    plan = billing.plan(acme.team)
    assert (plan.micros_per_usd, plan.tokens_per_credit) == (7_000_000, 9)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("budget_mode", "free_for_all"),
        ("credits_per_dollar", "0"),
        ("credits_per_dollar", "-1"),
        ("credits_per_dollar", "0.0000001"),
        ("credits_per_dollar", "NaN"),
        ("tokens_per_credit", "0"),
        ("tokens_per_credit", "1.5"),
        ("cost_markup_percentage", "-1"),
        ("cost_markup_percentage", "100001"),
    ],
)
def test_wrong_rates_are_refused_at_their_field(site, acme, field, value):
    page = site.post(url(acme), form_of(site, acme, **{field: value}))
    assert page.context["adminform"].form.errors[field]
    assert not RateCardVersion.objects.exists()


def test_prices_need_the_right_to_price(acme):
    operator = signed_in(staff("support"))
    assert operator.get(url(acme)).status_code == 403
    assert operator.post(url(acme), {}).status_code == 403
