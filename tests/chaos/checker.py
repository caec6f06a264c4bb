"""What a run came to: the rows, the provider's own journal and the customers' history, held against each other.

Read after everything has come to rest. None of it asks the product but `ledger_verify`; the rest is plain SQL.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from tests.chaos.customers import History
from tests.harness import faults, processes
from tests.harness.executions import Execution
from tests.services.stack import Stack

MICROS = 1_000_000
OPEN = "('queued', 'running')"


@dataclass
class Findings:
    """The figures of a run and, by kind, what is wrong."""

    calls: int = 0
    succeeded: int = 0
    excused: int = 0
    # Why the others that did not succeed failed, by error code.
    not_served: Counter[str] = field(default_factory=Counter)
    executions: int = 0
    re_executions: int = 0
    problems: dict[str, list[str]] = field(
        default_factory=lambda: {kind: [] for kind in ("lost", "double", "drift", "stuck", "anomaly")}
    )

    @property
    def success_rate(self) -> float:
        """Of the calls that the provider did not fail."""
        asked = self.calls - self.excused
        return self.succeeded / asked if asked else 1.0

    def count(self, kind: str) -> int:
        return len(self.problems[kind])

    def add(self, kind: str, problem: str) -> None:
        self.problems[kind].append(problem)


def check(stack: Stack, *, executions: list[Execution], history: History, granted: dict[str, int]) -> Findings:
    """Everything that must hold. `granted` is whole credits by team."""
    found = Findings()
    _count_calls(stack, executions, found)
    _find_lost(stack, executions, history, found)
    _find_double(stack, executions, history, found)
    _find_stuck(stack, found)
    _find_drift(stack, executions, granted, found)
    _compare_with_history(stack, history, found)
    for anomaly in history.anomalies:
        found.add("anomaly", anomaly)
    return found


def unsettled(stack: Stack) -> int:
    """How much is still to be done: open calls, charges that wait for them, open holds."""
    waiting: int = stack.value(
        f"SELECT (SELECT count(*) FROM jobs_call WHERE state IN {OPEN})"
        " + (SELECT count(*) FROM jobs_job WHERE charge_state = 'pending')"
        " + (SELECT count(*) FROM credits_hold WHERE state = 'open')"
    )
    return waiting


def _count_calls(stack: Stack, executions: list[Execution], found: Findings) -> None:
    may_fail = {execution.attempt_id for execution in executions if execution.may_fail}
    asked = Counter(execution.call_id for execution in executions)
    found.executions = len(executions)
    found.re_executions = sum(times - 1 for times in asked.values())
    for state, code, attempt_id in stack.rows(
        "SELECT c.state, c.error_code, a.id::text FROM jobs_call c"
        " LEFT JOIN jobs_attempt a ON a.call_id = c.id AND a.claim = c.claim"
    ):
        found.calls += 1
        found.succeeded += state == "succeeded"
        # Only the try that ended the call excuses its failure.
        if state == "failed" and attempt_id in may_fail:
            found.excused += 1
        elif state != "succeeded":
            found.not_served[code or state] += 1


def _find_lost(stack: Stack, executions: list[Execution], history: History, found: Findings) -> None:
    for call_id, state in stack.rows(f"SELECT id, state FROM jobs_call WHERE state IN {OPEN}"):
        found.add("lost", f"call {call_id} is {state}")
    attempts = {attempt_id for (attempt_id,) in stack.rows("SELECT id::text FROM jobs_attempt")}
    for execution in executions:
        if execution.attempt_id not in attempts:
            found.add("lost", f"execution {execution.id} of call {execution.call_id} has no attempt")
    jobs = {job_id for (job_id,) in stack.rows("SELECT id::text FROM jobs_job")}
    for job_id in history.jobs:
        if job_id not in jobs:
            found.add("lost", f"job {job_id} was acknowledged and is not there")
    states = dict(stack.rows("SELECT id::text, state FROM jobs_call"))
    for answer in history.answers:
        if states.get(answer.call_id) != "succeeded":
            found.add("lost", f"call {answer.call_id} was answered and is {states.get(answer.call_id)}")


def _find_double(stack: Stack, executions: list[Execution], history: History, found: Findings) -> None:
    for job_id, charges in stack.rows(
        "SELECT job, count(*) FROM credits_entry WHERE kind = 'charge' GROUP BY job HAVING count(*) > 1"
    ):
        found.add("double", f"job {job_id} has {charges} charges")
    for call_id, served in stack.rows(
        "SELECT call_id, count(*) FROM jobs_attempt WHERE state = 'succeeded' GROUP BY call_id HAVING count(*) > 1"
    ):
        found.add("double", f"call {call_id} was served {served} times")
    for job_id, counted, paid in stack.rows(
        "SELECT j.id, j.prompt_tokens + j.completion_tokens, coalesce(sum(a.prompt_tokens + a.completion_tokens), 0)"
        " FROM jobs_job j LEFT JOIN jobs_call c ON c.job_id = j.id AND c.state = 'succeeded'"
        " LEFT JOIN jobs_attempt a ON a.call_id = c.id AND a.claim = c.claim AND a.state = 'succeeded'"
        " GROUP BY j.id HAVING j.prompt_tokens + j.completion_tokens"
        " <> coalesce(sum(a.prompt_tokens + a.completion_tokens), 0)"
    ):
        found.add("double", f"job {job_id} counts {counted} tokens, the tries that served it {paid}")
    # A try that was written off as lost, at the platform's cost, and then sold all the same.
    by_number = {execution.id.rpartition("-")[2]: execution.attempt_id for execution in executions}
    for call_id, created, attempt_id in stack.rows(
        "SELECT c.id, (NULLIF(p.response, '')::json ->> 'created')::bigint, a.id::text FROM jobs_call c"
        " JOIN jobs_callpayload p ON p.call_id = c.id"
        " LEFT JOIN jobs_attempt a ON a.call_id = c.id AND a.claim = c.claim AND a.state = 'succeeded'"
        " WHERE c.state = 'succeeded'"
    ):
        answered_by = by_number.get(str((created or 0) - faults.FIRST_CREATED))
        if answered_by != attempt_id:
            found.add("double", f"call {call_id}: paid for is attempt {attempt_id}, sold that of {answered_by}")
    for key, call_ids in history.calls_by_key.items():
        if len(call_ids) > 1:
            found.add("double", f"key {key} made calls {sorted(call_ids)}")


def _find_stuck(stack: Stack, found: Findings) -> None:
    for query, what in (
        ("SELECT job FROM credits_hold WHERE state = 'open'", "hold of job {} is open"),
        (f"SELECT id FROM jobs_call WHERE state IN {OPEN}", "call {} is open"),
        ("SELECT id FROM jobs_job WHERE charge_state = 'pending'", "charge of job {} is pending"),
        ("SELECT id FROM jobs_job WHERE open_calls <> 0", "job {} counts open calls"),
        (
            "SELECT a.id FROM jobs_attempt a JOIN jobs_call c ON c.id = a.call_id"
            f" WHERE a.state = 'running' AND c.state NOT IN {OPEN}",
            "attempt {} runs on after its call",
        ),
    ):
        for (row,) in stack.rows(query):
            found.add("stuck", what.format(row))


def _find_drift(stack: Stack, executions: list[Execution], granted: dict[str, int], found: Findings) -> None:
    done = processes.manage(stack.env, "ledger_verify", "--json", is_checked=False)
    try:
        differences = json.loads(done.stdout.splitlines()[-1])["differences"]
    except (IndexError, ValueError, KeyError):
        found.add("drift", f"ledger_verify did not verify: {done.stdout[-500:]}{done.stderr[-500:]}")
        differences = []
    for difference in differences:
        found.add("drift", f"ledger_verify: {difference}")
    for team_id, posted, held, charged in stack.rows(
        "SELECT t.team_id, a.posted_micros, a.held_micros, coalesce((SELECT sum(amount_micros) FROM credits_entry e"
        " WHERE e.kind = 'charge' AND e.debit_account_id = a.id), 0)"
        " FROM credits_account a JOIN teams_team t ON t.id = a.team_id WHERE a.kind = 'wallet'"
    ):
        if posted != granted[team_id] * MICROS - charged or posted - held < 0:
            found.add("drift", f"team {team_id}: {posted} posted, {held} held, {charged} charged")
    # The meter's second witness: where the provider's usage could be believed, the served try has just that.
    billed = {
        execution.attempt_id: execution.billed_prompt_tokens + execution.billed_completion_tokens
        for execution in executions
        if execution.outcome == "answered"
    }
    for attempt_id, tokens, is_estimated in stack.rows(
        "SELECT id::text, prompt_tokens + completion_tokens, is_estimated FROM jobs_attempt WHERE state = 'succeeded'"
    ):
        if attempt_id in billed and (is_estimated or tokens != billed[attempt_id]):
            found.add("drift", f"attempt {attempt_id} has {tokens} tokens, the provider {billed[attempt_id]}")


def _compare_with_history(stack: Stack, history: History, found: Findings) -> None:
    """What a customer was told of a charge is what the ledger has, for ever."""
    charges: dict[str, list[int]] = {}
    for job_id, amount in stack.rows("SELECT job, amount_micros FROM credits_entry WHERE kind = 'charge'"):
        charges.setdefault(job_id, []).append(amount)
    verdicts = dict(stack.rows("SELECT id::text, status FROM jobs_job"))
    for seen in history.completions:
        charged = charges.get(seen.job_id, [])
        told = int(Decimal(seen.credits_charged) * MICROS)
        if seen.credit_applied and sum(charged) != told:
            found.add("double", f"job {seen.job_id}: told {told} micros, charged {charged}")
        if not seen.credit_applied and not seen.charge_pending and charged:
            found.add("double", f"job {seen.job_id}: told that it is free, charged {charged}")
        if verdicts.get(seen.job_id) != seen.verdict:
            found.add("lost", f"job {seen.job_id}: told {seen.verdict}, is {verdicts.get(seen.job_id)}")
