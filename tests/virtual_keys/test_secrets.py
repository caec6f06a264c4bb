"""The form of a key: enough randomness, and a checksum that tells a typing error from a key."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core import secret_form
from apps.virtual_keys import secrets

FORM = re.compile(r"sk-[0-9A-Za-z]{33}")


def test_key_has_the_published_form():
    for _ in range(200):
        secret = secrets.generate()
        assert FORM.fullmatch(secret)
        assert secrets.is_well_formed(secret)


def test_keys_carry_160_random_bits(monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    monkeypatch.setattr(secret_form.secrets, "randbits", lambda bits: asked.append(bits) or (1 << bits) - 1)

    largest = secrets.generate()

    assert asked == [160]
    assert FORM.fullmatch(largest)
    monkeypatch.setattr(secret_form.secrets, "randbits", lambda bits: 0)
    assert secrets.generate().startswith("sk-" + "0" * 27)


def test_keys_differ():
    assert len({secrets.generate() for _ in range(1_000)}) == 1_000


@given(position=st.integers(3, 35), character=st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklm"))
def test_one_wrong_character_is_noticed(position: int, character: str):
    secret = "sk-HIJm4P1yF0JpVkRfJ5frT4BSHSM" + secret_form._checksum("sk-HIJm4P1yF0JpVkRfJ5frT4BSHSM")
    changed = secret[:position] + character + secret[position + 1 :]

    assert secrets.is_well_formed(changed) is (changed == secret)


@pytest.mark.parametrize(
    "text",
    ["", "sk-", "sk-short", "sk-" + "a" * 33, "pk-" + "a" * 33, "sk-" + "é" * 33, "sk-" + "a" * 10_000, "\0" * 36],
)
def test_other_texts_are_no_keys(text: str):
    assert not secrets.is_well_formed(text)


@given(st.text(max_size=80))
def test_no_text_at_all_breaks_the_check(text: str):
    assert not secrets.is_well_formed(text)
