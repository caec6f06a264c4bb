"""What a job costs. Terms come from the rate card in force and are frozen on the job; this module is pure but
for reading cards. Exact integer arithmetic, one rounding per charge (docs/ledger.md, "Pricing")."""

from dataclasses import dataclass

from django.conf import settings
from django.db.models import F, Q
from django.db.models.functions import Now

from apps.core.money import MICROS, NANOUSD, PPM
from apps.core.prepared import Select, param
from apps.core.short_cache import ShortCache
from apps.credits.models import RateCard, RateCardVersion
from apps.teams.models import Team

Mode = RateCardVersion.Mode
Rounding = RateCardVersion.Rounding

# A change of prices reaches every process's admissions within this time.
CACHE_S = 0.5
DEFAULT_MICROS_PER_USD = 10 * MICROS
DEFAULT_TOKENS_PER_CREDIT = 10_000


@dataclass(frozen=True, slots=True)
class Terms:
    """How a job is priced: all that hold and charge need, as frozen on the job."""

    mode: str
    card: str
    price_micros: int
    micros_per_usd: int
    tokens_per_credit: int
    markup_ppm: int
    minimum_micros: int
    rounding: str

    @property
    def is_metered(self) -> bool:
        return self.mode in (Mode.METERED_USD, Mode.METERED_TOKENS)


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


_IN_FORCE: Select[RateCardVersion] = Select(
    lambda: RateCardVersion.objects.filter(
        Q(card__team=param("team", RateCard))
        | Q(card__organization=param("organization", RateCard))
        | Q(card__team__isnull=True, card__organization__isnull=True),
        Q(card__job_type="") | Q(card__job_type=param("job_type", RateCard)),
        effective_from__lte=Now(),
    ).order_by(
        F("card__team_id").desc(nulls_last=True),
        F("card__organization_id").desc(nulls_last=True),
        "-card__job_type",
        "-number",
    )[:1]
)


def card_in_force(team: Team, job_type: str) -> RateCardVersion | None:
    """The version that prices this job type now: the team's card before the organization's before the
    platform's, and one for the job type before one for every job type. One query."""
    return _IN_FORCE.first(team=team.pk, organization=team.organization_id, job_type=job_type)


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

    Flat: the price. USD: cost times (1 + markup) times micros per dollar; tokens: tokens / tokens per credit; both
    rounded to whole credits (down by default) and at least the minimum.
    """
    if terms.mode == Mode.METERED_USD:
        # One division, so that one rounding: nothing is lost between markup and conversion.
        numerator = provider_nanousd * (PPM + terms.markup_ppm) * terms.micros_per_usd
        denominator = PPM * NANOUSD
    elif terms.mode == Mode.METERED_TOKENS:
        numerator = tokens * MICROS
        denominator = terms.tokens_per_credit
    else:
        return terms.price_micros
    if terms.rounding == Rounding.NONE:
        micros = numerator // denominator
    elif terms.rounding == Rounding.UP:
        micros = -(-numerator // (denominator * MICROS)) * MICROS
    else:
        micros = numerator // (denominator * MICROS) * MICROS
    return max(terms.minimum_micros, micros)


def token_cost_nanousd(
    *, input_tokens: int, output_tokens: int, input_nanousd_per_mtok: int, output_nanousd_per_mtok: int
) -> int:
    """Provider cost of a call from prices per million tokens, in nano-dollars, rounded up: it is our cost."""
    total = input_tokens * input_nanousd_per_mtok + output_tokens * output_nanousd_per_mtok
    return -(-total // 1_000_000)
