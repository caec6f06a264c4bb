"""Money in the environment is decimal text and comes out as nano-dollars."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from saasllm.settings import env


@pytest.mark.parametrize(("text", "nanousd"), [("0.10", 100_000_000), ("0", 0), ("1.0000000019", 1_000_000_001)])
def test_dollars_are_read_exactly(monkeypatch, text, nanousd):
    monkeypatch.setenv("PRICE", text)

    assert env.nanousd("PRICE", default="0.10") == nanousd


def test_the_default_is_read_like_a_value(monkeypatch):
    monkeypatch.delenv("PRICE", raising=False)

    assert env.nanousd("PRICE", default="0.10") == 100_000_000


@pytest.mark.parametrize("text", ["", "cheap", "-1", "NaN", "Infinity", "1000001"])
def test_what_is_no_price_names_its_variable(monkeypatch, text):
    monkeypatch.setenv("PRICE", text)

    with pytest.raises(ImproperlyConfigured, match="PRICE cannot be read"):
        env.nanousd("PRICE", default="0.10")
