"""The first owner: made once, by who has the code."""

import threading
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection
from django.test import Client
from psycopg_pool import PoolTimeout

from apps.console.signing_in import setup
from apps.core import settings_store
from apps.core.actors import Actor
from apps.core.models import AuditEntry
from apps.organizations import first_owner
from apps.organizations.errors import AlreadySetUp
from apps.organizations.models import User
from tests.console.signing_in.conftest import PASSWORD, actions, is_signed_in

PAGE = "/admin/setup/"


def filled(**other: str) -> dict[str, str]:
    return {
        "code": first_owner.setup_code(),
        "email": "Ana@Example.com",
        "display_name": "Ana",
        "password": PASSWORD,
        "time_zone": "Europe/Berlin",
        "platform_name": "Acme AI",
        "credit_word": "token",
    } | other


def test_an_empty_platform_leads_to_set_up(db: None):
    assert Client().get("/admin/", follow=True).redirect_chain[-1][0] == PAGE
    page = Client().get(PAGE)
    assert page.status_code == 200
    assert "no-store" in page["Cache-Control"]


def test_set_up_makes_the_owner_and_signs_in(db: None):
    browser = Client()

    answer = browser.post(PAGE, filled())

    assert answer.url == "/admin/"
    assert is_signed_in(browser)
    owner = User.objects.get()
    assert (owner.email, owner.role, owner.display_name, owner.time_zone) == (
        "ana@example.com",
        "owner",
        "Ana",
        "Europe/Berlin",
    )
    assert owner.check_password(PASSWORD)
    assert settings_store.get("platform_name") == "Acme AI"
    assert settings_store.get("credit_word") == "token"
    assert settings_store.get("reporting_time_zone") == "Europe/Berlin"
    assert "platform.setup" in actions()
    assert PASSWORD not in str(list(AuditEntry.objects.values()))
    assert first_owner.setup_code() not in str(list(AuditEntry.objects.values()))


def test_afterwards_it_is_not_found(ana: User):
    assert Client().get(PAGE).status_code == 404
    assert Client().post(PAGE, filled(email="eve@example.com")).status_code == 404
    assert User.objects.count() == 1


def test_an_inactive_owner_is_one_too(ana: User):
    User.objects.update(is_active=False)
    assert Client().get(PAGE).status_code == 404


def test_wrong_code_is_refused_in_words(db: None):
    page = Client().post(PAGE, filled(code="AAAAA-AAAAA-AAAAA-AAAAA"))
    assert page.context["form"].errors["code"] == ["That code is not the one in the server log."]
    assert not User.objects.exists()


def test_code_is_taken_in_any_case_and_without_dashes(db: None):
    assert (
        Client().post(PAGE, filled(code=f" {first_owner.setup_code().replace('-', ' ').lower()} ")).status_code == 302
    )


def test_weak_password_is_told_at_its_field_and_the_rest_is_kept(db: None):
    page = Client().post(PAGE, filled(password="short"))
    assert "at least 12 characters" in page.context["form"].errors["password"][0]
    source = page.content.decode()
    assert 'value="Ana"' in source
    assert 'value="Acme AI"' in source
    assert "short" not in source.split("</form>")[0].split('name="password"')[1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "no e-mail"),
        ("time_zone", "Mars/Olympus"),
        ("platform_name", "x" * 61),
        ("platform_name", " "),
        ("credit_word", "\u202eword"),
        ("password", "1qaz2wsx3edc"),
    ],
)
def test_bad_input_is_told_at_its_field_and_makes_nothing(db: None, field: str, value: str):
    page = Client().post(PAGE, filled(**{field: value}))
    assert list(page.context["form"].errors) == [field]
    assert not User.objects.exists()
    assert not AuditEntry.objects.exists()


def test_guesses_are_throttled(db: None):
    browser = Client()
    for _ in range(10):
        browser.post(PAGE, filled(code="A" * 20))
    page = browser.post(PAGE, filled())
    assert page.status_code == 429
    assert page.context["form"].non_field_errors() == ["Too many attempts. Try again in 5 min."]
    assert not User.objects.exists()


def test_other_mistakes_are_not_guesses(db: None):
    for _ in range(12):
        Client().post(PAGE, filled(password="short"))
    assert Client().post(PAGE, filled()).status_code == 302


def test_code_is_this_installations_alone(db: None, settings: Any):
    here = first_owner.setup_code()
    assert first_owner.setup_code() == here
    settings.SECRET_KEY = "another"
    assert first_owner.setup_code() != here


def test_command_prints_the_code_until_there_is_an_owner(db: None):
    out = StringIO()
    call_command("setup_code", stdout=out)
    assert out.getvalue().strip() == first_owner.setup_code()
    User.objects.create_superuser("ana@example.com", PASSWORD)
    with pytest.raises(CommandError, match="has an owner"):
        call_command("setup_code")


def test_start_prints_the_code_until_there_is_an_owner(db: None, caplog: pytest.LogCaptureFixture):
    setup.announce()
    assert first_owner.setup_code() in caplog.text
    caplog.clear()
    User.objects.create_superuser("ana@example.com", PASSWORD)
    setup.announce()
    assert caplog.text == ""


def test_the_later_of_two_reads_that_it_was_done(db: None, monkeypatch: pytest.MonkeyPatch):
    """Both opened the page; the other one's owner is seen under the lock."""
    browser = Client()
    real = settings_store.lock_installation

    def other_first() -> None:
        real()
        User.objects.create_superuser("other@example.com", PASSWORD)

    monkeypatch.setattr(settings_store, "lock_installation", other_first)
    page = browser.post(PAGE, filled())
    assert page.status_code == 409
    assert "Set-up was completed a moment ago. Sign in." in page.content.decode()
    assert not User.objects.filter(email="ana@example.com").exists()


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_one_wins():
    settings_store.installation_id()
    start = threading.Barrier(4)
    outcomes: list[str] = []

    def run(number: int) -> None:
        start.wait()
        given = filled(email=f"o{number}@example.com")
        given.pop("code")
        try:
            first_owner.create(**given, actor=Actor("operator", "x"))
            outcomes.append("won")
        except AlreadySetUp:
            outcomes.append("late")
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["late", "late", "late", "won"]
    assert User.objects.filter(role="owner").count() == 1


def test_a_database_that_is_away_stops_no_start(db: None, monkeypatch: pytest.MonkeyPatch, caplog: Any):
    for error in (OperationalError("away"), PoolTimeout("away")):

        def ask(error: Exception = error) -> bool:
            raise error

        monkeypatch.setattr(first_owner, "exists", ask)
        setup.announce()
    assert "set-up code" not in caplog.text
