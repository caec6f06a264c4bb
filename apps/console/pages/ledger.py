"""The ledger: every movement of posted credits, and of one account with its sign, number and balance afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.console import formats
from apps.console import money_links as links
from apps.console.charts import Chart, Series
from apps.console.lists import columns
from apps.console.lists.base import Empty, ListPage, Narrowed
from apps.console.lists.columns import Column
from apps.console.lists.filters import Between, Choice, Filter, Ignored, Known, time_range
from apps.console.templatetags import console as tags
from apps.core.ids import parse_uuid
from apps.core.money import MICROS, exact_credits
from apps.core.spreadsheets import Number
from apps.credits import billing, history, ledger
from apps.credits.models import SYSTEM_ACCOUNTS, Account, Entry
from apps.organizations.models import Organization
from apps.teams.models import Team

_CHART_MAX = 300


def of_accounts(accounts: Any) -> Q:
    """Entries with one of these accounts on either side."""
    return Q(debit_account__in=accounts) | Q(credit_account__in=accounts)


@dataclass(frozen=True, slots=True)
class OfAccount(Filter):
    """Either side is this account, by its number or, of the platform's own, by its name."""

    def apply(self, rows: QuerySet[Any], given: QueryDict) -> tuple[QuerySet[Any], str]:
        found = account_named(self.value(given))
        if found is None:
            raise Ignored(f"no account {self.value(given)[:60]!r}")
        return self.narrowed(rows, found), links.account_name(found)

    def narrowed(self, rows: QuerySet[Any], found: Account) -> QuerySet[Any]:
        return rows.filter(Q(debit_account=found) | Q(credit_account=found))


@dataclass(frozen=True, slots=True)
class OfOwner(Known):
    """Either side is an account of this team or organization."""

    def apply(self, rows: QuerySet[Any], given: QueryDict) -> tuple[QuerySet[Any], str]:
        value = self.value(given)
        found = None if "\x00" in value else self.find(value)
        if found is None:
            raise Ignored(f"no {self.name} {value[:60]!r}")
        ids = list(Account.objects.filter(**{self.name: found}).values_list("pk", flat=True))
        return rows.filter(of_accounts(ids)), value


@dataclass(frozen=True, slots=True)
class Cause(Filter):
    """What caused an entry: the id of a job, a payment, a voucher or another entry."""

    def apply(self, rows: QuerySet[Any], given: QueryDict) -> tuple[QuerySet[Any], str]:
        value = self.value(given)
        if "\x00" in value or len(value) > 255:
            raise Ignored("no id that an entry could have")
        kinds = [f"{kind}:{value}" for kind in ("entry", "voucher", "payment", "checkout", "organization")]
        found = Q(job=value) | Q(external_id=value) | Q(source__in=[value, *kinds])
        return rows.filter(found), value


@dataclass(frozen=True, slots=True)
class By(Filter):
    """An actor, or a part of one: an operator's address, the end of a key."""

    def apply(self, rows: QuerySet[Any], given: QueryDict) -> tuple[QuerySet[Any], str]:
        value = self.value(given)
        if "\x00" in value or len(value) > 255:
            raise Ignored("no actor")
        return rows.filter(actor__icontains=value), value


def account_named(value: str) -> Account | None:
    """By its number, or by the name of one of the platform's own. None for what is no account."""
    by_name = {name: pk for pk, name in SYSTEM_ACCOUNTS.items()}
    if value in by_name:
        wanted = by_name[value]
    elif value.isdecimal() and value.isascii() and len(value) < 19:
        wanted = int(value)
    else:
        return None
    rows = Account.objects.select_related("team", "organization").annotate(is_due=ledger.is_due())
    return rows.filter(pk=wanted).first()


def _is_reversed(value: str) -> Q:
    reversed_ones = Entry.objects.filter(reverses__isnull=False).values("reverses")
    return {
        "yes": Q(pk__in=reversed_ones),
        "no": Q(kind__in=(Entry.Kind.CHARGE, Entry.Kind.GRANT)) & ~Q(pk__in=reversed_ones),
        "reversals": Q(reverses__isnull=False),
    }[value]


def sides(entry: Entry) -> SafeString:
    return format_html("{} → {}", links.to_account(entry.debit_account), links.to_account(entry.credit_account))


def sides_in_words(entry: Entry) -> str:
    return f"{links.account_name(entry.debit_account)} → {links.account_name(entry.credit_account)}"


def cause(entry: Entry) -> SafeString | str:
    """The job, or what else the entry names as its cause; a link where it has a page."""
    if entry.job:
        return tags.ident(entry.job, links.job(entry.job))
    kind, _, value = entry.source.partition(":")
    if kind in ("entry", "voucher"):
        url = links.entry(value) if kind == "entry" else links.voucher(value)
        return format_html("{} {}", kind, tags.ident(value, url))
    return tags.text(entry.source, 60) if entry.source else formats.UNKNOWN


def cause_in_words(entry: Entry) -> str:
    return f"job:{entry.job}" if entry.job else entry.source


def _posting(entry: Any) -> billing.Posting:
    """What `decorate` read for the chosen account."""
    seen: billing.Posting = entry.seen
    return seen


def signed(micros: int) -> str:
    return f"+{formats.credits(micros)}" if micros > 0 else formats.credits(micros)


def _change(entry: Any) -> int:
    return _posting(entry).after_micros - _posting(entry).before_micros


TIME = columns.when("Time", lambda entry: entry.created_at, place="second")
ID = columns.ident("Entry", lambda entry: entry.pk, lambda entry: links.entry(entry.pk))
KIND = columns.plain("Kind", lambda entry: entry.kind.replace("_", " "), place="second")
SIDES = Column("From → to", sides, sides_in_words)
CAUSE = Column("Cause", cause, cause_in_words)
ACTOR = columns.text("Actor", lambda entry: entry.actor.removeprefix("operator:"))
REASON = columns.text("Reason", lambda entry: entry.reason)
AMOUNT = columns.credits("Credits", lambda entry: entry.amount_micros, place="amount")


class LedgerList(ListPage):
    title = "Ledger"
    noun = "entries"
    line = "An entry moves posted credits between two accounts. It never changes; a correction is another entry."
    search_help = "entry id, job id, team id, payment reference or idempotency key, each whole"
    time_field = "created_at"
    default_range = "30d"
    export_name = "ledger"
    empty = Empty("The first grant makes one.")
    columns: ClassVar[Sequence[Column]] = (ID, TIME, KIND, SIDES, AMOUNT, CAUSE, ACTOR, REASON)
    filters = (
        OfAccount("account", "Account", "number of the account, or issued, revenue, expired"),
        OfOwner("team", "Team", find=lambda value: Team.objects.filter(team_id=value).first()),
        OfOwner(
            "organization",
            "Organization",
            find=lambda value: Organization.objects.filter(organization_id=value).first(),
        ),
        Choice("kind", "Kind", choices=Entry.Kind.choices),
        By("actor", "Actor", "an operator's address, or a part of it"),
        Between("amount", "Amount", field="amount_micros", per=MICROS),
        Cause("cause", "Cause", "id of a job, payment, voucher or entry"),
        Choice(
            "reversed",
            "Reversed",
            choices=(("yes", "reversed, in whole or in part"), ("no", "not reversed"), ("reversals", "reversals")),
            conditions=_is_reversed,
        ),
    )
    account: Account | None = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        """One account has a page with more columns."""
        if type(self) is LedgerList and (account := one_account(request.GET)) is not None:
            other = AccountLedger()
            other.account = account
            other.setup(request, *args, **kwargs)
            return other.dispatch(request, *args, **kwargs)
        return super().dispatch(request, *args, **kwargs)

    def get_rows(self) -> QuerySet[Any]:
        return Entry.objects.select_related(
            "debit_account__team",
            "debit_account__organization",
            "credit_account__team",
            "credit_account__organization",
        )

    def search(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        asked = parse_uuid(term) if len(term) in (32, 36) else None
        found = Q(job=str(asked or term)) | Q(external_id=term) | Q(idempotency_key=term)
        found |= of_accounts(Account.objects.filter(team__team_id=term).values("pk"))
        if asked is not None:
            found |= Q(pk=asked)
        return rows.filter(found)


def one_account(given: QueryDict) -> Account | None:
    """The account that the list is about: the one named, or the only one of the team that is."""
    if name := given.get("account", "").strip():
        found = account_named(name)
        return None if found is None or found.pk in SYSTEM_ACCOUNTS else found
    team_id = given.get("team", "").strip()
    if not team_id or "\x00" in team_id:
        return None
    rows = Account.objects.filter(team__team_id=team_id).select_related("team", "organization")
    wallets = list(rows.annotate(is_due=ledger.is_due())[:2])
    return wallets[0] if len(wallets) == 1 else None


class AccountLedger(LedgerList):
    """Of one account: amounts with their sign, its balance at any instant."""

    before_template = "console/pages/money/account.html"
    columns = (
        ID,
        TIME,
        KIND,
        SIDES,
        Column(
            "Credits",
            lambda entry: signed(_change(entry)),
            lambda e: Number(exact_credits(_change(e))),
            "amount",
            True,
        ),
        columns.credits("Balance after", lambda entry: _posting(entry).after_micros),
        columns.count("No.", lambda entry: _posting(entry).number),
        CAUSE,
        ACTOR,
        REASON,
    )

    def own(self) -> Account:
        assert self.account is not None
        return self.account

    def decorate(self, rows: Sequence[Any]) -> None:
        for row in rows:
            row.seen = billing.seen_by(self.own(), row)

    def before_table(self, narrowed: Narrowed) -> dict[str, Any]:
        account = self.own()
        at, wrong = self.asked_instant()
        return {
            "account": account,
            "account_name": links.account_name(account),
            "owner_url": self.owner_url(),
            "balance": billing.balance_of(account),
            "chart": self.chart(narrowed),
            "at": at,
            "at_wrong": wrong,
            "at_typed": self.request.GET.get("at", ""),
            "standing": history.standing(account, at) if at is not None else None,
        }

    def owner_url(self) -> str:
        account = self.own()
        if account.team is not None:
            return links.team(account.team)
        return links.organization(account.organization) if account.organization is not None else ""

    def asked_instant(self) -> tuple[datetime | None, str]:
        """Of "Balance as of", and what is wrong with it."""
        text = self.request.GET.get("at", "").strip()
        if not text:
            return None, ""
        given = QueryDict(mutable=True)
        given["to"] = text
        try:
            return time_range(given, "all").end, ""
        except Ignored as error:
            return None, str(error)

    def chart(self, narrowed: Narrowed) -> Chart | None:
        """The balance after each of the newest entries of the time shown."""
        account, span = self.own(), narrowed.range
        rows = Entry.objects.filter(Q(debit_account=account) | Q(credit_account=account))
        rows = span.within(rows, "created_at") if span is not None else rows
        newest = list(rows.order_by("-created_at", "-pk")[:_CHART_MAX])
        if len(newest) < 2:
            return None
        seen = [billing.seen_by(account, entry) for entry in reversed(newest)]
        last = formats.credits(seen[-1].after_micros)
        return Chart(
            id="balance",
            title="Balance",
            kind="step",
            unit="credits posted",
            labels=[formats.clock(each.entry.created_at) for each in seen],
            series=[
                Series(
                    "posted",
                    [each.after_micros / MICROS for each in seen],
                    [formats.credits(each.after_micros) for each in seen],
                )
            ],
            summary=f"Posted balance after each of {len(seen)} entries, from"
            f" {formats.credits(seen[0].before_micros)} to {last}.",
            links=[links.entry(each.entry.pk) for each in seen],
            note=f"The newest {_CHART_MAX} entries of this time." if len(newest) == _CHART_MAX else "",
            height=160,
        )
