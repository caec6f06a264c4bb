"""Rollups: sums of what happened, so that no page adds up raw rows. Derived, and rebuilt at will (docs/usage.md).

Charges count when they were posted, calls and their cost when they ended, jobs when they closed. Only `rollups`
writes these tables.
"""

from django.db import models
from django.db.models.functions import Now

from apps.organizations.models import Organization
from apps.teams.models import Team


class Level(models.IntegerChoices):
    """What one row is the sum of. Each level follows from the first."""

    TEAM = 1, "a team, 15 minutes"
    PLATFORM = 2, "all teams, 15 minutes"
    DAY = 3, "a team, a day of UTC that is over"
    HOUR = 4, "all teams, an hour"
    # Of all job types and models together, for what nobody filters: few rows, also of a quarter of a year.
    HOUR_IN_ALL = 5, "all teams and work, an hour"
    DAY_IN_ALL = 6, "a team's work, a day of UTC that is over"


class _Rollup(models.Model):
    """`starts_at` is the first instant of the row's 15 minutes or day, in UTC."""

    id = models.BigAutoField(primary_key=True)
    level = models.SmallIntegerField(choices=Level)
    starts_at = models.DateTimeField()
    # Derived from rows that have these checks: once more for each sum would only make filling slow.
    organization = models.ForeignKey(
        Organization, null=True, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    team = models.ForeignKey(
        Team, null=True, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    job_type = models.CharField(max_length=100, blank=True, db_default="")
    model = models.CharField(max_length=255, blank=True, db_default="", help_text="the name asked for")

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.get_level_display()}, {self.starts_at}"


class Bucket(_Rollup):
    """Jobs, calls and credits. What has no job (sold, expired) has neither type nor model; a pool has no team."""

    jobs_completed = models.BigIntegerField(db_default=0)
    jobs_failed = models.BigIntegerField(db_default=0)
    jobs_cancelled = models.BigIntegerField(db_default=0)
    lost_cost_nanousd = models.BigIntegerField(db_default=0, help_text="of failed and abandoned attempts")
    calls_succeeded = models.BigIntegerField(db_default=0)
    calls_failed = models.BigIntegerField(db_default=0)
    calls_cancelled = models.BigIntegerField(db_default=0)
    calls_expired = models.BigIntegerField(db_default=0)
    unpriced_calls = models.BigIntegerField(db_default=0, help_text="succeeded, at a cost that is not known")
    prompt_tokens = models.BigIntegerField(db_default=0)
    completion_tokens = models.BigIntegerField(db_default=0)
    provider_cost_nanousd = models.BigIntegerField(db_default=0)
    sold_micros = models.BigIntegerField(db_default=0, help_text="granted as paid or by subscription")
    given_micros = models.BigIntegerField(db_default=0, help_text="granted as promotional or goodwill")
    taken_back_micros = models.BigIntegerField(db_default=0, help_text="of what was sold")
    charged_micros = models.BigIntegerField(db_default=0)
    refunded_micros = models.BigIntegerField(db_default=0)
    expired_micros = models.BigIntegerField(db_default=0)
    revenue_nanousd = models.BigIntegerField(db_default=0, help_text="by the prices of the lots that paid")
    estimated_micros = models.BigIntegerField(db_default=0, help_text="charged at no known price")

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["level", "starts_at"], name="bucket_time"),
            models.Index(fields=["team", "level", "starts_at"], name="bucket_team"),
            models.Index(fields=["organization", "level", "starts_at"], name="bucket_organization"),
        ]


class LatencyBucket(_Rollup):
    """How many succeeded calls took `from_ms` or longer, and less than the next bound (`analytics.latency`)."""

    from_ms = models.PositiveIntegerField()
    calls = models.BigIntegerField()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["level", "starts_at"], name="latency_time"),
            models.Index(fields=["team", "level", "starts_at"], name="latency_team"),
            models.Index(fields=["organization", "level", "starts_at"], name="latency_organization"),
        ]


class RefusalBucket(_Rollup):
    """How many calls were refused with a code."""

    code = models.CharField(max_length=64)
    refusals = models.BigIntegerField()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["level", "starts_at"], name="refusal_time"),
            models.Index(fields=["team", "level", "starts_at"], name="refusal_team"),
            models.Index(fields=["organization", "level", "starts_at"], name="refusal_organization"),
        ]


class CustomerDay(models.Model):
    """What one key did for one end customer, on a day of the organization's time zone."""

    id = models.BigAutoField(primary_key=True)
    day = models.DateField()
    organization = models.ForeignKey(
        Organization, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False)
    key_id = models.CharField(max_length=36, blank=True)
    user_id = models.CharField(max_length=255, blank=True, help_text="the customer's own end user")
    jobs_completed = models.BigIntegerField(db_default=0)
    jobs_failed = models.BigIntegerField(db_default=0)
    jobs_cancelled = models.BigIntegerField(db_default=0)
    calls_succeeded = models.BigIntegerField(db_default=0)
    calls_failed = models.BigIntegerField(db_default=0)
    calls_cancelled = models.BigIntegerField(db_default=0)
    calls_expired = models.BigIntegerField(db_default=0)
    prompt_tokens = models.BigIntegerField(db_default=0)
    completion_tokens = models.BigIntegerField(db_default=0)
    provider_cost_nanousd = models.BigIntegerField(db_default=0)
    charged_micros = models.BigIntegerField(db_default=0)
    refunded_micros = models.BigIntegerField(db_default=0)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["organization", "day"], name="customer_day_organization"),
            models.Index(fields=["team", "day"], name="customer_day_team"),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.key_id} {self.user_id}".rstrip()


class Watermark(models.Model):
    """How far a rollup is filled: whole from its first row up to `until`. Its lock is the right to fill it."""

    name = models.CharField(primary_key=True, max_length=16, help_text="quarters or days")
    until = models.DateTimeField()
    filled_at = models.DateTimeField(db_default=Now(), help_text="the last run, by the database's clock")

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return f"{self.name} until {self.until}"
