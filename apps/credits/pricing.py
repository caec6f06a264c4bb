"""What a job costs. Terms come from the rate card in force and are frozen on the job; this module is pure but
for reading cards. Exact integer arithmetic, one rounding per charge (docs/ledger.md, "Pricing")."""

from dataclasses import MISSING, dataclass, fields
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from apps.core.money import MICROS, NANOUSD, PPM
from apps.core.prepared import Select, param
from apps.core.short_cache import ShortCache
from apps.credits.models import RateCard, RateCardVersion
from apps.teams.models import Team

Mode = RateCardVersion.Mode
Rounding = RateCardVersion.Rounding
Policy = RateCardVersion.Policy
PartlyPolicy = RateCardVersion.PartlyPolicy
AbandonedPolicy = RateCardVersion.AbandonedPolicy

# A change of prices reaches every process's admissions within this time.
CACHE_S = 0.5
DEFAULT_MICROS_PER_USD = 10 * MICROS
DEFAULT_TOKENS_PER_CREDIT = 10_000


@dataclass(frozen=True, slots=True)
class Terms:
    """How a job is priced: all that hold and charge need, as frozen on the job.

    Fields with a default came later: jobs keep rows that lack them, and do without those that are as the default.
    """

    mode: str
    card: str
    price_micros: int
    micros_per_usd: int
    tokens_per_credit: int
    markup_ppm: int
    minimum_micros: int
    rounding: str
    ceiling_micros: int | None = None
    allowance_nanousd: int | None = None
    allowance_tokens: int | None = None
    cost_cap_nanousd: int | None = None
    included_tries: int | None = None
    on_failed: str = Policy.FREE.value
    on_cancelled: str = Policy.FREE.value
    on_partly_failed: str = PartlyPolicy.FULL.value
    on_abandoned: str = AbandonedPolicy.COMPLETED.value
    policy_percent: int = 0

    @property
    def is_metered(self) -> bool:
        """Whether the price follows from what was used, so that the hold grows with the calls."""
        if self.mode == Mode.HYBRID:
            return self.allowance_nanousd is not None or self.allowance_tokens is not None
        return self.mode in (Mode.METERED_USD, Mode.METERED_TOKENS)

    @property
    def rests_on_bounds(self) -> bool:
        """Whether a call may enter only within its bound: metered, or under a cap of provider cost."""
        return self.cost_cap_nanousd is not None or self.is_metered

    @property
    def needs_prices(self) -> bool:
        """Whether a model of unknown price cannot be used."""
        return (
            self.mode == Mode.METERED_USD
            or (self.mode == Mode.HYBRID and self.allowance_nanousd is not None)
            or self.cost_cap_nanousd is not None
        )

    def frozen(self) -> dict[str, Any]:
        """As a job keeps them: later fields only where they say something."""
        kept = {name: getattr(self, name) for name in _FIRST_FIELDS}
        for name, default in _LATER_FIELDS.items():
            value = getattr(self, name)
            if value != default:
                kept[name] = value
        return kept


_FIRST_FIELDS = tuple(field.name for field in fields(Terms) if field.default is MISSING)
_LATER_FIELDS = {field.name: field.default for field in fields(Terms) if field.default is not MISSING}


def default_terms() -> Terms:
    """The platform's terms without any card: one flat price a job."""
    return Terms(
        mode=Mode.FLAT,
        card="default",
        price_micros=settings.DEFAULT_CREDITS_PER_JOB * MICROS,
        micros_per_usd=DEFAULT_MICROS_PER_USD,
        tokens_per_credit=DEFAULT_TOKENS_PER_CREDIT,
        markup_ppm=0,
        minimum_micros=MICROS,
        rounding=Rounding.DOWN,
    )


def _candidates(team: Any, organization: Any, job_type: Any, at: Any) -> QuerySet[RateCardVersion]:
    """Versions that may price the job type at an instant, the one that does first: the nearest card's, and of it the
    one that began last."""
    return RateCardVersion.objects.filter(
        Q(card__team=team)
        | Q(card__organization=organization)
        | Q(card__team__isnull=True, card__organization__isnull=True),
        Q(card__job_type="") | Q(card__job_type=job_type),
        state=RateCardVersion.State.ACTIVE,
        effective_from__lte=at,
    ).order_by(
        F("card__team_id").desc(nulls_last=True),
        F("card__organization_id").desc(nulls_last=True),
        "-card__job_type",
        "-effective_from",
        "-number",
    )


_IN_FORCE: Select[RateCardVersion] = Select(
    lambda: _candidates(param("team", RateCard), param("organization", RateCard), param("job_type", RateCard), Now())[
        :1
    ]
)


def card_in_force(team: Team, job_type: str) -> RateCardVersion | None:
    """The version that prices this job type now: the team's card before the organization's before the
    platform's, and one for the job type before one for every job type. One query."""
    return _IN_FORCE.first(team=team.pk, organization=team.organization_id, job_type=job_type)


def candidates(team: Team, job_type: str, *, at: datetime | None = None) -> QuerySet[RateCardVersion]:
    """All versions that had begun by an instant (now without one) and may price this job type, the one in force
    first, with their cards."""
    found = _candidates(team.pk, team.organization_id, job_type, at or Now())
    return found.select_related("card__team", "card__organization")


def terms_of(version: RateCardVersion | None) -> Terms:
    """A card version as terms; without a card, the platform's default."""
    if version is None:
        return default_terms()
    return Terms(
        mode=version.mode,
        card=str(version.pk),
        price_micros=version.price_micros,
        micros_per_usd=version.micros_per_usd or DEFAULT_MICROS_PER_USD,
        tokens_per_credit=version.tokens_per_credit or DEFAULT_TOKENS_PER_CREDIT,
        markup_ppm=version.markup_ppm,
        minimum_micros=version.minimum_micros,
        rounding=version.rounding,
        **{name: getattr(version, name) for name in _LATER_FIELDS},
    )


_cache: ShortCache[Terms] = ShortCache(seconds=CACHE_S)


def terms_in_force(team: Team, job_type: str) -> Terms:
    """What a job of this type costs the team, by the card that was in force at most CACHE_S ago."""
    return _cache.get((team.pk, team.organization_id, job_type), lambda: terms_of(card_in_force(team, job_type)))


def forget_cached() -> None:
    """Empty this process's cache: after a change made here (by a signal of the models), and between tests."""
    _cache.clear()


def client_cost_nanousd(provider_nanousd: int, *, markup_ppm: int) -> int:
    """Provider cost with markup, in nano-dollars, rounded down."""
    return provider_nanousd * (PPM + markup_ppm) // PPM


def price(terms: Terms, *, provider_nanousd: int, tokens: int) -> int:
    """Micros of a credit for a job of this cost and this many tokens.

    Flat: the price. Metered in USD: cost times (1 + markup) times micros per dollar; in tokens: tokens / tokens per
    credit; both rounded to whole credits (down by default) and at least the minimum. Hybrid: the price, and the same
    for what is beyond the allowance. Never above the ceiling. More work never costs less.
    """
    if not terms.is_metered:
        return terms.price_micros
    if terms.mode == Mode.HYBRID:
        micros = terms.price_micros + _metered_beyond_allowance(terms, provider_nanousd, tokens)
    elif terms.mode == Mode.METERED_USD:
        micros = max(terms.minimum_micros, _rounded(terms, *_of_cost(terms, provider_nanousd)))
    else:
        micros = max(terms.minimum_micros, _rounded(terms, *_of_tokens(terms, tokens)))
    return micros if terms.ceiling_micros is None else min(micros, terms.ceiling_micros)


def cost_micros(terms: Terms, nanousd: int) -> int:
    """Provider cost with markup in micros of a credit, rounded down to the micro."""
    numerator, denominator = _of_cost(terms, nanousd)
    return numerator // denominator


def _metered_beyond_allowance(terms: Terms, provider_nanousd: int, tokens: int) -> int:
    if terms.allowance_nanousd is not None:
        beyond = _of_cost(terms, max(0, provider_nanousd - terms.allowance_nanousd))
    else:
        beyond = _of_tokens(terms, max(0, tokens - (terms.allowance_tokens or 0)))
    return _rounded(terms, *beyond)


def _of_cost(terms: Terms, nanousd: int) -> tuple[int, int]:
    """Micros of a provider cost with markup, as a fraction: one division is one rounding, and nothing is lost
    between markup and conversion."""
    return nanousd * (PPM + terms.markup_ppm) * terms.micros_per_usd, PPM * NANOUSD


def _of_tokens(terms: Terms, tokens: int) -> tuple[int, int]:
    return tokens * MICROS, terms.tokens_per_credit


def _rounded(terms: Terms, numerator: int, denominator: int) -> int:
    if terms.rounding == Rounding.NONE:
        return numerator // denominator
    if terms.rounding == Rounding.UP:
        return -(-numerator // (denominator * MICROS)) * MICROS
    return numerator // (denominator * MICROS) * MICROS
