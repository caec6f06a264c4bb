import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.harness import faults, processes
from tests.harness.executions import Execution, read_journal
from tests.harness.fake_provider import Behaviour, RunningProvider, running_provider


@pytest.fixture
def provider() -> Iterator[RunningProvider]:
    with running_provider(behaviour=Behaviour(has_cost_header=True, timeout_s=0.05)) as running:
        yield running


def ask(provider: RunningProvider, model: str, **more: Any) -> requests.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "What is FastAPI?"}], **more}
    headers = {"x-saasllm-call-id": "call-1", "x-saasllm-attempt-id": "attempt-1"}
    return requests.post(f"{provider.url}/v1/chat/completions", json=body, headers=headers, timeout=5)


def test_an_honest_answer_repeats_itself_and_is_billed_as_told(provider: RunningProvider) -> None:
    first, second = ask(provider, "gpt-4"), ask(provider, "gpt-4")
    assert first.json()["choices"] == second.json()["choices"]
    assert first.json()["choices"][0]["message"]["content"] == "Answer 1 to: What is FastAPI?"
    usage = first.json()["usage"]
    execution = provider.executions()[0]
    assert (execution.call_id, execution.attempt_id, execution.model) == ("call-1", "attempt-1", "gpt-4")
    assert (execution.outcome, execution.is_delivered) == ("answered", True)
    assert (execution.billed_prompt_tokens, execution.billed_completion_tokens) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )
    assert float(first.headers["x-litellm-response-cost"]) == execution.billed_nanousd / 1e9


def test_an_output_cap_cuts_the_answer(provider: RunningProvider) -> None:
    answer = ask(provider, "gpt-4", max_tokens=2).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("fake-400", 400, None),
        ("fake-401", 401, "invalid_api_key"),
        ("fake-429", 429, None),
        ("fake-500", 500, None),
        ("fake-200-error", 200, None),
        ("fake-content-filter", 400, "content_filter"),
        ("fake-mispelt", 404, "model_not_found"),
    ],
)
def test_refusals_carry_the_canaries_and_are_not_billed(
    provider: RunningProvider, model: str, status: int, code: str | None
) -> None:
    answer = ask(provider, model)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert faults.CANARY_SECRET in answer.text
    assert faults.CANARY_HOST in answer.text
    assert provider.executions()[0].billed_nanousd == 0


def test_a_rate_limit_says_when_to_try_again(provider: RunningProvider) -> None:
    assert ask(provider, "fake-429").headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("model", "seen"),
    [("fake-reset", ConnectionResetError), ("fake-short-body", http.client.IncompleteRead)],
)
def test_a_broken_connection_is_seen_and_billed(provider: RunningProvider, model: str, seen: type[Exception]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=5)
    connection.request("POST", "/chat/completions", json.dumps({"model": model, "messages": []}))
    with pytest.raises(seen):
        connection.getresponse().read()
    connection.close()
    assert provider.executions()[0].billed_nanousd > 0


@pytest.mark.parametrize("model", ["fake-malformed-json", "fake-truncated-json", "fake-wrong-type"])
def test_a_body_that_is_no_json_comes_with_status_200(provider: RunningProvider, model: str) -> None:
    answer = ask(provider, model)
    assert answer.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        answer.json()


@pytest.mark.parametrize(
    ("model", "usage"),
    [
        ("fake-no-usage", "absent"),
        ("fake-negative-usage", "-1000"),
        ("fake-absurd-usage", str(10**15)),
        ("fake-nan-usage", "nan"),
    ],
)
def test_usage_can_be_wrong_while_the_answer_and_the_bill_are_right(
    provider: RunningProvider, model: str, usage: str
) -> None:
    answer = ask(provider, model).json()
    assert str(answer.get("usage", {}).get("prompt_tokens", "absent")) == usage
    assert answer["choices"][0]["message"]["content"]
    assert provider.executions()[0].billed_completion_tokens > 0


def test_tools_are_called_without_text(provider: RunningProvider) -> None:
    choice = ask(provider, "openai/fake-tools").json()["choices"][0]
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "lookup"
    assert choice["finish_reason"] == "tool_calls"


def test_choices_can_be_empty(provider: RunningProvider) -> None:
    assert ask(provider, "fake-empty").json()["choices"] == []


def test_a_late_answer_is_sent_and_billed_after_all(provider: RunningProvider) -> None:
    assert ask(provider, "fake-timeout").status_code == 200
    assert ask(provider, "fake-slow-30").elapsed.total_seconds() >= 0.03
    assert [execution.outcome for execution in provider.executions()] == ["timeout", "answered"]


def test_a_client_that_leaves_is_billed_and_its_answer_counts_as_undelivered(
    provider: RunningProvider,
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=5)
    connection.request("POST", "/chat/completions", json.dumps({"model": "fake-hold", "messages": []}))
    provider.wait_for(started=1)
    connection.close()
    # Answered on another connection: the provider has seen the first one close by then.
    ask(provider, "gpt-4")
    provider.release()
    left, _ = provider.wait_for(ended=2)
    assert (left.outcome, left.is_delivered) == ("answered", False)
    assert left.billed_nanousd > 0


def outcomes(seed: int) -> list[str | None]:
    behaviour = Behaviour(seed=seed, fault_rate=0.5, faults=("500", "429", "empty"))
    with running_provider(behaviour=behaviour) as provider:
        for _ in range(40):
            ask(provider, "gpt-4")
        return [execution.outcome for execution in provider.executions()]


def test_faults_by_rate_repeat_with_their_seed_and_spare_named_models() -> None:
    first = outcomes(1)
    assert first == outcomes(1) != outcomes(2)
    assert 8 <= first.count("answered") <= 32
    with running_provider(behaviour=Behaviour(fault_rate=1.0)) as provider:
        assert ask(provider, "fake-ok").status_code == 200


def test_requests_sent_at_once_on_one_connection_are_answered_in_order(provider: RunningProvider) -> None:
    bodies = [json.dumps({"model": model, "messages": []}) for model in ("fake-slow-20", "gpt-4")]
    requested = "".join(
        f"POST /chat/completions HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n{body}" for body in bodies
    )
    answered = b""
    with socket.create_connection(("127.0.0.1", provider.port), timeout=5) as connection:
        connection.sendall(requested.encode())
        while answered.count(b"total_tokens") < 2:
            answered += connection.recv(10_000)
    assert answered.index(b"fake-slow-20") < answered.index(b"gpt-4")


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"messages": []}', b'{"model": 1}'])
def test_a_request_it_cannot_serve_is_no_execution(provider: RunningProvider, body: bytes) -> None:
    answer = requests.post(f"{provider.url}/v1/chat/completions", data=body, timeout=5)
    assert answer.status_code == 400
    assert provider.executions() == []


def test_the_journal_of_a_killed_provider_tells_what_it_had_begun(tmp_path: Path) -> None:
    log = tmp_path / "executions.jsonl"
    process = processes.start_fake_provider("--log", str(log), "--seed", "3")
    body: dict[str, Any] = {"model": "gpt-4", "messages": []}
    assert requests.post(f"{process.url}/chat/completions", json=body, timeout=5).status_code == 200
    with pytest.raises(requests.Timeout):
        requests.post(f"{process.url}/chat/completions", json=body | {"model": "fake-hold"}, timeout=0.05)
    process.kill()
    with log.open("ab") as file:
        file.write(b'{"event": "sta')
    done, begun = read_journal(log)
    assert (done.outcome, done.is_delivered) == ("answered", True)
    assert (begun.model, begun.outcome, begun.ended_at) == ("fake-hold", None, None)
    assert isinstance(begun, Execution)


def test_an_unknown_fault_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="resett"):
        Behaviour(faults=("resett",))
