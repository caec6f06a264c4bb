"""Grants, also called lots: what is left of each and when it expires, and what one has paid for."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.db.models import F, Q, QuerySet
from django.http import QueryDict
from django.urls import reverse
from django.utils import timezone

from apps.console import formats
from apps.console import money_links as links
from apps.console.charts import Chart, Series
from apps.console.lists import columns
from apps.console.lists.base import Empty, ListPage, Narrowed
from apps.console.lists.columns import Column
from apps.console.lists.filters import Choice, Filter, time_range
from apps.console.pages.base import Button, Crumb, ObjectPage, Tab
from apps.console.pages.ledger import OfAccount, cause, cause_in_words
from apps.console.templatetags import console as tags
from apps.core import clock
from apps.core.errors import NotFound
from apps.core.ids import parse_uuid
from apps.core.money import MICROS
from apps.credits.models import Account, Entry, Grant, GrantUse
from apps.organizations.rights import Right

WEEKS = 12
_USES_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Expires(Filter):
    """From and to, as days or instants."""

    @property
    def names(self) -> Sequence[str]:
        return ("expires_from", "expires_to")

    def apply(self, rows: QuerySet[Any], given: QueryDict) -> tuple[QuerySet[Any], str]:
        asked = QueryDict(mutable=True)
        asked["from"], asked["to"] = given.get("expires_from", ""), given.get("expires_to", "")
        span = time_range(asked, "all")
        return span.within(rows, "expires_at"), span.words


@dataclass(frozen=True, slots=True)
class Owner(Filter):
    """A team's or an organization's id: the organization's pool and all its teams' wallets."""

    def apply(self, rows: QuerySet[Any], given: QueryDict) -> tuple[QuerySet[Any], str]:
        value = self.value(given)
        owned = Q(account__team__team_id=value) | Q(account__organization__organization_id=value)
        return rows.none() if "\x00" in value else rows.filter(owned), value


class OnAccount(OfAccount):
    """Of one account."""

    def narrowed(self, rows: QuerySet[Any], found: Account) -> QuerySet[Any]:
        return rows.filter(account=found)


def state_of(lot: Grant) -> str:
    if lot.remaining_micros == 0:
        return "used up"
    return "expired" if lot.expires_at is not None and lot.expires_at <= clock.now() else "usable"


def _states(value: str) -> Q:
    now = timezone.now()
    return {
        "all": Q(),
        "used": Q(remaining_micros=0),
        "expired": Q(remaining_micros__gt=0, expires_at__lte=now),
    }[value]


def _within_days(value: str) -> Q:
    now = timezone.now()
    return Q(expires_at__gt=now, expires_at__lte=now + timedelta(days=int(value)))


def burns_after(lot: Grant) -> str:
    """Its place in the order of spending."""
    return f"priority {lot.priority}"


class GrantList(ListPage):
    title = "Grants"
    noun = "grants"
    line = "Each credit belongs to a grant, also called a lot. The soonest to expire first, used up ones left out."
    search_help = "team id or organization id, or the grant's id"
    ordering: ClassVar[Sequence[Any]] = (F("expires_at").asc(nulls_last=True), "priority", "pk")
    export_name = "grants"
    empty = Empty("Credits enter as a grant.")
    before_template = "console/pages/money/grants.html"
    columns = (
        columns.ident("Grant", lambda lot: lot.pk, lambda lot: links.grant(lot.pk)),
        Column(
            "Owner", lambda lot: links.to_account(lot.account), lambda lot: links.account_name(lot.account), "second"
        ),
        columns.plain("Kind", lambda lot: lot.kind, place="second"),
        columns.credits("Granted", lambda lot: lot.amount_micros, order="amount_micros"),
        columns.credits("Left", lambda lot: lot.remaining_micros, place="amount", order="remaining_micros"),
        columns.plain("Burns", burns_after),
        columns.when("From", lambda lot: lot.effective_at, place="rest", order="effective_at"),
        Column(
            "Expires",
            lambda lot: tags.when(lot.expires_at, "never"),
            lambda lot: clock.iso(lot.expires_at) or "",
            "second",
        ),
        columns.text("Restricted to", lambda lot: lot.account.restriction),
        Column("Source", lambda lot: cause(lot.entry), lambda lot: cause_in_words(lot.entry)),
        columns.state("State", state_of),
    )
    filters = (
        Choice("kind", "Kind", choices=Grant.Kind.choices),
        Choice(
            "expiring",
            "Expires within",
            choices=(("7", "7 days"), ("14", "14 days"), ("30", "30 days")),
            conditions=_within_days,
        ),
        Expires("expires", "Expires"),
        Choice(
            "state",
            "State",
            choices=(("all", "all, also used up"), ("used", "used up"), ("expired", "expired, not yet posted")),
            conditions=_states,
        ),
        Choice(
            "restricted",
            "Restricted",
            choices=(("yes", "for some job types alone"), ("no", "for all jobs")),
            conditions=lambda value: ~Q(account__restriction="") if value == "yes" else Q(account__restriction=""),
        ),
        Owner("owner", "Owner", "team id or organization id"),
        OnAccount("account", "Account", "number of the account"),
    )

    def get_rows(self) -> QuerySet[Any]:
        rows = Grant.objects.select_related("account__team", "account__organization", "entry")
        return rows if self.request.GET.get("state", "").strip() else rows.filter(remaining_micros__gt=0)

    def search(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        asked = parse_uuid(term)
        if asked is not None:
            return rows.filter(Q(pk=asked) | Q(entry=asked))
        return rows.filter(
            Q(account__team__team_id__istartswith=term) | Q(account__organization__organization_id__istartswith=term)
        )

    def before_table(self, narrowed: Narrowed) -> dict[str, Any]:
        return {"chart": expiring_by_week()}


def expiring_by_week() -> Chart:
    """What is left of lots that expire in the coming weeks, by kind. A bar leads to exactly those lots."""
    start = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    edges = [timezone.now(), *(start + timedelta(weeks=number) for number in range(1, WEEKS + 1))]
    sums = {kind: [0] * WEEKS for kind in Grant.Kind.values}
    lots = Grant.objects.filter(remaining_micros__gt=0, expires_at__gte=edges[0], expires_at__lt=edges[-1])
    for expires_at, kind, micros in lots.values_list("expires_at", "kind", "remaining_micros").iterator():
        assert expires_at is not None, "only those that expire were asked for"
        sums[kind][bisect_right(edges, expires_at) - 1] += micros
    total = sum(sum(of_kind) for of_kind in sums.values())
    return Chart(
        id="expiring",
        title="Credits that expire",
        kind="stacked",
        unit="credits a week",
        labels=[f"{timezone.localtime(edge):%d %b}" for edge in edges[:-1]],
        series=[
            Series(kind, [micros / MICROS for micros in of_kind], [formats.credits(micros) for micros in of_kind])
            for kind, of_kind in sums.items()
            if any(of_kind)
        ],
        summary=f"{formats.credits_in_words(total)} expire in the next {WEEKS} weeks.",
        links=[_week_url(edges[number], edges[number + 1]) for number in range(WEEKS)],
        empty=f"Nothing expires in the next {WEEKS} weeks.",
        height=160,
    )


def _week_url(start: datetime, end: datetime) -> str:
    given = QueryDict(mutable=True)
    given["expires_from"], given["expires_to"] = clock.iso(start) or "", clock.iso(end) or ""
    return f"{reverse('admin:credits_grant_changelist')}?{given.urlencode()}"


class GrantPage(ObjectPage):
    route = "grant"
    tabs = (Tab("", "Overview", "console/pages/money/grant.html"),)
    obj: Grant

    def load(self, grant_id: str = "", **kwargs: Any) -> None:
        parsed = parse_uuid(grant_id)
        related = ("account__team", "account__organization", "entry", "source_grant__account__organization")
        found = Grant.objects.select_related(*related).filter(pk=parsed).first() if parsed else None
        if found is None:
            raise NotFound(f"There is no grant '{grant_id[:100]}'")
        self.obj = found
        self.title = f"Grant {str(found.pk)[-8:]}"

    def url_kwargs(self) -> dict[str, Any]:
        return {"grant_id": str(self.obj.pk)}

    def crumbs(self) -> Sequence[Crumb]:
        account = self.obj.account
        return (
            Crumb("Grants", reverse("admin:credits_grant_changelist")),
            Crumb(links.account_name(account), links.ledger(account=account.pk)),
        )

    def state(self) -> str:
        return state_of(self.obj)

    def sentence(self) -> str:
        lot = self.obj
        left = f"{formats.credits(lot.remaining_micros)} of {formats.credits_in_words(lot.amount_micros)} are left"
        if lot.remaining_micros == 0:
            left = f"All {formats.credits_in_words(lot.amount_micros)} are used"
        only = f", for {lot.account.restriction.replace(',', ', ')} alone" if lot.account.restriction else ""
        return f"{lot.kind.capitalize()} credits of {links.account_name(lot.account)}{only}. {left}. {self.end()}."

    def end(self) -> str:
        expires = self.obj.expires_at
        if expires is None:
            return "They do not expire"
        over = expires <= timezone.now()
        return f"They {'expired' if over else 'expire'} {formats.ago(expires)} · {formats.clock(expires)}"

    def facts(self) -> Sequence[tuple[str, Any]]:
        lot = self.obj
        return (
            ("Granted", formats.credits(lot.amount_micros)),
            ("Used", formats.credits(lot.amount_micros - lot.remaining_micros)),
            ("Left", formats.credits(lot.remaining_micros)),
            ("Sold for, a credit", formats.usd(lot.price_nanousd_per_credit)),
        )

    def about(self) -> Sequence[tuple[str, Any]]:
        lot = self.obj
        about = [
            ("Grant", tags.ident(lot.pk)),
            ("Made by", tags.ident(lot.entry_id, links.entry(lot.entry_id))),
            ("Cause", cause(lot.entry)),
            ("Burns", f"priority {lot.priority}: lower burns first"),
            ("From", tags.when(lot.effective_at)),
            ("Expires", tags.when(lot.expires_at, "never")),
        ]
        if lot.source_grant_id:
            about.append(("Allocated from", tags.ident(lot.source_grant_id, links.grant(lot.source_grant_id))))
        if lot.entry.external_id:
            about.append(("Payment reference", tags.text(lot.entry.external_id)))
        return about

    def buttons(self) -> Sequence[Button]:
        if self.obj.entry.kind != Entry.Kind.GRANT or not self.operator.holds(Right.CREDITS_WRITE):
            return ()
        url = reverse("admin:entry_reverse", kwargs={"entry_id": str(self.obj.entry_id)})
        return (Button("Take back", url, Right.CREDITS_WRITE, is_dangerous=True),)

    def tab_overview(self) -> dict[str, Any]:
        uses = list(
            GrantUse.objects.filter(grant=self.obj).select_related("entry").order_by("-id")[: _USES_SHOWN + 1]
        )
        allocated = Grant.objects.filter(source_grant=self.obj).select_related(
            "account__team", "account__organization"
        )
        return {
            "uses": uses[:_USES_SHOWN],
            "has_more": len(uses) > _USES_SHOWN,
            "allocated": list(allocated.order_by("-created_at", "-pk")[:_USES_SHOWN]),
        }
