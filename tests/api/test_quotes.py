"""What a job would cost, before it runs: the same figures that it is then held and charged."""

from typing import Any

import pytest
from django.db import connection
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext

from apps.credits import card_terms, cards
from apps.credits.models import Hold
from apps.jobs import lifecycle
from apps.jobs.models import Job
from apps.teams import services as teams
from tests import make
from tests.api.calling import MESSAGES, Caller, located, opened_job
from tests.credits import books


@pytest.fixture
def metered(db: None, no_worker: None) -> make.Customer:
    """A thousand dollars a million tokens in, two thousand out, ten credits a dollar."""
    make.alias("priced", input_usd_per_mtok=1_000, output_usd_per_mtok=2_000, max_output_tokens=1_000)
    return make.metered_customer(team_id="metered", credits=1_000, access_groups=["priced"])


def put_in_force(customer: make.Customer, mode: str, **terms: Any) -> None:
    columns = card_terms.columns(card_terms.TermsInput(mode=mode, **terms))
    card = cards.create(team=customer.team, job_type="query", actor=make.TESTER, terms=columns)
    cards.activate(card, 1, actor=make.TESTER)


def quote(customer: make.Customer, **body: Any) -> dict[str, Any]:
    answer = Caller(customer.headers).post("/api/quotes", {"job_type": "query", **body})
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def admit(caller: Caller, job_id: str, **call: Any) -> None:
    """A call that nobody waits for."""
    answer = caller.post(f"/api/jobs/{job_id}/llm-call", {"messages": MESSAGES, **call}, Prefer="wait=0")
    assert answer.json()["code"] == "call_still_running"


def codes(found: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(refusal["code"], refusal["certain"]) for refusal in found["refused_by"]]


def test_flat_job_costs_its_price(acme):
    put_in_force(acme, "flat", price_credits="2.5")
    found = quote(acme)
    assert (found["mode"], found["card"]["version"]) == ("flat", 1)
    assert (found["credits_min"], found["credits_min_exact"]) == (2, "2.5")
    assert (found["credits_max"], found["credits_max_exact"]) == (3, "2.5")
    assert (found["affordable"], found["refused_by"], found["credits_remaining"]) == (True, [], 100)


def test_without_a_card_the_platforms_price_is_quoted(acme):
    found = quote(acme, calls=[{"messages": MESSAGES}])
    assert (found["card"], found["credits_max"]) == (None, 1)


def test_most_is_what_the_job_then_holds(metered):
    calls = [{"messages": MESSAGES, "max_tokens": 300}, {"messages": MESSAGES, "max_tokens": 900}]
    found = quote(metered, calls=calls)

    key = Caller(metered.headers)
    job_id = opened_job(key, "metered")
    for call in calls:
        admit(key, job_id, **call)

    held = Hold.objects.get(job=job_id).amount_micros
    assert (found["credits_min"], int(found["credits_max_exact"]) * 10**6) == (1, held)


def test_estimate_says_what_is_expected_and_at_most(metered):
    found = quote(metered, estimate={"input_tokens": 100, "output_tokens": 200, "calls": 10})
    # Ten calls of 0.1 USD in and 0.4 out; at most a thousand tokens of answer each.
    assert (found["credits_expected"], found["credits_max"]) == (50, 210)


def test_tokens_may_stand_for_messages(metered):
    found = quote(metered, calls=[{"input_tokens": 500, "max_tokens": 250, "n": 2}])
    assert (found["credits_max"], found["credits_expected"]) == (15, None)


def test_hybrid_job_is_quoted_with_its_allowance_and_ceiling(metered):
    put_in_force(metered, "hybrid", price_credits=2, allowance_usd="0.5", ceiling_credits=9)
    assert quote(metered, estimate={"input_tokens": 100, "output_tokens": 200})["credits_expected"] == 2
    found = quote(metered, estimate={"input_tokens": 100, "output_tokens": 200, "calls": 3})
    assert (found["credits_min"], found["credits_expected"], found["credits_max"]) == (2, 9, 9)
    assert quote(metered)["credits_max"] == 9


def test_metered_job_of_unknown_calls_has_no_most(metered):
    found = quote(metered)
    assert (found["credits_min"], found["credits_max"], found["affordable"]) == (1, None, True)


def test_what_would_refuse_it_is_named(metered, settings):
    settings.CALLS_PER_JOB_MAX = 5
    found = quote(metered, estimate={"input_tokens": 1, "output_tokens": 1, "calls": 6, "model": "unknown"})
    assert codes(found) == [("too_many_calls", True), ("model_not_allowed", True)]


def test_credits_that_may_or_do_not_suffice(metered):
    poor = make.metered_customer(team_id="poor", credits=12, access_groups=["priced"])
    each = {"input_tokens": 100, "max_tokens": 500}
    found = quote(poor, calls=[each, each])
    assert (found["affordable"], codes(found)) == (False, [("insufficient_credits", False)])
    found = quote(poor, calls=[{"input_tokens": 100, "max_tokens": 1000}])
    assert (found["affordable"], codes(found)) == (False, [("insufficient_credits", True)])


def test_credits_for_such_jobs_alone_count(acme, no_worker):
    """What its admission will hold of: restricted wallets first, without what has expired, then the general one."""
    put_in_force(acme, "flat", price_credits=103)
    books.give(acme.team, 5, key="others", job_types=["report"])
    assert (quote(acme)["affordable"], codes(quote(acme))) == (False, [("insufficient_credits", True)])

    books.give(acme.team, 5, key="such", job_types=["query", "report"])

    found = quote(acme)
    assert (found["affordable"], codes(found), found["credits_remaining"]) == (True, [], 100)
    admit(Caller(acme.headers), opened_job(Caller(acme.headers)))
    assert Hold.objects.aggregate(held=Sum("amount_micros"))["held"] == 103_000_000
    assert quote(acme)["affordable"] is False


def test_cost_cap_of_a_job(metered):
    put_in_force(metered, "flat", cost_cap_usd=1)
    each = {"input_tokens": 0, "max_tokens": 400}
    assert codes(quote(metered, calls=[each])) == []
    assert codes(quote(metered, calls=[each, each])) == [("job_cost_cap", False)]
    assert codes(quote(metered, calls=[{"input_tokens": 0, "max_tokens": 600}])) == [("job_cost_cap", True)]


def test_model_without_a_price(acme):
    put_in_force(acme, "metered_usd")
    assert codes(quote(acme, calls=[{"messages": MESSAGES}])) == [("prices_missing", True)]


def test_paused_team_would_be_refused(acme):
    key = Caller(acme.headers)
    teams.set_status(acme.team, status="paused", actor=make.TESTER)
    answer = key.post("/api/quotes", {"job_type": "query"})
    assert codes(answer.json()) == [("team_not_active", True)]


def test_customers_see_no_cost_and_no_provider(metered):
    answer = Caller(metered.headers).post("/api/quotes", {"job_type": "query", "calls": [{"messages": MESSAGES}]})
    for word in ("usd", "cost", "provider", "markup", "nano"):
        assert word not in answer.content.decode().lower()


def test_quote_writes_nothing_and_holds_nothing(metered):
    body = {"job_type": "query", "calls": [{"messages": MESSAGES}]}
    key = Caller(metered.headers)
    key.post("/api/quotes", body)
    with CaptureQueriesContext(connection) as captured:
        key.post("/api/quotes", body)
    assert all(query["sql"].startswith("SELECT") for query in captured)
    assert (Hold.objects.count(), Job.objects.count()) == (0, 0)


def test_operator_asks_for_any_team_and_must_name_it(acme, operator):
    assert operator.post("/api/quotes", {"job_type": "query", "team_id": "acme"}).json()["credits_max"] == 1
    assert located(operator.post("/api/quotes", {"job_type": "query"})) == [["body", "team_id"]]
    answer = operator.post("/api/quotes", {"job_type": "query", "team_id": "nobody"})
    assert (answer.status_code, answer.json()["code"]) == (404, "team_not_found")


def test_key_asks_for_its_own_team_alone(acme, globex, stranger):
    answer = stranger.post("/api/quotes", {"job_type": "query", "team_id": "acme"})
    assert (answer.status_code, answer.json()["code"]) == (403, "wrong_team")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"job_type": ""},
        {"job_type": "q", "calls": [{}]},
        {"job_type": "q", "calls": [{"messages": MESSAGES, "input_tokens": 4}]},
        {"job_type": "q", "calls": [{"messages": [{"role": "king"}]}]},
        {"job_type": "q", "calls": [{"input_tokens": -1}]},
        {"job_type": "q", "estimate": {"input_tokens": 1}},
        {"job_type": "q", "estimate": {"input_tokens": 1, "output_tokens": 1, "calls": 0}},
        {"job_type": "q", "calls": [{"input_tokens": 1}], "estimate": {"input_tokens": 1, "output_tokens": 1}},
    ],
)
def test_wrong_questions_are_refused(acme, team_key, body):
    assert located(team_key.post("/api/quotes", body))


def test_quote_of_the_terms_is_what_the_finished_job_pays(metered):
    """Whatever is used within the quoted bounds: between least and most."""
    found = quote(metered, calls=[{"messages": MESSAGES, "max_tokens": 300}])
    key = Caller(metered.headers)
    job_id = opened_job(key, "metered")
    admit(key, job_id, max_tokens=300)
    job = Job.objects.get(pk=job_id)
    terms = lifecycle.terms_of(job)
    assert terms is not None
    assert found["credits_min"] * 10**6 <= lifecycle.price_so_far(job, terms) <= job.held_micros
