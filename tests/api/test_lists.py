"""Lists: true totals, the way to the next page, orders and filters, and as many queries for many rows as for few."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core import keyset
from apps.credits import ledger
from apps.credits.models import Period
from apps.limits.models import Decision
from apps.openapi.document import document
from apps.payments.models import Payment
from apps.teams import services as teams
from tests import make
from tests.analytics import rows
from tests.api.calling import Caller, located
from tests.openapi import conformance

pytestmark = pytest.mark.django_db
# Where a list is and what its rows stand under; None for an array.
BY_OFFSET = {
    "/api/organizations": None,
    "/api/organizations/o0/teams": "teams",
    "/api/teams": None,
    "/api/teams/t0/keys": None,
    "/api/teams/t0/jobs": "jobs",
    "/api/keys": "keys",
    "/api/models": None,
    "/api/model-aliases": "aliases",
    "/api/model-access-groups": None,
    "/api/model-groups": None,
    "/api/provider-credentials": None,
    "/api/vouchers": "vouchers",
    "/api/payments/packs": "packs",
    "/api/credits/teams/t0/payments": "payments",
    "/api/credits/teams/t0/scheduled-grants": "scheduled_grants",
    "/api/currency-rates": "rates",
    "/api/periods": "periods",
    "/api/prices": None,
    "/api/pricing": None,
    "/api/rate-cards": "rate_cards",
    "/api/limits": None,
    "/api/operators": None,
    "/api/organizations/o0/members": None,
}
BY_CURSOR = {
    "/api/jobs": "jobs",
    "/api/calls": "calls",
    "/api/credits/entries": "entries",
    "/api/credits/grants": "grants",
    "/api/decisions": "decisions",
}
AHEAD = "2999-01-01T00:00:00Z"


def add(operator: Caller, number: int) -> None:
    """One row more in every list; those of one owner are the first's."""
    customer = make.customer(team_id=f"t{number}", org=make.organization(f"o{number}"), credits=10 + number)
    if number:
        make.customer(team_id=f"o0-{number}", org=_owner().organization)
    owner = _owner()
    job = rows.job(owner, str(number + 1), calls=({"cost": number}, {}), credits=number, user_id=f"u{number % 2}")
    name = f"m{number}"
    Decision.objects.create(
        organization=owner.organization, team=owner.team, code="rate_limited", message="No.", job_id=str(job.pk)
    )
    Payment.objects.create(
        provider="stripe", provider_payment_id=name, team=owner.team, organization=owner.organization, state="flagged"
    )
    ends = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=31 * number)
    Period.objects.create(name=f"{ends:%Y-%m}", ends_at=ends, closed_by="test")
    for path, body in (
        ("/api/teams/t0/keys", {"name": name}),
        (
            "/api/models/create",
            {"model_alias": name, "display_name": name, "provider": "openai", "actual_model": name},
        ),
        ("/api/model-access-groups/create", {"group_name": name, "model_aliases": [name]}),
        ("/api/model-groups/create", {"group_name": name, "models": [{"model_name": name, "priority": 0}]}),
        (
            "/api/provider-credentials/create",
            {
                "organization_id": customer.organization.organization_id,
                "provider": "openai",
                "credential_name": name,
                "api_key": "sk-test-0123456789",
            },
        ),
        ("/api/vouchers", {"credits": 5}),
        ("/api/payments/packs", {"name": name, "credits": 10, "amount": 100, "currency": "EUR"}),
        ("/api/credits/teams/t0/scheduled-grants", {"credits": 5, "effective_at": f"21{number:02}-01-01T00:00:00Z"}),
        (
            "/api/currency-rates",
            {"currency": "EUR", "units_per_usd": 1, "valid_from": f"21{number:02}-01-01T00:00:00Z"},
        ),
        ("/api/prices", {"model": name, "input": 1, "output": 2}),
        ("/api/operators", {"email": f"{name}@example.com", "role": "viewer"}),
        ("/api/organizations/o0/members", {"email": f"{name}@example.org", "role": "viewer"}),
        ("/api/rate-cards", {"mode": "flat", "job_type": name, "price_credits": 1}),
    ):
        answer = operator.post(path, body)
        assert answer.status_code == 200, (path, answer.content)
    limit = {"scope": "team", "id": f"t{number}", "metric": "requests_per_minute", "amount": number}
    assert operator.put("/api/limits", limit).status_code == 200


def _owner() -> make.Customer:
    team = teams.find("t0")
    return make.Customer(team.organization, team, "")


@pytest.fixture
def three(operator: Caller) -> Caller:
    for number in range(3):
        add(operator, number)
    return operator


def queries_of(caller: Caller, path: str) -> int:
    caller.get(path)
    with CaptureQueriesContext(connection) as captured:
        assert caller.get(path).status_code == 200
    return len(captured)


def shown(answer: Any, name: str | None) -> list[Any]:
    assert answer.status_code == 200, answer.content
    body = answer.json()
    found: list[Any] = body if name is None else body[name]
    return found


def test_a_list_takes_as_many_queries_for_many_rows_as_for_few(three):
    lists = BY_OFFSET | BY_CURSOR
    before = {path: (queries_of(three, path), len(shown(three.get(path), name))) for path, name in lists.items()}

    for number in range(3, 6):
        add(three, number)

    after = {path: (queries_of(three, path), len(shown(three.get(path), name))) for path, name in lists.items()}
    assert {path: count for path, (count, _) in after.items()} == {path: count for path, (count, _) in before.items()}
    assert all(after[path][1] > before[path][1] >= 2 for path in lists), (before, after)


def test_pages_tell_the_true_total_and_the_way_on(three):
    for path, name in BY_OFFSET.items():
        every = shown(three.get(path), name)
        first = three.get(path, limit="1")
        if name is None:
            assert int(first["X-Total-Count"]) == len(every)
            assert first["Link"] == f'<{path}?limit=1&offset=1>; rel="next"'
            middle = three.get(path, limit="1", offset="1")
            assert middle["Link"].endswith(f'<{path}?limit=1&offset=0>; rel="prev"')
            assert "Link" not in three.get(path)
        else:
            body = first.json()
            assert (body["total"], body["limit"], body["offset"]) == (len(every), 1, 0)
        paged = [
            row for offset in range(len(every)) for row in shown(three.get(path, limit="1", offset=offset), name)
        ]
        assert paged == every


def test_pages_of_endless_tables_follow_their_cursor(three):
    for path, name in BY_CURSOR.items():
        every = shown(three.get(path), name)
        assert len(every) >= 3
        seen, cursor = [], None
        while True:
            body = three.get(path, limit="1", **({"cursor": cursor} if cursor else {})).json()
            assert (body["total"], body["total_is_exact"]) == (len(every), True)
            seen += body[name]
            cursor = body["next_cursor"]
            if cursor is None:
                break
        assert seen == every
        assert shown(three.get(path, order="created_at"), name) == every[::-1]
        assert shown(three.get(path, limit="1", offset="1"), name) == every[1:2]
        back = three.get(path, limit="1", cursor=body["prev_cursor"]).json()
        assert back[name] == every[-2:-1]


def test_counting_of_endless_tables_stops(three, monkeypatch):
    monkeypatch.setattr(keyset.count, "__kwdefaults__", {"most": 2})
    body = three.get("/api/jobs").json()
    assert (body["total"], body["total_is_exact"], len(body["jobs"])) == (2, False, 3)
    # What would have to be sorted whole is asked of fewer.
    assert located(three.get("/api/jobs", order="-credits_charged")) == [["query", "order"]]
    assert three.get("/api/jobs", order="-credits_charged", user_id="u1").status_code == 200


def test_wrong_queries_are_refused_by_name(three):
    for path in BY_OFFSET | BY_CURSOR:
        for name, value in (("limit", "0"), ("limit", "x"), ("offset", "-1"), ("order", "secret"), ("order", "-")):
            answer = three.get(path, **{name: value})
            assert located(answer) == [["query", name]], path
            assert name != "order" or answer.json()["detail"][0]["msg"].startswith("Must be one of: ")
    for path in BY_CURSOR:
        forged = three.get(path, cursor="WzFd:abc")
        assert (forged.status_code, forged.json()["code"]) == (400, "cursor_invalid")
        cursor = three.get(path, limit="1").json()["next_cursor"]
        assert located(three.get(path, cursor=cursor, offset="1")) == [["query", "cursor"]]


@pytest.mark.parametrize(
    ("path", "name", "order", "field", "falling"),
    [
        ("/api/organizations", None, "-organization_id", "organization_id", ["o2", "o1", "o0"]),
        ("/api/teams", None, "-credits", "team_id", ["o0-1", "o0-2", "t2", "t1", "t0"]),
        ("/api/models", None, "-model_alias", "model_alias", ["m2", "m1", "m0"]),
        ("/api/limits", None, "-amount", "amount", [2, 1, 0]),
        ("/api/jobs", "jobs", "-credits_charged", "credits_charged", ["2", "1", "0"]),
        (
            "/api/currency-rates",
            "rates",
            "valid_from",
            "valid_from",
            [f"210{n}-01-01T00:00:00.000Z" for n in range(3)],
        ),
    ],
)
def test_orders(three, path, name, order, field, falling):
    found = shown(three.get(path, order=order), name)
    if path == "/api/teams":
        # Equal ones by their number, falling too.
        found[:2] = sorted(found[:2], key=lambda each: each["team_id"])
    assert [each[field] for each in found] == falling


def test_the_document_names_the_orders_that_there_are(three):
    for path in BY_OFFSET | BY_CURSOR:
        told = three.get(path, order="shape").json()["detail"][0]["msg"]
        described = _described(path, "order")
        names = told.removeprefix("Must be one of: ").partition(";")[0].split(", ")
        assert {word for word in described if word not in ("asc", "desc")} == {
            word for name in names for word in (name, f"-{name}")
        }, path


def _described(path: str, parameter: str) -> list[str]:
    key = conformance.described_by("GET", path)
    assert key is not None
    asked = document()["paths"][key.split(" ")[1]]["get"]["parameters"]
    found: list[str] = next(each["schema"]["enum"] for each in asked if each["name"] == parameter)
    return found


def test_empty_values_come_last_in_either_direction(three):
    made = three.post("/api/teams/t0/keys", {"name": "ends", "expires_at": "2100-01-01T00:00:00Z"})
    assert made.status_code == 200, made.content
    for order in ("expires_at", "-expires_at"):
        assert three.get("/api/keys", order=order).json()["keys"][0]["name"] == "ends"


@pytest.mark.parametrize(
    ("path", "name", "query", "count"),
    [
        ("/api/organizations", None, {"q": "O1"}, 1),
        ("/api/organizations", None, {"created_from": AHEAD}, 0),
        ("/api/organizations", None, {"created_to": AHEAD}, 3),
        ("/api/teams", None, {"organization_id": "o0"}, 3),
        ("/api/teams", None, {"q": "T1"}, 1),
        ("/api/teams", None, {"status": "suspended"}, 0),
        ("/api/teams", None, {"low": "true"}, 0),
        ("/api/keys", "keys", {"team_id": "t1"}, 1),
        ("/api/keys", "keys", {"organization_id": "o0"}, 6),
        ("/api/keys", "keys", {"state": "revoked"}, 0),
        ("/api/keys", "keys", {"prefix": "nope"}, 0),
        ("/api/keys", "keys", {"expires_before": AHEAD}, 0),
        ("/api/keys", "keys", {"unused_since": AHEAD}, 8),
        ("/api/models", None, {"q": "M1"}, 1),
        ("/api/model-groups", None, {"q": "m2"}, 1),
        ("/api/model-access-groups", None, {"q": "zz"}, 0),
        ("/api/vouchers", "vouchers", {"usable": "true"}, 3),
        ("/api/vouchers", "vouchers", {"usable": "false"}, 0),
        ("/api/limits", None, {"organization_id": "o1"}, 1),
        ("/api/limits", None, {"metric": "tokens_per_minute"}, 0),
        ("/api/credits/teams/t0/payments", "payments", {"state": "paid"}, 0),
        ("/api/jobs", "jobs", {"team_id": "t1"}, 0),
        ("/api/jobs", "jobs", {"organization_id": "o0"}, 3),
        ("/api/jobs", "jobs", {"user_id": "u0"}, 2),
        ("/api/jobs", "jobs", {"status": "failed"}, 0),
        ("/api/jobs", "jobs", {"job_type": "query", "charged": "true"}, 2),
        ("/api/jobs", "jobs", {"charged": "false"}, 1),
        ("/api/jobs", "jobs", {"from": "2026-03-02T12:00:00Z", "to": "2026-03-03T12:00:00Z"}, 1),
        ("/api/jobs", "jobs", {"start_date": "2026-03-02", "end_date": "2026-03-02"}, 1),
        ("/api/jobs", "jobs", {"sort_by": "created_at", "order": "asc", "limit": "2"}, 2),
        ("/api/calls", "calls", {"team_id": "t0", "status": "succeeded"}, 6),
        ("/api/calls", "calls", {"model": "nope"}, 0),
        ("/api/calls", "calls", {"job_id": "x"}, 0),
        ("/api/credits/entries", "entries", {"team_id": "t1"}, 1),
        ("/api/credits/entries", "entries", {"organization_id": "o0"}, 3),
        ("/api/credits/entries", "entries", {"kind": "charge"}, 0),
        ("/api/credits/entries", "entries", {"account": "pool"}, 0),
        ("/api/credits/entries", "entries", {"job_id": "x"}, 0),
        ("/api/credits/grants", "grants", {"team_id": "t2", "kind": "paid", "left": "true"}, 1),
        ("/api/credits/grants", "grants", {"left": "false"}, 0),
        ("/api/credits/grants", "grants", {"expires_before": AHEAD}, 0),
        ("/api/decisions", "decisions", {"code": "rate_limited", "organization_id": "o0"}, 3),
        ("/api/decisions", "decisions", {"code": "other"}, 0),
    ],
)
def test_filters(three, path, name, query, count):
    answer = three.get(path, **query)
    assert len(shown(answer, name)) == count
    if "limit" not in query:
        assert (int(answer["X-Total-Count"]) if name is None else answer.json()["total"]) == count


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/api/teams", {"status": "x"}, "status"),
        ("/api/teams", {"low": "yes"}, "low"),
        ("/api/keys", {"state": "x"}, "state"),
        ("/api/keys", {"unused_since": "yesterday"}, "unused_since"),
        ("/api/jobs", {"charged": "1"}, "charged"),
        ("/api/jobs", {"sort_by": "created_at", "order": "up"}, "order"),
        ("/api/calls", {"status": "x"}, "status"),
        ("/api/credits/entries", {"kind": "x"}, "kind"),
        ("/api/credits/grants", {"left": "x"}, "left"),
    ],
)
def test_unknown_values_of_filters_are_refused(operator, path, query, field):
    assert located(operator.get(path, **query)) == [["query", field]]


def test_teams_that_run_low_are_found(operator):
    low, well = make.customer(team_id="low", credits=10), make.customer(team_id="well", credits=10)
    ledger.charge(low.team, job="a", amount_micros=8_000_000)
    ledger.charge(well.team, job="b", amount_micros=7_999_999)

    assert [each["team_id"] for each in operator.get("/api/teams", low="true").json()] == ["low"]


def test_a_key_lists_the_jobs_of_its_own_team(acme, globex, team_key, stranger, nobody):
    job = rows.job(acme, "1")
    rows.job(globex, "2")

    assert [each["job_id"] for each in team_key.get("/api/jobs").json()["jobs"]] == [str(job.pk)]
    assert team_key.get("/api/jobs", team_id="acme").json()["total"] == 1
    refused = team_key.get("/api/jobs", team_id="globex")
    assert (refused.status_code, refused.json()["code"]) == (403, "wrong_team")
    # Another team's cursor and organization reach nothing of it.
    rows.job(globex, "3")
    cursor = stranger.get("/api/jobs", limit="1").json()["next_cursor"]
    assert all(each["team_id"] == "acme" for each in team_key.get("/api/jobs", cursor=cursor).json()["jobs"])
    own = team_key.get("/api/jobs", organization_id=globex.organization.organization_id).json()["jobs"]
    assert [each["team_id"] for each in own] == ["acme"]
    assert nobody.get("/api/jobs").status_code == 401


@pytest.mark.parametrize("path", ["/api/keys", "/api/calls", "/api/credits/entries", "/api/credits/grants"])
def test_lists_over_all_teams_are_for_operators(team_key, path):
    assert team_key.get(path).status_code == 401


def test_entries_show_both_sides(operator, acme):
    (entry,) = operator.get("/api/credits/entries", team_id="acme").json()["entries"]

    assert (entry["kind"], entry["credits"]) == ("grant", "100")
    assert (entry["from"]["account"], entry["from"]["team_id"], entry["from"]["balance"]) == ("issued", None, None)
    assert (entry["to"]["account"], entry["to"]["team_id"], entry["to"]["balance"]) == ("wallet", "acme", "100")
