"""Dated prices in the admin: added in dollars, shown with their state, never changed."""

import pytest

from apps.catalog import prices
from apps.catalog.price_models import Price
from apps.catalog.rates import Rates
from apps.core.models import AuditEntry
from tests import make

LIST = "/admin/catalog/price/"
AHEAD = {"valid_from_0": "2999-01-01", "valid_from_1": "00:00:00"}


def form(**changes) -> dict[str, str]:
    return {"model": "openai/gpt-9", "input": "0.15", "output": "0.6"} | changes


def test_price_is_added_exactly_and_audited(site):
    site.post(
        f"{LIST}add/", form(model="OpenAI/GPT-9", cached_input="0.000000001", per_request="0.005", source="list")
    )

    price = Price.objects.get()
    assert (price.model, price.source, price.created_by) == ("openai/gpt-9", "list", "operator:owner@example.com")
    assert price.rates == Rates(150_000_000, 600_000_000, cached_input=1, per_request=5_000_000)
    audited = AuditEntry.objects.get(action="price.add")
    assert (audited.object_id, audited.actor) == ("openai/gpt-9", "operator:owner@example.com")
    assert audited.after["input"] == 150_000_000


def test_list_marks_what_is_in_force_scheduled_and_past(site):
    prices.add("gpt-9", Rates(1, 1), actor=make.TESTER)
    site.post(f"{LIST}add/", form(model="gpt-9"))
    site.post(f"{LIST}add/", form(model="gpt-9", input="9", **AHEAD))

    page = site.get(LIST)

    assert [state_of(row) for row in page.context["cl"].result_list] == ["scheduled", "in force", "past"]


def state_of(row) -> str:
    return "in force" if row.is_in_force else "scheduled" if row.is_scheduled else "past"


def test_price_page_shows_dollars_and_offers_no_change(site):
    price = prices.add("gpt-9", Rates(150_000_000, 600_000_000), actor=make.TESTER)

    page = site.get(f"{LIST}{price.pk}/change/")
    refused = site.post(f"{LIST}{price.pk}/change/", form())

    assert "0.15" in page.content.decode()
    assert refused.status_code == 403
    assert site.post(f"{LIST}{price.pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input", "-1"),
        ("input", ""),
        ("output", "1000000"),
        ("reasoning", "0.0000000001"),
        ("model", "ä"),
        ("model", " "),
    ],
)
def test_price_that_cannot_be_is_refused(site, field, value):
    page = site.post(f"{LIST}add/", form(**{field: value}))

    assert page.context["adminform"].form.errors[field]
    assert not Price.objects.exists()


def test_price_in_the_past_is_refused(site):
    page = site.post(f"{LIST}add/", form(valid_from_0="2020-01-01", valid_from_1="00:00:00"), follow=True)

    assert "past" in page.content.decode()
    assert not Price.objects.exists()
