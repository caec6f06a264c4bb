"""Chat completions: the answer, the job behind it, what is passed on and what is refused."""

import orjson
import pytest

from apps.credits.models import RateCard, RateCardVersion
from apps.jobs import services
from apps.jobs.models import Call, CallPayload, Job
from tests import make
from tests.api.calling import MESSAGES, Caller, opened_job
from tests.openai_compat.asking import CHAT, chat, refused

LOOKUP = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}


def sent() -> dict:
    """What the provider is to be asked."""
    return orjson.loads(CallPayload.objects.get().request)


# --- The answer --------------------------------------------------------------------------------------------


def test_answer_is_openais_chat_completion(team_key, provider):
    answer = chat(team_key, model="chat-default")

    assert answer.status_code == 200
    body = answer.json()
    assert isinstance(body.pop("created"), int)
    assert body == {
        "id": f"chatcmpl-{answer['x-call-id'].replace('-', '')}",
        "object": "chat.completion",
        "model": "chat-default",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Answer 1", "refusal": None},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


def test_content_is_null_beside_tool_calls(team_key, provider):
    calls = [{"id": "call_1", "type": "function", "function": {"name": "lookup", "arguments": "{}"}}]
    provider.says.append({"content": "", "tool_calls": calls})

    (choice,) = chat(team_key, tools=[LOOKUP]).json()["choices"]

    assert choice["message"]["content"] is None
    assert (choice["message"]["tool_calls"], choice["finish_reason"]) == (calls, "tool_calls")


def test_headers_tell_job_call_cost_and_balance(team_key, provider):
    answer = chat(team_key)

    call = Call.objects.get()
    assert answer["x-job-id"] == answer["x-saasllm-job-id"] == str(call.job_id)
    assert answer["x-call-id"] == answer["x-saasllm-call-id"] == str(call.pk)
    assert (answer["x-saasllm-credits-charged"], answer["x-saasllm-credits-remaining"]) == ("1", "99")
    assert answer["X-Request-Id"]


def test_fractions_of_a_credit_are_told_exactly(acme, team_key, provider):
    card = RateCard.objects.create(team=acme.team, job_type="chat.completions")
    RateCardVersion.objects.create(card=card, number=1, mode="flat", price_micros=250_000)

    answer = chat(team_key)

    assert (answer["x-saasllm-credits-charged"], answer["x-saasllm-credits-remaining"]) == ("0.25", "99.75")


def test_provider_is_not_named(team_key, provider):
    answer = chat(team_key)

    assert b"secret-provider-model" not in answer.content
    assert b"chatcmpl-1" not in answer.content


def test_slash_at_the_end_is_tolerated(team_key, provider):
    assert team_key.post(f"{CHAT}/", {"messages": MESSAGES}).status_code == 200


# --- The job behind it -------------------------------------------------------------------------------------


def test_request_without_a_job_is_a_job_that_completes_itself(team_key, provider):
    job_id = chat(team_key, user="u-1", metadata={"a": "1"})["x-job-id"]

    job = team_key.get(f"/api/jobs/{job_id}").json()
    assert (job["status"], job["job_type"], job["user_id"]) == ("completed", "chat.completions", "u-1")
    assert job["metadata"] == {"a": "1"}
    assert (job["costs"]["credit_applied"], job["costs"]["credits_remaining"]) == (True, 99)


@pytest.mark.parametrize(
    ("headers", "metadata", "job_type"),
    [
        ({"X-Job-Type": "resume"}, None, "resume"),
        ({}, {"job_type": "resume"}, "resume"),
        ({"X-Job-Type": "resume"}, {"job_type": "letter"}, "resume"),
    ],
)
def test_job_type_comes_by_header_or_metadata(team_key, provider, headers, metadata, job_type):
    chat(team_key, headers, metadata=metadata)

    job = Job.objects.get()
    assert (job.job_type, job.metadata) == (job_type, {})


@pytest.mark.parametrize("by", ["header", "metadata"])
def test_request_that_names_a_job_joins_it(team_key, provider, by):
    job_id = opened_job(team_key)
    named = {"headers": {"X-Job-Id": job_id}} if by == "header" else {"metadata": {"job_id": job_id}}

    first, second = chat(team_key, **named), chat(team_key, **named)

    assert first["x-job-id"] == second["x-job-id"] == job_id
    assert (second["x-saasllm-credits-charged"], second["x-saasllm-credits-remaining"]) == ("0", "99")
    done = team_key.post(f"/api/jobs/{job_id}/complete", {"status": "completed"}).json()
    assert (done["costs"]["total_calls"], done["costs"]["credits_remaining"]) == (2, 99)


def test_metadata_of_a_joining_call_becomes_the_jobs(team_key, provider):
    job_id = opened_job(team_key, metadata={"a": 1})

    chat(team_key, {"X-Job-Id": job_id}, metadata={"b": "2"})

    assert Job.objects.get().metadata == {"a": 1, "b": "2"}


def test_another_teams_job_is_not_found(team_key, stranger, provider):
    job_id = opened_job(stranger, "globex")

    error = refused(chat(team_key, {"X-Job-Id": job_id}), 404)

    assert error["code"] == "job_not_found"
    assert Call.objects.count() == 0


def test_closed_job_is_joined_no_more(team_key, provider):
    job_id = opened_job(team_key)
    team_key.post(f"/api/jobs/{job_id}/complete", {"status": "failed"})

    assert refused(chat(team_key, {"X-Job-Id": job_id}), 400)["code"] == "job_closed"


@pytest.mark.parametrize(
    ("headers", "metadata", "param"),
    [
        ({"X-Job-Type": ""}, None, "X-Job-Type"),
        ({"X-Job-Type": "x" * 101}, None, "X-Job-Type"),
        ({}, {"job_type": 5}, "metadata.job_type"),
        ({}, {"job_id": ""}, "metadata.job_id"),
        ({}, {"a": "x" * 20_000}, "metadata"),
    ],
)
def test_wrong_job_is_refused_by_name(team_key, provider, headers, metadata, param):
    assert refused(chat(team_key, headers, metadata=metadata), 400)["param"] == param
    assert Call.objects.count() == 0


# --- The model ---------------------------------------------------------------------------------------------


def test_model_may_be_left_out(team_key, provider):
    assert chat(team_key).json()["model"] == "chat-default"


def test_group_answers_under_its_own_name(acme, provider):
    make.alias("fast")
    make.model_group("smart", "fast")
    caller = Caller(make.customer(model_groups=["smart"]).headers)

    assert chat(caller, model="smart").json()["model"] == "smart"


def test_key_bound_to_models_may_use_no_other(acme, operator, provider):
    make.alias("fast", is_open=True)
    secret = operator.post("/api/teams/acme/keys", {"models_allowed": ["fast"]}).json()["virtual_key"]
    caller = Caller({"Authorization": f"Bearer {secret}"})

    assert chat(caller, model="fast").status_code == 200
    assert refused(chat(caller, model="chat-default"), 404)["code"] == "model_not_found"


# --- What is passed on -------------------------------------------------------------------------------------


def test_parameters_are_passed_on_and_others_are_not(team_key, provider):
    parameters = {
        "n": 2,
        "temperature": 1.5,
        "top_p": 0.5,
        "max_tokens": 50,
        "max_completion_tokens": 60,
        "stop": ["END"],
        "presence_penalty": -1,
        "frequency_penalty": 1,
        "logit_bias": {"50256": -100},
        "logprobs": True,
        "top_logprobs": 3,
        "seed": 7,
        "tools": [LOOKUP],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "response_format": {"type": "json_object"},
        "reasoning_effort": "low",
        "verbosity": "low",
        "modalities": ["text", "audio"],
        "audio": {"voice": "alloy", "format": "mp3"},
        "prediction": {"type": "content", "content": "Python is"},
        "service_tier": "flex",
    }
    others = {
        "api_key": "sk-steal",
        "api_base": "http://elsewhere",
        "base_url": "http://elsewhere",
        "fallbacks": ["gpt-9"],
        "mock_response": "free",
        "store": False,
        "stream": False,
        "user": "u-1",
        "metadata": {"tags": "x"},
        "extra": 1,
    }

    answer = chat(team_key, **parameters, **others)

    assert answer.status_code == 200, answer.content
    assert sent() == {"messages": MESSAGES, **parameters}
    assert len(answer.json()["choices"]) == 2


def test_answer_is_validated_on_demand_and_the_provider_is_not_told(team_key, provider):
    provider.says += [{"content": "no JSON"}, {"content": '{"a": 1}'}]

    body = chat(team_key, validate=True, response_format={"type": "json_object"}).json()

    assert body["choices"][0]["message"]["content"] == '{"a": 1}'
    assert (Call.objects.get().validates, "validate" in sent()) == (True, False)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"validate": True}, "invalid_value"),
        ({"validate": True, "stream": True, "response_format": {"type": "json_object"}}, "invalid_value"),
        ({"validate": "yes"}, "invalid_type"),
    ],
)
def test_validation_that_cannot_be_honoured_is_refused(team_key, provider, more, code):
    error = refused(chat(team_key, **more), 400)
    assert (error["param"], error["code"]) == ("validate", code)


def test_nothing_is_added_that_was_not_asked_for(team_key, provider):
    chat(team_key, temperature=None, stop=None, service_tier="auto")

    assert sent() == {"messages": MESSAGES}


def test_images_audio_and_files_are_passed_through(team_key, provider):
    content = [
        {"type": "text", "text": "What is this?", "cache_control": {"type": "ephemeral"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
    ]
    messages = [{"role": "user", "content": content}]

    assert chat(team_key, messages=messages).status_code == 200
    assert sent()["messages"] == messages


def test_conversation_with_tools_is_passed_through(team_key, provider):
    calls = [{"id": "call_1", "type": "function", "function": {"name": "lookup", "arguments": "{}"}}]
    messages = [
        {"role": "developer", "content": "Be brief."},
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
    ]

    assert chat(team_key, messages=messages, tools=[LOOKUP]).status_code == 200
    assert sent()["messages"] == messages


# --- What is refused ---------------------------------------------------------------------------------------


def part(**fields) -> dict:
    return {"messages": [{"role": "user", "content": [fields]}]}


@pytest.mark.parametrize(
    ("more", "param", "code"),
    [
        ({"messages": None}, "messages", "invalid_type"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": "Hello"}, "messages", "invalid_type"),
        ({"messages": [*MESSAGES, "Hello"]}, "messages[1]", "invalid_type"),
        ({"messages": [{"content": "Hello"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [*MESSAGES, {"role": "king", "content": "Hello"}]}, "messages[1].role", "invalid_value"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_value"),
        (part(type="video"), "messages[0].content[0].type", "invalid_value"),
        (part(type="text"), "messages[0].content[0].text", "invalid_value"),
        (part(type="image_url", image_url="x"), "messages[0].content[0].image_url", "invalid_value"),
        (
            part(type="image_url", image_url={"url": "file:///etc/passwd"}),
            "messages[0].content[0].image_url.url",
            "invalid_value",
        ),
        (part(type="file", file={"file_id": "file-1"}), "messages[0].content[0].file.file_data", "invalid_value"),
        ({"model": 5}, "model", "invalid_type"),
        ({"temperature": 2.1}, "temperature", "invalid_value"),
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"n": 0}, "n", "invalid_value"),
        ({"max_tokens": 1.5}, "max_tokens", "invalid_type"),
        ({"top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"stop": 5}, "stop", "invalid_type"),
        ({"stop": ["END", 5]}, "stop", "invalid_type"),
        ({"logit_bias": {"1": 101}}, "logit_bias", "invalid_value"),
        ({"tool_choice": "any"}, "tool_choice", "invalid_value"),
        ({"modalities": ["smell"]}, "modalities[0]", "invalid_value"),
        ({"tools": [LOOKUP, {"type": "web_search"}]}, "tools[1].type", "invalid_value"),
        ({"tools": [{"type": "mcp", "server_url": "http://x"}]}, "tools[0].type", "invalid_value"),
        ({"metadata": "x"}, "metadata", "invalid_type"),
        ({"functions": []}, "functions", "unsupported_parameter"),
        ({"function_call": "auto"}, "function_call", "unsupported_parameter"),
        ({"web_search_options": {}}, "web_search_options", "unsupported_parameter"),
        ({"store": True}, "store", "unsupported_parameter"),
        ({"service_tier": "priority"}, "service_tier", "invalid_value"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
    ],
)
def test_wrong_parameter_is_refused_by_name(team_key, provider, more, param, code):
    error = refused(chat(team_key, **more), 400)

    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")
    assert Call.objects.count() == Job.objects.count() == 0


def test_missing_messages_are_named(team_key, provider):
    error = refused(team_key.post(CHAT, {}), 400)

    assert (error["param"], error["code"]) == ("messages", "missing_required_parameter")


def test_number_of_answers_is_bounded_by_a_setting(team_key, provider, settings):
    settings.CHOICES_PER_CALL_MAX = 3

    assert chat(team_key, n=3).status_code == 200
    assert refused(chat(team_key, n=4), 400)["param"] == "n"


def test_what_the_model_cannot_do_is_refused_by_name(acme, team_key, provider):
    make.alias("blind", is_open=True, supports_vision=False, max_output_tokens=100)
    image = part(type="image_url", image_url={"url": "https://example.com/a.png"})

    assert refused(chat(team_key, model="blind", max_tokens=101), 400)["param"] == "max_tokens"
    assert refused(chat(team_key, model="blind", **image), 400)["param"].startswith("messages[0].content")


# --- Waiting -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("header", "wait_s"), [("", 600.0), ("wait=5", 5.0), ("wait=99999", 600.0)])
def test_request_waits_long_unless_it_prefers_otherwise(team_key, provider, monkeypatch, header, wait_s):
    seen = []
    submit = services.submit_one_call_job

    def spying(*arguments, **keywords):
        seen.append(keywords["wait_s"])
        return submit(*arguments, **keywords)

    monkeypatch.setattr(services, "submit_one_call_job", spying)

    chat(team_key, {"Prefer": header})

    assert seen == [wait_s]


def test_call_that_outlives_its_wait_is_found_at_its_url(team_key, no_worker):
    answer = chat(team_key, {"Prefer": "wait=0"})

    error = refused(answer, 503)
    assert (error["code"], answer["Retry-After"]) == ("call_still_running", "2")
    url = f"/api/jobs/{answer['x-job-id']}/calls/{answer['x-call-id']}"
    assert url in error["message"]
    assert team_key.get(url).json()["status"] == "queued"
    assert not answer.has_header("x-should-retry")
