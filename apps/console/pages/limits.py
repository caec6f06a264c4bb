"""Limits: their list with what is used, one limit, and what a request would meet without making it."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from apps.console import formats
from apps.console.actions.limits import METRICS, amount_words, own_amount, subject_words, url_of
from apps.console.lists import columns
from apps.console.lists.base import Empty, ListPage
from apps.console.lists.columns import Column
from apps.console.lists.filters import ORGANIZATION, TEAM, Choice
from apps.console.pages.base import Button, Crumb, ObjectPage, Page, Tab
from apps.console.templatetags import console as tags
from apps.core import clock
from apps.core.errors import NotFound
from apps.core.ids import parse_uuid
from apps.core.money import MAX_CREDITS, MICROS
from apps.credits import billing
from apps.limits import effective, gate, periods, services
from apps.limits.index import Applied
from apps.limits.models import RATES, Limit, Metric, Scope, SpendWindow
from apps.organizations import rights
from apps.organizations.rights import Right
from apps.teams import services as teams
from apps.teams.models import Team
from apps.virtual_keys.models import VirtualKey


def with_use(limits: QuerySet[Limit]) -> QuerySet[Any]:
    """Limits with what they allow now, and what of a spend limit's present period is used and held."""
    window = SpendWindow.objects.filter(
        scope=OuterRef("scope"), subject=OuterRef("subject"), metric=OuterRef("metric"), ends_at__gt=Now()
    ).order_by("-pk")
    return limits.annotate(
        allowed=Case(When(raised_until__gt=Now(), then=F("raised_to")), default=F("amount")),
        used_micros=Subquery(window.values("used_micros")[:1]),
        held_micros=Subquery(window.values("held_micros")[:1]),
        ends_at=Subquery(window.values("ends_at")[:1]),
    )


def measure(rows: Sequence[Any]) -> None:
    """Put on each limit what is used and held now and when it resets; None where nobody can tell. No query."""
    now = clock.now()
    rates = [row for row in rows if row.metric in RATES and not _is_of_each_user(row)]
    looked = gate.look([Applied(row.scope, row.subject, row.metric, row.allowed) for row in rates]) if rates else []
    used_now = dict(zip([row.pk for row in rates], looked, strict=True))
    for row in rows:
        if row.metric in RATES or _is_of_each_user(row):
            row.used, row.held, row.resets_at = used_now.get(row.pk), 0, None
            continue
        row.used, row.held = row.used_micros or 0, row.held_micros or 0
        zone = row.organization.time_zone if row.organization else "UTC"
        row.resets_at = row.ends_at or periods.end_of(row.metric, now, zone)


def _is_of_each_user(limit: Limit) -> bool:
    """Whether it stands for each end user who has none of their own: then nothing is counted under its name."""
    return limit.scope == Scope.USER and limit.subject.endswith("/")


def _use_shown(limit: Any) -> str:
    if limit.used is None:
        return formats.UNKNOWN
    total = limit.used + limit.held
    held = f", {amount_words(limit.metric, limit.held)} held" if limit.held else ""
    label = f"{amount_words(limit.metric, limit.used)} used{held}"
    return tags.bar(total, limit.allowed, label)


def _resets_shown(limit: Any) -> str:
    if limit.resets_at is not None:
        return tags.when(limit.resets_at)
    return "as calls end" if limit.metric == Metric.CALLS else "over the next minute"


def comes_from(limit: Any) -> str:
    """Why it allows what it allows."""
    if limit.allowed != limit.amount or (limit.raised_until and limit.raised_until > clock.now()):
        until = formats.clock(limit.raised_until)
        return f"raised until {until}, then {amount_words(limit.metric, limit.amount)}"
    return "default of each user" if _is_of_each_user(limit) else "own"


def _near(value: str) -> Q:
    """Spend limits of whose present period 80 % are used or held."""
    windows = SpendWindow.objects.filter(
        scope=OuterRef("scope"), subject=OuterRef("subject"), metric=OuterRef("metric"), ends_at__gt=Now()
    ).annotate(percent=(F("used_micros") + F("held_micros")) * 100)
    return Q(Exists(windows.filter(percent__gte=OuterRef("allowed") * Value(80))))


def _from(value: str) -> Q:
    is_raised = Q(raised_until__gt=Now())
    return is_raised if value == "raised" else ~is_raised | Q(raised_until=None)


class LimitList(ListPage):
    title = "Limits"
    noun = "limits"
    line = "Every limit on a call's way applies: its platform's, organization's, team's, key's, model's and user's."
    search_help = "id of what is limited, its team or organization"
    ordering = ("scope", "subject", "metric", "pk")
    export_name = "limits"
    empty = Empty("No limits set. Only credits bound what teams use.", "New limit", "/admin/limit/new/")
    columns = (
        columns.link("Owner", lambda limit: subject_words(limit), lambda limit: url_of(limit)),
        columns.plain("What", lambda limit: METRICS[limit.metric], place="second"),
        Column(
            "Allowed",
            lambda limit: amount_words(limit.metric, limit.allowed),
            lambda limit: own_amount(limit.metric, limit.allowed),
            "amount",
            is_number=True,
        ),
        Column("Used and held", _use_shown, lambda limit: limit.used, "second"),
        Column("Resets", _resets_shown, lambda limit: clock.iso(limit.resets_at) or "", "rest"),
        columns.plain("Comes from", comes_from),
        Column(
            "Change",
            lambda limit: format_html_join(" · ", '<a href="{}">{}</a>', limit.actions) or formats.UNKNOWN,
            lambda limit: "",
            "second",
        ),
    )
    filters = (
        Choice("scope", "Scope", choices=Scope.choices),
        Choice("metric", "What", choices=tuple(METRICS.items())),
        Choice("use", "Used", choices=(("near", "80 % of spend or more"),), conditions=_near),
        Choice("from", "Comes from", choices=(("raised", "raised"), ("own", "own")), conditions=_from),
        TEAM,
        ORGANIZATION,
    )

    def get_rows(self) -> QuerySet[Any]:
        return with_use(Limit.objects.select_related("organization", "team"))

    def search(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(
            Q(subject__istartswith=term) | Q(team__team_id=term) | Q(organization__organization_id=term)
        )

    def decorate(self, rows: Sequence[Any]) -> None:
        measure(rows)
        for row in rows:
            row.actions = [
                (reverse(f"admin:limit_{route}", kwargs={"limit_id": row.pk}), label)
                for label, route, partly in (
                    ("Raise", "raise", True),
                    ("Change", "edit", False),
                    ("Remove", "remove", False),
                )
                if rights.holds(self.operator.role, Right.LIMITS_WRITE, within=partly)
            ]

    def buttons(self) -> Sequence[Button]:
        check = Button("Check a request", reverse("admin:limits_check"), Right.VIEW)
        if not self.operator.holds(Right.LIMITS_WRITE):
            return (check,)
        return (check, Button("New limit", reverse("admin:limit_new"), Right.LIMITS_WRITE, is_main=True))


class LimitPage(ObjectPage):
    route = "limit"
    tabs = (Tab("", "Limit", "console/pages/limit.html"),)
    obj: Any

    def load(self, limit_id: str = "", **kwargs: Any) -> None:
        pk = services.find(limit_id).pk
        self.obj = with_use(Limit.objects.select_related("organization", "team")).get(pk=pk)
        measure([self.obj])
        self.title = f"{METRICS[self.obj.metric]} of {subject_words(self.obj)}"

    def url_kwargs(self) -> dict[str, Any]:
        return {"limit_id": self.obj.pk}

    def crumbs(self) -> Sequence[Crumb]:
        return (Crumb("Limits", reverse("admin:limits_limit_changelist")),)

    def sentence(self) -> str:
        reason = f" Raised by {self.obj.raised_by}: “{self.obj.raise_reason}”." if self.obj.raise_reason else ""
        allowed = amount_words(self.obj.metric, self.obj.allowed)
        return f"Allows {allowed} {METRICS[self.obj.metric].lower()}; {comes_from(self.obj)}.{reason}"

    def facts(self) -> Sequence[tuple[str, Any]]:
        return (
            ("Allowed", amount_words(self.obj.metric, self.obj.allowed)),
            ("Used and held", _use_shown(self.obj)),
            ("Resets", _resets_shown(self.obj)),
        )

    def about(self) -> Sequence[tuple[str, Any]]:
        audited = f"{reverse('admin:core_auditentry_changelist')}?object_kind=limit&object_id={self.obj.pk}"
        return (
            ("Scope", self.obj.get_scope_display()),
            ("Owner", tags.text(subject_words(self.obj))),
            ("Created", tags.when(self.obj.created_at)),
            ("Changes", format_html('<a href="{}">audit log</a>', audited)),
            ("API", tags.text(f"GET /api/limits/{self.obj.pk}")),
        )

    def buttons(self) -> Sequence[Button]:
        def to(label: str, action: str, **more: bool) -> Button:
            return Button(
                label, reverse(f"admin:limit_{action}", kwargs=self.url_kwargs()), Right.LIMITS_WRITE, **more
            )

        raised = to("Raise", "raise", is_main=True)
        if not self.operator.holds(Right.LIMITS_WRITE):
            return (raised,)
        return (to("Remove", "remove"), to("Change", "edit"), raised)


class CheckPage(Page):
    """Every limit on the way of a call of these, and whether it has room. Takes nothing."""

    title = "Check a request"
    template_name = "console/pages/limits_check.html"

    def crumbs(self) -> Sequence[Crumb]:
        return (Crumb("Limits", reverse("admin:limits_limit_changelist")),)

    def get_context(self, **kwargs: Any) -> dict[str, Any]:
        given = {name: self.request.GET.get(name, "").strip()[:300] for name in _ASKED}
        errors: dict[str, str] = {}
        context: dict[str, Any] = {"asked": given, "errors": errors, "fields": _fields(given, errors)}
        if not any(given.values()):
            return context
        team = _team(given["team"], errors)
        key_id = _key(given["key"], team, errors)
        tokens, credits = _number(given, "tokens", errors), _number(given, "credits", errors)
        context["fields"] = _fields(given, errors)
        if errors or team is None:
            return context
        found = effective.limits(team, key_id=key_id, model=given["model"], user_id=given["user"])
        own = {Metric.TOKENS.value: int(tokens)} | dict.fromkeys(RATES - {Metric.TOKENS}, 1)
        rows = [_judged(each, own.get(each["limit"], int(credits * MICROS))) for each in found]
        return context | {"team": team, "rows": rows, "sentence": _sentence(team, rows, int(credits * MICROS))}


_ASKED = {
    "team": ("Team", "its id"),
    "key": ("Key", "its id; empty: any"),
    "model": ("Model", "the name asked for; empty: limits of models are left out"),
    "user": ("End user", "the customer's own id; empty: none"),
    "tokens": ("Tokens", "of the call; empty: 0"),
    "credits": ("Credits", "that it would hold; empty: 0"),
}


def _fields(given: dict[str, str], errors: dict[str, str]) -> list[tuple[str, str, str, str, str]]:
    return [(name, label, about, given[name], errors.get(name, "")) for name, (label, about) in _ASKED.items()]


def _team(team_id: str, errors: dict[str, str]) -> Team | None:
    try:
        if "\x00" not in team_id:
            return teams.find(team_id)
    except NotFound:
        pass
    errors["team"] = "There is no such team." if team_id else "Name a team."
    return None


def _key(key_id: str, team: Team | None, errors: dict[str, str]) -> str:
    if not key_id or team is None:
        return ""
    parsed = parse_uuid(key_id)
    if parsed is None or not VirtualKey.objects.filter(pk=parsed, team=team).exists():
        errors["key"] = "The team has no key of this id."
        return ""
    return str(parsed)


def _number(given: dict[str, str], name: str, errors: dict[str, str]) -> Decimal:
    try:
        value = Decimal(given[name].replace(",", "") or 0)
        if value.is_finite() and 0 <= value <= MAX_CREDITS:
            return value
    except InvalidOperation:
        pass
    errors[name] = f"{given[name]!r} is no number of {name} such as 1000."
    return Decimal(0)


def _judged(state: dict[str, Any], own: int) -> dict[str, Any]:
    used, held, allowed = state["used"] or 0, state["held"] or 0, state["allowed"]
    metric = state["limit"]
    return {
        "what": METRICS[metric],
        "scope": Scope(state["scope"]).label,
        "id": state["id"],
        "used": formats.UNKNOWN if state["used"] is None else amount_words(metric, used),
        "held": amount_words(metric, held),
        "allowed": amount_words(metric, allowed),
        "left": amount_words(metric, max(0, allowed - used - held)),
        "resets_at": datetime.fromisoformat(state["resets_at"]) if state["resets_at"] else None,
        "has_room": used + held + own <= allowed,
    }


def _sentence(team: Team, rows: Sequence[dict[str, Any]], micros: int) -> str:
    balance = billing.balance(team).spendable_micros
    refused = [row for row in rows if not row["has_room"]]
    refusing = [f"{row['what'].lower()} of {row['scope'].lower()} {row['id']}".rstrip() for row in refused]
    words = f"{team.team_id} is {team.status} and has {formats.credits_in_words(balance)} available."
    if team.status != Team.Status.ACTIVE:
        return f"{words} Its calls are refused."
    if refusing:
        return f"{words} Refused now by: {', '.join(refusing)}."
    room = "Every limit has room." if rows else "No limit is on the way; only credits bound the call."
    return f"{words} {room}" if balance >= micros else f"{words} That is too little for the call."
