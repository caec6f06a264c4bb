"""OpenAI's own client and streams against the platform at port 8003: `make test-litellm` runs it after the examples.

Prints one line a check and exits 1 when any failed. The key is that of SAAS_LITELLM_VIRTUAL_KEY.
"""

# ruff: noqa: T201 - it is a program that talks to its caller by printing.

import json
import os
import sys
from collections.abc import Callable

import openai
import requests

URL = "http://localhost:8003"
QUESTION = [{"role": "user", "content": "What is Python?"}]


def _client() -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{URL}/v1", api_key=os.environ["SAAS_LITELLM_VIRTUAL_KEY"], max_retries=0)


def _model() -> str:
    return next(iter(_client().models.list())).id


def plain() -> None:
    answer = _client().chat.completions.with_raw_response.create(model=_model(), messages=QUESTION)
    completion = answer.parse()
    assert completion.choices[0].message.content
    assert completion.usage is not None
    assert completion.usage.total_tokens > 0
    assert answer.headers["x-saasllm-credits-charged"] == "1"


def streamed() -> None:
    chunks = list(
        _client().chat.completions.create(
            model=_model(), messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert {chunk.model for chunk in chunks} == {_model()}
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens > 0


def streamed_in_a_job_of_its_own() -> None:
    body = {"team_id": os.environ["SAAS_LITELLM_TEAM_ID"], "job_type": "try", "messages": QUESTION}
    headers = {"Authorization": f"Bearer {os.environ['SAAS_LITELLM_VIRTUAL_KEY']}"}
    with requests.post(
        f"{URL}/api/jobs/create-and-call-stream", json=body, headers=headers, stream=True, timeout=60
    ) as answer:
        answer.raise_for_status()
        data = [line[6:] for line in answer.iter_lines(decode_unicode=True) if line.startswith("data: ")]
    assert data.pop() == "[DONE]"
    events = [json.loads(text) for text in data]
    assert all("error" not in event for event in events), events
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["usage"]["total_tokens"] > 0
    assert events[-1]["costs"]["credit_applied"] is True


def refused() -> None:
    try:
        _client().chat.completions.create(model="no-such-model", messages=QUESTION)
    except openai.NotFoundError as error:
        code = error.code
    else:
        code = "answered"
    assert code == "model_not_found"


CHECKS: tuple[Callable[[], None], ...] = (plain, streamed, streamed_in_a_job_of_its_own, refused)


def main() -> int:
    failed = 0
    for check in CHECKS:
        try:
            check()
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are checked too.
            failed += 1
            print(f"FAIL {check.__name__}: {type(error).__name__}: {error}")
        else:
            print(f"ok   OpenAI's client: {check.__name__.replace('_', ' ')}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
