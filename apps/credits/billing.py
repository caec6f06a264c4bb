"""A team's prices and balance as the API speaks of them: budget modes are rate cards underneath."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery, Sum

from apps.core import audit
from apps.core.actors import Actor
from apps.core.errors import InvalidRequest
from apps.core.money import MICROS, PPM, exact_credits, whole_credits
from apps.core.prepared import Select, param
from apps.credits import cards, ledger
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
    """An account's figures in micros. `spendable` is posted less held. What has expired is taken off, also before it
    is posted."""

    allocated_micros: int = 0
    used_micros: int = 0
    posted_micros: int = 0
    held_micros: int = 0
    debt_micros: int = 0
    credit_line_micros: int = 0
    has_restricted: bool = False
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
    "has_restricted",
)


_WALLET: Select[Account] = Select(
    lambda: (
        Account.objects.filter(team=param("team", Account), kind=Account.Kind.WALLET, restriction="")
        .annotate(is_due=ledger.is_due())
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
    return Balance() if wallet is None else balance_of(wallet)


def balance_of(account: Account) -> Balance:
    """The figures of an account that was read with `is_due`."""
    figures = {name: getattr(account, name) for name in _BALANCE_FIELDS}
    if account.is_due:  # type: ignore[attr-defined]
        expired = sum(amount for _, amount in ledger.due_on(account.pk))
        figures["posted_micros"] -= expired
        figures["allocated_micros"] -= expired
    return Balance(**figures, exists=True)


def balance_by_id(account_id: int) -> Balance:
    """The figures of any account."""
    return balance_of(Account.objects.annotate(is_due=ledger.is_due()).get(pk=account_id))


def spendable_on(team: Team, job_type: str, general: Balance) -> int:
    """Micros that a job of this type may hold: of the general wallet, on credit too, and of those that are for such
    jobs alone. A query more for a team that has such wallets."""
    on_general = general.spendable_micros + general.credit_line_micros
    if not general.has_restricted:
        return on_general
    restricted = Account.objects.filter(team=team, kind=Account.Kind.WALLET).exclude(restriction="")
    beside = sum(
        max(0, balance_of(wallet).spendable_micros)
        for wallet in restricted.annotate(is_due=ledger.is_due())
        if job_type in ledger.job_types_of(wallet.restriction)
    )
    # What a take-back left below zero is not made up by others.
    return max(0, on_general) + beside if beside else on_general


def balances(teams: list[Team]) -> dict[int, Balance]:
    """Balances by team's primary key, in one query (and two for each wallet of which something has just expired)."""
    wallets = Account.objects.filter(team__in=teams, kind=Account.Kind.WALLET, restriction="")
    found = {wallet.team_id: balance_of(wallet) for wallet in wallets.annotate(is_due=ledger.is_due())}
    return {team.pk: found.get(team.pk, Balance()) for team in teams}


def with_left(teams: QuerySet[Team], *, only_low: bool = False) -> QuerySet[Team]:
    """Teams with `left_micros` of their general wallet, None without one; what has just expired is still in it.

    `only_low`: those that have a fifth of what they were given, or less.
    """
    wallet = Account.objects.filter(team=OuterRef("pk"), kind=Account.Kind.WALLET, restriction="")
    left = F("posted_micros") - F("held_micros")
    found = teams.annotate(left_micros=Subquery(wallet.annotate(left=left).values("left")))
    if not only_low:
        return found
    return found.filter(Exists(wallet.filter(allocated_micros__gt=0, allocated_micros__gte=left * 5)))


def plans(teams: list[Team]) -> dict[int, Plan]:
    """Plans by team's primary key, as in force now: two queries, whatever the number of teams."""
    in_force: dict[int, RateCardVersion] = {}
    own = cards.begun().filter(card__team__in=teams, card__job_type="").select_related("card")
    for version in own.order_by("effective_from", "number"):
        in_force[version.card.team_id or 0] = version
    hidden = set(BillingSettings.objects.filter(team__in=teams, show_costs=False).values_list("team_id", flat=True))
    return {team.pk: _plan(in_force.get(team.pk), show_costs=team.pk not in hidden) for team in teams}


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
    """An entry as one account sees it: its number there, and what was posted before and after it, in micros."""

    entry: Entry
    number: int
    before_micros: int
    after_micros: int


def postings(team: Team, *, limit: int, offset: int, job_types: Sequence[str] = ()) -> tuple[int, list[Posting]]:
    """How many entries the team's general wallet has (or the one restricted to `job_types`), and a page of them."""
    restriction = ",".join(sorted(set(job_types)))
    wallet = Account.objects.filter(team=team, kind=Account.Kind.WALLET, restriction=restriction).first()
    return (0, []) if wallet is None else postings_on(wallet, limit=limit, offset=offset)


def postings_on(account: Account, *, limit: int, offset: int) -> tuple[int, list[Posting]]:
    """How many entries an account has, and a page of them, newest first.

    Pages go by the account's gapless numbers: a page costs the same however long the ledger is.
    """
    last = account.seq - offset
    numbers = (last - limit + 1, last)
    entries = Entry.objects.filter(
        Q(credit_account=account, credit_seq__range=numbers) | Q(debit_account=account, debit_seq__range=numbers)
    )
    page = [seen_by(account, entry) for entry in entries.order_by()]
    return account.seq, sorted(page, key=lambda posting: posting.number, reverse=True)


def posting(team: Team, entry_id: str) -> Posting:
    """One entry of one of the team's wallets."""
    entry = Entry.objects.select_related("debit_account", "credit_account").get(pk=entry_id)
    own = entry.credit_account if entry.credit_account.team_id == team.pk else entry.debit_account
    assert own.team_id == team.pk, "who has an entry has a wallet"
    return seen_by(own, entry)


def moved_to_wallets_micros(pool: Account) -> int:
    """What an organization's teams have had of its pool, less what was reclaimed."""
    moved = Q(kind=Entry.Kind.ALLOCATE, debit_account=pool), Q(kind=Entry.Kind.RECLAIM, credit_account=pool)
    given, back = (Entry.objects.filter(each).aggregate(sum=Sum("amount_micros"))["sum"] or 0 for each in moved)
    return int(given - back)


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
        card = cards.locked(RateCard.objects.get_or_create(team=team, job_type="")[0])
        old = cards.in_force(card)
        before = _plan(old, show_costs=True)
        terms = cards.columns_of(old) if old else {"price_micros": settings.DEFAULT_CREDITS_PER_JOB * MICROS}
        terms["mode"] = BUDGET_MODES[budget_mode] if budget_mode else (old.mode if old else Mode.FLAT)
        if terms["mode"] != Mode.HYBRID:
            terms |= {"allowance_nanousd": None, "allowance_tokens": None}
        if credits_per_dollar is not None:
            terms["micros_per_usd"] = int(credits_per_dollar * MICROS) or 1
        if tokens_per_credit is not None:
            terms["tokens_per_credit"] = tokens_per_credit
        if cost_markup_percentage is not None:
            terms["markup_ppm"] = int(cost_markup_percentage * PPM / 100)
        version = cards.put_in_force(card, terms, actor=actor)
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


def _audited(plan: Plan) -> dict[str, Any]:
    return {
        "budget_mode": plan.budget_mode,
        "micros_per_usd": plan.micros_per_usd,
        "tokens_per_credit": plan.tokens_per_credit,
        "markup_ppm": plan.markup_ppm,
    }
