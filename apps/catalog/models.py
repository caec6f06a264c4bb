"""The names customers may ask for, and what stands behind them: aliases, model groups, access groups, credentials.

A call asks for an alias or a model group. An access group is a bundle of aliases to give to teams; nobody asks
for it. A provider model is named by (`route`, `provider_model`), on an alias as on a member of a model group.
"""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from apps.catalog.names import MAX_LENGTH, validate_name
from apps.catalog.price_models import Price as Price
from apps.core.ids import new_id
from apps.organizations.models import Organization
from apps.teams.models import Team

# Limits that are set are at least one.
_LIMITS = ("context_window_tokens", "max_output_tokens", "default_output_tokens", "max_choices", "timeout_s")


def _unset_or_positive() -> Q:
    condition = Q()
    for name in _LIMITS:
        condition &= Q(**{f"{name}__isnull": True}) | Q(**{f"{name}__gte": 1})
    return condition


class ModelAlias(models.Model):
    """A name that a team asks for, and the provider model that answers.

    Prices are what the provider charges, in billionths of a dollar per million tokens; both or neither are set.
    A limit that is empty is not judged, nor is an ability that is not known: the provider decides then.
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

    name = models.CharField(
        max_length=MAX_LENGTH, unique=True, validators=[validate_name], help_text="what customers ask for"
    )
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
    context_window_tokens = models.PositiveIntegerField(
        null=True, blank=True, help_text="most input tokens of a call; empty: not judged"
    )
    max_output_tokens = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="most output tokens that a call may ask for, and assumed when it names no cap (metered jobs)",
    )
    default_output_tokens = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="output tokens assumed when the caller names no cap, instead of the most (metered jobs)",
    )
    max_choices = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="most answers (n) that a call may ask for; empty: not judged"
    )
    timeout_s = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="seconds that one try may take; empty: the platform's (GATEWAY_TIMEOUT_S)"
    )
    supports_vision = models.BooleanField(null=True, blank=True, help_text="takes images")
    supports_audio = models.BooleanField(null=True, blank=True, help_text="takes audio")
    supports_tools = models.BooleanField(null=True, blank=True, help_text="calls tools")
    supports_json_schema = models.BooleanField(null=True, blank=True, help_text="answers by a JSON schema")
    supports_streaming = models.BooleanField(null=True, blank=True, help_text="answers piece by piece")
    supports_embeddings = models.BooleanField(null=True, blank=True, help_text="makes embeddings")
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
            models.CheckConstraint(
                condition=_unset_or_positive(),
                name="alias_limits_positive",
                violation_error_message="A limit is empty or at least 1.",
            ),
            models.CheckConstraint(
                condition=Q(default_output_tokens__isnull=True)
                | Q(max_output_tokens__isnull=True)
                | Q(default_output_tokens__lte=F("max_output_tokens")),
                name="alias_default_output_within_most",
                violation_error_message="The default output tokens are at most the max output tokens.",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class GroupStatus(models.TextChoices):
    """An inactive group stays assigned and lends nothing."""

    ACTIVE = "active"
    INACTIVE = "inactive"


class AccessGroup(models.Model):
    """A bundle of aliases that is given to teams as one."""

    name = models.CharField(
        max_length=MAX_LENGTH, unique=True, validators=[validate_name], help_text="what teams are given"
    )
    display_name = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    status = models.CharField(max_length=16, choices=GroupStatus, default=GroupStatus.ACTIVE)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=GroupStatus.values), name="access_group_status"),
        ]

    def __str__(self) -> str:
        return self.name


class AccessGroupMember(models.Model):
    """An alias of an access group."""

    access_group = models.ForeignKey(AccessGroup, on_delete=models.CASCADE, related_name="members")
    alias = models.ForeignKey(
        ModelAlias, on_delete=models.CASCADE, related_name="access_group_members", db_index=False
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["id"]
        constraints = [
            # The alias first: the call path asks which groups an alias is in.
            models.UniqueConstraint(fields=["alias", "access_group"], name="access_group_member_once")
        ]

    def __str__(self) -> str:
        return f"{self.alias} in {self.access_group}"


class ModelGroup(models.Model):
    """A name that a team asks for, and the models that answer, tried in order."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(
        max_length=MAX_LENGTH, unique=True, validators=[validate_name], help_text="what customers ask for"
    )
    display_name = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    status = models.CharField(max_length=16, choices=GroupStatus, default=GroupStatus.ACTIVE)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=GroupStatus.values), name="model_group_status"),
        ]

    def __str__(self) -> str:
        return self.name


class ModelGroupMember(models.Model):
    """A model of a group: an alias, or a provider model without one, which then has neither prices nor limits.

    The smallest priority is tried first; of equal ones the older member.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    group = models.ForeignKey(ModelGroup, on_delete=models.CASCADE, related_name="members", db_index=False)
    alias = models.ForeignKey(
        ModelAlias, on_delete=models.PROTECT, null=True, blank=True, related_name="model_group_members"
    )
    route = models.CharField(
        max_length=16,
        choices=ModelAlias.Route,
        default=ModelAlias.Route.LITELLM,
        help_text="of a provider model; an alias has its own",
    )
    provider = models.CharField(
        max_length=100,
        blank=True,
        help_text="of a provider model: whose key the route openai takes; empty: what provider/model says",
    )
    provider_model = models.CharField(
        max_length=255, blank=True, help_text="a model's name on the route, when it is no alias"
    )
    priority = models.PositiveSmallIntegerField(default=0, help_text="0 is tried first")
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["priority", "id"]
        constraints = [
            models.UniqueConstraint(fields=["group", "alias"], name="model_group_member_alias_once"),
            models.UniqueConstraint(
                fields=["group", "provider_model"],
                condition=Q(alias__isnull=True),
                name="model_group_member_model_once",
            ),
            models.CheckConstraint(
                condition=Q(alias__isnull=False, provider_model="") | (Q(alias__isnull=True) & ~Q(provider_model="")),
                name="model_group_member_alias_or_model",
                violation_error_message="Name an alias or a provider model, not both.",
            ),
        ]

    @property
    def model_name(self) -> str:
        """What the member was named by."""
        return self.provider_model if self.alias is None else self.alias.name

    def __str__(self) -> str:
        return f"{self.model_name} in {self.group}"


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


class TeamAccessGroup(models.Model):
    """A team may use the aliases of an access group."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="access_groups", db_index=False)
    access_group = models.ForeignKey(AccessGroup, on_delete=models.PROTECT, related_name="team_access")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["team", "access_group"], name="team_access_group_once")]

    def __str__(self) -> str:
        return f"{self.team} may use {self.access_group}"


class TeamModelGroup(models.Model):
    """A team may ask for a model group."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="model_groups", db_index=False)
    model_group = models.ForeignKey(ModelGroup, on_delete=models.PROTECT, related_name="team_access")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["team", "model_group"], name="team_model_group_once")]

    def __str__(self) -> str:
        return f"{self.team} may use {self.model_group}"


class TeamDefaultModel(models.Model):
    """Which alias or model group a team's calls use when they name none."""

    team = models.OneToOneField(Team, on_delete=models.CASCADE, primary_key=True, related_name="default_model")
    alias = models.ForeignKey(ModelAlias, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    model_group = models.ForeignKey(ModelGroup, on_delete=models.PROTECT, null=True, blank=True, related_name="+")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(alias__isnull=False, model_group__isnull=True)
                | Q(alias__isnull=True, model_group__isnull=False),
                name="team_default_alias_or_group",
                violation_error_message="Choose an alias or a model group, not both.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.team}: {self.alias or self.model_group}"


class ProviderCredential(models.Model):
    """A key of a provider, for the calls of one organization or, without one, of all that have none of their own.

    The key is kept encrypted and leaves only with a request to its provider (`credentials.for_call`).
    """

    class Provider(models.TextChoices):
        OPENAI = "openai", "OpenAI"
        ANTHROPIC = "anthropic", "Anthropic"
        GEMINI = "gemini", "Gemini"
        FIREWORKS = "fireworks", "Fireworks"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    organization = models.ForeignKey(
        Organization,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="empty: for every organization without one of its own",
    )
    provider = models.CharField(max_length=32, choices=Provider)
    name = models.CharField(max_length=255)
    api_base = models.CharField(
        max_length=500,
        blank=True,
        help_text="address of its OpenAI-compatible API, with /v1 if it has one; empty: the provider's own (openai)",
    )
    encrypted_key = models.TextField(editable=False)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "provider"],
                condition=Q(is_active=True, organization__isnull=False),
                name="credential_one_active",
                violation_error_message="The organization has an active credential of this provider.",
            ),
            # NULLs differ from each other, so the platform's own need an index of theirs.
            models.UniqueConstraint(
                fields=["provider"],
                condition=Q(is_active=True, organization__isnull=True),
                name="credential_one_active_platform",
                violation_error_message="The platform has an active credential of this provider.",
            ),
            models.CheckConstraint(condition=~Q(encrypted_key=""), name="credential_has_key"),
        ]

    def __str__(self) -> str:
        return self.name
