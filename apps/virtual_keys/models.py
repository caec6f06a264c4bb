"""Virtual keys: bearer secrets of a team, stored as a keyed hash, shown once."""

from django.db import models
from django.db.models.functions import Now

from apps.core.ids import new_id
from apps.teams.models import Team


class VirtualKey(models.Model):
    """A key of a team. Only its keyed hash is kept: whoever reads this table can use none of them."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="keys")
    name = models.CharField(max_length=255, blank=True)
    prefix = models.CharField(max_length=16, help_text="the key's first characters, to recognise it by")
    digest = models.CharField(max_length=64, unique=True, editable=False, help_text="HMAC-SHA256 of the key")
    scopes = models.JSONField(default=list, blank=True, help_text="of jobs, chat, read; empty means all")
    models_allowed = models.JSONField(
        default=list, blank=True, help_text="aliases it may use; empty means the team's"
    )
    addresses_allowed = models.JSONField(default=list, blank=True, help_text="networks it may come from; empty: any")
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    replaced_by = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="replaces")
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="to the minute")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["team", "-created_at"], name="key_team")]

    def __str__(self) -> str:
        return f"{self.prefix}…"
