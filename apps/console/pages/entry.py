"""One entry: what it did, both sides before and after, what it touched, and whether it is still what was sealed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from django.urls import reverse

from apps.console import formats
from apps.console import money_links as links
from apps.console.pages.base import Button, Crumb, ObjectPage, Tab
from apps.console.pages.ledger import cause
from apps.console.people import name_of
from apps.console.templatetags import console as tags
from apps.core.ids import parse_uuid
from apps.credits import billing, sealing
from apps.credits.billing import Posting
from apps.credits.errors import EntryNotFound
from apps.credits.models import SYSTEM_ACCOUNTS, Account, Entry
from apps.organizations.rights import Right

REVERSIBLE = (Entry.Kind.CHARGE, Entry.Kind.GRANT)
_WORDS = {
    Entry.Kind.GRANT: "{amount} were granted to {to}",
    Entry.Kind.ALLOCATE: "{amount} were allocated from {source} to {to}",
    Entry.Kind.RECLAIM: "{amount} were reclaimed from {source} into {to}",
    Entry.Kind.CHARGE: "{amount} were charged to {source}",
    Entry.Kind.REFUND: "{amount} were refunded to {to}",
    Entry.Kind.TAKE_BACK: "{amount} of a grant were taken back from {source}",
    Entry.Kind.EXPIRE: "{amount} of {source} expired",
    Entry.Kind.ADJUST: "{amount} were taken out of {source}",
}


@dataclass(frozen=True, slots=True)
class Side:
    """An owned account's view of the entry: balances, neighbours by number, and the block that has it."""

    account: Account
    posting: Posting
    previous: Entry | None
    following: Entry | None
    sealed: sealing.Sealed | None


class EntryPage(ObjectPage):
    route = "entry"
    tabs = (Tab("", "Overview", "console/pages/money/entry.html"),)
    obj: Entry

    def load(self, entry_id: str = "", **kwargs: Any) -> None:
        parsed = parse_uuid(entry_id)
        of_sides = [f"{side}_account__{owner}" for side in ("debit", "credit") for owner in ("team", "organization")]
        found = Entry.objects.select_related(*of_sides, "reverses").filter(pk=parsed).first() if parsed else None
        if found is None:
            raise EntryNotFound(f"There is no entry '{entry_id[:100]}'")
        self.obj = found
        self.title = f"{found.kind.replace('_', ' ').capitalize()} {str(found.pk)[-8:]}"
        self.reversals = list(found.reversals.order_by("created_at", "id"))
        self.left = found.amount_micros - sum(each.amount_micros for each in self.reversals)

    def url_kwargs(self) -> dict[str, Any]:
        return {"entry_id": str(self.obj.pk)}

    def crumbs(self) -> Sequence[Crumb]:
        crumbs = [Crumb("Ledger", reverse("admin:credits_entry_changelist"))]
        owned = self.owned()
        if owned:
            crumbs.append(Crumb(links.account_name(owned[0]), links.ledger(account=owned[0].pk)))
        return crumbs

    def owned(self) -> list[Account]:
        """The sides that somebody has: the receiving one first."""
        both = (self.obj.credit_account, self.obj.debit_account)
        return [account for account in both if account.pk not in SYSTEM_ACCOUNTS]

    def sentence(self) -> str:
        entry = self.obj
        what = _WORDS[Entry.Kind(entry.kind)].format(
            amount=formats.credits_in_words(entry.amount_micros),
            source=links.account_name(entry.debit_account),
            to=links.account_name(entry.credit_account),
        )
        if entry.amount_micros == 1_000_000:
            what = what.replace(" were ", " was ")
        reason = f": “{entry.reason}”" if entry.reason else ""
        return f"{what} by {name_of(entry.actor)}{reason}. {self.reversed_in_words()}".strip()

    def reversed_in_words(self) -> str:
        if not self.reversals:
            return ""
        word = "refunded" if self.obj.kind == Entry.Kind.CHARGE else "taken back"
        if self.left == 0:
            return f"All of it was {word} since."
        return f"{formats.credits(self.obj.amount_micros - self.left)} of it were {word} since."

    def facts(self) -> Sequence[tuple[str, Any]]:
        facts: list[tuple[str, Any]] = [("Amount", formats.credits(self.obj.amount_micros))]
        for account in self.owned():
            seen = billing.seen_by(account, self.obj)
            shown = f"{formats.credits(seen.before_micros)} → {formats.credits(seen.after_micros)}"
            facts.append((f"Posted on {links.account_name(account)}", shown))
        if self.obj.kind in REVERSIBLE:
            facts.append(("Not reversed", formats.credits(self.left)))
        return facts

    def about(self) -> Sequence[tuple[str, Any]]:
        entry = self.obj
        about = [
            ("Entry", tags.ident(entry.pk)),
            ("Time", tags.when(entry.created_at)),
            ("Cause", cause(entry)),
            ("Actor", tags.text(entry.actor)),
            ("Idempotency key", tags.text(entry.idempotency_key)),
        ]
        if entry.external_id:
            about.append(("Payment reference", tags.text(entry.external_id)))
        return about

    def buttons(self) -> Sequence[Button]:
        may = self.operator.holds(Right.CREDITS_WRITE)
        if not may or self.obj.kind not in REVERSIBLE or self.left == 0:
            return ()
        url = reverse("admin:entry_reverse", kwargs=self.url_kwargs())
        return (Button("Reverse", url, Right.CREDITS_WRITE, is_dangerous=True),)

    def tab_overview(self) -> dict[str, Any]:
        entry = self.obj
        neighbours = self.neighbours()
        return {
            "sides": [self.side(account, neighbours) for account in self.owned()],
            "uses": list(entry.uses.select_related("grant").order_by("id")),
            "made": list(entry.grants.order_by("id")),
            "reversals": self.reversals,
        }

    def side(self, account: Account, neighbours: list[Entry]) -> Side:
        posting = billing.seen_by(account, self.obj)
        near = {}
        for each in neighbours:
            if account.pk in (each.credit_account_id, each.debit_account_id):
                near[billing.seen_by(account, each).number] = each
        return Side(
            account,
            posting,
            near.get(posting.number - 1),
            near.get(posting.number + 1),
            sealing.sealed(account.pk, posting.number),
        )

    def neighbours(self) -> list[Entry]:
        """The entries before and after on each side, by their numbers, in one query."""
        wanted = Q()
        for account in self.owned():
            number = billing.seen_by(account, self.obj).number
            for side in ("credit", "debit"):
                wanted |= Q(**{f"{side}_account": account, f"{side}_seq__in": (number - 1, number + 1)})
        return list(Entry.objects.filter(wanted).order_by())
