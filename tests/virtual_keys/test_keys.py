"""Issuing, rotating and revoking keys; a secret is nowhere but in its owner's hands."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import transaction

from apps.core import clock
from apps.core.errors import InvalidField
from apps.core.models import AuditEntry
from apps.virtual_keys import secrets
from apps.virtual_keys import services as virtual_keys
from apps.virtual_keys.errors import InvalidKey, KeyNotFound, KeyNotUsable
from apps.virtual_keys.models import VirtualKey
from tests import make


def issue(customer: make.Customer, **rights: Any) -> tuple[VirtualKey, str]:
    return virtual_keys.issue(customer.team, actor=make.TESTER, **rights)


def works(secret: str) -> bool:
    virtual_keys.forget_cached()
    try:
        virtual_keys.authenticate(secret, address="203.0.113.1")
    except InvalidKey:
        return False
    return True


def everything_stored() -> str:
    """All rows of all tables as text."""
    return "\n".join(
        json.dumps(list(model._base_manager.values()), default=str)
        for model in apps.get_models(include_auto_created=True)
    )


def test_secret_is_stored_nowhere(acme: make.Customer):
    key, secret = issue(acme, name="for the backend")
    _, rotated = virtual_keys.rotate(key, actor=make.TESTER, overlap_s=60)
    virtual_keys.authenticate(rotated)

    stored = everything_stored()

    for each in (acme.secret, secret, rotated):
        assert each not in stored
        # Nor enough of it to be guessed: only the first characters are shown.
        assert each[: secrets.SHOWN_LENGTH] in stored
        assert each[: secrets.SHOWN_LENGTH + 1] not in stored
        assert each[-8:] not in stored


def test_secret_of_a_provisioned_customer_is_stored_nowhere(db: None):
    customer = make.customer()

    assert customer.secret not in everything_stored()


def test_scan_would_find_a_stored_secret(acme: make.Customer):
    VirtualKey.objects.update(name=acme.secret)

    assert acme.secret in everything_stored()


def test_key_is_kept_as_a_digest_under_the_pepper(acme: make.Customer, settings: Any):
    import hashlib
    import hmac

    key, secret = issue(acme)

    expected = hmac.new(settings.KEY_PEPPER.encode(), secret.encode(), hashlib.sha256).hexdigest()
    assert key.digest == expected
    assert key.prefix == secret[:11]
    assert str(key) == f"{secret[:11]}…"


def test_issue_is_audited_without_the_secret(acme: make.Customer):
    key, secret = issue(acme, name="backend", scopes=["read"], models_allowed=["gpt"])

    entry = AuditEntry.objects.get(action="key.issue", object_id=str(key.pk))
    assert (entry.actor, entry.object_kind, entry.before) == ("command:tests", "key", {})
    assert entry.after == {
        "team_id": "acme",
        "prefix": key.prefix,
        "name": "backend",
        "scopes": ["read"],
        "models_allowed": ["gpt"],
        "addresses_allowed": [],
        "expires_at": None,
    }
    assert secret not in json.dumps(entry.after)


@pytest.mark.parametrize(
    ("rights", "field"),
    [
        ({"scopes": ["jobs", "admin"]}, "scopes"),
        ({"addresses_allowed": ["203.0.113.0/24", "here"]}, "addresses_allowed"),
        ({"addresses_allowed": [""]}, "addresses_allowed"),
        ({"addresses_allowed": ["203.0.113.0/33"]}, "addresses_allowed"),
    ],
)
def test_unknown_rights_issue_nothing(acme: make.Customer, rights: dict[str, Any], field: str):
    before = (VirtualKey.objects.count(), AuditEntry.objects.count())

    with pytest.raises(InvalidField) as caught:
        issue(acme, **rights)

    assert caught.value.errors[0]["loc"] == ["body", field]
    assert (VirtualKey.objects.count(), AuditEntry.objects.count()) == before


# --- Rotation -----------------------------------------------------------------------------------------------


def test_both_keys_work_during_the_overlap_and_one_afterwards(acme: make.Customer):
    old, old_secret = issue(acme)

    new, new_secret = virtual_keys.rotate(old, actor=make.TESTER, overlap_s=60)

    assert works(old_secret)
    assert works(new_secret)
    VirtualKey.objects.filter(pk=old.pk).update(expires_at=clock.from_now(-1))
    assert not works(old_secret)
    assert works(new_secret)
    old.refresh_from_db()
    assert old.replaced_by == new


def test_overlap_ends_when_it_was_said_to(acme: make.Customer):
    old, _ = issue(acme)

    virtual_keys.rotate(old, actor=make.TESTER, overlap_s=3_600)

    old.refresh_from_db()
    assert 3_590 < (old.expires_at - clock.db_now()).total_seconds() <= 3_600


def test_rotation_without_overlap_ends_the_old_key_at_once(acme: make.Customer):
    old, old_secret = issue(acme)

    virtual_keys.rotate(old, actor=make.TESTER, overlap_s=0)

    assert not works(old_secret)


def test_overlap_never_lengthens_a_key_s_life(acme: make.Customer):
    ends = clock.db_now() + timedelta(seconds=30)
    old, _ = issue(acme, expires_at=ends)

    virtual_keys.rotate(old, actor=make.TESTER, overlap_s=3_600)

    old.refresh_from_db()
    assert abs((old.expires_at - ends).total_seconds()) < 0.01


def test_new_key_has_the_rights_of_the_old_one(acme: make.Customer):
    rights = {
        "name": "backend",
        "scopes": ["read"],
        "models_allowed": ["gpt"],
        "addresses_allowed": ["203.0.113.0/24"],
        "expires_at": clock.db_now() + timedelta(days=1),
    }
    old, _ = issue(acme, **rights)

    new, _ = virtual_keys.rotate(old, actor=make.TESTER, overlap_s=60)

    new.refresh_from_db()
    assert {name: getattr(new, name) for name in rights} == rights
    assert new.team == acme.team


@pytest.mark.parametrize("state", ["revoked", "expired", "already rotated"])
def test_key_that_cannot_be_used_is_not_rotated(acme: make.Customer, state: str):
    key, _ = issue(acme)
    if state == "revoked":
        virtual_keys.revoke(key, actor=make.TESTER)
    elif state == "expired":
        VirtualKey.objects.filter(pk=key.pk).update(expires_at=clock.from_now(-1))
    else:
        virtual_keys.rotate(key, actor=make.TESTER, overlap_s=60)
    before = VirtualKey.objects.count()

    with pytest.raises(KeyNotUsable, match=state):
        virtual_keys.rotate(key, actor=make.TESTER, overlap_s=60)

    assert VirtualKey.objects.count() == before


def test_rotation_is_audited_on_both_keys(acme: make.Customer):
    old, _ = issue(acme)

    new, _ = virtual_keys.rotate(old, actor=make.TESTER, overlap_s=60)

    entry = AuditEntry.objects.get(action="key.rotate")
    assert entry.object_id == str(old.pk)
    assert entry.after == {"team_id": "acme", "replaced_by": str(new.pk), "overlap_s": 60}
    assert AuditEntry.objects.filter(action="key.issue", object_id=str(new.pk)).exists()


def test_failed_rotation_leaves_no_new_key(acme: make.Customer, monkeypatch: pytest.MonkeyPatch):
    old, old_secret = issue(acme)
    before = VirtualKey.objects.count()

    def fail(_: float) -> Any:
        raise RuntimeError

    monkeypatch.setattr(clock, "from_now", fail)
    with pytest.raises(RuntimeError), transaction.atomic():
        virtual_keys.rotate(old, actor=make.TESTER, overlap_s=60)

    assert VirtualKey.objects.count() == before
    assert works(old_secret)


# --- Revocation ---------------------------------------------------------------------------------------------


def test_revoked_key_is_refused_and_a_repeat_changes_nothing(acme: make.Customer):
    key, secret = issue(acme)
    revoked = virtual_keys.revoke(key, actor=make.TESTER)
    assert not works(secret)

    again = virtual_keys.revoke(key, actor=make.TESTER)

    assert again.revoked_at == revoked.revoked_at
    assert AuditEntry.objects.filter(action="key.revoke", object_id=str(key.pk)).count() == 1


def test_revoking_one_key_leaves_the_team_s_others(acme: make.Customer):
    key, _ = issue(acme)

    virtual_keys.revoke(key, actor=make.TESTER)

    assert works(acme.secret)


# --- Finding ------------------------------------------------------------------------------------------------


def test_key_of_another_team_is_not_found(acme: make.Customer, globex: make.Customer):
    key, _ = issue(acme)
    assert virtual_keys.find(acme.team, str(key.pk)) == key

    for key_id in (str(key.pk), "nonsense", "", "00000000-0000-0000-0000-000000000000"):
        with pytest.raises(KeyNotFound, match=f"Team 'globex' has no key '{key_id}'"):
            virtual_keys.find(globex.team, key_id)


def test_team_has_a_usable_key_until_the_last_is_gone(acme: make.Customer):
    key = VirtualKey.objects.get()
    assert virtual_keys.has_usable_key(acme.team)
    VirtualKey.objects.update(expires_at=clock.from_now(-1))
    assert not virtual_keys.has_usable_key(acme.team)
    VirtualKey.objects.update(expires_at=None)
    virtual_keys.revoke(key, actor=make.TESTER)
    assert not virtual_keys.has_usable_key(acme.team)


def test_list_is_the_team_s_own_newest_first(acme: make.Customer, globex: make.Customer):
    made = [issue(acme, name=str(index))[0] for index in range(3)]
    for age_s, key in enumerate(reversed(made)):
        VirtualKey.objects.filter(pk=key.pk).update(created_at=clock.from_now(10 - age_s))

    listed = list(virtual_keys.matching(acme.team)[:2])

    assert [key.name for key in listed] == ["2", "1"]
    assert len(list(virtual_keys.matching(acme.team)[:10])) == 4


def test_shown_prefix_is_that_of_the_newest_usable_key(acme: make.Customer, globex: make.Customer):
    newest, _ = issue(acme)
    VirtualKey.objects.filter(pk=newest.pk).update(created_at=clock.from_now(10))
    assert virtual_keys.prefixes([acme.team, globex.team]) == {
        acme.team.pk: newest.prefix,
        globex.team.pk: globex.secret[:11],
    }

    virtual_keys.revoke(newest, actor=make.TESTER)

    assert virtual_keys.prefixes([acme.team])[acme.team.pk] == acme.secret[:11]
