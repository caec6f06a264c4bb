"""Operators' lists of a team's jobs."""

import pytest

from apps.jobs.models import CallPayload, Job
from tests import make
from tests.analytics import rows
from tests.api.calling import located

LIST = "/api/jobs/teams/acme"
CALL = {"model": "fast", "cost": 2_000_000, "tokens": (30, 12), "latency_ms": 40, "provider": "openai"}


def ids(answer):
    assert answer.status_code == 200, answer.content
    return [job["job_id"] for job in answer.json()["jobs"]]


def test_a_job_is_summed_up(acme, operator):
    job = rows.job(
        acme,
        "15 12:00",
        (
            CALL | {"purpose": "draft"},
            CALL | {"purpose": "draft"},
            CALL | {"purpose": "check", "state": "failed"},
        ),
        credits=2,
        markup=50,
        user_id="ann",
        metadata={"a": 1},
        lost_cost_nanousd=5_000,
    )

    body = operator.get(LIST).json()

    assert {name: body[name] for name in ("total", "page", "page_size", "total_pages")} == {
        "total": 1,
        "page": 1,
        "page_size": 20,
        "total_pages": 1,
    }
    assert body["jobs"] == [
        {
            "job_id": str(job.pk),
            "team_id": "acme",
            "user_id": "ann",
            "job_type": "query",
            "status": "completed",
            "created_at": "2026-03-15T12:00:00.000Z",
            "completed_at": "2026-03-15T12:01:00.000Z",
            "total_calls": 3,
            "successful_calls": 2,
            "failed_calls": 1,
            "retry_count": 1,
            "total_tokens": 84,
            "total_cost_usd": 0.006,
            "provider_cost_usd": 0.004,
            "lost_cost_usd": 0.000005,
            "avg_latency_ms": 40,
            "credit_applied": True,
            "credits_charged": "2",
            "job_metadata": {"a": 1},
        }
    ]


def test_jobs_without_calls_are_listed_too(acme, operator):
    job = rows.job(acme, status="pending")

    assert ids(operator.get(LIST)) == [str(job.pk)]
    assert operator.get(LIST).json()["jobs"][0]["retry_count"] == 0


def test_lists_are_paged_newest_first(acme, operator, globex):
    made = [rows.job(acme, str(day)) for day in range(1, 6)]
    rows.job(globex)

    page = operator.get(LIST, page=2, page_size=2).json()

    assert [job["job_id"] for job in page["jobs"]] == [str(made[2].pk), str(made[1].pk)]
    assert (page["total"], page["total_pages"], page["page"]) == (5, 3, 2)
    assert ids(operator.get(LIST, page=99)) == []


def test_lists_are_filtered(acme, operator):
    done = rows.job(acme, "1", job_type="report")
    paused = rows.job(acme, "2 23:59", status="paused", paused_reason="cap")
    failed = rows.job(acme, "3", status="failed")

    def found(**query):
        return ids(operator.get(LIST, **query))

    assert found(status="COMPLETED") == [str(done.pk)]
    assert found(status="in_progress") == [str(paused.pk)]
    assert found(job_type="report") == [str(done.pk)]
    assert found(start_date="2026-03-02", end_date="2026-03-02") == [str(paused.pk)]
    assert found(start_date="2026-03-02") == [str(failed.pk), str(paused.pk)]
    assert found(status="", job_type="query", end_date="2026-03-02") == [str(paused.pk)]


@pytest.mark.parametrize("cut", [slice(None), slice(20, None), slice(11, 22), slice(-5, None)])
def test_a_part_of_an_id_finds_its_job(acme, operator, cut):
    job = rows.job(acme)
    Job.objects.bulk_create([Job(team=acme.team, organization=acme.organization, job_type="query") for _ in range(3)])

    assert str(job.pk) in ids(operator.get(LIST, job_id_filter=str(job.pk)[cut].upper()))
    assert ids(operator.get(LIST, job_id_filter=str(job.pk))) == [str(job.pk)]


@pytest.mark.parametrize("part", ["xyz", "%", "_", "'", "\\"])
def test_what_is_in_no_id_finds_nothing(acme, operator, part):
    rows.job(acme)

    assert ids(operator.get(LIST, job_id_filter=part)) == []


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ({"status": "done"}, "Invalid status: done. Must be one of: pending, in_progress, completed, failed"),
        ({"start_date": "soon"}, "Invalid start_date format: soon. Use ISO format (YYYY-MM-DD)"),
        ({"end_date": "2026-02-30"}, "Invalid end_date format: 2026-02-30. Use ISO format (YYYY-MM-DD)"),
    ],
)
def test_bad_filters_are_refused_in_the_contracts_words(acme, operator, query, detail):
    answer = operator.get(LIST, **query)

    assert (answer.status_code, answer.json()["detail"]) == (400, detail)


@pytest.mark.parametrize(
    ("name", "value"),
    [("page", "0"), ("page", "x"), ("page_size", "0"), ("page_size", "101"), ("job_type", ""), ("page", "9" * 50)],
)
def test_bad_pages_are_refused(acme, operator, name, value):
    assert located(operator.get(LIST, **{name: value})) == [["query", name]]


def test_a_jobs_calls_are_shown_with_costs_prices_and_texts(acme, operator):
    job = rows.job(acme, "15", (CALL | {"alias": "fast-1", "resolved_model": "gpt-x"},), markup=50)
    call = job.calls.get()
    call.input_nanousd_per_mtok, call.output_nanousd_per_mtok = 10**9, 4 * 10**9
    call.save()
    CallPayload.objects.create(call=call, request='{"messages": []}', response='{"choices": []}')

    body = operator.get(f"{LIST}/{job.pk}").json()

    assert (body["job"]["job_id"], body["job"]["total_calls"]) == (str(job.pk), 1)
    assert body["calls"] == [
        {
            "call_id": str(call.pk),
            "status": "succeeded",
            "model_used": "fast-1",
            "model_group_used": "fast",
            "resolved_model": "gpt-x",
            "provider": "openai",
            "purpose": None,
            "prompt_tokens": 30,
            "completion_tokens": 12,
            "total_tokens": 42,
            "cost_usd": 0.002,
            "input_cost_usd": 0.00003,
            "output_cost_usd": 0.000048,
            "provider_cost_usd": 0.002,
            "client_cost_usd": 0.003,
            "model_pricing_input": 1.0,
            "model_pricing_output": 4.0,
            "latency_ms": 40,
            "created_at": "2026-03-15T12:00:00.000Z",
            "error": None,
            "request_data": {"messages": []},
            "response_data": {"choices": []},
        }
    ]


def test_texts_past_retention_are_null(acme, operator):
    job = rows.job(acme, "15", (CALL,))

    (call,) = operator.get(f"{LIST}/{job.pk}").json()["calls"]

    assert (call["request_data"], call["response_data"], call["input_cost_usd"]) == (None, None, None)


def test_calls_are_paged(acme, operator):
    job = rows.job(acme, "15", (CALL, CALL, CALL))

    assert len(operator.get(f"{LIST}/{job.pk}", limit=2, offset=2).json()["calls"]) == 1


def test_another_teams_job_is_not_found(acme, globex, operator):
    job = rows.job(globex)

    assert operator.get(f"{LIST}/{job.pk}").json()["code"] == "job_not_found"
    assert operator.get(f"{LIST}/nonsense").json()["code"] == "job_not_found"
    assert operator.get("/api/jobs/teams/nobody").status_code == 404


@pytest.mark.parametrize("word", ["complete", "costs", "metadata", "llm-call", "calls"])
def test_a_team_may_be_called_as_another_route_ends(operator, word):
    customer = make.customer(team_id=word)
    job = rows.job(customer)

    assert ids(operator.get(f"/api/jobs/teams/{word}")) == [str(job.pk)]


def test_keys_and_strangers_get_nothing(acme, team_key, nobody):
    job = rows.job(acme)
    for path in (LIST, f"{LIST}/{job.pk}"):
        assert [caller.get(path).status_code for caller in (team_key, nobody)] == [401, 401]


@pytest.mark.parametrize("number", [1, 15])
def test_a_list_takes_a_constant_number_of_queries(acme, operator, number, django_assert_num_queries):
    for _ in range(number):
        rows.job(acme, calls=(CALL, CALL))

    with django_assert_num_queries(4):
        operator.get(LIST)
