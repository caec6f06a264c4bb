"""`manage.py demo_tour`: waits for the demo's server, runs one job through its HTTP API and prints what to do next.

Started by `demo`; by hand it shows the tour again.
"""

import os
import time
from typing import Any

import requests
from django.core.management.base import CommandError

from apps.api.management.commands import demo
from apps.core import commands

READY_WITHIN_S = 60
QUESTION = "What is Python programming?"


class Command(commands.Command):
    help = "Run one job against the running demo and print how to use it."
    requires_system_checks: list[str] = []

    def run(self, **options: Any) -> None:
        base = f"http://localhost:{os.environ.get('PORT', '8003')}"
        kept = demo.read_env(demo.ENV_FILE)
        if "SAAS_LITELLM_VIRTUAL_KEY" not in kept:
            raise CommandError("There is no demo yet. Start it with: make demo")
        _wait_until_ready(base)
        key, team = kept["SAAS_LITELLM_VIRTUAL_KEY"], kept["SAAS_LITELLM_TEAM_ID"]
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {key}"

        def ask(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
            response = session.request(method, f"{base}/api{path}", json=body, timeout=60)
            if response.status_code != 200:
                raise CommandError(f"{method} /api{path} answered {response.status_code}: {response.text[:300]}")
            answer: dict[str, Any] = response.json()
            return answer

        before = ask("GET", f"/teams/{team}")["credits_remaining"]
        job = ask("POST", "/jobs/create", {"team_id": team, "job_type": "simple_query"})["job_id"]
        call = ask("POST", f"/jobs/{job}/llm-call", {"messages": [{"role": "user", "content": QUESTION}]})
        after = ask("POST", f"/jobs/{job}/complete", {"status": "completed"})["costs"]["credits_remaining"]
        password = demo.read_env(demo.SECRETS_FILE).get("OPERATOR_PASSWORD", "")
        self.stdout.write(
            f"""
SaaS LiteLLM is running at {base}

  A first job
    question   {QUESTION}
    answer     {call["response"]["content"]}
    credits    {before} before, {after} after

  Try it
    curl -s {base}/api/jobs/create-and-call \\
      -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\
      -d '{{"team_id": "{team}", "job_type": "try", "messages": [{{"role": "user", "content": "Hello"}}]}}'

  Run the examples (another terminal)
    set -a; . .demo/env; set +a
    .venv/bin/python examples/example1_simple.py

  Operate it
    {base}/admin/    {demo.OPERATOR}  {password}

Ctrl-C ends it; `make demo` goes on where it was.
"""
        )
        self.stdout.flush()


def _wait_until_ready(base: str) -> None:
    ends_at = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < ends_at:
        try:
            if requests.get(f"{base}/readyz", timeout=2).status_code == 200:
                return
        except requests.RequestException:
            pass
        time.sleep(0.1)
    raise CommandError(f"The server at {base} was not ready within {READY_WITHIN_S} s.")
