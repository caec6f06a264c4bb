"""Who presents a key: one answer for every key that is not good, no query for one that cannot be."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core import clock, secret_form, short_cache
from apps.core.errors import DomainError
from apps.organizations import services as organizations
from apps.teams import services as teams
from apps.virtual_keys import secrets
from apps.virtual_keys import services as virtual_keys
from apps.virtual_keys.errors import AddressNotAllowed, InvalidKey, ScopeMissing
from apps.virtual_keys.models import VirtualKey
from tests import make


class Clock:
    """The cache's clock, which stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def cache_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(short_cache.time, "monotonic", found.monotonic)
    return found


def issue(customer: make.Customer, **rights: Any) -> tuple[VirtualKey, str]:
    return virtual_keys.issue(customer.team, actor=make.TESTER, **rights)


def queries_of(secret: str) -> int:
    with CaptureQueriesContext(connection) as queries, suppress(DomainError):
        virtual_keys.authenticate(secret)
    return len(queries)


def test_good_key_names_its_team_and_rights(acme: make.Customer):
    key, secret = issue(acme, scopes=["read"], models_allowed=["gpt"], addresses_allowed=["203.0.113.7/24"])

    principal = virtual_keys.authenticate(secret, address="203.0.113.99")

    assert (principal.key_id, principal.team, principal.organization) == (str(key.pk), acme.team, acme.organization)
    assert (principal.scopes, principal.models_allowed) == (("read",), ("gpt",))
    assert [str(network) for network in principal.networks] == ["203.0.113.0/24"]


@pytest.mark.parametrize("secret", ["", "nonsense", "sk-" + "a" * 33, "sk-your-virtual-key", "Bearer x", "\0"])
def test_malformed_key_costs_no_query(db: None, secret: str):
    with CaptureQueriesContext(connection) as queries, pytest.raises(InvalidKey):
        virtual_keys.authenticate(secret)

    assert len(queries) == 0


def test_unknown_revoked_and_expired_keys_get_one_and_the_same_answer(acme: make.Customer):
    revoked, revoked_secret = issue(acme)
    virtual_keys.revoke(revoked, actor=make.TESTER)
    _, expired_secret = issue(acme, expires_at=clock.db_now() - timedelta(seconds=1))

    answers = set()
    for secret in ("sk-malformed", secrets.generate(), revoked_secret, expired_secret):
        with pytest.raises(InvalidKey) as caught:
            virtual_keys.authenticate(secret)
        answers.add((caught.value.code, caught.value.message, str(caught.value.details)))

    assert answers == {("invalid_api_key", "Invalid API key", "{}")}


def test_unknown_revoked_and_expired_keys_cost_the_same_queries(acme: make.Customer):
    revoked, revoked_secret = issue(acme)
    virtual_keys.revoke(revoked, actor=make.TESTER)
    _, expired_secret = issue(acme, expires_at=clock.db_now() - timedelta(seconds=1))

    assert {queries_of(secret) for secret in (secrets.generate(), revoked_secret, expired_secret)} == {1}


def test_key_works_until_its_last_moment(acme: make.Customer):
    _, secret = issue(acme, expires_at=clock.db_now() + timedelta(seconds=60))

    assert virtual_keys.authenticate(secret).team == acme.team


def test_changed_pepper_makes_every_key_unknown(acme: make.Customer, settings: Any):
    settings.KEY_PEPPER = "another pepper"

    with pytest.raises(InvalidKey):
        virtual_keys.authenticate(acme.secret)


# --- The cache ----------------------------------------------------------------------------------------------


def test_key_is_looked_up_once_in_half_a_second(acme: make.Customer, cache_clock: Clock):
    virtual_keys.authenticate(acme.secret)

    cache_clock.now += 0.49
    assert queries_of(acme.secret) == 0
    cache_clock.now += 0.02
    assert queries_of(acme.secret) > 0


def test_revocation_by_another_process_is_seen_within_half_a_second(acme: make.Customer, cache_clock: Clock):
    virtual_keys.authenticate(acme.secret)
    VirtualKey.objects.update(revoked_at=clock.from_now(0))

    assert virtual_keys.authenticate(acme.secret).team == acme.team
    cache_clock.now += 0.5
    with pytest.raises(InvalidKey):
        virtual_keys.authenticate(acme.secret)


def test_entry_is_stamped_before_its_query(acme: make.Customer, cache_clock: Clock, monkeypatch: pytest.MonkeyPatch):
    """A slow query does not lengthen the life of what it found."""
    load = virtual_keys._load

    def slowly(digest: str) -> Any:
        found = load(digest)
        cache_clock.now += 0.4
        return found

    monkeypatch.setattr(virtual_keys, "_load", slowly)
    virtual_keys.authenticate(acme.secret)
    cache_clock.now += 0.2

    assert queries_of(acme.secret) > 0


def test_revocation_here_is_seen_at_once(acme: make.Customer, cache_clock: Clock):
    key, secret = issue(acme)
    virtual_keys.authenticate(secret)

    virtual_keys.revoke(key, actor=make.TESTER)

    with pytest.raises(InvalidKey):
        virtual_keys.authenticate(secret)


def test_cache_is_keyed_by_the_whole_key(acme: make.Customer, globex: make.Customer, monkeypatch: pytest.MonkeyPatch):
    """Keys that share all but their last characters are two keys."""
    body = "sk-HIJm4P1yF0JpVkRfJ5frT4BSH"
    found = []
    for customer, last in ((acme, "aa"), (globex, "ab")):
        secret = body + last + secret_form._checksum(body + last)
        monkeypatch.setattr(secrets, "generate", lambda secret=secret: secret)
        issue(customer)
        found.append(virtual_keys.authenticate(secret).team)

    assert found == [acme.team, globex.team]


def test_refused_keys_are_not_remembered(acme: make.Customer, cache_clock: Clock, monkeypatch: pytest.MonkeyPatch):
    secret = secrets.generate()
    with pytest.raises(InvalidKey):
        virtual_keys.authenticate(secret)
    monkeypatch.setattr(secrets, "generate", lambda: secret)

    issue(acme)

    assert virtual_keys.authenticate(secret).team == acme.team


def test_cache_holds_no_key_in_clear(acme: make.Customer):
    virtual_keys.authenticate(acme.secret)

    assert acme.secret not in repr(virtual_keys._cache._kept)


def test_address_is_judged_also_when_the_key_is_cached(acme: make.Customer):
    _, secret = issue(acme, addresses_allowed=["203.0.113.0/24"])
    virtual_keys.authenticate(secret, address="203.0.113.1")

    with pytest.raises(AddressNotAllowed):
        virtual_keys.authenticate(secret, address="198.51.100.1")


# --- Scopes and addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scopes", "wanted", "is_enough"),
    [
        ([], ("jobs",), True),
        (["jobs"], ("jobs",), True),
        (["read"], ("jobs", "read"), True),
        (["read"], ("jobs",), False),
        (["chat"], ("jobs", "read"), False),
        (["jobs", "read"], ("chat",), False),
    ],
)
def test_scopes(acme: make.Customer, scopes: list[str], wanted: tuple[str, ...], is_enough: bool):
    principal = virtual_keys.authenticate(issue(acme, scopes=scopes)[1])
    if is_enough:
        principal.require_scope(*wanted)
        return
    with pytest.raises(ScopeMissing) as caught:
        principal.require_scope(*wanted)
    assert " or ".join(wanted) in str(caught.value)


@pytest.mark.parametrize(
    ("networks", "address", "is_allowed"),
    [
        ([], "", True),
        ([], "anything", True),
        (["203.0.113.0/24"], "203.0.113.255", True),
        (["203.0.113.0/24"], "203.0.114.0", False),
        (["203.0.113.7"], "203.0.113.7", True),
        (["203.0.113.7"], "203.0.113.8", False),
        (["203.0.113.9/24"], "203.0.113.1", True),
        (["2001:db8::/32"], "2001:db8::1", True),
        (["2001:db8::/32"], "203.0.113.1", False),
        (["198.51.100.0/24", "203.0.113.0/24"], "203.0.113.1", True),
        # How a socket that listens on both families shows an IPv4 peer.
        (["203.0.113.0/24"], "::ffff:203.0.113.1", True),
        (["203.0.113.0/24"], "::ffff:203.0.114.1", False),
        (["203.0.113.0/24"], "", False),
        (["203.0.113.0/24"], "unix:", False),
        (["203.0.113.0/24"], "203.0.113.1, 10.0.0.1", False),
    ],
)
def test_addresses(acme: make.Customer, networks: list[str], address: str, is_allowed: bool):
    _, secret = issue(acme, addresses_allowed=networks)
    if is_allowed:
        assert virtual_keys.authenticate(secret, address=address).team == acme.team
        return
    with pytest.raises(AddressNotAllowed):
        virtual_keys.authenticate(secret, address=address)


# --- State and use ------------------------------------------------------------------------------------------


def test_state_of_team_and_organization_comes_along_and_is_not_judged_here(acme: make.Customer):
    teams.set_status(acme.team, status="paused", actor=make.TESTER)
    assert acme.principal.status == "paused"

    organizations.set_status(acme.organization, status="suspended", actor=make.TESTER)
    assert acme.principal.status == "suspended"


def test_first_use_is_noted_and_later_ones_to_the_minute(acme: make.Customer, cache_clock: Clock):
    key = VirtualKey.objects.get()
    assert key.last_used_at is None
    virtual_keys.authenticate(acme.secret)
    first = VirtualKey.objects.get().last_used_at
    assert first is not None

    cache_clock.now += 10
    virtual_keys.authenticate(acme.secret)
    assert VirtualKey.objects.get().last_used_at == first
    VirtualKey.objects.update(last_used_at=clock.from_now(-61))
    cache_clock.now += 10
    virtual_keys.authenticate(acme.secret)

    last = VirtualKey.objects.get().last_used_at
    assert last is not None
    assert (clock.db_now() - last).total_seconds() < 10


def test_refused_use_is_not_noted(acme: make.Customer):
    key, secret = issue(acme)
    virtual_keys.revoke(key, actor=make.TESTER)

    with pytest.raises(InvalidKey):
        virtual_keys.authenticate(secret)

    key.refresh_from_db()
    assert key.last_used_at is None
