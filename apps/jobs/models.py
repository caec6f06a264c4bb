"""Jobs, calls, payloads and attempts. The call row is the outbox: it exists before anything is published.

A job's totals are changed only under its row lock, by `services` and `lifecycle`, so that every guard reads
columns of the row it changes.
"""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from apps.catalog.price_models import PriceSource
from apps.core.ids import new_id
from apps.core.tenancy import TenantQuerySet
from apps.organizations.models import Organization
from apps.teams.models import Team


class Job(models.Model):
    """One business operation: many calls, one charge."""

    class Status(models.TextChoices):
        PENDING = "pending"
        IN_PROGRESS = "in_progress"
        PAUSED = "paused"
        COMPLETED = "completed"
        FAILED = "failed"
        CANCELLED = "cancelled"

    class ChargeState(models.TextChoices):
        NONE = "none", "not decided"
        PENDING = "pending", "waits for open calls"
        CHARGED = "charged"
        FREE = "free"

    class OnCap(models.TextChoices):
        REFUSE = "refuse"
        PAUSE = "pause"

    OPEN_STATUSES: ClassVar[tuple[str, ...]] = ("pending", "in_progress", "paused")

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+", db_index=False)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="jobs", db_index=False)
    key_id = models.CharField(max_length=36, blank=True, help_text="the virtual key that opened it")
    job_type = models.CharField(max_length=100)
    user_id = models.CharField(max_length=255, blank=True, help_text="the customer's own end user")
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    paused_reason = models.CharField(max_length=255, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    pending_metadata_bytes = models.PositiveIntegerField(default=0, help_text="call_metadata of open calls")
    error_message = models.CharField(max_length=1000, blank=True)
    model_groups_used = models.JSONField(default=list, blank=True, help_text="names asked for")

    terms = models.JSONField(null=True, blank=True, help_text="pricing, frozen at the first call")
    held_micros = models.BigIntegerField(default=0, help_text="its open hold")
    charge_state = models.CharField(max_length=8, choices=ChargeState, default=ChargeState.NONE)
    charged_micros = models.BigIntegerField(default=0)
    uncollected_micros = models.BigIntegerField(default=0, help_text="owed at the charge but not there to take")

    spend_windows = models.JSONField(
        null=True, blank=True, help_text="ids of the spend limits' periods it counts in, kept from its first call on"
    )
    max_micros = models.BigIntegerField(null=True, blank=True, help_text="ceiling of what it may hold and cost")
    reserves_ceiling = models.BooleanField(default=False, help_text="its hold is the whole ceiling from the start")
    on_cap = models.CharField(
        max_length=8, choices=OnCap, default=OnCap.REFUSE, help_text="what a call beyond the ceiling does to it"
    )
    deadline_at = models.DateTimeField(null=True, blank=True, help_text="no calls afterwards; the sweeper closes it")

    total_calls = models.PositiveIntegerField(default=0)
    open_calls = models.PositiveIntegerField(default=0)
    successful_calls = models.PositiveIntegerField(default=0)
    failed_calls = models.PositiveIntegerField(default=0)
    prompt_tokens = models.BigIntegerField(default=0)
    completion_tokens = models.BigIntegerField(default=0)
    provider_cost_nanousd = models.BigIntegerField(default=0, help_text="of the served attempts")
    lost_cost_nanousd = models.BigIntegerField(
        default=0, help_text="of failed and abandoned attempts: the platform's"
    )
    unpriced_calls = models.PositiveIntegerField(
        default=0, db_default=0, help_text="served calls whose provider cost is not known: they count as 0 in it"
    )
    lost_tries = models.PositiveIntegerField(default=0, db_default=0, help_text="failed attempts that cost something")
    billed_lost_nanousd = models.BigIntegerField(
        default=0, db_default=0, help_text="of their cost, what its card does not include: the customer's"
    )
    open_bound_nanousd = models.BigIntegerField(default=0, help_text="most that its open calls can cost")
    open_bound_tokens = models.BigIntegerField(default=0, help_text="most tokens that its open calls can use")
    latency_total_ms = models.BigIntegerField(default=0)

    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    active_at = models.DateTimeField(db_default=Now(), help_text="last call or change, by the database's clock")
    closed_by = models.CharField(max_length=64, blank=True, help_text="key, operator, call or sweeper")

    objects: ClassVar[TenantQuerySet["Job"]] = TenantQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=["pending", "in_progress", "paused"], completed_at__isnull=True)
                | Q(status__in=["completed", "failed", "cancelled"], completed_at__isnull=False),
                name="job_status",
            ),
            models.CheckConstraint(
                condition=Q(charge_state__in=["charged", "free"], held_micros=0)
                | Q(charge_state__in=["none", "pending"]),
                name="job_charge_state",
            ),
            models.CheckConstraint(condition=Q(held_micros__gte=0, charged_micros__gte=0), name="job_money"),
            models.CheckConstraint(
                condition=Q(max_micros__isnull=True, reserves_ceiling=False) | Q(max_micros__gt=0), name="job_ceiling"
            ),
        ]
        indexes = [
            models.Index(fields=["team", "-created_at"], name="job_team"),
            models.Index(fields=["organization", "-created_at"], name="job_organization"),
            # For lists over all tenants. Ids come in the order of time, so that an insert goes to its right edge.
            models.Index(fields=["-created_at", "-id"], name="job_newest"),
            models.Index(
                fields=["active_at"],
                condition=Q(status__in=["pending", "in_progress", "paused"]),
                name="job_open",
            ),
            models.Index(
                fields=["deadline_at"],
                condition=Q(deadline_at__isnull=False, status__in=["pending", "in_progress", "paused"]),
                name="job_deadline",
            ),
            # For rollups: written once, with the status, whose indexes change then too.
            models.Index(fields=["completed_at"], condition=Q(completed_at__isnull=False), name="job_completed"),
            models.Index(fields=["completed_at"], condition=Q(uncollected_micros__gt=0), name="job_uncollected"),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def is_closed(self) -> bool:
        return self.status in (self.Status.COMPLETED, self.Status.FAILED, self.Status.CANCELLED)

    @property
    def wire_status(self) -> str:
        """Paused is an operator's word; on the wire the job is in progress."""
        return "in_progress" if self.status == self.Status.PAUSED else self.status

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def known_cost_nanousd(self) -> int | None:
        """What the providers took for its served calls; None when that is not known of all of them."""
        return None if self.unpriced_calls else self.provider_cost_nanousd

    @property
    def credit_applied(self) -> bool:
        return self.charge_state == self.ChargeState.CHARGED and self.charged_micros > 0


class Call(models.Model):
    """One logical LLM request in a job."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"
        EXPIRED = "expired"

    class Kind(models.TextChoices):
        CHAT = "chat"
        EMBEDDING = "embedding"

    OPEN_STATES: ClassVar[tuple[str, ...]] = ("queued", "running")

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    job = models.ForeignKey(Job, on_delete=models.PROTECT, related_name="calls")
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+", db_index=False)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="+", db_index=False)
    state = models.CharField(max_length=12, choices=State, default=State.QUEUED)
    kind = models.CharField(max_length=12, choices=Kind, default=Kind.CHAT)
    is_streamed = models.BooleanField(default=False, help_text="its answer is sent on piece by piece")
    validates = models.BooleanField(
        default=False, help_text="an answer that does not fit its format is asked for again"
    )
    cancel_requested_at = models.DateTimeField(null=True, blank=True, help_text="its caller left and wants no more")
    purpose = models.CharField(max_length=200, blank=True)
    completes_job = models.BooleanField(default=False, help_text="its end closes the job")

    model_group_used = models.CharField(max_length=255, help_text="the name asked for: all a customer sees")
    model_used = models.CharField(max_length=255, help_text="the alias it resolved to")
    route = models.CharField(max_length=16)
    provider = models.CharField(max_length=100, blank=True)
    provider_model = models.CharField(max_length=255)
    resolved_model = models.CharField(max_length=255, blank=True, help_text="what the backend said it was")
    input_nanousd_per_mtok = models.BigIntegerField(null=True, blank=True, help_text="price, frozen at admission")
    output_nanousd_per_mtok = models.BigIntegerField(null=True, blank=True, help_text="price, frozen at admission")
    price_id = models.UUIDField(null=True, blank=True, help_text="the dated price that is frozen, if it is one")
    price_source = models.CharField(
        max_length=8,
        choices=PriceSource,
        default=PriceSource.NONE,
        db_default=PriceSource.NONE,
        help_text="what its provider cost rests on",
    )
    candidates = models.JSONField(
        null=True, blank=True, help_text="its models in the order of trying, when there are several"
    )
    max_output_tokens = models.PositiveIntegerField(null=True, blank=True, help_text="sent when the caller gave none")
    bound_input_tokens = models.BigIntegerField(default=0)
    bound_output_tokens = models.BigIntegerField(default=0)
    bound_nanousd = models.BigIntegerField(default=0)

    taken = models.JSONField(null=True, blank=True, help_text="what it took of rate limits, corrected at its end")

    claim = models.PositiveIntegerField(default=0, help_text="the fencing token: how often it was claimed")
    claimed_by = models.CharField(max_length=100, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    deadline_at = models.DateTimeField()
    wait_until = models.DateTimeField(help_text="an unclaimed call expires when nobody waits for it any more")
    next_publish_at = models.DateTimeField(help_text="when the sweeper publishes it (again)")
    publishes = models.PositiveIntegerField(default=0, help_text="by the sweeper")
    reply_to = models.CharField(max_length=100, blank=True, help_text="the web process that waits")
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of credential, path and body")
    unanswered_at = models.DateTimeField(null=True, blank=True, help_text="the caller left without its answer")

    prompt_tokens = models.BigIntegerField(default=0)
    completion_tokens = models.BigIntegerField(default=0)
    usage_classes = models.JSONField(
        null=True, blank=True, help_text="tokens by class, disjoint; none for plain input and output"
    )
    provider_cost_nanousd = models.BigIntegerField(default=0)
    is_estimated = models.BooleanField(default=False, help_text="the provider's usage was missing or absurd")
    usage_mismatch = models.BooleanField(
        default=False, db_default=False, help_text="the provider's usage contradicts its own total"
    )
    latency_ms = models.PositiveIntegerField(null=True, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    error_status = models.PositiveSmallIntegerField(null=True, blank=True, help_text="HTTP status for the client")
    error_message = models.CharField(max_length=1000, blank=True, help_text="for the client: no secret, no host")
    retry_after_s = models.PositiveIntegerField(null=True, blank=True)

    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[TenantQuerySet["Call"]] = TenantQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["queued", "running"], ended_at__isnull=True)
                | Q(state__in=["succeeded", "failed", "cancelled", "expired"], ended_at__isnull=False),
                name="call_state",
            ),
            models.CheckConstraint(
                condition=Q(prompt_tokens__gte=0, completion_tokens__gte=0, provider_cost_nanousd__gte=0),
                name="call_usage",
            ),
        ]
        indexes = [
            models.Index(fields=["next_publish_at"], condition=Q(state="queued"), name="call_due"),
            models.Index(fields=["-created_at", "-id"], name="call_newest"),
            models.Index(fields=["lease_until"], condition=Q(state="running"), name="call_leased"),
            models.Index(
                fields=["team", "fingerprint"],
                condition=Q(unanswered_at__isnull=False),
                name="call_unanswered",
            ),
            # Of requests whose clients count their retries alone: those of /api cost no entry (see `retries`).
            models.Index(
                fields=["team", "fingerprint", "-created_at"],
                condition=Q(fingerprint__gte="v"),
                name="call_retriable",
            ),
            # For rollups: an entry a call, at its end alone.
            models.Index(fields=["ended_at"], condition=Q(ended_at__isnull=False), name="call_ended"),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def is_open(self) -> bool:
        return self.state in self.OPEN_STATES

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class CallPayload(models.Model):
    """What was asked and answered, apart from the call, with a retention of its own. JSON text."""

    call = models.OneToOneField(Call, on_delete=models.CASCADE, primary_key=True, related_name="payload")
    request = models.TextField()
    response = models.TextField(blank=True)
    call_metadata = models.TextField(blank=True)
    expires_at = models.DateTimeField(null=True, blank=True, db_index=True, help_text="counted from the call's end")

    def __str__(self) -> str:
        return str(self.call_id)


class Attempt(models.Model):
    """One provider try within a claim, written before the try."""

    class State(models.TextChoices):
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        ABANDONED = "abandoned"
        PARTIAL = "partial", "broke off after a part of it was delivered"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    call = models.ForeignKey(Call, on_delete=models.PROTECT, related_name="attempts")
    claim = models.PositiveIntegerField()
    state = models.CharField(max_length=12, choices=State, default=State.RUNNING)
    route = models.CharField(max_length=16)
    provider_model = models.CharField(max_length=255)
    worker = models.CharField(max_length=100)
    prompt_tokens = models.BigIntegerField(default=0)
    completion_tokens = models.BigIntegerField(default=0)
    cost_nanousd = models.BigIntegerField(default=0)
    is_estimated = models.BooleanField(default=False)
    usage_mismatch = models.BooleanField(
        default=False, db_default=False, help_text="the provider's usage contradicts its own total"
    )
    delivered_bytes = models.BigIntegerField(
        db_default=0, help_text="of a stream: sent on so far, saved now and then"
    )
    raw_usage = models.TextField(blank=True, help_text="usage as the provider sent it")
    latency_ms = models.PositiveIntegerField(null=True, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    started_at = models.DateTimeField(db_default=Now(), editable=False)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["started_at", "id"]

    def __str__(self) -> str:
        return f"claim {self.claim} of call {self.call_id}"
