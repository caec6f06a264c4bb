"""Random walks through the life of jobs with budgets: whatever happens in whatever order, no promise is broken."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from apps.core import verification
from apps.core.errors import DomainError
from apps.credits.errors import InsufficientCredits
from apps.jobs import budgets, cancelling, escrow, services
from apps.jobs.budgets import Change
from apps.jobs.errors import CeilingTooLow, JobCapReached, JobClosed
from apps.jobs.escrow import Budget
from apps.jobs.gateway.interface import Completion, CompletionRequest
from apps.jobs.models import Call, Job
from tests import make
from tests.jobs import steps

MICROS = 1_000_000
STEPS = 60
REFUSALS = (CeilingTooLow, InsufficientCredits, JobCapReached, JobClosed)


def refusal_of(doing: Callable[[], Any]) -> DomainError | None:
    try:
        doing()
    except REFUSALS as error:
        return error
    return None


class Walk:
    """Jobs of one team, metered by tokens, with a wallet that is too small for all of them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.customer = make.customer(credits=120, budget_mode="consumption_tokens", tokens_per_credit=10)
        self.keeps_caps = seed % 2 == 0
        self.jobs: list[Job] = []
        self.open()

    def step(self) -> None:
        doing: Callable[[], Any] = self.random.choice(
            [self.open, self.ask, self.ask, self.ask, self.answer, self.answer, self.change, self.change, self.end]
        )
        before = steps.balance(self.customer)
        held = {job.pk: steps.fresh(job).held_micros for job in self.jobs}
        if refusal_of(doing) is not None:
            # It moves no credits, and pauses at most.
            assert steps.balance(self.customer) == before
            assert {job.pk: steps.fresh(job).held_micros for job in self.jobs} == held
        self.check()

    def open(self) -> None:
        ceiling = self.random.choice([None, 5, 15, 40])
        budget = Budget(
            max_micros=None if ceiling is None else ceiling * MICROS,
            reserves=ceiling is not None and self.random.random() < 0.3,
            on_cap=self.random.choice(["refuse", "pause"]),
        )
        self.jobs.append(steps.open_job(self.customer, budget=budget))

    def any_job(self) -> Job:
        return steps.fresh(self.random.choice(self.jobs[-4:]))

    def ask(self) -> None:
        job, cap = self.any_job(), self.random.choice([20, 80, 300])
        text = str(self.random.random())
        was_paused = job.status == Job.Status.PAUSED
        error = refusal_of(lambda: steps.ask(self.customer, job, text, parameters={"max_tokens": cap}))
        is_paused = steps.fresh(job).status == Job.Status.PAUSED
        if isinstance(error, JobCapReached):
            assert was_paused or error.details["needed_micros"] > (job.max_micros or 0)
            assert is_paused == (was_paused or job.on_cap == "pause")
        else:
            assert is_paused == was_paused
        if error is not None:
            raise error
        assert not was_paused

    def answer(self) -> None:
        call = Call.objects.filter(job__in=self.jobs, state="queued").order_by("?").first()
        if call is not None:
            steps.run(services.Submitted(call.job_id, call.pk, is_new=True))

    def change(self) -> None:
        job = self.any_job()
        if job.max_micros is None or self.random.random() < 0.7:
            ceiling = self.random.choice([3, 10, 30, 60, 200])
            wanted: dict[str, Any] = {"max_micros": ceiling * MICROS}
        else:
            wanted = {"reserves": self.random.random() < 0.5}
        changed = budgets.change(
            self.customer.principal, job_id=str(job.pk), wanted=Change(frozenset(wanted), **wanted)
        )
        if "max_micros" in wanted and job.status == Job.Status.PAUSED and changed.status == Job.Status.PAUSED:
            assert wanted["max_micros"] <= max(job.max_micros or 0, escrow.needed_micros(changed))

    def end(self) -> None:
        job = self.any_job()
        if self.random.random() < 0.3:
            cancelling.cancel_job(self.customer.team, job_id=str(job.pk), closed_by="test")
        else:
            steps.complete(self.customer, job, self.random.choice(["completed", "completed", "failed"]))

    def check(self) -> None:
        total = 0
        for job in (steps.fresh(job) for job in self.jobs):
            total += job.held_micros
            if job.max_micros is None:
                assert escrow.as_wire(job) is None
                continue
            assert job.held_micros <= job.max_micros
            assert job.charged_micros <= job.max_micros
            assert escrow.used_micros(job) <= job.max_micros
            if job.reserves_ceiling and not job.is_closed:
                assert job.held_micros == job.max_micros
            elif self.keeps_caps and not job.is_closed:
                assert job.held_micros >= escrow.needed_micros(job)
        assert steps.balance(self.customer).held_micros == total
        assert steps.balance(self.customer).spendable_micros >= 0


@pytest.mark.parametrize("seed", range(8))
def test_budgets_hold_on_every_walk(db: None, monkeypatch: pytest.MonkeyPatch, seed: int):
    """With a provider that keeps to its caps on even seeds, and one that does not on odd ones."""
    make.platform_model()
    walk = Walk(seed)

    def reply(request: CompletionRequest) -> Completion:
        cap = request.body["max_tokens"] if walk.keeps_caps else 500
        return steps.answer(prompt=20, completion=walk.random.randint(1, cap))

    steps.take_route(monkeypatch, reply)

    for _ in range(STEPS):
        walk.step()

    assert list(verification.differences()) == []
