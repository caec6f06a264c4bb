"""The ledger's tables, and those of rate cards, closed books and credits to come (docs/ledger.md)."""

from apps.credits.models.accounts import (
    EXPIRED_ID,
    ISSUED_ID,
    REVENUE_ID,
    SYSTEM_ACCOUNTS,
    Account,
    Entry,
    Grant,
    GrantUse,
    Hold,
)
from apps.credits.models.books import Block, Period, PeriodBalance
from apps.credits.models.cards import BillingSettings, RateCard, RateCardVersion
from apps.credits.models.offers import Allowance, Redemption, ScheduledGrant, Voucher

__all__ = [
    "EXPIRED_ID",
    "ISSUED_ID",
    "REVENUE_ID",
    "SYSTEM_ACCOUNTS",
    "Account",
    "Allowance",
    "BillingSettings",
    "Block",
    "Entry",
    "Grant",
    "GrantUse",
    "Hold",
    "Period",
    "PeriodBalance",
    "RateCard",
    "RateCardVersion",
    "Redemption",
    "ScheduledGrant",
    "Voucher",
]
