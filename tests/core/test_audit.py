"""A refused attempt is kept on its own: what was refused is rolled back, the row about it is not."""

import pytest
from django.db import transaction

from apps.core import audit
from apps.core.actors import Actor
from apps.core.models import AuditEntry

VERA = Actor("operator", "vera@example.com", "203.0.113.7", via="op-12345678")


def test_a_refusal_says_who_what_and_which_right(db: None):
    audit.refused("state.write", actor=VERA, kind="team", id="acme", method="PUT")

    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor, entry.via) == ("refused", "operator:vera@example.com", "op-12345678")
    assert (entry.address, entry.object_kind, entry.object_id) == ("203.0.113.7", "team", "acme")
    assert entry.after == {"right": "state.write", "method": "PUT"}


def test_it_is_not_written_where_it_could_be_rolled_back(db: None):
    with pytest.raises(RuntimeError), transaction.atomic():
        audit.refused("state.write", actor=VERA, kind="team", id="acme")
