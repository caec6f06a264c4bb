"""Rate cards, their versions, and a team's billing choices that are not prices."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from apps.core.ids import new_id
from apps.organizations.models import Organization
from apps.teams.models import Team


class RateCard(models.Model):
    """Whose job types are priced together: the platform's (no owner), an organization's or a team's."""

    organization = models.ForeignKey(
        Organization, null=True, blank=True, on_delete=models.PROTECT, related_name="rate_cards"
    )
    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.PROTECT, related_name="rate_cards")
    job_type = models.CharField(max_length=100, blank=True, help_text="empty: every job type without its own card")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["team", "job_type"], condition=Q(team__isnull=False), name="rate_card_team_once"
            ),
            models.UniqueConstraint(
                fields=["organization", "job_type"],
                condition=Q(organization__isnull=False),
                name="rate_card_organization_once",
            ),
            models.UniqueConstraint(
                fields=["job_type"],
                condition=Q(team__isnull=True, organization__isnull=True),
                name="rate_card_platform_once",
            ),
            models.CheckConstraint(
                condition=Q(team__isnull=True) | Q(organization__isnull=True), name="rate_card_one_owner"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.job_type or 'every job type'} of {self.team or self.organization or 'the platform'}"


class RateCardVersion(models.Model):
    """How a card prices a job from an instant on. A draft may be changed; once activated it never is (a trigger
    refuses it): a new version replaces it. In force is the active one that began last."""

    class State(models.TextChoices):
        DRAFT = "draft"
        ACTIVE = "active"

    class Mode(models.TextChoices):
        FLAT = "flat"
        METERED_USD = "metered_usd"
        METERED_TOKENS = "metered_tokens"
        HYBRID = "hybrid"

    class Rounding(models.TextChoices):
        DOWN = "down"
        UP = "up"
        NONE = "none"

    class Policy(models.TextChoices):
        FREE = "free"
        COST = "cost"
        PERCENT = "percent"

    class PartlyPolicy(models.TextChoices):
        FULL = "full"
        COST = "cost"
        PERCENT = "percent", "by share of the calls that succeeded"

    class AbandonedPolicy(models.TextChoices):
        COMPLETED = "completed", "as completed"
        FREE = "free"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    card = models.ForeignKey(RateCard, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=8, choices=State, default=State.ACTIVE, db_default=State.ACTIVE)
    mode = models.CharField(max_length=16, choices=Mode)
    price_micros = models.BigIntegerField(default=1_000_000, help_text="flat and hybrid: micros of a credit")
    micros_per_usd = models.BigIntegerField(null=True, blank=True, help_text="metered in USD: micros per dollar")
    tokens_per_credit = models.BigIntegerField(null=True, blank=True, help_text="metered in tokens")
    markup_ppm = models.BigIntegerField(default=0, help_text="millionths added to the provider's cost")
    minimum_micros = models.BigIntegerField(default=1_000_000, help_text="metered: the least a charged job costs")
    ceiling_micros = models.BigIntegerField(null=True, blank=True, help_text="metered, hybrid: the most")
    allowance_nanousd = models.BigIntegerField(null=True, blank=True, help_text="hybrid: provider cost in the price")
    allowance_tokens = models.BigIntegerField(null=True, blank=True, help_text="hybrid: tokens in the price")
    cost_cap_nanousd = models.BigIntegerField(null=True, blank=True, help_text="provider cost a job may cause")
    included_tries = models.PositiveIntegerField(
        null=True, blank=True, help_text="failed tries at the platform's cost; empty: all of them"
    )
    rounding = models.CharField(max_length=8, choices=Rounding, default=Rounding.DOWN)
    on_failed = models.CharField(max_length=8, choices=Policy, default=Policy.FREE)
    on_cancelled = models.CharField(max_length=8, choices=Policy, default=Policy.FREE)
    on_partly_failed = models.CharField(
        max_length=8, choices=PartlyPolicy, default=PartlyPolicy.FULL, db_default=PartlyPolicy.FULL
    )
    on_abandoned = models.CharField(
        max_length=10,
        choices=AbandonedPolicy,
        default=AbandonedPolicy.COMPLETED,
        db_default=AbandonedPolicy.COMPLETED,
    )
    policy_percent = models.PositiveSmallIntegerField(
        default=0, help_text="of the price, when failed or cancelled by percent"
    )
    effective_from = models.DateTimeField(db_default=Now())
    created_by = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["card", "-number"]
        constraints = [
            models.UniqueConstraint(fields=["card", "number"], name="rate_card_version_once"),
            models.UniqueConstraint(fields=["card"], condition=Q(state="draft"), name="rate_card_one_draft"),
        ]

    def __str__(self) -> str:
        return f"{self.card} v{self.number}"


class BillingSettings(models.Model):
    """A team's billing choices that are not prices."""

    team = models.OneToOneField(Team, on_delete=models.CASCADE, primary_key=True, related_name="billing")
    show_costs = models.BooleanField(default=True, help_text="the team's keys see what calls cost in USD")
    cancels_left_streams = models.BooleanField(
        default=False, help_text="a stream whose client left is broken off, instead of finished and paid whole"
    )

    class Meta:
        verbose_name_plural = "billing settings"

    def __str__(self) -> str:
        return f"billing of {self.team}"
