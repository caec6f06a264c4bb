"""Payments to read. Credit packs are made and changed here; all else is written by checkouts and webhooks."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from apps.core.admin_base import AuditedAdmin, PageLink, ReadOnlyAdmin, link_to_list
from apps.core.admin_columns import credits_column, text_column
from apps.payments import currencies
from apps.payments.models import (
    Checkout,
    CreditPack,
    CurrencyRate,
    Dispute,
    Payment,
    SavedMethod,
    TopUp,
    TopUpAttempt,
    WebhookEvent,
)


def _money(field: str, label: str) -> Any:
    """An amount in its row's currency."""

    @admin.display(description=label, ordering=field)
    def column(row: Any) -> str:
        amount_minor = getattr(row, field)
        if amount_minor is None:
            return "-"
        digits = currencies.minor_digits(row.currency)
        whole, rest = divmod(amount_minor, 10**digits)
        return f"{whole}.{rest:0{digits}d} {row.currency}" if digits else f"{whole} {row.currency}"

    return column


_CREATED = ("created_at", admin.DateFieldListFilter)


@admin.register(CreditPack)
class CreditPackAdmin(AuditedAdmin):
    """What is sold. A new price counts for new checkouts; top-ups at the old one stop until they are consented to."""

    audit_kind = "credit_pack"
    audit_fields = ("name", "credits", "amount_minor", "currency", "is_active")
    list_display = ("name", "credits", _money("amount_minor", "price"), "is_active", "updated_at")
    list_filter = ("is_active", "currency")
    search_fields = ("name",)
    ordering = ("currency", "amount_minor")
    fields = ("name", "credits", "amount_minor", "currency", "is_active")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Checkout)
class CheckoutAdmin(ReadOnlyAdmin):
    """Pages to pay on."""

    list_display = ("created_at", "team", "pack", "credits", _money("amount_minor", "amount"), "state")
    list_filter = ("state", _CREATED)
    list_select_related = ("team", "pack")
    search_fields = ("team__team_id__exact", "provider_session_id__exact")
    uuid_search_fields = ("id",)
    search_help_text = "team id, the provider's session id or the checkout's id, each whole"
    ordering = ("-id",)
    fields = (
        "id",
        "team",
        "pack",
        "attempt",
        "state",
        "credits",
        _money("amount_minor", "amount"),
        "saves_method",
        "provider",
        "provider_session_id",
        "created_by",
        "created_at",
        "updated_at",
    )


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    """What was paid. A flagged payment gave no credits: its note says why."""

    list_display = (
        "created_at",
        "provider_payment_id",
        "team",
        _money("amount_minor", "amount"),
        _money("refunded_minor", "refunded"),
        "state",
        text_column("note"),
    )
    list_filter = ("state", _CREATED)
    list_select_related = ("team",)
    search_fields = ("team__team_id__exact", "provider_payment_id__exact")
    search_help_text = "team id or the provider's payment id, each whole"
    ordering = ("-id",)
    fields = (
        "id",
        "provider",
        "provider_payment_id",
        "state",
        text_column("note"),
        "team",
        "checkout",
        "attempt",
        _money("amount_minor", "amount"),
        _money("refunded_minor", "refunded"),
        "entry",
        "paid_at",
        "created_at",
    )

    def page_links(self, obj: Payment) -> list[PageLink]:
        return [
            link_to_list("Disputes", "payments.dispute", payment__id__exact=obj.pk),
            link_to_list("Events", "payments.webhookevent", payment__id__exact=obj.pk),
        ]


@admin.register(Dispute)
class DisputeAdmin(ReadOnlyAdmin):
    """Payments that the payer's bank takes back."""

    list_display = (
        "created_at",
        "payment",
        "state",
        text_column("reason"),
        credits_column("taken_back_micros"),
        credits_column("returned_micros"),
    )
    list_filter = ("state", _CREATED)
    list_select_related = ("payment",)
    search_fields = ("provider_dispute_id__exact", "payment__provider_payment_id__exact")
    search_help_text = "the provider's id of the dispute or of the payment, whole"
    ordering = ("-id",)
    fields = (
        "id",
        "payment",
        "provider_dispute_id",
        "state",
        text_column("reason"),
        credits_column("taken_back_micros"),
        credits_column("returned_micros"),
        "created_at",
        "updated_at",
    )


@admin.register(WebhookEvent)
class WebhookEventAdmin(ReadOnlyAdmin):
    """Events of payment providers, and what came of each."""

    list_display = ("received_at", "type", "event_id", "outcome", "payment", text_column("note"))
    list_filter = ("outcome", ("received_at", admin.DateFieldListFilter))
    list_select_related = ("payment",)
    search_fields = ("event_id__exact", "payment__provider_payment_id__exact")
    search_help_text = "the provider's id of the event or of the payment, whole"
    ordering = ("-id",)
    fields = ("id", "provider", "event_id", "type", "outcome", text_column("note"), "payment", "received_at")


@admin.register(SavedMethod)
class SavedMethodAdmin(ReadOnlyAdmin):
    """Payment methods that teams let be kept: the provider's ids alone."""

    list_display = ("team", "provider", "customer_id", "updated_at")
    list_select_related = ("team",)
    search_fields = ("team__team_id", "customer_id__exact")
    ordering = ("team__team_id",)
    fields = ("team", "provider", "customer_id", "method_id", "created_at", "updated_at")


@admin.register(TopUp)
class TopUpAdmin(ReadOnlyAdmin):
    """Consents to automatic top-ups."""

    list_display = (
        "team",
        "is_enabled",
        credits_column("threshold_micros", "threshold"),
        _money("amount_minor", "amount"),
        _money("monthly_ceiling_minor", "monthly ceiling"),
        "declines",
        text_column("disabled_reason"),
    )
    list_filter = ("is_enabled",)
    list_select_related = ("team",)
    search_fields = ("team__team_id",)
    ordering = ("team__team_id",)
    fields = (
        "team",
        "is_enabled",
        text_column("disabled_reason"),
        credits_column("threshold_micros", "threshold"),
        "pack",
        "credits",
        _money("amount_minor", "amount"),
        _money("monthly_ceiling_minor", "monthly ceiling"),
        "return_url",
        "consented_by",
        "consented_at",
        "declines",
        "next_attempt_at",
        "created_at",
        "updated_at",
    )


@admin.register(TopUpAttempt)
class TopUpAttemptAdmin(ReadOnlyAdmin):
    """Every attempt to charge a team's saved method."""

    list_display = (
        "created_at",
        "team",
        _money("amount_minor", "amount"),
        "state",
        text_column("error_code"),
        "tries",
        "ended_at",
    )
    list_filter = ("state", _CREATED)
    list_select_related = ("team",)
    search_fields = ("team__team_id__exact", "provider_payment_id__exact")
    uuid_search_fields = ("id",)
    search_help_text = "team id, the provider's payment id or the attempt's id, each whole"
    ordering = ("-id",)
    fields = (
        "id",
        "team",
        "state",
        "credits",
        _money("amount_minor", "amount"),
        "provider_payment_id",
        "action_url",
        text_column("error_code"),
        "tries",
        "next_try_at",
        "created_at",
        "ended_at",
    )


@admin.register(CurrencyRate)
class CurrencyRateAdmin(ReadOnlyAdmin):
    """Dated rates in which organizations are shown their costs."""

    list_display = ("currency", "units_per_usd", "valid_from", text_column("created_by"))
    list_filter = ("currency", ("valid_from", admin.DateFieldListFilter))
    search_fields = ("currency__iexact",)
    ordering = ("currency", "-valid_from")
    fields = ("id", "currency", "units_per_usd", "valid_from", "created_by", "created_at")

    @admin.display(description="units for a dollar", ordering="units_per_usd_ppb")
    def units_per_usd(self, rate: CurrencyRate) -> str:
        return currencies.exact_rate(rate)
