"""Credits to come: recurring allowances, grants dated ahead, vouchers. Each is posted once (docs/ledger.md)."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from apps.core.ids import new_id
from apps.core.money import exact_credits
from apps.credits.models.accounts import Entry, Grant
from apps.organizations.models import Organization
from apps.teams.models import Team


class Allowance(models.Model):
    """Credits that a team is given every day, week or month, counted from `anchor_at`."""

    class Period(models.TextChoices):
        DAILY = "daily"
        WEEKLY = "weekly"
        MONTHLY = "monthly"

    team = models.OneToOneField(Team, on_delete=models.PROTECT, primary_key=True, related_name="allowance")
    is_enabled = models.BooleanField(default=False)
    amount_micros = models.BigIntegerField(null=True, blank=True)
    period = models.CharField(max_length=8, choices=Period, blank=True)
    rolls_over = models.BooleanField(
        default=True, help_text="what is left stays; else it expires when the next one comes"
    )
    anchor_at = models.DateTimeField(null=True, blank=True, help_text="refills are counted from here")
    next_number = models.PositiveIntegerField(default=1, help_text="periods from the anchor to the next refill")
    next_at = models.DateTimeField(null=True, blank=True)
    last_refill_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(is_enabled=False)
                | Q(
                    amount_micros__isnull=False,
                    amount_micros__gt=0,
                    period__in=["daily", "weekly", "monthly"],
                    anchor_at__isnull=False,
                    next_at__isnull=False,
                ),
                name="allowance_whole",
            )
        ]
        indexes = [models.Index(fields=["next_at"], condition=Q(is_enabled=True), name="allowance_due")]

    def __str__(self) -> str:
        if not self.is_enabled or self.amount_micros is None:
            return f"no allowance of {self.team}"
        return f"{exact_credits(self.amount_micros)} credits {self.period} for {self.team}"


class ScheduledGrant(models.Model):
    """A grant that is posted at `effective_at`."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="scheduled_grants")
    kind = models.CharField(max_length=12, choices=Grant.Kind, default=Grant.Kind.PAID)
    amount_micros = models.BigIntegerField()
    effective_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True, help_text="of the credits")
    reason = models.CharField(max_length=500, blank=True)
    actor = models.CharField(max_length=255)
    entry = models.OneToOneField(
        Entry, null=True, blank=True, on_delete=models.PROTECT, related_name="+", help_text="once posted"
    )
    cancelled_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-effective_at", "-id"]
        constraints = [
            models.CheckConstraint(condition=Q(amount_micros__gt=0), name="scheduled_amount"),
            models.CheckConstraint(
                condition=Q(expires_at__isnull=True) | Q(expires_at__gt=F("effective_at")), name="scheduled_expiry"
            ),
            models.CheckConstraint(
                condition=Q(entry__isnull=True) | Q(cancelled_at__isnull=True), name="scheduled_posted_or_cancelled"
            ),
        ]
        indexes = [
            models.Index(
                fields=["effective_at"],
                condition=Q(entry__isnull=True, cancelled_at__isnull=True),
                name="scheduled_due",
            )
        ]

    def __str__(self) -> str:
        return f"{exact_credits(self.amount_micros)} credits for {self.team} at {self.effective_at:%Y-%m-%d %H:%M}"

    @property
    def status(self) -> str:
        """scheduled, posted, cancelled, or expired: dropped when its credits could no longer be spent."""
        if self.entry_id is not None:
            return "posted"
        if self.cancelled_at is not None and self.expires_at is not None and self.cancelled_at >= self.expires_at:
            return "expired"
        return "cancelled" if self.cancelled_at is not None else "scheduled"


class Voucher(models.Model):
    """A code that gives credits to whom redeems it. The code itself is kept nowhere."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    code_hash = models.CharField(max_length=64, unique=True, editable=False)
    hint = models.CharField(max_length=8, help_text="the code's first characters")
    kind = models.CharField(max_length=12, choices=Grant.Kind, default=Grant.Kind.PROMOTIONAL)
    amount_micros = models.BigIntegerField()
    max_uses = models.PositiveIntegerField(default=1)
    uses = models.PositiveIntegerField(default=0)
    organization = models.ForeignKey(
        Organization,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="whose teams alone may redeem it",
    )
    expires_at = models.DateTimeField(null=True, blank=True, help_text="of the code")
    credits_last_days = models.PositiveIntegerField(
        null=True, blank=True, help_text="days that the credits last, counted from when they are redeemed"
    )
    note = models.CharField(max_length=255, blank=True)
    batch = models.UUIDField(null=True, blank=True, db_index=True, help_text="of those that were made together")
    created_by = models.CharField(max_length=255)
    disabled_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(amount_micros__gt=0), name="voucher_amount"),
            # The last wall against a code that is used once too often.
            models.CheckConstraint(condition=Q(uses__lte=F("max_uses")), name="voucher_uses"),
        ]

    def __str__(self) -> str:
        return f"{self.hint}… for {exact_credits(self.amount_micros)} credits"


class Redemption(models.Model):
    """A voucher that a team has redeemed, and the entry that gave it the credits."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    voucher = models.ForeignKey(Voucher, on_delete=models.PROTECT, related_name="redemptions")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="redemptions")
    entry = models.OneToOneField(Entry, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["voucher", "team"], name="redemption_once_a_team")]

    def __str__(self) -> str:
        return f"{self.voucher} by {self.team}"
