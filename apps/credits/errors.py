"""Rules of the ledger that a request can break."""

from apps.core.errors import Conflict, InvalidRequest, NotAllowed, NotFound


class InsufficientCredits(NotAllowed):
    """Raised when a hold or an adjustment needs more than can be spent."""

    code = "insufficient_credits"


class NoCreditAccount(NotFound):
    """Raised when a team never had credits."""

    code = "no_credit_account"


class ReversalExceedsEntry(InvalidRequest):
    """Raised when reversals of an entry would sum to more than it."""

    code = "reversal_exceeds_entry"


class EntryNotFound(NotFound):
    """Raised when there is no entry of that id."""

    code = "entry_not_found"


class EntryNotReversible(InvalidRequest):
    """Raised when the entry is of a kind that is not reversed."""

    code = "entry_not_reversible"


class PricesMissing(NotAllowed):
    """Raised when a job is metered in USD and the model has no price: never sold for free."""

    code = "prices_missing"


class HoldClosed(Conflict):
    """Raised when a job whose hold was charged or released needs credits held again."""

    code = "hold_closed"
    message = "The job's credits were charged or released before."


class PoolTooSmall(InvalidRequest):
    """Raised when an allocation needs more than the organization's pool has."""

    code = "pool_too_small"
    message = "The organization's pool has fewer credits than that."


class ReclaimExceedsAllocation(InvalidRequest):
    """Raised when less is left in a wallet of what its pool allocated, or holds need it."""

    code = "reclaim_exceeds_allocation"
    message = "The team has fewer credits left that came from the pool and that no job holds."


class CreditLineInUse(InvalidRequest):
    """Raised when a credit line would become smaller than what is used of it."""

    code = "credit_line_in_use"


class PeriodNotClosable(Conflict):
    """Raised when a month is to be closed while it runs, or before the one that precedes it."""

    code = "period_not_closable"


class ScheduledGrantNotFound(NotFound):
    """Raised when a team has no such scheduled grant."""

    code = "scheduled_grant_not_found"


class VoucherNotFound(NotFound):
    """Raised when there is no voucher of that code, or none for this customer."""

    code = "voucher_not_found"
    message = "There is no voucher of this code. Check it for a typing error."


class VoucherNotUsable(InvalidRequest):
    """Raised when a voucher is expired, used up or withdrawn."""

    code = "voucher_not_usable"


class VoucherRedeemed(InvalidRequest):
    """Raised when a team redeems a voucher again."""

    code = "voucher_redeemed"
    message = "Your team has redeemed this voucher before."


class RateCardExists(InvalidRequest):
    """Raised when the owner has a card for the job type."""

    code = "rate_card_exists"


class RateCardNotFound(NotFound):
    """Raised when there is no such card, or no such version of it."""

    code = "rate_card_not_found"


class VersionNotDraft(Conflict):
    """Raised when a version that was activated would be changed, or a card would have a second draft."""

    code = "version_not_draft"
