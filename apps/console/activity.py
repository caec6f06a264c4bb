"""An object's last tab: who changed what, and what happened, in one timeline."""

from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from django.db.models import Q
from django.urls import reverse
from django.utils.http import urlencode

from apps.console import audit_words
from apps.console.lists import columns
from apps.console.tables import Table
from apps.core.models import AuditEntry, Event

_ROWS = 50


@dataclass(frozen=True, slots=True)
class Happening:
    """A line of the timeline: of an audit row, or of an event (then nobody's)."""

    created_at: datetime
    what: str
    actor: str
    change: str
    reason: str


def timeline(kind: str, id: str, *, team_id: str = "", also: Q | None = None) -> Table:
    """What changed about the object and, of a team, what happened in it. Two queries. `also`: more audit rows."""
    audited = AuditEntry.objects.filter(Q(object_kind=kind, object_id=id) | (also or Q(pk__in=[])))
    happened: list[Happening] = [_of_audit(row) for row in audited.order_by("-created_at", "-id")[:_ROWS]]
    events: list[Happening] = []
    if team_id:
        found = Event.objects.filter(team_id=team_id).order_by("-created_at", "-id")[:_ROWS]
        events = [_of_event(event) for event in found]
    rows = sorted(chain(happened, events), key=lambda each: each.created_at, reverse=True)[:_ROWS]
    query = urlencode({"object_kind": kind, "object_id": id})
    return Table(
        "Activity",
        (
            columns.when("When", lambda row: row.created_at, place="first"),
            columns.text("What", lambda row: row.what, place="second"),
            columns.text("By", lambda row: row.actor, place="second"),
            columns.text("Change", lambda row: row.change),
            columns.text("Reason", lambda row: row.reason),
        ),
        rows,
        "Nothing was changed yet.",
        "All of it in the audit log",
        f"{reverse('admin:core_auditentry_changelist')}?{query}",
    )


def _of_audit(row: AuditEntry) -> Happening:
    return Happening(row.created_at, row.action, row.actor, audit_words.changed(row), row.reason)


def _of_event(event: Event) -> Happening:
    return Happening(event.created_at, event.kind, "", event.subject, "")
