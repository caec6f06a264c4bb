"""What is sold for money and what was paid. Amounts of money are integers of the currency's minor unit (cents).

Invariants: a payment gives its credits once, by its entry; a team has at most one open top-up attempt.
"""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from apps.core.ids import new_id
from apps.core.tenancy import TenantQuerySet
from apps.credits.models import Entry
from apps.organizations.models import Organization
from apps.teams.models import Team


class CreditPack(models.Model):
    """Credits at a price. Checkouts and consents keep the price they were made at."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=100, unique=True, help_text="shown on the page where it is paid")
    credits = models.BigIntegerField(help_text="whole credits")
    amount_minor = models.BigIntegerField(help_text="price in the currency's minor unit, such as cents")
    currency = models.CharField(max_length=3, default="USD", help_text="ISO 4217")
    is_active = models.BooleanField(default=True, help_text="for sale")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["currency", "amount_minor", "name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(credits__gt=0, credits__lte=1_000_000_000_000), name="credit_pack_credits"
            ),
            models.CheckConstraint(
                condition=Q(amount_minor__gt=0, amount_minor__lte=1_000_000_000_000), name="credit_pack_amount"
            ),
            models.CheckConstraint(condition=Q(currency__regex="^[A-Z]{3}$"), name="credit_pack_currency"),
        ]

    def __str__(self) -> str:
        return self.name


class TopUp(models.Model):
    """A team's consent to be charged for a pack when its credits run low."""

    team = models.OneToOneField(Team, on_delete=models.PROTECT, primary_key=True, related_name="top_up")
    is_enabled = models.BooleanField(default=False)
    threshold_micros = models.BigIntegerField(help_text="charged when less than this can be spent")
    pack = models.ForeignKey(CreditPack, on_delete=models.PROTECT, related_name="+")
    credits = models.BigIntegerField(help_text="of the pack when the team consented")
    amount_minor = models.BigIntegerField(help_text="of the pack when the team consented")
    currency = models.CharField(max_length=3)
    monthly_ceiling_minor = models.BigIntegerField(help_text="the most in a calendar month, UTC")
    return_url = models.CharField(
        max_length=2048, help_text="where a customer goes back to after confirming a payment"
    )
    consented_by = models.CharField(max_length=255)
    consented_at = models.DateTimeField()
    declines = models.PositiveSmallIntegerField(default=0, help_text="failed attempts in a row")
    next_attempt_at = models.DateTimeField(null=True, blank=True, help_text="not before this")
    disabled_reason = models.CharField(max_length=100, blank=True, help_text="why the platform switched it off")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    threshold_micros__gt=0,
                    credits__gt=0,
                    amount_minor__gt=0,
                    monthly_ceiling_minor__gte=F("amount_minor"),
                ),
                name="top_up_amounts",
            )
        ]
        indexes = [models.Index(fields=["team"], condition=Q(is_enabled=True), name="top_up_enabled")]

    def __str__(self) -> str:
        return f"top-up of {self.team}"


class TopUpAttempt(models.Model):
    """One charge of a team's saved method. Written before the provider is asked; its id is the idempotency key."""

    class State(models.TextChoices):
        PENDING = "pending"
        REQUIRES_ACTION = "requires_action"
        SUCCEEDED = "succeeded"
        FAILED = "failed"

    OPEN: ClassVar[tuple[str, ...]] = (State.PENDING, State.REQUIRES_ACTION)

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="top_up_attempts")
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=16, choices=State, default=State.PENDING)
    credits = models.BigIntegerField()
    amount_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    provider_payment_id = models.CharField(max_length=255, blank=True, help_text="once the provider answered")
    action_url = models.CharField(max_length=2048, blank=True, help_text="where the customer confirms it")
    error_code = models.CharField(max_length=255, blank=True)
    tries = models.PositiveSmallIntegerField(default=0, help_text="requests to the provider, under one key")
    next_try_at = models.DateTimeField(db_default=Now())
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = TenantQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            # The wall against two charges for one empty wallet.
            models.UniqueConstraint(
                fields=["team"], condition=Q(state__in=["pending", "requires_action"]), name="top_up_one_open"
            ),
            models.CheckConstraint(condition=Q(credits__gt=0, amount_minor__gt=0), name="top_up_attempt_amounts"),
        ]
        indexes = [models.Index(fields=["team", "created_at"], name="top_up_attempt_month")]

    def __str__(self) -> str:
        return f"{self.state} top-up of {self.team}"


class Checkout(models.Model):
    """A pack that a team is about to pay for, at the price it had then."""

    class State(models.TextChoices):
        OPEN = "open"
        PAID = "paid"
        EXPIRED = "expired"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="checkouts")
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+")
    pack = models.ForeignKey(CreditPack, on_delete=models.PROTECT, related_name="+")
    attempt = models.OneToOneField(
        TopUpAttempt,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="checkout",
        help_text="the top-up that the customer has to confirm",
    )
    state = models.CharField(max_length=8, choices=State, default=State.OPEN)
    credits = models.BigIntegerField()
    amount_minor = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    saves_method = models.BooleanField(default=False, help_text="the payment method is kept for top-ups")
    success_url = models.CharField(max_length=2048)
    cancel_url = models.CharField(max_length=2048)
    provider = models.CharField(max_length=16)
    provider_session_id = models.CharField(max_length=255, null=True, blank=True)
    url = models.CharField(max_length=2048, blank=True, help_text="the provider's page")
    created_by = models.CharField(max_length=255)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    objects = TenantQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["provider", "provider_session_id"], name="checkout_session_once"),
            models.CheckConstraint(condition=Q(credits__gt=0, amount_minor__gt=0), name="checkout_amounts"),
        ]

    def __str__(self) -> str:
        return f"{self.state} checkout of {self.team}"


class Payment(models.Model):
    """Money that a provider says it has. `expected`: it was named by a refund or dispute before it arrived."""

    class State(models.TextChoices):
        EXPECTED = "expected"
        PAID = "paid"
        FLAGGED = "flagged", "flagged: it gave no credits, somebody has to look"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    provider = models.CharField(max_length=16)
    provider_payment_id = models.CharField(max_length=255)
    state = models.CharField(max_length=8, choices=State, default=State.EXPECTED)
    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.PROTECT, related_name="payments")
    organization = models.ForeignKey(Organization, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    checkout = models.OneToOneField(Checkout, null=True, blank=True, on_delete=models.PROTECT, related_name="payment")
    attempt = models.OneToOneField(
        TopUpAttempt, null=True, blank=True, on_delete=models.PROTECT, related_name="payment"
    )
    amount_minor = models.BigIntegerField(null=True, blank=True)
    currency = models.CharField(max_length=3, blank=True)
    refunded_minor = models.BigIntegerField(default=0, help_text="in all, as the provider last said")
    entry = models.OneToOneField(
        Entry, null=True, blank=True, on_delete=models.PROTECT, related_name="+", help_text="that gave the credits"
    )
    note = models.CharField(max_length=500, blank=True)
    paid_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = TenantQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["provider", "provider_payment_id"], name="payment_once"),
            models.CheckConstraint(
                condition=~Q(state="paid")
                | Q(team__isnull=False, organization__isnull=False, amount_minor__gt=0, entry__isnull=False),
                name="payment_paid",
            ),
            models.CheckConstraint(condition=Q(refunded_minor__gte=0), name="payment_refunded"),
        ]

    def __str__(self) -> str:
        return self.provider_payment_id

    @property
    def status(self) -> str:
        """The state, or what became of the money since."""
        if self.state != self.State.PAID or not self.refunded_minor:
            return self.state
        return "refunded" if self.refunded_minor >= (self.amount_minor or 0) else "partially_refunded"


class Dispute(models.Model):
    """A payment that the payer's bank takes back, for now or for good."""

    class State(models.TextChoices):
        OPEN = "open"
        WON = "won"
        LOST = "lost"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="disputes")
    provider_dispute_id = models.CharField(max_length=255, unique=True)
    state = models.CharField(max_length=8, choices=State, default=State.OPEN)
    reason = models.CharField(max_length=255, blank=True)
    taken_back_micros = models.BigIntegerField(default=0)
    returned_micros = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(taken_back_micros__gte=0, returned_micros__gte=0), name="dispute_amounts"
            )
        ]

    def __str__(self) -> str:
        return f"{self.state} dispute of {self.payment}"


class WebhookEvent(models.Model):
    """An event that a provider sent, handled once. Its content is not kept."""

    class Outcome(models.TextChoices):
        APPLIED = "applied"
        IGNORED = "ignored"
        FLAGGED = "flagged"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    provider = models.CharField(max_length=16)
    event_id = models.CharField(max_length=255)
    type = models.CharField(max_length=100)
    outcome = models.CharField(max_length=8, choices=Outcome, default=Outcome.IGNORED)
    note = models.CharField(max_length=500, blank=True)
    payment = models.ForeignKey(Payment, null=True, blank=True, on_delete=models.PROTECT, related_name="events")
    received_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["provider", "event_id"], name="webhook_event_once")]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"


class SavedMethod(models.Model):
    """A team's payment method at the provider: ids alone, no card data."""

    team = models.OneToOneField(Team, on_delete=models.PROTECT, primary_key=True, related_name="saved_method")
    provider = models.CharField(max_length=16)
    customer_id = models.CharField(max_length=255)
    method_id = models.CharField(max_length=255)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"payment method of {self.team}"


class CurrencyRate(models.Model):
    """What a dollar is in another currency from an instant on. Never changed: a later rate follows it."""

    id = models.BigAutoField(primary_key=True)
    currency = models.CharField(max_length=3, help_text="ISO 4217")
    units_per_usd_ppb = models.BigIntegerField(help_text="billionths of a unit for a dollar")
    valid_from = models.DateTimeField()
    created_by = models.CharField(max_length=255)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["currency", "-valid_from"]
        constraints = [
            models.UniqueConstraint(fields=["currency", "valid_from"], name="currency_rate_once"),
            models.CheckConstraint(condition=Q(units_per_usd_ppb__gt=0), name="currency_rate_positive"),
            models.CheckConstraint(
                condition=Q(currency__regex="^[A-Z]{3}$") & ~Q(currency="USD"), name="currency_rate_currency"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.currency} from {self.valid_from:%Y-%m-%d %H:%M}"
