"""Teams over HTTP: create, read, list, update."""

import pytest

from apps.core.models import AuditEntry
from apps.credits import billing, ledger
from apps.credits.models import Entry
from apps.teams import services as teams
from apps.teams.models import Team
from apps.virtual_keys import services as virtual_keys
from tests import make
from tests.api.calling import Caller, located, opened_job

# What has been relied upon at the top of a created team's answer.
CREATED = {
    "team_id",
    "organization_id",
    "team_alias",
    "status",
    "access_groups",
    "model_groups",
    "allowed_model_aliases",
    "allowed_models",
    "credits_allocated",
    "credits_remaining",
    "virtual_key",
    "budget_mode",
    "credits_per_dollar",
    "tokens_per_credit",
    "message",
}
CREDITS = {
    "team_id",
    "organization_id",
    "credits_allocated",
    "credits_used",
    "credits_remaining",
    "credit_limit",
    "auto_refill",
    "refill_amount",
    "refill_period",
    "last_refill_at",
    "budget_mode",
    "credits_per_dollar",
    "tokens_per_credit",
    "cost_markup_percentage",
    "status",
    "created_at",
    "updated_at",
}


@pytest.fixture
def initech(db):
    return make.organization("initech")


def create(operator, team_id="dev", **more):
    return operator.post("/api/teams/create", {"organization_id": "initech", "team_id": team_id, **more})


# --- Create ------------------------------------------------------------------------------------------------


def test_created_team_in_full(operator, initech):
    for name in ("chat-fast", "chat-smart", "embed"):
        make.alias(name)

    answer = create(
        operator,
        team_alias="Developers",
        access_groups=["chat-smart", "chat-fast"],
        model_groups=["embed"],
        default_model="chat-fast",
        credits_allocated=1000,
        metadata={"cost_centre": "4711"},
        budget_mode="consumption_usd",
        credits_per_dollar=2.5,
        tokens_per_credit=500,
        cost_markup_percentage=12.5,
    )

    assert answer.status_code == 200
    body = answer.json()
    assert set(body) >= CREATED
    assert (body["team_id"], body["organization_id"], body["team_alias"]) == ("dev", "initech", "Developers")
    assert body["message"] == "Team created successfully with LiteLLM integration"
    assert (body["status"], body["metadata"]) == ("active", {"cost_centre": "4711"})
    assert body["access_groups"] == ["chat-smart", "chat-fast"]
    assert body["model_groups"] == ["embed"]
    assert body["allowed_model_aliases"] == body["allowed_models"] == ["chat-fast", "chat-smart", "embed"]
    assert body["default_model"] == "chat-fast"
    assert (body["credits_allocated"], body["credits_remaining"], body["credits_used"]) == (1000, 1000, 0)
    assert (body["budget_mode"], body["credits_per_dollar"], body["tokens_per_credit"]) == (
        "consumption_usd",
        2.5,
        500,
    )
    assert body["cost_markup_percentage"] == 12.5
    assert body["virtual_key"].startswith(body["virtual_key_prefix"])
    assert Caller({"Authorization": f"Bearer {body['virtual_key']}"}).get("/api/teams/verify").status_code == 200


def test_team_needs_no_more_than_its_id(operator, initech):
    body = create(operator).json()

    assert (body["access_groups"], body["model_groups"], body["allowed_model_aliases"]) == ([], [], [])
    assert (body["budget_mode"], body["credits_per_dollar"], body["tokens_per_credit"]) == ("job_based", 10.0, 10_000)
    assert (body["credits_allocated"], body["credits_remaining"]) == (0, 0)
    assert body["virtual_key"].startswith("sk-")


def test_nulls_are_as_good_as_nothing(operator, initech):
    nulls = dict.fromkeys(
        ["team_alias", "access_groups", "model_groups", "credits_allocated", "metadata", "budget_mode"]
    )

    assert create(operator, **nulls).status_code == 200


@pytest.mark.parametrize(
    ("more", "status", "text"),
    [
        ({"access_groups": ["nope"]}, 404, "Model access group 'nope' not found"),
        ({"model_groups": ["nope"]}, 404, "Model group 'nope' not found"),
        ({"default_model": "nope"}, 404, "Model alias 'nope' not found"),
        (
            {"budget_mode": "hard_limit"},
            400,
            "Invalid budget_mode: hard_limit. Must be one of: job_based, consumption_usd, consumption_tokens",
        ),
        ({"credits_per_dollar": 0}, 400, "credits_per_dollar must be a positive number"),
        ({"credits_per_dollar": -2.5}, 400, "credits_per_dollar must be a positive number"),
        ({"credits_per_dollar": 1e300}, 400, "credits_per_dollar must be a positive number"),
        ({"tokens_per_credit": 0}, 400, "tokens_per_credit must be a positive integer"),
        ({"tokens_per_credit": -1}, 400, "tokens_per_credit must be a positive integer"),
        ({"cost_markup_percentage": -1}, 400, "cost_markup_percentage must be a number from 0 to 100000"),
    ],
)
def test_refused_team_leaves_nothing_behind(operator, initech, more, status, text):
    before = Entry.objects.count(), AuditEntry.objects.count()

    answer = create(operator, credits_allocated=10, **more)

    assert (answer.status_code, answer.json()["detail"]) == (status, text)
    assert not Team.objects.filter(team_id="dev").exists()
    assert (Entry.objects.count(), AuditEntry.objects.count()) == before


# --- Read --------------------------------------------------------------------------------------------------


def test_team_as_its_own_key_sees_it(acme, team_key):
    body = team_key.get("/api/teams/acme").json()

    assert (body["team_id"], body["organization_id"]) == ("acme", acme.organization.organization_id)
    assert (body["status"], body["credits_allocated"], body["credits_remaining"]) == ("active", 100, 100)
    assert all(isinstance(body[name], int) for name in ("credits_allocated", "credits_remaining", "credits_used"))
    assert body["virtual_key"] is None
    assert acme.secret.startswith(body["virtual_key_prefix"])
    assert len(body["virtual_key_prefix"]) < 16
    assert acme.secret not in team_key.get("/api/teams/acme").content.decode()
    assert set(body["credits"]) >= CREDITS
    assert (body["credits"]["credits_remaining"], body["credits"]["auto_refill"]) == (100, False)


def test_markup_is_shown_to_operators_alone(acme, operator, team_key):
    operator.patch("/api/teams/acme/markup", {"cost_markup_percentage": 30})

    by_operator, by_key = operator.get("/api/teams/acme").json(), team_key.get("/api/teams/acme").json()

    assert (by_operator["cost_markup_percentage"], by_operator["credits"]["cost_markup_percentage"]) == (30.0, 30.0)
    assert (by_key["cost_markup_percentage"], by_key["credits"]["cost_markup_percentage"]) == (None, None)


@pytest.mark.parametrize("status", ["suspended", "paused"])
def test_suspended_teams_key_still_reads_its_team(acme, operator, team_key, status):
    operator.put(f"/api/teams/acme/{'suspend' if status == 'suspended' else 'pause'}", {"reason": "unpaid"})

    by_key, by_operator = team_key.get("/api/teams/acme"), operator.get("/api/teams/acme")

    assert by_key.status_code == 200
    assert (by_key.json()["status"], by_key.json()["credits"]["status"]) == (status, status)
    assert "status_reason" not in by_key.json()
    assert by_operator.json()["status_reason"] == "unpaid"


def test_key_is_told_of_its_suspended_organization(acme, operator, team_key):
    operator.post(f"/api/organizations/{acme.organization.organization_id}/suspend")

    by_key, by_operator = team_key.get("/api/teams/acme").json(), operator.get("/api/teams/acme").json()

    assert by_key["status"] == "suspended"
    assert (by_operator["status"], by_operator["organization_status"]) == ("active", "suspended")


def test_held_credits_are_no_remaining_ones(acme, operator):
    ledger.hold(acme.team, job="j", amount_micros=1_500_000)

    body = operator.get("/api/teams/acme").json()

    assert (body["credits_allocated"], body["credits_used"], body["credits_remaining"]) == (100, 0, 98)
    assert (body["credits_held"], body["credits_exact"]) == (1, "98.5")


def test_prefix_is_that_of_the_newest_usable_key(acme, operator):
    first = operator.get("/api/teams/acme").json()["virtual_key_prefix"]
    second = operator.post("/api/teams/acme/keys", {}).json()
    assert operator.get("/api/teams/acme").json()["virtual_key_prefix"] == second["prefix"]

    operator.delete(f"/api/teams/acme/keys/{second['key_id']}")

    assert operator.get("/api/teams/acme").json()["virtual_key_prefix"] == first


def test_team_without_a_key_has_no_prefix(operator, initech):
    teams.create(initech, team_id="bare", actor=make.TESTER)

    body = operator.get("/api/teams/bare").json()

    assert (body["virtual_key_prefix"], body["credits_remaining"]) == (None, 0)


def test_key_verifies_itself(acme, operator, team_key):
    organization_id = acme.organization.organization_id
    assert team_key.get("/api/teams/verify").json() == {
        "team_id": "acme",
        "organization_id": organization_id,
        "status": "active",
    }

    operator.post("/api/teams/acme/pause")
    virtual_keys.forget_cached()

    answer = team_key.get("/api/teams/verify")
    assert (answer.status_code, answer.json()["status"]) == (200, "paused")


# --- List --------------------------------------------------------------------------------------------------


def test_list_is_an_array_in_pages(acme, globex, operator):
    listed = operator.get("/api/teams").json()

    assert [team["team_id"] for team in listed] == ["acme", "globex"]
    assert set(listed[0]) >= {
        "team_id",
        "organization_id",
        "credits_allocated",
        "credits_remaining",
        "credits_used",
        "access_groups",
        "virtual_key",
        "budget_mode",
        "credits_per_dollar",
        "status",
        "created_at",
    }
    assert listed[0]["virtual_key"] is None
    assert [team["team_id"] for team in operator.get("/api/teams?limit=1&offset=1").json()] == ["globex"]
    assert operator.get("/api/teams?offset=2").json() == []


def test_closed_teams_are_not_listed(acme, operator):
    teams.set_status(acme.team, status="closed", actor=make.TESTER)

    assert operator.get("/api/teams").json() == []


def test_list_takes_a_constant_number_of_queries(acme, operator, django_assert_num_queries):
    make.alias("chat-fast")
    for _ in range(2):
        with django_assert_num_queries(10):
            operator.get("/api/teams")
        for _ in range(5):
            made = make.customer(access_groups=["chat-fast"], tokens_per_credit=5)
            virtual_keys.issue(made.team, actor=make.TESTER)


def test_reading_one_team_takes_eleven_queries(acme, operator, django_assert_num_queries):
    with django_assert_num_queries(11):
        operator.get("/api/teams/acme")


# --- Update ------------------------------------------------------------------------------------------------


def test_update_changes_what_is_given_and_nothing_else(acme, operator):
    make.alias("chat-fast")
    make.alias("chat-smart")

    answer = operator.put(
        "/api/teams/acme",
        {
            "team_alias": "Acme Dev",
            "metadata": {"a": 1},
            "access_groups": ["chat-fast"],
            "model_groups": ["chat-smart"],
            "default_model": "chat-smart",
            "budget_mode": "consumption_tokens",
            "credits_per_dollar": 20,
            "tokens_per_credit": 1000,
            "cost_markup_percentage": 5,
        },
    ).json()

    assert answer["message"] == "Team updated successfully"
    expected = {
        "team_alias": "Acme Dev",
        "metadata": {"a": 1},
        "access_groups": ["chat-fast"],
        "model_groups": ["chat-smart"],
        "default_model": "chat-smart",
        "budget_mode": "consumption_tokens",
        "credits_per_dollar": 20.0,
        "tokens_per_credit": 1000,
        "cost_markup_percentage": 5.0,
        "credits_allocated": 100,
        "credits_used": 0,
        "credits_remaining": 100,
    }
    assert {name: answer[name] for name in expected} == expected

    again = operator.put("/api/teams/acme", {"team_alias": "Acme"}).json()

    assert {name: again[name] for name in expected} == expected | {"team_alias": "Acme"}


def test_default_model_is_cleared_by_null(acme, operator):
    make.alias("chat-fast")
    operator.put("/api/teams/acme", {"default_model": "chat-fast"})

    assert operator.put("/api/teams/acme", {"team_alias": "A"}).json()["default_model"] == "chat-fast"
    assert operator.put("/api/teams/acme", {"default_model": None}).json()["default_model"] is None


def test_raised_allocation_is_a_grant_of_the_difference(acme, operator):
    answer = operator.put("/api/teams/acme", {"credits_allocated": 150}).json()

    assert (answer["credits_allocated"], answer["credits_remaining"]) == (150, 150)
    entry = Entry.objects.order_by("credit_seq").last()
    assert (entry.kind, entry.amount_micros) == ("grant", 50_000_000)
    audited = AuditEntry.objects.filter(action="team.credits").first()
    assert (audited.before, audited.after) == ({"credits_allocated": "100"}, {"credits_allocated": "150"})


def test_lowered_allocation_is_an_adjustment(acme, operator):
    answer = operator.put("/api/teams/acme", {"credits_allocated": 40}).json()

    assert (answer["credits_allocated"], answer["credits_remaining"]) == (40, 40)
    assert Entry.objects.get(kind="adjust").amount_micros == 60_000_000


def test_unchanged_allocation_posts_nothing(acme, operator):
    operator.put("/api/teams/acme", {"credits_allocated": 100})

    assert Entry.objects.count() == 1


def test_allocation_is_not_lowered_below_what_is_used_and_held(acme, operator):
    ledger.charge(acme.team, job="a", amount_micros=30_000_000)
    ledger.hold(acme.team, job="b", amount_micros=20_000_000)

    answer = operator.put("/api/teams/acme", {"credits_allocated": 49, "team_alias": "Changed"})

    assert (answer.status_code, answer.json()["detail"]) == (
        400,
        "credits_allocated cannot be less than what is used and held: 50 (used 30, held 20)",
    )
    assert Team.objects.get(team_id="acme").alias == ""
    assert operator.put("/api/teams/acme", {"credits_allocated": 50}).json()["credits_remaining"] == 0
    assert billing.balance(acme.team).held_micros == 20_000_000


@pytest.mark.parametrize("value", [0, 5, "5", [], False])
def test_used_credits_cannot_be_set(acme, operator, value):
    answer = operator.put("/api/teams/acme", {"credits_used": value, "team_alias": "Changed"})

    assert located(answer) == [["body", "credits_used"]]
    assert Team.objects.get(team_id="acme").alias == ""


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"credits_allocated": -1}, ["body", "credits_allocated"]),
        ({"credits_allocated": 10**12 + 1}, ["body", "credits_allocated"]),
        ({"credits_allocated": "5"}, ["body", "credits_allocated"]),
        ({"metadata": {"a": "x" * 10_240}}, ["body", "metadata"]),
        ({"team_alias": "x" * 256}, ["body", "team_alias"]),
    ],
)
def test_update_with_a_wrong_field_changes_nothing(acme, operator, body, loc):
    answer = operator.put("/api/teams/acme", {"team_alias": "Changed", **body})

    assert located(answer) == [loc]
    assert Team.objects.get(team_id="acme").alias == ""


def test_refused_update_changes_nothing_of_it(acme, operator):
    answer = operator.put("/api/teams/acme", {"team_alias": "Changed", "access_groups": ["nope"]})

    assert (answer.status_code, answer.json()["detail"]) == (404, "Model access group 'nope' not found")
    assert Team.objects.get(team_id="acme").alias == ""


# --- Models ------------------------------------------------------------------------------------------------


@pytest.fixture
def three_aliases(db):
    return [make.alias(name) for name in ("chat-a", "chat-b", "chat-c")]


def test_access_groups_are_a_bare_array_that_replaces(acme, operator, three_aliases):
    operator.put("/api/teams/acme/access-groups", ["chat-a"])

    answer = operator.put("/api/teams/acme/access-groups", ["chat-c", "chat-b"]).json()

    assert answer == {
        "team_id": "acme",
        "access_groups": ["chat-c", "chat-b"],
        "allowed_model_aliases": ["chat-b", "chat-c"],
        "message": "Model access groups assigned successfully",
    }


@pytest.mark.parametrize("body", [["chat-b"], {"model_groups": ["chat-b"]}])
def test_model_groups_are_an_array_bare_or_named(acme, operator, three_aliases, body):
    operator.put("/api/teams/acme/access-groups", ["chat-a"])

    answer = operator.put("/api/teams/acme/model-groups", body).json()

    assert (answer["team_id"], answer["model_groups"]) == ("acme", ["chat-b"])
    assert answer["allowed_model_aliases"] == ["chat-a", "chat-b"]
    assert operator.get("/api/teams/acme").json()["access_groups"] == ["chat-a"]


def test_groups_can_be_taken_away(acme, operator, three_aliases):
    operator.put("/api/teams/acme/access-groups", ["chat-a", "chat-b"])

    assert operator.put("/api/teams/acme/access-groups", []).json()["allowed_model_aliases"] == []


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        ("access-groups", "Model access group 'nope' not found"),
        ("model-groups", "Model group 'nope' not found"),
    ],
)
def test_unknown_group_changes_nothing(acme, operator, three_aliases, suffix, text):
    operator.put(f"/api/teams/acme/{suffix}", ["chat-a"])

    answer = operator.put(f"/api/teams/acme/{suffix}", ["chat-b", "nope"])

    assert (answer.status_code, answer.json()["detail"]) == (404, text)
    assert operator.get("/api/teams/acme").json()["allowed_model_aliases"] == ["chat-a"]


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ("chat-a", ["body", "access_groups"]),
        ([1], ["body", "access_groups", 0]),
        ([""], ["body", "access_groups", 0]),
        ({}, ["body", "access_groups"]),
        ({"access_groups": None}, ["body", "access_groups"]),
        ({"access_groups": ["chat-a", ["chat-b"]]}, ["body", "access_groups", 1]),
        (["x"] * 1001, ["body", "access_groups"]),
    ],
)
def test_groups_of_another_form_are_refused(acme, operator, body, loc):
    if body == "chat-a":
        body = '"chat-a"'
    assert located(operator.put("/api/teams/acme/access-groups", body)) == [loc]


# --- Markup ------------------------------------------------------------------------------------------------


def test_markup(acme, operator):
    answer = operator.patch(
        "/api/teams/acme/markup",
        {"cost_markup_percentage": 12.5, "budget_mode": "consumption_usd", "credits_per_dollar": 4},
    )

    assert answer.json() == {
        "team_id": "acme",
        "cost_markup_percentage": 12.5,
        "budget_mode": "consumption_usd",
        "credits_per_dollar": 4.0,
        "message": "Markup updated successfully",
    }
    assert billing.plan(acme.team).markup_ppm == 125_000
    assert AuditEntry.objects.filter(action="team.pricing").count() == 1


def test_markup_alone_keeps_the_rest(acme, operator):
    operator.put("/api/teams/acme", {"budget_mode": "consumption_tokens", "tokens_per_credit": 7})

    answer = operator.patch("/api/teams/acme/markup", {"cost_markup_percentage": 1}).json()

    assert answer["budget_mode"] == "consumption_tokens"
    assert billing.plan(acme.team).tokens_per_credit == 7


@pytest.mark.parametrize("body", [{}, {"cost_markup_percentage": None}, {"cost_markup_percentage": "10"}])
def test_markup_of_another_form_is_refused(acme, operator, body):
    assert located(operator.patch("/api/teams/acme/markup", body)) == [["body", "cost_markup_percentage"]]


# --- State -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["put", "post"])
@pytest.mark.parametrize(
    ("action", "status", "done"),
    [("suspend", "suspended", "suspended"), ("pause", "paused", "paused"), ("resume", "active", "resumed")],
)
def test_state_by_put_and_post(acme, operator, verb, action, status, done):
    answer = getattr(operator, verb)(f"/api/teams/acme/{action}")

    assert answer.json() == {"team_id": "acme", "status": status, "message": f"Team 'acme' has been {done}"}
    assert Team.objects.get(team_id="acme").status == status


def test_suspended_team_works_again_when_resumed(acme, operator, team_key):
    operator.put("/api/teams/acme/suspend", {"reason": "unpaid"})
    assert team_key.post("/api/jobs/create", {"team_id": "acme", "job_type": "q"}).status_code == 403

    operator.put("/api/teams/acme/resume")
    virtual_keys.forget_cached()

    assert opened_job(team_key)
    entries = AuditEntry.objects.filter(action="team.status").order_by("created_at", "id")
    assert [(each.after["status"], each.reason) for each in entries] == [("suspended", "unpaid"), ("active", "")]


def test_closed_team_is_not_resumed(acme, operator):
    teams.set_status(acme.team, status="closed", actor=make.TESTER)

    answer = operator.post("/api/teams/acme/resume")

    assert (answer.status_code, answer.json()["detail"]) == (400, "Team 'acme' is closed and cannot be active.")
