"""Every refusal for money or rates has one shape, on /api beside `detail` and on /v1 inside `error`."""

from collections.abc import Callable
from typing import Any

import pytest

from apps.core.money import exact_credits
from apps.credits import card_terms, cards
from apps.limits.models import Decision, Metric
from tests import make
from tests.api.calling import MESSAGES, Caller, ask, opened_job
from tests.limits.limiting import limit

pytestmark = pytest.mark.usefixtures("worker")

TOLD = {"limit", "scope", "id", "used", "held", "allowed", "resets_at", "unit"}


def customer(*, credits: int = 100, **terms: Any) -> make.Customer:
    """Flat jobs of a priced model: a call may cost at most 2 dollars and its messages."""
    make.alias("priced", input_usd_per_mtok=1, output_usd_per_mtok=2_000, max_output_tokens=1_000)
    made = make.customer(team_id="acme", credits=credits, access_groups=["priced"])
    columns = card_terms.columns(card_terms.TermsInput(mode="flat", price_credits=4, **terms))
    cards.activate(cards.create(team=made.team, actor=make.TESTER, terms=columns), 1, actor=make.TESTER)
    return made


def no_credits() -> make.Customer:
    return customer(credits=3)


def no_spend() -> make.Customer:
    made = customer()
    limit("team", "acme", Metric.SPEND_DAY, 3)
    return made


def no_rate() -> make.Customer:
    made = customer()
    limit("team", "acme", Metric.REQUESTS, 0)
    return made


def no_cost() -> make.Customer:
    return customer(cost_cap_usd=1)


CASES = [
    (no_credits, "insufficient_credits", "credits", "team", (0, 0, 3_000_000), {}),
    (no_spend, "spend_limit_reached", "spend_per_day", "team", (0, 0, 3_000_000), {}),
    (no_rate, "rate_limited", "requests_per_minute", "team", (0, 0, 0), {}),
    (no_cost, "job_cost_cap", "cost_cap", "job", (None, None, None), {}),
    (customer, "job_cap_reached", "max_credits", "job", (0, 0, 3_000_000), {"max_credits": 3}),
]


@pytest.mark.parametrize(("made", "code", "name", "scope", "figures", "budget"), CASES)
def test_refusals_have_one_shape_and_a_decision_that_says_which_limit_it_was(
    db: None,
    made: Callable[[], make.Customer],
    code: str,
    name: str,
    scope: str,
    figures: tuple[int | None, ...],
    budget: dict[str, Any],
):
    key = Caller(made().headers)
    job_id = opened_job(key, **budget)

    answer = ask(key, job_id)
    on_v1 = key.post("/v1/chat/completions", {"messages": MESSAGES}, **{"X-Job-Id": job_id})

    assert answer.status_code in (403, 429), answer.content
    assert (on_v1.status_code in (402, 403, 429), answer.json()["code"]) == (True, code)
    for body in (answer.json(), on_v1.json()["error"]):
        assert body.keys() >= TOLD | {"decision_id"}
        assert (body["limit"], body["scope"]) == (name, scope)
        assert body["id"] == (job_id if scope == "job" else "acme")
        assert (body["used"], body["held"], body["allowed"]) == figures
        decision = key.get(f"/api/decisions/{body['decision_id']}").json()
        assert decision["code"] == code
        refused = [each for each in decision["limits"] if each["verdict"] == "refused"]
        assert [{field: each[field] for field in TOLD} for each in refused] == [
            {field: body[field] for field in TOLD}
        ]


def test_reservation_that_cannot_grow_leaves_a_decision(db: None):
    key = Caller(customer(credits=10).headers)
    job_id = opened_job(key, max_credits=5, reserve=True)
    limit("team", "acme", Metric.SPEND_DAY, 8)
    assert ask(key, job_id).status_code == 200

    for max_credits, code, name in (
        (9, "spend_limit_reached", "spend_per_day"),
        (11, "insufficient_credits", "credits"),
    ):
        answer = key.patch(f"/api/jobs/{job_id}", {"max_credits": max_credits})
        body = answer.json()
        assert (answer.status_code, body["code"], body["limit"]) == (403, code, name)
        assert body.keys() >= TOLD
        decision = Decision.objects.get(pk=body["decision_id"])
        assert (decision.job_id, [each["verdict"] for each in decision.limits]) == (job_id, ["refused"])
    assert key.get(f"/api/jobs/{job_id}").json()["escrow"]["held"] == 5


@pytest.mark.parametrize("made", [customer, no_cost])
def test_refusal_of_a_jobs_only_call_names_the_job_that_is_kept_of_it(db: None, made: Callable[[], make.Customer]):
    key = Caller(made().headers)
    body = {"team_id": "acme", "job_type": "query", "messages": MESSAGES, "max_credits": 3}

    refused = key.post("/api/jobs/create-and-call", body).json()

    kept = key.get(f"/api/jobs/{refused['id']}").json()
    assert (refused["scope"], kept["status"]) == ("job", "failed")
    assert Decision.objects.get().job_id == refused["id"]


def test_refusal_of_a_jobs_only_call_names_no_way_that_is_closed(db: None):
    """The failed job that is kept of it takes no other ceiling; a larger one in the next request helps."""
    key = Caller(customer().headers)
    body = {"team_id": "acme", "job_type": "query", "messages": MESSAGES, "max_credits": 3}

    refused = key.post("/api/jobs/create-and-call", body).json()

    assert refused["code"] == "job_cap_reached"
    assert "PATCH" not in refused["detail"]
    needed = refused["needed_micros"]
    assert f"it would need {exact_credits(needed)}. Ask again with max_credits" in refused["detail"]
    assert key.get(f"/api/jobs/{refused['id']}").json()["error_message"] == refused["detail"]
    assert key.post("/api/jobs/create-and-call", body | {"max_credits": -(-needed // 10**6)}).status_code != 403


def test_limit_that_is_asked_twice_is_told_once(db: None):
    """A reserved job's first call counts its reservation and then what it adds."""
    key = Caller(customer(credits=10).headers)
    limit("team", "acme", Metric.SPEND_DAY, 8)
    job_id = opened_job(key, max_credits=3, reserve=True)

    body = ask(key, job_id).json()

    limits = Decision.objects.get(pk=body["decision_id"]).limits
    assert [(each["limit"], each["verdict"]) for each in limits] == [
        ("spend_per_day", "passed"),
        ("max_credits", "refused"),
    ]
