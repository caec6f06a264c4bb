"""Jobs over HTTP: create, complete, read, list, metadata, costs."""

import uuid

import pytest

from apps.credits import billing
from apps.credits.models import BillingSettings, Entry
from apps.jobs.models import Job
from apps.virtual_keys import services as virtual_keys
from tests import make
from tests.api.calling import MESSAGES, Caller, ask, finished_job, located, opened_job

JOB = {
    "job_id",
    "team_id",
    "user_id",
    "job_type",
    "status",
    "created_at",
    "started_at",
    "completed_at",
    "metadata",
    "error_message",
    "organization_id",
    "external_task_id",
    "credit_applied",
    "model_groups_used",
}
COSTS = {
    "total_calls",
    "successful_calls",
    "failed_calls",
    "total_tokens",
    "total_cost_usd",
    "avg_latency_ms",
    "credit_applied",
    "credits_remaining",
}


def complete(caller, job_id, status="completed", **more):
    return caller.post(f"/api/jobs/{job_id}/complete", {"status": status, **more})


# --- Create ------------------------------------------------------------------------------------------------


def test_created_job(acme, team_key):
    body = {"team_id": "acme", "job_type": "query", "user_id": "u-1", "metadata": {"a": 1}}

    answer = team_key.post("/api/jobs/create", body).json()

    assert uuid.UUID(answer["job_id"])
    assert (answer["team_id"], answer["status"]) == ("acme", "pending")
    assert answer["created_at"].endswith("Z")
    job = Job.objects.get()
    assert (job.user_id, job.metadata, job.organization) == ("u-1", {"a": 1}, acme.organization)


def test_job_can_be_created_without_credits(db):
    poor = Caller(make.customer(team_id="poor", credits=0).headers)

    assert opened_job(poor, "poor")


@pytest.mark.parametrize(
    ("more", "loc"),
    [
        ({"job_type": None}, ["body", "job_type"]),
        ({"job_type": ""}, ["body", "job_type"]),
        ({"job_type": "x" * 101}, ["body", "job_type"]),
        ({"job_type": 5}, ["body", "job_type"]),
        ({"team_id": 5}, ["body", "team_id"]),
        ({"user_id": "x" * 256}, ["body", "user_id"]),
        ({"metadata": "text"}, ["body", "metadata"]),
        ({"metadata": {"a": "x" * 10_240}}, ["body", "metadata"]),
    ],
)
def test_job_with_a_wrong_field_is_not_created(team_key, more, loc):
    answer = team_key.post("/api/jobs/create", {"team_id": "acme", "job_type": "q", **more})

    assert located(answer) == [loc]
    assert Job.objects.count() == 0


# --- Complete ----------------------------------------------------------------------------------------------


def test_completed_job_in_full(acme, team_key, worker):
    job_id = opened_job(team_key)
    for purpose in ("outline", "draft"):
        ask(team_key, job_id, purpose=purpose)

    answer = complete(team_key, job_id)

    assert answer.status_code == 200
    body = answer.json()
    assert (body["job_id"], body["status"]) == (job_id, "completed")
    assert body["completed_at"].endswith("Z")
    costs = body["costs"]
    assert set(costs) >= COSTS
    assert (costs["total_calls"], costs["successful_calls"], costs["failed_calls"]) == (2, 2, 0)
    assert (costs["credit_applied"], costs["credits_remaining"]) == (True, 99)
    assert isinstance(costs["credits_remaining"], int)
    assert isinstance(costs["avg_latency_ms"], int)
    assert costs["total_tokens"] > 0
    assert (body["credits_remaining"], body["total_calls"], body["charge_pending"]) == (99, 2, False)
    assert [call["purpose"] for call in body["calls"]] == ["outline", "draft"]
    assert set(body["calls"][0]) >= {"call_id", "purpose", "model_group", "tokens", "latency_ms", "error"}
    assert (body["calls"][0]["model_group"], body["calls"][0]["error"]) == ("chat-default", None)


@pytest.mark.parametrize("status", ["completed", "COMPLETED", "Failed"])
def test_status_is_taken_in_any_case(team_key, worker, status):
    assert complete(team_key, opened_job(team_key), status).json()["status"] == status.lower()


@pytest.mark.parametrize("status", ["done", "cancelled", "", None, 1])
def test_another_status_is_refused(team_key, status):
    job_id = opened_job(team_key)

    assert located(complete(team_key, job_id, status)) == [["body", "status"]]
    assert Job.objects.get().status == "pending"


def test_second_completion_changes_nothing(team_key, worker):
    job_id = opened_job(team_key)
    ask(team_key, job_id)

    first = complete(team_key, job_id)
    again = complete(team_key, job_id)
    other = complete(team_key, job_id, "failed", error_message="no")

    assert first.json() == again.json() == other.json()
    assert Entry.objects.filter(kind="charge").count() == 1


def test_failed_job_costs_nothing_and_says_why(team_key, worker):
    job_id = opened_job(team_key)
    ask(team_key, job_id)

    body = complete(team_key, job_id, "failed", error_message="user cancelled").json()

    assert (body["status"], body["costs"]["credit_applied"], body["costs"]["credits_remaining"]) == (
        "failed",
        False,
        100,
    )
    assert team_key.get(f"/api/jobs/{job_id}").json()["error_message"] == "user cancelled"


def test_job_without_calls_costs_nothing(team_key):
    costs = complete(team_key, opened_job(team_key)).json()["costs"]

    assert {name: costs[name] for name in sorted(COSTS)} == {
        "avg_latency_ms": 0,
        "credit_applied": False,
        "credits_remaining": 100,
        "failed_calls": 0,
        "successful_calls": 0,
        "total_calls": 0,
        "total_cost_usd": 0.0,
        "total_tokens": 0,
    }


def test_metadata_and_result_of_completion_persist(team_key):
    job_id = opened_job(team_key, metadata={"kept": 1, "changed": 1})

    complete(team_key, job_id, metadata={"changed": 2}, result={"answer": 42})

    metadata = team_key.get(f"/api/jobs/{job_id}").json()["metadata"]
    assert metadata == {"kept": 1, "changed": 2, "result": {"answer": 42}}


@pytest.mark.parametrize(
    ("more", "loc"),
    [
        ({"error_message": "x" * 1001}, ["body", "error_message"]),
        ({"metadata": [1]}, ["body", "metadata"]),
        ({"result": "text"}, ["body", "result"]),
        ({"metadata": {"a": "x" * 10_240}}, ["body", "metadata"]),
    ],
)
def test_completion_with_a_wrong_field_leaves_the_job_open(team_key, more, loc):
    job_id = opened_job(team_key)

    assert located(complete(team_key, job_id, **more)) == [loc]
    assert Job.objects.get().status == "pending"


def test_completion_before_the_answer_is_no_free_ride(team_key, no_worker):
    job_id = opened_job(team_key)
    assert team_key.post(f"/api/jobs/{job_id}/llm-call", {"messages": MESSAGES}, Prefer="wait=0").status_code == 503

    body = complete(team_key, job_id).json()

    assert (body["status"], body["charge_pending"]) == ("completed", True)
    assert (body["costs"]["credit_applied"], body["costs"]["credits_remaining"], body["costs"]["credits_held"]) == (
        False,
        99,
        1,
    )


# --- Read --------------------------------------------------------------------------------------------------


def test_job_through_its_life(acme, team_key, worker):
    job_id = opened_job(team_key, user_id="u-1")
    path = f"/api/jobs/{job_id}"

    pending = team_key.get(path).json()
    ask(team_key, job_id)
    running = team_key.get(path).json()
    complete(team_key, job_id)
    done = team_key.get(path).json()

    assert set(pending) >= JOB | {"costs", "calls"}
    assert (pending["status"], pending["started_at"], pending["completed_at"]) == ("pending", None, None)
    assert (running["status"], running["completed_at"]) == ("in_progress", None)
    assert running["started_at"].endswith("Z")
    assert (done["status"], done["credit_applied"], done["model_groups_used"]) == (
        "completed",
        True,
        ["chat-default"],
    )
    assert (done["user_id"], done["organization_id"]) == ("u-1", acme.organization.organization_id)
    assert len(done["calls"]) == 1
    assert done["costs"]["total_calls"] == 1


def test_paused_job_is_in_progress_on_the_wire(team_key):
    job_id = opened_job(team_key)
    Job.objects.update(status="paused", paused_reason="review")

    body = team_key.get(f"/api/jobs/{job_id}").json()

    assert (body["status"], body["paused_reason"]) == ("in_progress", "review")


def test_operator_reads_any_job(team_key, operator, worker):
    job_id = finished_job(team_key)

    assert operator.get(f"/api/jobs/{job_id}").json() == team_key.get(f"/api/jobs/{job_id}").json()
    assert operator.get(f"/api/jobs/{job_id}/costs").status_code == 200


def test_reading_a_job_takes_a_constant_number_of_queries(team_key, worker, django_assert_num_queries):
    job_id = opened_job(team_key)
    ask(team_key, job_id)
    for _ in range(2):
        with django_assert_num_queries(4):
            team_key.get(f"/api/jobs/{job_id}")
        for number in range(3):
            ask(team_key, job_id, purpose=str(number))


# --- List --------------------------------------------------------------------------------------------------


def test_jobs_are_listed_newest_first_with_the_true_total(team_key, operator):
    ids = [opened_job(team_key) for _ in range(3)]

    listed = team_key.get("/api/teams/acme/jobs").json()
    page = operator.get("/api/teams/acme/jobs?limit=1&offset=1").json()

    assert (listed["team_id"], listed["total"]) == ("acme", 3)
    assert [job["job_id"] for job in listed["jobs"]] == ids[::-1]
    assert set(listed["jobs"][0]) >= JOB
    assert (page["total"], [job["job_id"] for job in page["jobs"]]) == (3, [ids[1]])


@pytest.mark.parametrize("status", ["completed", "COMPLETED", "Completed"])
def test_jobs_by_status_in_any_case(team_key, worker, status):
    opened_job(team_key)
    done = finished_job(team_key)

    listed = team_key.get(f"/api/teams/acme/jobs?status={status}").json()

    assert (listed["total"], [job["job_id"] for job in listed["jobs"]]) == (1, [done])


def test_paused_jobs_are_listed_as_in_progress(team_key):
    opened_job(team_key)
    Job.objects.update(status="paused")

    assert team_key.get("/api/teams/acme/jobs?status=in_progress").json()["total"] == 1


@pytest.mark.parametrize("status", ["gone", "paused", "%00"])
def test_jobs_of_an_unknown_status_are_refused(team_key, status):
    assert located(team_key.get(f"/api/teams/acme/jobs?status={status}")) == [["query", "status"]]


def test_another_teams_jobs_are_not_listed(team_key, stranger):
    opened_job(stranger, "globex")

    found = team_key.get("/api/teams/acme/jobs").json()
    assert (found["team_id"], found["total"], found["jobs"]) == ("acme", 0, [])


def test_job_list_takes_a_constant_number_of_queries(team_key, django_assert_num_queries, monkeypatch):
    # However slow the machine: the key's own query is not what is counted.
    monkeypatch.setattr(virtual_keys._cache, "_seconds", 3600)
    opened_job(team_key)
    for _ in range(2):
        with django_assert_num_queries(3):
            team_key.get("/api/teams/acme/jobs")
        for _ in range(5):
            opened_job(team_key)


# --- Metadata ----------------------------------------------------------------------------------------------


def test_metadata_is_merged(team_key):
    job_id = opened_job(team_key, metadata={"a": 1, "b": 1})

    body = team_key.patch(f"/api/jobs/{job_id}/metadata", {"metadata": {"b": 2, "c": {"d": 3}}}).json()

    assert (body["job_id"], body["metadata"]) == (job_id, {"a": 1, "b": 2, "c": {"d": 3}})
    assert body["updated_at"].endswith("Z")
    assert team_key.get(f"/api/jobs/{job_id}").json()["metadata"] == body["metadata"]


def test_metadata_past_the_limit_is_refused_whole(team_key):
    job_id = opened_job(team_key, metadata={"a": "x" * 6000})

    answer = team_key.patch(f"/api/jobs/{job_id}/metadata", {"metadata": {"b": "x" * 6000}})

    assert located(answer) == [["body", "metadata"]]
    assert list(team_key.get(f"/api/jobs/{job_id}").json()["metadata"]) == ["a"]


@pytest.mark.parametrize("body", [{}, {"metadata": None}, {"metadata": []}, {"metadata": "a"}])
def test_metadata_must_be_an_object(team_key, body):
    assert located(team_key.patch(f"/api/jobs/{opened_job(team_key)}/metadata", body)) == [["body", "metadata"]]


# --- Costs -------------------------------------------------------------------------------------------------


@pytest.fixture
def priced(db):
    """A customer whose model costs $1 and $2 a million tokens, with a markup of half as much again."""
    make.alias("priced", input_usd_per_mtok=100, output_usd_per_mtok=200, is_default=True, is_open=True)
    return make.metered_customer(team_id="priced", credits=100, cost_markup_percentage=50)


def test_costs_are_the_clients_with_markup(priced, operator, worker):
    caller = Caller(priced.headers)
    job_id = opened_job(caller, "priced")
    ask(caller, job_id, max_tokens=100)
    usage = Job.objects.get()
    provider_usd = (usage.prompt_tokens * 100 + usage.completion_tokens * 200) / 1_000_000

    body = caller.get(f"/api/jobs/{job_id}/costs").json()

    assert {name: body[name] for name in ("job_id", "team_id", "job_type", "status")} == {
        "job_id": job_id,
        "team_id": "priced",
        "job_type": "query",
        "status": "in_progress",
    }
    assert body["costs"]["total_cost_usd"] == pytest.approx(provider_usd * 1.5, abs=1e-6)
    (line,) = body["costs"]["breakdown"]
    assert set(line) == {
        "call_id",
        "model",
        "purpose",
        "prompt_tokens",
        "completion_tokens",
        "cost_usd",
        "created_at",
    }
    assert line["cost_usd"] == pytest.approx(provider_usd * 1.5, abs=1e-8)
    assert line["model"] == "priced"
    assert operator.get(f"/api/jobs/{job_id}/costs").json() == body


def test_costs_can_be_hidden_from_keys(priced, operator, worker):
    caller = Caller(priced.headers)
    job_id = opened_job(caller, "priced")
    ask(caller, job_id, max_tokens=100)
    BillingSettings.objects.update_or_create(team=priced.team, defaults={"show_costs": False})

    hidden, shown = (who.get(f"/api/jobs/{job_id}/costs").json()["costs"] for who in (caller, operator))

    assert (hidden["total_cost_usd"], hidden["breakdown"][0]["cost_usd"]) == (None, None)
    assert shown["total_cost_usd"] > 0
    assert caller.get(f"/api/jobs/{job_id}").json()["costs"]["total_cost_usd"] is None
    assert complete(caller, job_id).json()["costs"]["total_cost_usd"] is None


def test_provider_models_and_costs_are_nowhere_in_what_a_key_sees(priced, worker):
    caller = Caller(priced.headers)
    job_id = opened_job(caller, "priced")
    answers = [ask(caller, job_id, max_tokens=100), complete(caller, job_id)]
    call_id = answers[0].json()["call_id"]
    paths = ["", "/costs", f"/calls/{call_id}"]
    answers += [caller.get(f"/api/jobs/{job_id}{path}") for path in paths] + [caller.get("/api/teams/priced/jobs")]

    assert all(answer.status_code == 200 for answer in answers)
    assert not [answer for answer in answers if b"provider" in answer.content]


def test_completing_never_refuses_for_lack_of_credits(priced, worker):
    """The provider was paid before: what is not there is left uncollected, and the answer is 200 with costs."""
    caller = Caller(priced.headers)
    job_id = opened_job(caller, "priced")
    ask(caller, job_id, max_tokens=100)
    Job.objects.update(provider_cost_nanousd=10**12)

    answer = complete(caller, job_id)

    assert (answer.status_code, answer.json()["costs"]["credits_remaining"]) == (200, 0)
    assert billing.balance(priced.team).spendable_micros == 0


def test_numbers_beyond_64_bits_are_shown_as_they_are_kept(team_key, worker):
    job_id = opened_job(team_key, metadata={"n": 1e20})
    for path, body in (
        ("llm-call", {"messages": MESSAGES, "call_metadata": {"m": 1e300}}),
        ("complete", {"status": "completed"}),
    ):
        assert team_key.post(f"/api/jobs/{job_id}/{path}", body).status_code == 200

    answer = team_key.get(f"/api/jobs/{job_id}")

    assert answer.status_code == 200
    # As an integer or not: that is the database's.
    assert {name: float(value) for name, value in answer.json()["metadata"].items()} == {"n": 1e20, "m": 1e300}
    assert team_key.patch(f"/api/jobs/{job_id}/metadata", {"metadata": {"o": 1}}).status_code == 200
