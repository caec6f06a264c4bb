"""Settings that operators change while the platform runs."""

from typing import Any

import pytest

from apps.core import settings_store
from apps.core.actors import Actor
from apps.core.errors import InvalidField
from apps.core.models import AuditEntry, Setting
from apps.core.settings_store import SettingChanged, SettingOfEnvironment

ANA = Actor("operator", "ana@example.com")
pytestmark = pytest.mark.django_db


def test_nothing_stored_is_the_default_in_one_query(django_assert_num_queries: Any):
    with django_assert_num_queries(1):
        assert settings_store.get("low_percent") == 20
        assert {each.source for each in settings_store.everything()} == {"default"}


def test_change_is_stored_counted_and_audited():
    assert settings_store.put("credit_word", "  token ", actor=ANA).version == 1
    now = settings_store.put("credit_word", "coin", actor=ANA, version=1)

    assert (now.value, now.source, now.version) == ("coin", "stored", 2)
    rows = AuditEntry.objects.order_by("created_at", "id")
    assert [(row.action, row.actor, row.before, row.after) for row in rows] == [
        ("setting.change", "operator:ana@example.com", {"value": "credit"}, {"value": "token"}),
        ("setting.change", "operator:ana@example.com", {"value": "token"}, {"value": "coin"}),
    ]


def test_same_value_again_changes_nothing():
    settings_store.put("credit_word", "token", actor=ANA)
    assert settings_store.put("credit_word", "token", actor=ANA).version == 1
    assert AuditEntry.objects.count() == 1


@pytest.mark.parametrize("read_as", [0, 2])
def test_what_was_changed_meanwhile_is_not_overwritten(read_as: int):
    settings_store.put("low_percent", 30, actor=ANA, version=0)
    with pytest.raises(SettingChanged):
        settings_store.put("low_percent", 40, actor=ANA, version=read_as)
    assert settings_store.get("low_percent") == 30


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("platform_name", ""),
        ("platform_name", "x" * 61),
        ("platform_name", "two\nlines"),
        ("platform_name", 7),
        ("low_percent", 0),
        ("low_percent", 101),
        ("low_percent", True),
        ("low_percent", 1.5),
        ("low_percent", "9" * 5000),
        ("session_idle_min", 4),
        ("second_factor_required", "yes"),
        ("reporting_time_zone", "Mars/Olympus"),
        ("reporting_time_zone", "../etc/passwd"),
        ("reporting_time_zone", None),
    ],
)
def test_bad_values_name_the_setting(name: str, value: Any):
    with pytest.raises(InvalidField) as refused:
        settings_store.put(name, value, actor=ANA)
    assert refused.value.errors[0]["loc"] == ["body", name]
    assert not Setting.objects.exists()


def test_digits_of_a_form_are_a_number():
    assert settings_store.put("session_idle_min", " 15 ", actor=ANA).value == 15


def test_environment_wins_and_cannot_be_changed_here(settings: Any):
    settings_store.put("session_idle_min", 15, actor=ANA)
    settings.SESSION_IDLE_MIN = 30
    now = settings_store.current("session_idle_min")
    assert (now.value, now.source) == (30, "environment")
    with pytest.raises(SettingOfEnvironment, match="SESSION_IDLE_MIN"):
        settings_store.put("session_idle_min", 45, actor=ANA)


def test_unknown_settings_are_none():
    with pytest.raises(KeyError):
        settings_store.put("installation_id", "x", actor=ANA)


def test_installation_id_stays():
    assert settings_store.installation_id() == settings_store.installation_id()
    assert "installation_id" not in [each.name for each in settings_store.everything()]


def test_every_default_is_a_value_that_could_be_set():
    for name, known in settings_store.KNOWN.items():
        assert known.read(name, known.default) == known.default
