"""One job: what happened, what it cost and why, its calls on a time axis, its money, its states, its content."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from apps.analytics import job_margin
from apps.console import content, formats, links
from apps.console.pages import job_words, timeline
from apps.console.pages.base import Button, Crumb, ObjectPage, Page, Tab
from apps.console.pages.calls import flags_of, took_ms, waited_ms
from apps.console.pages.jobs import duration_ms
from apps.console.templatetags import console as tags
from apps.core.ids import parse_uuid
from apps.core.models import AuditEntry, Event
from apps.credits.models import Entry
from apps.jobs import receipt_wire, receipts
from apps.jobs.errors import JobNotFound
from apps.jobs.models import Attempt, Call, Job
from apps.organizations.rights import Right

CALLS_A_PAGE = 100
_EVENTS = ("job.paused", "job.budget_paused", "job.resumed", "call.refused")


def find(job_id: str) -> Job:
    """Of any team. Raises: JobNotFound, in words."""
    parsed = parse_uuid(job_id)
    job = (
        Job.objects.select_related("team__organization", "organization").filter(pk=parsed).first() if parsed else None
    )
    if job is None:
        raise JobNotFound(f"There is no job {job_id[:60]}.")
    return job


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened to the job: when, what, by whom, why."""

    at: datetime
    what: str
    who: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class ShownCall:
    number: int
    call: Call
    attempts: Sequence[tuple[int, Attempt, Sequence[str]]]
    flags: Sequence[str]
    waited_ms: int | None
    took_ms: int | None
    is_open: bool


@dataclass(frozen=True, slots=True)
class Paid:
    """What a lot paid of the charge, or was given back."""

    grant_id: str
    kind: str
    micros: int
    url: str


class JobPage(ObjectPage):
    route = "job"
    tabs = (Tab("", "Overview", "console/pages/job/overview.html"),)
    obj: Job

    def load(self, job_id: str = "", **kwargs: Any) -> None:
        self.obj = find(job_id)
        self.title = f"Job {str(self.obj.pk)[-8:]}"
        self.receipt = receipts.of(self.obj)
        self.revenue = job_margin.revenue_of([self.obj]).get(str(self.obj.pk))

    def url_kwargs(self) -> dict[str, Any]:
        return {"job_id": str(self.obj.pk)}

    def get(self, request: HttpRequest, tab: str = "", **kwargs: Any) -> HttpResponse:
        if "fragment" in request.GET and not tab:
            self.load(**kwargs)
            context = {"obj": self.obj, "sentence": self.sentence(), **self.live()}
            return self.render(request, context, template="console/pages/job/live.html")
        return super().get(request, tab=tab, **kwargs)

    def crumbs(self) -> Sequence[Crumb]:
        job = self.obj
        return (
            Crumb("Jobs", reverse("admin:jobs_job_changelist")),
            Crumb(job.team.team_id, links.team(job.team.team_id)),
        )

    def state(self) -> str:
        return self.obj.status

    def sentence(self) -> str:
        return job_words.sentence(self.receipt)

    def facts(self) -> Sequence[tuple[str, Any]]:
        job = self.obj
        cost = job.provider_cost_nanousd + job.lost_cost_nanousd
        margin = formats.usd(job_margin.margin_nanousd(job, self.revenue)) if job.is_closed else formats.UNKNOWN
        return (
            ("Charged", formats.credits(job.charged_micros)),
            ("Held", formats.credits(job.held_micros)),
            ("Provider cost", formats.usd(cost)),
            ("Margin", margin),
            ("Duration", formats.duration(duration_ms(job)) if job.is_closed else "open"),
        )

    def about(self) -> Sequence[tuple[str, Any]]:
        job = self.obj
        key = tags.ident(job.key_id, links.maybe("key", key_id=job.key_id)) if job.key_id else formats.UNKNOWN
        return (
            ("Job", tags.ident(job.pk)),
            ("Team", tags.text(job.team.team_id)),
            ("Organization", tags.text(job.organization.organization_id)),
            ("Type", tags.text(job.job_type)),
            ("End customer", tags.text(job.user_id) if job.user_id else formats.UNKNOWN),
            ("Key", key),
            ("Created", tags.when(job.created_at)),
            ("Started", tags.when(job.started_at)),
            ("Ended", tags.when(job.completed_at)),
        )

    def buttons(self) -> Sequence[Button]:
        found = []
        refund = links.maybe("job_refund", job_id=self.obj.pk)
        if refund and self.receipt.net_micros > 0:
            found.append(Button("Refund", refund, Right.CREDITS_WRITE, is_main=True))
        if not self.obj.is_closed:
            url = links.maybe("job_cancel", job_id=self.obj.pk)
            found.append(Button("Cancel job", url, Right.JOBS_WRITE, is_dangerous=True))
        return found

    def live(self) -> dict[str, Any]:
        """What changes while it runs: the receipt, and the calls drawn."""
        page = self.calls()
        drawn = timeline.of(page, self.receipt.attempts, first_number=self.first_number)
        return {
            "receipt": self.receipt,
            "lines": receipts.arithmetic(self.receipt, show_costs=True),
            "explanation": receipts.explanation(self.receipt, show_costs=True),
            "card": job_words.card(self.receipt),
            "terms": self.receipt.terms,
            "paid": list(self.paid()),
            "cost_nanousd": self.obj.provider_cost_nanousd + self.obj.lost_cost_nanousd,
            "margin_nanousd": job_margin.margin_nanousd(self.obj, self.revenue),
            "revenue": self.revenue,
            "held_most": max((hold.amount_micros for hold in self.receipt.holds), default=0),
            "total_url": self.total_url(),
            "timeline": drawn,
            "calls_total": len(self.receipt.calls),
            "first_number": self.first_number,
            "last_number": self.first_number + len(page) - 1,
            "earlier": max(1, self.first_number - CALLS_A_PAGE) if self.first_number > 1 else None,
            "later": self.first_number + CALLS_A_PAGE
            if self.first_number + len(page) <= len(self.receipt.calls)
            else None,
        }

    def calls(self) -> list[Call]:
        """The page of calls that is shown: the one asked for by number, or with the call that was asked for."""
        calls = self.receipt.calls
        asked, start = self.request.GET.get("call", ""), self.request.GET.get("calls_from", "")
        first = int(start) - 1 if start.isdecimal() and len(start) < 7 else 0
        for place, call in enumerate(calls):
            if str(call.pk) == asked:
                first = place - place % CALLS_A_PAGE
        first = max(0, min(first, len(calls) - 1))
        self.first_number = first + 1
        return calls[first : first + CALLS_A_PAGE]

    def paid(self) -> Iterator[Paid]:
        for entry in self.receipt.entries:
            for use in self.receipt.uses.get(entry.pk, []):
                url = links.maybe("grant", grant_id=use.grant_id)
                yield Paid(str(use.grant_id), use.grant.kind, use.amount_micros, url)

    def total_url(self) -> str:
        """The ledger with exactly the job's charge."""
        charges = [entry for entry in self.receipt.entries if entry.kind == Entry.Kind.CHARGE]
        if len(charges) == 1 and (url := links.maybe("entry", entry_id=charges[0].pk)):
            return url
        return links.listed("credits_entry", q=self.obj.pk, range="all")

    def tab_overview(self) -> dict[str, Any]:
        job, live = self.obj, self.live()
        asked = self.request.GET.get("call", "")
        base = reverse("admin:job", kwargs=self.url_kwargs())
        return live | {
            "calls": [self._shown(row, asked) for row in live["timeline"].rows],
            "entries": [(entry, links.maybe("entry", entry_id=entry.pk)) for entry in self.receipt.entries],
            "steps": self.steps(),
            "receipt_url": reverse("admin:job_receipt", kwargs=self.url_kwargs()),
            "poll_url": f"{base}?fragment=1&calls_from={self.first_number}",
            "content": content.of(job, self.receipt.calls),
            "content_url": links.maybe("job_content", job_id=job.pk),
            "may_see_content": self.operator.holds(Right.CONTENT_VIEW),
            "curl": f'curl -H "X-Admin-Key: $TOKEN" $BASE_URL/api/jobs/{job.pk}/receipt',
        }

    def _shown(self, row: timeline.Row, asked: str) -> ShownCall:
        call = row.call
        attempts = [
            (number, attempt, flags_of(attempt))
            for number, attempt in enumerate(self.receipt.attempts.get(call.pk, []), start=1)
        ]
        return ShownCall(
            row.number, call, attempts, flags_of(call), waited_ms(call), took_ms(call), str(call.pk) == asked
        )

    def steps(self) -> list[Step]:
        """Its states in order, from its own columns, the events about it and what operators did."""
        job = self.obj
        found = [Step(job.created_at, "created", f"key {job.key_id[-8:]}" if job.key_id else "")]
        if job.started_at:
            found.append(Step(job.started_at, "first call"))
        if job.completed_at:
            found.append(Step(job.completed_at, job.status, job_words.closer(job.closed_by), job.error_message))
        events = Event.objects.filter(
            team_id=job.team.team_id, kind__in=_EVENTS, created_at__gte=job.created_at, subject=f"job:{job.pk}"
        )
        found += [
            Step(event.created_at, re.sub("[._]", " ", event.kind), "", str(event.data.get("code", "")))
            for event in events.order_by("created_at")[:50]
        ]
        done = AuditEntry.objects.filter(object_kind="job", object_id=str(job.pk)).order_by("-created_at")[:50]
        found += [Step(row.created_at, row.action, row.actor, row.reason) for row in done]
        return sorted(found, key=lambda step: step.at)


class JobReceiptFile(Page):
    """The JSON of the API's `/receipt`, as a file."""

    def get(self, request: HttpRequest, job_id: str = "", **kwargs: Any) -> HttpResponse:
        job = find(job_id)
        body = receipt_wire.as_wire(receipts.of(job), to_operator=True, show_costs=True)
        answer = HttpResponse(json.dumps(body, indent=2, ensure_ascii=False), content_type="application/json")
        answer["Content-Disposition"] = f'attachment; filename="receipt-{job.pk}.json"'
        answer["X-Content-Type-Options"] = "nosniff"
        return answer


class OldJobPage(Page):
    """Where the plain page of a job or a call was: its address leads to the new one."""

    route = "job"

    def get(self, request: HttpRequest, object_id: str = "", **kwargs: Any) -> HttpResponse:
        url = links.maybe(self.route, **{f"{self.route}_id": object_id})
        if parse_uuid(object_id) is None or not url:
            raise Http404(f"There is no {self.route} {object_id[:60]}.")
        return HttpResponseRedirect(url)


class OldCallPage(OldJobPage):
    route = "call"


class OldDecisionPage(OldJobPage):
    route = "decision"
