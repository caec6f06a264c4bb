"""Cancel a job."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from apps.console import formats, links
from apps.console.actions.base import Action, ActionForm, Change, Preview, StaleState
from apps.console.pages.job import find
from apps.core import idempotency
from apps.core.admin_base import actor_of
from apps.credits import settlement
from apps.credits.settlement import Verdict
from apps.jobs import cancelling, lifecycle
from apps.jobs.models import Job
from apps.organizations.rights import Right


class CancelJob(Action):
    """No more calls, what nobody has begun is not made; its card says what that costs."""

    right = Right.JOBS_WRITE
    verb = "Cancel job"
    busy = "Cancelling…"
    is_dangerous = True
    obj: Job

    def load(self, job_id: str = "", **kwargs: Any) -> None:
        self.obj = find(job_id)
        self.title = f"Cancel job {str(self.obj.pk)[-8:]}?"

    def doing(self) -> str:
        return "cancel jobs"

    def back_url(self) -> str:
        return links.job(self.obj.pk)

    def require_possible(self) -> None:
        if self.obj.is_closed:
            raise StaleState(f"The job is {self.obj.status} already. A closed job is never reopened.")

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        job = self.obj
        return Preview(
            changes=[
                Change("State", job.status.replace("_", " "), Job.Status.CANCELLED),
                Change("Held", formats.credits(job.held_micros), formats.credits(0)),
            ],
            consequences=[
                self._calls(),
                self._cost(),
                "The customer reads the reason as the job's error message.",
            ],
            seen=f"{job.status}:{job.open_calls}:{job.held_micros}:{job.successful_calls}",
        )

    def _calls(self) -> str:
        number = self.obj.open_calls
        if not number:
            return "No call is open; no more are taken."
        calls = "1 call is" if number == 1 else f"{number} calls are"
        return f"{calls} open: what nobody began is not made, streams are stopped, others run to their end."

    def _cost(self) -> str:
        """What the card's policy takes for a cancelled job, by the rule that will charge it."""
        job, terms = self.obj, lifecycle.terms_of(self.obj)
        if terms is None:
            return "No call was made: this costs 0 credits."
        due = settlement.due(terms, Verdict.CANCELLED, lifecycle.work_of(job))
        so_far = " so far; calls that still run may add to it" if job.open_calls else ""
        released = max(0, job.held_micros - due.micros)
        return (
            f"By card policy ({due.explanation}) this costs {formats.credits_in_words(due.micros)}{so_far}."
            f" {formats.credits(released)} of the hold of {formats.credits(job.held_micros)} are released."
        )

    def act(self, request: HttpRequest, form: ActionForm, asked: dict[str, Any], now: Preview) -> HttpResponse:
        # Its own transaction, since waiting clients are told after it, over the network.
        job, is_replay = cancelling.cancel_job(
            self.obj.team,
            job_id=str(self.obj.pk),
            closed_by="operator",
            reason=asked["reason"],
            idempotent=form.as_request(self.scope()),
            actor=actor_of(request),
        )
        return self._done(request, job, is_replay=is_replay)

    def show(self, request: HttpRequest, slot: idempotency.Slot, *, is_replay: bool) -> HttpResponse:
        return self._done(request, self.obj, is_replay=is_replay)

    def _done(self, request: HttpRequest, job: Job, *, is_replay: bool) -> HttpResponse:
        again = " (It was done before; nothing twice.)" if is_replay else ""
        messages.success(request, f"The job is {job.status}.{again}")
        response = HttpResponseRedirect(self.next_url() or self.back_url())
        response.status_code = 303
        return response
