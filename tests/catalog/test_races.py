"""What operators do at the same moment on PostgreSQL: each is done or refused, nothing dangles, none deadlocks."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from apps.catalog import access_groups, aliases, credentials, model_groups
from apps.catalog import services as catalog
from apps.catalog.errors import AliasExists, CredentialExists
from apps.catalog.model_groups import Member
from apps.catalog.models import ModelAlias, ProviderCredential
from apps.core.errors import DomainError
from tests import make

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


def at_once(*doings: Callable[[], Any]) -> list[Any]:
    """Each in a thread of its own, all let go together. Results in order; a DomainError is a result."""
    barrier = threading.Barrier(len(doings))

    def do(doing: Callable[[], Any]) -> Any:
        try:
            with connection.cursor() as cursor:
                # Who waits longer waits for ever, and so would the test.
                cursor.execute("SET lock_timeout = '10s'")
            barrier.wait(timeout=10)
            return doing()
        except DomainError as error:
            return error
        finally:
            with connection.cursor() as cursor:
                cursor.execute("RESET lock_timeout")
            connection.close()

    with ThreadPoolExecutor(len(doings)) as pool:
        return list(pool.map(do, doings))


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("alias", "by name"),
        ("alias", "itself"),
        ("alias", "default"),
        ("access group", "by name"),
        ("access group", "itself"),
        ("model group", "by name"),
        ("model group", "itself"),
        ("model group", "default"),
    ],
)
def test_what_is_given_is_not_deleted_and_what_is_deleted_is_not_given(kind: str, how: str):
    makes, deletes = {
        "alias": (make.alias, aliases.delete),
        "access group": (make.access_group, access_groups.delete),
        "model group": (make.model_group, model_groups.delete),
    }[kind]
    team = make.customer(credits=0).team
    field = "model_groups" if kind == "model group" else "access_groups"
    for number in range(8):
        name = f"name-{number}"
        what = makes(name)
        gives = {
            "by name": lambda name=name: catalog.set_team_models(team, actor=make.TESTER, **{field: [name]}),
            "itself": lambda what=what: catalog.give(team, what, actor=make.TESTER),
            "default": lambda what=what: catalog.choose_default(team, what, actor=make.TESTER),
        }[how]

        given, deleted = at_once(gives, lambda name=name: deletes(name, actor=make.TESTER))

        assert isinstance(given, DomainError) != isinstance(deleted, DomainError), (given, deleted)
        models = catalog.models_of([team])[team.pk]
        assert (name in [*models.given, models.default_model]) == isinstance(deleted, DomainError)
        catalog.set_team_models(team, actor=make.TESTER, access_groups=[], model_groups=[])
        catalog.set_team_default(team, None, actor=make.TESTER)


def test_aliases_and_their_groups_are_changed_from_both_sides_without_a_deadlock():
    for name in ("a", "b"):
        make.alias(name)
    make.access_group("one", "a")
    make.access_group("two", "b")
    make.model_group("agent", "a")

    for _ in range(5):
        results = at_once(
            lambda: aliases.update("a", {}, access_groups=["two", "one"], actor=make.TESTER),
            lambda: aliases.update("b", {}, access_groups=["one", "two"], actor=make.TESTER),
            lambda: access_groups.update("one", aliases=["b", "a"], actor=make.TESTER),
            lambda: access_groups.update("two", aliases=["a", "b"], actor=make.TESTER),
            lambda: model_groups.update("agent", members=[Member("b"), Member("a", 1)], actor=make.TESTER),
            lambda: model_groups.update("agent", members=[Member("a"), Member("b", 1)], actor=make.TESTER),
        )
        assert [result for result in results if isinstance(result, DomainError)] == []

    assert aliases.groups_of(aliases.find("a")) == ["one", "two"]


def test_name_is_given_once():
    results = at_once(*[lambda: aliases.create("gpt", {"provider_model": "x"}, actor=make.TESTER)] * 6)

    assert sum(isinstance(result, AliasExists) for result in results) == 5
    assert ModelAlias.objects.count() == 1


@pytest.mark.parametrize("is_platform_s", [False, True])
def test_one_of_two_credentials_activated_at_once_becomes_active(is_platform_s: bool):
    owner = None if is_platform_s else make.organization()
    for _ in range(5):
        made = [
            credentials.create(
                organization=owner, provider="openai", name="x", api_key="k", is_active=False, actor=make.TESTER
            )
            for _ in range(2)
        ]

        def activate(one: ProviderCredential) -> Any:
            return credentials.update(str(one.pk), {"is_active": True}, actor=make.TESTER)

        results = at_once(lambda: activate(made[0]), lambda: activate(made[1]))  # noqa: B023  (run at once)

        assert sorted(isinstance(result, CredentialExists) for result in results) == [False, True]
        (active,) = ProviderCredential.objects.filter(is_active=True)
        credentials.delete(str(active.pk), actor=make.TESTER)
