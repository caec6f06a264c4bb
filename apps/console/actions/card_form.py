"""The terms of a rate card as a form, and what differs between two versions, in words."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import TextChoices

from apps.console.actions.base import ActionForm, Change
from apps.core import crypto
from apps.core.admin_base import show_refusal
from apps.core.bodies import validate
from apps.core.errors import DomainError, NotFound
from apps.credits import card_terms, cards
from apps.credits.card_terms import Columns, TermsInput
from apps.credits.models import RateCard, RateCardVersion
from apps.organizations import services as organizations
from apps.teams import services as teams

_Version = RateCardVersion
NAMES = tuple(TermsInput.model_fields)
LABELS = {
    "mode": "Kind",
    "price_credits": "Price, credits",
    "credits_per_dollar": "Credits per dollar",
    "tokens_per_credit": "Tokens per credit",
    "cost_markup_percentage": "Markup, %",
    "minimum_credits": "Minimum, credits",
    "ceiling_credits": "Ceiling, credits",
    "allowance_usd": "Provider cost in the price, USD",
    "allowance_tokens": "Tokens in the price",
    "cost_cap_usd": "Cap of provider cost, USD",
    "included_tries": "Failed tries included",
    "rounding": "Rounding",
    "on_failed": "Failed jobs",
    "on_cancelled": "Cancelled jobs",
    "on_partly_failed": "Partly failed jobs",
    "on_abandoned": "Abandoned jobs",
    "policy_percent": "Percent of a policy",
}


def _amount(name: str, help_text: str = "") -> forms.DecimalField:
    widget = forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"})
    return forms.DecimalField(
        label=LABELS[name], required=False, min_value=Decimal(0), widget=widget, help_text=help_text
    )


def _whole(name: str, help_text: str = "", *, least: int = 0, most: int | None = None) -> forms.IntegerField:
    widget = forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"})
    return forms.IntegerField(
        label=LABELS[name], required=False, min_value=least, max_value=most, widget=widget, help_text=help_text
    )


def _choice(name: str, choices: type[TextChoices], help_text: str = "") -> forms.ChoiceField:
    """One of these; the first is the default."""
    return forms.ChoiceField(
        label=LABELS[name], choices=choices.choices, initial=choices.values[0], help_text=help_text
    )


class TermsForm(ActionForm):
    """The terms of a version; what is left empty is as the default says."""

    mode = _choice("mode", _Version.Mode)
    price_credits = _amount("price_credits", "flat and hybrid; empty: 1")
    credits_per_dollar = _amount("credits_per_dollar", "metered in USD, and policies at cost; empty: 10")
    tokens_per_credit = _whole("tokens_per_credit", "metered in tokens; empty: 10,000", least=1)
    cost_markup_percentage = _amount("cost_markup_percentage", "on the provider's cost")
    minimum_credits = _amount("minimum_credits", "metered; empty: 1")
    ceiling_credits = _amount("ceiling_credits", "metered and hybrid; empty: none")
    allowance_usd = _amount("allowance_usd", "hybrid: this or the tokens in the price")
    allowance_tokens = _whole("allowance_tokens", "hybrid")
    cost_cap_usd = _amount("cost_cap_usd", "calls beyond it are refused; empty: none")
    included_tries = _whole("included_tries", "those beyond are the customer's; empty: all are the platform's")
    rounding = _choice("rounding", _Version.Rounding, "of metered credits")
    on_failed = _choice("on_failed", _Version.Policy)
    on_cancelled = _choice("on_cancelled", _Version.Policy)
    on_partly_failed = _choice("on_partly_failed", _Version.PartlyPolicy)
    on_abandoned = _choice("on_abandoned", _Version.AbandonedPolicy)
    policy_percent = _whole("policy_percent", "of the price, when failed or cancelled by percent", most=100)

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                columns_of(given)
            except DomainError as error:
                show_refusal(self, error)
        return given


class NewCardForm(TermsForm):
    """Whose card it is, for which jobs, and the terms of its first draft."""

    team_id = forms.CharField(label="Team", required=False, max_length=255, help_text="its id, or")
    organization_id = forms.CharField(
        label="Organization", required=False, max_length=255, help_text="its id; neither: the platform's card"
    )
    job_type = forms.CharField(
        max_length=100, required=False, help_text="empty: every job type without a card of its own"
    )
    field_order = ("team_id", "organization_id", "job_type")

    def clean_team_id(self) -> Any:
        return _found(teams.find, self.cleaned_data["team_id"])

    def clean_organization_id(self) -> Any:
        return _found(organizations.find, self.cleaned_data["organization_id"])


def _found(find: Any, public_id: str) -> Any:
    try:
        return find(public_id) if public_id else None
    except NotFound as error:
        raise ValidationError(error.message) from None


def columns_of(asked: Mapping[str, Any]) -> Columns:
    """What was typed, as columns. Raises: InvalidField, also for terms that contradict each other."""
    given = {name: asked[name] for name in NAMES if asked.get(name) not in (None, "")}
    return card_terms.columns(validate(TermsInput, given))


def given_of(version: RateCardVersion | None) -> dict[str, Any]:
    """A version's terms as the form takes them; without one those of the form."""
    return card_terms.as_given(version) if version else {}


def fingerprint(version: RateCardVersion | None) -> str:
    """What a version's terms are, for comparing."""
    if version is None:
        return ""
    text = repr(sorted((name, str(value)) for name, value in card_terms.columns_of(version).items()))
    return f"{version.pk}.{crypto.fingerprint(text.encode())[:16]}"


def changes(before: RateCardVersion | None, after: Columns) -> list[Change]:
    """The terms that differ, now and then; without a version before, all that say something."""
    new = card_terms.as_wire(RateCardVersion(**after))
    old = card_terms.as_wire(before) if before else dict.fromkeys(new)
    return [
        Change(LABELS[name], shown(old[name]), shown(new[name]))
        for name in NAMES
        if old[name] != new[name] and not (before is None and new[name] in (None, 0, "0"))
    ]


def shown(value: Any) -> str:
    """A term in words."""
    if value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("_", " ")


def merged(base: RateCardVersion | None, mine: Columns, current: RateCardVersion | None) -> tuple[Columns, list[str]]:
    """Three versions in one: what I changed since the base is mine, the rest is as in force now; and each term that
    was changed meanwhile, in words. A merge that contradicts itself is refused by the form later."""
    if base is None or current is None:
        return mine, []
    was, now = card_terms.columns_of(base), card_terms.columns_of(current)
    found = {name: mine[name] if mine[name] != was[name] else now[name] for name in was}
    words = [card_terms.as_wire(each) for each in (base, current, RateCardVersion(**mine))]
    lines: list[str] = []
    for name in NAMES:
        old, new, typed = (each[name] for each in words)
        if new != old:
            taken = "yours stays" if typed != old else "taken, since you had not changed it"
            lines.append(
                f"{LABELS[name]}: you started from {shown(old)}; in force is {shown(new)}; yours is {shown(typed)};"
                f" {taken}."
            )
    return found, lines


def came_into_force(base: RateCardVersion | None, current: RateCardVersion | None) -> str:
    """That another version has come into force since a draft was begun; empty when none has."""
    if current is None or (base is not None and base.pk == current.pk):
        return ""
    start = f"from {base.number}" if base else "before there was one"
    return f"Version {current.number} came into force after you started {start}."


def state_of(version: RateCardVersion, current: RateCardVersion | None, now: datetime) -> str:
    """Draft, in force, scheduled or past."""
    if version.state == cards.State.DRAFT:
        return "draft"
    if current is not None and version.pk == current.pk:
        return "in force"
    return "scheduled" if version.effective_from > now else "past"


def applies_to(card: RateCard) -> str:
    """Whose jobs a card prices."""
    if card.team is not None:
        return f"team {card.team.team_id}"
    return f"organization {card.organization.organization_id}" if card.organization else "platform"


def name_of(card: RateCard) -> str:
    return card.job_type or "every job type"
