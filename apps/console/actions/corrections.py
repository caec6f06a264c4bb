"""Refund a job, reverse an entry: previewed by doing it and rolling back, so that the preview cannot be wrong."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

from django.db import transaction

from apps.console import formats
from apps.console import money_links as links
from apps.console.actions.base import Change, Done, Preview, ReasonForm, StaleState, TypedForm
from apps.console.actions.credits import CreditAction, entry_done, within_support
from apps.console.amounts import CreditsField
from apps.console.people import name_of
from apps.core.actors import Actor
from apps.core.errors import DomainError, InvalidField
from apps.core.ids import parse_uuid
from apps.core.money import exact_credits
from apps.credits import billing, ledger
from apps.credits.errors import EntryNotFound
from apps.credits.models import Account, Entry
from apps.jobs.errors import JobNotFound
from apps.jobs.models import Job
from apps.provisioning import credits as operators

T = TypeVar("T")
_DRY = Actor("command", "preview")


def dry(effect: Callable[[], T]) -> T:
    """What an effect would answer. Nothing of it stays."""
    with transaction.atomic():
        answer = effect()
        transaction.set_rollback(True)
    return answer


class _Reverses(CreditAction):
    """Entries reversed in whole or in part, the newest first."""

    originals: Sequence[Entry]

    @cached_property
    def left_of(self) -> list[int]:
        """What can still be given back of each. Read once: any reversal meanwhile changes the account's sequence,
        which is compared under its lock."""
        return [ledger.reversible_micros(each) for each in self.originals]

    def left(self) -> int:
        return sum(self.left_of)

    def own_account(self, original: Entry) -> Account:
        return original.debit_account if original.kind == Entry.Kind.CHARGE else original.credit_account

    def accounts(self) -> Sequence[Account]:
        ids = {self.own_account(each).pk for each in self.originals}
        return list(Account.objects.filter(pk__in=ids).annotate(is_due=ledger.is_due()).order_by("pk"))

    def require_possible(self) -> None:
        if self.originals and self.left() == 0:
            last = (
                Entry.objects.filter(reverses__in=[each.pk for each in self.originals])
                .order_by("-created_at")
                .first()
            )
            if last is not None:
                word = "refunded" if last.kind == Entry.Kind.REFUND else "reversed"
                raise StaleState(f"Already {word} by {name_of(last.actor)} {formats.ago(last.created_at)}.")

    def initial(self) -> dict[str, Any]:
        return {"credits": exact_credits(self.left())} | super().initial()

    def reverse(self, micros: int, *, actor: Actor, reason: str, key: str) -> list[Entry]:
        """Raises: InvalidField for more than is left."""
        left = self.left()
        if micros > left:
            most = formats.credits_in_words(left)
            raise InvalidField(
                "credits", f"At most {most} can still be given back. You typed {exact_credits(micros)}."
            )
        made = []
        for original, most_of_it in zip(self.originals, self.left_of, strict=True):
            part = min(micros, most_of_it)
            micros -= part
            if part:
                made.append(
                    operators.reverse(
                        str(original.pk),
                        of=Entry.Kind(original.kind),
                        micros=part,
                        actor=actor,
                        key=key,
                        reason=reason,
                    )
                )
        return made

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        accounts, left = self.accounts(), self.left()
        micros = asked["credits"] if asked else left
        seen = f"{self.seen(accounts)}:{left}"
        try:
            changes, lines = dry(lambda: self.tried(micros, accounts))
        except DomainError as error:
            return Preview([], [error.message], seen)
        return Preview(changes, lines, seen)

    def tried(self, micros: int, accounts: Sequence[Account]) -> tuple[list[Change], list[str]]:
        """Do it, and say what came of it: inside a transaction that is rolled back."""
        made = self.reverse(micros, actor=_DRY, reason="preview", key="preview")
        changes = []
        for before, after in zip(accounts, self.accounts(), strict=True):
            label = f"Available to {links.account_name(before)}"
            now, then = (billing.balance_of(each).spendable_micros for each in (before, after))
            changes.append(Change(label, formats.credits(now), formats.credits(then)))
            if before.debt_micros != after.debt_micros:
                changes.append(
                    Change("Debt", formats.credits(before.debt_micros), formats.credits(after.debt_micros))
                )
        return changes, self.words(made)

    def words(self, made: Sequence[Entry]) -> list[str]:
        return []

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        self.require_unchanged()
        made = self.reverse(asked["credits"], actor=actor, reason=asked["reason"], key=self.key)
        return entry_done(self.said(formats.credits_in_words(asked["credits"])), made[0])

    def require_unchanged(self) -> None:
        seen = self.request.POST["seen"].rpartition(":")[0]
        ledger.lock(*(account.pk for account in self.accounts()))
        if self.seen(self.accounts()) != seen:
            raise StaleState("The balance changed a moment ago. Nothing was done.")

    def said(self, amount: str) -> str:
        raise NotImplementedError


def back_to(entries: Sequence[Entry]) -> str:
    """Where credits of refunds went: to lots, to debt, and to goodwill lots in the place of expired ones."""
    parts, placed, total = [], 0, sum(entry.amount_micros for entry in entries)
    for entry in entries:
        for use in entry.uses.select_related("grant").order_by("id"):
            placed += -use.amount_micros
            parts.append(f"lot {str(use.grant_id)[-8:]} ({expiry(use.grant)}) {formats.credits(-use.amount_micros)}")
        for lot in entry.grants.order_by("id"):
            placed += lot.amount_micros
            why = " in place of an expired one" if lot.source_grant_id else ""
            parts.append(f"a new goodwill lot{why} ({expiry(lot)}) {formats.credits(lot.amount_micros)}")
    if total > placed:
        parts.insert(0, f"debt {formats.credits(total - placed)}")
    return ", ".join(parts)


def expiry(lot: Any) -> str:
    return f"expires {formats.clock(lot.expires_at)}" if lot.expires_at else "does not expire"


class RefundForm(ReasonForm):
    credits = CreditsField(help_text="all that is left, or a part; up to 6 decimals")
    field_order = ("credits", "reason")


class RefundJob(_Reverses):
    """What a job was charged, of all wallets that paid."""

    form_class = RefundForm
    verb = "Refund"
    busy = "Refunding…"
    obj: Job

    def load(self, job_id: str = "", **kwargs: Any) -> None:
        parsed = parse_uuid(job_id)
        found = Job.objects.select_related("team").filter(pk=parsed).first() if parsed else None
        if found is None:
            raise JobNotFound(f"Job '{job_id[:100]}' not found")
        self.obj = found
        self.title = f"Refund job {str(found.pk)[-8:]} of {found.team.team_id}"
        charges = Entry.objects.filter(kind=Entry.Kind.CHARGE, job=str(found.pk), debit_account__team=found.team_id)
        self.originals = list(charges.select_related("debit_account").order_by("-created_at", "-id"))

    def doing(self) -> str:
        return "refund jobs"

    def is_within(self, asked: dict[str, Any] | None) -> bool:
        """All parts of a job's refund together count."""
        if asked is None:
            return within_support(None)
        refunded = sum(each.amount_micros for each in self.originals) - self.left()
        return within_support(refunded + asked["credits"])

    def back_url(self) -> str:
        return links.job(self.obj.pk)

    def require_possible(self) -> None:
        if not self.originals:
            raise StaleState("Nothing was charged for this job, so nothing can be refunded.")
        super().require_possible()

    def words(self, made: Sequence[Entry]) -> list[str]:
        charged = sum(each.amount_micros for each in self.originals)
        return [
            f"{formats.credits_in_words(charged)} were charged. The refund goes back to: {back_to(made)}.",
            "All parts together give back at most the charge.",
        ]

    def said(self, amount: str) -> str:
        return f"{amount} of job {str(self.obj.pk)[-8:]} refunded."


class ReverseForm(TypedForm):
    credits = CreditsField(help_text="all that is left, or a part; up to 6 decimals")
    field_order = ("credits", "reason")


class ReverseEntry(_Reverses):
    """A charge becomes a refund, a grant a take-back."""

    form_class = ReverseForm
    verb = "Reverse"
    busy = "Reversing…"
    is_dangerous = True
    obj: Entry

    def load(self, entry_id: str = "", **kwargs: Any) -> None:
        parsed = parse_uuid(entry_id)
        sides = ("debit_account__team", "credit_account__team", "credit_account__organization")
        found = Entry.objects.select_related(*sides).filter(pk=parsed).first() if parsed else None
        if found is None:
            raise EntryNotFound(f"There is no entry '{entry_id[:100]}'")
        self.obj, self.originals = found, [found]
        self.title = f"Reverse {found.kind} {str(found.pk)[-8:]}"

    def doing(self) -> str:
        return "reverse entries"

    def form_kwargs(self) -> dict[str, Any]:
        return {"must_type": str(self.obj.pk)[-8:]}

    def back_url(self) -> str:
        return links.entry(self.obj.pk)

    def require_possible(self) -> None:
        if self.obj.kind not in (Entry.Kind.CHARGE, Entry.Kind.GRANT):
            raise StaleState(f"An entry of kind {self.obj.kind} is not reversed. A charge or a grant is.")
        super().require_possible()

    def words(self, made: Sequence[Entry]) -> list[str]:
        if self.obj.kind == Entry.Kind.CHARGE:
            return [f"The charge is refunded; it goes back to: {back_to(made)}."]
        taken = [
            f"lot {str(use.grant_id)[-8:]} {formats.credits(use.amount_micros)}"
            for use in made[0].uses.order_by("id")
        ]
        debt = made[0].amount_micros - sum(use.amount_micros for use in made[0].uses.all())
        if debt:
            taken.append(f"debt {formats.credits(debt)}, since it was spent")
        return [f"The grant is taken back from: {', '.join(taken)}."]

    def said(self, amount: str) -> str:
        return f"{amount} of {self.obj.kind} {str(self.obj.pk)[-8:]} reversed."
