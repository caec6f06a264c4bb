"""OpenAI's own Python client, synchronous and asynchronous, against a served platform."""

import asyncio
from typing import Any

import httpx
import openai
import pytest
from django.db import connection
from pydantic import BaseModel

from apps.jobs import asking, execution
from apps.jobs.models import Call
from tests import make
from tests.api.calling import MESSAGES

pytestmark = pytest.mark.django_db(transaction=True)


class City(BaseModel):
    name: str
    inhabitants: int


class Losing(httpx.BaseTransport):
    """Loses the first `answers` of those that the server has given."""

    def __init__(self, answers: int) -> None:
        self.answers = answers
        self.sent: list[httpx.Request] = []
        self._real = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        response = self._real.handle_request(request)
        if len(self.sent) <= self.answers:
            response.read()
            raise httpx.ReadTimeout("lost on its way", request=request)
        return response


class LosingAsync(httpx.AsyncBaseTransport):
    """The same for the asynchronous client."""

    def __init__(self, answers: int) -> None:
        self.left = answers
        self._real = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._real.handle_async_request(request)
        if self.left:
            self.left -= 1
            await response.aread()
            raise httpx.ReadError("connection reset", request=request)
        return response


@pytest.fixture
def url(live_server: Any) -> str:
    return f"{live_server.url}/v1"


@pytest.fixture
def client(acme: make.Customer, url: str, retry_pauses: list[Any]) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key=acme.secret)


def left(customer: make.Customer) -> float:
    from apps.credits import billing

    return billing.balance(customer.team).spendable_micros / 1_000_000


# --- Asking ------------------------------------------------------------------------------------------------


def test_client_asks_and_is_answered(client, acme, provider):
    answer = client.chat.completions.with_raw_response.create(model="chat-default", messages=MESSAGES)

    completion = answer.parse()
    assert (completion.choices[0].message.content, completion.model) == ("Answer 1", "chat-default")
    assert completion.usage.total_tokens == 15
    assert answer.headers["x-saasllm-credits-remaining"] == "99"
    assert completion._request_id == answer.headers["x-request-id"]


def test_asynchronous_client_asks_and_is_answered(acme, url, provider):
    async def ask() -> Any:
        async with openai.AsyncOpenAI(base_url=url, api_key=acme.secret) as client:
            return await client.chat.completions.create(model="chat-default", messages=MESSAGES)

    assert asyncio.run(ask()).choices[0].message.content == "Answer 1"


def test_demo_provider_answers_the_client(client, worker):
    completion = client.chat.completions.create(model="chat-default", messages=MESSAGES)

    assert completion.choices[0].message.content.startswith("Python is")


def test_calls_join_a_job_by_header(client, acme, provider):
    job_id = httpx.post(
        str(client.base_url).replace("/v1/", "/api/jobs/create"),
        headers=acme.headers,
        json={"team_id": "acme", "job_type": "trip"},
    ).json()["job_id"]

    for _ in range(2):
        client.chat.completions.create(model="chat-default", messages=MESSAGES, extra_headers={"X-Job-Id": job_id})

    assert Call.objects.filter(job=job_id).count() == 2


def test_tools_are_called_and_answered(client, provider):
    call = {"id": "call_1", "type": "function", "function": {"name": "lookup", "arguments": '{"city": "Oslo"}'}}
    provider.says += [{"content": "", "tool_calls": [call]}, {"content": "It rains."}]
    tools = [{"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}]

    first = client.chat.completions.create(model="chat-default", messages=MESSAGES, tools=tools).choices[0]
    talk = [
        *MESSAGES,
        first.message,
        {"role": "tool", "tool_call_id": first.message.tool_calls[0].id, "content": "rain"},
    ]
    second = client.chat.completions.create(model="chat-default", messages=talk, tools=tools)

    assert (first.finish_reason, first.message.tool_calls[0].function.name) == ("tool_calls", "lookup")
    assert second.choices[0].message.content == "It rains."
    assert [message["role"] for message in provider.bodies[1]["messages"]] == ["user", "assistant", "tool"]


def test_answer_is_parsed_into_a_pydantic_model(client, provider):
    provider.says.append({"content": '{"name": "Oslo", "inhabitants": 717710}'})

    completion = client.chat.completions.parse(model="chat-default", messages=MESSAGES, response_format=City)

    assert completion.choices[0].message.parsed == City(name="Oslo", inhabitants=717710)
    sent = provider.bodies[0]["response_format"]
    assert (sent["type"], sent["json_schema"]["strict"]) == ("json_schema", True)


def test_legacy_completion(client, provider):
    assert client.completions.create(model="chat-default", prompt="Once upon").choices[0].text == "Answer 1"


def test_models_are_listed_and_retrieved(client, provider):
    make.alias("fast", is_open=True)

    assert [model.id for model in client.models.list()] == ["chat-default", "fast"]
    assert client.models.retrieve("fast").id == "fast"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


# --- Errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "more", "code"),
    [
        (openai.BadRequestError, {"temperature": 5}, "invalid_value"),
        (openai.BadRequestError, {"store": True}, "unsupported_parameter"),
        (openai.NotFoundError, {"model": "gpt-9"}, "model_not_found"),
        (openai.NotFoundError, {"extra_headers": {"X-Job-Id": "nothing"}}, "job_not_found"),
    ],
)
def test_refusal_is_the_clients_own_exception(client, provider, kind, more, code):
    with pytest.raises(kind) as refusal:
        client.chat.completions.create(**{"model": "chat-default", "messages": MESSAGES, **more})

    assert refusal.value.code == code


def test_wrong_key_is_an_authentication_error(client, provider):
    with pytest.raises(openai.AuthenticationError) as refusal:
        client.with_options(api_key="sk-wrong").models.list()

    assert refusal.value.code == "invalid_api_key"


def test_refusals_are_final(acme, url, provider):
    poor = make.customer(credits=0)
    transport = Losing(0)

    with httpx.Client(transport=transport) as http:
        client = openai.OpenAI(base_url=url, api_key=poor.secret, http_client=http, max_retries=5)
        with pytest.raises(openai.APIStatusError) as refusal:
            client.chat.completions.create(model="chat-default", messages=MESSAGES)

    assert (refusal.value.status_code, refusal.value.code) == (402, "insufficient_quota")
    assert len(transport.sent) == 1


# --- Its own retries ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [1, 2])
def test_lost_answer_is_had_by_retrying_and_charged_once(acme, url, provider, retry_pauses, lost):
    transport = Losing(lost)

    with httpx.Client(transport=transport) as http:
        client = openai.OpenAI(base_url=url, api_key=acme.secret, http_client=http)
        answer = client.chat.completions.create(model="chat-default", messages=MESSAGES)

    assert (answer.choices[0].message.content, len(transport.sent)) == ("Answer 1", lost + 1)
    assert (len(provider.asked), Call.objects.count(), left(acme)) == (1, 1, 99)


def test_asynchronous_client_retries_without_being_charged_twice(acme, url, provider, retry_pauses):
    async def ask() -> Any:
        async with httpx.AsyncClient(transport=LosingAsync(1)) as http:
            client = openai.AsyncOpenAI(base_url=url, api_key=acme.secret, http_client=http)
            return await client.chat.completions.create(model="chat-default", messages=MESSAGES)

    assert asyncio.run(ask()).choices[0].message.content == "Answer 1"
    assert (len(provider.asked), left(acme)) == (1, 99)


def test_failed_calls_are_retried_and_only_the_answer_is_charged(client, acme, provider):
    provider.fails(status=503)
    provider.fails("provider_rate_limited", status=429, retry_after_s=1)

    answer = client.chat.completions.create(model="chat-default", messages=MESSAGES)

    assert answer.choices[0].message.content == "Answer 3"
    assert left(acme) == 99


def test_rate_limit_is_its_own_exception_when_retries_are_over(client, provider):
    for _ in range(3):
        provider.fails("provider_rate_limited", status=429, retry_after_s=1)

    with pytest.raises(openai.RateLimitError) as refusal:
        client.chat.completions.create(model="chat-default", messages=MESSAGES)

    assert refusal.value.code == "rate_limit_exceeded"
    assert len(provider.asked) == 3


def test_slow_call_is_answered_by_the_retry_that_joins_it(client, acme, no_worker, retry_pauses):
    def work() -> None:
        execution.run_call(str(Call.objects.get().pk))
        connection.close()

    retry_pauses += [lambda: None, work]

    answer = client.chat.completions.create(
        model="chat-default", messages=MESSAGES, extra_headers={"Prefer": "wait=0"}
    )

    assert answer.choices[0].message.content.startswith("Python is")
    assert (Call.objects.count(), left(acme)) == (1, 99)


# --- Streams and embeddings, of the demo provider -----------------------------------------------------------


def test_client_is_streamed_to(client, acme, worker):
    chunks = list(client.chat.completions.create(model="chat-default", messages=MESSAGES, stream=True))

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.startswith("Python is")
    assert len(chunks) > 3
    assert {chunk.model for chunk in chunks} == {"chat-default"}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    account = chunks[-1].model_extra["saasllm"]
    assert (account["credits_charged"], account["credits_remaining"]) == ("1", "99")
    assert left(acme) == 99


def test_client_is_told_the_usage_of_a_stream_when_it_asks(client, worker):
    options = {"include_usage": True}
    with client.chat.completions.create(
        model="chat-default", messages=MESSAGES, stream=True, stream_options=options
    ) as stream:
        chunks = list(stream)

    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == Call.objects.get().total_tokens > 0
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_asynchronous_client_is_streamed_to(acme, url, worker):
    async def ask() -> str:
        async with openai.AsyncOpenAI(base_url=url, api_key=acme.secret) as client:
            stream = await client.chat.completions.create(model="chat-default", messages=MESSAGES, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

    assert asyncio.run(ask()).startswith("Python is")


def test_stream_is_gathered_by_the_client_s_own_helper(client, worker):
    with client.chat.completions.stream(model="chat-default", messages=MESSAGES) as stream:
        completion = stream.get_final_completion()

    assert completion.choices[0].message.content.startswith("Python is")
    assert completion.choices[0].finish_reason == "stop"


def test_stream_that_breaks_off_is_the_client_s_error(client, worker, monkeypatch):
    from apps.jobs.gateway import failures
    from apps.jobs.gateway.interface import Chunk

    class Breaking:
        def stream(self, request: Any, *, timeout_s: float) -> Any:
            yield Chunk([{"index": 0, "delta": {"content": "Some"}, "finish_reason": None}])
            raise failures.broken_off()

    monkeypatch.setattr(asking, "gateway_for", lambda _: Breaking())
    stream = client.chat.completions.create(model="chat-default", messages=MESSAGES, stream=True)

    assert next(stream).choices[0].delta.content == "Some"
    with pytest.raises(openai.APIError, match="the model backend broke off"):
        next(stream)


def test_failure_before_a_stream_begins_has_its_status(client, worker, monkeypatch):
    from apps.jobs.gateway import failures

    class Failing:
        def stream(self, request: Any, *, timeout_s: float) -> Any:
            raise failures.by_status(429, "", retry_after_s=1)

    monkeypatch.setattr(asking, "gateway_for", lambda _: Failing())

    with pytest.raises(openai.RateLimitError):
        client.with_options(max_retries=0).chat.completions.create(
            model="chat-default", messages=MESSAGES, stream=True
        )


def test_legacy_completion_is_streamed(client, worker):
    chunks = list(client.completions.create(model="chat-default", prompt="What is Python?", stream=True))

    assert "".join(chunk.choices[0].text for chunk in chunks).startswith("Python is")
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert {chunk.object for chunk in chunks} == {"text_completion"}


def test_client_parses_a_schema_and_calls_a_tool(client, worker):
    parsed = client.chat.completions.parse(model="chat-default", messages=MESSAGES, response_format=City)
    assert isinstance(parsed.choices[0].message.parsed, City)
    tool = {
        "type": "function",
        "function": {
            "name": "population",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }

    answer = client.chat.completions.create(
        model="chat-default", messages=MESSAGES, tools=[tool], tool_choice="required"
    )

    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "population"
    assert "city" in call.function.arguments


def test_client_is_given_embeddings_whatever_their_encoding(client, acme, worker):
    # The client asks for base64 by itself, and unpacks it.
    packed = client.embeddings.create(model="chat-default", input=["one", "two"])
    plain = client.embeddings.create(model="chat-default", input="one", encoding_format="float", dimensions=8)

    assert [each.index for each in packed.data] == [0, 1]
    assert len(packed.data[0].embedding) == 256
    assert sum(value * value for value in packed.data[0].embedding) == pytest.approx(1, abs=1e-3)
    assert len(plain.data[0].embedding) == 8
    assert packed.usage.total_tokens == packed.usage.prompt_tokens > 0
    assert packed.model == "chat-default"
    assert left(acme) == 98
    assert {call.kind for call in Call.objects.all()} == {"embedding"}


@pytest.mark.parametrize(
    ("given", "param"),
    [([], "input"), ("", "input"), (["a", ""], "input[1]"), ([[]], "input[0]"), (["a"] * 2049, "input")],
    ids=["no entry", "empty text", "one empty", "no token", "too many"],
)
def test_embedding_of_nothing_is_refused_before_anything_is_held(client, worker, given, param):
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model="chat-default", input=given)

    assert refused.value.param == param
    assert Call.objects.count() == 0


def test_model_that_makes_no_embeddings_is_refused(client, acme, worker):
    make.alias("talker", is_open=True, supports_embeddings=False)

    with pytest.raises(openai.BadRequestError, match="makes no embeddings"):
        client.embeddings.create(model="talker", input="one")
