"""Streams through real processes: they come piece by piece, and whoever dies or leaves in their middle, each is made,
counted and given whole once."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.harness import processes
from tests.harness.faults import count_tokens
from tests.harness.processes import Process
from tests.services.conftest import Platform
from tests.services.customer import Stream
from tests.services.stack import wait_until

pytestmark = pytest.mark.services

# Four of them may wait (WAITING_SHARE).
WEB_THREADS = 5
PLACES = 4


@pytest.fixture(scope="module")
def small_webs(_platform: Platform) -> Iterator[dict[str, Process]]:
    """A web process with few threads under each server."""
    with ThreadPoolExecutor() as pool:
        starting = {
            server: pool.submit(_platform.stack.start_web, threads=WEB_THREADS, server=server)
            for server in ("granian", "gunicorn")
        }
    webs = {server: started.result() for server, started in starting.items()}
    yield webs
    for web in webs.values():
        _platform.stack.kill(web)


@pytest.fixture(params=["granian", "gunicorn"])
def web(request: pytest.FixtureRequest, small_webs: dict[str, Process]) -> Process:
    return small_webs[request.param]


def question(about: str, *, words: int = 0) -> str:
    """A question of its own, so that the answer has this many words and some more."""
    return about + " x" * words


def answer(text: str) -> str:
    """What the provider says to a question, as it does by the last of its characters."""
    return f"Answer 1 to: {text[-200:]}"


def call_row(platform: Platform, call_id: str) -> dict[str, Any]:
    names = ("state", "error_code", "prompt_tokens", "completion_tokens", "provider_cost_nanousd", "is_estimated")
    ((*values,),) = platform.stack.rows(f"SELECT {', '.join(names)} FROM jobs_call WHERE id = %s", call_id)
    return dict(zip(names, values, strict=True))


def until_left(platform: Platform, call_id: str) -> None:
    """Wait until it is known that the call's client left without its answer."""
    wait_until(
        lambda: platform.stack.value("SELECT unanswered_at FROM jobs_call WHERE id = %s", call_id),
        what="the client to be known to be gone",
    )


def is_whole(stream: Stream, text: str) -> bool:
    """Whether the stream said this once and ended as it should."""
    assert stream.text == text
    assert stream.is_done
    assert [event["choices"][0]["finish_reason"] for event in stream.events][-1] == "stop"
    return True


def test_first_piece_comes_while_the_provider_holds_the_rest_back(platform: Platform, web: Process) -> None:
    asked = question(f"Is anybody there, behind {web.name}?")
    stream = platform.customer(web=web).stream(asked, model="fake-hold-3").open().read(pieces=3)
    (execution,) = platform.executions()
    said_before = stream.text
    was_running = execution.outcome is None

    platform.provider.release()
    stream.read()

    assert (stream.response.status, was_running) == (200, True)
    assert stream.response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer(asked).startswith(said_before)
    assert "" != said_before != answer(asked)
    assert is_whole(stream, answer(asked))
    assert stream.call_id == execution.call_id
    assert platform.attempts(stream.job_id) == [(1, "succeeded")]
    assert stream.events[-1]["usage"] == {
        "prompt_tokens": execution.billed_prompt_tokens,
        "completion_tokens": execution.billed_completion_tokens,
        "total_tokens": execution.billed_prompt_tokens + execution.billed_completion_tokens,
    }


def test_b3_clients_that_cut_the_line_anywhere_are_counted_and_answered_later(
    platform: Platform, web: Process
) -> None:
    customer = platform.customer("metered", web=web)
    draw = random.Random(20)
    texts = {f"{web.name}-{number}": question(f"Cut {number}", words=40) for number in range(3 * PLACES)}

    def ask(key: str) -> Stream:
        # Every other one without a key: it is known by its content.
        return customer.stream(
            f"{key} {texts[key]}", model="fake-drip-5", idempotency_key=key if key[-1] in "02468" else None
        )

    def has_begun(key: str) -> bool:
        # Where all places are taken, a moment later is asked again.
        return ask(key).cut(draw.randrange(12, 5000)).startswith(b"HTTP/1.1 200")

    for key in texts:
        wait_until(lambda key=key: has_begun(key), timeout_s=5, what="a place")  # type: ignore[misc]
    executions = platform.executions()
    assert len(executions) == len(texts)
    for execution in executions:
        until_left(platform, str(execution.call_id))
        platform.until_settled(platform.stack.value("SELECT job_id FROM jobs_call WHERE id = %s", execution.call_id))
        assert (execution.outcome, execution.is_client_gone) == ("answered", False)
        assert call_row(platform, str(execution.call_id)) == {
            "state": "succeeded",
            "error_code": "",
            "prompt_tokens": execution.billed_prompt_tokens,
            "completion_tokens": execution.billed_completion_tokens,
            "provider_cost_nanousd": execution.billed_nanousd,
            "is_estimated": False,
        }

    for key, execution in zip(texts, executions, strict=True):
        again = ask(key).open().read()
        assert again.call_id == execution.call_id
        assert is_whole(again, answer(f"{key} {texts[key]}"))
        assert len(platform.charges(again.job_id)) == 1
    assert len(platform.executions()) == len(texts)

    together = [customer.stream(f"{web.name} {place}?", model="fake-hold-3").open() for place in range(PLACES)]
    assert {stream.read(pieces=3).response.status for stream in together} == {200}
    platform.provider.release()
    assert all(stream.read().is_done for stream in together)


@pytest.mark.parametrize("words", [0, 10])
def test_client_that_leaves_before_the_end_is_given_the_answer_later(
    platform: Platform, web: Process, words: int
) -> None:
    # Without more words the whole text was read, and only the end with the usage was not.
    asked = question(f"Who reads {web.name}'s end?", words=words)
    customer = platform.customer(web=web)
    left = customer.stream(asked, model="fake-hold-8").open().read(pieces=8)
    assert (left.text == answer(asked)) == (words == 0)

    left.leave()
    platform.provider.release()
    platform.until_settled(left.job_id)
    until_left(platform, left.call_id)
    again = customer.stream(asked, model="fake-hold-8").open().read()

    assert again.call_id == left.call_id
    assert is_whole(again, answer(asked))
    assert len(platform.executions()) == 1


def test_client_that_hangs_up_at_the_end_has_had_its_answer(platform: Platform, web: Process) -> None:
    customer = platform.customer(web=web)

    streams = []
    for _ in range(8):
        streams.append(customer.stream(f"Once more, {web.name}?").open().read())
        streams[-1].leave()

    assert len({stream.call_id for stream in streams}) == len(platform.executions()) == 8


def test_clients_that_leave_before_the_first_piece_give_their_places_back(platform: Platform, web: Process) -> None:
    customer = platform.customer(web=web)
    for turn in range(2):
        waiting = [customer.stream(f"{web.name} {turn} {place}?", model="fake-hold") for place in range(PLACES)]
        platform.until_executed((turn + 1) * PLACES)
        for stream in waiting:
            stream.leave()
        platform.provider.release()
        for execution in platform.executions()[-PLACES:]:
            until_left(platform, str(execution.call_id))

    assert customer.stream(f"Anybody at {web.name}?").open().read().is_done


def test_stream_that_its_team_wants_no_more_is_broken_off_and_paid_as_far_as_it_went(
    platform: Platform, web: Process
) -> None:
    asked = question(f"Who stays, behind {web.name}?", words=90)
    stream = platform.customer("leaving", web=web).stream(asked, model="fake-drip-60").open().read(pieces=4)

    stream.leave()
    (execution,) = platform.executions()
    wait_until(lambda: execution.is_client_gone, what="the provider to be left")
    platform.until_settled(stream.job_id)

    call = call_row(platform, stream.call_id)
    # What was sent is the answer.
    assert (call["state"], call["error_code"], call["is_estimated"]) == ("succeeded", "", True)
    assert count_tokens(stream.text) <= call["completion_tokens"] <= execution.billed_completion_tokens
    assert execution.billed_completion_tokens < count_tokens(answer(asked))
    assert platform.attempts(stream.job_id) == [(1, "succeeded")]


def test_stream_of_a_killed_worker_ends_and_is_settled_once_at_what_was_saved(platform: Platform) -> None:
    customer = platform.customer("metered")
    job_id = customer.open_job()
    stream = customer.stream("Who says the rest?", model="fake-hold-8", job_id=job_id).open().read(pieces=2)
    delivered = "SELECT delivered_bytes FROM jobs_attempt WHERE call_id = %s"
    wait_until(lambda: platform.stack.value(delivered, stream.call_id), what="the first piece to be saved")

    platform.stack.kill(platform.worker)
    saved_bytes = platform.stack.value(delivered, stream.call_id)
    platform.worker = platform.stack.start_worker()
    stream.read()

    assert stream.events[-1] == {"error": "LLM call failed: the worker that made it was lost"}
    assert stream.is_done
    platform.until_settled(job_id)
    (execution,) = platform.executions()
    call = call_row(platform, stream.call_id)
    assert (call["state"], call["error_code"], call["is_estimated"]) == ("failed", "worker_lost", True)
    assert call["completion_tokens"] == -(-saved_bytes // 4) > 0
    assert call["completion_tokens"] <= count_tokens("x" * execution.characters_sent)
    assert platform.attempts(job_id) == [(1, "partial")]
    # What the caller had is paid with the rest of the job, once.
    assert customer.call(job_id, "And now?").status_code == 200
    costs = customer.complete(job_id).json()["costs"]
    assert (costs["total_calls"], costs["failed_calls"], len(platform.charges(job_id))) == (2, 1, 1)
    paid, lost = platform.stack.rows(
        "SELECT provider_cost_nanousd, lost_cost_nanousd FROM jobs_job WHERE id = %s", job_id
    )[0]
    assert (paid, lost) == (call["provider_cost_nanousd"] + platform.executions()[1].billed_nanousd, 0)
    assert len(platform.executions()) == 2
    assert processes.manage(platform.stack.env, "ledger_verify").returncode == 0


def test_stream_of_which_nothing_was_said_is_made_anew_by_another_worker(platform: Platform) -> None:
    asked = question("Who begins anew?")
    # The role alone has come.
    stream = platform.customer().stream(asked, model="fake-hold-1").open().read(pieces=1)

    platform.stack.kill(platform.worker)
    platform.worker = platform.stack.start_worker()
    platform.until_executed(2)
    platform.provider.release()
    stream.read()

    assert is_whole(stream, answer(asked))
    assert platform.attempts(stream.job_id) == [(1, "abandoned"), (2, "succeeded")]


@pytest.mark.parametrize("trouble", ["hangs", "hangs and is emptied", "is emptied"])
def test_stream_is_given_whole_and_once_whatever_redis_does(platform: Platform, trouble: str) -> None:
    asked = question(f"Is it whole when Redis {trouble}?", words=15)
    stream = platform.customer().stream(asked, model="fake-drip-100-hold-3").open().read(pieces=3)
    wait_until(lambda: platform.provider.held() == 1, what="the provider to pause")

    if "hangs" in trouble:
        not_sent = platform.worker.log().count("reply not sent")
        platform.stack.redis_mode("hang")
        platform.provider.release()
        wait_until(lambda: platform.worker.log().count("reply not sent") > not_sent, what="pieces to be lost")
    if "emptied" in trouble:
        platform.stack.redis().flushdb()
    platform.stack.redis_mode("pass")
    platform.provider.release()
    stream.read()

    (execution,) = platform.executions()
    assert is_whole(stream, answer(asked))
    assert stream.events[-1]["usage"]["completion_tokens"] == execution.billed_completion_tokens
    assert platform.attempts(stream.job_id) == [(1, "succeeded")]


def test_stream_outlives_the_web_process_that_sent_it_on(platform: Platform) -> None:
    asked = question("Who hears the end?")
    stream = platform.customer().stream(asked, model="fake-hold-3").open().read(pieces=3)
    process = platform.stack.value("SELECT reply_to FROM jobs_call WHERE id = %s", stream.call_id)

    platform.stack.kill(platform.web)
    platform.provider.release()
    platform.until_settled(stream.job_id)
    platform.web = platform.stack.start_web()
    # As if the time had passed after which a silent process counts as dead.
    platform.stack.rows(
        "UPDATE core_process SET seen_at = seen_at - interval '20 s' WHERE name = %s RETURNING name", process
    )
    until_left(platform, stream.call_id)
    again = platform.customer().stream(asked, model="fake-hold-3").open().read()

    assert again.call_id == stream.call_id
    assert is_whole(again, answer(asked))
    assert len(platform.executions()) == 1
    assert platform.charges(stream.job_id) == [1_000_000]
