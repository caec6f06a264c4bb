"""Rate cards in the admin: made, drafted, looked at as prices, activated, discarded; each once and audited."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from apps.core.models import AuditEntry
from apps.credits import card_terms, cards
from apps.credits.models import RateCard, RateCardVersion
from tests import make
from tests.admin.conftest import signed_in, staff

ADD = "/admin/credits/ratecard/add/"


@pytest.fixture
def card(acme) -> RateCard:
    """Acme's card: version 1 of 2 credits in force."""
    terms = card_terms.columns(card_terms.TermsInput(mode="flat", price_credits=2))
    made = cards.create(team=acme.team, actor=make.TESTER, terms=terms)
    cards.activate(made, 1, actor=make.TESTER)
    return made


def page_of(card: RateCard, name: str = "change") -> str:
    return f"/admin/credits/ratecard/{card.pk}/{name}/"


def form_of(site, url: str, **changes) -> dict[str, str]:
    page = site.get(url)
    assert page.status_code == 200
    shown = {field.html_name: field.value() for field in page.context["adminform"].form}
    token = re.search(r'name="once" value="([^"]+)"', page.content.decode())
    return {name: str(value) for name, value in shown.items() if value is not None} | {"once": token[1]} | changes


def text_of(page) -> str:
    return page.content.decode()


def test_card_is_made_with_its_draft_and_activated(site, acme):
    form = form_of(site, ADD, team=str(acme.team.pk), job_type="resume", mode="hybrid")
    form |= {"price_credits": "2.5", "allowance_usd": "0.5", "on_failed": "percent", "policy_percent": "20"}
    made = site.post(ADD, form, follow=True)
    assert "prices nothing until it is activated" in text_of(made)
    card = RateCard.objects.get()
    assert (card.team, card.job_type, cards.in_force(card)) == (acme.team, "resume", None)

    page = site.get(page_of(card, "activate"))
    assert "completed 7.5 credits" in text_of(page)
    assert "failed 1.5 credits" in text_of(page)
    site.post(page_of(card, "activate"), form_of(site, page_of(card, "activate")))

    version = cards.in_force(card)
    assert version is not None
    assert (version.mode, version.price_micros, version.created_by) == (
        "hybrid",
        2_500_000,
        "operator:owner@example.com",
    )
    assert AuditEntry.objects.filter(action="rate_card.activate", actor="operator:owner@example.com").count() == 1


def test_draft_begins_with_what_is_in_force_and_is_changed_on_the_same_page(site, card):
    url = page_of(card, "draft")
    form = form_of(site, url)
    assert form["price_credits"] == "2"
    site.post(url, form | {"price_credits": "4"})
    site.post(url, form_of(site, url, ceiling_credits="", price_credits="6"))

    assert list(card.versions.order_by("number").values_list("number", "state", "price_micros")) == [
        (1, "active", 2_000_000),
        (2, "draft", 6_000_000),
    ]


def test_draft_is_scheduled_ahead(site, card):
    site.post(page_of(card, "draft"), form_of(site, page_of(card, "draft"), price_credits="9"))
    at = (timezone.now() + timedelta(days=2)).replace(microsecond=0)
    form = form_of(site, page_of(card, "activate"))
    when = {"effective_from_0": at.strftime("%Y-%m-%d"), "effective_from_1": at.strftime("%H:%M:%S")}
    site.post(page_of(card, "activate"), form | when)

    assert RateCardVersion.objects.get(number=2).effective_from == at
    shown = text_of(site.get(page_of(card)))
    assert "(scheduled)" in shown
    assert "(in force)" in shown


def test_version_in_the_past_is_refused_at_its_field(site, card):
    site.post(page_of(card, "draft"), form_of(site, page_of(card, "draft")))
    form = form_of(site, page_of(card, "activate"), effective_from_0="2001-01-01", effective_from_1="00:00:00")
    page = site.post(page_of(card, "activate"), form)
    assert page.context["adminform"].form.errors["effective_from"]
    assert RateCardVersion.objects.get(number=2).state == "draft"


def test_page_submitted_twice_makes_one_draft(site, card):
    form = form_of(site, page_of(card, "draft"))
    for _ in range(2):
        site.post(page_of(card, "draft"), form)
    assert card.versions.count() == 2
    assert AuditEntry.objects.filter(action__contains="draft").count() == 2  # of both versions


def test_draft_is_discarded(site, card):
    site.post(page_of(card, "draft"), form_of(site, page_of(card, "draft")))
    page = site.get(page_of(card, "discard"))
    assert "2 credits a job" in text_of(page)
    site.post(page_of(card, "discard"), form_of(site, page_of(card, "discard")))
    assert card.versions.count() == 1


@pytest.mark.parametrize("name", ["activate", "discard"])
def test_without_a_draft_nothing_is_activated_or_discarded(site, card, name):
    page = site.get(page_of(card, name), follow=True)
    assert "has no draft" in text_of(page)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("price_credits", {"price_credits": "-1"}),
        ("price_credits", {"price_credits": "0.0000001"}),
        ("mode", {"mode": "weekly"}),
        ("allowance_usd", {"mode": "hybrid"}),
        ("policy_percent", {"on_cancelled": "percent", "policy_percent": ""}),
        ("ceiling_credits", {"ceiling_credits": "3"}),
        ("credits_per_dollar", {"credits_per_dollar": "0"}),
    ],
)
def test_wrong_terms_are_refused_at_their_field(site, card, field, changes):
    page = site.post(page_of(card, "draft"), form_of(site, page_of(card, "draft")) | changes)
    assert page.status_code == 200
    assert page.context["adminform"].form.errors[field]
    assert card.versions.count() == 1


def test_second_card_of_an_owner_is_refused(site, card, acme):
    page = site.post(ADD, form_of(site, ADD, team=str(acme.team.pk)))
    assert "There is a rate card of acme" in text_of(page)
    assert RateCard.objects.count() == 1


def test_card_page_shows_versions_and_what_jobs_would_cost(site, card):
    shown = text_of(site.get(page_of(card)))
    assert "a job of 0.10 USD and 20,000 tokens" in shown
    assert "completed 2 credits" in shown
    assert "Write a draft" in shown


@pytest.mark.parametrize("name", ["draft", "activate", "discard"])
def test_pages_need_the_right_to_price(card, name):
    operator = signed_in(staff("viewer"))
    assert operator.get(page_of(card)).status_code == 200
    assert "Write a draft" not in text_of(operator.get(page_of(card)))
    assert operator.get(page_of(card, name)).status_code == 403
    assert operator.post(page_of(card, name), {}).status_code == 403
    assert operator.get(ADD).status_code == 403


@pytest.mark.parametrize("name", ["draft", "activate", "discard"])
def test_unknown_card_is_not_found(site, db, name):
    assert site.get(f"/admin/credits/ratecard/999/{name}/").status_code == 404
