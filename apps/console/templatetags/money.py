"""Tags of the money pages: accounts, entries and grants as links."""

from typing import Any

from django import template
from django.utils.safestring import SafeString

from apps.console import money_links as links
from apps.console.templatetags.console import ident
from apps.credits.models import Account

register = template.Library()


@register.simple_tag
def account_link(account: Account) -> SafeString:
    return links.to_account(account)


@register.simple_tag
def grant_link(grant_id: Any) -> SafeString:
    return ident(grant_id, links.grant(grant_id))


@register.simple_tag
def entry_link(entry_id: Any) -> SafeString:
    return ident(entry_id, links.entry(entry_id))


@register.simple_tag
def job_link(job_id: Any) -> SafeString:
    return ident(job_id, links.job(job_id))


@register.filter
def magnitude(number: int) -> int:
    return abs(number)
