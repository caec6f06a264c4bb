"""Rate cards over HTTP: written as drafts, activated now or ahead, and which one prices what."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.core.clock import iso
from apps.credits.models import RateCard, RateCardVersion
from tests import make
from tests.api.calling import Caller, ask, finished_job, located, opened_job

HYBRID = {
    "mode": "hybrid",
    "price_credits": "2.5",
    "allowance_usd": "0.05",
    "ceiling_credits": 40,
    "on_failed": "percent",
    "policy_percent": 20,
}


def create(operator: Caller, **body) -> dict:
    answer = operator.post("/api/rate-cards", {"mode": "flat", **body})
    assert answer.status_code == 200, answer.content
    return answer.json()


def activate(operator: Caller, card: dict, number: int = 1, **body) -> dict:
    answer = operator.post(f"/api/rate-cards/{card['card_id']}/versions/{number}/activate", body)
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_card_is_written_activated_and_prices_jobs(acme, operator, team_key, worker):
    card = create(operator, team_id="acme", job_type="query", price_credits=3)
    assert (card["scope"], card["team_id"], card["job_type"], card["in_force"]) == ("team", "acme", "query", None)
    assert [(version["number"], version["state"]) for version in card["versions"]] == [(1, "draft")]

    active = activate(operator, card)
    assert (active["state"], active["terms"]["price_credits"]) == ("in_force", "3")
    finished_job(team_key)

    balance = team_key.get("/api/credits/teams/acme/balance").json()
    assert balance["credits_remaining"] == 97


def test_all_terms_are_shown_as_they_were_given(operator):
    terms = create(operator, **HYBRID)["versions"][0]["terms"]
    assert {name: terms[name] for name in HYBRID} == HYBRID | {"ceiling_credits": "40"}
    assert (terms["on_abandoned"], terms["rounding"], terms["included_tries"]) == ("completed", "down", None)


def test_new_version_replaces_the_old_one_at_its_instant(acme, operator):
    card = create(operator, organization_id=acme.organization.organization_id)
    activate(operator, card)
    at = timezone.now() + timedelta(days=1)
    added = operator.post(f"/api/rate-cards/{card['card_id']}/versions", {"mode": "flat", "price_credits": 8})
    assert (added.json()["number"], added.json()["state"]) == (2, "draft")
    assert activate(operator, card, 2, effective_from=iso(at))["state"] == "scheduled"

    shown = operator.get(f"/api/rate-cards/{card['card_id']}").json()
    assert [(version["number"], version["state"]) for version in shown["versions"]] == [
        (2, "scheduled"),
        (1, "in_force"),
    ]
    for instant, number in ((None, 1), (iso(at), 2)):
        query = {"team_id": "acme"} | ({"at": instant} if instant else {})
        found = operator.get("/api/rate-cards/effective", **query).json()
        assert (found["version"]["number"], found["version"]["scope"]) == (number, "organization")


def test_effective_without_a_card_says_so(acme, operator):
    found = operator.get("/api/rate-cards/effective", team_id="acme", job_type="query").json()
    assert (found["version"], found["passed_over"]) == (None, [])
    assert "default" in found["why"]


def test_effective_names_the_cards_that_are_passed_over(acme, operator):
    activate(operator, create(operator))
    activate(operator, create(operator, team_id="acme"))
    found = operator.get("/api/rate-cards/effective", team_id="acme", job_type="query").json()
    assert found["version"]["scope"] == "team"
    assert [version["scope"] for version in found["passed_over"]] == ["platform"]


def test_draft_is_changed_in_part_and_discarded(operator):
    card = create(operator, **HYBRID)
    path = f"/api/rate-cards/{card['card_id']}/versions/1"

    changed = operator.patch(path, {"price_credits": 7, "policy_percent": 35}).json()["terms"]
    assert (changed["price_credits"], changed["policy_percent"], changed["allowance_usd"]) == ("7", 35, "0.05")
    assert RateCardVersion.objects.get().micros_per_usd is None
    assert operator.delete(path).status_code == 200
    assert operator.get(path).json()["code"] == "rate_card_not_found"
    assert RateCard.objects.count() == 1


def test_activated_version_is_not_changed(operator):
    card = create(operator)
    activate(operator, card)
    path = f"/api/rate-cards/{card['card_id']}/versions/1"
    for answer in (
        operator.patch(path, {"price_credits": 2}),
        operator.delete(path),
        operator.post(f"{path}/activate"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "version_not_draft")


def test_owner_has_one_card_a_job_type(acme, operator):
    create(operator, team_id="acme")
    answer = operator.post("/api/rate-cards", {"mode": "flat", "team_id": "acme"})
    assert (answer.status_code, answer.json()["code"]) == (400, "rate_card_exists")


def test_repeat_with_the_same_key_makes_one_card(acme, operator):
    answers = [operator.post("/api/rate-cards", {"mode": "flat", "team_id": "acme"}, key="k") for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert RateCard.objects.count() == 1


def test_list_filters(acme, globex, operator):
    activate(operator, create(operator, team_id="acme"))
    create(operator, team_id="globex", job_type="query")
    create(operator, organization_id=acme.organization.organization_id)

    def owners(**query) -> list:
        answer = operator.get("/api/rate-cards", **query).json()
        assert answer["total"] == len(answer["rate_cards"])
        return [card["team_id"] for card in answer["rate_cards"]]

    assert owners() == ["acme", "globex", None]
    assert owners(team_id="globex") == ["globex"]
    assert owners(organization_id=acme.organization.organization_id) == ["acme", None]
    assert owners(job_type="query") == ["globex"]
    assert owners(job_type="") == ["acme", None]
    assert owners(state="draft") == ["globex", None]
    assert owners(state="active") == ["acme"]
    assert owners(state="scheduled") == []
    assert operator.get("/api/rate-cards", limit=1).json()["total"] == 3


def test_list_takes_a_constant_number_of_queries(acme, globex, operator, django_assert_num_queries):
    for body in ({}, {"team_id": "acme"}, {"team_id": "globex"}):
        activate(operator, create(operator, **body))
    with django_assert_num_queries(4):
        assert operator.get("/api/rate-cards").json()["total"] == 3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "mode"),
        ({"mode": "weekly"}, "mode"),
        ({"mode": "flat", "price_credits": "-1"}, "price_credits"),
        ({"mode": "flat", "price_credits": "1.0000001"}, "price_credits"),
        ({"mode": "flat", "price_credits": {}}, "price_credits"),
        ({"mode": "flat", "price_credits": "Infinity"}, "price_credits"),
        ({"mode": "hybrid"}, "allowance_usd"),
        ({"mode": "flat", "on_cancelled": "percent"}, "policy_percent"),
        ({"mode": "flat", "job_type": "x" * 101}, "job_type"),
        ({"mode": "flat", "tokens_per_credit": 10**13}, "tokens_per_credit"),
    ],
)
def test_wrong_terms_are_refused_at_their_field_and_nothing_is_written(operator, body, field):
    answer = operator.post("/api/rate-cards", body)
    assert ["body", field] in located(answer)
    assert RateCard.objects.count() == 0


def test_card_has_one_owner(acme, operator):
    body = {"mode": "flat", "team_id": "acme", "organization_id": acme.organization.organization_id}
    assert located(operator.post("/api/rate-cards", body)) == [["body", "team_id"]]


@pytest.mark.parametrize("instant", ["yesterday", "2026-01-01", "2026-01-01T00:00:00", 5, "2001-01-01T00:00:00Z"])
def test_version_begins_at_an_instant_that_is_to_come(operator, instant):
    card = create(operator)
    answer = operator.post(f"/api/rate-cards/{card['card_id']}/versions/1/activate", {"effective_from": instant})
    assert located(answer) == [["body", "effective_from"]]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({}, "team_id"),
        ({"team_id": "acme", "at": "noon"}, "at"),
        ({"team_id": "acme", "job_type": "a\x00"}, "job_type"),
    ],
)
def test_wrong_questions_of_what_is_effective_are_refused(acme, operator, query, name):
    assert located(operator.get("/api/rate-cards/effective", **query)) == [["query", name]]


@pytest.mark.parametrize("path", ["999999", "x", "1/versions/9", "1/versions/x", "9" * 40])
def test_unknown_cards_and_versions_are_not_found(operator, path):
    RateCard.objects.create(pk=1)
    answer = operator.get(f"/api/rate-cards/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "rate_card_not_found")


def test_call_past_the_cost_cap_is_a_403_that_says_what_to_do(operator, no_worker):
    make.alias("priced", input_usd_per_mtok=1_000, output_usd_per_mtok=2_000, max_output_tokens=1_000)
    customer = make.customer(team_id="capped", credits=5, access_groups=["priced"])
    activate(operator, create(operator, team_id="capped", cost_cap_usd="0.1"))
    key = Caller(customer.headers)

    answer = ask(key, opened_job(key, "capped"))

    assert (answer.status_code, answer.json()["code"]) == (403, "job_cost_cap")
    assert "0.1" not in answer.content.decode()
    assert key.get("/api/credits/teams/capped/balance").json()["credits_held"] == 0
