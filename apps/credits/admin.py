"""The ledger to read: accounts, entries, holds, grants and their uses. `ledger` alone writes them; credits and the
budget mode of a team are changed on the team's page, rate cards in `admin_cards`."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from apps.core.admin_base import AuditedAdmin, PageLink, ReadOnlyAdmin, link_to_list
from apps.core.admin_columns import credits_column, text_column
from apps.core.ids import parse_uuid
from apps.core.money import exact_credits
from apps.credits import admin_cards as admin_cards  # registers the pages of rate cards
from apps.credits.models import (
    Account,
    Allowance,
    BillingSettings,
    Block,
    Entry,
    Grant,
    GrantUse,
    Hold,
    Period,
    PeriodBalance,
    Redemption,
    ScheduledGrant,
    Voucher,
)

_OWNER_SEARCH = "team id or organization id"


@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    """Wallets, pools and system accounts with their balances."""

    list_display = (
        "__str__",
        "kind",
        credits_column("posted_micros"),
        credits_column("held_micros"),
        "spendable",
        credits_column("debt_micros"),
        credits_column("allocated_micros"),
        credits_column("used_micros"),
    )
    list_filter = ("kind",)
    list_select_related = ("team", "organization")
    search_fields = ("team__team_id", "organization__organization_id", "system_name")
    search_help_text = _OWNER_SEARCH
    ordering = ("-id",)
    fields = (
        "id",
        "kind",
        "team",
        "organization",
        "system_name",
        "restriction",
        credits_column("posted_micros"),
        credits_column("held_micros"),
        "spendable",
        credits_column("debt_micros"),
        credits_column("credit_line_micros"),
        credits_column("allocated_micros"),
        credits_column("used_micros"),
        "next_expiry_at",
        "has_restricted",
        "seq",
        "created_at",
    )

    @admin.display(description="can be spent (credits)")
    def spendable(self, account: Account) -> str:
        return exact_credits(account.posted_micros - account.held_micros + account.credit_line_micros)

    def page_links(self, obj: Account) -> list[PageLink]:
        return [
            link_to_list("Entries", "credits.entry", account=obj.pk),
            link_to_list("Grants", "credits.grant", account=obj.pk, state="all"),
            link_to_list("Holds", "credits.hold", account__id__exact=obj.pk),
        ]


class ConsoleRow(ReadOnlyAdmin):
    """Of a model that has a page of the console: the plain page leads there."""

    route: str
    kwarg: str

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method != "GET":
            answer: HttpResponse = super().change_view(request, object_id, *args, **kwargs)
            return answer
        if not self.has_view_permission(request):
            raise PermissionDenied
        if parse_uuid(unquote(object_id)) is None:
            raise Http404
        return HttpResponseRedirect(reverse(f"admin:{self.route}", kwargs={self.kwarg: unquote(object_id)}))


@admin.register(Entry)
class EntryAdmin(ConsoleRow):
    """The ledger itself: every movement of posted credits."""

    route, kwarg = "entry", "entry_id"


@admin.register(Hold)
class HoldAdmin(ReadOnlyAdmin):
    """What jobs reserve on wallets."""

    list_display = ("opened_at", "account", credits_column("amount_micros"), "state", "job", "closed_at")
    list_filter = ("state", ("opened_at", admin.DateFieldListFilter))
    list_select_related = ("account__team", "account__organization")
    search_fields = ("job__exact", "account__team__team_id__exact")
    search_help_text = "job id or team id, each whole"
    ordering = ("-opened_at", "-id")
    fields = ("id", "account", "job", credits_column("amount_micros"), "state", "opened_at", "closed_at")


@admin.register(Grant)
class GrantAdmin(ConsoleRow):
    """Lots of credits, and what remains of them."""

    route, kwarg = "grant", "grant_id"


@admin.register(GrantUse)
class GrantUseAdmin(ReadOnlyAdmin):
    """Which grant paid how much of an entry; negative when the entry gave it back."""

    list_display = ("id", "entry", "grant", credits_column("amount_micros"))
    list_select_related = ("entry", "grant")
    search_fields = ("entry__job__exact",)
    uuid_search_fields = ("entry", "grant")
    search_help_text = "job id, or the id of an entry or a grant"
    ordering = ("-id",)
    fields = ("id", "entry", "grant", credits_column("amount_micros"))


@admin.register(BillingSettings)
class BillingSettingsAdmin(AuditedAdmin):
    """A team's billing choices that are not prices."""

    audit_kind = "billing"
    audit_fields = ("show_costs", "cancels_left_streams")
    list_display = ("team", "show_costs", "cancels_left_streams")
    list_filter = ("show_costs", "cancels_left_streams")
    list_select_related = ("team",)
    search_fields = ("team__team_id",)
    autocomplete_fields = ("team",)
    ordering = ("team__team_id",)
    fields = ("team", "show_costs", "cancels_left_streams")

    def audit_id(self, obj: BillingSettings) -> str:
        return obj.team.team_id

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return () if obj is None else ("team",)


@admin.register(Block)
class BlockAdmin(ReadOnlyAdmin):
    """Entries as they were when they were sealed: `ledger_verify` finds one that was changed since."""

    list_display = ("id", "account", "number", "first_seq", "last_seq", "hash", "sealed_at")
    list_filter = (("sealed_at", admin.DateFieldListFilter),)
    list_select_related = ("account__team", "account__organization")
    search_fields = ("account__team__team_id__exact", "hash__exact")
    search_help_text = "team id or hash, each whole"
    ordering = ("-id",)
    fields = ("id", "account", "number", "version", "first_seq", "last_seq", "previous_hash", "hash", "sealed_at")


@admin.register(Period)
class PeriodAdmin(ReadOnlyAdmin):
    """Months whose books are closed."""

    list_display = ("name", "ends_at", "closed_at", text_column("closed_by"))
    search_fields = ("name",)
    ordering = ("-name",)
    fields = ("name", "ends_at", "closed_at", "closed_by")

    def page_links(self, obj: Period) -> list[PageLink]:
        return [link_to_list("Balances", "credits.periodbalance", period__name__exact=obj.pk)]


@admin.register(PeriodBalance)
class PeriodBalanceAdmin(ReadOnlyAdmin):
    """What accounts had at the end of a closed month."""

    list_display = ("id", "period", "account", "last_seq", credits_column("posted_micros"), "block_hash")
    list_filter = ("period",)
    list_select_related = ("period", "account__team", "account__organization")
    search_fields = ("account__team__team_id__exact", "period__name__exact")
    search_help_text = "team id or period, each whole"
    ordering = ("-period", "account")
    fields = ("id", "period", "account", "last_seq", credits_column("posted_micros"), "block_hash")


@admin.register(Allowance)
class AllowanceAdmin(ReadOnlyAdmin):
    """Credits that teams are given every day, week or month."""

    list_display = (
        "team",
        "is_enabled",
        credits_column("amount_micros"),
        "period",
        "rolls_over",
        "next_at",
        "last_refill_at",
    )
    list_filter = ("is_enabled", "period", "rolls_over")
    list_select_related = ("team",)
    search_fields = ("team__team_id",)
    ordering = ("team__team_id",)
    fields = (
        "team",
        "is_enabled",
        credits_column("amount_micros"),
        "period",
        "rolls_over",
        "anchor_at",
        "next_at",
        "last_refill_at",
        "created_at",
        "updated_at",
    )


@admin.register(ScheduledGrant)
class ScheduledGrantAdmin(ReadOnlyAdmin):
    """Grants dated ahead."""

    list_display = ("effective_at", "team", credits_column("amount_micros"), "kind", "status", "expires_at")
    list_filter = ("kind", ("effective_at", admin.DateFieldListFilter))
    list_select_related = ("team",)
    search_fields = ("team__team_id__exact",)
    search_help_text = "team id, whole"
    ordering = ("-effective_at", "-id")
    fields = (
        "id",
        "team",
        credits_column("amount_micros"),
        "kind",
        "status",
        "effective_at",
        "expires_at",
        "reason",
        "actor",
        "entry",
        "cancelled_at",
        "created_at",
    )


@admin.register(Voucher)
class VoucherAdmin(ConsoleRow):
    """Codes that give credits. A code itself is kept nowhere."""

    route, kwarg = "voucher", "voucher_id"


@admin.register(Redemption)
class RedemptionAdmin(ReadOnlyAdmin):
    """Which teams have redeemed which vouchers."""

    list_display = ("created_at", "voucher", "team", "entry")
    list_filter = (("created_at", admin.DateFieldListFilter),)
    list_select_related = ("voucher", "team", "entry")
    search_fields = ("team__team_id__exact", "voucher__hint__exact")
    search_help_text = "team id, or a code's first characters"
    ordering = ("-id",)
    fields = ("id", "voucher", "team", "entry", "created_at")
