"""Entries and lots of all accounts, for operators."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.analytics.statement_files import transaction_type
from apps.api import present_lots
from apps.api.authentication import OperatorView
from apps.api.fields import query_choice, query_flag, query_text
from apps.api.instants import query_instant
from apps.api.listing import long_listed, require_page
from apps.core.clock import iso
from apps.core.money import exact_credits
from apps.credits import lists
from apps.credits.lots import Lot
from apps.credits.models import Account, Entry, Grant
from apps.organizations import services as organizations
from apps.organizations.models import Organization
from apps.organizations.rights import Right
from apps.teams import services as teams
from apps.teams.models import Team


class EntryList(OperatorView):
    """GET /api/credits/entries: by `team_id`, `organization_id`, `account`, `kind`, `job_id`, `from`, `to`."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        require_page(request)
        team, organization = owners(request)
        since, until = span(request)
        found = lists.entries(
            team=team,
            organization=organization,
            account=query_choice(request, "account", Account.Kind.values),
            kind=query_choice(request, "kind", Entry.Kind.values),
            job=query_text(request, "job_id"),
            since=since,
            until=until,
        )
        return long_listed(request, found, name="entries", show=_entries, orders={"credits": "amount_micros"})


class GrantList(OperatorView):
    """GET /api/credits/grants: lots, narrowed by `team_id`, `organization_id`, `kind`, `left`, `expires_before`,
    `from` and `to`."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        require_page(request)
        team, organization = owners(request)
        since, until = span(request)
        found = lists.grants(
            team=team,
            organization=organization,
            kind=query_choice(request, "kind", Grant.Kind.values),
            has_left=query_flag(request, "left"),
            expires_before=query_instant(request, "expires_before"),
            since=since,
            until=until,
        )
        orders = {"expires_at": "expires_at", "credits_remaining": "remaining_micros"}
        return long_listed(request, found, name="grants", show=_grants, orders=orders)


def owners(request: Request) -> tuple[Team | None, Organization | None]:
    """Whose rows an operator asks for. Raises: InvalidBody, TeamNotFound, OrganizationNotFound."""
    team_id, organization_id = query_text(request, "team_id"), query_text(request, "organization_id")
    return (
        teams.find(team_id) if team_id else None,
        organizations.find(organization_id) if organization_id else None,
    )


def span(request: Request) -> tuple[datetime | None, datetime | None]:
    """`from`, and `to` which is no longer in it. Raises: InvalidBody."""
    return query_instant(request, "from"), query_instant(request, "to")


def _entries(rows: Sequence[Entry]) -> list[dict[str, Any]]:
    return [
        {
            "transaction_id": str(each.pk),
            "kind": each.kind,
            "transaction_type": transaction_type(each),
            "credits": exact_credits(each.amount_micros),
            "from": _side(each.debit_account, each.debit_seq, each.debit_balance_micros),
            "to": _side(each.credit_account, each.credit_seq, each.credit_balance_micros),
            "job_id": each.job or None,
            "reason": each.reason or None,
            "source": each.source or None,
            "actor": each.actor,
            "reverses": str(each.reverses_id) if each.reverses_id else None,
            "created_at": iso(each.created_at),
        }
        for each in rows
    ]


def _side(account: Account, number: int | None, balance_micros: int | None) -> dict[str, Any]:
    return _owner(account) | {
        "number": number,
        "balance": None if balance_micros is None else exact_credits(balance_micros),
    }


def _owner(account: Account) -> dict[str, Any]:
    team = account.team
    organization = team.organization if team is not None else account.organization
    return {
        "account": account.system_name or account.kind,
        "team_id": team.team_id if team is not None else None,
        "organization_id": organization.organization_id if organization is not None else None,
    }


def _grants(rows: Sequence[Grant]) -> list[dict[str, Any]]:
    return [
        _owner(each.account) | present_lots.lot(Lot(each, each.remaining_micros), to_operator=True) for each in rows
    ]
