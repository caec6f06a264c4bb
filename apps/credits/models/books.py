"""Sealed blocks of entries, and closed months. Never changed (docs/ledger.md, "Closed books")."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from apps.core.clock import iso
from apps.credits.models.accounts import Account


class Block(models.Model):
    """An account's entries `first_seq` to `last_seq` as they were when they were sealed.

    `digests` has 16 bytes for each of them, so that a changed one is not only noticed but found.
    """

    id = models.BigAutoField(primary_key=True)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="blocks", db_index=False)
    number = models.PositiveIntegerField(help_text="1, 2, 3 … on its account")
    version = models.PositiveSmallIntegerField(help_text="of what a digest covers")
    first_seq = models.BigIntegerField()
    last_seq = models.BigIntegerField()
    digests = models.BinaryField()
    previous_hash = models.CharField(max_length=64, blank=True, help_text="of the block before; empty for the first")
    hash = models.CharField(max_length=64, help_text="SHA-256 of all of the above")
    sealed_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["account", "number"], name="block_number_once"),
            models.UniqueConstraint(fields=["account", "first_seq"], name="block_first_seq_once"),
            models.CheckConstraint(condition=Q(first_seq__gte=1, last_seq__gte=F("first_seq")), name="block_range"),
        ]

    def __str__(self) -> str:
        return f"block {self.number} of account {self.account_id}: entries {self.first_seq} to {self.last_seq}"


class Period(models.Model):
    """A month (in UTC) whose books are closed: what belongs to it is recorded by each account's sequence."""

    name = models.CharField(primary_key=True, max_length=7, help_text="YYYY-MM")
    ends_at = models.DateTimeField(help_text="the first instant that is no longer in it")
    closed_by = models.CharField(max_length=255)
    closed_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-name"]

    def __str__(self) -> str:
        return f"{self.name}, closed at {iso(self.closed_at)}"


class PeriodBalance(models.Model):
    """An account at the end of a closed period: its last entry of it, and what was posted after that one."""

    id = models.BigAutoField(primary_key=True)
    period = models.ForeignKey(Period, on_delete=models.PROTECT, related_name="balances")
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+")
    last_seq = models.BigIntegerField()
    posted_micros = models.BigIntegerField()
    block_hash = models.CharField(max_length=64, help_text="of the block that has that entry")

    class Meta:
        ordering = ["period", "account"]
        constraints = [models.UniqueConstraint(fields=["period", "account"], name="period_balance_once")]

    def __str__(self) -> str:
        return f"account {self.account_id} at the end of {self.period_id}: entry {self.last_seq}"
