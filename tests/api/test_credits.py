"""Credits over HTTP: balance, grants, transactions, checks and prices."""

import pytest

from apps.core.models import AuditEntry
from apps.credits import billing, ledger
from apps.credits.models import Entry, RateCardVersion
from apps.teams import services as teams
from tests import make
from tests.api.calling import Caller, located

TRANSACTION = {
    "transaction_id",
    "team_id",
    "organization_id",
    "job_id",
    "transaction_type",
    "credits_amount",
    "credits_before",
    "credits_after",
    "reason",
    "created_at",
}


def add(operator, credits, **more):
    return operator.post("/api/credits/teams/acme/add", {"credits": credits, **more})


def transactions(caller, query=""):
    return caller.get(f"/api/credits/teams/acme/transactions{query}").json()


# --- Balance -----------------------------------------------------------------------------------------------


def test_balance_by_key_and_by_operator(acme, operator, team_key):
    ledger.charge(acme.team, job="j", amount_micros=1_000_000)

    by_key, by_operator = (caller.get("/api/credits/teams/acme/balance").json() for caller in (team_key, operator))

    assert by_operator == by_key | {"cost_markup_percentage": 0.0}
    assert (by_key["credits_allocated"], by_key["credits_used"], by_key["credits_remaining"]) == (100, 1, 99)
    assert by_key["organization_id"] == acme.organization.organization_id
    assert (by_key["budget_mode"], by_key["credits_per_dollar"], by_key["tokens_per_credit"]) == (
        "job_based",
        10.0,
        10_000,
    )
    assert (by_key["credit_limit"], by_key["auto_refill"], by_key["status"]) == (None, False, "active")


def test_team_without_an_account_has_no_balance(acme, operator):
    teams.create(acme.organization, team_id="bare", actor=make.TESTER)

    answer = operator.get("/api/credits/teams/bare/balance")

    assert (answer.status_code, answer.json()["detail"]) == (404, "No credit account found for team 'bare'")
    assert operator.get("/api/credits/teams/bare/transactions").json() == {
        "team_id": "bare",
        "total": 0,
        "limit": 50,
        "offset": 0,
        "transactions": [],
    }


# --- Add ---------------------------------------------------------------------------------------------------


def test_added_credits_are_a_transaction(acme, operator):
    answer = add(operator, 50, reason="Invoice 17").json()

    assert (answer["team_id"], answer["credits_added"], answer["credits_remaining"]) == ("acme", 50, 150)
    entry = answer["transaction"]
    assert set(entry) >= TRANSACTION
    assert (entry["transaction_type"], entry["reason"], entry["job_id"]) == ("allocation", "Invoice 17", None)
    assert (entry["credits_amount"], entry["credits_before"], entry["credits_after"]) == (50, 100, 150)
    assert entry["transaction_id"] == str(Entry.objects.get(reason="Invoice 17").pk)


def test_older_name_of_the_field_works(acme, operator):
    answer = operator.post("/api/credits/teams/acme/add", {"credits_amount": 5}).json()

    assert (answer["credits_added"], answer["transaction"]["reason"]) == (5, "Manual credit allocation")


def test_same_grant_without_a_key_is_made_twice(acme, operator):
    add(operator, 5)

    assert add(operator, 5).json()["credits_remaining"] == 110


def test_added_credits_are_audited(acme, operator):
    add(operator, 50, reason="Invoice 17")

    entry = AuditEntry.objects.filter(action="team.credits").order_by("created_at", "id").last()

    assert (entry.object_id, entry.actor, entry.reason) == ("acme", "operator:master-key", "Invoice 17")
    assert (entry.before, entry.after) == ({"credits_allocated": "100"}, {"credits_allocated": "150"})


def test_reason_has_a_limit(acme, operator):
    assert add(operator, 1, reason="x" * 500).status_code == 200
    assert located(add(operator, 1, reason="x" * 501)) == [["body", "reason"]]


def test_most_that_a_team_can_be_allocated(acme, operator):
    assert add(operator, 10**12 - 100).json()["credits_remaining"] == 10**12

    answer = add(operator, 1)

    assert (answer.status_code, answer.json()["detail"]) == (
        400,
        "A team can be allocated at most 1000000000000 credits in all",
    )
    assert billing.balance(acme.team).posted_micros == 10**18


def test_allocated_text_form_of_large_balances_is_exact(acme, operator):
    add(operator, 10**12 - 100)
    ledger.charge(acme.team, job="j", amount_micros=1)

    assert operator.get("/api/teams/acme").json()["credits_exact"] == "999999999999.999999"


# --- Transactions ------------------------------------------------------------------------------------------


@pytest.fixture
def history(acme):
    """A grant of 100, a charge of 1.5, a refund of 0.5, an adjustment of 9 and a take-back of 10."""
    granted = Entry.objects.get()
    ledger.charge(acme.team, job="job-1", amount_micros=1_500_000, reason="query")
    charged = Entry.objects.get(kind="charge")
    ledger.reverse(charged, amount_micros=500_000, actor=make.TESTER, key="r", reason="complaint")
    ledger.adjust(acme.team, amount_micros=9_000_000, actor=make.TESTER, key="a", reason="mistake")
    ledger.reverse(granted, amount_micros=10_000_000, actor=make.TESTER, key="t", reason="chargeback")
    return acme


def test_transactions_are_newest_first_in_the_wires_words(history, team_key):
    answer = transactions(team_key)

    assert (answer["team_id"], answer["total"]) == ("acme", 5)
    rows = answer["transactions"]
    assert all(set(row) >= TRANSACTION for row in rows)
    assert [(row["transaction_type"], row["credits_amount_exact"], row["reason"]) for row in rows] == [
        ("adjustment", "10", "chargeback"),
        ("adjustment", "9", "mistake"),
        ("refund", "0.5", "complaint"),
        ("deduction", "1.5", "query"),
        ("allocation", "100", "Initial allocation"),
    ]
    assert [row["job_id"] for row in rows] == [None, None, "job-1", "job-1", None]
    assert {row["organization_id"] for row in rows} == {history.organization.organization_id}


def test_each_transaction_begins_where_the_one_before_ended(history, team_key):
    rows = transactions(team_key)["transactions"][::-1]

    assert [(row["credits_before_exact"], row["credits_after_exact"]) for row in rows] == [
        ("0", "100"),
        ("100", "98.5"),
        ("98.5", "99"),
        ("99", "90"),
        ("90", "80"),
    ]
    assert [(row["credits_before"], row["credits_after"]) for row in rows][1] == (100, 98)
    assert all(
        isinstance(row[name], int) for row in rows for name in ("credits_amount", "credits_before", "credits_after")
    )


def test_transactions_come_in_pages_with_the_true_total(history, team_key):
    every = [row["transaction_id"] for row in transactions(team_key)["transactions"]]

    pages = [transactions(team_key, f"?limit=2&offset={offset}") for offset in (0, 2, 4, 6)]

    assert [page["total"] for page in pages] == [5, 5, 5, 5]
    assert [[row["transaction_id"] for row in page["transactions"]] for page in pages] == [
        every[0:2],
        every[2:4],
        every[4:5],
        [],
    ]


def test_fifty_transactions_by_default(acme, operator, team_key):
    for number in range(55):
        ledger.charge(acme.team, job=f"job-{number}", amount_micros=1_000_000)

    answer = transactions(team_key)

    assert (answer["total"], len(answer["transactions"])) == (56, 50)
    assert answer["transactions"][0]["job_id"] == "job-54"


def test_another_teams_transactions_are_not_among_them(acme, globex, operator):
    ledger.charge(globex.team, job="theirs", amount_micros=1_000_000)
    ledger.charge(acme.team, job="ours", amount_micros=1_000_000)

    answer = transactions(operator)

    assert (answer["total"], answer["transactions"][0]["job_id"]) == (2, "ours")


def test_taken_back_after_spending_is_a_balance_below_zero(acme, team_key):
    granted = Entry.objects.get()
    ledger.charge(acme.team, job="j", amount_micros=99_500_000)
    ledger.reverse(granted, amount_micros=100_000_000, actor=make.TESTER, key="t", reason="chargeback")

    row = transactions(team_key)["transactions"][0]

    assert (row["credits_before_exact"], row["credits_after_exact"]) == ("0.5", "-99.5")
    assert (row["credits_before"], row["credits_after"]) == (0, -100)


def test_transactions_take_a_constant_number_of_queries(acme, operator, django_assert_num_queries):
    for _ in range(2):
        with django_assert_num_queries(3):
            transactions(operator)
        for number in range(20):
            ledger.charge(acme.team, job=f"job-{number}", amount_micros=1_000)


# --- Check -------------------------------------------------------------------------------------------------


def check(caller, query="", body=None):
    answer = caller.post(f"/api/credits/teams/acme/check{query}", body)
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_check_says_yes(acme, team_key, operator):
    expected = {"team_id": "acme", "has_credits": True, "credits_needed": 100, "credits_remaining": 100}
    for caller in (team_key, operator):
        answer = check(caller, "?credits_needed=100")
        assert {name: answer[name] for name in expected} == expected
        assert "error" not in answer


def test_check_says_no_and_why(acme, team_key):
    ledger.hold(acme.team, job="j", amount_micros=500_000)

    answer = check(team_key, "?credits_needed=100")

    assert (answer["has_credits"], answer["credits_needed"]) == (False, 100)
    assert answer["error"] == (
        "Insufficient credits. Team has 99 credits remaining, but 100 required. Allocated: 100, Used: 0"
    )


@pytest.mark.parametrize(
    ("query", "body", "needed"),
    [
        ("", None, 1),
        ("", {}, 1),
        ("", {"credits_required": 7}, 7),
        ("", {"credits_needed": 7}, 7),
        ("?credits_needed=3", {"credits_required": 7}, 3),
        ("?credits_needed=0", None, 0),
    ],
)
def test_what_is_needed_is_in_the_query_or_in_the_body(acme, team_key, query, body, needed):
    assert check(team_key, query, body)["credits_needed"] == needed


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "1000000000001", "9" * 30, "%00", "²"])
def test_check_of_no_whole_number_is_refused(acme, team_key, text):
    answer = team_key.post(f"/api/credits/teams/acme/check?credits_needed={text}")

    assert located(answer) == [["query", "credits_needed"]]


@pytest.mark.parametrize("value", [-1, 1.5, "3", 10**12 + 1])
def test_check_of_a_wrong_body_is_refused(acme, team_key, value):
    answer = team_key.post("/api/credits/teams/acme/check", {"credits_required": value})

    assert located(answer)[0][:2] == ["body", "credits_required"]


def test_check_of_a_job_type_counts_the_credits_that_are_for_it_alone(acme, team_key, operator):
    operator.post("/api/credits/teams/acme/add", {"credits": 50, "job_types": ["report"]})

    general = check(team_key, "", {"credits_required": 120})
    report = check(team_key, "", {"credits_required": 120, "job_type": "report"})
    other = check(team_key, "", {"credits_required": 120, "job_type": "audit"})
    too_much = check(team_key, "", {"credits_required": 151, "job_type": "report"})

    assert [each["has_credits"] for each in (general, report, other, too_much)] == [False, True, False, False]
    assert (report["job_type"], report["credits_available"], other["credits_available"]) == ("report", 150, 100)
    assert "job_type" not in general
    assert "151 required" in too_much["error"]
    assert located(team_key.post("/api/credits/teams/acme/check", {"job_type": ""})) == [["body", "job_type"]]


def test_check_holds_nothing(acme, team_key):
    check(team_key, "?credits_needed=100")

    assert billing.balance(acme.team).held_micros == 0


def test_team_without_an_account_has_no_credits(acme, operator):
    team = teams.create(acme.organization, team_id="bare", actor=make.TESTER)

    answer = operator.post(f"/api/credits/teams/{team.team_id}/check").json()

    assert answer["has_credits"] is False


# --- Prices ------------------------------------------------------------------------------------------------


def test_budget_mode(acme, operator):
    answer = operator.patch(
        "/api/credits/teams/acme/budget-mode",
        {"budget_mode": "consumption_usd", "credits_per_dollar": 0.1, "tokens_per_credit": 5000},
    )

    assert answer.json() == {
        "team_id": "acme",
        "budget_mode": "consumption_usd",
        "credits_per_dollar": 0.1,
        "tokens_per_credit": 5000,
        "message": "Budget mode updated successfully",
    }
    assert operator.get("/api/teams/acme").json()["budget_mode"] == "consumption_usd"
    assert billing.plan(acme.team).micros_per_usd == 100_000


def test_conversion_rates(acme, operator):
    path = "/api/credits/teams/acme/conversion-rates"
    assert operator.get(path).json() == {
        "team_id": "acme",
        "tokens_per_credit": 10_000,
        "credits_per_dollar": 10.0,
        "budget_mode": "job_based",
        "using_defaults": {"tokens_per_credit": True, "credits_per_dollar": True},
    }

    answer = operator.patch(path, {"tokens_per_credit": 2500})

    assert answer.json() == {
        "team_id": "acme",
        "tokens_per_credit": 2500,
        "credits_per_dollar": 10.0,
        "message": "Conversion rates updated successfully",
    }
    assert operator.get(path).json()["using_defaults"] == {"tokens_per_credit": False, "credits_per_dollar": True}


def test_changing_no_rate_makes_no_version(acme, operator):
    operator.patch("/api/credits/teams/acme/conversion-rates", {})

    assert RateCardVersion.objects.count() == 0


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        (
            "budget-mode",
            {"budget_mode": "unlimited"},
            "budget_mode must be one of: job_based, consumption_usd, consumption_tokens",
        ),
        (
            "budget-mode",
            {"budget_mode": "consumption_usd", "credits_per_dollar": 0},
            "credits_per_dollar must be a positive number",
        ),
        ("conversion-rates", {"credits_per_dollar": -1}, "credits_per_dollar must be a positive number"),
        ("conversion-rates", {"tokens_per_credit": 0}, "tokens_per_credit must be a positive integer"),
        ("conversion-rates", {"tokens_per_credit": -5}, "tokens_per_credit must be a positive integer"),
    ],
)
def test_rate_that_is_not_positive_has_its_text(acme, operator, path, body, text):
    answer = operator.patch(f"/api/credits/teams/acme/{path}", body)

    assert (answer.status_code, answer.json()["detail"]) == (400, text)
    assert RateCardVersion.objects.count() == 0


@pytest.mark.parametrize(
    ("path", "body", "loc"),
    [
        ("budget-mode", {}, ["body", "budget_mode"]),
        ("budget-mode", {"budget_mode": 1}, ["body", "budget_mode"]),
        ("conversion-rates", {"tokens_per_credit": 1.5}, ["body", "tokens_per_credit"]),
        ("conversion-rates", {"tokens_per_credit": "5"}, ["body", "tokens_per_credit"]),
        ("conversion-rates", {"credits_per_dollar": "5"}, ["body", "credits_per_dollar"]),
        ("conversion-rates", {"credits_per_dollar": True}, ["body", "credits_per_dollar"]),
    ],
)
def test_rate_of_another_type_names_the_field(acme, operator, path, body, loc):
    assert located(operator.patch(f"/api/credits/teams/acme/{path}", body)) == [loc]


def test_rates_decide_what_a_job_costs(db, operator, worker):
    """Ten tokens a credit: the price of a job follows the team's new rate."""
    make.platform_model()
    customer = make.customer(team_id="metered", credits=10_000)
    caller = Caller(customer.headers)
    operator.patch(
        "/api/credits/teams/metered/budget-mode", {"budget_mode": "consumption_tokens", "tokens_per_credit": 10}
    )
    body = {"team_id": "metered", "job_type": "q", "messages": [{"role": "user", "content": "What is Python?"}]}

    answer = caller.post("/api/jobs/create-and-call", body | {"max_tokens": 50}).json()

    tokens = answer["usage"]["total_tokens"]
    assert tokens > 20
    assert answer["costs"]["credits_charged"] == str(tokens // 10)
