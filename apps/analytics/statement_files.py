"""Monthly statements as files: what the API answers and the console gives to download.

Amounts are exact decimal strings of credits, so that they add up.
"""

from collections.abc import Iterator
from typing import Any

from apps.analytics import statements
from apps.core.clock import iso
from apps.core.money import exact_credits
from apps.core.spreadsheets import Number
from apps.credits import history
from apps.credits.billing import Posting
from apps.credits.history import Month, Movement, Span
from apps.credits.models import Account, Entry
from apps.jobs.receipt_wire import TRANSACTION_TYPES

COLUMNS = (
    "date",
    "account",
    "team_id",
    "number",
    "kind",
    "credits",
    "balance",
    "job_id",
    "reason",
    "transaction_id",
)


# Grants that were paid for say so.
PAYMENT_TYPES = {"payment:subscription": "subscription_payment", "payment:one_time": "one_time_payment"}


def transaction_type(entry: Entry) -> str:
    """The kind of an entry in the wire's words."""
    return PAYMENT_TYPES.get(entry.source) or TRANSACTION_TYPES[entry.kind]


def as_json(month: Month, limit: int, offset: int) -> dict[str, Any]:
    """The statement with a page of its entries."""
    movements = history.movements(month.spans)
    return {
        "period": month.name,
        "starts_at": iso(month.starts_at),
        "ends_at": iso(month.ends_at),
        "final": month.closed_at is not None,
        "closed_at": iso(month.closed_at),
        "opening_balance": exact_credits(sum(span.opening_micros for span in month.spans)),
        "closing_balance": exact_credits(sum(span.closing_micros for span in month.spans)),
        "movements": [_movement(each) for each in statements.by_kind(movements).values()],
        "accounts": _accounts(month, movements),
        "by_job_type": {
            job_type: {
                "jobs": line.jobs,
                "credits_charged": exact_credits(line.charged_micros),
                "credits_refunded": exact_credits(line.refunded_micros),
            }
            for job_type, line in statements.charged_by_job_type(month).items()
        },
        "expiring": [
            {
                **_account(lot.account),
                "grant_id": str(lot.pk),
                "kind": lot.kind,
                "credits_left": exact_credits(left),
                "expires_at": iso(lot.expires_at),
            }
            for lot, left in statements.expiring(month)
        ],
        "total_entries": month.entries,
        "entries": [_entry(*each) for each in history.postings(month.spans, limit=limit, offset=offset)],
    }


def _accounts(month: Month, movements: list[Movement]) -> list[dict[str, Any]]:
    by_account: dict[int, list[Movement]] = {}
    for each in movements:
        by_account.setdefault(each.account_id, []).append(each)
    return [
        {
            **_account(span.account),
            "opening_balance": exact_credits(span.opening_micros),
            "closing_balance": exact_credits(span.closing_micros),
            "entries": span.entries,
            "movements": [
                _movement(each) for each in statements.by_kind(by_account.get(span.account.pk, [])).values()
            ],
        }
        for span in month.spans
    ]


def _account(account: Account) -> dict[str, Any]:
    return {
        "account": account.kind,
        "team_id": account.team.team_id if account.team else None,
        "restricted_to": account.restriction or None,
    }


def _movement(movement: Movement) -> dict[str, Any]:
    return {"kind": movement.kind, "entries": movement.count, "credits": exact_credits(movement.micros)}


def _entry(span: Span, posting: Posting) -> dict[str, Any]:
    entry = posting.entry
    return {
        "transaction_id": str(entry.pk),
        **_account(span.account),
        "number": posting.number,
        "created_at": iso(entry.created_at),
        "kind": entry.kind,
        "transaction_type": transaction_type(entry),
        "credits": exact_credits(posting.after_micros - posting.before_micros),
        "balance": exact_credits(posting.after_micros),
        "job_id": entry.job or None,
        "reason": entry.reason or None,
    }


def rows(month: Month) -> Iterator[list[Any]]:
    """Opening balances, every entry with its account's running balance, closing balances."""
    for span in month.spans:
        yield _balance(span, iso(month.starts_at), "opening_balance", span.opening_micros)
    for span, posting in statements.all_postings(month):
        entry = posting.entry
        yield [
            iso(entry.created_at),
            *_named(span),
            posting.number,
            entry.kind,
            Number(exact_credits(posting.after_micros - posting.before_micros)),
            Number(exact_credits(posting.after_micros)),
            entry.job,
            entry.reason,
            str(entry.pk),
        ]
    for span in month.spans:
        yield _balance(span, iso(month.ends_at), "closing_balance", span.closing_micros)


def _balance(span: Span, date: str | None, kind: str, micros: int) -> list[Any]:
    return [date, *_named(span), None, kind, None, Number(exact_credits(micros)), None, None, None]


def _named(span: Span) -> list[str | None]:
    account = _account(span.account)
    restriction = account["restricted_to"]
    return [f"{account['account']} ({restriction})" if restriction else account["account"], account["team_id"]]
