"""Integers in, integers out: no amount is ever rounded by accident."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core import money

AMOUNTS = st.integers(-money.MAX_BIGINT, money.MAX_BIGINT)


@given(st.integers(0, money.MAX_CREDITS))
def test_whole_credits_go_there_and_back(credits: int):
    assert money.whole_credits(money.credits_to_micros(credits)) == credits


def test_largest_sum_fits_the_column():
    assert money.credits_to_micros(money.MAX_CREDITS) <= money.MAX_BIGINT


@pytest.mark.parametrize(
    ("micros", "whole", "exact"),
    [
        (0, 0, "0"),
        (1, 0, "0.000001"),
        (999_999, 0, "0.999999"),
        (1_000_000, 1, "1"),
        (1_500_000, 1, "1.5"),
        (100_000_000, 100, "100"),
        (1_000_001, 1, "1.000001"),
        (-1, -1, "-0.000001"),
        (-1_500_000, -2, "-1.5"),
        (money.MAX_BIGINT, 9_223_372_036_854, "9223372036854.775807"),
    ],
)
def test_what_is_shown_is_floored_and_the_exact_figure_stands_beside_it(micros: int, whole: int, exact: str):
    assert (money.whole_credits(micros), money.exact_credits(micros)) == (whole, exact)


@given(AMOUNTS)
def test_exact_figure_loses_nothing(micros: int):
    assert Decimal(money.exact_credits(micros)) * money.MICROS == micros


@given(AMOUNTS)
def test_what_is_shown_as_spendable_can_be_spent(micros: int):
    assert money.credits_to_micros(money.whole_credits(micros)) <= micros


@pytest.mark.parametrize(
    ("nanousd", "places", "dollars"),
    [
        (0, 6, 0.0),
        (123_456, 6, 0.000123),
        (123_500, 6, 0.000124),
        (1_500_000_000, 2, 1.5),
        (13_500, 8, 0.0000135),
        (money.MAX_BIGINT, 6, 9_223_372_036.854776),
    ],
)
def test_dollars_on_the_wire(nanousd: int, places: int, dollars: float):
    assert money.usd(nanousd, places=places) == dollars


@pytest.mark.parametrize(
    ("value", "scale", "integer"), [("1.9999999", 1_000_000, 1_999_999), ("0.1", 10, 1), ("2", 3, 6)]
)
def test_decimal_is_rounded_down_once(value: str, scale: int, integer: int):
    assert money.decimal_to_int(Decimal(value), scale=scale) == integer
