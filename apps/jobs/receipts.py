"""Why a job cost what it did: its calls, holds, entries and the grants that paid, and an arithmetic that adds up.

Reads only, in a constant number of queries.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from django.db.models import Q

from apps.core.ids import parse_uuid
from apps.core.money import MICROS, NANOUSD, PPM, exact_credits
from apps.credits.models import Entry, GrantUse, Hold, RateCardVersion
from apps.credits.pricing import Mode, Rounding, Terms
from apps.jobs import lifecycle
from apps.jobs.models import Attempt, Call, Job

ChargeState = Job.ChargeState


@dataclass(frozen=True, slots=True)
class Line:
    """A summand of what a job came to, in micros, and why."""

    micros: int
    why: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is recorded of a job. `version` is the card's that prices it; none for the platform's default."""

    job: Job
    terms: Terms | None
    version: RateCardVersion | None
    calls: list[Call]
    attempts: dict[Any, list[Attempt]]
    holds: list[Hold]
    entries: list[Entry]
    uses: dict[Any, list[GrantUse]]

    @property
    def refunded_micros(self) -> int:
        return sum(entry.amount_micros for entry in self.entries if entry.kind == Entry.Kind.REFUND)

    @property
    def net_micros(self) -> int:
        return self.job.charged_micros - self.refunded_micros


def of(job: Job) -> Receipt:
    """The receipt of a job, which was loaded with its team."""
    terms = lifecycle.terms_of(job)
    calls = list(Call.objects.filter(job=job).order_by("created_at", "id"))
    attempts: dict[Any, list[Attempt]] = defaultdict(list)
    for attempt in Attempt.objects.filter(call__job=job).order_by("started_at", "id"):
        attempts[attempt.call_id].append(attempt)
    owned = Q(debit_account__team=job.team_id) | Q(credit_account__team=job.team_id)
    entries = list(Entry.objects.filter(owned, job=str(job.pk)).order_by("created_at", "id"))
    uses: dict[Any, list[GrantUse]] = defaultdict(list)
    for use in GrantUse.objects.filter(entry__in=entries).select_related("grant").order_by("id"):
        uses[use.entry_id].append(use)
    holds = Hold.objects.filter(job=str(job.pk), account__team=job.team_id).order_by("opened_at", "id")
    return Receipt(job, terms, _version(terms), calls, attempts, list(holds), entries, uses)


def _version(terms: Terms | None) -> RateCardVersion | None:
    version_id = parse_uuid(terms.card) if terms is not None else None
    if version_id is None:
        return None
    return RateCardVersion.objects.select_related("card").filter(pk=version_id).first()


def arithmetic(receipt: Receipt, *, show_costs: bool) -> list[Line]:
    """What the job came to, summand by summand: together they are its charge less its refunds.

    Without `show_costs` nothing tells the cost in dollars, or lets it be worked out.
    """
    job, terms = receipt.job, receipt.terms
    if job.charge_state != ChargeState.CHARGED or terms is None:
        return []
    price = lifecycle.price_so_far(job, terms)
    lines = _price_lines(job, terms, price, show_costs=show_costs)
    due = job.charged_micros + job.uncollected_micros
    lines.append(Line(due - price, lifecycle.due_of(job, terms).explanation))
    lines += _uncollected_lines(job, due)
    lines.append(Line(-receipt.refunded_micros, "refunded"))
    return _said(lines)


def explanation(receipt: Receipt, *, show_costs: bool) -> str:
    """The arithmetic in one line, or why nothing was charged."""
    job = receipt.job
    lines = arithmetic(receipt, show_costs=show_costs)
    if lines:
        return f"{_credits(receipt.net_micros)} = {_sum(lines)}"
    if not job.is_closed:
        so_far = lifecycle.price_so_far(job, receipt.terms) if receipt.terms and job.successful_calls else 0
        return f"Not charged yet: the job is open. So far it comes to {_credits(so_far)}."
    if job.charge_state == ChargeState.PENDING:
        return f"Not charged yet: the charge waits for calls that are still open ({job.open_calls})."
    return f"0 credits: {_why_free(job, receipt.terms)}."


def _price_lines(job: Job, terms: Terms, price: int, *, show_costs: bool) -> list[Line]:
    """What was used by the card's rate, and what rounding, minimum and ceiling make of it."""
    is_hybrid = terms.is_metered and terms.mode == Mode.HYBRID
    lines = [Line(terms.price_micros, "the flat price of a job")] if is_hybrid else []
    used = _used(job, terms, show_costs=show_costs)
    if used is None:
        why = "the price by its card, rounded" if terms.is_metered else "the flat price of a job"
        lines.append(Line(price - _total(lines), "beyond what that includes, rounded" if is_hybrid else why))
        return _said(lines)
    exact, why = used
    lines.append(Line(int(exact), why))
    if terms.rounding != Rounding.NONE:
        up = terms.rounding == Rounding.UP
        whole = (-(-exact // MICROS) if up else exact // MICROS) * MICROS
        lines.append(Line(whole - int(exact), f"rounded {'up' if up else 'down'} to whole credits"))
    so_far = _total(lines)
    if not is_hybrid and so_far < terms.minimum_micros:
        lines.append(Line(terms.minimum_micros - so_far, f"up to the minimum of {_credits(terms.minimum_micros)}"))
    ceiling = terms.ceiling_micros
    if ceiling is not None and _total(lines) > ceiling:
        lines.append(Line(ceiling - _total(lines), f"down to its card's ceiling of {_credits(ceiling)}"))
    return _said(lines)


def _used(job: Job, terms: Terms, *, show_costs: bool) -> tuple[Fraction, str] | None:
    """Micros by a metered card's rate, exactly, and the rate in words; None for other cards."""
    if not terms.is_metered:
        return None
    if terms.mode == Mode.METERED_TOKENS or terms.allowance_tokens is not None:
        included = terms.allowance_tokens or 0
        tokens = max(0, job.total_tokens - included)
        beyond = f" beyond the {included} that are included" if terms.mode == Mode.HYBRID else ""
        rate = f"at {terms.tokens_per_credit} tokens per credit"
        return Fraction(tokens * MICROS, terms.tokens_per_credit), f"{tokens} tokens{beyond} {rate}"
    if not show_costs:
        return None
    markup = Fraction(PPM + terms.markup_ppm, PPM * NANOUSD)
    # An allowance is of the provider's cost; told is what the team sees of costs.
    included = terms.allowance_nanousd or 0
    usd = max(0, lifecycle.work_of(job).billed_nanousd - included) * markup
    text = f"${_decimal(usd, places=15)}"
    if terms.mode == Mode.HYBRID:
        text += f" beyond the ${_decimal(included * markup, places=15)} that are included"
    if job.billed_lost_nanousd:
        text += f", failed tries for ${_decimal(job.billed_lost_nanousd * markup, places=15)} among them,"
    # A cost of nano-dollars and a markup of millionths: fifteen places are all of it.
    return usd * terms.micros_per_usd, f"{text} at {exact_credits(terms.micros_per_usd)} credits per dollar"


def _uncollected_lines(job: Job, due: int) -> list[Line]:
    beyond = 0 if job.max_micros is None else max(0, due - job.max_micros)
    return [
        Line(-beyond, "beyond its max_credits"),
        Line(beyond - job.uncollected_micros, "could not be collected"),
    ]


def _why_free(job: Job, terms: Terms | None) -> str:
    if job.total_calls == 0 or terms is None:
        return "no call was made"
    if job.status == Job.Status.COMPLETED and job.successful_calls == 0:
        return "no call succeeded"
    return f"{lifecycle.due_of(job, terms).explanation} (its card's policy)"


def _total(lines: Iterable[Line]) -> int:
    return sum(line.micros for line in lines)


def _said(lines: list[Line]) -> list[Line]:
    """The first, and of the others those that change something."""
    return [lines[0], *(line for line in lines[1:] if line.micros)]


def _sum(lines: Iterable[Line]) -> str:
    text = ""
    for line in lines:
        sign = "" if not text else " - " if line.micros < 0 else " + "
        amount = abs(line.micros) if text else line.micros
        text += f"{sign}{exact_credits(amount)} ({line.why})"
    return text


def _credits(micros: int) -> str:
    return f"{exact_credits(micros)} {'credit' if micros == MICROS else 'credits'}"


def _decimal(value: Fraction, *, places: int) -> str:
    """A value of so many decimal places at most, without trailing zeros."""
    whole, rest = divmod(int(value * 10**places), 10**places)
    return f"{whole}.{rest:0{places}d}".rstrip("0").rstrip(".")
