"""Amounts as text, without loss."""

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from apps.core.admin_columns import exact_percent, exact_usd, isolated
from apps.core.admin_forms import WordsField


@pytest.mark.parametrize(
    ("nanousd", "text"),
    [(0, "0.00"), (1, "0.000000001"), (1_500_000_000, "1.50"), (150_000_000, "0.15"), (-2_000_000_000, "-2.00")],
)
def test_dollars_are_exact(nanousd, text):
    assert exact_usd(nanousd) == text


@given(st.integers(-(2**63), 2**63 - 1))
def test_dollars_of_every_amount_that_a_column_holds_lose_nothing(nanousd):
    whole, fraction = exact_usd(nanousd).split(".")
    assert int(whole + fraction.ljust(9, "0")) == nanousd


@pytest.mark.parametrize(("ppm", "text"), [(0, "0"), (125_000, "12.5"), (1, "0.0001"), (1_000_000, "100")])
def test_percent_is_exact(ppm, text):
    assert exact_percent(ppm) == text


def test_text_is_escaped_in_cell_and_tooltip():
    assert "<b>" not in isolated("<b>")
    assert isolated("") == ""


def test_words_are_taken_from_lines_and_commas_once_each():
    assert WordsField().clean("a, b\n\n b \r\nc,") == ["a", "b", "c"]


def test_words_that_are_required_are_missed():
    with pytest.raises(ValidationError):
        WordsField().clean("")
