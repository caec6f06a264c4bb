"""Limits, what of spend limits is used, and the refusals that they (and all else) led to."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from apps.core.ids import new_id
from apps.core.tenancy import TenantQuerySet
from apps.organizations.models import Organization
from apps.teams.models import Team

SUBJECT_MAX = 512


class Scope(models.TextChoices):
    """Whose calls a limit counts together."""

    PLATFORM = "platform"
    ORGANIZATION = "organization"
    TEAM = "team"
    KEY = "key", "virtual key"
    MODEL = "model"
    USER = "user", "end user of a team"


class Metric(models.TextChoices):
    """What a limit counts. Spend is in micros of a credit."""

    REQUESTS = "requests_per_minute"
    TOKENS = "tokens_per_minute"
    CALLS = "concurrent_calls"
    SPEND_DAY = "spend_per_day"
    SPEND_WEEK = "spend_per_week"
    SPEND_MONTH = "spend_per_month"


# Counted together for customers who know nothing of each other.
SHARED = frozenset((Scope.PLATFORM, Scope.MODEL))
RATES = frozenset((Metric.REQUESTS, Metric.TOKENS, Metric.CALLS))


class Limit(models.Model):
    """The most of one metric in one scope. `subject` names whose it is within the scope.

    Of an end user it is `team/user`; `team/` stands for each user of the team who has none of their own.
    """

    # A number, as `index` tells by the largest of them that a limit was made.
    id = models.BigAutoField(primary_key=True)
    scope = models.CharField(max_length=16, choices=Scope)
    subject = models.CharField(max_length=SUBJECT_MAX, blank=True)
    organization = models.ForeignKey(
        Organization,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="whose tenant it is",
    )
    team = models.ForeignKey(Team, on_delete=models.PROTECT, null=True, blank=True, related_name="limits")
    metric = models.CharField(max_length=24, choices=Metric)
    amount = models.BigIntegerField(help_text="requests, tokens, calls, or micros of a credit")
    raised_to = models.BigIntegerField(null=True, blank=True, help_text="another amount, for a time")
    raised_until = models.DateTimeField(null=True, blank=True)
    raise_reason = models.CharField(max_length=500, blank=True)
    raised_by = models.CharField(max_length=255, blank=True)
    revision = models.PositiveIntegerField(default=1, help_text="how often it was changed, for caches")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["scope", "subject", "metric"]
        constraints = [
            models.UniqueConstraint(fields=["scope", "subject", "metric"], name="limit_once"),
            models.CheckConstraint(condition=Q(amount__gte=0), name="limit_amount"),
            models.CheckConstraint(
                condition=Q(raised_to__isnull=True, raised_until__isnull=True)
                | Q(raised_to__gte=0, raised_until__isnull=False),
                name="limit_raise",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.metric} of {self.scope} {self.subject}".rstrip()


class SpendWindow(models.Model):
    """What of a period was spent and is held by jobs that count in it: in micros, changed with the jobs' money.

    Jobs name their windows when they begin, so that nothing is reset: a new period is a new row.
    """

    id = models.BigAutoField(primary_key=True)
    scope = models.CharField(max_length=16, choices=Scope)
    subject = models.CharField(max_length=SUBJECT_MAX, blank=True)
    metric = models.CharField(max_length=24, choices=Metric)
    period = models.CharField(max_length=16, help_text="2026-11-24, 2026-W48 or 2026-11")
    ends_at = models.DateTimeField()
    held_micros = models.BigIntegerField(default=0)
    used_micros = models.BigIntegerField(default=0)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["scope", "subject", "metric", "period"], name="spend_window_once"),
            models.CheckConstraint(condition=Q(held_micros__gte=0, used_micros__gte=0), name="spend_window_amounts"),
        ]

    def __str__(self) -> str:
        return f"{self.metric} {self.period} of {self.scope} {self.subject}".rstrip()


class Decision(models.Model):
    """A refused call: why, and how every limit on its way stood."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+", db_index=False)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+", db_index=False)
    key_id = models.CharField(max_length=36, blank=True)
    job_id = models.CharField(max_length=36, blank=True)
    model = models.CharField(max_length=255, blank=True, help_text="the name asked for")
    user_id = models.CharField(max_length=255, blank=True, help_text="the customer's own end user")
    code = models.CharField(max_length=64)
    message = models.CharField(max_length=1000)
    limits = models.JSONField(default=list, blank=True)

    objects: ClassVar[TenantQuerySet["Decision"]] = TenantQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = "refusal"
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["team", "-created_at", "-id"], name="decision_team"),
            models.Index(fields=["created_at"], name="decision_created"),
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.id}"
