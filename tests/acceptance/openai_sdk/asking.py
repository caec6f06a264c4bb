"""Chat completions without a stream: what they say, and what of a request reaches the model."""

import json
from typing import Any

from tests.acceptance.openai_sdk.platform import CHAT, Customer
from tests.harness.able_answers import WHAT_WERE_YOU_SENT

QUESTION = [{"role": "user", "content": "What is Python?"}]


def ask(at: Customer, text: str = "What is Python?", **more: Any) -> Any:
    """A chat completion of one question."""
    body = {"model": CHAT, "messages": [{"role": "user", "content": text}], **more}
    return at.client.chat.completions.create(**body)


def plain_chat_is_answered_and_charged_once(at: Customer) -> None:
    completion = ask(at)

    (choice,) = completion.choices
    assert "Python" in choice.message.content
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
    assert (choice.message.refusal, choice.message.tool_calls) == (None, None)
    assert (completion.object, completion.model) == ("chat.completion", CHAT)
    usage = completion.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert min(usage.prompt_tokens, usage.completion_tokens) > 0
    assert (at.left(), at.statuses(), at.tries()) == (9, ["completed"], 1)


def headers_tell_cost_balance_job_and_call(at: Customer) -> None:
    raw = at.client.chat.completions.with_raw_response.create(model=CHAT, messages=QUESTION)

    headers, completion = raw.headers, raw.parse()
    assert (headers["x-saasllm-credits-charged"], headers["x-saasllm-credits-remaining"]) == ("1", "9")
    (job,) = at.jobs()
    assert headers["x-saasllm-job-id"] == headers["x-job-id"] == job["job_id"]
    assert headers["x-saasllm-call-id"] == headers["x-call-id"]
    assert completion.id == f"chatcmpl-{headers['x-call-id'].replace('-', '')}"
    assert completion._request_id == headers["x-request-id"]
    call = at.api("GET", f"/jobs/{job['job_id']}/calls/{headers['x-call-id']}")
    assert (call["id"], call["status"]) == (completion.id, "succeeded")
    assert (job["credits_charged"], job["job_type"]) == ("1", "chat.completions")


def body_may_be_read_as_it_comes(at: Customer) -> None:
    with at.client.chat.completions.with_streaming_response.create(model=CHAT, messages=QUESTION) as response:
        headers, completion = response.headers, response.parse()

    assert headers["x-saasllm-credits-charged"] == "1"
    assert completion.choices[0].message.content


def several_choices_cost_one_credit(at: Customer) -> None:
    completion = ask(at, n=2)

    assert [choice.index for choice in completion.choices] == [0, 1]
    assert all(choice.message.content and choice.finish_reason == "stop" for choice in completion.choices)
    assert at.left() == 9


def cap_cuts_the_answer(at: Customer) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        completion = ask(at, **{name: 3})

        assert completion.choices[0].finish_reason == "length", name
        assert completion.usage.completion_tokens <= 3, name


def conversation_with_parts_is_read(at: Customer) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": [{"type": "text", "text": "What is Python?"}, image]},
    ]
    completion = at.client.chat.completions.create(model=CHAT, messages=messages)

    assert "Python" in completion.choices[0].message.content


def logprobs_are_told(at: Customer) -> None:
    completion = ask(at, logprobs=True, top_logprobs=2)

    (choice,) = completion.choices
    if not at.backend.is_able:
        # The demo provider draws no tokens: nothing is told instead of something made up.
        assert choice.logprobs is None
        return
    told = choice.logprobs.content
    assert "".join(each.token for each in told) == choice.message.content
    assert all(len(each.top_logprobs) == 2 and each.logprob <= 0 for each in told)
    assert bytes(told[0].bytes).decode() == told[0].token


def answer_ends_at_a_stop_sequence(at: Customer) -> None:
    for stop in ("Python", ["never", "Python"]):
        completion = ask(at, stop=stop)

        assert completion.choices[0].finish_reason == "stop"
        # The demo provider has answers by topic, and takes `stop` without heeding it.
        assert ("Python" in completion.choices[0].message.content) is not at.backend.is_able


def same_seed_same_answer(at: Customer) -> None:
    first, second = (ask(at, seed=7, temperature=0) for _ in range(2))

    assert first.choices[0].message.content == second.choices[0].message.content
    assert first.id != second.id
    assert at.left() == 8


PARAMETERS: dict[str, Any] = {
    "seed": 7,
    "temperature": 0.5,
    "top_p": 0.9,
    "presence_penalty": 0.25,
    "frequency_penalty": -0.25,
    "logit_bias": {"50": -100},
    "stop": ["\n\n\n"],
    "max_completion_tokens": 1000,
    "parallel_tool_calls": False,
    "tool_choice": "none",
    "reasoning_effort": "low",
    "verbosity": "low",
    "service_tier": "flex",
    "modalities": ["text"],
    "prediction": {"type": "content", "content": "Python"},
    "response_format": {"type": "text"},
}


def parameters_reach_the_model_and_nothing_is_added(at: Customer) -> None:
    tools = [{"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}]
    completion = ask(at, WHAT_WERE_YOU_SENT, tools=tools, **PARAMETERS)

    # The demo provider does not tell what it was sent; tests/openai_compat looks at its requests.
    if at.backend.is_able:
        assert json.loads(completion.choices[0].message.content) == {**PARAMETERS, "tools": tools}


def unknown_and_foreign_fields_are_ignored(at: Customer) -> None:
    completion = ask(
        at,
        WHAT_WERE_YOU_SENT,
        store=False,
        service_tier="auto",
        safety_identifier="somebody",
        prompt_cache_key="mine",
        extra_body={
            "api_key": "sk-mine",
            "api_base": "http://example.com",
            "no_such_field": [1],
            "mock_response": "x",
        },
    )

    assert completion.choices[0].message.content
    if at.backend.is_able:
        assert json.loads(completion.choices[0].message.content) == {}
    (job,) = at.jobs()
    assert job["user_id"] == "somebody"


def models_are_listed_and_retrieved(at: Customer) -> None:
    listed = list(at.client.models.list())

    assert {*at.backend.models} <= {model.id for model in listed}
    assert {(model.object, model.owned_by) for model in listed} == {("model", "saas-litellm")}
    one = at.client.models.retrieve(CHAT)
    assert (one.id, one.object) == (CHAT, "model")
    assert one.created > 0


def legacy_completion_is_asked_as_a_chat(at: Customer) -> None:
    for prompt in ("What is Python?", ["What is Python?"]):
        completion = at.client.completions.create(model=CHAT, prompt=prompt, n=2, max_tokens=200)

        assert [(choice.index, choice.finish_reason) for choice in completion.choices] == [(0, "stop"), (1, "stop")]
        assert "Python" in completion.choices[0].text
        assert (completion.object, completion.model) == ("text_completion", CHAT)
        assert completion.usage.total_tokens > 0
    assert [job["job_type"] for job in at.jobs()] == ["completions"] * 2
    assert at.left() == 8


CHECKS = (
    plain_chat_is_answered_and_charged_once,
    headers_tell_cost_balance_job_and_call,
    body_may_be_read_as_it_comes,
    several_choices_cost_one_credit,
    cap_cuts_the_answer,
    conversation_with_parts_is_read,
    logprobs_are_told,
    answer_ends_at_a_stop_sequence,
    same_seed_same_answer,
    parameters_reach_the_model_and_nothing_is_added,
    unknown_and_foreign_fields_are_ignored,
    models_are_listed_and_retrieved,
    legacy_completion_is_asked_as_a_chat,
)
