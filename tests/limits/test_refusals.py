"""Refusals that help: what said no, how every limit on the way stood, and where to read it again."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError

from apps.core import clock
from apps.core.models import Event
from apps.jobs import sweeper
from apps.jobs.models import Call, Job
from apps.limits import decisions
from apps.limits.models import Decision, Metric
from apps.organizations import services as organizations
from apps.teams import services as teams
from apps.virtual_keys import services as virtual_keys
from tests import make
from tests.api.calling import MESSAGES, Caller, ask, opened_job
from tests.limits.limiting import ids, limit

CHAT = "/v1/chat/completions"
TOLD = ("limit", "scope", "id", "used", "held", "allowed", "unit")


@pytest.fixture
def operator(db: None, operator_headers: dict[str, str]) -> Caller:
    return Caller(operator_headers)


@pytest.fixture
def key(customer: make.Customer, worker: None) -> Caller:
    return Caller(customer.headers)


def create(caller: Caller, text: str = "Hello", **more: Any) -> Any:
    body = {"team_id": "acme", "job_type": "query", "messages": [{"role": "user", "content": text}]}
    return caller.post("/api/jobs/create-and-call", body | more)


def chat(caller: Caller, text: str = "Hello", **more: Any) -> Any:
    return caller.post(CHAT, {"messages": [{"role": "user", "content": text}], **more})


def told(body: dict[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in TOLD}


# --- What an error says --------------------------------------------------------------------------------------


def test_a_rate_refusal_says_which_limit_and_when(key):
    limit("team", "acme", Metric.REQUESTS, 1)
    first = create(key)
    assert first.status_code == 200, first.content
    assert first["x-ratelimit-remaining-requests"] == "0"

    answer = create(key, "Again")

    body = answer.json()
    assert answer.status_code == 429
    assert body["detail"] == "Rate limit exceeded: 1 requests per minute for team acme."
    assert body["code"] == "rate_limited"
    assert told(body) == {
        "limit": "requests_per_minute",
        "scope": "team",
        "id": "acme",
        "used": 1,
        "held": 0,
        "allowed": 1,
        "unit": "requests",
    }
    assert body["resets_at"].endswith("Z")
    assert 50 <= int(answer["Retry-After"]) <= 61
    assert answer["x-ratelimit-limit-requests"] == "1"
    assert answer["x-ratelimit-remaining-requests"] == "0"
    assert answer["x-ratelimit-reset-requests"].endswith("s")


@pytest.mark.parametrize("path", ["llm-call", "llm-call-stream"])
def test_calls_and_streams_into_jobs_have_headers_and_refusals(key, path):
    limit("team", "acme", Metric.REQUESTS, 1)
    job_id = opened_job(key)
    answer = key.post(f"/api/jobs/{job_id}/{path}", {"messages": MESSAGES})
    assert (answer.status_code, answer["x-ratelimit-remaining-requests"]) == (200, "0")
    b"".join(answer) if answer.streaming else None
    refused = key.post(f"/api/jobs/{job_id}/{path}", {"messages": [*MESSAGES, *MESSAGES]})
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert refused.json()["decision_id"] == str(Decision.objects.get().pk)


def test_v1_says_it_in_openai_s_shape(key):
    limit("team", "acme", Metric.REQUESTS, 1)
    assert chat(key)["x-ratelimit-limit-requests"] == "1"
    answer = chat(key, "Again")
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (429, "rate_limit_error", "rate_limit_exceeded")
    assert error["message"].startswith("Rate limit exceeded")
    assert (error["limit"], error["scope"], error["used"], error["allowed"]) == ("requests_per_minute", "team", 1, 1)
    assert error["decision_id"] == str(Decision.objects.get().pk)
    assert int(answer["Retry-After"]) > 50
    assert answer["x-ratelimit-remaining-requests"] == "0"
    assert "x-should-retry" not in answer


def test_v1_streams_say_it_too(key):
    limit("team", "acme", Metric.REQUESTS, 1)
    first = chat(key, stream=True)
    assert (first.status_code, first["x-ratelimit-remaining-requests"]) == (200, "0")
    b"".join(first)
    assert chat(key, "Again", stream=True).status_code == 429


def test_v1_tells_clients_not_to_repeat_what_never_fits(key):
    limit("team", "acme", Metric.TOKENS, 10)
    answer = chat(key)
    assert (answer.status_code, answer["x-should-retry"]) == (429, "false")
    assert "Retry-After" not in answer


def test_a_spend_refusal_is_403_and_402_and_speaks_of_credits(key):
    limit("team", "acme", Metric.SPEND_DAY, 1)
    assert create(key).status_code == 200

    answer, on_v1 = create(key, "Again"), chat(key, "And again")

    body, error = answer.json(), on_v1.json()["error"]
    assert (answer.status_code, body["code"]) == (403, "spend_limit_reached")
    assert body["detail"] == ("Spend limit reached: 1 credits per day for team acme, 0 credits left, 1 required.")
    assert "credit" in body["detail"]
    assert told(body) == {
        "limit": "spend_per_day",
        "scope": "team",
        "id": "acme",
        "used": 1_000_000,
        "held": 0,
        "allowed": 1_000_000,
        "unit": "micros",
    }
    assert body["resets_at"] > clock.iso(clock.now())
    assert (on_v1.status_code, error["code"], error["type"]) == (402, "spend_limit_reached", "insufficient_quota")
    assert on_v1["x-should-retry"] == "false"
    assert (error["used"], error["allowed"]) == (1_000_000, 1_000_000)


def test_a_refusal_for_credits_has_exact_figures(db, worker):
    make.platform_model()
    poor = make.customer(team_id="acme", credits=2)
    key = Caller(poor.headers)
    assert create(key).status_code == 200
    job = opened_job(key)
    assert ask(key, job).status_code == 200

    body = create(key, "One more").json()

    assert body["code"] == "insufficient_credits"
    assert told(body) == {
        "limit": "credits",
        "scope": "team",
        "id": "acme",
        "used": 1_000_000,
        "held": 1_000_000,
        "allowed": 2_000_000,
        "unit": "micros",
    }
    assert body["needed_micros"] == 1_000_000
    shown = key.get(f"/api/decisions/{body['decision_id']}").json()
    assert [told(each) for each in shown["limits"]] == [told(body)]


# --- Decisions -----------------------------------------------------------------------------------------------


def test_a_decision_shows_every_limit_on_the_way_and_who_said_no(key, customer, operator):
    for scope, named in ids(customer).items():
        limit(scope, metric=Metric.REQUESTS, amount=0 if scope == "key" else 100, **named)
    limit("team", "acme", Metric.SPEND_MONTH, 100)

    refused = create(key, user_id="ann").json()

    shown = key.get(f"/api/decisions/{refused['decision_id']}").json()
    to_operator = operator.get(f"/api/decisions/{refused['decision_id']}").json()
    # What all customers together use is for operators.
    assert [(each["scope"], each["used"]) for each in shown["limits"] if each != to_operator["limits"].pop(0)] == [
        ("platform", None),
        ("model", None),
    ]
    assert shown | {"limits": []} == to_operator
    assert {(each["scope"], each["limit"]): each["verdict"] for each in shown["limits"]} == {
        ("platform", "requests_per_minute"): "passed",
        ("organization", "requests_per_minute"): "passed",
        ("team", "requests_per_minute"): "passed",
        ("key", "requests_per_minute"): "refused",
        ("model", "requests_per_minute"): "passed",
        ("user", "requests_per_minute"): "passed",
        ("team", "spend_per_month"): "not_checked",
    }
    failed = Job.objects.get()
    assert {name: shown[name] for name in ("team_id", "key_id", "job_id", "model", "user_id", "code", "detail")} == {
        "team_id": "acme",
        "key_id": customer.principal.key_id,
        "job_id": str(failed.pk),
        "model": "chat-default",
        "user_id": "ann",
        "code": "rate_limited",
        "detail": refused["detail"],
    }
    assert failed.status == "failed"
    assert Event.objects.get(kind="call.refused").data["limit"] == "requests_per_minute"


def test_another_team_s_decision_is_not_found(key, globex):
    limit("team", "acme", Metric.REQUESTS, 0)
    decision_id = create(key).json()["decision_id"]
    stranger = Caller(globex.headers)
    for unknown in (decision_id, "0192e4a0-0000-7000-8000-000000000000", "x"):
        answer = stranger.get(f"/api/decisions/{unknown}")
        assert (answer.status_code, answer.json()["code"]) == (404, "decision_not_found")
    assert Caller().get(f"/api/decisions/{decision_id}").status_code == 401
    assert stranger.get("/api/decisions").json()["decisions"] == []
    assert stranger.get("/api/decisions", team_id="acme").status_code == 403


def test_decisions_name_no_other_team_and_tell_no_use_of_others(key, globex, operator):
    limit("platform", "", Metric.REQUESTS, 1)
    limit("team", "globex", Metric.REQUESTS, 50)
    answer = Caller(globex.headers).post(
        "/api/jobs/create-and-call", {"team_id": "globex", "job_type": "query", "messages": MESSAGES}
    )
    assert answer.status_code == 200
    refused = create(key)
    assert (refused.json()["scope"], refused.json()["id"], refused.json()["used"]) == ("platform", "", None)
    path = f"/api/decisions/{refused.json()['decision_id']}"
    shown = key.get(path)
    assert b"globex" not in shown.content + refused.content
    of_list = key.get("/api/decisions").json()["decisions"][0]
    for told_to_key in (refused.json(), shown.json()["limits"][0], of_list["limits"][0]):
        assert (told_to_key["used"], told_to_key["held"], told_to_key["allowed"]) == (None, None, 1)
    assert not [name for name in refused.headers if name.lower().startswith("x-ratelimit")]
    told_to_operator = operator.get(path).json()["limits"][0]
    assert (told_to_operator["used"], told_to_operator["held"]) == (1, 0)
    assert operator.get("/api/decisions").json()["decisions"][0]["limits"] == [told_to_operator]


@pytest.mark.parametrize(("scope", "id"), [("platform", ""), ("model", "chat-default")])
def test_spend_that_customers_share_is_told_to_none_of_them(key, globex, operator, scope, id):
    limit(scope, id, Metric.SPEND_DAY, 1)
    body = {"team_id": "globex", "job_type": "query", "messages": MESSAGES}
    assert Caller(globex.headers).post("/api/jobs/create-and-call", body).status_code == 200

    refused = create(key).json()

    assert (refused["code"], refused["used"], refused["held"], refused["allowed"]) == (
        "spend_limit_reached",
        None,
        None,
        1_000_000,
    )
    assert "left" not in refused["detail"]
    on_v1 = chat(key).json()["error"]
    assert (on_v1["scope"], on_v1["used"], on_v1["held"]) == (scope, None, None)
    told_to_operator = operator.get(f"/api/decisions/{refused['decision_id']}").json()["limits"][0]
    assert (told_to_operator["used"], told_to_operator["held"]) == (1_000_000, 0)


def test_headers_tell_the_tightest_of_the_customers_own(key):
    limit("platform", "", Metric.REQUESTS, 5)
    limit("team", "acme", Metric.REQUESTS, 60)
    answer = create(key)
    assert (answer["x-ratelimit-limit-requests"], answer["x-ratelimit-remaining-requests"]) == ("60", "59")


def test_decisions_are_listed_newest_first_and_paged(key, operator, globex, django_assert_num_queries):
    limit("platform", "", Metric.REQUESTS, 0)
    for number in range(3):
        create(key, f"Question {number}")
    Caller(globex.headers).post(CHAT, {"messages": MESSAGES})

    own = [each["decision_id"] for each in key.get("/api/decisions").json()["decisions"]]

    newest_first = [str(pk) for pk in Decision.objects.filter(team__team_id="acme").values_list("pk", flat=True)]
    assert own == newest_first == sorted(newest_first, reverse=True)
    page = key.get("/api/decisions", limit=1, offset=1).json()["decisions"]
    assert [each["decision_id"] for each in page] == own[1:2]
    with django_assert_num_queries(2):
        assert len(operator.get("/api/decisions").json()["decisions"]) == 4
    assert len(operator.get("/api/decisions", team_id="acme").json()["decisions"]) == 3
    assert operator.get("/api/decisions", team_id="nobody").status_code == 404


def suspend_team(customer: make.Customer) -> None:
    teams.set_status(customer.team, status="suspended", actor=make.TESTER)


def suspend_organization(customer: make.Customer) -> None:
    organizations.set_status(customer.organization, status="suspended", actor=make.TESTER)


@pytest.mark.parametrize("suspend", [suspend_team, suspend_organization])
def test_calls_of_suspended_tenants_leave_decisions(key, customer, suspend):
    job_id = opened_job(key)
    suspend(customer)
    virtual_keys.forget_cached()
    answers = [create(key), ask(key, job_id), chat(key)]
    assert [answer.status_code for answer in answers] == [403, 403, 403]
    assert answers[1].json()["decision_id"] == str(Decision.objects.get(job_id=job_id).pk)
    assert answers[2].json()["error"]["decision_id"]
    assert set(Decision.objects.values_list("code", flat=True)) == {"team_not_active"}
    assert Decision.objects.count() == 3


def test_calls_past_what_a_key_may_do_leave_decisions(customer, worker):
    _, secret = virtual_keys.issue(customer.team, actor=make.TESTER, scopes=["read"])
    _, of_models = virtual_keys.issue(customer.team, actor=make.TESTER, models_allowed=["another"])
    reader, narrow = (Caller({"Authorization": f"Bearer {each}"}) for each in (secret, of_models))
    assert create(reader).status_code == 403
    assert chat(reader).status_code == 403
    assert create(narrow, model="chat-default").status_code == 403
    assert chat(narrow, model="chat-default").json()["error"]["decision_id"]
    assert sorted(Decision.objects.values_list("code", "model")) == [
        ("model_not_allowed", "chat-default"),
        ("model_not_allowed", "chat-default"),
        ("scope_missing", ""),
        ("scope_missing", ""),
    ]


def test_mistakes_of_a_request_are_no_decisions(key):
    assert ask(key, "0192e4a0-0000-7000-8000-000000000000").status_code == 404
    assert create(key, response_format={"type": "text"}, validate=True).status_code == 422
    assert create(key, messages=[]).status_code == 422
    assert Decision.objects.count() == 0


def test_a_refusal_stands_when_it_cannot_be_recorded(key, monkeypatch):
    limit("team", "acme", Metric.REQUESTS, 0)

    def fail(*_: Any, **__: Any) -> Any:
        raise DatabaseError("disk full")

    monkeypatch.setattr(decisions, "record", fail)
    answer = create(key)
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert "decision_id" not in answer.json()
    assert answer.json()["allowed"] == 0
    assert Call.objects.count() == 0


def test_old_decisions_are_forgotten_a_batch_at_a_time(key, settings, monkeypatch):
    limit("team", "acme", Metric.REQUESTS, 0)
    for number in range(4):
        create(key, f"Question {number}")
    kept = Decision.objects.first()
    old = Decision.objects.exclude(pk=kept.pk)
    old.update(created_at=clock.from_now(-31 * 86400))
    Decision.objects.filter(pk=kept.pk).update(created_at=clock.from_now(-29 * 86400))
    assert decisions.purge(timedelta(days=30), limit=2) == 2
    sweeper.run()
    assert list(Decision.objects.all()) == [kept]
    settings.DECISION_RETENTION_DAYS = 28
    sweeper.run()
    assert Decision.objects.count() == 0


def test_a_credit_refusal_tells_nothing_of_rates_that_it_gave_back(db, worker):
    make.platform_model()
    key = Caller(make.customer(team_id="acme", credits=0).headers)
    limit("team", "acme", Metric.REQUESTS, 5)
    answer = create(key)
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_credits")
    assert "x-ratelimit-remaining-requests" not in answer


@pytest.mark.parametrize("user_id", ["a\x00b", "\ud800", "x" * 256])
def test_a_user_that_cannot_be_stored_is_a_mistake(key, user_id):
    limit("user", "", Metric.SPEND_DAY, 1, team_id="acme")
    answer = create(key, user_id=user_id)
    assert answer.status_code == 422, answer.content
