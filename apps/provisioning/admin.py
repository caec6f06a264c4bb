"""The team's page, which spans apps: made with its key and wallet, given credits, priced.

Credits and prices go through `ledger` and `billing`; each form carries a token, so a page submitted twice acts once.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from apps.catalog.models import AccessGroup, AccessGroupMember, ModelAlias, ModelGroup
from apps.core import idempotency
from apps.core.admin_base import PageLink, actor_of, link_to_list
from apps.core.admin_columns import credits_column, exact_percent, lines, text_column, with_unit
from apps.core.admin_forms import Autocomplete, ObjectField, OnceForm
from apps.core.money import MAX_CREDITS, exact_credits
from apps.credits import billing
from apps.credits.models import Account
from apps.organizations.models import Organization
from apps.provisioning import services
from apps.teams.admin import TeamRows
from apps.teams.models import Team

_BUDGET_MODES = [
    ("job_based", "job_based: one price a job"),
    ("consumption_usd", "consumption_usd: credits per dollar of provider cost"),
    ("consumption_tokens", "consumption_tokens: tokens per credit"),
]
_TEXT = {"class": "vTextField"}


class PriceFields(forms.Form):
    """How a team is priced. A rate left empty stays as it is."""

    budget_mode = forms.ChoiceField(choices=_BUDGET_MODES)
    credits_per_dollar = forms.DecimalField(
        required=False,
        min_value=Decimal("0.000001"),
        max_value=Decimal(1_000_000),
        decimal_places=6,
        help_text="consumption_usd",
    )
    tokens_per_credit = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=1_000_000_000_000,
        help_text="consumption_tokens",
    )
    cost_markup_percentage = forms.DecimalField(
        required=False,
        min_value=Decimal(0),
        max_value=Decimal(100_000),
        decimal_places=4,
        label="Markup",
        help_text="percent on the provider's cost, consumption_usd",
    )

    def changed(self) -> dict[str, Any]:
        """What `billing.change_plan` is to change: what is not given or as before is left out."""
        names = ("budget_mode", "credits_per_dollar", "tokens_per_credit", "cost_markup_percentage")
        return {
            name: self.cleaned_data[name]
            for name in names
            if name in self.changed_data and self.cleaned_data[name] is not None
        }


class NewTeam(PriceFields):
    """What a team starts with. Credits and prices are asked of those alone who may give them."""

    organization = forms.ModelChoiceField(
        queryset=Organization.objects.all(),
        widget=Autocomplete(Team._meta.get_field("organization"), admin.site),
    )
    team_id = forms.CharField(
        max_length=255,
        help_text="the id that API callers use; it cannot be changed and is never reused",
        widget=forms.TextInput(attrs=_TEXT),
    )
    alias = forms.CharField(
        max_length=255, required=False, help_text="a name for people", widget=forms.TextInput(attrs=_TEXT)
    )
    models = forms.ModelMultipleChoiceField(
        queryset=ModelAlias.objects.all(), required=False, help_text="aliases it may use besides those open to all"
    )
    access_groups = forms.ModelMultipleChoiceField(
        queryset=AccessGroup.objects.all(), required=False, help_text="bundles of aliases it may use"
    )
    model_groups = forms.ModelMultipleChoiceField(
        queryset=ModelGroup.objects.all(), required=False, help_text="model groups it may ask for"
    )
    default_model = forms.ModelChoiceField(
        queryset=ModelAlias.objects.all(),
        required=False,
        help_text="for calls that name none; empty: the platform's",
    )
    default_group = forms.ModelChoiceField(
        queryset=ModelGroup.objects.all(),
        required=False,
        help_text="the same, of the model groups; instead of an alias",
    )
    metadata = ObjectField(required=False, initial=dict, help_text="a JSON object; empty for none")
    credits = forms.IntegerField(min_value=0, max_value=MAX_CREDITS, initial=0, help_text="whole credits, to start")
    field_order = (
        "organization",
        "team_id",
        "alias",
        "models",
        "access_groups",
        "model_groups",
        "default_model",
        "default_group",
        "credits",
        "budget_mode",
    )

    def __init__(self, *args: Any, may_grant: bool, may_price: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not may_grant:
            del self.fields["credits"]
        if not may_price:
            for name in PriceFields.base_fields:
                del self.fields[name]

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        models, bundles = given.get("models") or [], given.get("access_groups") or []
        self._require_clear_names([alias.name for alias in models])
        default, default_group = given.get("default_model"), given.get("default_group")
        bundled = AccessGroupMember.objects.filter(alias=default, access_group__in=bundles)
        if default is not None and not (default.is_open or default in models or bundled.exists()):
            self.add_error("default_model", "Must be one of the team's models or open to every team.")
        if default_group is not None:
            if default is not None:
                self.add_error("default_group", "Choose an alias or a model group, not both.")
            elif default_group not in (given.get("model_groups") or []):
                self.add_error("default_group", "Must be one of the team's model groups.")
            elif ModelAlias.objects.filter(name=default_group.name).exists():
                self.add_error("default_group", "An alias has the same name, and a call would reach that.")
        return given

    def _require_clear_names(self, aliases: list[str]) -> None:
        """The service is given names, and takes one that is also a group's for the group."""
        for model in (AccessGroup, ModelGroup):
            shared = model._default_manager.filter(name__in=aliases).values_list("name", flat=True).first()
            if shared is not None:
                self.add_error("models", f"'{shared}' is also the name of a group. Give the alias on its own page.")

    def as_plan(self) -> services.TeamPlan:
        given = self.cleaned_data
        default = given["default_model"] or given["default_group"]
        return services.TeamPlan(
            team_id=given["team_id"],
            alias=given["alias"],
            access_groups=[each.name for each in (*given["access_groups"], *given["models"])],
            model_groups=[group.name for group in given["model_groups"]],
            default_model=default.name if default else None,
            credits=given.get("credits", 0),
            metadata=given["metadata"],
            **self.changed(),
        )


class PlanForm(OnceForm, PriceFields):
    """New prices for a team; jobs begun keep theirs."""


@admin.register(Team)
class TeamAdmin(TeamRows):
    """Teams with their balance; credits are granted and prices changed by forms of their own."""

    list_display = (
        "team_id",
        text_column("alias"),
        "organization",
        "status",
        credits_column("spendable_micros", "can be spent"),
        "created_at",
    )
    fields = (
        "team_id",
        "organization",
        "alias",
        "status",
        "status_reason",
        "metadata",
        "balance",
        "prices",
        "created_at",
        "updated_at",
    )
    readonly_fields = (*TeamRows.readonly_fields, "balance", "prices")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        wallet = Account.objects.filter(team=OuterRef("pk"), kind=Account.Kind.WALLET, restriction="")
        spendable = wallet.values(amount=F("posted_micros") - F("held_micros"))[:1]
        teams: QuerySet[Any] = super().get_queryset(request).annotate(spendable_micros=Subquery(spendable))
        return teams

    @admin.display(description="balance")
    def balance(self, team: Team) -> str:
        return lines(_balance_facts(team))

    @admin.display(description="prices")
    def prices(self, team: Team) -> str:
        return lines(_plan_facts(billing.plan(team)))

    def page_links(self, obj: Team) -> list[PageLink]:
        issue_url = f"{reverse('admin:virtual_keys_virtualkey_add')}?team={obj.pk}"
        return [
            PageLink("Grant credits", reverse("admin:team_grant", args=[obj.team_id]), "credits.add_grant"),
            PageLink(
                "Change prices", reverse("admin:teams_team_prices", args=[obj.pk]), "credits.add_ratecardversion"
            ),
            PageLink("Issue key", issue_url, "virtual_keys.add_virtualkey"),
            link_to_list("Keys", "virtual_keys.virtualkey", team__id__exact=obj.pk),
            link_to_list("Models", "catalog.teamalias", team__id__exact=obj.pk),
            link_to_list("Jobs", "jobs.job", team__id__exact=obj.pk),
            link_to_list("Ledger", "credits.entry", team=obj.team_id),
        ]

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.prices_view)
        return [path("<path:object_id>/prices/", view, name="teams_team_prices"), *super().get_urls()]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = NewTeam(
            request.POST or None,
            may_grant=request.user.has_perm("credits.add_grant"),
            may_price=request.user.has_perm("credits.add_ratecardversion"),
        )

        def act() -> HttpResponse:
            made = services.create_team(form.cleaned_data["organization"], form.as_plan(), actor=actor_of(request))
            messages.success(request, f"Team {made.team.team_id} was created.")
            label = f"First key of {made.team.team_id}"
            back_url = self.object_url(made.team)
            return self.secrets_page(request, [(label, made.secret)], title="Team created", back_url=back_url)

        return self.service_form(request, form, title="Add team", submit="Create team with its first key", act=act)

    def prices_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Put a new version of the team's rate card in force."""
        team = self._team(request, object_id, "credits.add_ratecardversion")
        plan = billing.plan(team)
        form = PlanForm(request.POST or None, initial=_plan_initial(plan))

        def change() -> None:
            changes = form.changed()
            if not changes:
                messages.warning(request, "Nothing was changed.")
                return
            after = billing.change_plan(team, actor=actor_of(request), **changes)
            described = ", ".join(f"{label} {value}" for label, value in _plan_facts(after))
            messages.success(request, f"Prices of {team.team_id} for jobs that begin from now on: {described}.")

        return self.service_form(
            request,
            form,
            title=f"Prices of {team.team_id}",
            submit="Change prices",
            act=lambda: self._once(request, form, team, f"prices:{team.team_id}", change),
            obj=team,
            facts=_plan_facts(plan),
        )

    def _team(self, request: HttpRequest, object_id: str, permission: str) -> Team:
        """The team of a form. Raises: PermissionDenied before anything is looked up, Http404."""
        if not (self.has_view_permission(request) and request.user.has_perm(permission)):
            raise PermissionDenied
        team: Team | None = self.get_object(request, unquote(object_id))
        if team is None:
            raise Http404
        return team

    def _once(
        self, request: HttpRequest, form: OnceForm, team: Team, scope: str, effect: Callable[[], None]
    ) -> HttpResponse:
        """Have the effect, unless this very page had it before; then say so.

        Raises: IdempotencyConflict when the page was submitted before with other content.
        """
        with transaction.atomic():
            slot = idempotency.claim(form.as_request(scope))
            if slot.is_replay:
                messages.warning(request, "This form was submitted before. Nothing was done a second time.")
            else:
                effect()
        return HttpResponseRedirect(self.object_url(team))


def _balance_facts(team: Team) -> list[tuple[str, str]]:
    balance = billing.balance(team)
    amounts = (
        ("can be spent", balance.spendable_micros),
        ("held by open jobs", balance.held_micros),
        ("posted", balance.posted_micros),
        ("allocated", balance.allocated_micros),
        ("used", balance.used_micros),
        ("debt", balance.debt_micros),
    )
    return [(label, with_unit(micros)) for label, micros in amounts]


def _plan_facts(plan: billing.Plan) -> list[tuple[str, str]]:
    return [
        ("budget mode", plan.budget_mode),
        ("credits per dollar", exact_credits(plan.micros_per_usd)),
        ("tokens per credit", str(plan.tokens_per_credit)),
        ("markup", f"{exact_percent(plan.markup_ppm)} %"),
    ]


def _plan_initial(plan: billing.Plan) -> dict[str, Any]:
    return {
        "budget_mode": plan.budget_mode,
        "credits_per_dollar": Decimal(exact_credits(plan.micros_per_usd)),
        "tokens_per_credit": plan.tokens_per_credit,
        "cost_markup_percentage": Decimal(exact_percent(plan.markup_ppm)),
    }
