"""What a job costs: every mode, rounding, markup and minimum, in exact integers."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from apps.catalog.rates import Rates
from apps.core.money import MICROS, NANOUSD, PPM
from apps.credits import billing, pricing
from apps.credits.models import RateCard, RateCardVersion
from tests import make

FLAT = pricing.Terms(
    mode="flat",
    card="default",
    price_micros=MICROS,
    micros_per_usd=10 * MICROS,
    tokens_per_credit=10_000,
    markup_ppm=0,
    minimum_micros=MICROS,
    rounding="down",
)
IN_USD = replace(FLAT, mode="metered_usd")
IN_TOKENS = replace(FLAT, mode="metered_tokens")


def credits(terms: pricing.Terms, *, usd: str = "0", tokens: int = 0) -> Decimal:
    """The price in credits of a job that cost `usd` and used `tokens`."""
    micros = pricing.price(terms, provider_nanousd=int(Decimal(usd) * NANOUSD), tokens=tokens)
    return Decimal(micros) / MICROS


@pytest.mark.parametrize(("usd", "tokens"), [("0", 0), ("1000", 10**9)])
def test_flat_job_costs_its_price_whatever_it_used(usd, tokens):
    assert credits(replace(FLAT, price_micros=3 * MICROS), usd=usd, tokens=tokens) == 3


def test_hybrid_job_costs_its_price():
    assert credits(replace(FLAT, mode="hybrid", price_micros=2 * MICROS), usd="1000") == 2


@pytest.mark.parametrize(
    ("usd", "expected"),
    [
        ("0", 1),
        ("0.000000001", 1),
        ("0.0999", 1),
        ("0.199999999", 1),
        ("0.2", 2),
        ("0.75", 7),
        ("1.52", 15),
        ("99.999999999", 999),
        ("100", 1000),
    ],
)
def test_job_metered_in_usd_at_ten_credits_a_dollar(usd, expected):
    assert credits(IN_USD, usd=usd) == expected


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [(0, 1), (1, 1), (9_999, 1), (10_000, 1), (15_000, 1), (19_999, 1), (20_000, 2), (45_000, 4), (10**9, 100_000)],
)
def test_job_metered_in_tokens_at_ten_thousand_a_credit(tokens, expected):
    assert credits(IN_TOKENS, tokens=tokens) == expected


def test_fifteen_thousand_tokens_at_five_thousand_a_credit_are_three():
    assert credits(replace(IN_TOKENS, tokens_per_credit=5_000), tokens=15_000) == 3


@pytest.mark.parametrize(
    ("rounding", "usd", "expected"),
    [
        ("down", "0.152", 1),
        ("up", "0.152", 2),
        ("none", "0.152", "1.52"),
        ("down", "0.2", 2),
        ("up", "0.2", 2),
        ("none", "0.2", 2),
        ("up", "0.200000001", 3),
        ("none", "0.1234567891", "1.234567"),
        ("none", "0.05", 1),
    ],
)
def test_rounding_of_a_card(rounding, usd, expected):
    assert credits(replace(IN_USD, rounding=rounding), usd=usd) == Decimal(expected)


@pytest.mark.parametrize(("rounding", "expected"), [("down", 4), ("up", 5), ("none", "4.5")])
def test_rounding_of_tokens(rounding, expected):
    assert credits(replace(IN_TOKENS, rounding=rounding), tokens=45_000) == Decimal(expected)


@pytest.mark.parametrize(
    ("percent", "usd", "expected"),
    [("0", "1", 10), ("20", "1", 12), ("100", "0.75", 15), ("33.3333", "0.3", 3), ("0.0001", "1", 10)],
)
def test_markup_is_paid_before_the_one_rounding(percent, usd, expected):
    marked_up = replace(IN_USD, markup_ppm=int(Decimal(percent) * PPM / 100))

    assert credits(marked_up, usd=usd) == expected


def test_markup_and_rate_are_not_rounded_in_between():
    terms = replace(IN_USD, markup_ppm=333_333, micros_per_usd=3_000_000 * MICROS, rounding="none", minimum_micros=0)

    # A nano-dollar with its markup would round to a nano-dollar: 3,000 micros.
    assert pricing.client_cost_nanousd(1, markup_ppm=333_333) == 1
    assert pricing.price(terms, provider_nanousd=1, tokens=0) == 3_999


def test_markup_does_not_touch_tokens_or_flat_prices():
    assert credits(replace(IN_TOKENS, markup_ppm=PPM), tokens=20_000) == 2
    assert credits(replace(FLAT, markup_ppm=PPM), usd="1") == 1


@pytest.mark.parametrize(("minimum", "expected"), [(0, 0), (MICROS // 2, Decimal("0.5")), (3 * MICROS, 3)])
def test_job_costs_at_least_the_minimum(minimum, expected):
    assert credits(replace(IN_USD, minimum_micros=minimum), usd="0.05") == expected


def test_minimum_does_not_raise_what_is_above_it():
    assert credits(replace(IN_USD, minimum_micros=3 * MICROS), usd="0.5") == 5


@pytest.mark.parametrize(
    ("tokens_in", "tokens_out", "price_in", "price_out", "expected"),
    [
        (1_000_000, 1_000_000, 3 * NANOUSD, 15 * NANOUSD, 18 * NANOUSD),
        (1, 0, 1, 0, 1),
        (1, 1, 150, 600, 1),
        (0, 0, NANOUSD, NANOUSD, 0),
        (1_234, 567, 150_000_000, 600_000_000, 525_300),
    ],
)
def test_cost_of_tokens_is_rounded_up_once(tokens_in, tokens_out, price_in, price_out, expected):
    cost = Rates(price_in, price_out).cost_nanousd({"input": tokens_in, "output": tokens_out})

    assert cost == expected


_TERMS = st.builds(
    pricing.Terms,
    mode=st.sampled_from(["metered_usd", "metered_tokens"]),
    card=st.just("c"),
    price_micros=st.integers(0, 10**9),
    micros_per_usd=st.integers(1, 10**12),
    tokens_per_credit=st.integers(1, 10**12),
    markup_ppm=st.integers(0, 10**9),
    minimum_micros=st.integers(0, 10**9),
    rounding=st.sampled_from(["down", "up", "none"]),
)
_COST = st.integers(0, 10**15)
_TOKENS = st.integers(0, 10**12)


@given(terms=_TERMS, cost=_COST, tokens=_TOKENS, more_cost=_COST, more_tokens=_TOKENS)
def test_more_work_never_costs_less(terms, cost, tokens, more_cost, more_tokens):
    """A hold for a bound covers whatever stays within the bound only because of this."""
    price = pricing.price(terms, provider_nanousd=cost, tokens=tokens)

    assert price <= pricing.price(terms, provider_nanousd=cost + more_cost, tokens=tokens + more_tokens)
    assert price >= terms.minimum_micros


@given(calls=st.lists(st.tuples(_TOKENS, _TOKENS), max_size=5), price_in=_COST, price_out=_COST)
def test_calls_within_their_bounds_cost_at_most_the_sum_of_their_bounds(calls, price_in, price_out):
    def cost(tokens_in: int, tokens_out: int) -> int:
        return Rates(price_in, price_out).cost_nanousd({"input": tokens_in, "output": tokens_out})

    assert sum(cost(i // 2, o // 3) for i, o in calls) <= sum(cost(i, o) for i, o in calls)


# --- Which card is in force --------------------------------------------------------------------------------


@pytest.fixture
def acme_team(db):
    return make.customer(credits=0).team


def card(price: int, *, effective_from=None, **owner) -> RateCardVersion:
    """A version, numbered after the card's newest, of a flat price in whole credits."""
    owned, _ = RateCard.objects.get_or_create(**owner)
    fields = {"effective_from": effective_from} if effective_from else {}
    return RateCardVersion.objects.create(
        card=owned, number=owned.versions.count() + 1, mode="flat", price_micros=price * MICROS, **fields
    )


def in_force(team, job_type: str = "query") -> int:
    """The price in whole credits of the card in force."""
    return pricing.terms_of(pricing.card_in_force(team, job_type)).price_micros // MICROS


def test_without_a_card_a_job_costs_the_platforms_default(acme_team, settings):
    settings.DEFAULT_CREDITS_PER_JOB = 4

    assert in_force(acme_team) == 4


def test_nearer_cards_win(acme_team):
    card(1)
    assert in_force(acme_team) == 1
    card(2, job_type="query")
    assert in_force(acme_team) == 2
    card(3, organization=acme_team.organization)
    assert in_force(acme_team) == 3
    card(4, organization=acme_team.organization, job_type="query")
    assert in_force(acme_team) == 4
    card(5, team=acme_team)
    assert in_force(acme_team) == 5
    card(6, team=acme_team, job_type="query")
    assert (in_force(acme_team), in_force(acme_team, "other")) == (6, 5)


def test_somebody_elses_card_prices_nothing(acme_team):
    other = make.customer(credits=0).team
    card(9, team=other)
    card(9, organization=other.organization)

    assert in_force(acme_team) == 1


def test_newest_version_that_has_begun_is_in_force(acme_team):
    card(2, team=acme_team)
    card(3, team=acme_team)
    card(4, team=acme_team, effective_from=timezone.now() + timedelta(days=1))

    assert in_force(acme_team) == 3


@pytest.mark.parametrize(
    ("plan", "cost", "expected"),
    [
        ({}, {"usd": "0.75", "tokens": 15_000}, 1),
        ({"budget_mode": "consumption_usd"}, {"usd": "0.75"}, 7),
        ({"budget_mode": "consumption_usd", "credits_per_dollar": Decimal("2.5")}, {"usd": "2"}, 5),
        ({"budget_mode": "consumption_usd", "cost_markup_percentage": Decimal(50)}, {"usd": "0.5"}, 7),
        ({"budget_mode": "consumption_tokens"}, {"tokens": 15_000}, 1),
        ({"budget_mode": "consumption_tokens", "tokens_per_credit": 5_000}, {"tokens": 15_000}, 3),
    ],
)
def test_budget_mode_prices_a_job_as_documented(acme_team, plan, cost, expected):
    if plan:
        billing.change_plan(acme_team, actor=make.TESTER, **plan)

    assert credits(pricing.terms_of(pricing.card_in_force(acme_team, "query")), **cost) == expected
