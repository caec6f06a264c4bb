"""Teams: state and names, nothing that points upward. Who shares a wallet, limits and model access."""

from django.db import models
from django.db.models.functions import Now

from apps.organizations.models import Organization


class Team(models.Model):
    """A team of an organization. Its `team_id` is chosen by the caller and never reused, even when closed."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        SUSPENDED = "suspended"
        PAUSED = "paused"
        CLOSED = "closed"

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="teams")
    team_id = models.CharField(max_length=255, unique=True, help_text="the id that API callers use")
    alias = models.CharField(max_length=255, blank=True, help_text="a name for people")
    status = models.CharField(max_length=16, choices=Status, default=Status.ACTIVE, db_default=Status.ACTIVE)
    status_reason = models.CharField(max_length=500, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["team_id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(status__in=["active", "suspended", "paused", "closed"]), name="team_status"
            )
        ]

    def __str__(self) -> str:
        return self.team_id
