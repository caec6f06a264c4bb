"""Accounts, immutable entries, holds and grants: the ledger. Only `ledger` writes them (docs/ledger.md).

Invariants: posted = allocated - used = sum of grants' remains - debt; held = sum of open holds; `seq` is gapless.
"""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from apps.core.ids import new_id
from apps.core.money import exact_credits
from apps.organizations.models import Organization
from apps.teams.models import Team

# System accounts have fixed ids, so that posting to them needs no lookup. They carry no balance: one global
# revenue row updated by every charge would serialise all tenants.
ISSUED_ID = -1
REVENUE_ID = -2
EXPIRED_ID = -3
SYSTEM_ACCOUNTS = {ISSUED_ID: "issued", REVENUE_ID: "revenue", EXPIRED_ID: "expired"}


class Account(models.Model):
    """A team's wallet, an organization's pool, or a system account. All amounts in micros of a credit."""

    class Kind(models.TextChoices):
        WALLET = "wallet"
        POOL = "pool"
        SYSTEM = "system"

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=8, choices=Kind)
    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.PROTECT, related_name="accounts")
    organization = models.ForeignKey(
        Organization, null=True, blank=True, on_delete=models.PROTECT, related_name="accounts"
    )
    system_name = models.CharField(max_length=16, blank=True)
    restriction = models.CharField(
        max_length=255,
        blank=True,
        help_text="job types its grants are restricted to, sorted, comma-separated",
    )
    posted_micros = models.BigIntegerField(default=0)
    held_micros = models.BigIntegerField(default=0)
    debt_micros = models.BigIntegerField(
        default=0, help_text="spent on the credit line, or taken back after spending"
    )
    credit_line_micros = models.BigIntegerField(default=0, help_text="how far below zero it may be spent")
    allocated_micros = models.BigIntegerField(default=0, help_text="granted less expired, reclaimed and reversed")
    used_micros = models.BigIntegerField(default=0, help_text="charged less refunded")
    seq = models.BigIntegerField(default=0, help_text="entries so far; each side of an entry has its number")
    # Both are guards of a hold's one statement: while either tells of more to be decided, it is made the longer way.
    next_expiry_at = models.DateTimeField(
        null=True, blank=True, help_text="no lot with something left expires before this"
    )
    has_restricted = models.BooleanField(
        default=False,
        db_default=False,
        help_text="of a general wallet: its team has wallets restricted to job types beside it",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["team", "restriction"], condition=Q(kind="wallet"), name="account_wallet_once"
            ),
            models.UniqueConstraint(fields=["organization"], condition=Q(kind="pool"), name="account_pool_once"),
            models.UniqueConstraint(fields=["system_name"], condition=Q(kind="system"), name="account_system_once"),
            models.CheckConstraint(
                condition=Q(kind="wallet", team__isnull=False)
                | Q(kind="pool", organization__isnull=False)
                | Q(kind="system", posted_micros=0, held_micros=0, seq=0),
                name="account_owner",
            ),
            models.CheckConstraint(condition=Q(held_micros__gte=0), name="account_held"),
            models.CheckConstraint(condition=Q(debt_micros__gte=0), name="account_debt"),
            models.CheckConstraint(condition=Q(credit_line_micros__gte=0), name="account_credit_line"),
            # Debt is in it because a reversal may take back what was spent (decision 0003); every hold and
            # charge is guarded by posted - held + credit_line alone.
            models.CheckConstraint(
                condition=Q(posted_micros__gte=F("held_micros") - F("credit_line_micros") - F("debt_micros")),
                name="account_never_overdrawn",
            ),
            models.CheckConstraint(
                condition=Q(posted_micros=F("allocated_micros") - F("used_micros")),
                name="account_posted_explained",
            ),
            models.CheckConstraint(
                condition=Q(restriction="") | Q(kind="wallet", credit_line_micros=0, has_restricted=False),
                name="account_restriction",
            ),
        ]
        indexes = [
            models.Index(fields=["next_expiry_at"], condition=Q(next_expiry_at__isnull=False), name="account_expiry")
        ]

    def __str__(self) -> str:
        return self.system_name or f"{self.kind} of {self.team or self.organization}"


class Entry(models.Model):
    """Posted money, from one account to another, in one row. Never changed: a correction is another entry."""

    class Kind(models.TextChoices):
        GRANT = "grant"
        ALLOCATE = "allocate"
        RECLAIM = "reclaim"
        CHARGE = "charge"
        REFUND = "refund", "reversal of a charge"
        TAKE_BACK = "take_back", "reversal of a grant"
        EXPIRE = "expire"
        ADJUST = "adjust"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=12, choices=Kind)
    debit_account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="debits")
    credit_account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="credits")
    amount_micros = models.BigIntegerField()
    debit_seq = models.BigIntegerField(null=True, help_text="number on the debited side, none for a system account")
    debit_balance_micros = models.BigIntegerField(null=True, help_text="posted there afterwards")
    credit_seq = models.BigIntegerField(null=True, help_text="number on the credited side")
    credit_balance_micros = models.BigIntegerField(null=True, help_text="posted there afterwards")
    job = models.CharField(max_length=64, blank=True, help_text="the job that was charged or refunded")
    source = models.CharField(max_length=255, blank=True, help_text="what caused it, as kind:id")
    actor = models.CharField(max_length=255)
    reason = models.CharField(max_length=500, blank=True)
    idempotency_key = models.CharField(max_length=400, unique=True, help_text="operation:scope:key")
    external_id = models.CharField(max_length=255, null=True, blank=True, unique=True, help_text="payment reference")
    reverses = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="reversals")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name_plural = "entries"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(condition=Q(amount_micros__gt=0), name="entry_amount"),
            models.CheckConstraint(condition=~Q(debit_account=F("credit_account")), name="entry_two_accounts"),
            # The last wall against charging a job twice.
            models.UniqueConstraint(
                fields=["job", "debit_account"], condition=Q(kind="charge"), name="entry_job_charged_once"
            ),
            models.UniqueConstraint(fields=["debit_account", "debit_seq"], name="entry_debit_seq"),
            models.UniqueConstraint(fields=["credit_account", "credit_seq"], name="entry_credit_seq"),
        ]
        indexes = [
            models.Index(fields=["job"], condition=~Q(job=""), name="entry_job"),
            models.Index(fields=["-created_at", "-id"], name="entry_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {exact_credits(self.amount_micros)} credits"


class Hold(models.Model):
    """What a job reserves on a wallet until it is charged or released. The one mutable row of a job's money."""

    class State(models.TextChoices):
        OPEN = "open"
        CHARGED = "charged"
        RELEASED = "released"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="holds")
    job = models.CharField(max_length=64)
    amount_micros = models.BigIntegerField()
    state = models.CharField(max_length=8, choices=State, default=State.OPEN)
    opened_at = models.DateTimeField(db_default=Now(), editable=False)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "account"], name="hold_once_per_job"),
            models.CheckConstraint(condition=Q(amount_micros__gte=0), name="hold_amount"),
            models.CheckConstraint(
                condition=Q(state="open", closed_at__isnull=True) | Q(state__in=["charged", "released"]),
                name="hold_state",
            ),
        ]
        indexes = [models.Index(fields=["account"], condition=Q(state="open"), name="hold_open")]

    def __str__(self) -> str:
        return f"{self.state} hold of {exact_credits(self.amount_micros)} credits for job {self.job}"


class Grant(models.Model):
    """A lot of credits. Every credit belongs to one; a charge burns the lowest priority number first."""

    class Kind(models.TextChoices):
        PAID = "paid"
        PROMOTIONAL = "promotional"
        GOODWILL = "goodwill"
        SUBSCRIPTION = "subscription"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="grants")
    entry = models.ForeignKey(Entry, on_delete=models.PROTECT, related_name="grants", help_text="what created it")
    kind = models.CharField(max_length=12, choices=Kind, default=Kind.PAID)
    priority = models.SmallIntegerField(help_text="lower burns first; promotional 10, goodwill 20, others 50")
    amount_micros = models.BigIntegerField()
    remaining_micros = models.BigIntegerField()
    effective_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True, blank=True)
    price_nanousd_per_credit = models.BigIntegerField(
        null=True, blank=True, help_text="what a credit of it was sold for"
    )
    source_grant = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="allocations"
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["priority", F("expires_at").asc(nulls_last=True), "id"]
        constraints = [
            models.CheckConstraint(condition=Q(amount_micros__gt=0), name="grant_amount"),
            models.CheckConstraint(
                condition=Q(remaining_micros__gte=0, remaining_micros__lte=F("amount_micros")),
                name="grant_remaining",
            ),
        ]
        indexes = [models.Index(fields=["account"], condition=Q(remaining_micros__gt=0), name="grant_not_empty")]

    def __str__(self) -> str:
        remaining, amount = exact_credits(self.remaining_micros), exact_credits(self.amount_micros)
        return f"{self.kind} grant, {remaining} of {amount} credits left"


class GrantUse(models.Model):
    """Which grant paid how much of an entry; negative when an entry gave it back."""

    id = models.BigAutoField(primary_key=True)
    entry = models.ForeignKey(Entry, on_delete=models.PROTECT, related_name="uses")
    grant = models.ForeignKey(Grant, on_delete=models.PROTECT, related_name="uses")
    amount_micros = models.BigIntegerField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~Q(amount_micros=0), name="grant_use_amount"),
            models.UniqueConstraint(fields=["entry", "grant"], name="grant_use_once"),
        ]

    def __str__(self) -> str:
        return f"{exact_credits(self.amount_micros)} credits of grant {self.grant_id}"
