"""Every list, add page and object page opens, with a number of queries that does not grow with the rows."""

from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection, models
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.console.admin import LedByConsole
from apps.core.admin_base import ReadOnlyAdmin
from apps.organizations.models import User
from tests.admin.conftest import signed_in
from tests.admin.rows import fill

# Models without a plain page: the console shows them (tests/console).
SHOWN_BY_CONSOLE = {"jobs.Job", "jobs.Call", "jobs.CallPayload", "limits.Decision"}
OURS = [model for model in apps.get_models() if model.__module__.startswith("apps.")]
MODELS = [model for model in OURS if model._meta.label not in SHOWN_BY_CONSOLE]
READ_ONLY = [model for model in OURS if isinstance(admin.site._registry.get(model), ReadOnlyAdmin)]
# Models whose list is a page of the console (tests/console).
_PAGES = {page.name for page in admin.site.extra_urls()}
LISTED_BY_CONSOLE = {
    model for model in OURS if f"{model._meta.app_label}_{model._meta.model_name}_changelist" in _PAGES
}
# Sign-in, session, settings and rights, then the page's own: its rows and their count, filters, what rows point to.
QUERIES_MAX = 8

# Models whose pages are the console's too: their old addresses lead there.
LED_BY_CONSOLE = [
    model
    for model in OURS
    if isinstance(admin.site._registry.get(model), LedByConsole)
    or model._meta.label in ("credits.Entry", "credits.Grant", "credits.Voucher", "credits.RateCard", "limits.Limit")
]

every_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label_lower)
every_plain_list = pytest.mark.parametrize(
    "model", [model for model in MODELS if model not in LISTED_BY_CONSOLE], ids=lambda model: model._meta.label_lower
)
every_addable_model = pytest.mark.parametrize(
    "model",
    [model for model in MODELS if model not in READ_ONLY],
    ids=lambda model: model._meta.label_lower,
)
every_read_only_model = pytest.mark.parametrize("model", READ_ONLY, ids=lambda model: model._meta.label_lower)


def url(model: type[models.Model], page: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def test_every_model_is_registered():
    assert {model._meta.label for model in OURS if not admin.site.is_registered(model)} == SHOWN_BY_CONSOLE


def test_what_services_alone_write_is_read_only():
    names = {model._meta.label for model in READ_ONLY}
    assert names == {
        "analytics.Bucket",
        "analytics.CustomerDay",
        "analytics.LatencyBucket",
        "analytics.RefusalBucket",
        "analytics.Watermark",
        "catalog.Price",
        "core.AuditEntry",
        "core.Event",
        "core.IdempotencyKey",
        "core.Process",
        "core.Setting",
        "credits.Account",
        "credits.Allowance",
        "credits.Block",
        "credits.Entry",
        "credits.Grant",
        "credits.GrantUse",
        "credits.Hold",
        "credits.Period",
        "credits.PeriodBalance",
        "credits.RateCard",
        "credits.RateCardVersion",
        "credits.Redemption",
        "credits.ScheduledGrant",
        "credits.Voucher",
        "jobs.Attempt",
        "limits.Limit",
        "limits.SpendWindow",
        "payments.Checkout",
        "payments.CurrencyRate",
        "payments.Dispute",
        "payments.Payment",
        "payments.SavedMethod",
        "payments.TopUp",
        "organizations.OperatorToken",
        "organizations.Membership",
        "organizations.Organization",
        "payments.TopUpAttempt",
        "payments.WebhookEvent",
        "teams.Team",
        "virtual_keys.VirtualKey",
    }


def test_index_and_app_pages_open(site: Client):
    page = site.get("/admin/")
    assert page.status_code == 200
    assert "SaaS LiteLLM" in page.content.decode()
    for label in {model._meta.app_label for model in MODELS}:
        assert site.get(f"/admin/{label}/").status_code == 200


@every_plain_list
def test_list_shows_rows_in_a_fixed_number_of_queries(site: Client, model: type[models.Model]):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            page = site.get(url(model, "changelist"))
        assert page.status_code == 200
        assert page.context["cl"].result_count > 0
        return len(captured)

    fill(1)
    with_few = queries()
    fill(6)
    with_many = queries()

    assert with_many == with_few
    assert with_many <= QUERIES_MAX


@every_model
def test_list_can_be_searched_by_words_and_ids(site: Client, model: type[models.Model]):
    fill(1)
    for term in ("filled-team", "0192e4a0-0000-7000-8000-000000000000", "a\x00b", "'\"%_\\", "x" * 5000):
        page = site.get(url(model, "changelist"), {"q": term})
        assert page.status_code == 200


@every_plain_list
def test_list_can_be_filtered_by_each_filter(site: Client, model: type[models.Model]):
    fill(1)
    page = site.get(url(model, "changelist"))
    for spec in page.context["cl"].filter_specs:
        for choice in spec.choices(page.context["cl"]):
            assert site.get(url(model, "changelist") + choice["query_string"]).status_code == 200


@every_model
def test_object_page_opens(site: Client, model: type[models.Model]):
    fill(1)
    obj = model._default_manager.first()
    assert obj is not None

    page = site.get(url(model, "change", obj.pk), follow=True)

    assert page.status_code == 200
    assert (model in LED_BY_CONSOLE) == bool(page.redirect_chain)


@every_model
def test_history_leads_to_a_page(site: Client, model: type[models.Model]):
    fill(1)
    obj = model._default_manager.first()
    page = site.get(url(model, "history", obj.pk), follow=True)
    assert page.status_code == 200


@every_addable_model
def test_add_page_opens(site: Client, model: type[models.Model]):
    fill(1)
    assert site.get(url(model, "add")).status_code == 200


@every_addable_model
def test_empty_add_form_is_refused_with_errors_not_a_failure(site: Client, model: type[models.Model]):
    before = model._default_manager.count()
    page = site.post(url(model, "add"), {"filler": "x"})
    assert page.status_code == 200
    assert page.context["adminform"].form.errors
    assert model._default_manager.count() == before


@every_read_only_model
def test_read_only_object_refuses_adding_changes_and_deletion(site: Client, model: type[models.Model]):
    fill(1)
    obj = model._default_manager.first()
    assert model in LED_BY_CONSOLE or site.get(url(model, "add")).status_code == 403
    assert site.post(url(model, "change", obj.pk), {"_save": "Save"}).status_code == 403
    assert site.get(url(model, "delete", obj.pk)).status_code == 403
    assert site.post(url(model, "delete", obj.pk), {"post": "yes"}).status_code == 403
    assert model._default_manager.filter(pk=obj.pk).exists()


@pytest.mark.parametrize(
    "label", ["organizations.Organization", "organizations.User", "teams.Team", "catalog.ModelAlias"]
)
def test_tenants_users_and_aliases_cannot_be_deleted(site: Client, label: str):
    fill(1)
    model = apps.get_model(label)
    obj = model._default_manager.first()
    data = {"action": "delete_selected", "_selected_action": [obj.pk], "post": "yes"}

    assert site.post(url(model, "delete", obj.pk), {"post": "yes"}).status_code == 403
    site.post(url(model, "changelist"), data)

    assert model._default_manager.filter(pk=obj.pk).exists()


@every_model
def test_strangers_and_members_see_nothing(db: None, model: type[models.Model]):
    fill(1)
    obj = model._default_manager.first()
    member = User.objects.create_user("member@example.com", "correct horse")
    for page in (url(model, "changelist"), url(model, "add"), url(model, "change", obj.pk)):
        assert Client().get(page).url.startswith("/admin/login/")
        assert signed_in(member).get(page).url.startswith("/admin/login/")


def test_post_without_csrf_token_is_refused(owner: User):
    fill(1)
    browser = signed_in(owner, enforce_csrf_checks=True)
    for page in ("/admin/provision/", "/admin/limits/limit/add/"):
        assert browser.post(page, {"team_id": "x"}).status_code == 403
