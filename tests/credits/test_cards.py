"""Rate cards: drafts, activation now and ahead, numbers without gaps, versions that never change."""

import threading
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from apps.core.errors import InvalidField
from apps.core.models import AuditEntry
from apps.core.money import MICROS
from apps.credits import billing, card_terms, cards, pricing
from apps.credits.errors import RateCardExists, RateCardNotFound, VersionNotDraft
from apps.credits.models import RateCard, RateCardVersion
from tests import make


def terms(mode: str = "flat", **given) -> card_terms.Columns:
    return card_terms.columns(card_terms.TermsInput(mode=mode, **given))


@pytest.fixture
def team(db):
    return make.customer(credits=0).team


def card_of(team, *prices: int) -> RateCard:
    """A card whose versions of these flat prices are in force one after the other."""
    card = cards.create(team=team, actor=make.TESTER)
    for price in prices:
        draft = cards.add_draft(card, terms(price_credits=price), actor=make.TESTER)
        cards.activate(card, draft.number, actor=make.TESTER)
    return card


def price(team, job_type: str = "query", *, at=None) -> int:
    pricing.forget_cached()
    if at is None:
        return pricing.terms_in_force(team, job_type).price_micros // MICROS
    return pricing.terms_of(cards.effective(team, job_type, at=at).version).price_micros // MICROS


def test_draft_prices_nothing_until_it_is_activated(team):
    card = cards.create(team=team, actor=make.TESTER, terms=terms(price_credits=7))
    assert price(team) == 1

    cards.activate(card, 1, actor=make.TESTER)

    assert price(team) == 7
    audited = AuditEntry.objects.filter(object_kind="rate_card", object_id=str(card.pk)).order_by("pk")
    assert [entry.action for entry in audited] == ["rate_card.create", "rate_card.draft", "rate_card.activate"]


def test_version_scheduled_ahead_takes_effect_at_its_instant(team):
    card = card_of(team, 2)
    ahead = timezone.now() + timedelta(days=3)
    cards.add_draft(card, terms(price_credits=9), actor=make.TESTER)
    cards.activate(card, 2, actor=make.TESTER, effective_from=ahead)

    assert price(team) == 2
    assert price(team, at=ahead - timedelta(seconds=1)) == 2
    assert price(team, at=ahead) == 9


def test_version_put_in_force_meanwhile_leaves_the_scheduled_one_its_instant(team):
    card = card_of(team, 2)
    ahead = timezone.now() + timedelta(days=3)
    cards.add_draft(card, terms(price_credits=9), actor=make.TESTER)
    cards.activate(card, 2, actor=make.TESTER, effective_from=ahead)
    cards.add_draft(card, terms(price_credits=5), actor=make.TESTER)
    cards.activate(card, 3, actor=make.TESTER)

    assert (price(team), price(team, at=ahead)) == (5, 9)


def test_numbers_have_no_gaps_whatever_becomes_of_drafts(team):
    card = card_of(team, 1)
    cards.add_draft(card, terms(), actor=make.TESTER)
    cards.discard_draft(card, 2, actor=make.TESTER)
    cards.add_draft(card, terms(price_credits=3), actor=make.TESTER)
    billing.change_plan(team, actor=make.TESTER, tokens_per_credit=5)

    found = card.versions.order_by("number").values_list("number", "state", "tokens_per_credit")
    assert list(found) == [(1, "active", None), (2, "active", 5), (3, "draft", None)]


def test_card_has_one_draft_at_a_time(team):
    card = cards.create(team=team, actor=make.TESTER, terms=terms())
    with pytest.raises(VersionNotDraft):
        cards.add_draft(card, terms(), actor=make.TESTER)


def test_draft_may_be_changed_and_an_activated_version_may_not(team):
    card = cards.create(team=team, actor=make.TESTER, terms=terms())
    cards.change_draft(card, 1, terms(price_credits=6), actor=make.TESTER)
    cards.activate(card, 1, actor=make.TESTER)
    assert price(team) == 6

    for change in (
        lambda: cards.change_draft(card, 1, terms(), actor=make.TESTER),
        lambda: cards.discard_draft(card, 1, actor=make.TESTER),
        lambda: cards.activate(card, 1, actor=make.TESTER),
    ):
        with pytest.raises(VersionNotDraft):
            change()
    assert price(team) == 6


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE credits_ratecardversion SET price_micros = 1",
        "UPDATE credits_ratecardversion SET state = 'draft'",
        "DELETE FROM credits_ratecardversion",
    ],
)
def test_database_refuses_to_change_an_activated_version(team, statement):
    card_of(team, 4)
    connection.check_constraints()
    with (
        pytest.raises(DatabaseError, match="never changed or deleted"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    assert price(team) == 4


def test_version_cannot_begin_in_the_past(team):
    card = cards.create(team=team, actor=make.TESTER, terms=terms())
    with pytest.raises(InvalidField, match="past"):
        cards.activate(card, 1, actor=make.TESTER, effective_from=timezone.now() - timedelta(minutes=1))


def test_owner_has_one_card_a_job_type(team):
    cards.create(team=team, job_type="query", actor=make.TESTER)
    cards.create(team=team, actor=make.TESTER)
    cards.create(organization=team.organization, job_type="query", actor=make.TESTER)
    with pytest.raises(RateCardExists, match=f"{team.team_id}.*'query'"):
        cards.create(team=team, job_type="query", actor=make.TESTER)


def test_card_has_one_owner(team):
    with pytest.raises(InvalidField):
        cards.create(team=team, organization=team.organization, actor=make.TESTER)


@pytest.mark.parametrize("number", ["0", "9", "x", "1" * 30, "-1"])
def test_unknown_versions_are_not_found(team, number):
    with pytest.raises(RateCardNotFound):
        cards.find_version(card_of(team), number)


@pytest.mark.parametrize("card_id", ["0", "x", "9" * 30, "-1"])
def test_unknown_cards_are_not_found(db, card_id):
    with pytest.raises(RateCardNotFound):
        cards.find(card_id)


def test_effective_says_which_card_prices_and_which_it_goes_before(team):
    card_of(team, 3)
    cards.activate(
        cards.create(organization=team.organization, job_type="query", actor=make.TESTER, terms=terms()),
        1,
        actor=make.TESTER,
    )
    found = cards.effective(team, "query")
    assert found.version is not None
    assert (found.version.card.team, found.why[:34]) == (team, "The team's card for every job type")
    assert [version.card.organization for version in found.passed_over] == [team.organization]
    assert cards.effective(make.customer(credits=0).team, "query").version is None


# --- The team's plan ---------------------------------------------------------------------------------------


def test_plan_of_a_team_is_the_version_in_force_not_the_newest(team):
    billing.change_plan(team, actor=make.TESTER, budget_mode="consumption_tokens", tokens_per_credit=7)
    card = RateCard.objects.get(team=team)
    cards.add_draft(card, terms("metered_usd", credits_per_dollar=3), actor=make.TESTER)
    assert billing.plan(team).budget_mode == "consumption_tokens"
    cards.activate(card, 2, actor=make.TESTER, effective_from=timezone.now() + timedelta(days=1))

    assert (billing.plan(team).budget_mode, billing.plan(team).tokens_per_credit) == ("consumption_tokens", 7)


def test_change_of_plan_builds_on_what_is_in_force_and_keeps_its_policies(team):
    card = cards.create(
        team=team, actor=make.TESTER, terms=terms("metered_usd", on_failed="cost", ceiling_credits=50)
    )
    cards.activate(card, 1, actor=make.TESTER)
    cards.add_draft(card, terms(price_credits=99), actor=make.TESTER)
    cards.activate(card, 2, actor=make.TESTER, effective_from=timezone.now() + timedelta(days=1))

    billing.change_plan(team, actor=make.TESTER, cost_markup_percentage=Decimal(20))

    version = cards.in_force(card)
    assert version is not None
    assert (version.number, version.mode, version.markup_ppm) == (3, "metered_usd", 200_000)
    assert (version.on_failed, version.ceiling_micros) == ("cost", 50 * MICROS)


def test_budget_mode_leaves_no_allowance_behind(team):
    card = cards.create(team=team, actor=make.TESTER, terms=terms("hybrid", allowance_usd="0.5"))
    cards.activate(card, 1, actor=make.TESTER)
    billing.change_plan(team, actor=make.TESTER, budget_mode="consumption_usd")
    version = cards.in_force(card)
    assert version is not None
    assert (version.mode, version.allowance_nanousd) == ("metered_usd", None)


# --- Terms as they are written -----------------------------------------------------------------------------


def test_terms_are_read_as_they_are_written(team):
    written = {
        "mode": "hybrid",
        "price_credits": "2.5",
        "credits_per_dollar": "10",
        "tokens_per_credit": 10_000,
        "cost_markup_percentage": "12.5",
        "minimum_credits": "0",
        "ceiling_credits": "40.000001",
        "allowance_usd": "0.000000001",
        "allowance_tokens": None,
        "cost_cap_usd": "3.5",
        "included_tries": 2,
        "rounding": "none",
        "on_failed": "cost",
        "on_cancelled": "percent",
        "on_partly_failed": "percent",
        "on_abandoned": "free",
        "policy_percent": 30,
    }
    card = cards.create(team=team, actor=make.TESTER, terms=terms(**written))
    assert card_terms.as_wire(cards.find_version(card, 1)) == written


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"mode": "hybrid"}, "allowance_usd"),
        ({"mode": "hybrid", "allowance_usd": 1, "allowance_tokens": 1}, "allowance_usd"),
        ({"mode": "flat", "allowance_tokens": 1}, "allowance_usd"),
        ({"mode": "flat", "ceiling_credits": 5}, "ceiling_credits"),
        ({"mode": "metered_usd", "ceiling_credits": "0.5"}, "ceiling_credits"),
        ({"mode": "hybrid", "allowance_usd": 1, "price_credits": 3, "ceiling_credits": 2}, "ceiling_credits"),
        ({"mode": "flat", "on_failed": "percent"}, "policy_percent"),
    ],
)
def test_terms_that_contradict_each_other_are_refused_at_their_field(given, field):
    with pytest.raises(InvalidField) as refused:
        terms(**given)
    assert refused.value.errors[0]["loc"] == ["body", field]


@pytest.mark.parametrize(
    "given",
    [
        {"price_credits": -1},
        {"price_credits": "0.0000001"},
        {"price_credits": "1e30"},
        {"price_credits": "NaN"},
        {"price_credits": True},
        {"credits_per_dollar": 0},
        {"tokens_per_credit": 0},
        {"policy_percent": 101},
        {"included_tries": -1},
        {"rounding": "sideways"},
        {"on_failed": "full"},
    ],
)
def test_absurd_terms_are_refused(given):
    with pytest.raises(ValueError):
        terms(**given)


# --- Races -------------------------------------------------------------------------------------------------


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_changes_at_the_same_moment_make_versions_without_gaps_and_the_last_one_wins():
    team = make.customer(credits=0).team
    billing.change_plan(team, actor=make.TESTER, tokens_per_credit=1)
    barrier = threading.Barrier(4)

    def change(tokens: int) -> None:
        barrier.wait()
        try:
            billing.change_plan(team, actor=make.TESTER, tokens_per_credit=tokens)
        finally:
            connection.close()

    threads = [threading.Thread(target=change, args=(tokens,)) for tokens in range(2, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    versions = list(RateCardVersion.objects.order_by("number"))
    assert [version.number for version in versions] == [1, 2, 3, 4, 5]
    assert billing.plan(team).tokens_per_credit == versions[-1].tokens_per_credit


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_draft_that_two_activate_at_the_same_moment_is_activated_once():
    team = make.customer(credits=0).team
    card = cards.create(team=team, actor=make.TESTER, terms=terms())
    barrier, refused = threading.Barrier(4), []

    def activate() -> None:
        barrier.wait()
        try:
            cards.activate(card, 1, actor=make.TESTER)
        except VersionNotDraft as error:
            refused.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=activate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(refused) == 3
    assert AuditEntry.objects.filter(action="rate_card.activate").count() == 1
