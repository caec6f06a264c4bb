"""Aliases, their prices and what teams may use, in the admin."""

import pytest

from apps.catalog import services
from apps.catalog.models import ModelAlias, ModelGroupMember, TeamAlias, TeamDefaultModel
from apps.core.models import AuditEntry
from tests import make

LIST = "/admin/catalog/modelalias/"
ACCESS = "/admin/catalog/teamalias/"
DEFAULTS = "/admin/catalog/teamdefaultmodel/"


def form(**changes) -> dict[str, str]:
    return {"name": "gpt", "provider_model": "openai/gpt", "status": "active", "route": "demo"} | changes


def page_of(alias: ModelAlias) -> str:
    return f"{LIST}{alias.pk}/change/"


@pytest.mark.parametrize(
    ("usd", "nanousd"),
    [
        ("0.15", 150_000_000),
        ("0.000000001", 1),
        ("0", 0),
        ("10", 10_000_000_000),
        ("999999.999999999", 999_999_999_999_999),
    ],
)
def test_price_in_dollars_is_kept_exactly_and_shown_again(site, usd, nanousd):
    site.post(f"{LIST}add/", form(input_usd_per_mtok=usd, output_usd_per_mtok="1"))

    alias = ModelAlias.objects.get(name="gpt")
    assert (alias.input_nanousd_per_mtok, alias.output_nanousd_per_mtok) == (nanousd, 1_000_000_000)
    shown = site.get(page_of(alias)).context["adminform"].form["input_usd_per_mtok"].value()
    site.post(page_of(alias), form(input_usd_per_mtok=str(shown), output_usd_per_mtok="1"))
    alias.refresh_from_db()
    assert alias.input_nanousd_per_mtok == nanousd


@pytest.mark.parametrize("usd", ["-1", "0.0000000001", "1000000", "x", "NaN", "Infinity", "1e99"])
def test_price_that_cannot_be_kept_is_refused(site, usd):
    page = site.post(f"{LIST}add/", form(input_usd_per_mtok=usd, output_usd_per_mtok="1"))
    assert page.context["adminform"].form.errors["input_usd_per_mtok"]
    assert not ModelAlias.objects.exists()


def test_one_price_without_the_other_is_refused(site):
    page = site.post(f"{LIST}add/", form(input_usd_per_mtok="1"))
    assert "Give both prices or none" in page.content.decode()


def test_changed_price_is_audited(site):
    alias = make.alias("gpt", input_usd_per_mtok=1, output_usd_per_mtok=2)
    site.post(
        page_of(alias), form(provider_model=alias.provider_model, input_usd_per_mtok="1", output_usd_per_mtok="3")
    )

    audited = AuditEntry.objects.get(action="alias.update")
    assert audited.before == {"output_nanousd_per_mtok": 2_000_000_000}
    assert audited.after == {"output_nanousd_per_mtok": 3_000_000_000}
    assert (audited.object_id, audited.actor) == ("gpt", "operator:owner@example.com")


def test_name_of_an_alias_stays(site):
    alias = make.alias("gpt")
    site.post(page_of(alias), form(name="other"))
    assert ModelAlias.objects.get(pk=alias.pk).name == "gpt"


def test_new_default_replaces_the_old_one(site, acme):
    site.post(f"{LIST}add/", form(makes_default="on"))

    assert [alias.name for alias in ModelAlias.objects.filter(is_default=True)] == ["gpt"]
    assert services.resolve(acme.team, None).alias == "gpt"
    assert AuditEntry.objects.filter(action="alias.default", object_id="gpt").exists()


def test_default_can_be_changed_without_losing_its_place(site, acme):
    alias = ModelAlias.objects.get(is_default=True)
    data = form(name=alias.name, display_name="Chat", is_open="on", makes_default="on")
    site.post(page_of(alias), data)
    alias.refresh_from_db()
    assert (alias.display_name, alias.is_default) == ("Chat", True)


def test_platform_may_have_no_default(site, acme):
    alias = ModelAlias.objects.get(is_default=True)
    site.post(page_of(alias), form(is_open="on"))
    assert not ModelAlias.objects.filter(is_default=True).exists()
    assert AuditEntry.objects.get(action="alias.update", object_id=alias.name).before["is_default"] is True


@pytest.mark.parametrize(("changes", "field"), [({"status": "inactive"}, "makes_default")])
def test_default_must_be_active(site, changes, field):
    page = site.post(f"{LIST}add/", form(makes_default="on", **changes))
    assert page.context["adminform"].form.errors[field]


def test_default_stays_open(site, acme):
    alias = ModelAlias.objects.get(is_default=True)
    page = site.post(page_of(alias), form(makes_default="on"))
    assert page.context["adminform"].form.errors["is_open"]


def test_team_is_given_an_alias_and_loses_it_with_audit_rows(site, acme):
    old, new = make.alias("old"), make.alias("new")
    services.set_team_models(acme.team, actor=make.TESTER, access_groups=[old.name])

    site.post(f"{ACCESS}add/", {"team": acme.team.pk, "alias": new.pk, "listed_as": "access_group"})
    assert services.models_of([acme.team])[acme.team.pk].access_groups == ["old", "new"]
    row = TeamAlias.objects.get(alias=new)
    site.post(f"{ACCESS}{row.pk}/delete/", {"post": "yes"})

    assert services.models_of([acme.team])[acme.team.pk].access_groups == ["old"]
    rows = AuditEntry.objects.filter(action="team.models", actor__startswith="operator").order_by("created_at", "id")
    assert [row.after["models"] for row in rows] == [["new", "old"], ["old"]]


def test_alias_given_twice_is_refused(site, acme):
    alias = make.alias("old")
    data = {"team": acme.team.pk, "alias": alias.pk, "listed_as": "model_group"}
    site.post(f"{ACCESS}add/", data)
    page = site.post(f"{ACCESS}add/", data)
    assert page.context["adminform"].form.errors
    assert TeamAlias.objects.count() == 1


def test_team_default_is_set_changed_and_removed_through_the_service(site, acme):
    first, second = make.alias("first", is_open=True), make.alias("second", is_open=True)
    site.post(f"{DEFAULTS}add/", {"team": acme.team.pk, "alias": first.pk})
    site.post(f"{DEFAULTS}{acme.team.pk}/change/", {"alias": second.pk})
    assert services.resolve(acme.team, None).alias == "second"
    site.post(f"{DEFAULTS}{acme.team.pk}/delete/", {"post": "yes"})

    assert not TeamDefaultModel.objects.exists()
    rows = AuditEntry.objects.filter(action="team.default_model").order_by("created_at", "id")
    assert [row.after["default_model"] for row in rows] == ["first", "second", None]


def test_default_that_the_team_may_not_use_is_refused(site, acme):
    alias = make.alias("closed")
    page = site.post(f"{DEFAULTS}add/", {"team": acme.team.pk, "alias": alias.pk})
    assert "may not use closed" in page.content.decode()


def test_limits_and_abilities_are_kept_and_audited(site):
    alias = make.alias("gpt")
    data = form(provider_model=alias.provider_model, max_output_tokens="500", supports_vision="false", timeout_s="30")
    site.post(page_of(alias), data | {"supports_tools": "true", "supports_audio": "unknown"})

    alias.refresh_from_db()
    assert (alias.max_output_tokens, alias.timeout_s) == (500, 30)
    assert (alias.supports_vision, alias.supports_tools, alias.supports_audio) == (False, True, None)
    assert AuditEntry.objects.get(action="alias.update").after == {
        "max_output_tokens": 500,
        "supports_vision": False,
        "supports_tools": True,
        "timeout_s": 30,
    }


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"max_output_tokens": "0"}, "A limit is empty or at least 1."),
        ({"max_output_tokens": "5", "default_output_tokens": "6"}, "at most the max output tokens"),
    ],
)
def test_limits_that_make_no_sense_are_refused(site, changes, text):
    page = site.post(f"{LIST}add/", form(**changes))
    assert text in page.content.decode()
    assert not ModelAlias.objects.exists()


def test_name_that_is_no_part_of_a_url_is_refused(site):
    page = site.post(f"{LIST}add/", form(name="openai/gpt"))
    assert page.context["adminform"].form.errors["name"]


def test_group_s_model_of_a_new_alias_s_name_is_that_alias(site):
    make.model_group("agent", "gpt")
    site.post(f"{LIST}add/", form())
    assert str(ModelGroupMember.objects.get().alias) == "gpt"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"route": "demo"}, "route"),
        ({"route": "litellm_sdk"}, "route"),
        ({"route": "openai", "provider": "acme"}, "provider"),
    ],
)
def test_route_on_which_nothing_can_answer_is_refused(site, settings, monkeypatch, changes, field):
    settings.EMBEDDED = False
    monkeypatch.setattr("apps.catalog.routes.find_spec", lambda name: None)
    page = site.post(f"{LIST}add/", form(**changes))
    assert page.context["adminform"].form.errors[field]
    assert not ModelAlias.objects.exists()
