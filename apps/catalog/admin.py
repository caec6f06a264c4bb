"""Model aliases with their prices and limits, and what teams may use. Prices are typed in dollars per million tokens
and kept as exact integers of a billionth. Groups are in `admin_groups`, providers' keys in
`admin_credentials`, dated prices in `admin_prices`."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from apps.catalog import admin_credentials as admin_credentials  # registers the page
from apps.catalog import admin_groups as admin_groups  # registers the groups' pages
from apps.catalog import admin_prices as admin_prices  # registers the prices' page
from apps.catalog import aliases, routes, services
from apps.catalog.model_groups import adopt
from apps.catalog.models import (
    ModelAlias,
    TeamAccessGroup,
    TeamAlias,
    TeamDefaultModel,
    TeamModelGroup,
)
from apps.core.admin_base import AuditedAdmin, PlainAdmin, actor_of, show_refusal
from apps.core.admin_columns import exact_usd, text_column, usd_column
from apps.core.errors import InvalidField
from apps.core.money import NANOUSD


def _price_field(tokens: str) -> forms.DecimalField:
    # 15 digits, 9 of them decimals: exact in nano-dollars and far inside a BIGINT.
    return forms.DecimalField(
        required=False,
        min_value=Decimal(0),
        max_digits=15,
        decimal_places=9,
        label=f"{tokens.capitalize()} price",
        help_text=f"USD per million {tokens} tokens that the provider charges, e.g. 0.15; empty: no price",
    )


def _as_usd(nanousd: int | None) -> Decimal | None:
    return None if nanousd is None else Decimal(exact_usd(nanousd))


def _as_nanousd(usd: Decimal | None) -> int | None:
    return None if usd is None else int(usd * NANOUSD)


class AliasForm(forms.ModelForm):  # type: ignore[type-arg]
    """An alias; prices in dollars, both or none."""

    input_usd_per_mtok = _price_field("input")
    output_usd_per_mtok = _price_field("output")
    makes_default = forms.BooleanField(
        required=False,
        label="Platform default",
        help_text="answers calls that name no model; opens the alias to every team and replaces the present default",
    )

    class Meta:
        model = ModelAlias
        fields = (
            "name",
            "display_name",
            "description",
            "status",
            "route",
            "provider",
            "provider_model",
            "is_open",
            *aliases.LIMITS,
            *aliases.ABILITIES,
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, initial in (
            ("input_usd_per_mtok", _as_usd(self.instance.input_nanousd_per_mtok)),
            ("output_usd_per_mtok", _as_usd(self.instance.output_nanousd_per_mtok)),
            ("makes_default", self.instance.is_default),
        ):
            if name in self.fields:
                self.initial[name] = initial

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        prices = (given.get("input_usd_per_mtok"), given.get("output_usd_per_mtok"))
        if not self.errors and (prices[0] is None) != (prices[1] is None):
            missing = "input_usd_per_mtok" if prices[0] is None else "output_usd_per_mtok"
            self.add_error(missing, "Give both prices or none: a half-priced model would be sold too cheaply.")
        if given.get("makes_default"):
            if given.get("status") not in (None, ModelAlias.Status.ACTIVE):
                self.add_error("makes_default", "The platform's default must be active.")
            if self.instance.is_default and not given.get("is_open"):
                self.add_error("is_open", "The platform's default is open to every team.")
        self._require_answerable(given)
        if not self.errors:
            self.instance.input_nanousd_per_mtok = _as_nanousd(prices[0])
            self.instance.output_nanousd_per_mtok = _as_nanousd(prices[1])
            if not given.get("makes_default"):
                self.instance.is_default = False
        return given

    def _require_answerable(self, given: dict[str, Any]) -> None:
        try:
            if "route" in self.changed_data and "route" in given:
                routes.require_route(given["route"])
            if {"route", "provider"} & {*self.changed_data} and "route" in given:
                routes.require_provider(given["route"], given.get("provider", ""))
        except InvalidField as error:
            show_refusal(self, error)


@admin.register(ModelAlias)
class ModelAliasAdmin(AuditedAdmin):
    """An alias is made inactive, never deleted: calls and keys name it. Its name stays for the same reason."""

    audit_kind = "alias"
    audit_fields = ("name", "is_default", *aliases.COLUMNS)
    derived_fields = ("input_nanousd_per_mtok", "output_nanousd_per_mtok", "is_default")
    form = AliasForm
    list_display = (
        text_column("name"),
        "status",
        "is_open",
        "is_default",
        "route",
        text_column("provider_model"),
        usd_column("input_nanousd_per_mtok", "input per million tokens"),
        usd_column("output_nanousd_per_mtok", "output per million tokens"),
    )
    list_filter = ("status", "route", "is_open", "is_default")
    search_fields = ("name", "display_name", "provider_model")
    ordering = ("name",)
    fieldsets = (
        (None, {"fields": ("name", "display_name", "description", "status")}),
        ("What answers", {"fields": ("route", "provider", "provider_model")}),
        ("Who may use it", {"fields": ("is_open", "makes_default")}),
        (
            "Prices of its own",
            {
                "fields": ("input_usd_per_mtok", "output_usd_per_mtok"),
                "description": "They go before what the backend reports and before the dated prices of its model.",
            },
        ),
        ("Limits", {"fields": aliases.LIMITS}),
        ("Abilities", {"fields": aliases.ABILITIES, "description": "Unknown leaves it to the provider to refuse."}),
        ("Dates", {"fields": ("created_at", "updated_at")}),
    )

    def audit_id(self, obj: ModelAlias) -> str:
        return obj.name

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("created_at", "updated_at") if obj is None else ("name", "created_at", "updated_at")

    def save_model(self, request: HttpRequest, obj: ModelAlias, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change:
            adopt(obj)
        if form.cleaned_data.get("makes_default") and not obj.is_default:
            services.set_platform_default(
                name=obj.name,
                provider_model=obj.provider_model,
                route=ModelAlias.Route(obj.route),
                provider=obj.provider,
                actor=actor_of(request),
            )
            obj.refresh_from_db()


class _GivenAdmin(PlainAdmin):
    """What a team may use: given and taken away, through the service. `what` is the field of what is given."""

    what: str
    is_deletable = True
    readonly_fields = ("created_at",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def give(self, request: HttpRequest, obj: Any) -> Any:
        return services.give(obj.team, getattr(obj, self.what), actor=actor_of(request))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj.pk = self.give(request, obj).pk
        obj.refresh_from_db()

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        services.take(obj.team, getattr(obj, self.what), actor=actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for row in queryset.select_related("team", self.what):
            self.delete_model(request, row)


@admin.register(TeamAlias)
class TeamAliasAdmin(_GivenAdmin):
    """Aliases given without a group."""

    what = "alias"
    list_display = ("team", "alias", "listed_as", "created_at")
    list_filter = ("listed_as", ("created_at", admin.DateFieldListFilter))
    list_select_related = ("team", "alias")
    search_fields = ("team__team_id", "alias__name")
    autocomplete_fields = ("team", "alias")
    fields = ("team", "alias", "listed_as", "created_at")

    def give(self, request: HttpRequest, obj: TeamAlias) -> Any:
        return services.give(obj.team, obj.alias, actor=actor_of(request), listed_as=obj.listed_as)


@admin.register(TeamAccessGroup)
class TeamAccessGroupAdmin(_GivenAdmin):
    """Access groups given to teams."""

    what = "access_group"
    list_display = ("team", "access_group", "created_at")
    list_filter = (("created_at", admin.DateFieldListFilter),)
    list_select_related = ("team", "access_group")
    search_fields = ("team__team_id", "access_group__name")
    autocomplete_fields = ("team", "access_group")
    fields = ("team", "access_group", "created_at")


@admin.register(TeamModelGroup)
class TeamModelGroupAdmin(_GivenAdmin):
    """Model groups given to teams."""

    what = "model_group"
    list_display = ("team", "model_group", "created_at")
    list_filter = (("created_at", admin.DateFieldListFilter),)
    list_select_related = ("team", "model_group")
    search_fields = ("team__team_id", "model_group__name")
    autocomplete_fields = ("team", "model_group")
    fields = ("team", "model_group", "created_at")


class TeamDefaultForm(forms.ModelForm):  # type: ignore[type-arg]
    def clean(self) -> dict[str, Any]:
        """A default that the team may not use would be passed over by every call that names no model."""
        given: dict[str, Any] = super().clean() or self.cleaned_data
        team = given.get("team") or getattr(self.instance, "team", None)
        what = [chosen for chosen in (given.get("alias"), given.get("model_group")) if chosen is not None]
        if team is not None and len(what) == 1 and not services.may_use(team, what[0]):
            raise ValidationError(f"{team} may not use {what[0]}. Give it to the team first.")
        return given


@admin.register(TeamDefaultModel)
class TeamDefaultModelAdmin(PlainAdmin):
    """What a team's calls use when they name none; without a row it is the platform's default."""

    is_deletable = True
    form = TeamDefaultForm
    list_display = ("team", "alias", "model_group")
    list_select_related = ("team", "alias", "model_group")
    search_fields = ("team__team_id", "alias__name", "model_group__name")
    autocomplete_fields = ("team", "alias", "model_group")
    fields = ("team", "alias", "model_group")
    ordering = ("team__team_id",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return () if obj is None else ("team",)

    def save_model(self, request: HttpRequest, obj: TeamDefaultModel, form: Any, change: bool) -> None:
        services.choose_default(obj.team, obj.alias or obj.model_group, actor=actor_of(request))

    def delete_model(self, request: HttpRequest, obj: TeamDefaultModel) -> None:
        services.choose_default(obj.team, None, actor=actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for row in queryset.select_related("team"):
            self.delete_model(request, row)
