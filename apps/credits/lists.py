"""Entries and lots of all accounts, as operators look for them."""

from datetime import datetime

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from apps.credits.models import Account, Entry, Grant
from apps.organizations.models import Organization
from apps.teams.models import Team

_OWNERS = [
    f"{side}__{owner}"
    for side in ("debit_account", "credit_account")
    for owner in ("team__organization", "organization")
]


def entries(
    *,
    team: Team | None = None,
    organization: Organization | None = None,
    account: str | None = None,
    kind: str | None = None,
    job: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> QuerySet[Entry]:
    """Entries with both accounts and their owners, narrowed by what is given; `until` excluded.

    An organization's are those of its pool and of its teams' wallets. `account` is the kind of either side.
    """
    found = Entry.objects.select_related(*_OWNERS)
    if team is not None or organization is not None or account is not None:
        accounts = _accounts(team, organization, account)
        found = found.filter(Q(debit_account__in=accounts) | Q(credit_account__in=accounts))
    if kind is not None:
        found = found.filter(kind=kind)
    if job is not None:
        found = found.filter(job=job)
    return _between(found, since, until)


def grants(
    *,
    team: Team | None = None,
    organization: Organization | None = None,
    kind: str | None = None,
    has_left: bool | None = None,
    expires_before: datetime | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> QuerySet[Grant]:
    """Lots with their account and its owner, narrowed by what is given; `until` excluded.

    `expires_before` asks for those that expire until then and have not yet.
    """
    found = Grant.objects.select_related("entry", "account__team__organization", "account__organization")
    if team is not None or organization is not None:
        found = found.filter(account__in=_accounts(team, organization, None))
    if kind is not None:
        found = found.filter(kind=kind)
    if has_left is not None:
        found = found.filter(remaining_micros__gt=0) if has_left else found.filter(remaining_micros=0)
    if expires_before is not None:
        found = found.filter(expires_at__gt=Now(), expires_at__lt=expires_before)
    return _between(found, since, until)


def _accounts(team: Team | None, organization: Organization | None, kind: str | None) -> QuerySet[Account]:
    found = Account.objects.order_by()
    if team is not None:
        found = found.filter(team=team)
    if organization is not None:
        found = found.filter(Q(organization=organization) | Q(team__organization=organization))
    return found if kind is None else found.filter(kind=kind)


def _between(found: QuerySet, since: datetime | None, until: datetime | None) -> QuerySet:  # type: ignore[type-arg]
    if since is not None:
        found = found.filter(created_at__gte=since)
    return found if until is None else found.filter(created_at__lt=until)
