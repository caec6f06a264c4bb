"""Rate cards: a card is made with its first draft; a draft is changed, looked at as prices, activated or discarded.

Every change goes through `cards`; each form carries a token, so a page submitted twice acts once.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.widgets import AdminSplitDateTime
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, TextChoices
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html_join

from apps.core import clock, idempotency
from apps.core.admin_base import PageLink, ReadOnlyAdmin, actor_of, link_to_list
from apps.core.admin_columns import credits_column, exact_percent, text_column, usd_column
from apps.core.admin_forms import Autocomplete, OnceForm
from apps.core.bodies import validate
from apps.core.money import exact_credits
from apps.credits import card_terms, cards, pricing
from apps.credits.card_terms import Columns, TermsInput
from apps.credits.card_words import described, preview
from apps.credits.models import RateCard, RateCardVersion
from apps.credits.pricing import DEFAULT_MICROS_PER_USD, DEFAULT_TOKENS_PER_CREDIT
from apps.organizations.models import Organization
from apps.teams.models import Team

_MAY_PRICE = "credits.add_ratecardversion"
_Version = RateCardVersion


def _amount(**more: Any) -> forms.DecimalField:
    return forms.DecimalField(required=False, min_value=Decimal(0), **more)


def _choice(choices: type[TextChoices], **more: Any) -> forms.ChoiceField:
    """One of these; the first is the default."""
    return forms.ChoiceField(choices=choices.choices, initial=choices.values[0], **more)


class TermsForm(OnceForm):
    """The terms of a version; what is left empty is as the default says."""

    mode = _choice(_Version.Mode)
    price_credits = _amount(label="Price", help_text="credits; flat and hybrid. Empty: 1")
    credits_per_dollar = _amount(help_text="metered in USD, and policies at cost. Empty: 10")
    tokens_per_credit = forms.IntegerField(required=False, min_value=1, help_text="metered in tokens. Empty: 10,000")
    cost_markup_percentage = _amount(label="Markup", help_text="percent on the provider's cost")
    minimum_credits = _amount(label="Minimum", help_text="credits; metered. Empty: 1")
    ceiling_credits = _amount(label="Ceiling", help_text="credits; metered and hybrid. Empty: none")
    allowance_usd = _amount(help_text="hybrid: provider cost in the price, or")
    allowance_tokens = forms.IntegerField(required=False, min_value=0, help_text="hybrid: tokens in the price")
    cost_cap_usd = _amount(help_text="provider cost that a job may cause: calls beyond it are refused. Empty: none")
    included_tries = forms.IntegerField(
        required=False, min_value=0, help_text="failed tries that are the platform's. Empty: all"
    )
    rounding = _choice(_Version.Rounding, help_text="of metered credits")
    on_failed = _choice(_Version.Policy)
    on_cancelled = _choice(_Version.Policy)
    on_partly_failed = _choice(_Version.PartlyPolicy)
    on_abandoned = _choice(_Version.AbandonedPolicy)
    policy_percent = forms.IntegerField(
        required=False, min_value=0, max_value=100, help_text="of the price, when failed or cancelled by percent"
    )

    def terms(self) -> Columns:
        """Raises: InvalidField, also for terms that contradict each other."""
        names = TermsInput.model_fields
        given = {name: self.cleaned_data[name] for name in names if self.cleaned_data[name] not in (None, "")}
        return card_terms.columns(validate(TermsInput, given))


class NewCard(TermsForm):
    """Whose card it is, for which jobs, and the terms of its first draft."""

    team = forms.ModelChoiceField(
        queryset=Team.objects.exclude(status=Team.Status.CLOSED),
        required=False,
        widget=Autocomplete(RateCard._meta.get_field("team"), admin.site),
        help_text="or",
    )
    organization = forms.ModelChoiceField(
        queryset=Organization.objects.all(),
        required=False,
        widget=Autocomplete(RateCard._meta.get_field("organization"), admin.site),
        help_text="neither: the platform's card",
    )
    job_type = forms.CharField(
        max_length=100,
        required=False,
        help_text="empty: every job type without a card of its own",
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    field_order = ("team", "organization", "job_type")


class ActivateForm(OnceForm):
    """From when on it prices. After that it never changes."""

    effective_from = forms.SplitDateTimeField(
        required=False, widget=AdminSplitDateTime, help_text="UTC; empty: at once"
    )


class DiscardForm(OnceForm):
    """Nothing but the question."""


@admin.register(RateCard)
class RateCardAdmin(ReadOnlyAdmin):
    """Whose job types are priced together, with versions and what jobs would cost."""

    audit_kind = "rate_card"
    list_display = ("__str__", "team", "organization", text_column("job_type"), "created_at")
    list_filter = (
        ("team", admin.EmptyFieldListFilter),
        ("organization", admin.EmptyFieldListFilter),
        ("created_at", admin.DateFieldListFilter),
    )
    list_select_related = ("team", "organization")
    search_fields = ("team__team_id", "organization__organization_id", "job_type")
    search_help_text = "team id, organization id or job type"
    ordering = ("-id",)
    fields = ("id", "team", "organization", "job_type", "versions_shown", "examples", "created_at")

    @admin.display(description="versions")
    def versions_shown(self, card: RateCard) -> str:
        current = cards.in_force(card)
        rows = [
            (
                reverse("admin:credits_ratecardversion_change", args=[version.pk]),
                f"version {version.number}",
                _state(version, current),
                described(version),
            )
            for version in card.versions.order_by("-number")
        ]
        return format_html_join("", '<div><a href="{}">{}</a> ({}): {}</div>', rows) or "none"

    @admin.display(description="what jobs would cost")
    def examples(self, card: RateCard) -> str:
        shown = [version for version in (cards.in_force(card), _draft_of(card)) if version is not None]
        return format_html_join(
            "",
            "<div><strong>version {} ({})</strong></div>{}",
            (
                (
                    version.number,
                    version.state if version.state == cards.State.DRAFT else "in force",
                    format_html_join("", "<div>{}: {}</div>", preview(pricing.terms_of(version))),
                )
                for version in shown
            ),
        )

    def page_links(self, obj: RateCard) -> list[PageLink]:
        has_draft = _draft_of(obj) is not None
        pages = [("draft", "Change draft" if has_draft else "Write a draft")]
        if has_draft:
            pages += [("activate", "Activate draft"), ("discard", "Discard draft")]
        links = [
            PageLink(label, reverse(f"admin:credits_ratecard_{name}", args=[obj.pk]), _MAY_PRICE)
            for name, label in pages
        ]
        return [*links, link_to_list("Versions", "credits.ratecardversion", card__id__exact=obj.pk)]

    def get_urls(self) -> list[URLPattern]:
        pages = (("draft", self.draft_view), ("activate", self.activate_view), ("discard", self.discard_view))
        return [
            path(f"<path:object_id>/{name}/", self.admin_site.admin_view(view), name=f"credits_ratecard_{name}")
            for name, view in pages
        ] + super().get_urls()

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("credits.add_ratecard") and request.user.has_perm(_MAY_PRICE)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = NewCard(request.POST or None)

        def act() -> HttpResponse:
            given = form.cleaned_data
            with transaction.atomic():
                slot = idempotency.claim(form.as_request("rate_card"))
                if slot.is_replay:
                    messages.warning(request, "This form was submitted before. Nothing was done a second time.")
                    return HttpResponseRedirect(self.list_url())
                card = cards.create(
                    actor=actor_of(request),
                    team=given["team"],
                    organization=given["organization"],
                    job_type=given["job_type"],
                    terms=form.terms(),
                )
            messages.success(request, f"A card for {card} was made. Its draft prices nothing until it is activated.")
            return HttpResponseRedirect(self.object_url(card))

        return self.service_form(request, form, title="Add rate card", submit="Make card with its draft", act=act)

    def draft_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Write a draft, beginning with the terms in force, or change the one there is."""
        card = self._card(request, object_id)
        draft = _draft_of(card)
        begin_with = draft or cards.in_force(card)
        form = TermsForm(request.POST or None, initial=card_terms.as_given(begin_with) if begin_with else None)

        def write() -> None:
            if draft is None:
                cards.add_draft(card, form.terms(), actor=actor_of(request))
            else:
                cards.change_draft(card, draft.number, form.terms(), actor=actor_of(request))
            messages.success(request, "The draft is written. It prices nothing until it is activated.")

        return self._page(request, form, card, "draft", write, title=f"Draft for {card}", submit="Save draft")

    def activate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Have the draft price jobs, now or from an instant on; with what jobs would cost before and after."""
        card = self._card(request, object_id)
        draft, current = _draft_of(card), cards.in_force(card)
        if draft is None:
            messages.error(request, "The card has no draft.")
            return HttpResponseRedirect(self.object_url(card))
        form = ActivateForm(request.POST or None)

        def activate() -> None:
            version = cards.activate(
                card,
                draft.number,
                actor=actor_of(request),
                effective_from=form.cleaned_data["effective_from"],
            )
            messages.success(
                request,
                f"Version {version.number} prices jobs that begin from {clock.iso(version.effective_from)} on.",
            )

        before = dict(preview(pricing.terms_of(current))) if current else {}
        facts = [
            (label, f"{costs} (now: {before[label]})" if label in before else costs)
            for label, costs in preview(pricing.terms_of(draft))
        ]
        title = f"Activate version {draft.number} for {card}"
        return self._page(
            request, form, card, "activate", activate, title=title, submit="Activate for ever", facts=facts
        )

    def discard_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        card = self._card(request, object_id)
        draft = _draft_of(card)
        if draft is None:
            messages.error(request, "The card has no draft.")
            return HttpResponseRedirect(self.object_url(card))

        def discard() -> None:
            cards.discard_draft(card, draft.number, actor=actor_of(request))
            messages.success(request, "The draft was discarded.")

        return self._page(
            request,
            DiscardForm(request.POST or None),
            card,
            "discard",
            discard,
            title=f"Discard version {draft.number} for {card}",
            submit="Discard draft",
            facts=[("draft", described(draft))],
        )

    def _page(
        self,
        request: HttpRequest,
        form: OnceForm,
        card: RateCard,
        name: str,
        effect: Callable[[], None],
        *,
        title: str,
        submit: str,
        facts: Iterable[tuple[str, str]] = (),
    ) -> HttpResponse:
        def act() -> HttpResponse:
            with transaction.atomic():
                slot = idempotency.claim(form.as_request(f"rate_card:{name}:{card.pk}"))
                if slot.is_replay:
                    messages.warning(request, "This form was submitted before. Nothing was done a second time.")
                else:
                    effect()
            return HttpResponseRedirect(self.object_url(card))

        return self.service_form(request, form, title=title, submit=submit, act=act, obj=card, facts=facts)

    def _card(self, request: HttpRequest, object_id: str) -> RateCard:
        """The card of a form. Raises: PermissionDenied before anything is looked up, Http404."""
        if not (self.has_view_permission(request) and request.user.has_perm(_MAY_PRICE)):
            raise PermissionDenied
        card: RateCard | None = self.get_object(request, unquote(object_id))
        if card is None:
            raise Http404
        return card


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
        url = reverse("admin:credits_ratecard_change", args=[obj.card_id])
        return [PageLink("Card", url, "credits.view_ratecard")]


def _draft_of(card: RateCard) -> RateCardVersion | None:
    return card.versions.filter(state=cards.State.DRAFT).first()


def _state(version: RateCardVersion, current: RateCardVersion | None) -> str:
    if version.state == cards.State.DRAFT:
        return "draft"
    if current is not None and version.pk == current.pk:
        return "in force"
    return "scheduled" if version.effective_from > clock.now() else "superseded"
