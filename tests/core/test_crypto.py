"""Digests, fingerprints and encryption at rest."""

from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from apps.core import crypto


@pytest.fixture(autouse=True)
def _fresh_keys() -> Any:
    crypto._fernet.cache_clear()
    yield
    crypto._fernet.cache_clear()


def test_digest_depends_on_secret_and_pepper(settings: Any):
    settings.KEY_PEPPER = "one"
    first, other = crypto.keyed_hash("secret"), crypto.keyed_hash("secres")
    settings.KEY_PEPPER = "two"

    assert len({first, other, crypto.keyed_hash("secret")}) == 3
    assert len(first) == 64


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_two_lists_of_parts_never_share_a_fingerprint(left: list[bytes], right: list[bytes]):
    assert (crypto.fingerprint(*left) == crypto.fingerprint(*right)) is (left == right)


@pytest.mark.parametrize(
    ("left", "right", "same"), [("a", "a", True), ("a", "b", False), ("", "", True), ("é", "e", False)]
)
def test_comparison(left: str, right: str, same: bool):
    assert crypto.equal(left, right) is same


@given(st.text())
def test_what_was_encrypted_is_read_again(text: str):
    token = crypto.encrypt(text)

    assert crypto.decrypt(token) == text
    assert token != text


def test_same_text_is_never_encrypted_the_same():
    assert crypto.encrypt("secret") != crypto.encrypt("secret")


def test_older_keys_still_read_and_the_newest_writes(settings: Any):
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.ENCRYPTION_KEYS = [old]
    token = crypto.encrypt("secret")

    settings.ENCRYPTION_KEYS = [new, old]
    assert crypto.decrypt(token) == "secret"
    written = crypto.encrypt("secret")
    settings.ENCRYPTION_KEYS = [new]

    assert crypto.decrypt(written) == "secret"
    assert crypto.decrypt(token) is None


def test_key_made_from_the_secret_key_still_reads_once_there_are_others(settings: Any):
    settings.ENCRYPTION_KEYS = []
    token = crypto.encrypt("secret")

    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    assert crypto.decrypt(token) == "secret"
    settings.SECRET_KEY = "another"

    assert crypto.decrypt(token) is None


@pytest.mark.parametrize("token", ["", "nonsense", "gAAAAAB"])
def test_what_no_key_of_ours_made_is_none(token: str):
    assert crypto.decrypt(token) is None


def test_tampered_token_is_none():
    token = crypto.encrypt("secret")
    flipped = token[:-5] + ("A" if token[-5] != "A" else "B") + token[-4:]

    assert crypto.decrypt(flipped) is None
