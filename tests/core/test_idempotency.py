"""A key is taken with its effect, or not at all; its second use finds the first one's result."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from apps.core import clock, idempotency
from apps.core.errors import IdempotencyConflict
from apps.core.idempotency import Request
from apps.core.models import IdempotencyKey

pytestmark = pytest.mark.django_db
FIRST = Request("team:acme", "key-1", "fingerprint")


def test_first_use_takes_the_key_and_the_second_finds_its_result():
    slot = idempotency.claim(FIRST)
    assert not slot.is_replay
    slot.record({"job_id": "7"})

    again = idempotency.claim(FIRST)

    assert (again.is_replay, again.result, again.secret()) == (True, {"job_id": "7"}, None)
    assert IdempotencyKey.objects.count() == 1


def test_same_key_for_another_request_is_a_conflict():
    idempotency.claim(FIRST)

    with pytest.raises(IdempotencyConflict, match="used before with another request"):
        idempotency.claim(Request(FIRST.scope, FIRST.key, "another"))


@pytest.mark.parametrize("other", [Request("team:globex", "key-1", "f"), Request("team:acme", "key-2", "f")])
def test_other_scopes_and_keys_are_their_own(other: Request):
    idempotency.claim(FIRST)

    assert not idempotency.claim(other).is_replay


def test_key_of_an_effect_that_was_rolled_back_is_free():
    def fail_afterwards() -> None:
        with transaction.atomic():
            idempotency.claim(FIRST)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_afterwards()

    assert not idempotency.claim(FIRST).is_replay


def test_conflict_leaves_the_transaction_usable():
    idempotency.claim(FIRST)
    with transaction.atomic():
        idempotency.claim(FIRST)
        idempotency.claim(Request("team:acme", "key-2", "f"))

    assert IdempotencyKey.objects.count() == 2


def test_secret_is_replayed_for_ten_minutes_and_kept_encrypted():
    idempotency.claim(FIRST).record({}, secret="sk-the-secret")
    row = IdempotencyKey.objects.get()
    assert "sk-the-secret" not in row.secret
    assert idempotency.claim(FIRST).secret() == "sk-the-secret"

    IdempotencyKey.objects.update(created_at=clock.from_now(-595))
    assert idempotency.claim(FIRST).secret() == "sk-the-secret"
    IdempotencyKey.objects.update(created_at=clock.from_now(-601))

    assert idempotency.claim(FIRST).secret() is None


def test_secret_under_a_lost_key_is_none(settings: Any):
    from apps.core import crypto

    idempotency.claim(FIRST).record({}, secret="sk-the-secret")
    crypto._fernet.cache_clear()
    settings.SECRET_KEY = "another"

    assert idempotency.claim(FIRST).secret() is None
    crypto._fernet.cache_clear()


def test_purge_forgets_old_keys_some_at_a_time():
    for number in range(5):
        idempotency.claim(Request("team:acme", str(number), "f"))
    IdempotencyKey.objects.exclude(key="4").update(created_at=clock.from_now(-7_200))

    assert idempotency.purge(timedelta(hours=1), limit=3) == 3
    assert idempotency.purge(timedelta(hours=1), limit=3) == 1
    assert idempotency.purge(timedelta(hours=1), limit=3) == 0
    assert IdempotencyKey.objects.get().key == "4"
