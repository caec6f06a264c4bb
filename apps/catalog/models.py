"""The names customers may ask for, and what stands behind them. Provider models never leave this side."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from apps.teams.models import Team


class ModelAlias(models.Model):
    """A name that a team asks for, and the provider model that answers.

    Prices are what the provider charges, in billionths of a dollar per million tokens; both or neither are set.
    """

    class Status(models.TextChoices):
        ACTIVE = "active"
        INACTIVE = "inactive"
        DEPRECATED = "deprecated"

    class Route(models.TextChoices):
        LITELLM = "litellm", "LiteLLM proxy"
        LITELLM_SDK = "litellm_sdk", "LiteLLM in the worker's own process"
        OPENAI = "openai", "OpenAI-compatible API"
        DEMO = "demo", "built-in demo provider"

    name = models.CharField(max_length=100, unique=True, help_text="what customers ask for")
    display_name = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    route = models.CharField(max_length=16, choices=Route, default=Route.LITELLM)
    provider = models.CharField(max_length=100, blank=True, help_text="e.g. openai; shown to operators alone")
    provider_model = models.CharField(
        max_length=255, help_text="the model's name on the route, hidden from customers"
    )
    status = models.CharField(max_length=16, choices=Status, default=Status.ACTIVE)
    is_open = models.BooleanField(default=False, help_text="every team may use it")
    is_default = models.BooleanField(default=False, help_text="the platform's default for calls that name no model")
    input_nanousd_per_mtok = models.BigIntegerField(
        null=True, blank=True, help_text="billionths of a dollar per million input tokens"
    )
    output_nanousd_per_mtok = models.BigIntegerField(
        null=True, blank=True, help_text="billionths of a dollar per million output tokens"
    )
    max_output_tokens = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="output tokens assumed and sent when the caller names no cap (metered jobs)",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name_plural = "model aliases"
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["is_default"], condition=Q(is_default=True), name="alias_one_default"),
            models.CheckConstraint(
                condition=Q(input_nanousd_per_mtok__isnull=True, output_nanousd_per_mtok__isnull=True)
                # A comparison with NULL is not false, and a CHECK lets it pass: so that neither is must be said.
                | Q(
                    input_nanousd_per_mtok__isnull=False,
                    input_nanousd_per_mtok__gte=0,
                    output_nanousd_per_mtok__isnull=False,
                    output_nanousd_per_mtok__gte=0,
                ),
                name="alias_prices_both_or_none",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class TeamAlias(models.Model):
    """A team may use an alias. `listed_as` keeps under which field of the API it was assigned."""

    class ListedAs(models.TextChoices):
        ACCESS_GROUP = "access_group"
        MODEL_GROUP = "model_group"

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="model_access")
    alias = models.ForeignKey(ModelAlias, on_delete=models.PROTECT, related_name="team_access")
    listed_as = models.CharField(max_length=16, choices=ListedAs, default=ListedAs.ACCESS_GROUP)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name_plural = "team aliases"
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["team", "alias"], name="team_alias_once")]

    def __str__(self) -> str:
        return f"{self.team} may use {self.alias}"


class TeamDefaultModel(models.Model):
    """Which alias a team's calls use when they name none."""

    team = models.OneToOneField(Team, on_delete=models.CASCADE, primary_key=True, related_name="default_model")
    alias = models.ForeignKey(ModelAlias, on_delete=models.PROTECT, related_name="+")

    def __str__(self) -> str:
        return f"{self.team}: {self.alias}"
