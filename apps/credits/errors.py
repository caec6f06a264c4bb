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


class RateCardExists(InvalidRequest):
    """Raised when the owner has a card for the job type."""

    code = "rate_card_exists"


class RateCardNotFound(NotFound):
    """Raised when there is no such card, or no such version of it."""

    code = "rate_card_not_found"


class VersionNotDraft(Conflict):
    """Raised when a version that was activated would be changed, or a card would have a second draft."""

    code = "version_not_draft"
