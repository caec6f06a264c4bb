"""The audit log: who did what to what, and one row of it field by field. Nobody can change it."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from django.http import QueryDict
from django.urls import reverse
from django.utils.html import format_html

from apps.analytics import audit_log
from apps.analytics.audit_log import Wanted
from apps.console import audit_words, formats
from apps.console.lists import columns
from apps.console.lists.base import Empty, ListPage, prefix_or_word
from apps.console.lists.columns import Column
from apps.console.lists.filters import Choice, Exact, Filter, Ignored
from apps.console.pages.base import Crumb, Page
from apps.console.templatetags import console as tags
from apps.core.audit import REFUSED
from apps.core.models import AuditEntry
from apps.organizations.models import Organization

LIST = "admin:core_auditentry_changelist"


def url_of(row: AuditEntry) -> str:
    return reverse("admin:audit", kwargs={"audit_id": str(row.pk)})


class Actor(Filter):
    """An actor as kind:name, or an operator's address alone."""

    def apply(self, rows: QuerySet[Any], given: QueryDict) -> tuple[QuerySet[Any], str]:
        value = self.value(given)
        if "\x00" in value:
            raise Ignored("no text that could be found")
        return rows.filter(actor=value if ":" in value else f"operator:{value.lower()}"), value


class Action(Filter):
    """An action, or all that begin with a word and a dot."""

    def apply(self, rows: QuerySet[Any], given: QueryDict) -> tuple[QuerySet[Any], str]:
        value = self.value(given)
        if "\x00" in value:
            raise Ignored("no text that could be found")
        return rows.filter(**{"action__startswith" if value.endswith(".") else "action": value}), value


class OfOrganization(Filter):
    """About an organization, its teams, their keys and its members."""

    def apply(self, rows: QuerySet[Any], given: QueryDict) -> tuple[QuerySet[Any], str]:
        value = self.value(given)
        found = None if "\x00" in value else Organization.objects.filter(organization_id=value).first()
        if found is None:
            raise Ignored(f"no organization {value[:60]!r}")
        about = audit_log.entries(Wanted(organization=found)).order_by()
        return rows.filter(pk__in=about.values("pk")), value


def _object(row: AuditEntry) -> Any:
    url = audit_words.url_of_object(row)
    name = formats.harmless(row.object_id)[:80]
    shown = format_html('<a href="{}"><bdi>{}</bdi></a>', url, name) if url else format_html("<bdi>{}</bdi>", name)
    return format_html('<span class="c-quiet">{}</span> {}', row.object_kind, shown)


class AuditList(ListPage):
    title = "Audit log"
    noun = "audit rows"
    line = "Every change of customers, money, prices and rights, and every refused attempt. Nobody can edit it."
    search_help = "object id, or an actor or action from its start"
    time_field = "created_at"
    default_range = "30d"
    export_name = "audit-log"
    empty = Empty("No changes in the last 30 days.")
    columns = (
        columns.when("Time", lambda row: row.created_at, place="second"),
        columns.text("Actor", lambda row: row.actor, place="second"),
        columns.link("Did", audit_words.what, url_of),
        Column("To what", _object, lambda row: f"{row.object_kind}:{row.object_id}", "second"),
        columns.text("Changed", audit_words.changed),
        columns.text("Reason", lambda row: row.reason),
        columns.plain("Address", lambda row: row.address),
    )
    filters = (
        Actor("actor", "Actor", "an operator's address, or kind:name"),
        Action("action", "Action", "such as team.suspend; with a dot at its end, all that begin so"),
        Exact("object_kind", "Kind of object"),
        Exact("object_id", "Object id"),
        OfOrganization("organization", "Organization"),
        Exact("address", "Address"),
        Choice(
            "refused",
            "Refused attempts",
            choices=(("yes", "refused"), ("no", "done")),
            conditions=lambda value: Q(action=REFUSED) if value == "yes" else ~Q(action=REFUSED),
        ),
    )

    def get_rows(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = AuditEntry.objects.all()
        return rows

    def search(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(prefix_or_word(term, starts=("actor", "action"), contains=()) | Q(object_id=term))


class AuditPage(Page):
    """One row, field by field."""

    template_name: ClassVar[str] = "console/pages/audit.html"

    def get_context(self, audit_id: str = "", **kwargs: Any) -> dict[str, Any]:
        row = audit_log.find(audit_id)
        self.title = f"{row.actor} {audit_words.what(row)}"
        return {
            "row": row,
            "fields": audit_words.differences(row),
            "object": _object(row),
            "about": (
                ("When", tags.when(row.created_at)),
                ("By", tags.text(row.actor)),
                ("With", tags.text(row.via) if row.via else "the console, or the master key"),
                ("From", tags.text(row.address or formats.UNKNOWN)),
                ("Action", tags.text(row.action)),
                ("Id", tags.ident(row.pk)),
            ),
        }

    def crumbs(self) -> Sequence[Crumb]:
        return (Crumb("Audit log", reverse(LIST)),)
