"""A job's budget over HTTP: what may be asked for, what every answer says of it, cancelling."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core import clock
from apps.core.clock import iso
from apps.core.models import Event
from apps.jobs import asking, dispatch
from apps.jobs.gateway.interface import Usage
from apps.jobs.models import Call, Job
from apps.jobs.streaming import marks
from apps.teams.models import Team
from apps.virtual_keys import services as virtual_keys
from tests import make
from tests.api.calling import MESSAGES, Caller, ask, located, opened_job
from tests.api.test_streams import Streaming, events_of, piece, stream
from tests.jobs import steps

pytestmark = pytest.mark.usefixtures("worker")


@pytest.fixture
def tokens(db: None, monkeypatch: pytest.MonkeyPatch) -> Caller:
    """A team metered by tokens, ten to a credit; every answer takes 50: 5 credits. A call may take 10 at most."""
    make.platform_model()
    customer = make.customer(team_id="acme", credits=100, budget_mode="consumption_tokens", tokens_per_credit=10)
    steps.take_route(monkeypatch, lambda _: steps.answer(prompt=20, completion=30))
    return Caller(customer.headers)


def call(caller: Caller, job_id: str, text: str = "Hi", **more: Any) -> Any:
    return ask(caller, job_id, messages=[{"role": "user", "content": text}], max_tokens=60, **more)


def job_of(caller: Caller, job_id: str) -> dict[str, Any]:
    return caller.get(f"/api/jobs/{job_id}").json()


# --- What may be asked for ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "exact"), [(5, "5"), ("5", "5"), ("2.5", "2.5"), ("0.000001", "0.000001"), (10**12, "1000000000000")]
)
def test_ceiling_is_whole_or_a_decimal_string(team_key, given: int | str, exact: str):
    answer = team_key.post("/api/jobs/create", {"team_id": "acme", "job_type": "query", "max_credits": given})

    assert answer.json()["escrow"]["max_credits_exact"] == exact


@pytest.mark.parametrize(
    "given", [0, -1, "0", "-1", 2.5, True, "", "1e3", "0.0000001", "NaN", "∞", "٣", 10**12 + 1, [1], " 1"]
)
def test_ceiling_that_is_none_is_refused_and_nothing_opened(team_key, given: Any):
    answer = team_key.post("/api/jobs/create", {"team_id": "acme", "job_type": "query", "max_credits": given})

    assert located(answer) == [["body", "max_credits"]]
    assert Job.objects.count() == 0


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("deadline", 0),
        ("deadline", -5),
        ("deadline", 10**9),
        ("deadline", True),
        ("deadline", 1.5),
        ("deadline", "soon"),
        ("deadline", "2020-01-01T00:00:00Z"),
        ("deadline", "2999-01-01T00:00:00"),
        ("deadline", "9999-12-31T23:59:59-23:00"),
        ("on_cap", "explode"),
        ("reserve", "yes"),
        ("reserve", True),
    ],
)
def test_what_is_wrong_is_named(team_key, field: str, given: Any):
    for path, more in (("create", {}), ("create-and-call", {"messages": MESSAGES})):
        answer = team_key.post(f"/api/jobs/{path}", {"team_id": "acme", "job_type": "query", field: given, **more})
        assert located(answer) == [["body", field]]
    assert not Job.objects.exclude(status="failed").exists()


@pytest.mark.parametrize("is_instant", [True, False])
def test_deadline_is_seconds_or_an_instant(team_key, is_instant: bool):
    given = iso(clock.db_now() + timedelta(hours=1)) if is_instant else 3600

    body = team_key.post("/api/jobs/create", {"team_id": "acme", "job_type": "query", "deadline": given}).json()

    (job,) = Job.objects.all()
    assert (body["deadline"], body["escrow"]) == (iso(job.deadline_at), None)
    assert job.deadline_at is not None
    assert 3500 < (job.deadline_at - clock.db_now()).total_seconds() <= 3600


def test_repeat_of_a_creation_whose_deadline_has_passed_is_a_repeat(team_key):
    body = {"team_id": "acme", "job_type": "query", "deadline": 60, "max_credits": 3}
    first = team_key.post("/api/jobs/create", body, key="k")
    Job.objects.update(deadline_at="2026-01-01T00:00:00Z")

    again = team_key.post("/api/jobs/create", body, key="k")

    assert (again.json()["job_id"], again["Idempotency-Replayed"]) == (first.json()["job_id"], "true")


def test_reservation_that_cannot_be_had_is_403_and_leaves_nothing(team_key):
    answer = team_key.post(
        "/api/jobs/create", {"team_id": "acme", "job_type": "query", "max_credits": 101, "reserve": True}
    )

    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_credits")
    assert Job.objects.count() == 0


# --- At the ceiling -----------------------------------------------------------------------------------------


def test_call_beyond_the_ceiling_is_403_and_says_credit(tokens):
    job_id = opened_job(tokens, max_credits=14)
    assert call(tokens, job_id).status_code == 200

    answer = call(tokens, job_id)

    body = answer.json()
    assert (answer.status_code, body["code"]) == (403, "job_cap_reached")
    assert "credit" in body["detail"]
    assert "max_credits: 14" in body["detail"]
    assert (body["limit"], body["scope"], body["id"]) == ("max_credits", "job", job_id)
    assert body["allowed"] == 14_000_000 < body["needed_micros"]


def test_call_beyond_the_ceiling_is_402_for_openai_s_clients(tokens):
    job_id = opened_job(tokens, max_credits=15)
    ok = tokens.post("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 60}, **{"X-Job-Id": job_id})
    assert (ok.status_code, ok["x-saasllm-escrow-remaining"]) == (200, "10")

    answer = tokens.post("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 60}, **{"X-Job-Id": job_id})

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (402, "insufficient_quota", "job_cap_reached")
    assert answer["x-should-retry"] == "false"


def test_stream_under_v1_says_what_is_left_in_its_last_chunk(tokens, monkeypatch):
    provider = Streaming()
    monkeypatch.setattr(asking, "gateway_for", lambda _: provider)
    said = []
    for budget in ({"max_credits": 50}, {}):
        body = {"messages": MESSAGES, "max_tokens": 60, "stream": True}
        answer = tokens.post("/v1/chat/completions", body, **{"X-Job-Id": opened_job(tokens, **budget)})
        said.append(events_of(answer)[-1]["saasllm"].get("escrow_remaining"))

    # Of 15 tokens, at the minimum of a credit.
    assert said == ["49", None]


def test_answer_under_v1_without_a_ceiling_says_nothing_of_one(tokens):
    answer = tokens.post("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 60})

    assert "x-saasllm-escrow-remaining" not in answer


def test_b6_run_of_many_calls_pauses_at_its_cap_loses_nothing_and_goes_on_when_raised(tokens):
    """B6: a run has a budget of its own; at the cap it pauses with an event, is raised, and goes on; what is left is
    on every answer."""
    job_id = opened_job(tokens, max_credits=19, on_cap="pause")
    left = [call(tokens, job_id, f"step {number}").json()["escrow"]["remaining"] for number in range(2)]
    assert left == [14, 9]

    assert call(tokens, job_id, "step 2").status_code == 403

    paused = job_of(tokens, job_id)
    assert (paused["status"], paused["paused_reason"], paused["escrow"]["used"]) == ("in_progress", "budget", 10)
    assert [entry["status"] for entry in paused["calls"]] == ["succeeded", "succeeded"]
    assert Event.objects.filter(kind="job.budget_paused", subject=f"job:{job_id}").count() == 1
    raised = tokens.patch(f"/api/jobs/{job_id}", {"max_credits": 40})
    assert (raised.status_code, raised.json()["paused_reason"], raised.json()["escrow"]["remaining"]) == (
        200,
        None,
        30,
    )
    assert Event.objects.filter(kind="job.resumed", subject=f"job:{job_id}").count() == 1
    assert call(tokens, job_id, "step 2").json()["escrow"]["remaining"] == 25
    done = tokens.post(f"/api/jobs/{job_id}/complete", {"status": "completed"}).json()
    assert (done["costs"]["credits_charged"], done["escrow"]["remaining"], done["total_calls"]) == ("15", 25, 3)


def test_b4_stream_ends_with_length_and_usage_at_what_its_job_may_hold(tokens, monkeypatch):
    """B4: a stream whose provider does not stop is cut at the hold, which the ceiling bounds, and charged no more."""
    provider = Streaming()
    monkeypatch.setattr(asking, "gateway_for", lambda _: provider)
    provider.script = [piece("four byte " * 20) for _ in range(50)] + [piece(finish="stop", usage=Usage(1, 2500))]
    job_id = opened_job(tokens, max_credits=20)

    events = events_of(stream(tokens, job_id, max_tokens=100))

    assert events[-1]["choices"][0]["finish_reason"] == "length"
    assert 0 < events[-1]["usage"]["completion_tokens"] <= 100
    escrow = events[-1]["escrow"]
    assert escrow["used"] + escrow["remaining"] == 20
    assert provider.is_closed
    done = tokens.post(f"/api/jobs/{job_id}/complete", {"status": "completed"}).json()
    assert float(done["costs"]["credits_charged"]) == escrow["used"] <= 20


def test_b4_stream_that_might_outrun_its_job_is_not_begun(tokens):
    """B4: what cannot be held is refused before the first byte."""
    job_id = opened_job(tokens, max_credits=20)

    answer = stream(tokens, job_id, max_tokens=1_000)

    assert (answer.status_code, answer.json()["code"]) == (403, "job_cap_reached")


# --- Every answer -------------------------------------------------------------------------------------------

ESCROW = {
    "max_credits",
    "held",
    "used",
    "remaining",
    "max_credits_exact",
    "held_exact",
    "used_exact",
    "remaining_exact",
    "reserve",
    "on_cap",
    "deadline",
}


def answers(caller: Caller, **budget: Any) -> dict[str, dict[str, Any]]:
    """One of each answer of a job."""
    opened = caller.post("/api/jobs/create", {"team_id": "acme", "job_type": "query", **budget}).json()
    job_id = opened["job_id"]
    called = call(caller, job_id).json()
    one = {"team_id": "acme", "job_type": "query", "messages": MESSAGES, "max_tokens": 60, **budget}
    return {
        "create": opened,
        "llm-call": called,
        "llm-call again": call(caller, job_id, "B", key=None).json(),
        "call": caller.get(f"/api/jobs/{job_id}/calls/{called['call_id']}").json(),
        "job": job_of(caller, job_id),
        "patch": caller.patch(f"/api/jobs/{job_id}", {}).json(),
        "list": caller.get("/api/teams/acme/jobs").json()["jobs"][0],
        "complete": caller.post(f"/api/jobs/{job_id}/complete", {"status": "completed"}).json(),
        "cancel": caller.post(f"/api/jobs/{job_id}/cancel").json(),
        "create-and-call": caller.post("/api/jobs/create-and-call", one).json(),
    }


def test_every_answer_says_what_is_left(tokens):
    for name, body in answers(tokens, max_credits=50, on_cap="pause", deadline=600).items():
        assert set(body["escrow"]) == ESCROW, name
        assert (body["escrow"]["max_credits"], body["escrow"]["on_cap"]) == (50, "pause"), name
        assert body["escrow"]["deadline"].endswith("Z"), name


def test_every_answer_of_a_job_without_a_ceiling_says_null(tokens):
    assert {name: body["escrow"] for name, body in answers(tokens).items() if body["escrow"] is not None} == {}


def test_repeated_and_attached_calls_say_what_is_left_too(tokens):
    job_id = opened_job(tokens, max_credits=50)
    body = {"messages": MESSAGES, "max_tokens": 60}
    for _ in range(2):
        answer = tokens.post(f"/api/jobs/{job_id}/llm-call", body, key="k")
        assert answer.json()["escrow"]["remaining"] == 45

    Call.objects.update(unanswered_at=clock.db_now())
    attached = tokens.post(f"/api/jobs/{job_id}/llm-call", body)
    # Not by the key's request, whose path and body are the same.
    assert attached.json()["escrow"]["remaining"] == 45
    assert Call.objects.count() == 1


def test_call_asks_no_more_of_the_database_for_a_ceiling(team_key):
    plain, capped = opened_job(team_key), opened_job(team_key, max_credits=5)
    for job_id in (plain, capped):
        assert call(team_key, job_id).status_code == 200

    counts = []
    for job_id in (plain, capped):
        with CaptureQueriesContext(connection) as captured:
            assert call(team_key, job_id, "again").status_code == 200
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_stream_asks_no_more_of_the_database_without_a_ceiling(team_key, monkeypatch):
    provider = Streaming()
    monkeypatch.setattr(asking, "gateway_for", lambda _: provider)
    job_id = opened_job(team_key)
    events_of(stream(team_key, job_id))

    with CaptureQueriesContext(connection) as captured:
        assert events_of(stream(team_key, job_id))[-1]["escrow"] is None

    whole_jobs = [query for query in captured if 'SELECT "jobs_job"' in query["sql"] and "LIMIT 21" in query["sql"]]
    # Read by an attribute that was not loaded.
    assert whole_jobs == []


# --- Changing -----------------------------------------------------------------------------------------------


def test_budget_is_changed_field_by_field(tokens):
    job_id = opened_job(tokens, max_credits=20)

    body = tokens.patch(f"/api/jobs/{job_id}", {"on_cap": "pause", "deadline": 60}).json()
    assert (body["escrow"]["max_credits"], body["escrow"]["on_cap"]) == (20, "pause")
    assert body["deadline"] is not None
    body = tokens.patch(f"/api/jobs/{job_id}", {"deadline": None, "max_credits": "30.5", "reserve": True}).json()
    assert (body["deadline"], body["escrow"]["held_exact"]) == (None, "30.5")
    body = tokens.patch(f"/api/jobs/{job_id}", {"reserve": False, "max_credits": None}).json()
    assert body["escrow"] is None
    assert Job.objects.get().held_micros == 0


def test_ceiling_below_what_is_needed_is_400_with_the_figure(tokens):
    job_id = opened_job(tokens, max_credits=50)
    call(tokens, job_id)

    answer = tokens.patch(f"/api/jobs/{job_id}", {"max_credits": 4})

    assert (answer.status_code, answer.json()["code"]) == (400, "max_credits_too_low")
    assert "at least 5" in answer.json()["detail"]


def test_only_the_team_changes_its_job(tokens, stranger, operator):
    job_id = opened_job(tokens, max_credits=50)

    assert stranger.patch(f"/api/jobs/{job_id}", {"max_credits": 60}).status_code == 404
    assert operator.patch(f"/api/jobs/{job_id}", {"max_credits": 60}).status_code == 403
    assert tokens.patch(f"/api/jobs/{job_id}/costs", {"max_credits": 60}).status_code == 405


def test_closed_job_is_400_as_for_calls(tokens):
    job_id = opened_job(tokens, max_credits=50)
    tokens.post(f"/api/jobs/{job_id}/complete", {"status": "completed"})

    answer = tokens.patch(f"/api/jobs/{job_id}", {"max_credits": 60})

    assert (answer.status_code, answer.json()["code"]) == (400, "job_closed")


def test_key_that_may_only_read_changes_nothing(tokens):
    _, secret = virtual_keys.issue(Team.objects.get(team_id="acme"), scopes=["read"], actor=make.TESTER)
    reader = Caller({"Authorization": f"Bearer {secret}"})
    job_id = opened_job(tokens, max_credits=50)

    for answer in (
        reader.patch(f"/api/jobs/{job_id}", {"max_credits": 60}),
        reader.post(f"/api/jobs/{job_id}/cancel"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
    assert Job.objects.get().status == "pending"


# --- The deadline -------------------------------------------------------------------------------------------


def test_call_after_the_deadline_is_400(tokens):
    job_id = opened_job(tokens, deadline=60)
    Job.objects.update(deadline_at="2026-01-01T00:00:00Z")

    answer = call(tokens, job_id)

    assert (answer.status_code, answer.json()["code"]) == (400, "job_deadline_passed")


# --- Cancelling ---------------------------------------------------------------------------------------------


def test_cancelled_job_is_free_and_answers_like_complete(tokens):
    job_id = opened_job(tokens, max_credits=50)
    call(tokens, job_id)

    answer = tokens.post(f"/api/jobs/{job_id}/cancel", {"reason": "not needed"})

    body = answer.json()
    assert (answer.status_code, body["status"], body["costs"]["credit_applied"]) == (200, "cancelled", False)
    assert set(body) == set(tokens.post(f"/api/jobs/{job_id}/complete", {"status": "completed"}).json())
    job = job_of(tokens, job_id)
    assert (job["status"], job["error_message"], job["costs"]["credits_exact"]) == ("cancelled", "not needed", "100")
    assert call(tokens, job_id).json()["code"] == "job_closed"


def test_cancelling_is_repeated_without_effect_and_never_turns_a_verdict(tokens):
    job_id = opened_job(tokens)
    call(tokens, job_id)
    tokens.post(f"/api/jobs/{job_id}/complete", {"status": "completed"})

    for key in ("a", "a", None):
        body = tokens.post(f"/api/jobs/{job_id}/cancel", key=key).json()
        assert (body["status"], body["costs"]["credits_charged"]) == ("completed", "5")


def test_foreign_job_is_not_cancelled(tokens, stranger):
    job_id = opened_job(tokens)

    assert stranger.post(f"/api/jobs/{job_id}/cancel").status_code == 404
    assert job_of(tokens, job_id)["status"] == "pending"


@pytest.mark.parametrize("path", ["llm-call", "llm-call-stream"])
def test_caller_whose_job_is_cancelled_meanwhile_is_told_at_once_and_not_to_ask_again(tokens, monkeypatch, path: str):
    job_id = opened_job(tokens)

    def cancelled_before_a_worker_takes_it(_: Any) -> int:
        tokens.post(f"/api/jobs/{job_id}/cancel")
        return 0

    monkeypatch.setattr(dispatch, "publish", cancelled_before_a_worker_takes_it)

    answer = tokens.post(f"/api/jobs/{job_id}/{path}", {"messages": MESSAGES, "max_tokens": 60})

    assert (answer.status_code, answer.json()["detail"]) == (400, "LLM call failed: its job was cancelled")
    assert Call.objects.get().state == "cancelled"


def test_stream_of_a_cancelled_job_is_broken_off(tokens, monkeypatch):
    provider = Streaming()
    monkeypatch.setattr(asking, "gateway_for", lambda _: provider)
    job_id = opened_job(tokens, max_credits=50)

    def cancel() -> None:
        tokens.post(f"/api/jobs/{job_id}/cancel")
        marks.save()

    provider.script = [piece("Some words"), cancel, piece("more"), piece("never sent"), piece(finish="stop")]

    events = events_of(stream(tokens, job_id, max_tokens=100))

    assert "never sent" not in json.dumps(events)
    assert provider.is_closed
    job = Job.objects.get()
    assert (job.status, job.open_calls, job.held_micros, job.charged_micros) == ("cancelled", 0, 0, 0)
