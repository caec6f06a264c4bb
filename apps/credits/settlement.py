"""What a closed job owes, by its terms and by how it ended as the server saw it (docs/rate-cards.md, "Policies").

Pure. Nothing is ever due above the price of what was used, so that a hold for that price covers every outcome.
"""

from dataclasses import dataclass
from enum import StrEnum

from apps.credits import pricing
from apps.credits.pricing import AbandonedPolicy, PartlyPolicy, Policy, Terms


class Verdict(StrEnum):
    """How a job was closed: by its caller, or by nobody until the sweeper did."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Work:
    """What a job's calls came to. `billed_lost_nanousd` is what failed tries cost beyond those that are included."""

    successful_calls: int
    failed_calls: int
    tokens: int
    provider_nanousd: int
    billed_lost_nanousd: int = 0

    @property
    def billed_nanousd(self) -> int:
        return self.provider_nanousd + self.billed_lost_nanousd


@dataclass(frozen=True, slots=True)
class Due:
    """Micros owed, and why in a few words. `by_policy`: not the whole price of a completed job."""

    micros: int
    explanation: str
    by_policy: bool = True


def price_of(terms: Terms, work: Work) -> int:
    """Micros for what was used: the most that can be due."""
    return pricing.price(terms, provider_nanousd=work.billed_nanousd, tokens=work.tokens)


def due(terms: Terms, verdict: Verdict, work: Work) -> Due:
    """What the job owes now that all its calls have ended.

    A job that was completed without a successful call has failed, whatever its caller says.
    """
    if verdict == Verdict.ABANDONED:
        if terms.on_abandoned == AbandonedPolicy.FREE:
            return Due(0, "abandoned: free")
        verdict = Verdict.COMPLETED
    if verdict == Verdict.COMPLETED and work.successful_calls:
        if not work.failed_calls or terms.on_partly_failed == PartlyPolicy.FULL:
            return Due(price_of(terms, work), "completed: the price", by_policy=False)
        calls = work.successful_calls + work.failed_calls
        return _by(terms.on_partly_failed, terms, work, "partly failed", work.successful_calls, calls)
    if verdict == Verdict.CANCELLED:
        return _by(terms.on_cancelled, terms, work, "cancelled", terms.policy_percent, 100)
    return _by(terms.on_failed, terms, work, "failed", terms.policy_percent, 100)


def waits_for_open_calls(terms: Terms, verdict: Verdict, *, successful_calls: int) -> bool:
    """Whether what is due can still change by calls that have not ended.

    A metered price is known when the last call has ended; a flat one once a call has succeeded: completing before
    the answer would be a free ride.
    """
    if verdict == Verdict.CANCELLED:
        return terms.on_cancelled != Policy.FREE
    if verdict == Verdict.FAILED:
        return terms.on_failed != Policy.FREE
    return terms.is_metered or terms.on_partly_failed != PartlyPolicy.FULL or not successful_calls


def billed_of_try(terms: Terms, *, tries: int, nanousd: int) -> int:
    """Nano-dollars of the next failed try that are the customer's, after so many that cost something: none while
    the card includes it."""
    return 0 if terms.included_tries is None or tries < terms.included_tries else nanousd


def _by(policy: str, terms: Terms, work: Work, what: str, part: int, whole: int) -> Due:
    if policy == Policy.COST:
        cost = pricing.cost_micros(terms, work.billed_nanousd)
        return Due(min(cost, price_of(terms, work)), f"{what}: at cost")
    if policy == Policy.PERCENT:
        # Where nothing was served there is nothing to have a share of.
        micros = price_of(terms, work) * part // whole if work.successful_calls else 0
        share = f"{part} of {whole} calls" if what == "partly failed" else f"{part} percent"
        return Due(micros, f"{what}: {share}")
    return Due(0, f"{what}: free")
