"""LLM calls over HTTP: the answer's shape, what is passed on, how failures look, waiting and asking again."""

import orjson
import pytest

from apps.jobs import asking, execution, replies, services
from apps.jobs.errors import ServerBusy
from apps.jobs.gateway.interface import GatewayError
from apps.jobs.models import Call, CallPayload, Job
from tests import make
from tests.api.calling import MESSAGES, Caller, ask, located, opened_job


def create_and_call(caller, **more):
    key = more.pop("key", None)
    body = {"team_id": "acme", "job_type": "query", "messages": MESSAGES, **more}
    return caller.post("/api/jobs/create-and-call", body, key=key)


@pytest.fixture
def failing(worker, monkeypatch):
    """A provider that fails as told."""

    def fail_with(code="provider_unavailable", reason="the model did not answer", **more):
        class Failing:
            def complete(self, request, *, timeout_s):
                raise GatewayError(code, reason, **more)

        monkeypatch.setattr(asking, "gateway_for", lambda route: Failing())

    return fail_with


# --- The answer --------------------------------------------------------------------------------------------


def test_answer_is_the_short_form_and_a_completion_beside_each_other(team_key, worker):
    job_id = opened_job(team_key)

    answer = ask(team_key, job_id)

    assert answer.status_code == 200
    body = answer.json()
    assert body["response"]["content"].startswith("Python is")
    assert (body["response"]["role"], body["response"]["finish_reason"]) == ("assistant", "stop")
    assert body["response"]["tool_calls"] is None
    assert set(body["metadata"]) == {"tokens_used", "latency_ms", "model", "model_group"}
    assert body["metadata"]["model"] == body["metadata"]["model_group"] == body["model"] == "chat-default"
    assert body["object"] == "chat.completion"
    # Of the call: the provider's own tells whose model it was.
    assert body["id"] == f"chatcmpl-{body['call_id'].replace('-', '')}"
    assert isinstance(body["created"], int)
    (choice,) = body["choices"]
    assert (choice["index"], choice["message"]["content"]) == (0, body["response"]["content"])
    usage = body["usage"]
    assert (
        usage["total_tokens"]
        == usage["prompt_tokens"] + usage["completion_tokens"]
        == body["metadata"]["tokens_used"]
    )
    assert (answer["X-Job-Id"], answer["X-Call-Id"]) == (job_id, body["call_id"])


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"model": None, "model_group": None},
        {"model": "chat-default"},
        {"model_group": "chat-default"},
        {"model": "chat-default", "model_group": "nobody-has-this"},
    ],
)
def test_model_goes_by_either_name_or_none(team_key, worker, more):
    assert ask(team_key, opened_job(team_key), **more).json()["model"] == "chat-default"


@pytest.mark.parametrize("stop", ["END", ["END", "STOP"], None])
def test_stop_is_text_or_a_list(team_key, worker, stop):
    assert ask(team_key, opened_job(team_key), stop=stop).status_code == 200


def test_parameters_are_passed_on_and_others_are_not(team_key, worker):
    parameters = {
        "temperature": 0.1,
        "max_tokens": 50,
        "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": "auto",
        "top_p": 0.5,
        "frequency_penalty": 1,
        "presence_penalty": -1,
        "stop": ["END"],
    }

    answer = ask(team_key, opened_job(team_key), **parameters, api_key="sk-steal", purpose="p")

    assert answer.status_code == 200
    assert orjson.loads(CallPayload.objects.get().request) == {"messages": MESSAGES, **parameters}


def test_call_metadata_joins_the_jobs_after_success(team_key, worker):
    job_id = opened_job(team_key, metadata={"a": 1})

    ask(team_key, job_id, call_metadata={"b": 2})

    assert team_key.get(f"/api/jobs/{job_id}").json()["metadata"] == {"a": 1, "b": 2}


def test_call_metadata_past_the_limit_is_refused_at_admission(team_key, worker):
    job_id = opened_job(team_key, metadata={"a": "x" * 6000})

    answer = ask(team_key, job_id, call_metadata={"b": "x" * 6000})

    assert located(answer) == [["body", "call_metadata"]]
    assert Call.objects.count() == 0
    assert Job.objects.get().held_micros == 0


@pytest.mark.parametrize(
    ("more", "loc"),
    [
        ({"messages": None}, ["body", "messages"]),
        ({"messages": []}, ["body", "messages"]),
        ({"messages": "Hello"}, ["body", "messages"]),
        ({"messages": ["Hello"]}, ["body", "messages", 0]),
        ({"messages": [{"content": "Hello"}]}, ["body", "messages"]),
        ({"messages": [{"role": "king", "content": "Hello"}]}, ["body", "messages"]),
        ({"messages": [{"role": "user", "content": 5}]}, ["body", "messages"]),
        ({"temperature": 2.1}, ["body", "temperature"]),
        ({"temperature": "hot"}, ["body", "temperature"]),
        ({"max_tokens": 0}, ["body", "max_tokens"]),
        ({"max_tokens": 1.5}, ["body", "max_tokens"]),
        ({"top_p": 1.1}, ["body", "top_p"]),
        ({"purpose": "x" * 201}, ["body", "purpose"]),
        ({"model": 5}, ["body", "model"]),
        ({"response_format": "json"}, ["body", "response_format"]),
        ({"tools": {}}, ["body", "tools"]),
        ({"call_metadata": []}, ["body", "call_metadata"]),
    ],
)
def test_call_with_a_wrong_field_is_not_admitted(team_key, worker, more, loc):
    assert located(ask(team_key, opened_job(team_key), **more)) == [loc]
    assert Call.objects.count() == 0
    assert Job.objects.get().status == "pending"


# --- One job, one call -------------------------------------------------------------------------------------


def test_create_and_call_is_a_whole_job(team_key, worker):
    answer = create_and_call(team_key, job_metadata={"a": 1}, user_id="u-1")

    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["costs"]["credit_applied"], body["costs"]["credits_remaining"]) == (
        "completed",
        True,
        99,
    )
    assert body["response"]["content"].startswith("Python is")
    assert body["completed_at"].endswith("Z")
    assert (body["credits_remaining"], body["costs"]["total_calls"]) == (99, 1)
    job = team_key.get(f"/api/jobs/{body['job_id']}").json()
    assert (job["status"], job["metadata"], job["user_id"]) == ("completed", {"a": 1}, "u-1")


def test_metadata_is_another_name_of_job_metadata(team_key, worker):
    create_and_call(team_key, metadata={"a": 1})

    assert Job.objects.get().metadata == {"a": 1}


def test_refused_create_and_call_leaves_a_failed_free_job(team_key, worker):
    answer = create_and_call(team_key, model="nobody-has-this")

    assert answer.status_code == 403
    job = Job.objects.get()
    assert (job.status, job.charged_micros, job.held_micros) == ("failed", 0, 0)
    assert "nobody-has-this" in job.error_message


# --- Failures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 429, 500, 503])
def test_failure_has_its_status_and_text(team_key, failing, status):
    failing(status=status, retry_after_s=7)

    answer = ask(team_key, opened_job(team_key))

    assert (answer.status_code, answer.json()["detail"]) == (status, "LLM call failed: the model did not answer")
    assert answer["Retry-After"] == "7"
    assert answer.json()["code"] == "provider_unavailable"


def test_failed_call_is_recorded_and_free(team_key, failing):
    failing(status=500)
    job_id = opened_job(team_key)
    ask(team_key, job_id)

    body = team_key.post(f"/api/jobs/{job_id}/complete", {"status": "completed"}).json()

    assert (body["costs"]["failed_calls"], body["costs"]["credit_applied"]) == (1, False)
    assert body["costs"]["credits_remaining"] == 100
    assert body["calls"][0]["error"] == "LLM call failed: the model did not answer"


def test_failed_create_and_call_is_free(team_key, failing):
    failing(status=503)

    answer = create_and_call(team_key)

    assert (answer.status_code, answer.json()["detail"]) == (503, "LLM call failed: the model did not answer")
    job = team_key.get(f"/api/jobs/{answer.json()['job_id']}").json()
    assert (job["status"], job["credit_applied"], job["costs"]["credits_remaining"]) == ("failed", False, 100)
    assert job["error_message"] == "LLM call failed: the model did not answer"


def test_costs_name_no_model_for_a_failed_call(team_key, failing):
    failing(status=500)
    job_id = opened_job(team_key)
    ask(team_key, job_id)

    (line,) = team_key.get(f"/api/jobs/{job_id}/costs").json()["costs"]["breakdown"]

    assert line["model"] is None


# --- Waiting -----------------------------------------------------------------------------------------------


def impatient(caller, job_id, **more):
    return caller.post(f"/api/jobs/{job_id}/llm-call", {"messages": MESSAGES, **more}, Prefer="wait=0")


def test_call_that_outlives_its_wait_is_found_at_its_url(team_key, no_worker):
    job_id = opened_job(team_key)

    answer = impatient(team_key, job_id)

    assert (answer.status_code, answer["Retry-After"]) == (503, "2")
    body = answer.json()
    assert (body["code"], body["job_id"]) == ("call_still_running", job_id)
    assert body["url"] == f"/api/jobs/{job_id}/calls/{body['call_id']}"
    assert body["url"] in body["detail"]
    waiting = team_key.get(body["url"])
    assert (waiting.status_code, waiting.json()["status"], waiting["Retry-After"]) == (200, "queued", "2")

    execution.run_call(body["call_id"])

    done = team_key.get(body["url"])
    assert done.json()["response"]["content"].startswith("Python is")
    assert not done.has_header("Retry-After")


def test_asking_again_attaches_to_the_unanswered_call(team_key, no_worker):
    job_id = opened_job(team_key)
    first = impatient(team_key, job_id).json()["call_id"]
    execution.run_call(first)

    again = impatient(team_key, job_id)

    assert (again.status_code, again.json()["call_id"]) == (200, first)
    assert Call.objects.count() == 1


def test_asking_something_else_does_not_attach(team_key, no_worker):
    job_id = opened_job(team_key)
    impatient(team_key, job_id)

    impatient(team_key, job_id, temperature=0.2)

    assert Call.objects.count() == 2


def test_another_key_of_the_team_does_not_attach(acme, operator, team_key, no_worker):
    job_id = opened_job(team_key)
    impatient(team_key, job_id)
    secret = operator.post("/api/teams/acme/keys", {}).json()["virtual_key"]

    impatient(Caller({"Authorization": f"Bearer {secret}"}), job_id)

    assert Call.objects.count() == 2


def test_failed_call_shows_its_error_at_its_url(team_key, failing):
    failing(status=429, retry_after_s=3)
    job_id = opened_job(team_key)
    call_id = ask(team_key, job_id).json()["call_id"]

    body = team_key.get(f"/api/jobs/{job_id}/calls/{call_id}").json()

    assert (body["status"], body["error"]["status"], body["error"]["code"]) == ("failed", 429, "provider_unavailable")


def test_operator_reads_any_call(operator, team_key, worker):
    job_id = opened_job(team_key)
    call_id = ask(team_key, job_id).json()["call_id"]

    assert operator.get(f"/api/jobs/{job_id}/calls/{call_id}").status_code == 200


def test_answer_whose_payload_is_gone_says_so(team_key, worker):
    job_id = opened_job(team_key)
    call_id = ask(team_key, job_id).json()["call_id"]
    CallPayload.objects.all().delete()

    body = team_key.get(f"/api/jobs/{job_id}/calls/{call_id}").json()

    assert (body["content_expired"], body["response"]["content"]) == (True, "")
    assert body["usage"]["total_tokens"] > 0


def test_server_without_a_free_place_says_so_at_once(team_key, worker, monkeypatch):
    def full(self):
        raise ServerBusy(retry_after_s=1)

    job_id = opened_job(team_key)
    monkeypatch.setattr(replies.Mailbox, "place", full)

    answer = ask(team_key, job_id)

    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
    assert Call.objects.count() == 0
    assert team_key.post(f"/api/jobs/{job_id}/complete", {"status": "failed"}).status_code == 200


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("", 28.0),
        ("wait=5", 5.0),
        ("respond-async, wait=7", 7.0),
        ('wait="9"', 9.0),
        ("wait=99999", 600.0),
        ("wait=-1", 28.0),
        ("wait=x", 28.0),
        ("wait=99999999999", 28.0),
    ],
)
def test_wait_is_asked_for_by_prefer(team_key, worker, monkeypatch, header, wait_s):
    seen = []
    submit = services.submit_call

    def spying(*arguments, **keywords):
        seen.append(keywords["wait_s"])
        return submit(*arguments, **keywords)

    monkeypatch.setattr(services, "submit_call", spying)
    job_id = opened_job(team_key)

    team_key.post(f"/api/jobs/{job_id}/llm-call", {"messages": MESSAGES}, Prefer=header)

    assert seen == [wait_s]


def test_key_bound_to_models_may_use_no_other(acme, operator, worker):
    make.alias("chat-fast", is_open=True)
    make.alias("chat-smart", is_open=True)
    secret = operator.post("/api/teams/acme/keys", {"models_allowed": ["chat-fast"]}).json()["virtual_key"]
    caller = Caller({"Authorization": f"Bearer {secret}"})
    job_id = opened_job(caller)

    assert ask(caller, job_id).json()["model"] == "chat-fast"
    assert ask(caller, job_id, model="chat-smart").status_code == 403


def test_tool_that_the_provider_would_run_is_refused(team_key, no_worker):
    job_id = opened_job(team_key)

    answer = ask(team_key, job_id, tools=[{"type": "web_search"}])

    assert answer.status_code == 422
    assert "tools[0].type must be one of: function, custom" in str(answer.json())


def test_file_of_the_provider_s_account_is_refused(team_key, no_worker):
    job_id = opened_job(team_key)
    messages = [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-of-somebody"}}]}]

    answer = ask(team_key, job_id, messages=messages)

    assert answer.status_code == 422
    assert "as file_data" in str(answer.json())


@pytest.mark.parametrize("content", [[{"type": "file"}], [{"type": "file", "file": None}], ["text"]])
def test_malformed_part_is_no_accident(team_key, worker, content):
    answer = ask(team_key, opened_job(team_key), messages=[{"role": "user", "content": content}])

    assert answer.status_code in (200, 400, 422)


def test_answer_is_validated_on_request(team_key, worker):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}

    answer = ask(team_key, opened_job(team_key), response_format=wanted, validate=True)

    assert answer.status_code == 200
    assert "city" in orjson.loads(answer.json()["response"]["content"])
    assert Call.objects.get().validates
    assert ask(team_key, opened_job(team_key), validate=True).status_code == 422
