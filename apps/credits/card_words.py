"""Terms of rate cards in words: a version in a line, and what example jobs would cost."""

from decimal import Decimal

from apps.core import clock
from apps.core.admin_columns import exact_percent, exact_usd, with_unit
from apps.core.money import NANOUSD, exact_credits
from apps.credits import pricing, settlement
from apps.credits.models import RateCardVersion
from apps.credits.pricing import Terms
from apps.credits.settlement import Verdict, Work

# Jobs of which a card's page shows the price: provider cost in dollars, tokens.
_EXAMPLES = ((Decimal("0.01"), 2_000), (Decimal("0.10"), 20_000), (Decimal(1), 200_000), (Decimal(10), 2_000_000))


def preview(terms: Terms) -> list[tuple[str, str]]:
    """What example jobs would cost by these terms, by how they end."""
    return [
        (
            f"a job of {exact_usd(int(usd * NANOUSD))} USD and {tokens:,} tokens",
            ", ".join(
                f"{label} {with_unit(settlement.due(terms, verdict, _work(usd, tokens, failed_calls)).micros)}"
                for label, verdict, failed_calls in _ENDS
            ),
        )
        for usd, tokens in _EXAMPLES
    ]


_ENDS = (
    ("completed", Verdict.COMPLETED, 0),
    ("half its calls failed", Verdict.COMPLETED, 1),
    ("failed", Verdict.FAILED, 0),
    ("cancelled", Verdict.CANCELLED, 0),
    ("abandoned", Verdict.ABANDONED, 0),
)


def _work(usd: Decimal, tokens: int, failed_calls: int) -> Work:
    return Work(successful_calls=1, failed_calls=failed_calls, tokens=tokens, provider_nanousd=int(usd * NANOUSD))


def described(version: RateCardVersion) -> str:
    """A version in a line, with its first instant."""
    since = "" if version.state == RateCardVersion.State.DRAFT else f", from {clock.iso(version.effective_from)}"
    return f"{in_words(version)}{since}"


def in_words(version: RateCardVersion) -> str:
    """What a job costs by a version."""
    terms = pricing.terms_of(version)
    markup = f"{exact_percent(terms.markup_ppm)} %"
    parts = {
        "flat": f"{with_unit(terms.price_micros)} a job",
        "metered_usd": f"{exact_credits(terms.micros_per_usd)} credits per dollar, {markup} markup",
        "metered_tokens": f"{terms.tokens_per_credit} tokens per credit",
        "hybrid": f"{with_unit(terms.price_micros)} up to an allowance, then metered",
    }
    ceiling = "" if terms.ceiling_micros is None else f", at most {with_unit(terms.ceiling_micros)}"
    return f"{parts[terms.mode]}{ceiling}"
