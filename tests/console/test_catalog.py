"""The catalog in the console: lists, what turning something off stops, the order of models, two editors."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.catalog import credentials, model_groups
from apps.catalog.models import AccessGroup, ModelAlias, ModelGroup, ProviderCredential
from apps.core.models import AuditEntry
from tests import make
from tests.console.conftest import confirm, text_of

KEY = "sk-typed-by-an-operator"
LISTS = ("modelalias", "modelgroup", "accessgroup", "providercredential")


@pytest.fixture
def catalog(db: None) -> None:
    make.alias("small", provider_model="openai/gpt-9", supports_tools=True)
    make.access_group("basic", "small")
    make.model_group("agent", "small", "openai/raw")
    make.customer(team_id="acme", access_groups=["basic"], model_groups=["agent"])
    credentials.create(organization=None, provider="openai", name="main", api_key=KEY, actor=make.TESTER)


def credential() -> ProviderCredential:
    return ProviderCredential.objects.get()


def turning(kind: str, way: str = "off") -> str:
    names = {"alias": "small", "access-group": "basic", "model-group": "agent"}
    return f"/admin/{kind}/{names.get(kind) or credential().pk}/turn-{way}/"


def status_of(kind: str) -> str:
    if kind == "credential":
        return "active" if credential().is_active else "inactive"
    model: Any = {"alias": ModelAlias, "access-group": AccessGroup, "model-group": ModelGroup}[kind]
    return str(model.objects.get().status)


KINDS = ("alias", "access-group", "model-group", "credential")


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_turned_off_and_on_with_a_reason(ana, catalog, kind):
    assert confirm(ana, turning(kind), reason="it answers nonsense").status_code == 303
    assert status_of(kind) == "inactive"
    again = ana.get(turning(kind))
    assert (again.status_code, "inactive already" in text_of(again)) == (409, True)
    assert confirm(ana, turning(kind, "on"), reason="it is sane again").status_code == 303
    assert status_of(kind) == "active"
    rows = AuditEntry.objects.filter(object_kind=kind.replace("-", "_"), actor="operator:ana@example.com")
    assert [row.reason for row in rows.order_by("id")] == ["it answers nonsense", "it is sane again"]


@pytest.mark.parametrize("kind", KINDS)
def test_preview_names_whom_it_stops_and_changes_nothing(ana, catalog, kind):
    shown = text_of(ana.get(turning(kind)))
    assert ("every organization without one" if kind == "credential" else "1 team uses it: acme") in shown
    assert status_of(kind) == "active"


@pytest.mark.parametrize("kind", KINDS)
def test_turning_needs_the_right(vera, browser_of, catalog, kind):
    for client in (vera, browser_of("support"), browser_of("billing")):
        assert client.get(turning(kind)).status_code == 403
        assert client.post(turning(kind), {"reason": "because"}).status_code == 403
    assert status_of(kind) == "active"
    for name in LISTS:
        assert "turn-off" not in text_of(vera.get(f"/admin/catalog/{name}/"))


def test_lists_say_what_there_is(ana, catalog):
    shown = text_of(ana.get("/admin/catalog/modelalias/"))
    for part in ("openai/gpt-9 (demo)", "agent, basic", "tools", "Turn off"):
        assert part in shown
    assert "small → openai/raw" in text_of(ana.get("/admin/catalog/modelgroup/"))
    assert "acme" in text_of(ana.get("/admin/catalog/accessgroup/"))


def test_key_of_a_provider_is_in_no_list(ana, catalog):
    page = text_of(ana.get("/admin/catalog/providercredential/"))
    exported = b"".join(ana.post("/admin/catalog/providercredential/").streaming_content).decode()
    for text in (page, exported):
        assert "main" in text
        assert KEY not in text
        assert ProviderCredential.objects.get().encrypted_key not in text


def test_models_of_a_group_are_moved_and_a_move_of_what_was_not_seen_is_refused(ana, vera, catalog):
    page = ana.get("/admin/model-group/agent/")
    assert "small answers. If it fails, openai/raw is tried" in text_of(page)
    first, second = page.context["members"]
    move = {"order": page.context["order"], "member": str(second.pk), "move": "up"}
    assert vera.post("/admin/model-group/agent/", move).status_code == 403
    ana.post("/admin/model-group/agent/", move)
    group = model_groups.find("agent")
    assert [each.model_name for each in model_groups.members_of(group)] == ["openai/raw", "small"]

    answer = ana.post("/admin/model-group/agent/", move, follow=True)
    assert "The order has changed meanwhile." in text_of(answer)
    assert [each.pk for each in model_groups.members_of(model_groups.find("agent"))] == [second.pk, first.pk]


@pytest.mark.parametrize("name", ["modelgroup", "accessgroup"])
def test_two_editors_are_shown_each_others_values(ana, browser_of, catalog, name):
    model: Any = {"modelgroup": ModelGroup, "accessgroup": AccessGroup}[name]
    url = f"/admin/catalog/{name}/{model.objects.get().pk}/change/"
    ali = browser_of("admin")
    seen = ali.get(url).context["seen"]
    form = {"display_name": "Basic", "description": "", "status": "active", "_seen": seen}
    assert ana.post(url, form | {"display_name": "Ana's"}).status_code == 302

    page = ali.post(url, form | {"display_name": "Ali's"})
    assert page.status_code == 200
    assert page.context["adminform"].form.errors["display_name"] == [
        "Changed meanwhile: now it is Ana's. Save again to put yours in its place."
    ]
    assert model.objects.get().display_name == "Ana's"
    again = form | {"display_name": "Ali's", "_seen": page.context["seen"]}
    assert ali.post(url, again).status_code == 302
    assert model.objects.get().display_name == "Ali's"


def test_two_editors_of_an_alias(ana, browser_of, catalog):
    alias = ModelAlias.objects.get()
    url = f"/admin/catalog/modelalias/{alias.pk}/change/"
    ali = browser_of("admin")
    page = ali.get(url)
    shown = {field.html_name: field.value() for field in page.context["adminform"].form}
    form = {name: value for name, value in shown.items() if value not in (None, False)}
    form["_seen"] = page.context["seen"]
    ana.post(url, form | {"display_name": "Ana's", "input_usd_per_mtok": "1", "output_usd_per_mtok": "2"})
    errors = ali.post(url, form | {"display_name": "Ali's"}).context["adminform"].form.errors
    assert "now it is Ana's" in errors["display_name"][0]
    assert "now it is 1" in errors["input_usd_per_mtok"][0]
    assert ModelAlias.objects.get().display_name == "Ana's"


@pytest.mark.parametrize("name", LISTS)
def test_lists_take_a_fixed_number_of_queries(ana, catalog, name):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert ana.get(f"/admin/catalog/{name}/").status_code == 200
        return len(captured)

    queries()
    few = queries()
    for number in range(6):
        make.alias(f"m{number}")
        make.access_group(f"basic{number}", f"m{number}")
        make.model_group(f"agent{number}", f"m{number}", f"raw{number}")
        made = make.customer(access_groups=[f"basic{number}"], model_groups=[f"agent{number}"])
        credentials.create(
            organization=made.organization, provider="openai", name="own", api_key=KEY, actor=make.TESTER
        )
    assert queries() <= few <= 15
