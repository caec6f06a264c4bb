"""Streams: chunks as OpenAI sends them, cost and balance in the last one, and the ways in which a stream fails."""

from typing import Any

import openai

from tests.acceptance.openai_sdk.asking import QUESTION, ask
from tests.acceptance.openai_sdk.platform import CHAT, CUT, LIMITED, Customer


def text_of(chunks: list[Any], index: int = 0) -> str:
    """What the chunks of one choice say."""
    return "".join(
        choice.delta.content or "" for chunk in chunks for choice in chunk.choices if choice.index == index
    )


def account_of(chunk: Any) -> dict[str, str]:
    account: dict[str, str] = chunk.model_extra["saasllm"]
    return account


def stream_brings_the_answer_in_pieces(at: Customer) -> None:
    chunks = list(ask(at, stream=True))

    assert "Python" in text_of(chunks)
    assert len(chunks) > 3
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert {(chunk.object, chunk.model) for chunk in chunks} == {("chat.completion.chunk", CHAT)}
    assert len({(chunk.id, chunk.created) for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)
    assert at.left() == 9


def stream_says_the_same_as_the_whole_answer(at: Customer) -> None:
    assert text_of(list(ask(at, stream=True))) == ask(at).choices[0].message.content


def usage_comes_last_when_it_is_asked_for(at: Customer) -> None:
    chunks = list(ask(at, stream=True, stream_options={"include_usage": True}))

    assert (chunks[-1].choices, chunks[-2].choices[0].finish_reason) == ([], "stop")
    assert all(chunk.usage is None for chunk in chunks[:-1])
    usage = chunks[-1].usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0
    without = ask(at).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (without.prompt_tokens, without.completion_tokens)


def last_chunk_tells_cost_and_balance(at: Customer) -> None:
    for options in ({}, {"stream_options": {"include_usage": True}}):
        before = at.left()
        raw = at.client.chat.completions.with_raw_response.create(
            model=CHAT, messages=QUESTION, stream=True, **options
        )
        chunks = list(raw.parse())

        assert [chunk for chunk in chunks[:-1] if "saasllm" in chunk.model_extra] == []
        assert account_of(chunks[-1]) == {
            "job_id": raw.headers["x-job-id"],
            "call_id": raw.headers["x-call-id"],
            "credits_charged": "1",
            "credits_remaining": f"{before - 1:g}",
        }
        assert chunks[0].id == f"chatcmpl-{raw.headers['x-call-id'].replace('-', '')}"


def several_choices_are_streamed(at: Customer) -> None:
    chunks = list(ask(at, stream=True, n=2))

    assert text_of(chunks, 0) == text_of(chunks, 1) != ""
    ended = {choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason == "stop"}
    assert ended == {0, 1}


def logprobs_come_with_their_pieces(at: Customer) -> None:
    chunks = list(ask(at, stream=True, logprobs=True, top_logprobs=2))

    told = [choice.logprobs for chunk in chunks for choice in chunk.choices if choice.logprobs]
    if not at.backend.is_able:
        # The demo provider draws no tokens.
        assert told == []
        return
    assert "".join(each.token for logprobs in told for each in logprobs.content) == text_of(chunks)


def stream_is_gathered_by_the_client(at: Customer) -> None:
    for completions in (at.client.chat.completions, at.client.beta.chat.completions):
        with completions.stream(model=CHAT, messages=QUESTION) as stream:
            events = list(stream)
            completion = stream.get_final_completion()

        text = "".join(event.delta for event in events if event.type == "content.delta")
        assert text == completion.choices[0].message.content
        assert [event.content for event in events if event.type == "content.done"] == [text]
        assert completion.choices[0].finish_reason == "stop"


def legacy_completion_is_streamed(at: Customer) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(at.client.completions.create(model=CHAT, prompt="What is Python?", **options))

    assert "Python" in "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert {(chunk.object, chunk.model) for chunk in chunks} == {("text_completion", CHAT)}
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.total_tokens > 0
    assert account_of(chunks[-1])["credits_charged"] == "1"


def stream_that_breaks_off_is_an_error_and_free(at: Customer) -> None:
    chunks: list[Any] = []
    try:
        chunks += ask(at, stream=True, model=CUT)
        broke_off = None
    except openai.APIError as error:
        broke_off = error

    assert chunks, "the beginning was sent on"
    assert broke_off is not None
    assert "LLM call failed: the model backend" in broke_off.message
    assert not [choice for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert (at.left(), at.statuses(), at.tries()) == (10, ["failed"], 1)


def stream_that_fails_before_it_begins_has_its_status(at: Customer) -> None:
    try:
        ask(at, stream=True, model=LIMITED)
        code = None
    except openai.RateLimitError as error:
        code = error.code

    assert code == "rate_limit_exceeded"
    # Its own retries asked the model anew, and nothing of it is charged.
    assert (at.left(), at.statuses(), at.tries()) == (10, ["failed"] * 3, 3)


def failed_stream_is_final_under_its_key(at: Customer) -> None:
    try:
        ask(at, stream=True, model=LIMITED, extra_headers={"Idempotency-Key": "k-1"})
        failed = None
    except openai.RateLimitError as error:
        failed = error

    assert failed is not None
    assert failed.response.headers["x-should-retry"] == "false"
    assert (at.statuses(), at.tries()) == (["failed"], 1)


def stream_is_had_again_under_its_key(at: Customer) -> None:
    streams = [list(ask(at, stream=True, extra_headers={"Idempotency-Key": "k-1"})) for _ in range(2)]

    assert text_of(streams[0]) == text_of(streams[1]) != ""
    assert streams[0][0].id == streams[1][0].id
    assert (at.left(), len(at.jobs())) == (9, 1)


def stream_of_the_platforms_own_api_tells_costs(at: Customer) -> None:
    body = {"team_id": at.team_id, "job_type": "try", "model": CHAT, "messages": QUESTION}
    headers = {"Authorization": f"Bearer {at.key}"}
    url = f"{at.platform.url}/api/jobs/create-and-call-stream"
    with at.http.stream("POST", url, json=body, headers=headers) as answer:
        answer.read()
    assert answer.status_code == 200
    assert answer.text.endswith("data: [DONE]\n\n")
    (exchange,) = at.watch.asked("/api/jobs/create-and-call-stream")
    events = exchange.answers()

    assert "Python" in "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    assert {event["id"] for event in events} == {f"chatcmpl-{answer.headers['x-call-id'].replace('-', '')}"}
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["usage"]["total_tokens"] > 0
    assert (events[-1]["costs"]["credit_applied"], events[-1]["costs"]["credits_charged"]) == (True, "1")


CHECKS = (
    stream_brings_the_answer_in_pieces,
    stream_says_the_same_as_the_whole_answer,
    usage_comes_last_when_it_is_asked_for,
    last_chunk_tells_cost_and_balance,
    several_choices_are_streamed,
    logprobs_come_with_their_pieces,
    stream_is_gathered_by_the_client,
    legacy_completion_is_streamed,
    stream_that_breaks_off_is_an_error_and_free,
    stream_that_fails_before_it_begins_has_its_status,
    failed_stream_is_final_under_its_key,
    stream_is_had_again_under_its_key,
    stream_of_the_platforms_own_api_tells_costs,
)
