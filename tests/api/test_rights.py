"""Every endpoint for operators names the right that each method needs, and asks for it before anything else."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from apps.api.authentication import Partly, _TakesOperators
from apps.core.models import AuditEntry
from apps.organizations import rights
from apps.organizations.rights import Right, Role
from tests import make
from tests.api.calling import Caller

METHODS = ("get", "post", "put", "patch", "delete")


def views(patterns: list[Any] | None = None) -> Iterator[type[Any]]:
    """Each view of each URL, in order, that operators may call."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            yield from views(pattern.url_patterns)
        elif isinstance(pattern, URLPattern):
            view = getattr(pattern.callback, "cls", None)
            if view is not None and issubclass(view, _TakesOperators):
                yield view


VIEWS = list(dict.fromkeys(views()))
ENDPOINTS = [
    pytest.param(view, method.upper(), id=f"{view.__name__}-{method}")
    for view in VIEWS
    for method in METHODS
    if hasattr(view, method)
]


def needed(view: type[Any], method: str) -> tuple[Right | None, bool]:
    """The right, and whether it is enough in part."""
    wanted = view.needed(method)
    return (wanted.right, True) if isinstance(wanted, Partly) else (wanted, False)


def test_the_walk_finds_the_endpoints():
    assert len(VIEWS) > 90
    assert len(ENDPOINTS) > 120


@pytest.mark.parametrize(("view", "method"), ENDPOINTS)
def test_every_method_names_its_right(view: type[Any], method: str):
    right, _ = needed(view, method)
    assert right is None or right in list(Right)
    # Reading needs no right to write, and only questions are asked by other methods for a right to read.
    if method == "GET":
        assert right in (None, Right.VIEW)
    elif right in (None, Right.VIEW):
        assert view.__name__ in ("CheckCredits", "Quotes")


@pytest.fixture(scope="module")
def paths() -> dict[type[Any], str]:
    """A path of each view, its named parts filled with what does not exist."""
    found: dict[type[Any], str] = {}

    def walk(patterns: list[Any], before: str) -> None:
        for pattern in patterns:
            text = before + pattern.pattern.regex.pattern.lstrip("^")
            if isinstance(pattern, URLResolver):
                walk(pattern.url_patterns, before + _plain(pattern))
            else:
                view = getattr(pattern.callback, "cls", None)
                if view in VIEWS:
                    found.setdefault(view, "/" + _filled(text))

    walk(get_resolver().url_patterns, "")
    return found


def _plain(pattern: URLResolver) -> str:
    return re.sub(r"\(\?[=!].*\)", "", pattern.pattern.regex.pattern.lstrip("^"))


def _filled(pattern: str) -> str:
    filled = re.sub(r"\(\?P<\w+>\[\^/\\x00\]\+\)", "nothing", pattern)
    return filled.replace("/?$", "").replace("\\Z", "").replace("\\", "")


@pytest.fixture
def token_of(db: None) -> Any:
    return lambda role, **more: Caller(make.operator(role, **more).headers)


@pytest.mark.parametrize("role", list(Role))
def test_each_role_is_refused_what_it_may_not_and_nothing_else(
    role: Role, paths: dict[type[Any], str], token_of: Any
):
    """Empty bodies and ids that do not exist: who may gets past the check, to an answer of another kind."""
    caller = token_of(role)
    assert paths.keys() == set(VIEWS)
    for param in ENDPOINTS:
        view, method = param.values
        right, in_part = needed(view, method)
        allowed = right is None or rights.holds(role, right, within=in_part)
        before = AuditEntry.objects.filter(action="refused").count()
        answer = getattr(caller, method.lower())(paths[view])
        refused = answer.status_code == 403 and answer.json().get("code") == "right_missing"
        assert refused is not allowed, (role, param.id, answer.status_code, answer.content[:200])
        assert answer.status_code != 401
        assert AuditEntry.objects.filter(action="refused").count() == before + refused


def test_a_refusal_is_kept_with_who_what_and_which_right(token_of: Any, acme: make.Customer):
    caller = token_of(Role.VIEWER)

    answer = caller.put("/api/teams/acme/suspend", {"reason": "x"})

    assert answer.status_code == 403
    assert answer.json() == {
        "detail": "Your role (viewer) cannot suspend, pause and resume customers. Owners, admins and support can.",
        "code": "right_missing",
        "right": "state.write",
        "role": "viewer",
    }
    kept = AuditEntry.objects.get(action="refused")
    assert (kept.object_kind, kept.object_id) == ("team", "acme")
    assert kept.actor == "operator:viewer@example.com"
    assert kept.after == {"right": "state.write", "method": "PUT", "path": "/api/teams/acme/suspend"}
    acme.team.refresh_from_db()
    assert acme.team.status == "active"


def test_the_right_is_asked_for_before_the_body_is_read(token_of: Any):
    refused = token_of(Role.VIEWER).raw("/api/teams/create", b"{" * 10)
    read = token_of(Role.ADMIN).raw("/api/teams/create", b"{" * 10)

    assert (refused.status_code, read.status_code) == (403, 422)


def test_what_a_view_does_not_answer_is_405_for_every_role(token_of: Any):
    assert token_of(Role.VIEWER).delete("/api/teams").status_code == 405


def test_head_needs_what_get_needs_and_options_nothing(db: None):
    headers = make.operator(Role.OWNER, scopes=["keys.write"]).headers
    assert Client().head("/api/teams", headers=headers).status_code == 403
    assert Client().options("/api/teams", headers=headers).status_code == 200
    assert Client().head("/api/teams", headers=make.operator(Role.VIEWER).headers).status_code == 200


def test_scopes_narrow_the_role(token_of: Any, acme: make.Customer):
    caller = token_of(Role.OWNER, scopes=["view", "keys.write"])

    assert caller.get("/api/teams").status_code == 200
    assert caller.post("/api/teams/acme/keys", {}).status_code == 200
    refused = caller.put("/api/teams/acme/suspend")
    assert refused.status_code == 403
    assert refused.json()["detail"] == (
        "This token cannot suspend, pause and resume customers: it lacks the scope 'state.write'."
        " It has: view, keys.write."
    )


def test_views_for_both_ask_operators_alone(token_of: Any, acme: make.Customer):
    scoped = token_of(Role.OWNER, scopes=["keys.write"])

    assert scoped.get("/api/credits/teams/acme/balance").status_code == 403
    assert Caller(acme.headers).get("/api/credits/teams/acme/balance").status_code == 200
