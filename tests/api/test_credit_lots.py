"""B11: what credits there are, until when and for what, over HTTP; and how far a team may go below zero."""

from datetime import timedelta

import pytest

from apps.core import clock
from apps.core.models import AuditEntry
from apps.credits import ledger
from apps.credits.models import Grant
from tests.api.calling import finished_job, located
from tests.credits import books

ADD = "/api/credits/teams/acme/add"
LINE = "/api/credits/teams/acme/credit-line"


def soon(days: float = 10) -> str:
    return (clock.now() + timedelta(days=days)).isoformat()


def balance(caller):
    return caller.get("/api/credits/teams/acme/balance").json()


def grants(caller, query: str = ""):
    return caller.get(f"/api/credits/teams/acme/grants{query}").json()


@pytest.mark.parametrize(
    ("path", "more"), [("add", {"kind": "promotional"}), ("replenish", {"payment_type": "one_time"})]
)
def test_b11_credits_that_expire_are_shown_with_their_instant(acme, operator, team_key, path, more):
    until = soon()

    answer = operator.post(f"/api/credits/teams/acme/{path}", {"credits": 30, "expires_at": until, **more})

    assert answer.status_code == 200, answer.content
    (expiring,) = balance(team_key)["expiring_soon"]
    assert (expiring["credits"], expiring["credits_exact"], expiring["job_types"]) == (30, "30", None)
    assert expiring["expires_at"][:16] == until[:16]
    assert balance(team_key)["credits_remaining"] == 130


def test_b11_what_expires_later_than_in_thirty_days_is_not_soon(acme, operator):
    operator.post(ADD, {"credits": 30, "expires_at": soon(31)})

    assert balance(operator)["expiring_soon"] == []


def test_b11_expired_credits_are_gone_from_balance_and_grants_at_once(acme, operator):
    operator.post(ADD, {"credits": 30, "expires_at": soon(1)})
    books.pass_days(1)

    assert (balance(operator)["credits_remaining"], balance(operator)["credits_allocated"]) == (100, 100)
    assert balance(operator)["expiring_soon"] == []
    assert [each["credits_remaining"] for each in grants(operator)["grants"]] == [0, 100]
    ledger.expire_due()
    assert [each["credits_remaining"] for each in grants(operator)["grants"]] == [100]
    entry = operator.get("/api/credits/teams/acme/transactions").json()["transactions"][0]
    assert (entry["transaction_type"], entry["credits_amount"], entry["reason"]) == ("adjustment", 30, "Expired")


@pytest.mark.parametrize("until", ["2020-01-01T00:00:00Z", "tomorrow", "2999-01-01T00:00:00", 5])
def test_expiry_is_an_instant_in_the_future(acme, operator, until):
    assert located(operator.post(ADD, {"credits": 1, "expires_at": until})) == [["body", "expires_at"]]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "gift"),
        ("priority", -1),
        ("priority", 40_000),
        ("job_types", "report"),
        ("job_types", ["a,b"]),
        ("job_types", [""]),
    ],
)
def test_wrong_terms_are_named(acme, operator, field, value):
    assert located(operator.post(ADD, {"credits": 1, field: value}))[0][:2] == ["body", field]


def test_grants_are_listed_in_the_order_in_which_they_are_spent(acme, operator, team_key):
    operator.post(ADD, {"credits": 5, "kind": "goodwill"})
    operator.post(ADD, {"credits": 6, "priority": 1})
    operator.post(ADD, {"credits": 7, "job_types": ["report"], "expires_at": soon()})

    found = grants(team_key)

    shown = [
        (each["kind"], each["credits_remaining"], each["priority"], each["job_types"]) for each in found["grants"]
    ]
    assert shown == [
        ("paid", 6, 1, None),
        ("goodwill", 5, 20, None),
        ("paid", 100, 50, None),
        ("paid", 7, 50, ["report"]),
    ]
    assert found["total"] == 4
    assert {each["source"] for each in found["grants"]} == {"grant"}
    assert "price_usd_per_credit" not in found["grants"][0]
    assert grants(operator)["grants"][0]["price_usd_per_credit"] is None
    assert [each["kind"] for each in grants(operator, "?limit=1&offset=1")["grants"]] == ["goodwill"]


def test_spent_grants_are_listed_when_asked_for(acme, operator):
    operator.post(ADD, {"credits": 1, "kind": "promotional"})
    books.spend(acme.team, 1)

    assert grants(operator)["total"] == 1
    assert [each["credits_remaining"] for each in grants(operator, "?all=true")["grants"]] == [0, 100]
    assert located(operator.get("/api/credits/teams/acme/grants?all=perhaps")) == [["query", "all"]]


def test_grants_of_another_team_are_refused(acme, stranger):
    assert stranger.get("/api/credits/teams/acme/grants").status_code == 403


@pytest.mark.usefixtures("worker")
def test_restricted_credits_stand_beside_the_balance_and_pay_for_their_jobs(acme, operator, team_key):
    answer = operator.post(ADD, {"credits": 5, "job_types": ["report", "audit"]}).json()
    assert (answer["credits_added"], answer["credits_remaining"]) == (5, 100)

    finished_job(team_key, job_type="report")
    finished_job(team_key, job_type="query")

    found = balance(team_key)
    assert found["credits_remaining"] == 99
    assert [(each["job_types"], each["credits_remaining"]) for each in found["restricted"]] == [
        (["audit", "report"], 4)
    ]
    page = team_key.get("/api/credits/teams/acme/transactions?job_types=report,audit").json()
    assert [each["transaction_type"] for each in page["transactions"]] == ["deduction", "allocation"]
    assert AuditEntry.objects.filter(after__job_types=["audit", "report"]).count() == 1


def test_b7_repeated_grant_of_expiring_credits_adds_nothing(acme, operator):
    body = {"credits": 5, "expires_at": soon(), "job_types": ["report"]}
    first = operator.post(ADD, body, key="k")

    again = operator.post(ADD, body, key="k")

    assert (again.json(), again["Idempotency-Replayed"]) == (first.json(), "true")
    assert Grant.objects.filter(account__restriction="report").count() == 1


# --- Credit line --------------------------------------------------------------------------------------------


def test_credit_line_is_shown_and_audited(acme, operator, team_key):
    answer = operator.put(LINE, {"credits": 20, "reason": "invoiced monthly"}).json()

    assert (answer["credit_limit"], answer["credits_remaining"]) == (20, 100)
    assert balance(team_key)["credit_limit"] == 20
    entry = AuditEntry.objects.get(action="team.credit_line")
    assert (entry.before, entry.after, entry.reason) == (
        {"credit_line": "0"},
        {"credit_line": "20"},
        "invoiced monthly",
    )
    assert operator.put(LINE, {"credits": 0}).json()["credit_limit"] is None


def test_credit_line_is_bounded_by_a_setting(acme, operator, settings):
    settings.CREDIT_LINE_MAX_CREDITS = 10

    assert located(operator.put(LINE, {"credits": 11})) == [["body", "credits"]]
    assert located(operator.put(LINE, {"credits": -1})) == [["body", "credits"]]
    assert operator.put(LINE, {"credits": 10}).status_code == 200


def test_credit_line_in_use_is_lowered_to_what_is_used_and_no_further(acme, operator):
    operator.put(LINE, {"credits": 20})
    books.spend(acme.team, 107)

    answer = operator.put(LINE, {"credits": 6})

    assert (answer.status_code, answer.json()["code"]) == (400, "credit_line_in_use")
    assert "7 credits" in answer.json()["detail"]
    assert operator.put(LINE, {"credits": 7}).status_code == 200


def test_only_operators_set_credit_lines(acme, team_key):
    assert team_key.put(LINE, {"credits": 1}).status_code == 401


def test_team_and_balance_of_a_fresh_team_say_that_there_is_nothing_special(acme, team_key):
    found = balance(team_key)

    assert (found["expiring_soon"], found["restricted"], found["credit_limit"]) == ([], [], None)
