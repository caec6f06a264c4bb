"""Rate cards in the console: made, drafted, replayed, rebased, activated, discarded; each once and audited."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.analytics import rollups
from apps.core.models import AuditEntry
from apps.credits import card_terms, cards
from apps.credits.models import RateCard, RateCardVersion
from apps.jobs import execution, services
from tests import make
from tests.console.conftest import confirm, text_of

LIST = "/admin/credits/ratecard/"
NEW = "/admin/card/new/"


def terms(**given):
    return card_terms.columns(card_terms.TermsInput(**{"mode": "flat"} | given))


@pytest.fixture
def card(acme) -> RateCard:
    """Acme's card: version 1 of 2 credits in force."""
    made = cards.create(team=acme.team, actor=make.TESTER, terms=terms(price_credits=2))
    cards.activate(made, 1, actor=make.TESTER)
    return made


def page_of(card: RateCard, name: str = "") -> str:
    return f"/admin/card/{card.pk}/" + (f"{name}/" if name else "")


def form_of(client, url: str, **typed) -> dict[str, str]:
    """What a person's form carries, with the fields typed over."""
    page = client.get(url)
    assert page.status_code == 200
    shown = {field.html_name: field.value() for field in page.context["form"]}
    filled = {name: str(value) for name, value in shown.items() if value is not None}
    return filled | {"seen": page.context["preview"].seen} | typed


def work(customer, times: int = 1) -> None:
    """Completed jobs of one call each."""
    make.platform_model()
    for number in range(times):
        job, _ = services.open_job(customer.principal, services.NewJob("query"))
        request = services.CallRequest(
            body={"messages": [{"role": "user", "content": "x"}]}, fingerprint=f"{job.pk}{number}"
        )
        call = services.submit_call(customer.principal, request, job_id=str(job.pk), wait_s=28, reply_to="")
        execution.run_call(str(call.call_id))
        services.complete_job(customer.team, job_id=str(job.pk), verdict="completed", closed_by="test")


def test_card_is_made_with_its_draft_and_activated(ana, acme):
    typed = {"team_id": "acme", "job_type": "resume", "mode": "hybrid", "price_credits": "2.5"}
    typed |= {"allowance_usd": "0.5", "on_failed": "percent", "policy_percent": "20"}
    made = ana.post(NEW, form_of(ana, NEW, **typed))
    card = RateCard.objects.get()
    assert (made.status_code, made.url) == (303, page_of(card))
    assert (card.team, card.job_type, cards.in_force(card)) == (acme.team, "resume", None)

    form = form_of(ana, page_of(card, "activate"), without_replay="on", typed="resume", reason="agreed in May")
    assert ana.post(page_of(card, "activate"), form).status_code == 303

    version = cards.in_force(card)
    assert version is not None
    assert (version.mode, version.price_micros, version.created_by) == (
        "hybrid",
        2_500_000,
        "operator:ana@example.com",
    )
    row = AuditEntry.objects.get(action="rate_card.activate")
    assert (row.actor, row.reason) == ("operator:ana@example.com", "version 1: agreed in May")


def test_draft_begins_with_what_is_in_force_and_is_changed_on_the_same_page(ana, card):
    url = page_of(card, "edit")
    form = form_of(ana, url)
    assert form["price_credits"] == "2"
    ana.post(url, form | {"price_credits": "4"})
    ana.post(url, form_of(ana, url, price_credits="6"))

    assert list(card.versions.order_by("number").values_list("number", "state", "price_micros")) == [
        (1, "active", 2_000_000),
        (2, "draft", 6_000_000),
    ]
    shown = ana.get(page_of(card, "draft"))
    assert [(each.label, each.before, each.after) for each in shown.context["changes"]] == [
        ("Price, credits", "2", "6")
    ]


def test_preview_follows_what_is_typed_and_writes_nothing(ana, card):
    page = ana.post(page_of(card, "edit"), form_of(ana, page_of(card, "edit"), price_credits="15", preview="1"))
    assert "completed 15 credits" in text_of(page)
    assert card.versions.count() == 1


def test_draft_is_scheduled_ahead(ana, card):
    ana.post(page_of(card, "edit"), form_of(ana, page_of(card, "edit"), price_credits="9"))
    at = (timezone.now() + timedelta(days=2)).replace(second=0, microsecond=0)
    form = form_of(ana, page_of(card, "activate"), without_replay="on", typed="every job type", reason="from then")
    local = timezone.localtime(at)
    assert (
        ana.post(page_of(card, "activate"), form | {"effective_from": f"{local:%Y-%m-%dT%H:%M}"}).status_code == 303
    )

    assert RateCardVersion.objects.get(number=2).effective_from == at
    states = [state for _, state, _ in ana.get(page_of(card)).context["versions"]]
    assert states == ["scheduled", "in force"]
    assert "version 2 scheduled" in text_of(ana.get(LIST))


def test_version_in_the_past_is_refused_at_its_field(ana, card):
    ana.post(page_of(card, "edit"), form_of(ana, page_of(card, "edit")))
    form = form_of(ana, page_of(card, "activate"), without_replay="on", typed="every job type", reason="too late")
    page = ana.post(page_of(card, "activate"), form | {"effective_from": "2001-01-01T00:00"})
    assert page.status_code == 422
    assert page.context["form"].errors["effective_from"]
    assert RateCardVersion.objects.get(number=2).state == "draft"


def test_page_submitted_twice_makes_one_draft(ana, card):
    form = form_of(ana, page_of(card, "edit"))
    for _ in range(2):
        assert ana.post(page_of(card, "edit"), form).status_code == 303
    assert card.versions.count() == 2
    assert AuditEntry.objects.filter(action="rate_card.draft").count() == 2  # of both versions


def test_draft_is_discarded(ana, card):
    ana.post(page_of(card, "edit"), form_of(ana, page_of(card, "edit"), price_credits="3"))
    assert "3 is forgotten, 2 stays" in text_of(ana.get(page_of(card, "discard")))
    confirm(ana, page_of(card, "discard"))
    assert card.versions.count() == 1


@pytest.mark.parametrize("name", ["activate", "discard", "rebase"])
def test_without_a_draft_it_is_too_late(ana, card, name):
    page = ana.get(page_of(card, name))
    assert page.status_code == 409
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
def test_wrong_terms_are_refused_at_their_field(ana, card, field, changes):
    page = ana.post(page_of(card, "edit"), form_of(ana, page_of(card, "edit")) | changes)
    assert page.status_code == 422
    assert page.context["form"].errors[field]
    assert card.versions.count() == 1


def test_second_card_of_an_owner_and_an_unknown_owner_are_refused(ana, card):
    page = ana.post(NEW, form_of(ana, NEW, team_id="acme"))
    assert "There is a rate card of acme" in text_of(page)
    page = ana.post(NEW, form_of(ana, NEW, team_id="nobody"))
    assert page.context["form"].errors["team_id"]
    assert RateCard.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "field"), [({}, "without_replay"), ({"without_replay": "on", "typed": "x"}, "typed")]
)
def test_without_a_replay_activation_asks_twice(ana, card, changes, field):
    ana.post(page_of(card, "edit"), form_of(ana, page_of(card, "edit"), price_credits="3"))
    form = form_of(ana, page_of(card, "activate"), reason="because of it") | changes
    page = ana.post(page_of(card, "activate"), form)
    assert page.context["form"].errors[field]
    assert card.versions.get(number=2).state == "draft"


def test_replay_says_what_moves_and_lets_the_draft_be_activated(ana, card, acme):
    work(acme, 2)
    ana.post(page_of(card, "edit"), form_of(ana, page_of(card, "edit"), price_credits="3"))
    page = ana.get(page_of(card, "replay"), {"days": "30"})
    total = page.context["total"]
    assert (total.jobs, total.then_micros, total.draft_micros) == (2, 4_000_000, 6_000_000)
    url = page.context["activate_url"]

    form = form_of(ana, url, reason="agreed in May")
    assert "without_replay" not in form
    refused = ana.post(url, form)  # a bill moves by half, and the job type was not typed
    assert refused.context["form"].errors["typed"]
    assert ana.post(url, form | {"typed": "every job type"}).status_code == 303
    assert cards.in_force(card).number == 2


def test_replay_of_another_draft_does_not_count(ana, card, acme):
    work(acme)
    ana.post(page_of(card, "edit"), form_of(ana, page_of(card, "edit"), price_credits="2.1"))
    url = ana.get(page_of(card, "replay"), {"days": "7"}).context["activate_url"]
    assert "typed" not in form_of(ana, url)
    ana.post(page_of(card, "edit"), form_of(ana, page_of(card, "edit"), price_credits="20"))
    assert "without_replay" in ana.get(url).context["form"].fields


def test_too_many_jobs_are_left_to_the_command(ana, card, acme, monkeypatch):
    from apps.console.pages import cards as pages

    monkeypatch.setattr(pages, "REPLAY_JOBS_MAX", 1)
    work(acme, 2)
    ana.post(page_of(card, "edit"), form_of(ana, page_of(card, "edit")))
    draft = card.versions.get(state="draft")
    shown = text_of(ana.get(page_of(card, "replay"), {"days": "30"}))
    assert f"manage.py cards replay --draft {draft.pk} --days 30" in shown


def test_older_draft_of_a_second_tab_is_shown_what_came_into_force(ana, card):
    older = form_of(ana, page_of(card, "edit"), minimum_credits="0.5")
    cards.add_draft(card, terms(price_credits=3), actor=make.TESTER)
    cards.activate(card, 2, actor=make.TESTER)

    page = ana.post(page_of(card, "edit"), older)
    assert page.status_code == 409
    assert "Version 2 came into force after you started from 1." in text_of(page)
    assert "taken, since you had not changed it" in text_of(page)
    assert card.versions.count() == 2

    form = page.context["form"]
    again = {field.html_name: str(field.value() or "") for field in form} | {"seen": page.context["preview"].seen}
    assert ana.post(page_of(card, "edit"), again).status_code == 303
    draft = card.versions.get(number=3)
    assert (draft.price_micros, draft.minimum_micros, draft.state) == (3_000_000, 500_000, "draft")


def test_draft_that_another_version_overtook_is_rebased_before_it_is_activated(ana, card):
    cards.add_draft(card, terms(price_credits=2, minimum_credits="0.5"), actor=make.TESTER)
    # As a change of the team's prices does it, beside the draft.
    cards.put_in_force(cards.locked(card), terms(price_credits=7), actor=make.TESTER)
    page = ana.get(page_of(card, "activate"))
    assert page.status_code == 409
    assert "Version 2 came into force after you started from 1." in text_of(page)
    assert "Rebase draft" in [button.label for button in ana.get(page_of(card)).context["buttons"]]

    confirm(ana, page_of(card, "rebase"))
    draft = card.versions.get(state="draft")
    assert (draft.number, draft.price_micros, draft.minimum_micros) == (3, 7_000_000, 500_000)
    assert ana.get(page_of(card, "activate")).status_code == 200


def test_draft_that_changed_since_it_was_shown_is_not_activated(ana, card):
    ana.post(page_of(card, "edit"), form_of(ana, page_of(card, "edit"), price_credits="3"))
    form = form_of(ana, page_of(card, "activate"), without_replay="on", typed="every job type", reason="now or never")
    cards.change_draft(card, 2, terms(price_credits=300), actor=make.TESTER)
    page = ana.post(page_of(card, "activate"), form)
    assert page.status_code == 409
    assert cards.in_force(card).number == 1


def test_card_page_shows_what_jobs_would_cost(ana, card):
    shown = text_of(ana.get(page_of(card, "examples"), {"usd": "0.25", "tokens": "1000"}))
    assert "A job of 0.10 USD and 20,000 tokens" in shown
    assert "$0.25" in shown
    assert "Give a cost such as" in text_of(ana.get(page_of(card, "examples"), {"usd": "x"}))


@pytest.mark.parametrize("name", ["edit", "activate", "discard", "rebase"])
def test_pages_need_the_right_to_price(vera, browser_of, card, name):
    assert [button.label for button in vera.get(page_of(card)).context["buttons"]] == []
    before = AuditEntry.objects.filter(object_kind="rate_card").count()
    for client in (vera, browser_of("support")):
        for answer in (client.get(page_of(card, name)), client.post(page_of(card, name), {})):
            assert answer.status_code == 403
            assert "Owners, admins and billing can." in text_of(answer)
    assert AuditEntry.objects.filter(object_kind="rate_card").count() == before
    assert browser_of("billing").get(page_of(card, "edit")).status_code == 200


@pytest.mark.parametrize("name", ["", "edit", "activate", "discard", "rebase", "examples"])
def test_unknown_card_is_not_found(ana, name):
    assert ana.get(f"/admin/card/999/{name}/".replace("//", "/")).status_code == 404


def test_address_of_before_leads_to_the_page(ana, card):
    assert ana.get(f"{LIST}{card.pk}/change/").url == page_of(card)


def test_job_types_without_a_card_are_named(ana, acme):
    work(acme)
    rollups.fill()
    shown = text_of(ana.get(LIST))
    assert "Job types without a card of their own" in shown
    assert "/admin/card/new/?job_type=query" in shown


def test_list_and_page_take_a_fixed_number_of_queries(ana, card):
    def queries(url: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert ana.get(url).status_code == 200
        return len(captured)

    queries(LIST)  # warms what is kept for a while
    few = queries(LIST)
    for _ in range(5):
        made = cards.create(team=make.customer().team, actor=make.TESTER, terms=terms())
        cards.activate(made, 1, actor=make.TESTER)
    assert queries(LIST) <= few <= 12  # with session, user, settings and the statement's bound
    for tab in ("", "draft", "examples"):
        assert queries(page_of(card, tab)) <= 10
