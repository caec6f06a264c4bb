"""`create_operator` and `issue_operator_token`: the first operator, without a console."""

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apps.core.models import AuditEntry
from apps.organizations import tokens
from apps.organizations.models import User
from tests import make

pytestmark = pytest.mark.django_db


def run(name: str, *args: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command(name, *args, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_an_operator_without_a_password_is_told_how_to_get_one():
    out, err = run("create_operator", "--email", "Ana@example.com", "--role", "owner", "--name", "Ana")

    user = User.objects.get()
    assert (user.email, user.role, user.display_name, user.has_usable_password()) == (
        "ana@example.com",
        "owner",
        "Ana",
        False,
    )
    assert str(user.public_id) in out
    assert "manage.py changepassword ana@example.com" in err
    assert AuditEntry.objects.get(action="operator.create").actor == "command"


def test_a_password_comes_from_standard_input(monkeypatch: pytest.MonkeyPatch, settings: Any):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery\nnot this\n"))

    out, err = run("create_operator", "--email", "ana@example.com", "--role", "viewer", "--password-stdin")

    assert User.objects.get().check_password("correct horse battery")
    assert "correct horse" not in out + err


def test_a_weak_password_makes_nobody(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    with pytest.raises(CommandError, match="too short"):
        run("create_operator", "--email", "ana@example.com", "--role", "viewer", "--password-stdin")
    assert not User.objects.exists()


def test_nobody_is_named_twice():
    make.operator("viewer", email="ana@example.com")
    with pytest.raises(CommandError, match="operator already"):
        run("create_operator", "--email", "ana@example.com", "--role", "owner")


def test_a_token_is_printed_once():
    make.operator("owner", email="ana@example.com")

    out, err = run("issue_operator_token", "ANA@example.com", "--name", "deploy", "--scope", "view", "--days", "7")

    secret = out.strip().removeprefix("SAAS_LITELLM_OPERATOR_TOKEN=")
    found = tokens.authenticate(secret)
    assert (found.token.name, found.token.scopes, found.token.created_by) == ("deploy", ["view"], "command")
    assert secret not in err


@pytest.mark.parametrize(
    "args", [("nobody@example.com", "--name", "x"), ("ana@example.com", "--name", "x", "--days", "0")]
)
def test_what_cannot_be_is_one_clear_line(args: tuple[str, ...]):
    make.operator("owner", email="ana@example.com")
    with pytest.raises(CommandError):
        run("issue_operator_token", *args, "--name", "x")
