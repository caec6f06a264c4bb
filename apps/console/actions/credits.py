"""What is done to a team's credits: grant, take out, credit line. Pools and corrections have modules of their own."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone

from apps.console import formats
from apps.console import money_links as links
from apps.console.actions.base import Action, ActionForm, Change, Done, Preview, ReasonForm, TypedForm
from apps.console.amounts import CreditsField, DollarsField
from apps.core import crypto
from apps.core.actors import Actor
from apps.core.admin_forms import WordsField
from apps.core.errors import Conflict
from apps.core.money import MICROS, NANOUSD
from apps.credits import billing, ledger, lots
from apps.credits.ledger.grants import PRIORITIES
from apps.credits.models import Account, Entry, Grant
from apps.organizations.rights import Right
from apps.provisioning import credits as operators
from apps.teams import services as teams
from apps.teams.models import Team

SOLD = (Grant.Kind.PAID, Grant.Kind.SUBSCRIPTION)


class CreditAction(Action):
    """Moves credits. What was seen is every account's sequence and what of it is available: a charge meanwhile
    makes the preview untrue."""

    right = Right.CREDITS_WRITE
    is_live = True

    def accounts(self) -> Sequence[Account]:
        """Those that it touches, the one that it is about first, as they are now."""
        raise NotImplementedError

    @property
    def key(self) -> str:
        """What names the ledger's operation for ever: this very form."""
        return f"console:{UUID(self.request.POST['once'])}"

    def seen(self, accounts: Sequence[Account]) -> str:
        available = [billing.balance_of(account).spendable_micros for account in accounts]
        exact = "".join(f"{a.pk}:{a.seq}:{left};" for a, left in zip(accounts, available, strict=True))
        return f"{available[0] if available else 0}:{crypto.fingerprint(exact.encode())[:32]}"

    def require_unchanged(self) -> None:
        """Under the accounts' locks: what is done is what was previewed. Raises: Conflict."""
        ledger.lock(*(account.pk for account in self.accounts()))
        if self.seen(self.accounts()) != self.request.POST["seen"]:
            raise Conflict("The balance changed a moment ago. Nothing was done. Check again.")

    def changed_meanwhile(self, request: HttpRequest, form: ActionForm, now: Preview) -> HttpResponse:
        before, after = (text.partition(":")[0] for text in (form.cleaned_data["seen"], now.seen))
        if not before.lstrip("-").isdecimal() or len(before) > 20 or before == after:
            return super().changed_meanwhile(request, form, now)
        notice = (
            f"The balance changed while you looked: {formats.credits(int(before))} →"
            f" {formats.credits(int(after))}. Nothing was done. Check again."
        )
        return self.form_page(request, form, now, status=409, notice=notice)

    def is_within(self, asked: dict[str, Any] | None) -> bool:
        """Most of them are for nobody who holds the right in part."""
        return False


def within_support(micros: int | None) -> bool:
    """Whether support may give so much at once; before it is known: whether it may give anything."""
    most: int = settings.SUPPORT_CREDITS_MAX * MICROS
    return most >= (1 if micros is None else micros)


def available(account: Account | None) -> int:
    return billing.balance_of(account).spendable_micros if account is not None else 0


def entry_done(message: str, entry: Entry) -> Done:
    return Done(message, links.entry(entry.pk))


class TeamCredits(CreditAction):
    """On the wallets of a team."""

    obj: Team

    def load(self, team_id: str = "", **kwargs: Any) -> None:
        self.obj = teams.find(team_id)
        self.title = self.heading()

    def heading(self) -> str:
        raise NotImplementedError

    def accounts(self) -> Sequence[Account]:
        return lots.wallets_of(self.obj)

    def back_url(self) -> str:
        return reverse("admin:team", kwargs={"team_id": self.obj.team_id})


class TermsForm(ReasonForm):
    """What kind of credits, and how long."""

    credits = CreditsField(whole=True)
    kind = forms.ChoiceField(choices=Grant.Kind.choices, initial=Grant.Kind.PAID)
    last_day = forms.DateField(
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text="the last day on which they can be spent; empty: they do not expire",
    )

    def clean_last_day(self) -> date | None:
        day: date | None = self.cleaned_data["last_day"]
        if day is not None and (day < timezone.localdate() or day.year > 9000):
            raise ValidationError(f"The last day must be today or later. You typed {day}.")
        return day


class GrantForm(TermsForm):
    payment_reference = forms.CharField(
        required=False,
        max_length=255,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        help_text="of an invoice or a payment; it is taken once",
    )
    payment_usd = DollarsField(
        required=False, label="Payment in USD", help_text="what was paid; it tells what a credit was sold for"
    )
    job_types = WordsField(
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        help_text="for these job types alone, divided by commas; empty: for all",
    )
    field_order = ("credits", "kind", "last_day", "payment_reference", "payment_usd", "job_types", "reason")

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        for name in ("payment_reference", "payment_usd"):
            if given.get(name) and given.get("kind") not in SOLD:
                self.add_error(name, "A payment is for credits of the kind paid or subscription.")
        return given


def end_of(day: date | None) -> datetime | None:
    """The first instant after that day, in the operator's zone."""
    return None if day is None else timezone.make_aware(datetime.combine(day + timedelta(days=1), time()))


def new_lot(kind: str, day: date | None) -> str:
    """What a grant makes, in words."""
    expires = f"can be spent until the end of {day:%d %b %Y}".replace(" 0", " ") if day else "does not expire"
    own = PRIORITIES[Grant.Kind(kind)]
    sooner = [str(each) for each, priority in sorted(PRIORITIES.items(), key=lambda it: it[1]) if priority < own]
    order = f"burns after {' and '.join(sooner)} lots" if sooner else "burns before all other kinds"
    return f"New lot: {kind}, {expires}, {order}."


class GrantCredits(TeamCredits):
    form_class = GrantForm
    verb = "Grant"
    busy = "Granting…"

    def heading(self) -> str:
        return f"Give credits to {self.obj.team_id}"

    def doing(self) -> str:
        return "grant credits"

    def is_within(self, asked: dict[str, Any] | None) -> bool:
        if asked is None:
            return within_support(None)
        return asked["kind"] == Grant.Kind.GOODWILL and within_support(asked["credits"])

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        accounts = self.accounts()
        job_types = asked["job_types"] if asked else []
        restriction = ",".join(sorted(set(job_types)))
        wallet = next((each for each in accounts if each.restriction == restriction), None)
        before = available(wallet)
        label = f"Available for {', '.join(sorted(set(job_types)))}" if job_types else "Available"
        after = before + (asked["credits"] if asked else 0)
        lines = []
        if asked is not None:
            lines = [new_lot(asked["kind"], asked["last_day"]), *debt_line(wallet, asked["credits"])]
        return Preview([Change(label, formats.credits(before), formats.credits(after))], lines, self.seen(accounts))

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        self.require_unchanged()
        credits = asked["credits"] // MICROS
        terms = {
            "credits": credits,
            "actor": actor,
            "key": self.key,
            "reason": asked["reason"],
            "expires_at": end_of(asked["last_day"]),
            "job_types": asked["job_types"],
        }
        if asked["payment_reference"] or asked["payment_usd"]:
            is_subscription = asked["kind"] == Grant.Kind.SUBSCRIPTION
            usd = asked["payment_usd"]
            entry = operators.replenish(
                self.obj,
                payment_type="subscription" if is_subscription else "one_time",
                payment_usd=None if usd is None else Decimal(usd) / NANOUSD,
                payment_id=asked["payment_reference"] or None,
                **terms,
            )
        else:
            entry = operators.add_credits(self.obj, kind=Grant.Kind(asked["kind"]), **terms)
        amount = formats.credits_in_words(asked["credits"])
        return entry_done(f"{amount} given to {self.obj.team_id}.", entry)


def debt_line(account: Account | None, micros: int) -> list[str]:
    """What of new credits pays what was spent without having them."""
    debt = min(account.debt_micros, micros) if account is not None else 0
    return [f"{formats.credits_in_words(debt)} of it pay the debt."] if debt else []


class TakeForm(TypedForm):
    credits = CreditsField()
    field_order = ("credits", "reason")


class AdjustCredits(TeamCredits):
    """Down only: more credits are a grant."""

    form_class = TakeForm
    verb = "Take out"
    busy = "Taking out…"
    is_dangerous = True

    def heading(self) -> str:
        return f"Take credits from {self.obj.team_id}"

    def doing(self) -> str:
        return "take credits from teams"

    def form_kwargs(self) -> dict[str, Any]:
        return {"must_type": self.obj.team_id}

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        accounts = self.accounts()
        general = next((each for each in accounts if not each.restriction), None)
        before = available(general)
        micros = asked["credits"] if asked else 0
        lines = ["It is not a refund, and cannot be undone; a grant can follow."]
        if asked and micros > before:
            lines = [f"More than is available: at most {formats.credits_in_words(max(0, before))} can be taken."]
        elif asked and general is not None:
            lines.insert(0, f"Taken from {lots_in_words(general, micros)}.")
        return Preview(
            [Change("Available", formats.credits(before), formats.credits(before - micros))],
            lines,
            self.seen(accounts),
        )

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        self.require_unchanged()
        entry = operators.take(self.obj, micros=asked["credits"], actor=actor, key=self.key, reason=asked["reason"])
        amount = formats.credits_in_words(asked["credits"])
        return entry_done(f"{amount} taken from {self.obj.team_id}.", entry)


def lots_in_words(account: Account, micros: int) -> str:
    """Which lots an amount would be taken from, in the order in which they burn."""
    taken = []
    now = timezone.now()
    for lot in Grant.objects.filter(account=account, remaining_micros__gt=0):
        if lot.expires_at is not None and lot.expires_at <= now:
            continue
        part = min(micros, lot.remaining_micros)
        if part:
            taken.append(f"lot {str(lot.pk)[-8:]} ({lot.kind}) {formats.credits(part)}")
        micros -= part
    return ", ".join(taken) or "no lot"


class LineForm(TypedForm):
    credits = CreditsField(
        whole=True, zero=True, label="Credit line", help_text="whole credits below zero that it may spend; 0: none"
    )
    field_order = ("credits", "reason")


class SetCreditLine(TeamCredits):
    form_class = LineForm
    verb = "Set credit line"
    busy = "Setting…"
    is_dangerous = True

    def heading(self) -> str:
        return f"Credit line of {self.obj.team_id}"

    def doing(self) -> str:
        return "set credit lines"

    def form_kwargs(self) -> dict[str, Any]:
        return {"must_type": self.obj.team_id}

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        accounts = self.accounts()
        general = next((each for each in accounts if not each.restriction), None)
        before = general.credit_line_micros if general is not None else 0
        after = before if asked is None else asked["credits"]
        left = available(general)
        return Preview(
            [
                Change("Credit line", formats.credits(before), formats.credits(after)),
                Change("Can be spent", formats.credits(left + before), formats.credits(left + after)),
            ],
            [f"At most {formats.count(settings.CREDIT_LINE_MAX_CREDITS)} credits. What is spent on it is debt."],
            f"{self.seen(accounts)}:{before}",
        )

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        operators.set_credit_line(self.obj, credits=asked["credits"] // MICROS, actor=actor, reason=asked["reason"])
        return Done(
            f"The credit line of {self.obj.team_id} is {formats.credits_in_words(asked['credits'])}.", self.back_url()
        )
