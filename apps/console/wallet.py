"""What a team's wallet or an organization's pool is made of: the sum, its lots, holds and last entries."""

from collections.abc import Sequence
from typing import Any

from django.utils.html import format_html

from apps.console import formats, links
from apps.console.lists import columns
from apps.console.lists.columns import Column
from apps.console.tables import Table
from apps.console.templatetags import console as tags
from apps.credits import allowances, billing, lots
from apps.credits.billing import Balance, Posting
from apps.credits.lots import Lot
from apps.credits.models import Account, Hold
from apps.teams.models import Team

_LOTS = 100
_HOLDS = 50
_ENTRIES = 20


def equation(balance: Balance) -> str:
    """Posted less held is available, and what may be spent beyond it."""
    text = (
        f"posted {formats.credits(balance.posted_micros)} {formats.MINUS} held {formats.credits(balance.held_micros)}"
        f" = available {formats.credits(balance.spendable_micros)}"
    )
    if balance.credit_line_micros:
        text += f"; a credit line of {formats.credits(balance.credit_line_micros)} beyond it"
    if balance.debt_micros:
        text += f"; {formats.credits(balance.debt_micros)} of it owed"
    return text


def tables(team: Team) -> list[Table]:
    """Lots in the order they burn, open holds by job, the last entries, the refill rule."""
    wallets = lots.wallets_of(team)
    return [lot_table(wallets), _holds(wallets), *entry_tables(wallets[:1]), _refill(team)]


def lot_table(accounts: Sequence[Account]) -> Table:
    """Lots with something left, in the order in which they burn."""
    found: list[Lot] = lots.lots_of(list(accounts), limit=_LOTS, offset=0, with_spent=False)[1] if accounts else []
    return Table(
        "Grants in the order they burn",
        (
            columns.ident("Grant", lambda lot: lot.grant.pk, lambda lot: links.grant(lot.grant.pk)),
            columns.plain("Kind", lambda lot: lot.grant.kind, place="second"),
            Column("Left", _left, lambda lot: lot.remaining_micros, "amount", True),
            columns.credits("Granted", lambda lot: lot.grant.amount_micros),
            columns.when("From", lambda lot: lot.grant.effective_at, place="rest"),
            columns.when("Expires", lambda lot: lot.grant.expires_at),
            columns.text("For job types", lambda lot: lot.grant.account.restriction or "any"),
            columns.text("Paid by", lambda lot: lot.grant.entry.external_id or lot.grant.entry.source),
        ),
        found,
        "No grant has anything left.",
    )


def _left(lot: Lot) -> Any:
    bar = tags.bar(lot.remaining_micros, lot.grant.amount_micros)
    return format_html("{} {}", formats.credits(lot.remaining_micros), bar)


def _holds(wallets: Sequence[Account]) -> Table:
    found = Hold.objects.filter(account__in=list(wallets), state=Hold.State.OPEN, amount_micros__gt=0)
    return Table(
        "Open holds",
        (
            columns.ident("Job", lambda hold: hold.job, lambda hold: links.job(hold.job)),
            columns.credits("Held", lambda hold: hold.amount_micros, place="amount"),
            columns.when("Since", lambda hold: hold.opened_at),
        ),
        list(found.order_by("-opened_at")[:_HOLDS]),
        "Nothing is held: no job is open.",
    )


def entry_tables(accounts: Sequence[Account]) -> list[Table]:
    """The last entries of an account, as it sees them."""
    found = billing.postings_on(accounts[0], limit=_ENTRIES, offset=0)[1] if accounts else []
    return [
        Table(
            "Last entries",
            (
                columns.ident("Entry", lambda each: each.entry.pk, lambda each: links.entry(each.entry.pk)),
                columns.plain("Kind", lambda each: each.entry.kind.replace("_", " "), place="second"),
                Column("Amount", _signed, lambda each: each.entry.amount_micros, "amount", True),
                columns.credits("Posted after", lambda each: each.after_micros),
                columns.when("When", lambda each: each.entry.created_at),
                columns.text("Reason", lambda each: each.entry.reason or each.entry.source),
                columns.text("By", lambda each: each.entry.actor),
            ),
            found,
            "No entries. The first grant makes one.",
            "All entries in the ledger",
            links.listed("credits_entry", account=accounts[0].pk) if accounts else "",
        )
    ]


def _signed(posting: Posting) -> str:
    difference = posting.after_micros - posting.before_micros
    return formats.credits(difference) if difference < 0 else f"+{formats.credits(difference)}"


def _refill(team: Team) -> Table:
    rule = allowances.refill_of(team)
    return Table(
        "Refill rule",
        (
            columns.plain("Every", lambda each: each.period, place="first"),
            columns.credits("Amount", lambda each: each.amount_micros, place="amount"),
            columns.plain("What is left", lambda each: "stays" if each.rolls_over else "expires", place="second"),
            columns.when("Next", lambda each: each.next_at),
            columns.when("Last", lambda each: each.last_refill_at, place="rest"),
        ),
        [rule] if rule.is_enabled else [],
        "None: credits come by hand, by payment or by voucher.",
    )
