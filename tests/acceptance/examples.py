"""Run the examples that any model can answer against the server on port 8003 and judge what they print.

`python -m tests.acceptance.examples` with SAAS_LITELLM_VIRTUAL_KEY and SAAS_LITELLM_TEAM_ID in the environment
prints a line an example and `N passed, N failed`; it exits 1 when any failed.
"""

# ruff: noqa: T201 - it is a program that talks to its caller by printing.

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# What each must print, as regular expressions over its standard output.
EXPECTED = {
    "example1_simple.py": [r"Created job: [0-9a-f-]{36}", r"Response:\n\S", r"Credits remaining: \d"],
    "example2_conversation.py": [r"Assistant: \S", r"How is it different", r"Credits remaining: \d"],
    "example3_document.py": [r"Key Points:\n\S", r"Summary:\n\S", r"Total calls: 2\b", r"Credits remaining: \d"],
    "example4_errors.py": [r"^Response: \S"],
    "example5_typed_client.py": [r"Created job: [0-9a-f-]{36}", r"Response:\n\S", r"Credits remaining: \d"],
    "example6_batch.py": [r"Processed 3 texts", r"Credits remaining: \d", r"Results:\n"],
    "example7_credits.py": [
        r"Status: active",
        r"Credits allocated: \d",
        r"Credits remaining: \d",
        r"Usage: \d+\.\d%",
    ],
    "common_patterns.py": [r"\S"],
}
# These want a model that calls tools and answers in the shape of a schema: the demo provider, not a mocked model.
EXPECTED_OF_DEMO = {
    **EXPECTED,
    "example8_streaming.py": [r"^Django is a Python web framework", r"^Tokens: \d", r"^Credits remaining: \d"],
    "example9_structured_output.py": [
        r"^Urgency: (low|normal|high)$",
        r"^Subject: \S",
        r"^The same as a stream: \{.*\}$",
        r"^Calls: 2$",
        r"^Credits remaining: \d",
    ],
    "example10_agent.py": [
        r"^Tool: get_weather\(\{.*\}\)$",
        r"^Tool: get_opening_hours\(\{.*\}\)$",
        r"^Answer: \S",
        r"^Calls: 2$",
        r"^Credits remaining: \d",
    ],
    "example11_rag.py": [r"^Found: \S", r"^Answer: \S", r"^Credits remaining: \d"],
    "example13_budget.py": [
        r"^Paused: .*max_credits",
        r"^Raised to 1 credits$",
        r"^Answer: \S",
        r"^Left of the budget: 0$",
        r"^Calls: 3$",
        r"^Used: 1 of 1 credits$",
        r"^Credits remaining: \d",
    ],
    "example12_openai_sdk.py": [
        r"^Model: \S",
        r"^Answer: Python is",
        r"^Credits charged: 1$",
        r"^Tool: get_weather\(\{.*\}\)$",
        r"^With the tool: \S",
        r"^As a stream: Django is a Python web framework",
        r"^Tokens: \d",
    ],
}


def problem_of(name: str, env: dict[str, str]) -> str:
    """Why an example failed, empty when it did not."""
    try:
        run = subprocess.run(
            [sys.executable, str(ROOT / "examples" / name)],
            env={**env, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "no end in 90 s"
    if run.returncode:
        return f"exit {run.returncode}: {run.stderr.strip()[-400:]}"
    missing = [pattern for pattern in EXPECTED_OF_DEMO[name] if not re.search(pattern, run.stdout, re.M)]
    return f"did not print {missing} but: {run.stdout[-400:]!r}" if missing else ""


def main() -> int:
    failed = 0
    for name in EXPECTED:
        problem = problem_of(name, dict(os.environ))
        failed += bool(problem)
        print(f"{'FAIL' if problem else 'ok  '} {name} {problem}")
    print(f"{len(EXPECTED) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
