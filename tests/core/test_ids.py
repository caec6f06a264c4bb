"""Ids of ours sort by time; ids of callers shadow no route and break no URL."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core import ids


def test_new_ids_are_version_7_and_sort_by_time():
    made = [ids.new_id() for _ in range(1_000)]

    assert {each.version for each in made} == {7}
    assert made == sorted(made)
    assert len(set(made)) == 1_000
    assert all(type(each) is uuid.UUID for each in made)


@pytest.mark.parametrize("text", ["", "x", None, 7, "123", "00000000-0000-0000-0000-00000000000g", "' OR 1=1", "\0"])
def test_what_is_no_uuid_is_none(text: object):
    assert ids.parse_uuid(text) is None


def test_uuid_is_read_in_its_usual_spellings():
    wanted = uuid.UUID("01a20cb1-eb54-7554-9dc9-b0e7ca5e1a78")

    for text in (wanted, str(wanted), str(wanted).upper(), wanted.hex):
        assert ids.parse_uuid(text) == wanted


@given(st.text())
def test_no_text_breaks_the_parser(text: str):
    found = ids.parse_uuid(text)
    assert found is None or isinstance(found, uuid.UUID)


@pytest.mark.parametrize(
    "text", ["a", "acme", "acme-corp", "Acme.Corp", "a:b", "user@example", "0", "acme_default", "x" * 255]
)
def test_plain_ids_are_allowed(text: str):
    assert ids.is_public_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-a",
        ".a",
        "_a",
        "@a",
        "a b",
        "a/b",
        "a\n",
        "a\0",
        "é",
        "a?b",
        "a#b",
        "a%20b",
        "..",
        "create",
        "Create",
        "VERIFY",
        "keys",
    ],
)
def test_ids_that_would_break_urls_or_shadow_routes_are_not(text: str):
    assert not ids.is_public_id(text)


def test_every_word_behind_teams_and_organizations_in_a_url_is_reserved():
    from apps.api.urls import urlpatterns

    words = set()
    for pattern in urlpatterns:
        parts = str(pattern.pattern).strip("^$").removesuffix("/?").split("/")
        if parts[0] in ("teams", "organizations") and len(parts) == 2 and "(" not in parts[1]:
            words.add(parts[1])

    assert words
    assert words <= ids.RESERVED_IDS


def test_ids_of_a_moment_are_not_before_its_first():
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    made = ids.new_id()
    after = datetime.now(UTC) + timedelta(milliseconds=2)

    assert ids.first_id_at(before) <= made < ids.first_id_at(after)
    assert ids.first_id_at(before).version == 7
