"""Operator tokens: shown once, narrowed by scopes, dead with their operator."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.core import clock
from apps.core.errors import DomainError, InvalidField
from apps.core.models import AuditEntry
from apps.organizations import tokens
from apps.organizations.errors import InvalidToken, TokenNotFound
from apps.organizations.identity import Operator
from apps.organizations.models import OperatorToken
from apps.organizations.rights import RightMissing
from tests import make

pytestmark = pytest.mark.django_db


def queries_of(secret: str) -> int:
    with CaptureQueriesContext(connection) as queries, suppress(DomainError):
        tokens.authenticate(secret)
    return len(queries)


def test_a_token_is_kept_as_its_keyed_hash_alone():
    made = make.operator("support", scopes=["view"])

    row = OperatorToken.objects.get()
    assert made.secret.startswith("op-")
    assert tokens.FORM.is_well_formed(made.secret)
    assert row.prefix == made.secret[:11]
    assert made.secret not in str(list(OperatorToken.objects.values()))
    assert made.secret not in str(list(AuditEntry.objects.values()))
    audited = AuditEntry.objects.get(action="token.issue")
    assert (audited.object_id, audited.actor) == (str(row.pk), "command:tests")
    assert audited.after["scopes"] == ["view"]


def test_a_good_token_names_its_operator_and_notes_its_use():
    made = make.operator("billing")

    presented = tokens.authenticate(made.secret, address="203.0.113.7")

    assert (presented.user, presented.token.scopes) == (made.user, [])
    made.token.refresh_from_db()
    assert made.token.last_used_address == "203.0.113.7"
    assert made.token.last_used_at is not None
    # Noted at most once a minute: from then on one query.
    assert queries_of(made.secret) == 1


@pytest.mark.parametrize("secret", ["", "op-", "op-" + "a" * 33, "sk-" + "a" * 33, "op-\0", "op-" + "é" * 33])
def test_a_malformed_token_costs_no_query(secret: str):
    assert queries_of(secret) == 0
    with pytest.raises(InvalidToken):
        tokens.authenticate(secret)


@pytest.mark.parametrize("change", ["revoked", "expired", "inactive", "no role"])
def test_what_is_over_is_refused_at_once(change: str):
    made = make.operator("admin")
    tokens.authenticate(made.secret)

    if change == "revoked":
        tokens.revoke(made.token, by=make.PLATFORM)
    elif change == "expired":
        OperatorToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    elif change == "inactive":
        made.user.is_active = False
    else:
        made.user.role = ""
    made.user.save()

    with pytest.raises(InvalidToken):
        tokens.authenticate(made.secret)
    assert queries_of(made.secret) == 1


def test_unknown_tokens_are_refused_alike():
    with pytest.raises(InvalidToken):
        tokens.authenticate(tokens.FORM.generate())


def test_revoking_twice_leaves_one_audit_row():
    made = make.operator("viewer")

    first = tokens.revoke(made.token, by=make.PLATFORM).revoked_at
    assert tokens.revoke(made.token, by=make.PLATFORM).revoked_at == first

    assert AuditEntry.objects.filter(action="token.revoke").count() == 1


def test_it_lasts_90_days_unless_told_otherwise():
    made = make.operator("viewer")
    assert timedelta(days=89) < made.token.expires_at - clock.now() <= timedelta(days=90)


@pytest.mark.parametrize("days", [-1, 0, 366])
def test_an_end_in_the_past_or_too_far_away_is_refused(days: int):
    made = make.operator("viewer")
    with pytest.raises(InvalidField) as refused:
        tokens.issue(made.user, by=make.PLATFORM, name="x", expires_at=clock.now() + timedelta(days=days))
    assert refused.value.errors[0]["loc"] == ["body", "expires_at"]


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"name": "x", "scopes": ["everything"]}, "scopes"),
        # Not held by the role, so it would only mislead.
        ({"name": "x", "scopes": ["view", "prices.write"]}, "scopes"),
    ],
)
def test_bad_terms_name_the_field(terms: dict[str, Any], field: str):
    made = make.operator("support")
    with pytest.raises(InvalidField) as refused:
        tokens.issue(made.user, by=make.PLATFORM, **terms)
    assert refused.value.errors[0]["loc"] == ["body", field]


@pytest.mark.parametrize(
    ("actor", "target", "may"),
    [
        ("owner", "owner", True),
        ("owner", "viewer", True),
        ("admin", "billing", True),
        ("admin", "support", True),
        ("admin", "admin", False),
        ("admin", "owner", False),
        ("billing", "viewer", False),
        ("support", "viewer", False),
        ("viewer", "viewer", False),
    ],
)
def test_who_issues_and_revokes_whose(actor: str, target: str, may: bool):
    by = make.operator(actor).works
    whose = make.operator(target, email="target@example.com")

    for act in (
        lambda: tokens.issue(whose.user, by=by, name="x"),
        lambda: tokens.revoke(whose.token, by=by),
    ):
        if may:
            act()
        else:
            with pytest.raises(RightMissing):
                act()


def test_a_narrow_token_issues_none_that_can_do_more():
    owner = make.operator("owner")
    by = Operator(owner.works.actor, "owner", owner.user, ("view", "operators.write"))

    with pytest.raises(RightMissing, match="more than it can itself"):
        tokens.issue(owner.user, by=by, name="wide")
    with pytest.raises(RightMissing, match=r"lacks the scope 'credits\.write'"):
        tokens.issue(owner.user, by=by, name="other", scopes=["credits.write"])
    tokens.issue(owner.user, by=by, name="narrow", scopes=["view"])


def test_a_token_is_found_with_its_operator_alone():
    mine, other = make.operator("viewer"), make.operator("support")
    assert tokens.find(mine.user, str(mine.token.pk)) == mine.token
    for id in (str(other.token.pk), "nonsense"):
        with pytest.raises(TokenNotFound):
            tokens.find(mine.user, id)
    assert list(tokens.listing(mine.user)) == [mine.token]
