"""Rows that any rule may write in its own transaction: audit entries, events, idempotency keys, processes, settings.

They name things by string, so that this lowest app points at nothing above it.
"""

from django.db import models
from django.db.models.functions import Now

from apps.core.ids import new_id


class AuditEntry(models.Model):
    """Who changed what, from what to what. Append-only: triggers refuse UPDATE and DELETE."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    actor = models.CharField(max_length=255, help_text="kind:name of who did it")
    address = models.CharField(max_length=64, blank=True, help_text="network address it came from")
    action = models.CharField(max_length=64, help_text="what was done, e.g. team.suspend")
    object_kind = models.CharField(max_length=32)
    object_id = models.CharField(max_length=255)
    before = models.JSONField(default=dict, blank=True, help_text="the changed fields as they were, no secrets")
    after = models.JSONField(default=dict, blank=True, help_text="the changed fields as they are, no secrets")
    reason = models.CharField(max_length=500, blank=True)
    via = models.CharField(
        max_length=32, blank=True, default="", db_default="", help_text="the token that was used, by its beginning"
    )

    class Meta:
        verbose_name_plural = "audit entries"
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["object_kind", "object_id", "-created_at"], name="audit_object"),
            models.Index(fields=["-created_at", "-id"], name="audit_newest"),
            models.Index(fields=["actor", "-created_at"], name="audit_actor"),
            models.Index(fields=["action", "-created_at"], name="audit_action"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.object_kind}:{self.object_id}"


class Event(models.Model):
    """Something that happened, for whoever delivers it later (outbox). Written with its cause."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    kind = models.CharField(max_length=64, help_text="e.g. job.completed")
    organization_id = models.CharField(max_length=255, blank=True)
    team_id = models.CharField(max_length=255, blank=True)
    subject = models.CharField(max_length=255, help_text="what it is about, e.g. job:<uuid>")
    data = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ["created_at", "id"]
        indexes = [models.Index(fields=["team_id", "kind", "created_at"], name="event_team_kind")]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"


class IdempotencyKey(models.Model):
    """A request that had its effect: committed with it, so that a repeat finds either both or neither."""

    id = models.BigAutoField(primary_key=True)
    scope = models.CharField(
        max_length=300, help_text="whose key it is: team:<id>, operator:<id>, operator (the master key)"
    )
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of method, path and body")
    result = models.JSONField(default=dict, blank=True, help_text="ids from which the answer is rebuilt")
    secret = models.TextField(blank=True, help_text="encrypted secret of the answer, replayed for 10 minutes")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["scope", "key"], name="idempotency_key_once")]
        indexes = [models.Index(fields=["created_at"], name="idempotency_created")]

    def __str__(self) -> str:
        return f"{self.scope} {self.key}"


class Process(models.Model):
    """A serving process or the sweeper, and when it last said that it lives (the database's clock)."""

    name = models.CharField(primary_key=True, max_length=100)
    kind = models.CharField(max_length=16, help_text="web, worker or sweeper")
    started_at = models.DateTimeField(db_default=Now(), editable=False)
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "processes"

    def __str__(self) -> str:
        return self.name


class Setting(models.Model):
    """What operators set about the platform while it runs; only what differs from its default has a row."""

    name = models.CharField(primary_key=True, max_length=64, help_text="as in apps/core/settings_store.py")
    value = models.JSONField()
    version = models.PositiveIntegerField(
        default=1, help_text="counts changes, so that two editors notice each other"
    )
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
