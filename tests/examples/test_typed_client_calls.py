"""The typed client's jobs as blocks, tools, strict schemas and embeddings."""

import asyncio
import json
from typing import Literal

import httpx
import pytest
from pydantic import BaseModel, Field

from examples.typed_client import (
    InsufficientCredits,
    Job,
    Message,
    SaaSLLMClient,
    ToolCall,
)
from tests.examples.fake_api import ANSWER, HELLO, JOB_ID, VECTORS, Server, answer_of

# --- jobs as blocks


def test_a_job_is_completed_at_the_end_of_its_block() -> None:
    server = Server()

    async def use(client: SaaSLLMClient) -> Job:
        async with client.job("summary", {"pages": 3}) as job:
            await client.chat(messages=HELLO)
            job.result = {"text": "short"}
            assert client.current_job_id == job.job_id == JOB_ID
        assert client.current_job_id is None
        return job

    job = server.run(use)

    assert server.paths == ["create", "llm-call", "complete"]
    assert server.body == {"status": "completed", "result": {"text": "short"}}
    assert job.completion is not None
    assert job.completion.credits_remaining == 95


def test_a_job_fails_when_its_block_raises() -> None:
    server = Server()

    async def use(client: SaaSLLMClient) -> None:
        async with client.job("summary"):
            raise LookupError("no such page")

    with pytest.raises(LookupError, match="no such page"):
        server.run(use)

    assert server.body == {"status": "failed", "error_message": "LookupError: no such page"}


def test_a_cancelled_block_fails_its_job() -> None:
    server = Server()

    async def use(client: SaaSLLMClient) -> None:
        async def work() -> None:
            async with client.job("summary"):
                await asyncio.Event().wait()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(work(), timeout=0.05)

    server.run(use)

    assert (server.paths[-1], server.body["status"]) == ("complete", "failed")


def test_the_blocks_own_error_is_raised_even_if_the_job_cannot_be_failed() -> None:
    server = Server(complete=httpx.Response(500, json={"detail": "no"}))

    async def use(client: SaaSLLMClient) -> None:
        async with client.job("summary"):
            raise LookupError("no such page")

    with pytest.raises(LookupError):
        server.run(use)


def test_an_error_message_is_as_long_as_the_server_takes() -> None:
    server = Server()

    async def use(client: SaaSLLMClient) -> None:
        async with client.job("summary"):
            raise LookupError("x" * 5000)

    with pytest.raises(LookupError):
        server.run(use)

    assert len(server.body["error_message"]) == 1000


# --- tools


CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Graz"}'}}


def test_tool_calls_are_typed() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    server = Server(llm_call={**ANSWER, "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})

    answer = server.run(lambda client: client.chat(JOB_ID, HELLO, tools=[{"type": "function"}]))

    assert answer.content == ""
    assert answer.tool_calls == answer.choices[0].tool_calls == [ToolCall.model_validate(CALL)]
    assert json.loads(answer.tool_calls[0].function.arguments) == {"city": "Graz"}


def test_an_answer_without_tool_calls_has_an_empty_list() -> None:
    assert Server().run(lambda client: client.chat(JOB_ID, HELLO)).tool_calls == []


def test_tool_messages_are_sent_as_they_were_received() -> None:
    server = Server()
    asked = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    told = Message(role="tool", tool_call_id="call_1", content="12 degrees")

    server.run(lambda client: client.chat(JOB_ID, [*HELLO, asked, told]))

    assert server.body["messages"][1] == asked
    assert server.body["messages"][2] == {"role": "tool", "tool_call_id": "call_1", "content": "12 degrees"}


def test_a_misspelt_argument_is_refused_before_anything_is_sent() -> None:
    server = Server()

    with pytest.raises(TypeError, match="unknown argument: tool_choise"):
        server.run(lambda client: client.chat(JOB_ID, HELLO, tool_choise="auto"))  # type: ignore[call-arg]

    assert server.requests == []


# --- strict schemas


class Line(BaseModel):
    text: str = "none"
    default: Literal["a", "b"] = "a"


class Invoice(BaseModel):
    lines: list[Line]
    properties: Line | None = None
    labels: dict[str, Line] = Field(default_factory=dict)


def test_schemas_are_sent_as_strict_models_want_them() -> None:
    server = Server(llm_call=answer_of(Invoice(lines=[Line(text="x")], properties=Line())))

    invoice = server.run(lambda client: client.structured_output(JOB_ID, HELLO, Invoice))

    assert invoice.properties == Line()
    schema = server.body["response_format"]["json_schema"]["schema"]
    line = schema["$defs"]["Line"]
    assert set(schema["required"]) == {"lines", "properties", "labels"}
    assert set(line["required"]) == {"text", "default"}
    assert schema["additionalProperties"] is line["additionalProperties"] is False
    assert "default" not in line["properties"]["text"]
    assert line["properties"]["default"]["enum"] == ["a", "b"]


# --- embeddings


def test_embeddings_are_in_the_order_of_the_texts() -> None:
    server = Server(embeddings=VECTORS)

    answer = server.run(lambda client: client.embeddings(["a", "b"], "embed", dimensions=2))

    assert answer.vectors == [[1.0, 0.0], [0.0, 1.0]]
    assert answer.usage is not None
    assert answer.usage.total_tokens == 4
    assert str(server.requests[0].url) == "http://api.test/v1/embeddings"
    assert server.body == {"input": ["a", "b"], "model": "embed", "dimensions": 2}
    assert "X-Job-Id" not in server.requests[0].headers


def test_embeddings_join_the_open_job() -> None:
    server = Server(embeddings=VECTORS)

    async def use(client: SaaSLLMClient) -> None:
        async with client.job("index"):
            await client.embeddings("a")

    server.run(use)

    assert server.requests[1].headers["X-Job-Id"] == JOB_ID
    assert json.loads(server.requests[1].content) == {"input": "a"}


def test_errors_in_openais_shape_are_understood() -> None:
    refusal = {"message": "Team has 0 credits.", "type": "insufficient_quota", "code": "insufficient_quota"}
    server = Server(embeddings=httpx.Response(402, json={"error": refusal}))

    with pytest.raises(InsufficientCredits) as caught:
        server.run(lambda client: client.embeddings("a"))

    assert (caught.value.code, caught.value.detail) == ("insufficient_quota", "Team has 0 credits.")
