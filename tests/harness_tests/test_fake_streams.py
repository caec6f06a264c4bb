import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import requests

from tests.harness import faults
from tests.harness.fake_provider import Behaviour, RunningProvider, running_provider


@pytest.fixture
def provider() -> Iterator[RunningProvider]:
    with running_provider(behaviour=Behaviour(has_cost_header=True, timeout_s=0.05)) as running:
        yield running


def opened(provider: RunningProvider, model: str, **more: Any) -> requests.Response:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "What is FastAPI?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        **more,
    }
    return requests.post(f"{provider.url}/v1/chat/completions", json=body, stream=True, timeout=5)


def events(response: requests.Response) -> list[Any]:
    """What came before the end, orderly or not."""
    found: list[Any] = []
    try:
        for line in response.iter_lines():
            if line:
                data = line.removeprefix(b"data: ")
                found.append(data.decode() if data == b"[DONE]" else json.loads(data))
    except (requests.RequestException, ValueError):
        found.append("broken off")
    return found


def text(found: list[Any]) -> str:
    chunks = [event for event in found if isinstance(event, dict)]
    return "".join(c["delta"].get("content") or "" for event in chunks for c in event.get("choices", []))


def test_an_honest_stream_says_what_the_whole_answer_does_and_bills_it(provider: RunningProvider) -> None:
    found = events(opened(provider, "gpt-4"))
    assert text(found) == "Answer 1 to: What is FastAPI?"
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert found[-3]["choices"][0]["finish_reason"] == "stop"
    assert found[-1] == "[DONE]"
    (execution,) = provider.executions()
    assert found[-2]["choices"] == []
    assert found[-2]["usage"]["completion_tokens"] == execution.billed_completion_tokens
    assert found[-2]["usage"]["cost"] == execution.billed_nanousd / 1e9
    assert (execution.chunks_sent, execution.characters_sent) == (len(found) - 1, len(text(found)))
    assert (execution.outcome, execution.is_delivered, execution.is_client_gone) == ("answered", True, False)


def test_usage_is_sent_only_when_it_is_asked_for(provider: RunningProvider) -> None:
    found = events(opened(provider, "gpt-4", stream_options=None))
    assert not any("usage" in event for event in found)


def test_a_tool_call_is_streamed_in_fragments(provider: RunningProvider) -> None:
    found = events(opened(provider, "fake-tools"))
    calls = [event["choices"][0]["delta"].get("tool_calls") for event in found[:-2] if event["choices"]]
    fragments = [call[0]["function"] for call in calls if call]
    assert fragments[0] == {"name": "lookup", "arguments": ""}
    arguments = "".join(fragment["arguments"] for fragment in fragments)
    assert json.loads(arguments) == {"query": "What is FastAPI?"}
    assert provider.executions()[0].characters_sent == len(arguments)


def test_several_choices_are_streamed_each(provider: RunningProvider) -> None:
    found = events(opened(provider, "gpt-4", n=2))
    assert [c["index"] for event in found[:-1] for c in event["choices"] if c["finish_reason"]] == [0, 1]


def test_a_dripping_stream_takes_its_time(provider: RunningProvider) -> None:
    response = opened(provider, "fake-drip-5")
    (running,) = provider.executions()
    assert running.outcome is None
    assert text(events(response)) == "Answer 1 to: What is FastAPI?"
    (execution,) = provider.wait_for(ended=1)
    assert execution.ended_at - execution.started_at >= 0.005 * execution.chunks_sent  # type: ignore[operator]


def test_a_client_that_leaves_is_noted_and_billed_what_it_got(provider: RunningProvider) -> None:
    response = opened(provider, "fake-drip-20")
    next(response.iter_lines())
    response.close()
    (execution,) = provider.wait_for(ended=1)
    assert (execution.is_client_gone, execution.is_delivered) == (True, False)
    assert execution.billed_completion_tokens == faults.count_tokens("x" * execution.characters_sent) < 8


def test_a_held_stream_goes_on_when_it_is_released(provider: RunningProvider) -> None:
    response = opened(provider, "fake-hold-3")
    lines = response.iter_lines()
    first = [json.loads(line.removeprefix(b"data: ")) for line in [next(lines) for _ in range(6)] if line]
    (running,) = provider.executions()
    assert (text(first), running.outcome) == ("Answer 1", None)
    provider.release()
    rest = [line for line in lines if line]
    assert rest[-1] == b"data: [DONE]"
    assert provider.wait_for(ended=1)[0].chunks_sent == len(first) + len(rest) - 1


def test_a_client_that_leaves_a_held_stream_is_billed_once(provider: RunningProvider) -> None:
    response = opened(provider, "fake-hold-3")
    # All three: what a client does not read may not have been sent when it leaves.
    list(islice((line for line in response.iter_lines() if line), 3))
    response.close()
    (execution,) = provider.wait_for(ended=1)
    provider.release()
    assert (execution.is_client_gone, execution.chunks_sent) == (True, 3)


@pytest.mark.parametrize("model", ["fake-cut-3", "fake-drip-1-cut-3"])
def test_a_cut_stream_is_reset_after_so_many_chunks(provider: RunningProvider, model: str) -> None:
    found = events(opened(provider, model))
    assert (found[3:], text(found)) == (["broken off"], "Answer 1")
    (execution,) = provider.wait_for(ended=1)
    assert (execution.outcome, execution.may_fail) == ("cut-3", True)
    assert (execution.chunks_sent, execution.characters_sent) == (3, 8)
    assert execution.billed_completion_tokens == 2


@pytest.mark.parametrize("model", ["fake-reset", "fake-short-body", "fake-malformed-json", "fake-truncated-json"])
def test_a_broken_stream_breaks_in_the_middle(provider: RunningProvider, model: str) -> None:
    found = events(opened(provider, model))
    assert found[-1] == "broken off"
    assert text(found).startswith("Answer")
    assert provider.executions()[0].may_fail


def test_an_error_comes_in_the_middle_with_the_canaries(provider: RunningProvider) -> None:
    found = events(opened(provider, "fake-stream-error"))
    assert text(found)
    assert faults.CANARY_SECRET in found[-1]["error"]["message"]


@pytest.mark.parametrize("model", ["fake-400", "fake-429", "fake-500", "fake-mispelt", "fake-drip-"])
def test_a_refusal_is_no_stream(provider: RunningProvider, model: str) -> None:
    response = opened(provider, model)
    assert response.status_code >= 400
    assert response.headers["content-type"] == "application/json"


def test_an_empty_stream_ends_at_once(provider: RunningProvider) -> None:
    assert events(opened(provider, "fake-empty")) == ["[DONE]"]


@pytest.mark.parametrize(
    ("model", "usage"), [("fake-no-usage", "absent"), ("fake-negative-usage", "-1000"), ("fake-nan-usage", "nan")]
)
def test_usage_of_a_stream_can_be_wrong(provider: RunningProvider, model: str, usage: str) -> None:
    found = events(opened(provider, model))
    said = next((event["usage"]["prompt_tokens"] for event in found[:-1] if "usage" in event), "absent")
    assert str(said) == usage
    assert provider.executions()[0].billed_completion_tokens == faults.count_tokens(text(found))


def test_the_next_request_on_the_connection_waits_for_the_stream(provider: RunningProvider) -> None:
    with requests.Session() as session:
        for model in ("fake-drip-1", "gpt-4"):
            body = {"model": model, "messages": [], "stream": True}
            answer = session.post(f"{provider.url}/v1/chat/completions", json=body, timeout=5)
            assert answer.text.endswith("data: [DONE]\n\n")


def embedded(provider: RunningProvider, model: str = "m", **body: Any) -> requests.Response:
    return requests.post(f"{provider.url}/v1/embeddings", json={"model": model, **body}, timeout=5)


def test_embeddings_are_stable_and_billed(provider: RunningProvider) -> None:
    one, two = (embedded(provider, input=["a", "b", "a"], dimensions=3).json() for _ in range(2))
    assert one == two
    first, second, third = [entry["embedding"] for entry in one["data"]]
    assert (first, len(first)) == (third, 3)
    assert first != second
    assert one["usage"]["prompt_tokens"] == provider.executions()[0].billed_prompt_tokens == 3


@pytest.mark.parametrize("value", ["a text", [7, 8, 9]])
def test_one_input_has_one_vector(provider: RunningProvider, value: Any) -> None:
    assert len(embedded(provider, input=value).json()["data"]) == 1


def test_embeddings_fail_by_name_too(provider: RunningProvider) -> None:
    assert embedded(provider, "fake-429", input="a").status_code == 429
    assert embedded(provider, "fake-empty", input="a").json()["data"] == []


def test_rates_can_draw_faults_of_streams() -> None:
    behaviour = Behaviour(fault_rate=1.0, faults=("cut-1", "stream-error"))
    with running_provider(behaviour=behaviour) as provider:
        for _ in range(8):
            events(opened(provider, "gpt-4"))
        outcomes = {execution.outcome for execution in provider.wait_for(ended=8)}
    assert outcomes == {"cut-1", "stream-error"}
