"""Refusals: their list, one by one or grouped, as one client can make a thousand a minute."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Count, F, Max, Min, Q, QuerySet
from django.db.models.expressions import Combinable
from django.urls import reverse

from apps.console import formats, links
from apps.console.lists import columns
from apps.console.lists.base import Empty, Narrowed
from apps.console.lists.columns import Column
from apps.console.lists.filters import ORGANIZATION, TEAM, Choice, Exact, Uuid
from apps.console.lists.strip import Outcome
from apps.console.lists.work import Condition, WorkList
from apps.console.pages import refusal_words as words
from apps.console.pages.jobs import team_link
from apps.core.ids import parse_uuid
from apps.core.keyset import COUNTED as COUNT_MAX
from apps.limits.models import Decision, Scope

_OUTCOMES = (
    Outcome("insufficient_credits", "not enough credits", 4),
    Outcome("spend_limit_reached", "spend limit", 3),
    Outcome("rate_limited", "rate limit", 5),
    Outcome("model_not_allowed", "model not allowed", 6),
    Outcome("team_not_active", "team not active", 9),
)
_GROUPS_MAX = 100


def _limit(decision: Decision) -> str:
    state = words.refusing(decision)
    return f"{words.whose(state)}: {words.metric(state)}" if state else formats.UNKNOWN


def _figure(name: str) -> Any:
    def read(decision: Decision) -> str:
        state = words.refusing(decision)
        return words.amount(state, state.get(name)) if state else formats.UNKNOWN

    return read


def _resets(decision: Decision) -> str:
    state = words.refusing(decision)
    return str((state or {}).get("resets_at") or "")[:19].replace("T", " ") or formats.UNKNOWN


def _by_scope(scope: str) -> Q:
    """Refusals in whose limits this scope stands; JSON text, which both databases search alike."""
    return Q(limits__icontains=f'"{scope}"')


class RefusalList(WorkList):
    title = "Refusals"
    noun = "refusals"
    line = "A refusal is a call that was not admitted, with every limit on its way."
    search_help = "refusal's id, job id or end customer, each whole"
    time_field = "created_at"
    outcomes = _OUTCOMES
    default_range = "24h"
    export_name = "refusals"
    indexed = frozenset({"team"})
    empty = Empty("Nothing was refused.")
    before_template = "console/parts/refusals.html"
    columns = (
        columns.link("Reason", lambda row: words.reason(row.code), lambda row: links.decision(row.pk)),
        columns.when("When", lambda row: row.created_at, place="amount"),
        Column("Team", team_link, lambda row: row.team.team_id, "second"),
        Column("Limit", _limit, _limit),
        Column("Used", _figure("used"), _figure("used"), is_number=True),
        Column("Allowed", _figure("allowed"), _figure("allowed"), is_number=True),
        columns.text("Model", lambda row: row.model, place="second"),
        columns.text("End customer", lambda row: row.user_id),
        Column("Sent", lambda row: words.status(row.code), lambda row: words.status(row.code), is_number=True),
        Column("Resets (UTC)", _resets, _resets),
    )
    filters = (
        ORGANIZATION,
        TEAM,
        Uuid("key", "Key", lookup="key_id"),
        Choice("code", "Code", choices=[(code, label) for code, label in words.REASONS.items()]),
        Condition("scope", "Scope", find=_by_scope, help=", ".join(Scope.values)),
        Exact("model", "Asked model"),
        Exact("user", "End customer", lookup="user_id"),
    )

    def get_rows(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = Decision.objects.select_related("team", "organization")
        return rows

    def search(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        whole = parse_uuid(term)
        if whole is not None:
            return rows.filter(Q(pk=whole) | Q(job_id=str(whole)) | Q(key_id=str(whole)))
        return rows.filter(user_id=term)

    def outcome(self) -> Combinable:
        return F("code")

    def before_table(self, narrowed: Narrowed) -> dict[str, Any]:
        is_grouped = self.request.GET.get("grouped") == "yes"
        groups = self.groups(narrowed) if is_grouped else []
        return {**super().before_table(narrowed), "is_grouped": is_grouped, "groups": groups}

    def groups(self, narrowed: Narrowed) -> Sequence[dict[str, Any]]:
        """By team and reason, the most frequent first; over the newest up to the count's bound."""
        newest = narrowed.rows.order_by("-created_at", "-pk").values("pk")[:COUNT_MAX]
        rows = Decision.objects.filter(pk__in=newest).order_by().values("code", team_name=F("team__team_id"))
        counted = rows.annotate(number=Count("pk"), first=Min("created_at"), last=Max("created_at"))
        return [
            row | {"reason": words.reason(row["code"]), "url": self._group_url(row)}
            for row in counted.order_by("-number", "code")[:_GROUPS_MAX]
        ]

    def _group_url(self, row: dict[str, Any]) -> str:
        asked = self.request.GET.copy()
        for name in ("grouped", "cursor", "page"):
            asked.pop(name, None)
        asked["team"], asked["code"] = row["team_name"], row["code"]
        return f"{reverse('admin:limits_decision_changelist')}?{asked.urlencode()}"
