"""Streams over HTTP: their bytes, how they end, and what of them is paid."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from django.core.signals import request_finished
from django.db import close_old_connections

from apps.credits.models import BillingSettings
from apps.jobs import asking, execution, replies
from apps.jobs.gateway.interface import Chunk, GatewayError, Usage
from apps.jobs.models import Attempt, Call, Job
from apps.jobs.streaming import marks
from tests import make
from tests.api.calling import MESSAGES, opened_job


def piece(text: str = "", *, finish: str | None = None, index: int = 0, **more: Any) -> Chunk:
    delta = more.pop("delta", {"content": text} if text else {})
    return Chunk([{"index": index, "delta": delta, "finish_reason": finish}], provider_id="chatcmpl-1", **more)


ANSWER = [
    piece("Hello"),
    piece(", "),
    piece("world"),
    piece(finish="stop"),
    Chunk([], usage=Usage(12, 3), raw_usage='{"prompt_tokens": 12}'),
]


class Streaming:
    """A route whose pieces are given: an error among them is raised, a function called."""

    def __init__(self) -> None:
        self.script: list[Any] = list(ANSWER)
        self.requests: list[Any] = []
        self.is_closed = False

    def stream(self, request: Any, *, timeout_s: float) -> Iterator[Chunk]:
        self.requests.append(request)
        try:
            for item in self.script:
                if isinstance(item, Exception):
                    raise item
                if callable(item):
                    item()
                else:
                    yield item
        finally:
            self.is_closed = True


@pytest.fixture
def provider(worker: None, monkeypatch: pytest.MonkeyPatch) -> Streaming:
    route = Streaming()
    monkeypatch.setattr(asking, "gateway_for", lambda _: route)
    return route


def stream(caller: Any, job_id: str, **more: Any) -> Any:
    key = more.pop("key", None)
    return caller.post(f"/api/jobs/{job_id}/llm-call-stream", {"messages": MESSAGES, **more}, key=key)


def create_and_stream(caller: Any, **more: Any) -> Any:
    body = {"team_id": "acme", "job_type": "query", "messages": MESSAGES, **more}
    return caller.post("/api/jobs/create-and-call-stream", body)


def events_of(answer: Any) -> list[Any]:
    """The body's events as a client parses them; `[DONE]` comes last, once."""
    assert answer.status_code == 200, answer.content
    body = b"".join(answer.streaming_content)
    blocks = body.decode().split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith(("data: ", ":")) and "\n" not in block for block in blocks)
    data = [block[6:] for block in blocks if block.startswith("data: ")]
    assert data.pop() == "[DONE]"
    assert "[DONE]" not in data
    return [orjson.loads(text) for text in data]


def text_of(events: list[Any]) -> str:
    return "".join(event["choices"][0]["delta"].get("content", "") for event in events if event["choices"])


# --- The bytes ----------------------------------------------------------------------------------------------


def test_pieces_are_chunks_and_the_last_has_reason_and_usage(team_key, provider):
    job_id = opened_job(team_key)

    answer = stream(team_key, job_id)

    assert answer["Content-Type"] == "text/event-stream; charset=utf-8"
    assert (answer["Cache-Control"], answer["X-Accel-Buffering"]) == ("no-cache", "no")
    assert answer["X-Job-Id"] == job_id
    call = Call.objects.get(pk=answer["X-Call-Id"])
    events = events_of(answer)
    for event in events:
        assert set(event) >= {"id", "object", "created", "model", "choices"}
        assert (event["object"], event["model"]) == ("chat.completion.chunk", "chat-default")
        assert all(isinstance(choice["delta"], dict) for choice in event["choices"])
        assert all(choice["delta"].get("content", "") is not None for choice in event["choices"])
    assert len({(event["id"], event["created"]) for event in events}) == 1
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": "Hello"}
    assert text_of(events) == "Hello, world"
    assert [event["choices"][0]["finish_reason"] for event in events] == [None, None, None, "stop"]
    assert events[-1]["usage"] == {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    assert (call.is_streamed, call.state) == (True, "succeeded")
    assert provider.is_closed


def test_first_bytes_are_a_comment(team_key, provider):
    answer = create_and_stream(team_key)

    assert next(iter(answer.streaming_content)) == b": keepalive\n\n"
    close(answer)


def test_answer_is_kept_and_counted_as_any_other(team_key, provider):
    job_id = opened_job(team_key)
    answer = stream(team_key, job_id)
    call_id = answer["X-Call-Id"]
    events_of(answer)

    later = team_key.get(f"/api/jobs/{job_id}/calls/{call_id}").json()

    assert (later["response"]["content"], later["response"]["finish_reason"]) == ("Hello, world", "stop")
    attempt = Attempt.objects.get()
    assert (attempt.state, attempt.prompt_tokens, attempt.completion_tokens) == ("succeeded", 12, 3)
    job = Job.objects.get(pk=job_id)
    assert (job.open_calls, job.successful_calls, job.total_tokens) == (0, 1, 15)


def test_tool_calls_come_in_pieces_and_are_kept_whole(team_key, provider):
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "add", "arguments": ""}}
    provider.script = [
        piece(delta={"tool_calls": [first]}),
        piece(delta={"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]}),
        piece(delta={"tool_calls": [{"index": 0, "function": {"arguments": " 1}"}}]}),
        piece(finish="tool_calls", usage=Usage(5, 5)),
    ]
    job_id = opened_job(team_key)
    answer = stream(team_key, job_id)

    events = events_of(answer)

    pieces = [call for event in events for call in event["choices"][0]["delta"].get("tool_calls", ())]
    assert pieces[0] == first
    assert "".join(each["function"]["arguments"] for each in pieces) == '{"a": 1}'
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"
    kept = team_key.get(f"/api/jobs/{job_id}/calls/{answer['X-Call-Id']}").json()
    assert kept["response"]["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    ]


def test_several_answers_are_told_apart(team_key, provider):
    provider.script = [
        piece("a", index=0),
        piece("x", index=1),
        piece("b", index=0),
        piece(finish="stop", index=0),
        piece(finish="length", index=1),
        Chunk([], usage=Usage(1, 2)),
    ]

    events = events_of(stream(team_key, opened_job(team_key)))

    texts = {0: "", 1: ""}
    for event in events:
        for choice in event["choices"]:
            texts[choice["index"]] += choice["delta"].get("content", "")
    assert texts == {0: "ab", 1: "x"}
    assert [choice["finish_reason"] for choice in events[-1]["choices"]] == ["stop", "length"]


def test_job_of_one_stream_is_completed_and_charged_at_its_end(team_key, provider, acme):
    answer = create_and_stream(team_key)

    events = events_of(answer)

    costs = events[-1]["costs"]
    assert (costs["credit_applied"], costs["credits_remaining"], costs["total_tokens"]) == (True, 99, 15)
    job = Job.objects.get(pk=answer["X-Job-Id"])
    assert (job.status, job.charge_state) == ("completed", "charged")


# --- What goes wrong ----------------------------------------------------------------------------------------


def test_what_is_refused_is_an_ordinary_error(team_key, provider, stranger):
    job_id = opened_job(team_key)

    assert stream(stranger, job_id).status_code == 404
    assert stream(team_key, "no-such-job").json()["detail"] == "Job not found"
    assert stream(team_key, job_id, model="unknown").status_code == 403
    assert stream(team_key, job_id, messages=[]).status_code == 422
    assert provider.requests == []


def test_failure_before_the_first_piece_has_a_status_of_its_own(team_key, provider):
    provider.script = [GatewayError("rate_limited", "too many requests", status=429, retry_after_s=7)]

    answer = stream(team_key, opened_job(team_key))

    assert (answer.status_code, answer["Retry-After"]) == (429, "7")
    assert answer.json()["detail"] == "LLM call failed: too many requests"


def test_b3_provider_that_dies_ends_the_stream_with_an_error_and_what_was_sent_is_counted(team_key, provider):
    provider.script = [piece("Some words"), GatewayError("provider_broken", "it broke off", status=503)]
    job_id = opened_job(team_key)

    events = events_of(stream(team_key, job_id))

    assert text_of(events[:1]) == "Some words"
    assert events[-1] == {"error": "LLM call failed: it broke off"}
    call, attempt, job = Call.objects.get(), Attempt.objects.get(), Job.objects.get(pk=job_id)
    assert (call.state, call.is_estimated, call.completion_tokens) == ("failed", True, 3)
    assert (attempt.state, attempt.completion_tokens) == ("partial", 3)
    assert (job.successful_calls, job.failed_calls, job.completion_tokens) == (0, 1, 3)
    assert job.lost_cost_nanousd == 0


def test_job_of_one_stream_that_dies_is_failed_and_free(team_key, provider, acme):
    provider.script = [piece("Some"), GatewayError("provider_broken", "it broke off", status=503)]

    answer = create_and_stream(team_key)

    assert "error" in events_of(answer)[-1]
    job = Job.objects.get(pk=answer["X-Job-Id"])
    assert (job.status, job.charge_state) == ("failed", "free")


def test_usage_that_the_provider_does_not_give_is_counted_by_us(team_key, provider):
    provider.script = [piece("Some words"), piece(finish="stop")]

    events = events_of(stream(team_key, opened_job(team_key)))

    assert events[-1]["usage"]["completion_tokens"] > 0
    assert Call.objects.get().is_estimated


def test_metered_stream_beyond_its_hold_ends_with_length(db, provider):
    make.platform_model()
    customer = make.customer(team_id="tokens", credits=100, budget_mode="consumption_tokens")
    from tests.api.calling import Caller

    caller = Caller(customer.headers)
    provider.script = [piece("four byte " * 20) for _ in range(50)] + [piece(finish="stop", usage=Usage(1, 2500))]
    job_id = caller.post("/api/jobs/create", {"team_id": "tokens", "job_type": "q"}).json()["job_id"]

    events = events_of(stream(caller, job_id, max_tokens=100))

    assert events[-1]["choices"][0]["finish_reason"] == "length"
    call = Call.objects.get()
    assert (call.state, call.completion_tokens <= call.bound_output_tokens) == ("succeeded", True)
    assert provider.is_closed
    assert len(text_of(events)) < 1000


# --- Pieces that are lost -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [{0}, {1}, {2}, {0, 1, 2}])
def test_pieces_that_are_lost_are_sent_at_the_end(team_key, provider, monkeypatch, lost):
    deliver = replies.Mailbox.deliver

    def lossy(self: Any, call_id: str, claim: int, number: int, choices: Any) -> None:
        if number not in lost:
            deliver(self, call_id, claim, number, choices)

    monkeypatch.setattr(replies.Mailbox, "deliver", lossy)

    events = events_of(stream(team_key, opened_job(team_key)))

    assert text_of(events) == "Hello, world"
    assert events[0]["choices"][0]["delta"]["role"] == "assistant"


def test_piece_that_comes_twice_is_sent_once(team_key, provider, monkeypatch):
    deliver = replies.Mailbox.deliver

    def twice(self: Any, *piece: Any) -> None:
        deliver(self, *piece)
        deliver(self, *piece)

    monkeypatch.setattr(replies.Mailbox, "deliver", twice)

    assert text_of(events_of(stream(team_key, opened_job(team_key)))) == "Hello, world"


def test_stream_that_another_worker_began_anew_is_an_error(team_key, provider, monkeypatch):
    deliver = replies.Mailbox.deliver

    def second_claim(self: Any, call_id: str, claim: int, number: int, choices: Any) -> None:
        deliver(self, call_id, claim + (number > 0), number if number == 0 else number - 1, choices)

    monkeypatch.setattr(replies.Mailbox, "deliver", second_claim)

    events = events_of(stream(team_key, opened_job(team_key)))

    assert text_of(events[:1]) == "Hello"
    assert events[-1]["error"].startswith("The stream was interrupted.")


def test_stream_begun_anew_before_it_said_anything_goes_on(team_key, provider, monkeypatch):
    deliver = replies.Mailbox.deliver

    def second_claim(self: Any, call_id: str, claim: int, number: int, choices: Any) -> None:
        deliver(self, call_id, claim + (number > 0), number if number == 0 else number - 1, choices)

    monkeypatch.setattr(replies.Mailbox, "deliver", second_claim)
    provider.script = [piece(delta={"role": "assistant", "content": ""}), *ANSWER]

    events = events_of(stream(team_key, opened_job(team_key)))

    assert text_of(events) == "Hello, world"
    assert len(events) == 5


# --- Clients that leave -------------------------------------------------------------------------------------


def leave_after_first(answer: Any) -> None:
    """As the server does when its client has gone."""
    body = answer._iterator
    next(body)
    body.close()


def close(answer: Any) -> None:
    """Close it as a server does; the connection is the test's own and stays."""
    request_finished.disconnect(close_old_connections)
    try:
        answer.close()
    finally:
        request_finished.connect(close_old_connections)


def test_place_is_given_back_when_the_client_leaves(team_key, provider, settings):
    free = replies.mailbox()._waiting._value
    answer = stream(team_key, opened_job(team_key))
    assert replies.mailbox()._waiting._value == free - 1

    close(answer)

    assert replies.mailbox()._waiting._value == free


def test_place_is_given_back_at_the_end_and_after_a_refusal(team_key, provider):
    free = replies.mailbox()._waiting._value
    events_of(stream(team_key, opened_job(team_key)))
    stream(team_key, "no-such-job")
    provider.script = [GatewayError("provider_error", "no", status=500)]
    stream(team_key, opened_job(team_key))

    assert replies.mailbox()._waiting._value == free


def test_b3_client_that_left_and_asks_again_is_given_the_whole_answer(team_key, provider):
    job_id = opened_job(team_key)
    leave_after_first(stream(team_key, job_id))

    again = stream(team_key, job_id)

    assert text_of(events_of(again)) == "Hello, world"
    assert len(provider.requests) == 1
    assert Call.objects.count() == 1


def test_client_that_lacks_only_the_end_is_given_the_whole_answer(team_key, provider):
    job_id = opened_job(team_key)
    answer = stream(team_key, job_id)
    body = answer._iterator
    while b'finish_reason":"stop' not in next(body):
        pass
    body.close()

    again = stream(team_key, job_id)

    assert text_of(events_of(again)) == "Hello, world"
    assert len(provider.requests) == 1


def test_same_question_after_a_whole_answer_is_asked_again(team_key, provider):
    job_id = opened_job(team_key)
    for _ in range(2):
        events_of(stream(team_key, job_id))

    assert len(provider.requests) == 2


def test_same_idempotency_key_is_given_the_whole_answer(team_key, provider):
    job_id = opened_job(team_key)
    first = events_of(stream(team_key, job_id, key="k-1"))

    again = stream(team_key, job_id, key="k-1")

    assert again["Idempotency-Replayed"] == "true"
    events = events_of(again)
    assert text_of(events) == text_of(first)
    assert events[-1]["usage"] == first[-1]["usage"]
    assert len(provider.requests) == 1


def test_b3_stream_that_is_not_wanted_any_more_is_broken_off_and_paid_as_far_as_it_went(team_key, provider, acme):
    BillingSettings.objects.update_or_create(team=acme.team, defaults={"cancels_left_streams": True})

    def leave() -> None:
        Call.objects.update(cancel_requested_at="2026-01-01T00:00:00Z")
        marks.save()

    provider.script = [piece("Some words"), leave, piece("more"), piece("never sent"), piece(finish="stop")]

    events = events_of(create_and_stream(team_key))

    assert text_of(events) == "Some wordsmore"
    call, attempt = Call.objects.get(), Attempt.objects.get()
    # What was sent is the answer, and the job is paid: else leaving before the end would be free.
    assert (call.state, call.is_estimated, attempt.state) == ("succeeded", True, "succeeded")
    assert 0 < call.completion_tokens <= 4
    assert provider.is_closed
    job = Job.objects.get()
    assert (job.status, job.charge_state) == ("completed", "charged")


def test_stream_that_was_broken_off_is_not_given_to_who_asks_again(team_key, provider, acme):
    BillingSettings.objects.update_or_create(team=acme.team, defaults={"cancels_left_streams": True})
    job_id = opened_job(team_key)
    stream(team_key, job_id)
    Call.objects.update(unanswered_at="2026-01-01T00:00:00Z", cancel_requested_at="2026-01-01T00:00:00Z")

    events_of(stream(team_key, job_id))

    assert Call.objects.count() == 2


def test_reader_that_left_does_not_end_another_s_stream(team_key, no_worker, acme):
    from apps.jobs import services
    from tests.jobs import steps

    BillingSettings.objects.update_or_create(team=acme.team, defaults={"cancels_left_streams": True})
    submitted = steps.ask(acme, steps.open_job(acme), is_streamed=True)
    first_reader_s = steps.call_of(submitted)
    # A second reader is given the call: its wait is another one.
    steps.at(first_reader_s, wait_until=600)

    services.leave_stream(acme.team, first_reader_s)

    call = steps.call_of(submitted)
    assert (call.state, call.unanswered_at, call.cancel_requested_at) == ("queued", None, None)


def test_custom_tool_s_input_comes_in_pieces_and_is_kept_whole(team_key, provider):
    first = {"index": 0, "id": "call_1", "type": "custom", "custom": {"name": "sql", "input": ""}}
    provider.script = [
        piece(delta={"tool_calls": [first]}),
        piece(delta={"tool_calls": [{"index": 0, "custom": {"input": "select "}}]}),
        piece(delta={"tool_calls": [{"index": 0, "custom": {"input": "1"}}]}),
        piece(finish="tool_calls", usage=Usage(5, 5)),
    ]
    job_id = opened_job(team_key)
    answer = stream(team_key, job_id)

    events_of(answer)

    kept = team_key.get(f"/api/jobs/{job_id}/calls/{answer['X-Call-Id']}").json()
    assert kept["response"]["tool_calls"] == [
        {"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    ]


def test_stream_that_broke_off_after_a_tool_s_name_has_begun(team_key, provider):
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "pay", "arguments": ""}}
    provider.script = [
        piece(delta={"tool_calls": [first]}),
        GatewayError("provider_broken", "it broke off", status=503, is_retryable=True),
    ]

    events = events_of(stream(team_key, opened_job(team_key)))

    assert "error" in events[-1]
    assert Attempt.objects.get().state == "partial"


def test_defect_in_the_middle_ends_the_stream_and_is_settled(team_key, provider):
    provider.script = [piece("Some words"), ZeroDivisionError()]

    events = events_of(stream(team_key, opened_job(team_key)))

    assert "error" in events[-1]
    assert Call.objects.get().state == "failed"


@pytest.mark.parametrize("cancels", [True, False])
def test_team_says_what_becomes_of_a_stream_whose_client_left(team_key, no_worker, acme, cancels):
    BillingSettings.objects.update_or_create(team=acme.team, defaults={"cancels_left_streams": cancels})
    from apps.jobs import services

    job_id = opened_job(team_key)
    submitted = services.submit_call(
        acme.principal,
        services.CallRequest(body={"messages": MESSAGES}, fingerprint="f", is_streamed=True),
        job_id=job_id,
        wait_s=10,
        reply_to="",
    )
    call = Call.objects.get(pk=submitted.call_id)

    services.leave_stream(acme.team, call)

    call.refresh_from_db()
    assert call.state == ("cancelled" if cancels else "queued")
    assert call.unanswered_at is not None


def test_running_stream_whose_client_left_is_asked_to_end(team_key, no_worker, acme):
    BillingSettings.objects.update_or_create(team=acme.team, defaults={"cancels_left_streams": True})
    from apps.jobs import services
    from tests.jobs import steps

    job = steps.open_job(acme)
    submitted = steps.ask(acme, job, is_streamed=True)
    assert execution.claim(str(submitted.call_id)) is not None
    call = steps.call_of(submitted)

    services.leave_stream(acme.team, call)

    call.refresh_from_db()
    assert (call.state, call.cancel_requested_at is not None) == ("running", True)
    steps.at(call, lease_until=-1)


def test_what_was_asked_is_let_go_of_while_the_answer_is_sent(team_key, provider):
    answer = stream(team_key, opened_job(team_key))

    assert answer.wsgi_request.body == b""
    assert text_of(events_of(answer)) == "Hello, world"


# --- Workers that die ---------------------------------------------------------------------------------------


def test_stream_of_a_dead_worker_is_settled_at_what_was_sent(team_key, no_worker, acme):
    from apps.jobs import sweeper
    from tests.jobs import steps

    make.alias("priced", input_usd_per_mtok=1, output_usd_per_mtok=2, is_open=True)
    job = steps.open_job(acme)
    submitted = steps.ask(acme, job, model="priced", is_streamed=True)
    claimed = execution.claim(str(submitted.call_id))
    assert claimed is not None
    progress = marks.Progress(claimed.call.pk, 1, delivered_bytes=40)
    with marks.kept(progress):
        marks.save()
    steps.at(steps.call_of(submitted), lease_until=-1)

    assert sweeper._take_over() == (0, 1)

    call, attempt = steps.call_of(submitted), Attempt.objects.get()
    assert (call.state, call.error_code, call.is_estimated, call.completion_tokens) == (
        "failed",
        "worker_lost",
        True,
        10,
    )
    assert (attempt.state, attempt.cost_nanousd) == ("partial", call.provider_cost_nanousd)
    job = steps.fresh(job)
    assert (job.completion_tokens, job.provider_cost_nanousd) == (10, call.provider_cost_nanousd)
    assert (job.lost_cost_nanousd, job.open_calls) == (0, 0)


def test_stream_of_a_dead_worker_that_had_sent_nothing_is_made_anew(team_key, no_worker, acme):
    from apps.jobs import sweeper
    from tests.jobs import steps

    submitted = steps.ask(acme, steps.open_job(acme), is_streamed=True)
    assert execution.claim(str(submitted.call_id)) is not None
    steps.at(steps.call_of(submitted), lease_until=-1)

    assert sweeper._take_over() == (1, 0)
    assert steps.call_of(submitted).state == "queued"
