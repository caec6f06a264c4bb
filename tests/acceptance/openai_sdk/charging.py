"""What is charged, and how often: the client's own retries, keys, and jobs of several calls."""

from typing import Any

import openai

from tests.acceptance.openai_sdk.asking import QUESTION, ask
from tests.acceptance.openai_sdk.platform import CHAT, LIMITED, SLOW, Customer
from tests.acceptance.openai_sdk.refusals import raised
from tests.acceptance.openai_sdk.streams import account_of, text_of


def lost_answer_is_had_by_the_clients_retry_and_charged_once(at: Customer) -> None:
    at.watch.answers_to_lose = 2

    completion = ask(at)

    assert "Python" in completion.choices[0].message.content
    assert len({exchange.headers["x-call-id"] for exchange in at.watch.asked("/v1/chat/completions")}) == 1
    assert (at.left(), at.statuses(), at.tries()) == (9, ["completed"], 3)


def lost_embedding_is_had_by_the_clients_retry_and_charged_once(at: Customer) -> None:
    at.watch.answers_to_lose = 1

    assert at.client.embeddings.create(model=CHAT, input="one").data[0].embedding

    assert (at.left(), at.statuses(), at.tries("/v1/embeddings")) == (9, ["completed"], 2)


def client_that_gives_up_early_joins_its_call(at: Customer) -> None:
    impatient = at.client.with_options(timeout=0.4, max_retries=50)

    completion = impatient.chat.completions.create(model=SLOW, messages=QUESTION)

    assert completion.choices[0].message.content
    assert at.tries() > 1
    assert (at.left(), at.statuses()) == (9, ["completed"])


def call_that_outlives_its_wait_is_joined_by_a_retry(at: Customer) -> None:
    once = at.client.with_options(max_retries=0)
    error = raised(lambda: once.chat.completions.create(
        model=SLOW, messages=QUESTION, extra_headers={"Prefer": "wait=0"}
    ))  # fmt: skip

    assert (error.status_code, error.code, error.type) == (503, "call_still_running", "server_error")
    assert int(error.response.headers["retry-after"]) >= 1
    # As the client counts its own retries.
    raw = once.chat.completions.with_raw_response.create(
        model=SLOW, messages=QUESTION, extra_headers={"x-stainless-retry-count": "1"}
    )
    assert raw.parse().choices[0].message.content
    assert raw.headers["x-call-id"] == error.response.headers["x-call-id"]
    assert (at.left(), at.statuses()) == (9, ["completed"])


def rate_limited_try_is_repeated_and_only_the_answer_is_charged(at: Customer) -> None:
    alias = f"{at.team_id}-turning"
    at.platform.make_model(alias, like=LIMITED)
    at.between_tries += [lambda: None, lambda: at.platform.turn_model(alias, like=CHAT)]

    completion = ask(at, model=alias)

    assert (completion.model, completion.choices[0].finish_reason) == (alias, "stop")
    assert (at.left(), at.statuses(), at.tries()) == (9, ["completed", "failed", "failed"], 3)


def key_has_one_answer_and_one_charge(at: Customer) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first, again = (
        at.client.chat.completions.with_raw_response.create(model=CHAT, messages=QUESTION, extra_headers=headers)
        for _ in range(2)
    )

    assert first.parse() == again.parse()
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    error = raised(lambda: ask(at, "Something else", extra_headers=headers))
    assert (error.status_code, error.code) == (400, "idempotency_conflict")
    assert (at.left(), at.statuses()) == (9, ["completed"])


def the_same_question_twice_is_charged_twice(at: Customer) -> None:
    assert ask(at).id != ask(at).id
    assert (at.left(), at.statuses()) == (8, ["completed"] * 2)


def opened(at: Customer) -> str:
    """The id of a job that is open."""
    body = {"team_id": at.team_id, "job_type": "trip"}
    job_id: str = at.api("POST", "/jobs/create", **body)["job_id"]
    return job_id


def calls_of_a_job_are_charged_once_when_it_is_completed(at: Customer) -> None:
    job_id = opened(at)
    named = {"extra_headers": {"X-Job-Id": job_id}}

    raw = at.client.chat.completions.with_raw_response.create(model=CHAT, messages=QUESTION, **named)
    chunks = list(ask(at, stream=True, **named))
    ask(at, metadata={"job_id": job_id, "step": "three"})
    at.client.embeddings.create(model=CHAT, input="one", **named)
    at.client.completions.create(model=CHAT, prompt="one", **named)
    failed = raised(lambda: at.client.with_options(max_retries=0).chat.completions.create(
        model=LIMITED, messages=QUESTION, **named
    ))  # fmt: skip

    # While it is open nothing is charged, and what it may come to is set aside.
    assert (raw.headers["x-saasllm-credits-charged"], raw.headers["x-job-id"]) == ("0", job_id)
    assert account_of(chunks[-1])["credits_charged"] == "0"
    assert failed.response.headers["x-job-id"] == job_id
    assert at.statuses() == ["in_progress"]
    done = at.api("POST", f"/jobs/{job_id}/complete", status="completed")
    assert done["costs"]["credits_charged"] == "1"
    assert [done["costs"][name] for name in ("total_calls", "successful_calls", "failed_calls")] == [6, 5, 1]
    at.api("POST", f"/jobs/{job_id}/complete", status="completed")
    assert (at.left(), at.statuses()) == (9, ["completed"])
    (job,) = at.jobs()
    assert (job["credits_charged"], job["metadata"]["step"]) == ("1", "three")
    error = raised(lambda: ask(at, **named))
    assert (type(error), error.code) == (openai.BadRequestError, "job_closed")


def round_with_retries_in_a_job_counts_each_call_once(at: Customer) -> None:
    job_id = opened(at)
    at.watch.answers_to_lose = 1

    completion = ask(at, extra_headers={"X-Job-Id": job_id})

    assert completion.choices[0].message.content
    done = at.api("POST", f"/jobs/{job_id}/complete", status="completed")
    assert (done["total_calls"], at.left(), at.tries()) == (1, 9, 2)


def failed_job_is_free(at: Customer) -> None:
    job_id = opened(at)
    ask(at, extra_headers={"X-Job-Id": job_id})

    at.api("POST", f"/jobs/{job_id}/complete", status="failed", error_message="gave up")

    assert (at.left(), at.statuses()) == (10, ["failed"])


def type_and_user_of_a_job_are_told_with_the_request(at: Customer) -> None:
    ask(at, extra_headers={"X-Job-Type": "resume"}, user="user-7")
    ask(at, metadata={"job_type": "letter", "page": "4"})

    found: dict[str, dict[str, Any]] = {job["job_type"]: job for job in at.jobs()}
    assert set(found) == {"resume", "letter"}
    assert found["resume"]["user_id"] == "user-7"
    assert found["letter"]["metadata"] == {"page": "4"}


def stream_that_its_client_leaves_is_charged_once_and_had_again(at: Customer) -> None:
    stream = ask(at, stream=True)
    next(iter(stream))
    stream.close()

    # Counted as its own retry is.
    again = list(ask(at, stream=True, extra_headers={"x-stainless-retry-count": "1"}))

    assert "Python" in text_of(again)
    assert (at.left(), at.statuses()) == (9, ["completed"])


CHECKS = (
    lost_answer_is_had_by_the_clients_retry_and_charged_once,
    lost_embedding_is_had_by_the_clients_retry_and_charged_once,
    client_that_gives_up_early_joins_its_call,
    call_that_outlives_its_wait_is_joined_by_a_retry,
    rate_limited_try_is_repeated_and_only_the_answer_is_charged,
    key_has_one_answer_and_one_charge,
    the_same_question_twice_is_charged_twice,
    calls_of_a_job_are_charged_once_when_it_is_completed,
    round_with_retries_in_a_job_counts_each_call_once,
    failed_job_is_free,
    type_and_user_of_a_job_are_told_with_the_request,
    stream_that_its_client_leaves_is_charged_once_and_had_again,
)
