"""The typed client's twin for programs without asyncio."""

import asyncio
import threading

import httpx
import pytest

from examples.typed_client import InsufficientCredits, SaaSLLMClient, StreamError, SyncSaaSLLMClient
from tests.examples.fake_api import DONE, HELLO, JOB_ID, VECTORS, Person, Server, answer_of, chunk, streamed


def test_the_twin_has_every_method_of_the_client() -> None:
    public = {name for name in vars(SaaSLLMClient) if not name.startswith("_")}

    assert public <= set(vars(SyncSaaSLLMClient))


def test_the_twin_works_without_asyncio() -> None:
    server = Server(llm_call_stream=streamed(chunk("Hel"), chunk("lo"), DONE), embeddings=VECTORS)

    with server.sync_client() as client:
        job_id = client.create_job("query")
        assert client.current_job_id == job_id == JOB_ID
        assert client.chat(job_id, HELLO).content == "Hi"
        assert client.chat("chat-fast", HELLO).content == "Hi"
        assert [piece.content for piece in client.chat_stream(job_id, HELLO)] == ["Hel", "lo"]
        assert len(client.embeddings(["a", "b"]).vectors) == 2
        assert client.complete_job(job_id, "completed").credits_remaining == 95

    assert server.paths == ["create", "llm-call", "llm-call", "llm-call-stream", "embeddings", "complete"]


def test_the_twin_parses_structured_output() -> None:
    text = '{"name": "Ada", "age": 36}'
    ada = Person.model_validate_json(text)
    server = Server(llm_call=answer_of(ada), llm_call_stream=streamed(chunk(text[:9]), chunk(text[9:]), DONE))

    with server.sync_client() as client:
        assert client.structured_output(JOB_ID, HELLO, Person) == ada
        assert "".join(client.structured_output_stream(JOB_ID, HELLO, Person)) == text


def test_the_twins_job_ends_with_its_block() -> None:
    server = Server()

    with server.sync_client() as client:
        with client.job("summary") as job:
            client.chat(messages=HELLO)
        with pytest.raises(LookupError, match="no page"), client.job("summary"):
            raise LookupError("no page")

    assert job.completion is not None
    assert server.paths == ["create", "llm-call", "complete", "create", "complete"]
    assert server.body["status"] == "failed"


def test_the_twin_works_inside_a_running_loop() -> None:
    async def notebook() -> str:
        with Server().sync_client() as client:
            return client.chat(JOB_ID, HELLO).content

    assert asyncio.run(notebook()) == "Hi"


def test_the_twin_raises_what_the_client_raises() -> None:
    server = Server(
        llm_call=httpx.Response(403, json={"detail": "no", "code": "insufficient_credits"}),
        llm_call_stream=streamed(chunk("Hi")),
    )

    with server.sync_client() as client:
        with pytest.raises(InsufficientCredits):
            client.chat(JOB_ID, HELLO)
        with pytest.raises(StreamError):
            list(client.chat_stream(JOB_ID, HELLO))


def test_leaving_a_stream_of_the_twin_closes_the_request() -> None:
    response = streamed(chunk("a"), chunk("b"), DONE)

    with Server(llm_call_stream=response).sync_client() as client:
        pieces = client.chat_stream(JOB_ID, HELLO)
        next(pieces)
        pieces.close()

        assert response.is_closed


def test_a_closed_twin_leaves_no_thread_and_says_so() -> None:
    before = threading.active_count()
    client = Server().sync_client()
    client.complete_job(JOB_ID)
    client.close()
    client.close()

    assert threading.active_count() == before
    with pytest.raises(RuntimeError, match="closed"):
        client.chat(JOB_ID, HELLO)
