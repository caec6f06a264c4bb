"""What holds for every answer: JSON whatever happens, no redirects, CORS by settings, a request id."""

import json
import logging

import pytest
from django.core.exceptions import RequestDataTooBig
from django.db import OperationalError
from django.test import Client

from apps.api import errors
from apps.teams import services as teams
from tests.api.calling import Caller


@pytest.mark.parametrize("path", ["/api/nope", "/api/teams/acme/nope", "/nope", "/api", "/api/teams/a%00b"])
def test_unrouted_url_answers_in_json(nobody, path):
    answer = nobody.get(path)

    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
    assert answer["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("verb", "path", "allowed"),
    [
        ("get", "/api/teams/create", {"POST"}),
        ("post", "/api/teams", {"GET"}),
        ("delete", "/api/teams/acme", {"GET", "PUT"}),
        ("post", "/api/teams/acme/keys/x", {"DELETE"}),
        ("get", "/api/credits/teams/acme/add", {"POST"}),
    ],
)
def test_wrong_method_answers_in_json_and_says_what_is_allowed(operator, verb, path, allowed):
    answer = getattr(operator, verb)(path)

    assert (answer.status_code, answer.json()) == (405, {"detail": "Method Not Allowed"})
    assert set(answer["Allow"].split(", ")) - {"HEAD", "OPTIONS"} == allowed


def test_unhandled_exception_answers_in_json_and_tells_nothing(operator_headers, db, monkeypatch, caplog):
    def fail(**_):
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(teams, "matching", fail)
    caplog.set_level(logging.ERROR, "django.request")
    client = Client(raise_request_exception=False)

    answer = client.get("/api/teams", headers=operator_headers)

    assert (answer.status_code, answer.json()) == (500, {"detail": "Internal Server Error"})
    assert answer["Content-Type"] == "application/json"
    assert "a secret detail" in caplog.text


def test_database_that_is_away_is_a_503_with_retry_after(operator, monkeypatch):
    def fail(**_):
        raise OperationalError("connection to server at 10.0.0.7 refused")

    monkeypatch.setattr(teams, "matching", fail)

    answer = operator.get("/api/teams")

    assert answer.status_code == 503
    assert answer["Retry-After"]
    assert "10.0.0.7" not in answer.content.decode()


def test_browser_gets_json_too(operator_headers, db):
    answer = Client().get("/api/teams", headers=operator_headers | {"Accept": "text/html"})

    assert answer["Content-Type"] == "application/json"
    assert answer.json() == []


def test_what_django_itself_refuses_is_json_too(rf):
    answer = errors.bad_request(rf.get("/api/teams"), RequestDataTooBig())

    assert (answer.status_code, json.loads(answer.content)) == (413, {"detail": "Bad Request"})


@pytest.mark.parametrize("path", ["/api/teams/", "/api/teams/verify/", "/api/teams/acme/", "/api/organizations/"])
def test_trailing_slash_is_served_not_redirected(acme, team_key, operator, path):
    caller = team_key if "verify" in path else operator

    assert caller.get(path).status_code == 200


def test_trailing_slash_on_a_post_keeps_the_body(team_key):
    answer = team_key.post("/api/jobs/create/", {"team_id": "acme", "job_type": "query"})

    assert (answer.status_code, answer.json()["team_id"]) == (200, "acme")


def test_every_answer_has_a_request_id(nobody):
    assert len(nobody.get("/health")["X-Request-Id"]) == 32
    assert Caller({"X-Request-Id": "report-17"}).get("/api/nope")["X-Request-Id"] == "report-17"
    assert Caller({"X-Request-Id": "a b"}).get("/api/nope")["X-Request-Id"] != "a b"


def preflight(origin: str):
    return Client().options(
        "/api/jobs/create",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type, idempotency-key",
        },
    )


def test_preflight_from_the_panel_is_allowed(db):
    answer = preflight("http://localhost:3002")

    assert answer.status_code == 200
    assert answer["Access-Control-Allow-Origin"] == "http://localhost:3002"
    assert answer["Access-Control-Allow-Credentials"] == "true"
    assert "POST" in answer["Access-Control-Allow-Methods"]
    assert {"authorization", "idempotency-key"} <= set(answer["Access-Control-Allow-Headers"].split(", "))


def test_preflight_from_elsewhere_is_not(db):
    answer = preflight("https://evil.example")

    assert not answer.has_header("Access-Control-Allow-Origin")


def test_allowed_origins_are_a_setting(db, settings):
    settings.CORS_ALLOWED_ORIGINS = ["https://panel.example"]

    assert preflight("https://panel.example")["Access-Control-Allow-Origin"] == "https://panel.example"
    assert not preflight("http://localhost:3002").has_header("Access-Control-Allow-Origin")


def test_refusal_can_be_read_by_the_panel(nobody):
    answer = Caller({"Origin": "http://localhost:3001"}).get("/api/teams")

    assert answer.status_code == 401
    assert answer["Access-Control-Allow-Origin"] == "http://localhost:3001"


def test_answers_are_utf8(operator):
    operator.post("/api/organizations/create", {"organization_id": "zoe", "name": "Zoë GmbH 🎈"})

    assert json.loads(operator.get("/api/organizations/zoe").content.decode("utf-8"))["name"] == "Zoë GmbH 🎈"
