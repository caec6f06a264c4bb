"""The typed client against a transport in memory: what it sends, what it returns, what it raises."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from examples.typed_client import (
    AccessDenied,
    AuthenticationError,
    ChatCompletionChunk,
    InsufficientCredits,
    InvalidRequest,
    JobCompletionResult,
    Message,
    NotFound,
    RateLimited,
    SaaSLLMClient,
    SaaSLLMError,
    ServerUnavailable,
    StreamChunk,
    StreamError,
)
from tests.examples.fake_api import (
    ANSWER,
    COMPLETED,
    DONE,
    HELLO,
    JOB_ID,
    OTHER_JOB_ID,
    Blocks,
    Person,
    Server,
    chunk,
    streamed,
)


async def texts(client: SaaSLLMClient) -> list[str]:
    return [c.choices[0].delta.get("content", "") async for c in client.chat_stream(JOB_ID, HELLO) if c.choices]


def failure(
    status: int, body: Any = None, *, headers: dict[str, str] | None = None, text: str | None = None
) -> SaaSLLMError:
    """What a call raises when the server answers so."""
    response = httpx.Response(status, json=body, headers=headers) if text is None else None
    server = Server(llm_call=response or httpx.Response(status, text=text, headers=headers))
    with pytest.raises(SaaSLLMError) as caught:
        server.run(lambda client: client.chat(JOB_ID, HELLO))
    return caught.value


# --- construction and lifecycle


def test_constructor_takes_url_team_and_key_by_position() -> None:
    client = SaaSLLMClient("http://localhost:8003/", "acme", "sk-1", 10.0)

    assert (client.base_url, client.team_id, client.virtual_key, client.timeout) == (
        "http://localhost:8003",
        "acme",
        "sk-1",
        10.0,
    )


def test_constructor_takes_api_url_as_another_name_of_base_url() -> None:
    client = SaaSLLMClient(api_url="http://localhost:8003", virtual_key="sk-1", team_id="acme")

    assert client.base_url == client.api_url == "http://localhost:8003"


@pytest.mark.parametrize("missing", ["base_url", "team_id", "virtual_key"])
def test_constructor_names_what_is_missing(missing: str) -> None:
    arguments = {"base_url": "http://api.test", "team_id": "acme", "virtual_key": "sk-1"}
    del arguments[missing]

    with pytest.raises(ValueError, match=f"{missing} is required"):
        SaaSLLMClient(**arguments)  # type: ignore[arg-type]


def test_leaving_the_context_closes_the_connections() -> None:
    async def session() -> SaaSLLMClient:
        async with Server().client() as client:
            pass
        return client

    assert asyncio.run(session()).client.is_closed


# --- jobs


def test_create_job_returns_the_id_and_makes_it_current() -> None:
    server = Server()
    client = server.client()

    job_id = asyncio.run(client.create_job("simple_query"))

    assert job_id == client.current_job_id == JOB_ID
    assert str(server.requests[0].url) == "http://api.test/api/jobs/create"
    assert server.requests[0].headers["Authorization"] == "Bearer sk-1"
    assert server.body == {"team_id": "acme", "job_type": "simple_query"}


def test_create_job_sends_metadata_given_by_position() -> None:
    server = Server()

    server.run(lambda client: client.create_job("import", {"source": "crm"}))

    assert server.body["metadata"] == {"source": "crm"}


def test_complete_job_by_position_returns_the_result() -> None:
    server = Server()

    result = server.run(lambda client: client.complete_job(JOB_ID, "completed"))

    assert isinstance(result, JobCompletionResult)
    assert (result.job_id, result.status, result.credits_remaining, result.total_calls) == (
        JOB_ID,
        "completed",
        95,
        2,
    )
    assert server.requests[0].url.path == f"/api/jobs/{JOB_ID}/complete"
    assert server.body == {"status": "completed"}


def test_complete_job_falls_back_to_costs() -> None:
    answer = {key: COMPLETED[key] for key in ("job_id", "status", "costs")}

    result = Server(complete=answer).run(lambda client: client.complete_job(JOB_ID))

    assert (result.credits_remaining, result.total_calls) == (95, 2)


def test_complete_job_prefers_the_top_level() -> None:
    answer = {**COMPLETED, "costs": {"total_calls": 9, "credits_remaining": 9}}

    result = Server(complete=answer).run(lambda client: client.complete_job(JOB_ID))

    assert (result.credits_remaining, result.total_calls) == (95, 2)


def test_complete_job_tells_of_a_pending_charge() -> None:
    server = Server(complete={**COMPLETED, "charge_pending": True})

    assert server.run(lambda client: client.complete_job(JOB_ID)).charge_pending


def test_complete_job_sends_metadata_result_and_error_message() -> None:
    server = Server()

    server.run(
        lambda client: client.complete_job(JOB_ID, "failed", {"a": 1}, result={"b": 2}, error_message="broken")
    )

    assert server.body == {
        "status": "failed",
        "metadata": {"a": 1},
        "result": {"b": 2},
        "error_message": "broken",
    }


def test_complete_job_without_id_completes_the_current_one_and_clears_it() -> None:
    server = Server()

    async def use(client: SaaSLLMClient) -> str | None:
        await client.create_job("query")
        await client.complete_job(status="completed", result={"answer": 42})
        return client.current_job_id

    assert server.run(use) is None
    assert server.requests[-1].url.path == f"/api/jobs/{JOB_ID}/complete"


def test_completing_another_job_leaves_the_current_one() -> None:
    async def use(client: SaaSLLMClient) -> str | None:
        await client.create_job("query")
        await client.complete_job(OTHER_JOB_ID)
        return client.current_job_id

    assert Server().run(use) == JOB_ID


def test_completion_that_failed_leaves_the_job_current() -> None:
    server = Server(complete=httpx.Response(503, json={"detail": "Down"}))

    async def use(client: SaaSLLMClient) -> str | None:
        await client.create_job("query")
        with pytest.raises(ServerUnavailable):
            await client.complete_job()
        return client.current_job_id

    assert server.run(use) == JOB_ID


def test_without_any_job_nothing_is_sent() -> None:
    server = Server()

    with pytest.raises(ValueError, match="No job ID"):
        server.run(lambda client: client.chat(messages=HELLO))
    with pytest.raises(ValueError, match="No job ID"):
        server.run(lambda client: client.complete_job())
    assert server.requests == []


# --- chat


def test_chat_without_a_model_names_none() -> None:
    server = Server()

    response = server.run(lambda client: client.chat(job_id=JOB_ID, messages=HELLO))

    assert server.body == {"messages": HELLO, "temperature": 0.7}
    assert response.choices[0].message["content"] == "Hi"
    assert response.usage is not None
    assert response.usage.total_tokens == 3


def test_chat_by_position_is_job_messages_model_temperature_max_tokens() -> None:
    server = Server()

    server.run(lambda client: client.chat(JOB_ID, HELLO, "gpt-4", 0.2, 50))

    assert server.requests[0].url.path == f"/api/jobs/{JOB_ID}/llm-call"
    assert server.body == {"messages": HELLO, "model": "gpt-4", "temperature": 0.2, "max_tokens": 50}


def test_sampling_options_follow_by_position() -> None:
    server = Server()

    server.run(lambda client: client.chat(JOB_ID, HELLO, "gpt-4", 0.2, 50, 0.9, 0.5, -0.5, ["END"]))

    assert {"top_p": 0.9, "frequency_penalty": 0.5, "presence_penalty": -0.5, "stop": ["END"]}.items() <= (
        server.body.items()
    )


def test_chat_with_a_model_group_uses_the_current_job() -> None:
    server = Server()

    async def use(client: SaaSLLMClient) -> None:
        await client.create_job("query")
        await client.chat(model_group="chat-fast", messages=HELLO, purpose="greet")

    server.run(use)

    assert server.requests[-1].url.path == f"/api/jobs/{JOB_ID}/llm-call"
    assert server.body == {
        "messages": HELLO,
        "model_group": "chat-fast",
        "temperature": 0.7,
        "purpose": "greet",
    }


def test_chat_takes_a_model_group_in_first_position_too() -> None:
    server = Server()

    async def use(client: SaaSLLMClient) -> None:
        await client.create_job("query")
        await client.chat("chat-fast", HELLO)

    server.run(use)

    assert server.requests[-1].url.path == f"/api/jobs/{JOB_ID}/llm-call"
    assert server.body["model_group"] == "chat-fast"


def test_chat_in_another_job_than_the_current_one_stays_there() -> None:
    server = Server()

    async def use(client: SaaSLLMClient) -> None:
        await client.create_job("query")
        await client.chat(OTHER_JOB_ID, HELLO)

    server.run(use)

    assert server.requests[-1].url.path == f"/api/jobs/{OTHER_JOB_ID}/llm-call"
    assert "model_group" not in server.body


def test_first_position_is_the_job_when_a_model_is_named_elsewhere() -> None:
    server = Server()

    async def use(client: SaaSLLMClient) -> None:
        await client.create_job("query")
        await client.chat("not-a-uuid", HELLO, "gpt-4")

    server.run(use)

    assert server.requests[-1].url.path == "/api/jobs/not-a-uuid/llm-call"
    assert server.body["model"] == "gpt-4"


def test_chat_sends_every_parameter_that_was_given() -> None:
    server = Server()
    given: dict[str, Any] = {
        "model": "gpt-4",
        "temperature": 0,
        "max_tokens": 5,
        "top_p": 0.5,
        "frequency_penalty": 0.0,
        "presence_penalty": -1,
        "stop": ["a", "b"],
        "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": "auto",
        "purpose": "test",
    }

    server.run(lambda client: client.chat(JOB_ID, HELLO, **given))

    assert server.body == {"messages": HELLO, **given}


def test_temperature_none_is_not_sent() -> None:
    server = Server()

    server.run(lambda client: client.chat(JOB_ID, HELLO, temperature=None))

    assert server.body == {"messages": HELLO}


def test_stop_may_be_one_string() -> None:
    server = Server()

    server.run(lambda client: client.chat(JOB_ID, HELLO, stop="END"))

    assert server.body["stop"] == "END"


def test_messages_and_dicts_may_be_mixed() -> None:
    server = Server()
    messages: list[Message | dict[str, Any]] = [
        Message(role="system", content="Be brief."),
        {"role": "user", "content": "Hello"},
    ]

    server.run(lambda client: client.chat(JOB_ID, messages))

    assert server.body["messages"] == [{"role": "system", "content": "Be brief."}, *HELLO]


def test_chat_without_messages_sends_nothing() -> None:
    server = Server()

    with pytest.raises(TypeError, match="messages is required"):
        server.run(lambda client: client.chat(JOB_ID))
    assert server.requests == []


def test_a_job_id_cannot_leave_its_place_in_the_path() -> None:
    server = Server()

    server.run(lambda client: client.chat("../../teams?x=", HELLO))

    assert server.requests[0].url.raw_path == b"/api/jobs/..%2F..%2Fteams%3Fx%3D/llm-call"


# --- idempotency


def test_every_post_has_an_idempotency_key_of_its_own() -> None:
    server = Server(llm_call_stream=streamed(DONE))

    async def use(client: SaaSLLMClient) -> None:
        await client.create_job("query")
        await client.chat(messages=HELLO)
        await client.chat(messages=HELLO)
        await texts(client)
        await client.complete_job()

    server.run(use)

    keys = [uuid.UUID(request.headers["Idempotency-Key"]) for request in server.requests]
    assert len(set(keys)) == 5


def test_a_request_can_be_repeated_with_the_key_it_had() -> None:
    server = Server(llm_call=httpx.ReadTimeout("30 s"))

    async def use(client: SaaSLLMClient) -> None:
        with pytest.raises(httpx.TimeoutException) as caught:
            await client.chat(JOB_ID, HELLO)
        server.answers["llm-call"] = ANSWER
        await client.chat(JOB_ID, HELLO, idempotency_key=caught.value.request.headers["Idempotency-Key"])

    server.run(use)

    first, second = server.requests
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]


# --- errors


@pytest.mark.parametrize(
    ("status", "detail", "expected"),
    [
        (400, "Job is already completed", InvalidRequest),
        (401, "Invalid API key", AuthenticationError),
        (402, "Payment required", InsufficientCredits),
        (403, "Team access is suspended. Please contact support.", AccessDenied),
        (403, "Insufficient Credits. Team has 0 remaining", InsufficientCredits),
        (403, "API key does not belong to team 'credit-desk'", AccessDenied),
        (404, "Job not found", NotFound),
        (422, "status is required", InvalidRequest),
        (429, "Rate limit exceeded", RateLimited),
        (500, "LLM call failed: timeout", ServerUnavailable),
        (503, "Backend unavailable", ServerUnavailable),
        (409, "Conflict", SaaSLLMError),
    ],
)
def test_status_and_detail_decide_the_error(status: int, detail: str, expected: type[SaaSLLMError]) -> None:
    error = failure(status, {"detail": detail})

    assert type(error) is expected
    assert isinstance(error, httpx.HTTPStatusError)
    assert error.response.status_code == error.status_code == status
    assert error.detail == detail
    assert detail in str(error)


def test_field_errors_are_joined() -> None:
    error = failure(
        422,
        {
            "detail": [
                {"type": "missing", "loc": ["body", "messages"], "msg": "Field required", "input": {}},
                {"type": "float_type", "loc": ["body", "stop", 0], "msg": "Not a string", "input": 1},
            ]
        },
    )

    assert error.detail == "body.messages: Field required; body.stop.0: Not a string"


@pytest.mark.parametrize("text", ["<html>\nBad Gateway</html>", '["no object"]', '{"message": "no detail"}'])
def test_an_answer_without_detail_is_quoted(text: str) -> None:
    error = failure(502, text=text)

    assert type(error) is ServerUnavailable
    assert error.detail == " ".join(text.split())


@pytest.mark.parametrize("status", [429, 500, 503])
def test_retry_after_in_seconds(status: int) -> None:
    assert failure(status, {"detail": "Wait"}, headers={"Retry-After": "7"}).retry_after == 7.0


@pytest.mark.parametrize("zone", ["GMT", "-0000"])
def test_retry_after_as_a_date(zone: str) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True).replace("GMT", zone)

    retry_after = failure(503, {"detail": "Wait"}, headers={"Retry-After": at}).retry_after

    assert retry_after is not None
    assert 50 < retry_after <= 60


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "soon"}])
def test_retry_after_is_none_when_the_server_does_not_say(headers: dict[str, str]) -> None:
    assert failure(429, {"detail": "Wait"}, headers=headers).retry_after is None


@pytest.mark.parametrize(
    "use",
    [
        lambda client: client.create_job("query"),
        lambda client: client.chat(JOB_ID, HELLO),
        lambda client: client.complete_job(JOB_ID),
        lambda client: client.structured_output(JOB_ID, HELLO, Person),
        lambda client: anext(client.chat_stream(JOB_ID, HELLO)),
        lambda client: anext(client.structured_output_stream(JOB_ID, HELLO, Person)),
    ],
    ids=["create", "chat", "complete", "structured", "stream", "structured stream"],
)
def test_every_method_raises_what_the_server_refuses(
    use: Callable[[SaaSLLMClient], Awaitable[object]],
) -> None:
    refusal = {"detail": "Insufficient credits. Team has 0 credits remaining, but 1 required."}

    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(403, stream=Blocks([json.dumps(refusal).encode()]))

    async def session() -> None:
        transport = httpx.MockTransport(refuse)
        async with SaaSLLMClient("http://api.test", "acme", "sk-1", max_retries=0, transport=transport) as client:
            await use(client)

    with pytest.raises(InsufficientCredits, match="Team has 0 credits"):
        asyncio.run(session())


# --- streams


def test_stream_yields_chunks_until_done() -> None:
    usage = {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    server = Server(
        llm_call_stream=streamed(
            b": keepalive\n\n",
            chunk("Hel"),
            b": keepalive\n\n",
            chunk("lo"),
            chunk(choices=[], usage=usage),
            DONE,
            chunk("after the end"),
        )
    )

    async def use(client: SaaSLLMClient) -> list[StreamChunk]:
        return [c async for c in client.chat_stream(JOB_ID, HELLO, "gpt-4")]

    chunks = server.run(use)

    assert server.requests[0].url.path == f"/api/jobs/{JOB_ID}/llm-call-stream"
    assert server.body == {"messages": HELLO, "model": "gpt-4", "temperature": 0.7}
    assert [c.choices[0].delta["content"] for c in chunks[:2]] == ["Hel", "lo"]
    assert chunks[2].choices == []
    assert chunks[2].usage is not None
    assert chunks[2].usage.total_tokens == 4
    assert len(chunks) == 3


def test_stream_with_a_model_group_uses_the_current_job() -> None:
    server = Server(llm_call_stream=streamed(chunk("Hi"), DONE))

    async def use(client: SaaSLLMClient) -> int:
        await client.create_job("query")
        return len([c async for c in client.chat_stream(model_group="chat-fast", messages=HELLO)])

    assert server.run(use) == 1
    assert server.body["model_group"] == "chat-fast"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_stream_is_the_same_however_the_bytes_are_cut(size: int) -> None:
    body = b": keepalive\n\n" + chunk("grün 🙂") + chunk("e Äpfel") + DONE
    server = Server(llm_call_stream=streamed(*(body[i : i + size] for i in range(0, len(body), size))))

    assert server.run(texts) == ["grün 🙂", "e Äpfel"]


def test_stream_keeps_the_line_separators_inside_an_answer() -> None:
    content = "one\u2028two\u2029three\u0085four\x0cfive"
    server = Server(llm_call_stream=streamed(chunk(content), DONE))

    assert server.run(texts) == [content]


def test_stream_accepts_crlf() -> None:
    body = (chunk("Hi") + DONE).replace(b"\n", b"\r\n")

    assert Server(llm_call_stream=streamed(body)).run(texts) == ["Hi"]


def test_stream_may_end_without_a_last_line_end() -> None:
    server = Server(llm_call_stream=streamed(chunk("Hi"), b"data: [DONE]"))

    assert server.run(texts) == ["Hi"]


@pytest.mark.parametrize("error", ["Provider timed out", {"message": "Provider timed out", "code": "x"}])
def test_an_error_event_raises_after_what_was_yielded(error: Any) -> None:
    event = b"data: " + json.dumps({"error": error}).encode() + b"\n\n"
    server = Server(llm_call_stream=streamed(chunk("Hi"), event, DONE))
    received: list[str] = []

    async def use(client: SaaSLLMClient) -> None:
        async for c in client.chat_stream(JOB_ID, HELLO):
            received.append(c.choices[0].delta["content"])

    with pytest.raises(StreamError) as caught:
        server.run(use)
    assert str(caught.value) == "Stream error: Provider timed out"
    assert received == ["Hi"]


@pytest.mark.parametrize("rest", [b"", b'data: {"id": "chatcmpl-1"', b"data: not json\n\n", b"data: 3\n\n"])
def test_a_stream_that_breaks_off_is_not_taken_for_whole(rest: bytes) -> None:
    server = Server(llm_call_stream=streamed(chunk("Hi"), rest))

    with pytest.raises(StreamError, match=r"^Stream error: "):
        server.run(texts)


def test_the_documented_name_of_a_chunk_is_the_same_class() -> None:
    assert ChatCompletionChunk is StreamChunk


# --- structured output


PERSON_FORMAT = {
    "type": "json_schema",
    "json_schema": {
        "name": "Person",
        "schema": {**Person.model_json_schema(), "additionalProperties": False},
        "strict": True,
    },
}


def answer_of(content: str | None) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return {**ANSWER, "choices": [choice]}


def test_structured_output_sends_the_schema_and_returns_the_model() -> None:
    server = Server(llm_call=answer_of('{"name": "Ada", "age": 36}'))

    person = server.run(lambda client: client.structured_output(JOB_ID, HELLO, Person, "gpt-4", 0.1, 99))

    assert person == Person(name="Ada", age=36)
    assert server.body == {
        "messages": HELLO,
        "model": "gpt-4",
        "temperature": 0.1,
        "max_tokens": 99,
        "response_format": PERSON_FORMAT,
    }


def test_structured_output_with_a_model_group_uses_the_current_job() -> None:
    server = Server(llm_call=answer_of('{"name": "Ada", "age": 36}'))

    async def use(client: SaaSLLMClient) -> Person:
        await client.create_job("extract")
        return await client.structured_output(
            model_group="chat-fast", messages=HELLO, response_model=Person, purpose="extract"
        )

    assert server.run(use).name == "Ada"
    assert (server.body["model_group"], server.body["purpose"]) == ("chat-fast", "extract")


@pytest.mark.parametrize("content", ["Sure, here it is", '{"name": "Ada"}', "", None])
def test_structured_output_refuses_an_answer_that_does_not_fit(content: str | None) -> None:
    server = Server(llm_call=answer_of(content))

    with pytest.raises(ValidationError):
        server.run(lambda client: client.structured_output(JOB_ID, HELLO, Person))


def test_structured_output_needs_a_model_class() -> None:
    with pytest.raises(TypeError, match="response_model is required"):
        Server().run(lambda client: client.structured_output(JOB_ID, HELLO))


def test_structured_output_stream_yields_the_json_text() -> None:
    server = Server(
        llm_call_stream=streamed(chunk(""), chunk('{"name": "Ada",'), chunk(' "age": 36}'), chunk(choices=[]), DONE)
    )

    async def use(client: SaaSLLMClient) -> list[str]:
        return [part async for part in client.structured_output_stream(JOB_ID, HELLO, Person)]

    parts = server.run(use)

    assert parts == ['{"name": "Ada",', ' "age": 36}']
    assert server.body["response_format"] == PERSON_FORMAT


def test_leaving_a_structured_stream_early_closes_the_request() -> None:
    response = streamed(chunk("{"), chunk("}"), DONE)

    async def use(client: SaaSLLMClient) -> bool:
        parts = client.structured_output_stream(JOB_ID, HELLO, Person)
        await anext(parts)
        await parts.aclose()
        return response.is_closed

    assert Server(llm_call_stream=response).run(use)
