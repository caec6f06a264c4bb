"""What happened to a job, in one true sentence: its end, who closed it, what it cost and why."""

from apps.console import formats
from apps.jobs import receipts
from apps.jobs.models import Job
from apps.jobs.receipts import Receipt

_CLOSERS = {
    "call": "when its last call ended",
    "sweeper": "by the sweeper, as nothing happened in it",
    "deadline": "at its deadline",
    "operator": "by an operator",
}


def sentence(receipt: Receipt) -> str:
    """The answer to "what happened to this job, and why did it cost that?"."""
    return f"{_end(receipt.job)} {_calls(receipt.job)} {cost(receipt)}"


def cost(receipt: Receipt) -> str:
    """What it came to, with its card and the arithmetic."""
    job, why = receipt.job, receipts.explanation(receipt, show_costs=True)
    if job.charge_state == Job.ChargeState.CHARGED and job.charged_micros:
        back = (
            f" {formats.credits_in_words(receipt.refunded_micros)} of it refunded." if receipt.refunded_micros else ""
        )
        owed = f" {formats.credits_in_words(job.uncollected_micros)} uncollected." if job.uncollected_micros else ""
        charged = f"Charged {formats.credits_in_words(job.charged_micros)} by {card(receipt)}"
        return f"{charged}: {why.removesuffix('.')}.{back}{owed}"
    held = f" {formats.credits_in_words(job.held_micros)} held." if job.held_micros else ""
    return f"{why}{held}"


def card(receipt: Receipt) -> str:
    """The card that prices it, with its version."""
    if receipt.version is None:
        return "the platform's default"
    return f"card {receipt.version.card.job_type or 'for all job types'} v{receipt.version.number}"


def closer(closed_by: str) -> str:
    """Who closed a job, as an adverbial phrase."""
    if closed_by.startswith("key:"):
        return "by its client"
    return _CLOSERS.get(closed_by.partition(":")[0], f"by {closed_by}" if closed_by else "")


def _end(job: Job) -> str:
    if not job.is_closed:
        reason = f": {job.paused_reason}" if job.paused_reason else ""
        return f"{job.status.replace('_', ' ').capitalize()}{reason}."
    said = f": {job.error_message.rstrip('.')}" if job.error_message else ""
    return f"{job.status.capitalize()} {closer(job.closed_by)}".rstrip() + f"{said}."


def _calls(job: Job) -> str:
    if not job.total_calls:
        return "No calls."
    text = "1 call" if job.total_calls == 1 else f"{formats.count(job.total_calls)} calls"
    beside = [f"{job.failed_calls} failed"] if job.failed_calls else []
    beside += [f"{job.open_calls} open"] if job.open_calls else []
    return f"{text}{', ' if beside else ''}{', '.join(beside)}."
