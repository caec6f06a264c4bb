"""Where things of the money pages are shown: `links` for rows and for ids as the ledger spells them."""

from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.console import formats, links
from apps.console.links import entry, grant, maybe
from apps.core.ids import parse_uuid
from apps.credits.models import SYSTEM_ACCOUNTS, Account
from apps.organizations.models import Organization
from apps.teams.models import Team

__all__ = ["account_name", "entry", "grant", "job", "ledger", "organization", "team", "to_account", "voucher"]


def voucher(voucher_id: Any) -> str:
    return maybe("voucher", voucher_id=voucher_id)


def team(found: Team) -> str:
    return links.team(found.team_id)


def organization(found: Organization) -> str:
    return links.organization(found.organization_id)


def job(job_id: Any) -> str:
    """Of a job's id as the ledger spells it; what is no id of a job of ours leads nowhere."""
    parsed = parse_uuid(str(job_id))
    return "" if parsed is None else links.job(parsed)


def ledger(**query: Any) -> str:
    """The ledger's list; of an account it shows all time, so that nothing is missed."""
    return f"{reverse('admin:credits_entry_changelist')}?{urlencode(query)}"


def account_name(account: Account) -> str:
    """A side of an entry in words: a team's id, an organization's pool, or one of the platform's own accounts."""
    if account.pk in SYSTEM_ACCOUNTS:
        return SYSTEM_ACCOUNTS[account.pk]
    if account.kind == Account.Kind.POOL and account.organization is not None:
        return f"pool of {account.organization.organization_id}"
    if account.team is None:
        return str(account)
    return f"{account.team.team_id} ({account.restriction})" if account.restriction else account.team.team_id


def to_account(account: Account) -> SafeString:
    """The name, leading to the account's own ledger."""
    name = formats.harmless(account_name(account))
    if account.pk in SYSTEM_ACCOUNTS:
        return format_html('<span class="c-quiet">{}</span>', name)
    return format_html('<a href="{}"><bdi>{}</bdi></a>', ledger(account=account.pk), name)
