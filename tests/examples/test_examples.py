"""The example files run as they are and print what their page promises, against an API in memory."""

import hashlib
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from tests.acceptance import examples as acceptance

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
JOB_ID = "550e8400-e29b-41d4-a716-446655440000"

EXPECTED = {
    "example1_simple.py": ["Created job: " + JOB_ID, "Response:\nAn answer", "Credits remaining: 95"],
    "example2_conversation.py": [
        "User: What is FastAPI?",
        "Assistant: An answer",
        "User: How is it different from Flask?",
        "Conversation complete. Credits remaining: 95",
    ],
    "example3_document.py": ["Key Points:\nAn answer", "Summary:\nAn answer", "Total calls: 2"],
    "example4_errors.py": ["Response: An answer"],
    "example5_typed_client.py": ["Created job: " + JOB_ID, "Response:\nAn answer", "Credits remaining: 95"],
    "example6_batch.py": [
        "Classifying text 3/3...",
        "Processed 3 texts",
        "okay, nothing special.' → an answer",
    ],
    "example7_credits.py": [
        "Team: acme",
        "Organization: acme-corp",
        "Status: active",
        "Credits allocated: 100",
        "Credits remaining: 95",
        "Credits used: 5",
        "Usage: 5.0%",
    ],
    "example11_rag.py": ["Found: Damaged goods", "Found: Refunds", "Answer: An answer", "Credits remaining: 95"],
}

# Code of the public page, byte for byte: a formatter or an improvement would break that promise.
PINNED_SHA256 = {
    "example1_simple.py": "783ab142644a3d9d7f70212771129d45b0b146fc3af0ccd15420ff4b57b2355c",
    "example2_conversation.py": "86996ba223d93d1cc1d975020de13aa4fe1e7bf12b2fe9efc735c04f43394494",
    "example3_document.py": "fa935ab7cfc1b00a43e2c99f152496c54fac13628db298d9078feda139443d75",
    "example4_errors.py": "62c75db25289c8a4a61435de0ded4ef9305fbceceef21b7f95f89159f6a64f6b",
    "example6_batch.py": "01ab382b75fd303eb1ab53489582f27fc97935341d64c90addf5803a88b4ff91",
    "example7_credits.py": "5d7f0d776dd3a9ca8b7b25d79afea7f18aa78ce99d0eb77c20e8330f2ce94f59",
}


def api(method: str, url: str) -> dict[str, Any]:
    """Answer as the platform does, with 95 of 100 credits left."""
    path = url.removeprefix("http://localhost:8003")
    path = path.removeprefix("/api")
    assert not path.startswith("http")
    totals = {"credits_remaining": 95, "total_calls": 2}
    message = {"role": "assistant", "content": "An answer"}
    # Four texts and a question, which lies near the last of them and not far from the first.
    vectors = [[1.0, 1.0], [0.0, -1.0], [-1.0, 0.0], [0.1, 1.0], [0.0, 1.0]]
    answers: dict[tuple[str, str], dict[str, Any]] = {
        ("POST", "/jobs/create"): {
            "job_id": JOB_ID,
            "team_id": "acme",
            "status": "pending",
            "created_at": "2026-01-01T00:00:00Z",
        },
        ("POST", f"/jobs/{JOB_ID}/llm-call"): {
            "response": message,
            "id": "chatcmpl-1",
            "created": 1700000000,
            "model": "default",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        },
        ("POST", f"/jobs/{JOB_ID}/complete"): {
            "job_id": JOB_ID,
            "status": "completed",
            "costs": totals,
            **totals,
        },
        ("POST", "/v1/embeddings"): {
            "object": "list",
            "data": [{"object": "embedding", "index": i, "embedding": vectors[i]} for i in range(len(vectors))],
            "model": "default",
            "usage": {"prompt_tokens": 9, "total_tokens": 9},
        },
        ("GET", "/teams/acme"): {
            "team_id": "acme",
            "organization_id": "acme-corp",
            "status": "active",
            "credits_allocated": 100,
            "credits_remaining": 95,
        },
    }
    return answers[method, path]


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put `api` in the place of the network, under requests and httpx alike."""

    def send(session: requests.Session, method: str, url: str, **_: Any) -> requests.Response:
        response = requests.Response()
        response.status_code = 200
        response._content = httpx.Response(200, json=api(method.upper(), url)).content
        return response

    async def handle(transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=api(request.method, str(request.url)))

    monkeypatch.setattr(requests.Session, "request", send)
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", handle)
    monkeypatch.setenv("SAAS_LITELLM_VIRTUAL_KEY", "sk-1")
    monkeypatch.setenv("SAAS_LITELLM_TEAM_ID", "acme")
    # As if started by its path: Python looks beside the program first.
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_example_prints_what_its_page_promises(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")

    printed = capsys.readouterr().out
    assert [text for text in EXPECTED[name] if text not in printed] == []


@pytest.mark.parametrize("name", sorted(PINNED_SHA256))
def test_example_is_the_code_of_the_page(name: str) -> None:
    assert hashlib.sha256((EXAMPLES / name).read_bytes()).hexdigest() == PINNED_SHA256[name]


def test_every_example_is_listed_in_the_readme() -> None:
    readme = (EXAMPLES / "README.md").read_text()

    programs = {path.name for path in EXAMPLES.glob("example*.py")}
    assert set(re.findall(r"example\d\w+\.py", readme)) == programs


def test_every_example_is_run_by_a_test() -> None:
    programs = {path.name for path in EXAMPLES.glob("*.py")} - {"__init__.py", "typed_client.py"}

    assert EXPECTED.keys() | acceptance.EXPECTED_OF_DEMO.keys() == programs


def test_client_works_when_copied_alone(tmp_path: Path) -> None:
    (tmp_path / "copied_client.py").write_bytes((EXAMPLES / "typed_client.py").read_bytes())
    program = "import copied_client, sys; sys.exit('django' in sys.modules or 'requests' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={}, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
