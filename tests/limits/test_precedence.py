"""B18: one rule for every limit, every limit on the way applies, and the tightest wins."""

import itertools
from typing import Any

import pytest

from apps.limits import index
from apps.limits.errors import RateLimitExceeded, SpendLimitReached
from apps.limits.models import Decision, Limit, Metric, Scope
from apps.virtual_keys import services as virtual_keys
from tests import make
from tests.jobs import steps
from tests.limits import limiting
from tests.limits.limiting import call, ids, limit

SCOPES = Scope.values
MONEY_SCOPES = [scope for scope in SCOPES if scope != Scope.MODEL]
RATES = [Metric.REQUESTS, Metric.CALLS]
SPENDS = [Metric.SPEND_DAY, Metric.SPEND_WEEK, Metric.SPEND_MONTH]


def put(customer: make.Customer, scope: str, metric: str, amount: int) -> Limit:
    return limit(scope, metric=metric, amount=amount, **ids(customer)[scope])


@pytest.mark.parametrize(
    ("scope", "metric"),
    [*itertools.product(SCOPES, RATES), *itertools.product(MONEY_SCOPES, SPENDS)],
)
def test_b18_every_scope_and_metric_admits_exactly_what_is_allowed(customer, scope, metric):
    put(customer, scope, metric, 2)

    for number in range(2):
        call(customer, f"Call {number}")
    with pytest.raises(SpendLimitReached if metric in SPENDS else RateLimitExceeded) as refused:
        call(customer, "One too many")

    # At the limit and not past it, whichever limit: what is used, held and wanted together is compared.
    told = refused.value.details
    unit = 1_000_000 if metric in SPENDS else 1
    assert (told["limit"], told["scope"]) == (metric, scope)
    # The refusal of a limit that customers share does not tell a customer; what is kept for operators does.
    (stood,) = (each for each in Decision.objects.get().limits if each["verdict"] == "refused")
    assert stood["used"] + stood["held"] == told["allowed"] == 2 * unit
    assert told["id"] == ids(customer)[scope]["id"]


@pytest.mark.parametrize(("tight", "wide"), list(itertools.permutations(SCOPES, 2)), ids=lambda scope: str(scope))
def test_b18_of_two_rates_the_tighter_wins_wherever_it_is(customer, tight, wide):
    put(customer, tight, Metric.REQUESTS, 1)
    put(customer, wide, Metric.REQUESTS, 2)
    call(customer, "The only one")
    with pytest.raises(RateLimitExceeded) as refused:
        call(customer, "Another")
    assert refused.value.details["scope"] == tight


@pytest.mark.parametrize(
    ("tight", "wide"), list(itertools.permutations(MONEY_SCOPES, 2)), ids=lambda scope: str(scope)
)
def test_b18_of_two_spend_limits_the_tighter_wins_wherever_it_is(customer, tight, wide):
    put(customer, tight, Metric.SPEND_DAY, 1)
    put(customer, wide, Metric.SPEND_DAY, 2)
    call(customer, "The only one")
    with pytest.raises(SpendLimitReached) as refused:
        call(customer, "Another")
    assert refused.value.details["scope"] == tight


@pytest.mark.parametrize(("tight", "wide"), list(itertools.permutations(SPENDS, 2)))
def test_b18_a_longer_period_does_not_override_a_shorter_one_nor_the_other_way(customer, tight, wide):
    put(customer, "team", tight, 1)
    put(customer, "team", wide, 2)
    call(customer, "The only one")
    with pytest.raises(SpendLimitReached) as refused:
        call(customer, "Another")
    assert refused.value.details["limit"] == tight


def test_b18_six_limits_at_once_and_each_of_them_can_say_no(customer):
    for tight in SCOPES:
        for scope in SCOPES:
            put(customer, scope, Metric.CALLS, 0 if scope == tight else 100)
        with pytest.raises(RateLimitExceeded) as refused:
            call(customer, f"Refused by the {tight}")
        assert refused.value.details["scope"] == tight
        newest = Decision.objects.first()
        assert {state["scope"]: state["verdict"] for state in newest.limits} == {
            scope: "refused" if scope == tight else "passed" for scope in SCOPES
        }


def test_b18_limits_of_others_are_not_met(customer):
    other = make.customer(team_id="globex", credits=100)
    for scope in ("organization", "team", "key", "user"):
        put(other, scope, Metric.REQUESTS, 0)
        put(other, scope, Metric.SPEND_DAY, 0)
    make.alias("another", is_open=True)
    limit("model", "another", Metric.REQUESTS, 0)
    limit("user", "bob", Metric.REQUESTS, 0, team_id="acme")

    call(customer)

    assert limiting.windows() == []


def test_b18_a_limit_counts_all_calls_of_its_scope(customer):
    second_key = virtual_keys.issue(customer.team, actor=make.TESTER)[1]
    second = make.Customer(customer.organization, customer.team, second_key)
    limit("team", "acme", Metric.REQUESTS, 3)
    limit("key", customer.principal.key_id, Metric.REQUESTS, 1)
    call(customer, "By the first key")
    with pytest.raises(RateLimitExceeded):
        call(customer, "Again by the first key")
    call(second, "By the second key")
    call(second, "Again by the second key")
    with pytest.raises(RateLimitExceeded) as refused:
        call(second, "Once more by the second key")
    assert refused.value.details["scope"] == "team"


def test_b18_a_model_s_limit_counts_the_name_that_was_asked_for(customer):
    make.alias("big", is_open=True)
    make.alias("small", is_open=True)
    limit("model", "big", Metric.REQUESTS, 1)
    call(customer, "Big", model="big")
    with pytest.raises(RateLimitExceeded):
        call(customer, "Big again", model="big")
    call(customer, "Small", model="small")
    # A team of another organization shares it: it is the platform's limit of that model.
    with pytest.raises(RateLimitExceeded):
        call(make.customer(credits=10), "Big of others", model="big")


# --- End users -----------------------------------------------------------------------------------------------


def test_a_limit_of_each_user_counts_every_user_alone(customer):
    limit("user", "", Metric.REQUESTS, 1, team_id="acme")
    for user in ("ann", "bob"):
        call(customer, f"First of {user}", user_id=user)
        with pytest.raises(RateLimitExceeded) as refused:
            call(customer, f"Second of {user}", user_id=user)
        assert refused.value.details["id"] == user
    # Without a user there is none to count.
    for number in range(3):
        call(customer, f"Of nobody {number}", user_id="")


def test_a_user_s_own_limit_stands_in_the_place_of_that_of_each_user(customer):
    limit("user", "", Metric.REQUESTS, 1, team_id="acme")
    limit("user", "", Metric.SPEND_DAY, 1, team_id="acme")
    limit("user", "vip", Metric.REQUESTS, 2, team_id="acme")
    limit("user", "vip", Metric.SPEND_DAY, 5, team_id="acme")
    call(customer, "One", user_id="vip")
    call(customer, "Two", user_id="vip")
    with pytest.raises(RateLimitExceeded):
        call(customer, "Three", user_id="vip")


def test_users_of_the_same_name_in_two_teams_are_two(customer):
    other = make.customer(team_id="globex", credits=10)
    limit("user", "ann", Metric.REQUESTS, 1, team_id="acme")
    call(customer, "Acme's Ann")
    for number in range(2):
        call(other, f"Globex's Ann {number}")


@pytest.mark.parametrize("user_id", ["a/b", "acme/ann", "/", "ann}", "é" * 100, "x" * 255])
def test_any_user_id_is_counted_by_itself(customer, user_id):
    limit("user", "", Metric.REQUESTS, 1, team_id="acme")
    limit("user", "", Metric.SPEND_DAY, 1, team_id="acme")
    call(customer, "First", user_id=user_id)
    with pytest.raises(RateLimitExceeded) as refused:
        call(customer, "Second", user_id=user_id)
    assert refused.value.details["id"] == user_id


def test_a_call_into_a_job_is_its_job_s_user_s(customer):
    limit("user", "ann", Metric.REQUESTS, 1, team_id="acme")
    job = steps.open_job(customer, user_id="ann")
    steps.ask(customer, job, "First")
    with pytest.raises(RateLimitExceeded):
        steps.ask(customer, job, "Second")
    steps.ask(customer, steps.open_job(customer, user_id="bob"), "Bob's")


# --- What is known of limits ---------------------------------------------------------------------------------


def test_a_team_without_limits_pays_no_query(customer, django_assert_num_queries, monkeypatch):
    other = make.customer(team_id="globex", credits=100)
    limit("team", "globex", Metric.REQUESTS, 5)
    principal = customer.principal
    index.current()
    with django_assert_num_queries(0):
        assert not index.current().concerns(principal)
    assert index.current().concerns(other.principal)


def test_limits_are_read_again_only_after_a_change(customer, django_assert_num_queries, monkeypatch):
    one = limit("team", "acme", Metric.REQUESTS, 5)
    known = index.current()
    index._cache.clear()
    with django_assert_num_queries(1):
        assert index.current().amounts is known.amounts
    changes: list[Any] = [
        lambda: Limit.objects.filter(pk=one.pk).update(amount=6, revision=2),
        lambda: limit("team", "acme", Metric.CALLS, 5),
        lambda: Limit.objects.filter(pk=one.pk).delete(),
    ]
    for change in changes:
        known = index.current()
        change()
        index._cache.clear()
        assert index.current().amounts != known.amounts
