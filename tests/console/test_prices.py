"""Prices in the console: added in dollars, imported after a look, never changed."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.catalog import prices
from apps.catalog.models import ModelAlias
from apps.catalog.price_models import Price
from apps.catalog.rates import Rates
from apps.core.models import AuditEntry
from tests import make
from tests.console.conftest import confirm, text_of

LIST = "/admin/catalog/price/"
NEW = "/admin/price/new/"
IMPORT = "/admin/price/import/"


def typed(**changes: str) -> dict[str, str]:
    return {"model": "openai/gpt-9", "input": "0.15", "output": "0.6"} | changes


def ahead(days: int = 2) -> str:
    return f"{timezone.localtime(timezone.now() + timedelta(days=days)):%Y-%m-%dT%H:%M}"


def uploaded(text: str, name: str = "map.json") -> dict[str, Any]:
    return {"file": SimpleUploadedFile(name, text.encode())}


def entry(input_usd: float, output_usd: float) -> dict[str, Any]:
    """A model of the map, by its dollars per million tokens."""
    return {
        "mode": "chat",
        "litellm_provider": "openai",
        "input_cost_per_token": input_usd / 10**6,
        "output_cost_per_token": output_usd / 10**6,
    }


def test_price_is_added_exactly_and_audited(ana):
    more = {"cached_input": "0.000000001", "per_request": "0.005", "source": "list"}
    assert confirm(ana, NEW, **typed(model="OpenAI/GPT-9", **more)).status_code == 303

    price = Price.objects.get()
    assert (price.model, price.source, price.created_by) == ("openai/gpt-9", "list", "operator:ana@example.com")
    assert price.rates == Rates(150_000_000, 600_000_000, cached_input=1, per_request=5_000_000)
    audited = AuditEntry.objects.get(action="price.add")
    assert (audited.object_id, audited.actor) == ("openai/gpt-9", "operator:ana@example.com")
    assert audited.after["input"] == 150_000_000


def test_form_of_a_priced_model_begins_with_what_stands_and_shows_the_difference(ana):
    prices.add("openai/gpt-9", Rates(150_000_000, 600_000_000), actor=make.TESTER)
    form = ana.get(NEW, {"model": "openai/gpt-9"}).context["form"]
    assert (form["input"].value(), form["output"].value()) == ("0.15", "0.60")
    page = ana.post(NEW, typed(input="0.3", once=str(form["once"].value()), preview="1"))
    assert [(each.label, each.before, each.after) for each in page.context["preview"].changes] == [
        ("Input", "$0.15", "$0.30")
    ]


def test_price_that_another_set_meanwhile_is_shown_first(ana):
    page = ana.post(NEW, typed(once="0192e4a0-0000-7000-8000-000000000000"))
    prices.add("openai/gpt-9", Rates(1, 1), actor=make.TESTER)
    form = typed(once="0192e4a0-0000-7000-8000-000000000000", seen=page.context["preview"].seen)
    assert ana.post(NEW, form).status_code == 409
    assert Price.objects.count() == 1


def test_list_marks_what_is_in_force_scheduled_and_past(ana):
    prices.add("gpt-9", Rates(1, 1), actor=make.TESTER)
    confirm(ana, NEW, **typed(model="gpt-9"))
    confirm(ana, NEW, **typed(model="gpt-9", input="9", valid_from=ahead()))
    states = [column.export(price) for price, column in _cells(ana, "State")]
    assert states == ["scheduled", "in force", "past"]
    assert ana.get(LIST, {"state": "scheduled"}).context["total"] == 1


def _cells(client, label: str):
    from apps.console.pages.prices import PriceList

    column = next(each for each in PriceList.columns if each.label == label)
    rows = prices.with_state(Price.objects.order_by(*PriceList.ordering))
    assert client.get(LIST).context["total"] == rows.count()
    return [(row, column) for row in rows]


def test_price_page_shows_dollars_and_offers_no_change(ana):
    price = prices.add("gpt-9", Rates(150_000_000, 600_000_000), actor=make.TESTER)
    assert "0.15" in text_of(ana.get(f"{LIST}{price.pk}/change/"))
    assert ana.post(f"{LIST}{price.pk}/change/", typed()).status_code == 403
    assert ana.post(f"{LIST}{price.pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input", "-1"),
        ("input", ""),
        ("output", "1000000"),
        ("reasoning", "0.0000000001"),
        ("model", "ä"),
        ("model", " "),
        ("valid_from", "2020-01-01T00:00"),
    ],
)
def test_price_that_cannot_be_is_refused_at_its_field(ana, field, value):
    page = confirm(ana, NEW, **typed(**{field: value}))
    assert page.status_code == 422
    assert page.context["form"].errors[field]
    assert not Price.objects.exists()


def test_models_in_use_without_a_price_are_named(ana):
    make.alias("a", route=ModelAlias.Route.OPENAI, provider="openai", provider_model="openai/gpt-9")
    assert ana.get(LIST).context["unpriced"] == ["openai/gpt-9"]
    prices.add("openai/gpt-9", Rates(1, 1), actor=make.TESTER)
    assert ana.get(LIST).context["unpriced"] == []


def test_map_is_looked_at_and_only_what_is_ticked_counts(ana):
    for model in ("gpt-9", "gpt-8", "gpt-7"):
        make.alias(model, provider_model=model)
    prices.add("gpt-9", Rates(10**9, 10**9), actor=make.TESTER)
    found = {"gpt-9": entry(5, 1), "gpt-8": entry(2, 4), "gpt-7": entry(0, 0), "other": entry(1, 1)}
    page = ana.post(IMPORT, uploaded(json.dumps(found)))
    assert page.status_code == 200
    assert Price.objects.count() == 1
    form = page.context["form"]
    assert form["models"].value() == ["gpt-8"]  # the others are odd: more than double, and free
    shown = text_of(page)
    assert "LOOK: more than double" in shown
    assert "LOOK: costs nothing" in shown

    sent = {"map": form["map"].value(), "once": str(form["once"].value()), "seen": page.context["preview"].seen}
    sent |= {"models": ["gpt-8"], "reason": "the list of May"}
    for _ in range(2):
        assert ana.post(IMPORT, sent).status_code == 303
    made = Price.objects.get(model="gpt-8")
    assert (made.rates, made.source) == (Rates(2 * 10**9, 4 * 10**9), "map.json")
    assert Price.objects.count() == 2
    audited = AuditEntry.objects.get(action="price.add", object_id="gpt-8")
    assert (audited.actor, audited.reason) == ("operator:ana@example.com", "the list of May")


def test_import_over_a_price_of_another_is_shown_again(ana):
    make.alias("gpt-9", provider_model="gpt-9")
    page = ana.post(IMPORT, uploaded(json.dumps({"gpt-9": entry(5, 1)})))
    form = page.context["form"]
    prices.add("gpt-9", Rates(3 * 10**9, 10**9), actor=make.TESTER)
    sent = {"map": form["map"].value(), "once": str(form["once"].value()), "seen": page.context["preview"].seen}
    answer = ana.post(IMPORT, sent | {"models": ["gpt-9"], "reason": "the list of May"})
    assert answer.status_code == 409
    assert Price.objects.count() == 1


@pytest.mark.parametrize(
    ("text", "says"), [("no json", "no JSON"), ("[1]", "must be an object"), ("{\n1}", "line 2 column 1")]
)
def test_file_that_is_no_map_is_refused_with_what_was_expected(ana, text, says):
    page = ana.post(IMPORT, uploaded(text))
    assert page.status_code == 422
    assert says in page.context["form"].errors["file"][0]


def test_differences_that_are_not_ours_are_refused(ana):
    page = ana.post(IMPORT, {"map": "made:up", "models": ["gpt-9"], "reason": "the list of May"})
    assert page.status_code == 422
    assert not Price.objects.exists()


@pytest.mark.parametrize("url", [NEW, IMPORT])
def test_prices_need_the_right(vera, browser_of, url):
    for client in (vera, browser_of("support")):
        assert client.get(url).status_code == client.post(url, typed()).status_code == 403
    assert "New price" not in text_of(vera.get(LIST))
    assert browser_of("billing").get(url).status_code == 200
    assert not Price.objects.exists()


def test_list_takes_a_fixed_number_of_queries(ana):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert ana.get(LIST).status_code == 200
        return len(captured)

    def add(number: int) -> None:
        make.alias(f"m{number}", provider_model=f"gpt-{number}", route=ModelAlias.Route.OPENAI, provider="openai")
        prices.add(f"gpt-{number}", Rates(1, 1), actor=make.TESTER)

    add(0)
    queries()
    few = queries()
    for number in range(1, 8):
        add(number)
    assert queries() <= few <= 13
