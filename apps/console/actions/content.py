"""Show what was asked and answered, for a reason that is recorded."""

import json
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse

from apps.console import content, links
from apps.console.actions.base import Action, ActionForm, Preview, StaleState
from apps.console.pages.job import find
from apps.core import audit
from apps.core.admin_base import actor_of
from apps.jobs.models import Call, CallPayload, Job
from apps.organizations.rights import Right

_CALLS_MAX = 20


class ShowContent(Action):
    """Each showing is an audit row of its own, also of the same page sent twice."""

    right = Right.CONTENT_VIEW
    verb = "Show content"
    busy = "Loading…"
    obj: Job

    def load(self, job_id: str = "", **kwargs: Any) -> None:
        self.obj = find(job_id)
        self.title = f"Show content of job {str(self.obj.pk)[-8:]}?"
        self.calls = list(Call.objects.filter(job=self.obj).order_by("created_at", "id"))

    def doing(self) -> str:
        return "see prompts and answers"

    def back_url(self) -> str:
        return links.job(self.obj.pk)

    def require_possible(self) -> None:
        found = content.of(self.obj, self.calls)
        if not found.is_shown:
            raise StaleState(found.sentence)

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        return Preview(consequences=["Your name, the reason and the time are recorded."], seen="content")

    def answer_of_the_first(self, form: ActionForm) -> HttpResponse | None:
        return None

    def act(self, request: HttpRequest, form: ActionForm, asked: dict[str, Any], now: Preview) -> HttpResponse:
        shown = [call for call in self.calls if content.is_kept(call, self.obj.organization)][:_CALLS_MAX]
        with transaction.atomic():
            audit.record(
                "content.view",
                actor=actor_of(request),
                kind="job",
                id=str(self.obj.pk),
                after={"calls": len(shown)},
                reason=asked["reason"],
            )
        kept = {row.call_id: row for row in CallPayload.objects.filter(call__in=[call.pk for call in shown])}
        context = {
            "calls": [(call, _parsed(kept[call.pk])) for call in shown if call.pk in kept],
            "back_url": self.back_url(),
            "calls_total": len(self.calls),
        }
        self.title = f"Content of job {str(self.obj.pk)[-8:]}"
        return self.render(request, context, template="console/pages/job/content.html")


def _parsed(row: CallPayload) -> list[tuple[str, Any]]:
    parts = (("Asked", row.request), ("Answered", row.response), ("Call metadata", row.call_metadata))
    return [(label, _json(text)) for label, text in parts if text]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
