"""Statements: what every organization had and what moved in a month; one organization's, as page, JSON and CSV."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone

from apps.analytics import statement_files, statements
from apps.console import money_links as links
from apps.console.lists import paging
from apps.console.pages.base import Button, Crumb, Page
from apps.core import audit
from apps.core.admin_base import actor_of
from apps.core.errors import InvalidField
from apps.core.money import exact_credits
from apps.core.spreadsheets import CONTENT_TYPE, Number, lines
from apps.credits import history
from apps.credits.history import Month, Movement
from apps.credits.models import Account, Entry, Period
from apps.organizations import rights
from apps.organizations import services as organizations
from apps.organizations.models import Organization
from apps.organizations.rights import Right

_PAGE = 50
_MONTHS_SHOWN = 24
_JSON_ENTRIES = 1000
# What the table shows apart; the rest of the kinds moves within an organization or stands under "other".
SHOWN = (Entry.Kind.GRANT, Entry.Kind.CHARGE, Entry.Kind.REFUND, Entry.Kind.EXPIRE)


def months(now: datetime) -> list[str]:
    """The newest months of UTC, this one first."""
    year, month, found = now.year, now.month, []
    for _ in range(_MONTHS_SHOWN):
        found.append(f"{year}-{month:02}")
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)
    return found


@dataclass(slots=True)
class Line:
    """An organization in a month. In micros; `moved` by kind."""

    organization: Organization
    opening: int = 0
    closing: int = 0
    moved: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def shown(self) -> list[int]:
        return [self.moved[kind] for kind in SHOWN]

    @property
    def other(self) -> int:
        return self.closing - self.opening - sum(self.shown)


def lines_of(found: Sequence[Organization], name: str) -> tuple[list[Line], Month]:
    """What these organizations had and what moved. Raises: InvalidField unless the month has begun."""
    ids = [each.pk for each in found]
    accounts = list(
        Account.objects.filter(Q(organization__in=ids) | Q(team__organization__in=ids))
        .exclude(kind=Account.Kind.SYSTEM)
        .select_related("team")
        .order_by("pk")
    )
    month = history.month(accounts, name)
    by_organization = {each.pk: Line(each) for each in found}
    line_of = {account.pk: by_organization[_owner(account)] for account in accounts}
    for span in month.spans:
        line = line_of[span.account.pk]
        line.opening += span.opening_micros
        line.closing += span.closing_micros
    for movement in history.movements(month.spans):
        line_of[movement.account_id].moved[movement.kind] += movement.micros
    return list(by_organization.values()), month


def _owner(account: Account) -> int:
    return account.team.organization_id if account.team is not None else account.organization_id or 0


class StatementList(Page):
    title = "Statements"
    template_name = "console/pages/money/statements.html"

    def rows(self) -> QuerySet[Organization]:
        return Organization.objects.order_by("organization_id", "pk")

    def asked(self) -> tuple[str, str]:
        """The month, by default the one before this, and what was not understood."""
        known = months(timezone.now().astimezone(UTC))
        name = self.request.GET.get("month", "").strip()
        if name and name not in known:
            return known[1], f"no month {name[:20]!r} of the last {_MONTHS_SHOWN}"
        return name or known[1], ""

    def get_context(self, **kwargs: Any) -> dict[str, Any]:
        name, wrong = self.asked()
        found, number = paging.by_number(self.rows(), page=self.request.GET.get("page", ""), size=_PAGE)
        rows, month = lines_of(found[:_PAGE], name)
        self.month = month
        return {
            "month": month,
            "months": months(timezone.now().astimezone(UTC)),
            "wrong": wrong,
            "rows": rows,
            "kinds": SHOWN,
            "has_older": len(found) > _PAGE,
            "has_newer": number > 1,
            "number": number,
            "may_export": self.operator.holds(Right.EXPORT),
            "closed": list(Period.objects.order_by("-name")[:12]),
            "is_over": month.ends_at <= timezone.now(),
        }

    def buttons(self) -> Sequence[Button]:
        name, _ = self.asked()
        if name == months(timezone.now().astimezone(UTC))[0]:
            # It still runs.
            return ()
        if not self.operator.holds(Right.CREDITS_WRITE) or Period.objects.filter(pk=name).exists():
            return ()
        return (Button(f"Close {name}", reverse("admin:period_close", args=[name]), Right.CREDITS_WRITE),)

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        """All organizations of the month as CSV. Leaves an audit row. Raises: RightMissing."""
        rights.require(self.operator.role, Right.EXPORT)
        name, _ = self.asked()
        audit.record(
            "export", actor=actor_of(request), kind="list", id="statements", after={"query": f"month={name}"}
        )
        header = ["organization_id", "name", "opening_balance", *SHOWN, "other", "closing_balance"]
        return _csv(f"statements-{name}.csv", header, self.exported(name))

    def exported(self, name: str) -> Iterator[list[Any]]:
        number = 1
        while True:
            found, _ = paging.by_number(self.rows(), page=str(number), size=_PAGE)
            for line in lines_of(found[:_PAGE], name)[0]:
                amounts = (line.opening, *line.shown, line.other, line.closing)
                named = [line.organization.organization_id, line.organization.name]
                yield [*named, *(Number(exact_credits(micros)) for micros in amounts)]
            if len(found) <= _PAGE:
                return
            number += 1


class Statement(Page):
    """`?format=csv` has every entry, `?format=json` what the API answers with the first 1,000."""

    template_name = "console/pages/money/statement.html"
    organization: Organization
    period: str

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        try:
            return super().dispatch(request, *args, **kwargs)
        except InvalidField as error:
            raise Http404(error.message) from None

    def get(  # type: ignore[override]
        self, request: HttpRequest, organization_id: str = "", period: str = "", **kwargs: Any
    ) -> HttpResponseBase:
        self.organization = organizations.find(organization_id)
        self.period = period
        month = statements.of_organization(self.organization, period)
        name = f"statement-{organization_id}-{month.name}"
        if request.GET.get("format") in ("csv", "json"):
            rights.require(self.operator.role, Right.EXPORT)
            audit.record("export", actor=actor_of(request), kind="statement", id=name)
        if request.GET.get("format") == "csv":
            return _csv(f"{name}.csv", statement_files.COLUMNS, statement_files.rows(month))
        if request.GET.get("format") == "json":
            body = {"organization_id": organization_id} | statement_files.as_json(month, _JSON_ENTRIES, 0)
            answer = JsonResponse(body, json_dumps_params={"ensure_ascii": False})
            answer["Content-Disposition"] = f'attachment; filename="{name}.json"'
            return answer
        self.title = f"Statement of {organization_id}, {month.name}"
        return self.render(request, self.shown(month))

    def crumbs(self) -> Sequence[Crumb]:
        return (
            Crumb("Statements", f"{reverse('admin:statements')}?month={self.period}"),
            Crumb(self.organization.organization_id, links.organization(self.organization)),
        )

    def shown(self, month: Month) -> dict[str, Any]:
        movements = history.movements(month.spans)
        by_account: dict[int, list[Movement]] = defaultdict(list)
        for each in movements:
            by_account[each.account_id].append(each)
        return {
            "month": month,
            "organization": self.organization,
            "opening": sum(span.opening_micros for span in month.spans),
            "closing": sum(span.closing_micros for span in month.spans),
            "movements": list(statements.by_kind(movements).values()),
            "accounts": [
                (
                    span,
                    links.account_name(span.account),
                    list(statements.by_kind(by_account[span.account.pk]).values()),
                )
                for span in month.spans
            ],
            "by_job_type": statements.charged_by_job_type(month),
            "may_export": self.operator.holds(Right.EXPORT),
        }


def _csv(name: str, header: Sequence[str], rows: Iterator[list[Any]]) -> StreamingHttpResponse:
    answer = StreamingHttpResponse(lines(header, rows), content_type=CONTENT_TYPE)
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    answer["X-Content-Type-Options"] = "nosniff"
    return answer
