"""Monthly statements as JSON and CSV. Amounts are exact decimal strings of credits, so that they add up."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

from django.http import StreamingHttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from apps.analytics import statements
from apps.api import present, spreadsheets
from apps.api.authentication import Caller, EitherView, OperatorView
from apps.api.display import display
from apps.api.listing import page
from apps.core import clock
from apps.core.clock import iso
from apps.core.errors import InvalidField
from apps.core.money import exact_credits
from apps.core.spreadsheets import Number
from apps.credits import history
from apps.credits.billing import Posting
from apps.credits.history import Month, Movement, Span
from apps.credits.models import Account
from apps.organizations import services as organizations
from apps.organizations.models import Organization
from apps.organizations.rights import Right

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


class TeamStatement(EitherView):
    """GET /api/teams/{team_id}/statements/{period}: for operators, and for the team's own key."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, team_id: str, period: str) -> Response | StreamingHttpResponse:
        team = self.team(team_id, refusal="Cannot access statements of a different team")
        owner = {"team_id": team.team_id, "organization_id": team.organization.organization_id}
        month = partial(statements.of_team, team, period)
        return _answer(self.caller, request, team_id, team.organization, owner, month)


class OrganizationStatement(OperatorView):
    """GET /api/organizations/{organization_id}/statements/{period}: its pool and the wallets of all its teams."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, organization_id: str, period: str) -> Response | StreamingHttpResponse:
        organization = organizations.find(organization_id)
        owner = {"organization_id": organization_id}
        month = partial(statements.of_organization, organization, period)
        return _answer(self.caller, request, organization_id, organization, owner, month)


def _answer(
    caller: Caller,
    request: Request,
    name: str,
    organization: Organization,
    owner: dict[str, Any],
    read: Callable[[], Month],
) -> Response | StreamingHttpResponse:
    as_csv = spreadsheets.is_wanted(request)
    if as_csv:
        caller.require(Right.EXPORT)
    limit, offset = page(request, default=100)
    try:
        month = read()
    except InvalidField as error:
        error.errors[0]["loc"] = ["path", "period"]
        raise
    if as_csv:
        return spreadsheets.response(f"statement-{name}-{month.name}.csv", COLUMNS, _rows(month))
    # A month that is over keeps the rate that it ended with.
    ended_at = month.ends_at - timedelta(microseconds=1) if month.ends_at <= clock.now() else None
    return Response(owner | _statement(month, limit, offset) | display(organization, at=ended_at))


def _statement(month: Month, limit: int, offset: int) -> dict[str, Any]:
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
        "transaction_type": present.transaction_type(entry),
        "credits": exact_credits(posting.after_micros - posting.before_micros),
        "balance": exact_credits(posting.after_micros),
        "job_id": entry.job or None,
        "reason": entry.reason or None,
    }


def _rows(month: Month) -> Iterator[list[Any]]:
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
