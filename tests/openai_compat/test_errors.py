"""Errors under /v1: OpenAI's shape and codes whatever happens, and which of them its clients should not repeat."""

import pytest
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import OperationalError
from django.test import Client

from apps.jobs import replies, services
from apps.jobs.errors import ServerBusy
from apps.jobs.models import Call, Job
from saasllm import handlers
from tests import make
from tests.api.calling import MESSAGES, Caller
from tests.openai_compat.asking import CHAT, chat, refused


def test_request_without_a_key_is_told_so(acme):
    answer = chat(Caller())

    error = refused(answer, 401)
    assert (error["code"], error["type"]) == ("invalid_api_key", "invalid_request_error")
    assert (answer["WWW-Authenticate"], answer["x-should-retry"]) == ("Bearer", "false")


@pytest.mark.parametrize("secret", ["sk-nobody", "Basic", "sk-" + "a" * 33])
def test_wrong_key_is_invalid(acme, secret):
    assert refused(chat(Caller({"Authorization": f"Bearer {secret}"})), 401)["code"] == "invalid_api_key"


def test_suspended_team_is_refused_before_its_body_is_read(operator, team_key, provider):
    operator.post("/api/teams/acme/suspend", {"reason": "unpaid"})

    error = refused(team_key.post(CHAT, {}), 403)

    assert (error["code"], error["type"]) == ("team_not_active", "permission_error")
    assert team_key.get("/v1/models").status_code == 200


@pytest.mark.parametrize(("scope", "status"), [("chat", 200), ("jobs", 403), ("read", 403)])
def test_asking_takes_the_scope_chat(acme, operator, provider, scope, status):
    secret = operator.post("/api/teams/acme/keys", {"scopes": [scope]}).json()["virtual_key"]
    caller = Caller({"Authorization": f"Bearer {secret}"})

    assert chat(caller).status_code == status
    assert caller.get("/v1/models").status_code == 200


def test_team_without_credits_gets_402_which_no_client_repeats(acme, provider):
    answer = chat(Caller(make.customer(credits=0).headers))

    error = refused(answer, 402)
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
    assert "credit" in error["message"].lower()
    assert answer["x-should-retry"] == "false"
    assert provider.asked == []
    assert Job.objects.get().status == "failed"


def test_unknown_model_is_not_found(team_key, provider):
    error = refused(chat(team_key, model="gpt-9"), 404)

    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "gpt-9" in error["message"]


def test_team_without_any_model_is_told_so(db, provider):
    assert refused(chat(Caller(make.customer().headers)), 404)["code"] == "model_not_found"


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/nothing", "/v1/chat", "/v1/responses"])
def test_unrouted_url_is_not_found_in_openais_shape(team_key, path):
    answer = team_key.post(path, {})

    assert refused(answer, 404)["code"] == "unknown_url"
    assert answer["x-should-retry"] == "false"


def test_urls_outside_keep_their_own_shape(team_key):
    assert team_key.get("/v10").json() == {"detail": "Not Found"}
    assert team_key.get("/api/nothing").json() == {"detail": "Not Found"}


def test_wrong_method_is_told_the_right_one(team_key):
    answer = team_key.get(CHAT)

    assert refused(answer, 405)["code"] == "method_not_supported"
    assert "POST" in answer["Allow"]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{", "application/json"),
        (b"[" * 100 + b"]" * 100, "application/json"),
        (b"model=x", "application/x-www-form-urlencoded"),
    ],
)
def test_body_that_is_no_json_is_told_so(team_key, body, content_type):
    error = refused(team_key.raw(CHAT, body, content_type=content_type), 400)

    assert (error["code"], error["param"]) == ("invalid_json", None)


def test_body_that_is_no_object_is_told_so(team_key):
    assert refused(team_key.raw(CHAT, b"[]"), 400)["code"] == "invalid_type"


def test_body_past_the_limit_is_too_large(team_key, settings):
    settings.MAX_BODY_BYTES = 10

    assert refused(chat(team_key), 413)["code"] == "too_large"


def test_bug_of_ours_is_a_plain_500(acme, provider, monkeypatch):
    def broken(*arguments, **keywords):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(services, "submit_one_call_job", broken)

    answer = Client(raise_request_exception=False).post(
        CHAT, data={"messages": MESSAGES}, content_type="application/json", headers=acme.headers
    )

    assert refused(answer, 500)["type"] == "server_error"
    assert b"secret" not in answer.content


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(RequestDataTooBig(), 413, "too_large"), (SuspiciousOperation("evil.example"), 400, "invalid_request")],
)
def test_what_django_itself_refuses_has_openais_shape_too(rf, error, status, code):
    assert refused(handlers.bad_request(rf.get("/v1/models"), error), status)["code"] == code


def test_database_that_is_away_is_503(team_key, provider, monkeypatch):
    def away(*arguments, **keywords):
        raise OperationalError("host 10.1.2.3 refused")

    monkeypatch.setattr(services, "submit_one_call_job", away)

    answer = chat(team_key)

    assert (refused(answer, 503)["code"], answer["Retry-After"]) == ("unavailable", "2")
    assert b"10.1.2.3" not in answer.content


def test_server_without_a_free_place_says_so_at_once(team_key, provider, monkeypatch):
    def full(self):
        raise ServerBusy(retry_after_s=1)

    monkeypatch.setattr(replies.Mailbox, "place", full)

    answer = chat(team_key)

    assert (refused(answer, 503)["code"], answer["Retry-After"]) == ("server_busy", "1")
    assert Call.objects.count() == 0


@pytest.mark.parametrize(
    ("failure", "status", "kind", "code", "is_final"),
    [
        (("provider_rejected", 400), 400, "invalid_request_error", "provider_rejected", True),
        (("content_filter", 400), 400, "invalid_request_error", "content_filter", True),
        (("provider_rate_limited", 429), 429, "rate_limit_error", "rate_limit_exceeded", False),
        (("provider_error", 500), 500, "server_error", "provider_error", False),
        (("provider_unavailable", 503), 503, "server_error", "provider_unavailable", False),
        (("provider_configuration", 503), 503, "server_error", "provider_configuration", True),
    ],
)
def test_failed_call_has_its_status_and_is_free(team_key, provider, failure, status, kind, code, is_final):
    provider.fails(failure[0], status=failure[1], retry_after_s=7)

    answer = chat(team_key)

    error = refused(answer, status)
    assert (error["type"], error["code"]) == (kind, code)
    assert error["message"] == "LLM call failed: the model did not answer"
    assert answer["Retry-After"] == "7"
    assert (answer.get("x-should-retry") == "false") is is_final
    job = team_key.get(f"/api/jobs/{answer['x-job-id']}").json()
    assert (job["status"], job["costs"]["credits_remaining"]) == ("failed", 100)


def test_preflight_of_openais_client_in_a_browser_is_allowed(db):
    asked = "authorization, content-type, x-stainless-lang, x-stainless-retry-count, x-job-id, x-job-type"
    answer = Client().options(
        CHAT,
        headers={
            "Origin": "http://localhost:3002",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": asked,
        },
    )

    assert set(asked.split(", ")) <= set(answer["Access-Control-Allow-Headers"].split(", "))
