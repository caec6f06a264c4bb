"""Vouchers: codes that give credits, and who redeemed one. A code itself is kept nowhere."""

from collections.abc import Sequence
from typing import Any

from django.db.models import F, Q, QuerySet
from django.urls import reverse
from django.utils import timezone

from apps.console import formats
from apps.console import money_links as links
from apps.console.lists import columns
from apps.console.lists.base import Empty, ListPage
from apps.console.lists.columns import Column
from apps.console.lists.filters import ORGANIZATION, Choice, Uuid
from apps.console.pages.base import Button, Crumb, ObjectPage, Tab
from apps.console.templatetags import console as tags
from apps.core.ids import parse_uuid
from apps.credits import vouchers
from apps.credits.models import Grant, Voucher
from apps.organizations.rights import Right

_SHOWN = 100


def state_of(found: Voucher) -> str:
    if found.disabled_at is not None:
        return "revoked"
    if found.expires_at is not None and found.expires_at <= timezone.now():
        return "expired"
    return "used up" if found.uses >= found.max_uses else "usable"


def _states(value: str) -> Q:
    over = Q(expires_at__isnull=False, expires_at__lte=timezone.now())
    return {
        "usable": Q(disabled_at__isnull=True, uses__lt=F("max_uses")) & ~over,
        "used": Q(disabled_at__isnull=True, uses__gte=F("max_uses")),
        "revoked": Q(disabled_at__isnull=False),
        "expired": Q(disabled_at__isnull=True) & over,
    }[value]


def batch_url(found: Voucher) -> str:
    return f"{reverse('admin:credits_voucher_changelist')}?batch={found.batch}"


def _batch(found: Voucher) -> Any:
    return tags.ident(found.batch, batch_url(found)) if found.batch else formats.UNKNOWN


class VoucherList(ListPage):
    title = "Vouchers"
    noun = "vouchers"
    line = "A voucher's code gives credits to the team that redeems it. Codes are shown once, when they are made."
    search_help = "first characters of the code, note or organization, or an id"
    ordering = ("-pk",)
    export_name = "vouchers"
    empty = Empty("A batch makes codes that customers redeem.")
    columns = (
        columns.link("Code", lambda each: f"{each.hint}…", lambda each: links.voucher(each.pk)),
        Column("Batch", _batch, lambda each: str(each.batch or "")),
        columns.text("Note", lambda each: each.note, place="second"),
        columns.credits("Credits", lambda each: each.amount_micros, place="amount", order="amount_micros"),
        columns.plain("Kind", lambda each: each.kind),
        Column(
            "Redeemed",
            lambda each: f"{formats.count(each.uses)} of {formats.count(each.max_uses)}",
            lambda each: f"{each.uses} of {each.max_uses}",
            is_number=True,
        ),
        columns.text("Only for", lambda each: each.organization.organization_id if each.organization else ""),
        columns.when("Expires", lambda each: each.expires_at, place="rest", order="expires_at"),
        columns.state("State", state_of),
        columns.when("Made", lambda each: each.created_at, place="rest", order="created_at"),
    )
    filters = (
        Choice(
            "state",
            "State",
            choices=(("usable", "usable"), ("used", "used up"), ("expired", "expired"), ("revoked", "revoked")),
            conditions=_states,
        ),
        Choice("kind", "Kind", choices=Grant.Kind.choices),
        Uuid("batch", "Batch", lookup="batch"),
        ORGANIZATION,
    )

    def get_rows(self) -> QuerySet[Any]:
        return Voucher.objects.select_related("organization")

    def search(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        asked = parse_uuid(term)
        if asked is not None:
            return rows.filter(Q(pk=asked) | Q(batch=asked))
        found = Q(note__icontains=term) | Q(organization__organization_id__istartswith=term)
        return rows.filter(found | Q(hint=term.upper()[:5]))

    def buttons(self) -> Sequence[Button]:
        if not self.operator.holds(Right.CREDITS_WRITE):
            return ()
        made = [Button("New batch", reverse("admin:voucher_new"), Right.CREDITS_WRITE, is_main=True)]
        batch = parse_uuid(self.request.GET.get("batch", ""))
        if batch is not None:
            url = reverse("admin:voucher_batch_revoke", kwargs={"batch": str(batch)})
            made.append(Button("Revoke the rest", url, Right.CREDITS_WRITE, is_dangerous=True))
        return made


class VoucherPage(ObjectPage):
    route = "voucher"
    tabs = (Tab("", "Overview", "console/pages/money/voucher.html"),)
    obj: Voucher

    def load(self, voucher_id: str = "", **kwargs: Any) -> None:
        self.obj = vouchers.find(voucher_id)
        self.title = f"Voucher {self.obj.hint}…"

    def url_kwargs(self) -> dict[str, Any]:
        return {"voucher_id": str(self.obj.pk)}

    def crumbs(self) -> Sequence[Crumb]:
        return (Crumb("Vouchers", reverse("admin:credits_voucher_changelist")),)

    def state(self) -> str:
        return state_of(self.obj)

    def sentence(self) -> str:
        found = self.obj
        whom = f"a team of {found.organization.organization_id}" if found.organization else "any team"
        lasts = f", which last {found.credits_last_days} days" if found.credits_last_days else ""
        amount = formats.credits_in_words(found.amount_micros)
        return f"Gives {amount} ({found.kind}){lasts} to {whom}, once a team: {found.uses} of {found.max_uses} used."

    def about(self) -> Sequence[tuple[str, Any]]:
        found = self.obj
        about = [
            ("Voucher", tags.ident(found.pk)),
            ("Batch", _batch(found)),
            ("Note", tags.text(found.note) if found.note else formats.UNKNOWN),
            ("Made", tags.when(found.created_at)),
            ("By", tags.text(found.created_by)),
            ("Expires", tags.when(found.expires_at, "never")),
        ]
        if found.disabled_at is not None:
            about.append(("Revoked", tags.when(found.disabled_at)))
        return about

    def buttons(self) -> Sequence[Button]:
        if state_of(self.obj) != "usable" or not self.operator.holds(Right.CREDITS_WRITE):
            return ()
        url = reverse("admin:voucher_revoke", kwargs=self.url_kwargs())
        return (Button("Revoke", url, Right.CREDITS_WRITE, is_dangerous=True),)

    def tab_overview(self) -> dict[str, Any]:
        redeemed = self.obj.redemptions.select_related("team").order_by("-id")
        return {"redemptions": list(redeemed[:_SHOWN])}
