"""Rate cards and their versions to read. They are written on the console's pages, /admin/card/<id>/."""

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html_join

from apps.core.admin_base import PageLink, ReadOnlyAdmin
from apps.core.admin_columns import credits_column, exact_percent, text_column, usd_column
from apps.core.money import exact_credits
from apps.credits import cards, pricing
from apps.credits.card_words import preview
from apps.credits.models import RateCard, RateCardVersion
from apps.credits.pricing import DEFAULT_MICROS_PER_USD, DEFAULT_TOKENS_PER_CREDIT


@admin.register(RateCard)
class RateCardAdmin(ReadOnlyAdmin):
    """Its list and its page are the console's; an address of before leads there."""

    audit_kind = "rate_card"
    list_display = ("__str__", "created_at")
    list_select_related = ("team", "organization")
    fields = ("id", "team", "organization", "job_type", "created_at")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method == "GET" and self.get_object(request, object_id) is not None:
            return HttpResponseRedirect(reverse("admin:card", kwargs={"card_id": object_id}))
        return super().change_view(request, object_id, form_url, extra_context)


class InForceFilter(admin.SimpleListFilter):
    """The version of each card that is in force: of those begun the one that began last."""

    title = "in force"
    parameter_name = "in_force"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes"), ("no", "No")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(is_in_force=self.value() == "yes") if self.value() else queryset


@admin.register(RateCardVersion)
class RateCardVersionAdmin(ReadOnlyAdmin):
    """How cards price jobs. An activated version never changes; a new one replaces it for jobs that begin later."""

    list_display = (
        "card",
        "number",
        "state",
        "in_force",
        "mode",
        credits_column("price_micros", "flat price"),
        "per_dollar",
        "per_credit",
        "markup",
        "effective_from",
        text_column("created_by"),
    )
    list_filter = (InForceFilter, "state", "mode", ("effective_from", admin.DateFieldListFilter))
    list_select_related = ("card__team", "card__organization")
    search_fields = ("card__team__team_id", "card__organization__organization_id", "card__job_type")
    search_help_text = "team id, organization id or job type"
    ordering = ("-created_at", "-id")
    fields = (
        "id",
        "card",
        "number",
        "state",
        "in_force",
        "mode",
        credits_column("price_micros", "flat price"),
        "per_dollar",
        "per_credit",
        "markup",
        credits_column("minimum_micros", "minimum"),
        credits_column("ceiling_micros", "ceiling"),
        usd_column("allowance_nanousd", "provider cost in the price"),
        "allowance_tokens",
        usd_column("cost_cap_nanousd", "provider cost cap"),
        "included_tries",
        "rounding",
        "on_failed",
        "on_cancelled",
        "on_partly_failed",
        "on_abandoned",
        "policy_percent",
        "examples",
        "effective_from",
        "created_by",
        "created_at",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        begun = cards.begun()
        later = Q(effective_from__gt=OuterRef("effective_from")) | Q(
            effective_from=OuterRef("effective_from"), number__gt=OuterRef("number")
        )
        newer = begun.filter(later, card=OuterRef("card"))
        is_in_force = Exists(begun.filter(pk=OuterRef("pk"))) & ~Exists(newer)
        versions: QuerySet[Any] = super().get_queryset(request).annotate(is_in_force=is_in_force)
        return versions

    @admin.display(description="in force", boolean=True)
    def in_force(self, version: Any) -> bool:
        return bool(version.is_in_force)

    @admin.display(description="credits per dollar", ordering="micros_per_usd")
    def per_dollar(self, version: RateCardVersion) -> str:
        return exact_credits(version.micros_per_usd or DEFAULT_MICROS_PER_USD)

    @admin.display(description="tokens per credit", ordering="tokens_per_credit")
    def per_credit(self, version: RateCardVersion) -> int:
        return version.tokens_per_credit or DEFAULT_TOKENS_PER_CREDIT

    @admin.display(description="markup", ordering="markup_ppm")
    def markup(self, version: RateCardVersion) -> str:
        return f"{exact_percent(version.markup_ppm)} %"

    @admin.display(description="what jobs would cost")
    def examples(self, version: RateCardVersion) -> str:
        return format_html_join("", "<div>{}: {}</div>", preview(pricing.terms_of(version)))

    def page_links(self, obj: RateCardVersion) -> list[PageLink]:
        url = reverse("admin:card", kwargs={"card_id": obj.card_id})
        return [PageLink("Card", url, "credits.view_ratecard")]
