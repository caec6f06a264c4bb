"""Statements and past balances over HTTP."""

import csv
import io
from datetime import timedelta
from decimal import Decimal

import pytest

from apps.core import clock, spreadsheets
from apps.credits import ledger, periods
from apps.credits.models import Account
from tests import make
from tests.api.calling import finished_job, located
from tests.credits import books

MONTH = f"{clock.now():%Y-%m}"
TEAM = f"/api/teams/acme/statements/{MONTH}"


def rows_of(answer):
    assert answer.status_code == 200
    text = b"".join(answer.streaming_content).decode()
    assert text.endswith("\r\n")
    assert text.splitlines(keepends=True)[0].endswith("transaction_id\r\n")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_team_reads_its_statement(acme, team_key, operator, worker):
    finished_job(team_key)
    books.adjust(acme.team, 4, key="a")

    body = team_key.get(TEAM).json()

    assert {name: body[name] for name in ("team_id", "period", "final", "closed_at", "total_entries")} == {
        "team_id": "acme",
        "period": MONTH,
        "final": False,
        "closed_at": None,
        "total_entries": 3,
    }
    assert (body["opening_balance"], body["closing_balance"]) == ("0", "95")
    assert body["movements"] == [
        {"kind": "adjust", "entries": 1, "credits": "-4"},
        {"kind": "charge", "entries": 1, "credits": "-1"},
        {"kind": "grant", "entries": 1, "credits": "100"},
    ]
    assert body["by_job_type"] == {"query": {"jobs": 1, "credits_charged": "1", "credits_refunded": "0"}}
    lines = [(line["kind"], line["credits"], line["balance"], line["number"]) for line in body["entries"]]
    assert lines == [("grant", "100", "100", 1), ("charge", "-1", "99", 2), ("adjust", "-4", "95", 3)]
    assert body == operator.get(TEAM).json()


def test_entries_are_paged(acme, team_key):
    for number in range(4):
        books.adjust(acme.team, 1, key=str(number))

    page = team_key.get(TEAM, limit=2, offset=2).json()

    assert (page["total_entries"], [line["balance"] for line in page["entries"]]) == (5, ["98", "97"])
    assert team_key.get(TEAM, offset=5).json()["entries"] == []


def test_an_organizations_statement_has_its_teams(acme, operator, globex):
    other = make.customer(team_id="acme-two", org=acme.organization, credits=7)
    books.spend(other.team, 3)
    ledger.open_wallet(make.customer(team_id="acme-three", org=acme.organization, credits=0).team)

    body = operator.get(f"/api/organizations/{acme.organization.organization_id}/statements/{MONTH}").json()

    assert (body["opening_balance"], body["closing_balance"], body["total_entries"]) == ("0", "104", 3)
    closing = {account["team_id"]: account["closing_balance"] for account in body["accounts"]}
    assert closing == {"acme": "100", "acme-two": "4", "acme-three": "0"}
    assert [(line["team_id"], line["balance"]) for line in body["entries"]] == [
        ("acme", "100"),
        ("acme-two", "7"),
        ("acme-two", "4"),
    ]


@pytest.mark.django_db(transaction=True)
def test_a_closed_statement_is_final_and_never_changes(acme, team_key, monkeypatch):
    real = clock.db_now
    monkeypatch.setattr(clock, "db_now", lambda: real() + timedelta(days=40))
    periods.close(MONTH, actor=make.TESTER)
    first, first_csv = team_key.get(TEAM).json(), rows_of(team_key.get(TEAM, format="csv"))

    books.spend(acme.team, 9)
    books.give(acme.team, 5, key="more")

    assert (first["final"], first["closing_balance"]) == (True, "100")
    assert team_key.get(TEAM).json() == first
    assert rows_of(team_key.get(TEAM, format="csv")) == first_csv


def test_csv_adds_up_and_its_numbers_are_numbers(acme, team_key):
    books.spend(acme.team, 3)
    answer = team_key.get(TEAM, format="csv")

    assert answer["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert answer["Content-Disposition"] == f'attachment; filename="statement-acme-{MONTH}.csv"'
    rows = rows_of(answer)
    assert [(row["kind"], row["credits"], row["balance"]) for row in rows] == [
        ("opening_balance", "", "0"),
        ("grant", "100", "100"),
        ("charge", "-3", "97"),
        ("closing_balance", "", "97"),
    ]
    moved = sum(Decimal(row["credits"] or 0) for row in rows)
    assert Decimal(rows[0]["balance"]) + moved == Decimal(rows[-1]["balance"])


def test_csv_is_sent_to_who_accepts_it(acme, team_key):
    team_key.headers["Accept"] = "text/csv"

    assert len(rows_of(team_key.get(TEAM))) == 3
    assert team_key.get(TEAM, format="json").json()["period"] == MONTH


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_becomes_a_formula(acme, team_key, start):
    evil = f'{start}HYPERLINK("http://x","a, b")\nnext'
    ledger.grant(acme.team, amount_micros=1, actor=make.TESTER, key="evil", reason=evil)

    row = rows_of(team_key.get(TEAM, format="csv"))[2]

    assert row["reason"] == f"'{evil}"
    assert (row["credits"], row["kind"]) == ("0.000001", "grant")


def test_harmless_text_stays_as_it_is():
    assert [spreadsheets.cell(value) for value in ("a=1", "", None, "é", 3, spreadsheets.Number("-1.5"))] == [
        "a=1",
        "",
        "",
        "é",
        "3",
        "-1.5",
    ]


@pytest.mark.parametrize("period", ["2026-13", "2026", "9999-12", "2999-01", "2026-01-01"])
def test_bad_periods_are_refused(acme, team_key, period):
    assert located(team_key.get(f"/api/teams/acme/statements/{period}")) == [["path", "period"]]


def test_unknown_format_is_refused(team_key):
    assert located(team_key.get(TEAM, format="xlsx")) == [["query", "format"]]


def test_statements_are_not_for_strangers(acme, stranger, team_key, nobody):
    path = f"/api/organizations/{acme.organization.organization_id}/statements/{MONTH}"
    assert [caller.get(TEAM).status_code for caller in (stranger, nobody)] == [403, 401]
    assert [caller.get(path).status_code for caller in (stranger, team_key)] == [401, 401]


@pytest.mark.parametrize("entries", [1, 12])
def test_a_statement_takes_a_constant_number_of_queries(acme, operator, entries, django_assert_num_queries):
    for number in range(entries):
        books.spend(acme.team, 1, job=f"j{number}")

    with django_assert_num_queries(14):
        operator.get(TEAM)


def test_balance_at_an_instant(acme, team_key, operator):
    path = "/api/credits/teams/acme/balance"
    before, now = clock.now() - timedelta(days=1), clock.db_now()

    assert team_key.get(path, at=before.isoformat()).json() == {
        "team_id": "acme",
        "organization_id": acme.organization.organization_id,
        "at": clock.iso(before),
        "credits_posted": 0,
        "credits_posted_exact": "0",
        "credits_held": 0,
        "credits_remaining": 0,
        "credits_exact": "0",
        "held_unknown_because": None,
        "last_transaction_id": None,
        "last_transaction_at": None,
    }
    body = operator.get(path, at=now.isoformat()).json()
    assert (body["credits_posted"], body["credits_remaining"]) == (100, 100)
    assert body["last_transaction_id"]


def test_what_was_held_then_is_null_and_said_so(acme, team_key):
    books.hold(acme.team, 3, job="j")

    body = team_key.get("/api/credits/teams/acme/balance", at=clock.db_now().isoformat()).json()

    assert (body["credits_posted"], body["credits_held"], body["credits_remaining"]) == (100, None, None)
    assert body["held_unknown_because"]


@pytest.mark.parametrize(
    "at",
    ["", "soon", "2026-01-01", "2026-01-01T00:00:00", "2999-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "\x00"],
)
def test_bad_instants_are_refused(acme, team_key, at):
    assert located(team_key.get("/api/credits/teams/acme/balance", at=at)) == [["query", "at"]]


def test_a_plus_that_became_a_space_is_taken(acme, team_key):
    answer = team_key.get("/api/credits/teams/acme/balance?at=2026-01-01T00:00:00+01:00")

    assert answer.json()["at"] == "2025-12-31T23:00:00.000Z"


def test_an_organizations_pool_has_a_past_too(acme, operator, team_key):
    path = f"/api/credits/organizations/{acme.organization.organization_id}/balance"
    assert operator.get(path).json()["code"] == "no_credit_account"
    Account.objects.create(kind="pool", organization=acme.organization)

    assert operator.get(path).json()["credits_remaining"] == 0
    assert operator.get(path, at="2026-01-01T00:00:00Z").json()["credits_posted"] == 0
    assert team_key.get(path).status_code == 401
