"""A team's prices and balance as the API speaks of them: budget modes are rate cards underneath."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from apps.core import audit
from apps.core.actors import Actor
from apps.core.errors import InvalidRequest
from apps.core.money import MICROS, PPM, exact_credits, whole_credits
from apps.core.prepared import Select, param
from apps.credits.models import Account, BillingSettings, Entry, RateCard, RateCardVersion
from apps.credits.pricing import DEFAULT_MICROS_PER_USD, DEFAULT_TOKENS_PER_CREDIT, Mode
from apps.teams.models import Team

BUDGET_MODES = {
    "job_based": Mode.FLAT,
    "consumption_usd": Mode.METERED_USD,
    "consumption_tokens": Mode.METERED_TOKENS,
}
_BUDGET_MODE_OF = {mode: name for name, mode in BUDGET_MODES.items()}


@dataclass(frozen=True, slots=True)
class Balance:
    """A general wallet's figures in micros. `spendable` is posted less held."""

    allocated_micros: int = 0
    used_micros: int = 0
    posted_micros: int = 0
    held_micros: int = 0
    debt_micros: int = 0
    credit_line_micros: int = 0
    exists: bool = False

    @property
    def spendable_micros(self) -> int:
        return self.posted_micros - self.held_micros

    def as_wire(self) -> dict[str, Any]:
        """Whole credits as integers, floored: what is shown can be spent. `credits_exact` is the exact figure."""
        return {
            "credits_allocated": whole_credits(self.allocated_micros),
            "credits_used": whole_credits(self.used_micros),
            "credits_remaining": whole_credits(self.spendable_micros),
            "credits_held": whole_credits(self.held_micros),
            "credits_exact": exact_credits(self.spendable_micros),
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """How a team is priced, in the API's words."""

    budget_mode: str
    micros_per_usd: int
    tokens_per_credit: int
    markup_ppm: int
    uses_default_rate: bool
    uses_default_tokens: bool
    show_costs: bool

    @property
    def credits_per_dollar(self) -> float:
        return float(Decimal(self.micros_per_usd) / MICROS)

    @property
    def cost_markup_percentage(self) -> float:
        return float(Decimal(self.markup_ppm) * 100 / PPM)


_BALANCE_FIELDS = (
    "allocated_micros",
    "used_micros",
    "posted_micros",
    "held_micros",
    "debt_micros",
    "credit_line_micros",
)


_WALLET: Select[Account] = Select(
    lambda: (
        Account.objects.filter(team=param("team", Account), kind=Account.Kind.WALLET, restriction="")
        .only(*_BALANCE_FIELDS)
        .order_by()[:1]
    )
)
_HIDES_COSTS: Select[BillingSettings] = Select(
    lambda: BillingSettings.objects.filter(team=param("team", BillingSettings), show_costs=False).only("team_id")[:1]
)


def balance(team: Team) -> Balance:
    """The team's general wallet; all zero (and `exists` false) before it has one."""
    wallet = _WALLET.first(team=team.pk)
    if wallet is None:
        return Balance()
    return Balance(**{name: getattr(wallet, name) for name in _BALANCE_FIELDS}, exists=True)


def balances(teams: list[Team]) -> dict[int, Balance]:
    """Balances by team's primary key, in one query."""
    rows = Account.objects.filter(team__in=teams, kind=Account.Kind.WALLET, restriction="").values(
        "team_id", *_BALANCE_FIELDS
    )
    found = {row.pop("team_id"): Balance(**row, exists=True) for row in rows}
    return {team.pk: found.get(team.pk, Balance()) for team in teams}


def plans(teams: list[Team]) -> dict[int, Plan]:
    """Plans by team's primary key: two queries, whatever the number of teams."""
    newest: dict[int, RateCardVersion] = {}
    for version in RateCardVersion.objects.filter(card__team__in=teams, card__job_type="").select_related("card"):
        known = newest.get(version.card.team_id or 0)
        if known is None or known.number < version.number:
            newest[version.card.team_id or 0] = version
    hidden = set(BillingSettings.objects.filter(team__in=teams, show_costs=False).values_list("team_id", flat=True))
    return {team.pk: _plan(newest.get(team.pk), show_costs=team.pk not in hidden) for team in teams}


def plan(team: Team) -> Plan:
    """The team's own card for every job type, or the platform's defaults."""
    return plans([team])[team.pk]


def shows_costs(team: Team) -> bool:
    """Whether the team's keys see what calls cost in USD."""
    return _HIDES_COSTS.first(team=team.pk) is None


def cancels_left_streams(team: Team) -> bool:
    """Whether a stream of the team whose client left is broken off, instead of finished and paid whole."""
    return BillingSettings.objects.filter(team=team, cancels_left_streams=True).exists()


def _plan(version: RateCardVersion | None, *, show_costs: bool) -> Plan:
    return Plan(
        budget_mode=_BUDGET_MODE_OF.get(Mode(version.mode), "job_based") if version else "job_based",
        micros_per_usd=(version.micros_per_usd if version else None) or DEFAULT_MICROS_PER_USD,
        tokens_per_credit=(version.tokens_per_credit if version else None) or DEFAULT_TOKENS_PER_CREDIT,
        markup_ppm=version.markup_ppm if version else 0,
        uses_default_rate=version is None or version.micros_per_usd is None,
        uses_default_tokens=version is None or version.tokens_per_credit is None,
        show_costs=show_costs,
    )


@dataclass(frozen=True, slots=True)
class Posting:
    """An entry as one wallet sees it: its number there, and what was posted before and after it, in micros."""

    entry: Entry
    number: int
    before_micros: int
    after_micros: int


def postings(team: Team, *, limit: int, offset: int) -> tuple[int, list[Posting]]:
    """How many entries the team's general wallet has, and a page of them, newest first. Two queries.

    Pages go by the wallet's gapless numbers: a page costs the same however long the ledger is.
    """
    wallet = _wallet(team)
    if wallet is None:
        return 0, []
    last = wallet.seq - offset
    numbers = (last - limit + 1, last)
    entries = Entry.objects.filter(
        Q(credit_account=wallet, credit_seq__range=numbers) | Q(debit_account=wallet, debit_seq__range=numbers)
    )
    page = [seen_by(wallet, entry) for entry in entries.order_by()]
    return wallet.seq, sorted(page, key=lambda posting: posting.number, reverse=True)


def posting(team: Team, entry_id: str) -> Posting:
    """One entry of the team's general wallet."""
    wallet = _wallet(team)
    assert wallet is not None, "who has an entry has a wallet"
    return seen_by(wallet, Entry.objects.get(Q(credit_account=wallet) | Q(debit_account=wallet), pk=entry_id))


def _wallet(team: Team) -> Account | None:
    return Account.objects.filter(team=team, kind=Account.Kind.WALLET, restriction="").first()


def seen_by(wallet: Account, entry: Entry) -> Posting:
    """An entry as this account, one of its two sides, sees it."""
    if entry.credit_account_id == wallet.pk:
        after = entry.credit_balance_micros or 0
        return Posting(entry, entry.credit_seq or 0, after - entry.amount_micros, after)
    after = entry.debit_balance_micros or 0
    return Posting(entry, entry.debit_seq or 0, after + entry.amount_micros, after)


def change_plan(
    team: Team,
    *,
    actor: Actor,
    budget_mode: str | None = None,
    credits_per_dollar: Decimal | None = None,
    tokens_per_credit: int | None = None,
    cost_markup_percentage: Decimal | None = None,
) -> Plan:
    """Put a new version of the team's card in force; fields not given stay. Jobs begun keep their terms.

    Raises: InvalidRequest for an unknown budget mode or a rate that is not positive.
    """
    if budget_mode is not None and budget_mode not in BUDGET_MODES:
        raise InvalidRequest("budget_mode must be one of: job_based, consumption_usd, consumption_tokens")
    if credits_per_dollar is not None and not Decimal(0) < credits_per_dollar <= 1_000_000:
        raise InvalidRequest("credits_per_dollar must be a positive number")
    if tokens_per_credit is not None and not 0 < tokens_per_credit <= 1_000_000_000_000:
        raise InvalidRequest("tokens_per_credit must be a positive integer")
    if cost_markup_percentage is not None and not Decimal(0) <= cost_markup_percentage <= 100_000:
        raise InvalidRequest("cost_markup_percentage must be a number from 0 to 100000")
    with transaction.atomic():
        card, _ = RateCard.objects.get_or_create(team=team, job_type="")
        # The card's lock makes version numbers follow each other.
        RateCard.objects.select_for_update().get(pk=card.pk)
        old = card.versions.order_by("-number").first()
        before = _plan(old, show_costs=True)
        version = RateCardVersion.objects.create(
            card=card,
            number=old.number + 1 if old else 1,
            mode=BUDGET_MODES[budget_mode] if budget_mode else (old.mode if old else Mode.FLAT),
            price_micros=_flat_price(old),
            micros_per_usd=(
                int(credits_per_dollar * MICROS) or 1
                if credits_per_dollar is not None
                else (old.micros_per_usd if old else None)
            ),
            tokens_per_credit=tokens_per_credit or (old.tokens_per_credit if old else None),
            markup_ppm=(
                int(cost_markup_percentage * PPM / 100)
                if cost_markup_percentage is not None
                else (old.markup_ppm if old else 0)
            ),
            created_by=str(actor),
        )
        after = _plan(version, show_costs=True)
        audit.record(
            "team.pricing",
            actor=actor,
            kind="team",
            id=team.team_id,
            before=_audited(before),
            after=_audited(after),
        )
    return plan(team)


def _flat_price(old: RateCardVersion | None) -> int:
    return old.price_micros if old else settings.DEFAULT_CREDITS_PER_JOB * MICROS


def _audited(plan: Plan) -> dict[str, Any]:
    return {
        "budget_mode": plan.budget_mode,
        "micros_per_usd": plan.micros_per_usd,
        "tokens_per_credit": plan.tokens_per_credit,
        "markup_ppm": plan.markup_ppm,
    }
