"""Limits over HTTP: operators set them, a key sees those that it meets."""

from datetime import timedelta
from typing import Any

import pytest

from apps.core import clock
from apps.core.models import AuditEntry
from apps.limits.models import Limit, Metric
from tests import make
from tests.api.calling import Caller, located
from tests.limits.limiting import call, limit

PATH = "/api/limits"


@pytest.fixture
def operator(db: None, operator_headers: dict[str, str]) -> Caller:
    return Caller(operator_headers)


def put(operator: Caller, **body: Any) -> Any:
    answer = operator.put(PATH, {"scope": "team", "id": "acme", "metric": "requests_per_minute", "amount": 60} | body)
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_a_limit_is_set_shown_changed_and_deleted(customer, operator):
    made = put(operator)
    assert made == {
        "limit_id": made["limit_id"],
        "scope": "team",
        "id": "acme",
        "organization_id": customer.organization.organization_id,
        "team_id": "acme",
        "metric": "requests_per_minute",
        "amount": 60,
        "allowed": 60,
        "unit": "requests",
        "raised_to": None,
        "raised_until": None,
        "raise_reason": None,
        "created_at": made["created_at"],
        "updated_at": made["updated_at"],
    }
    again = put(operator, amount=100)
    assert (again["limit_id"], again["amount"]) == (made["limit_id"], 100)
    one = f"{PATH}/{made['limit_id']}"
    assert operator.get(one).json()["amount"] == 100
    assert operator.get(PATH).json() == [operator.get(one).json()]
    assert operator.delete(one).status_code == 200
    assert (operator.get(one).status_code, operator.get(one).json()["code"]) == (404, "limit_not_found")
    assert operator.delete(one).status_code == 404
    assert list(
        AuditEntry.objects.filter(object_kind="limit").order_by("id").values_list("action", "after__amount")
    ) == [
        ("limit.set", 60),
        ("limit.set", 100),
        ("limit.delete", None),
    ]


def test_a_limit_set_anew_as_it_is_changes_nothing(customer, operator):
    for _ in range(3):
        put(operator)
    assert AuditEntry.objects.filter(object_kind="limit").count() == 1


def test_every_scope_is_named_by_its_own_id(customer, operator):
    key_id = customer.principal.key_id
    wanted = [
        ({"scope": "platform", "id": None}, None, None),
        (
            {"scope": "organization", "id": customer.organization.organization_id},
            customer.organization.organization_id,
            None,
        ),
        ({"scope": "key", "id": key_id}, key_id, "acme"),
        ({"scope": "model", "id": "chat-default"}, "chat-default", None),
        ({"scope": "user", "id": "ann", "team_id": "acme"}, "ann", "acme"),
        ({"scope": "user", "id": None, "team_id": "acme"}, None, "acme"),
    ]
    for body, shown_id, team_id in wanted:
        made = put(operator, **body)
        assert (made["id"], made["team_id"]) == (shown_id, team_id)
    assert len(operator.get(PATH).json()) == len(wanted)
    assert [each["scope"] for each in operator.get(PATH, team_id="acme").json()] == ["key", "user", "user"]
    assert [each["id"] for each in operator.get(PATH, scope="user", id="ann").json()] == ["ann"]
    assert len(operator.get(PATH, limit=2, offset=1).json()) == 2
    assert located(operator.get(PATH, scope="galaxy")) == [["query", "scope"]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scope": "galaxy"}, "scope"),
        ({"metric": "wishes"}, "metric"),
        ({"amount": -1}, "amount"),
        ({"amount": 1.5}, "amount"),
        ({"amount": 10**19}, "amount"),
        ({"amount": True}, "amount"),
        ({"scope": "platform", "id": "x"}, "id"),
        ({"scope": "team", "id": None}, "id"),
        ({"scope": "key", "id": "no-key"}, "id"),
        ({"scope": "key", "id": "0192e4a0-0000-7000-8000-000000000000"}, "id"),
        ({"scope": "model", "id": "unknown"}, "id"),
        ({"scope": "user", "id": "ann"}, "team_id"),
        ({"scope": "user", "id": "x" * 256, "team_id": "acme"}, "id"),
    ],
)
def test_what_makes_no_limit_is_refused_by_its_field(customer, operator, body, field):
    given = {"scope": "team", "id": "acme", "metric": "requests_per_minute", "amount": 60} | body
    assert located(operator.put(PATH, given)) == [["body", field]]
    assert Limit.objects.count() == 0


def test_limits_of_unknown_tenants_are_not_found(customer, operator):
    for body in ({"id": "nobody"}, {"scope": "organization", "id": "nobody"}, {"scope": "user", "team_id": "nobody"}):
        given = {"scope": "team", "id": "x", "metric": "requests_per_minute", "amount": 60} | body
        assert operator.put(PATH, given).status_code == 404


def test_only_operators_set_and_list(customer, operator):
    made = put(operator)
    key = Caller(customer.headers)
    one = f"{PATH}/{made['limit_id']}"
    answers = [
        key.get(PATH),
        key.put(PATH, {}),
        key.get(one),
        key.delete(one),
        key.post(f"{one}/raise", {}),
    ]
    assert {answer.status_code for answer in answers} == {401}


def test_a_raise_has_an_end_a_reason_and_an_audit_row(customer, operator):
    one = f"{PATH}/{put(operator)['limit_id']}"
    until = clock.iso(clock.now() + timedelta(hours=2))
    raised = operator.post(f"{one}/raise", {"amount": 600, "until": until, "reason": "launch"}).json()
    assert (raised["amount"], raised["allowed"], raised["raised_to"]) == (60, 600, 600)
    assert (raised["raised_until"], raised["raise_reason"]) == (until, "launch")
    entry = AuditEntry.objects.get(action="limit.raise")
    assert (entry.actor, entry.reason, entry.after["raised_to"]) == ("operator:master-key", "launch", 600)

    Limit.objects.update(raised_until=clock.now() - timedelta(seconds=1))
    ended = operator.get(one).json()
    assert (ended["allowed"], ended["raised_to"], ended["raised_until"]) == (60, None, None)


def test_a_raise_needs_an_end_that_is_to_come(customer, operator):
    one = f"{PATH}/{put(operator)['limit_id']}/raise"
    past = clock.iso(clock.now() - timedelta(seconds=1))
    assert located(operator.post(one, {"amount": 1, "until": past})) == [["body", "until"]]
    assert located(operator.post(one, {"amount": 1})) == [["body", "until"]]
    assert located(operator.post(one, {"amount": 1, "until": "2030-01-01T00:00:00"})) == [["body", "until"]]
    assert located(operator.post(one, {"amount": -1, "until": "2030-01-01T00:00:00Z"})) == [["body", "amount"]]
    later = {"amount": 1, "until": "2030-01-01T00:00:00Z"}
    for unknown in ("7777", "x", "9" * 30, "-1"):
        assert operator.post(f"{PATH}/{unknown}/raise", later).status_code == 404


def test_a_team_shows_its_limits(customer, operator):
    limit("team", "acme", Metric.REQUESTS, 60)
    limit("user", "ann", Metric.SPEND_DAY, 1, team_id="acme")
    limit("platform", "", Metric.REQUESTS, 1000)
    make.customer(team_id="globex")
    limit("team", "globex", Metric.REQUESTS, 5)
    for caller in (operator, Caller(customer.headers)):
        shown = caller.get("/api/teams/acme").json()["limits"]
        assert [(each["scope"], each["metric"], each["amount"]) for each in shown] == [
            ("team", "requests_per_minute", 60),
            ("user", "spend_per_day", 1_000_000),
        ]


# --- Effective -----------------------------------------------------------------------------------------------


def effective(caller: Caller, **query: Any) -> Any:
    answer = caller.get(f"{PATH}/effective", **query)
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_effective_limits_tell_what_is_used_and_held(customer, operator):
    limit("platform", "", Metric.REQUESTS, 1000)
    limit("organization", customer.organization.organization_id, Metric.SPEND_MONTH, 50)
    limit("team", "acme", Metric.CALLS, 9)
    limit("key", customer.principal.key_id, Metric.TOKENS, 100_000)
    limit("user", "", Metric.SPEND_DAY, 2, team_id="acme")
    limit("model", "chat-default", Metric.REQUESTS, 10)
    call(customer)

    found = effective(operator, team_id="acme", key_id=customer.principal.key_id, model="chat-default", user_id="ann")
    by_key = effective(Caller(customer.headers), model="chat-default", user_id="ann")

    assert by_key["limits"] == [
        # The instant at which a rate is empty is a little later.
        each
        | {"resets_at": other["resets_at"]}
        # What all customers together use is for operators.
        | ({"used": None, "held": None} if each["scope"] in ("platform", "model") else {})
        for each, other in zip(found["limits"], by_key["limits"], strict=True)
    ]
    figures = {
        (each["scope"], each["limit"]): (each["used"], each["held"], each["allowed"]) for each in found["limits"]
    }
    (tokens_used, _, _) = figures.pop(("key", "tokens_per_minute"))
    assert tokens_used > 4000
    assert figures == {
        ("platform", "requests_per_minute"): (1, 0, 1000),
        ("organization", "spend_per_month"): (0, 1_000_000, 50_000_000),
        ("team", "concurrent_calls"): (0, 1, 9),
        ("model", "requests_per_minute"): (1, 0, 10),
        ("user", "spend_per_day"): (0, 1_000_000, 2_000_000),
    }
    assert all("verdict" not in each for each in found["limits"])


def test_a_key_asks_about_itself_alone(customer, operator):
    make.customer(team_id="globex")
    key = Caller(customer.headers)
    assert key.get(f"{PATH}/effective", team_id="globex").status_code == 403
    assert key.get(f"{PATH}/effective", key_id="0192e4a0-0000-7000-8000-000000000000").status_code == 403
    assert effective(key, team_id="acme")["limits"] == []
    assert Caller().get(f"{PATH}/effective").status_code == 401


def test_operators_name_the_team(customer, operator):
    assert located(operator.get(f"{PATH}/effective")) == [["query", "team_id"]]
    assert located(operator.get(f"{PATH}/effective", team_id="acme", key_id="x")) == [["query", "key_id"]]
    assert operator.get(f"{PATH}/effective", team_id="nobody").status_code == 404


# --- Time zone -----------------------------------------------------------------------------------------------


def test_b17_an_organization_s_time_zone_is_set_over_the_api(customer, operator):
    made = operator.post(
        "/api/organizations/create", {"organization_id": "t", "name": "T", "time_zone": "Asia/Tokyo"}
    )
    assert made.json()["time_zone"] == "Asia/Tokyo"
    path = f"/api/organizations/{customer.organization.organization_id}"
    assert operator.get(path).json()["time_zone"] == "UTC"
    assert operator.put(path, {"time_zone": "America/Los_Angeles"}).json()["time_zone"] == "America/Los_Angeles"
    assert located(operator.put(path, {"time_zone": "Mars/Olympus"})) == [["body", "time_zone"]]
    assert located(operator.put(path, {})) == [["body", "time_zone"]]
    assert Caller(customer.headers).put(path, {"time_zone": "UTC"}).status_code == 401
    answer = operator.post("/api/organizations/create", {"organization_id": "m", "name": "M", "time_zone": "Mars"})
    assert located(answer) == [["body", "time_zone"]]


def test_listing_takes_two_queries(customer, operator, django_assert_num_queries):
    for number in range(5):
        limit("user", f"user-{number}", Metric.REQUESTS, 1, team_id="acme")
    with django_assert_num_queries(2):
        assert len(operator.get(PATH).json()) == 5
