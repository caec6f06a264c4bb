"""Providers' keys in the admin: typed, never shown, changed through the service."""

import pytest
from django.contrib.admin.models import LogEntry

from apps.catalog import credentials
from apps.catalog.models import ProviderCredential
from apps.core import crypto
from apps.core.models import AuditEntry
from tests import make
from tests.admin.conftest import signed_in, staff

LIST = "/admin/catalog/providercredential/"
ADD = f"{LIST}add/"
KEY = "sk-typed-by-an-operator"
FORM = {"provider": "openai", "name": "main", "api_base": "https://llm.example.com/v1/", "is_active": "on"}


@pytest.fixture
def credential(db: None) -> ProviderCredential:
    return credentials.create(
        organization=make.organization("acme-org"), provider="openai", name="main", api_key=KEY, actor=make.TESTER
    )


def page_of(credential: ProviderCredential, page: str = "change") -> str:
    return f"{LIST}{credential.pk}/{page}/"


def stored_key() -> str | None:
    return crypto.decrypt(ProviderCredential.objects.get().encrypted_key)


def test_credential_is_added_with_an_audit_row(site):
    organization = make.organization("acme-org")

    assert site.post(ADD, FORM | {"organization": organization.pk, "api_key": KEY}).status_code == 302

    made = ProviderCredential.objects.get()
    assert (made.organization, made.api_base, stored_key()) == (organization, "https://llm.example.com/v1", KEY)
    entry = AuditEntry.objects.get(action="credential.create")
    assert (entry.actor, entry.object_id) == ("operator:owner@example.com", str(made.pk))
    assert KEY not in str(AuditEntry.objects.values()) + str(list(LogEntry.objects.values()))


def test_key_is_on_no_page(site, credential):
    token = ProviderCredential.objects.get().encrypted_key
    pages = [LIST, page_of(credential), page_of(credential, "delete"), page_of(credential, "history")]
    for page in pages:
        content = site.get(page, follow=True).content.decode()
        assert KEY not in content
        assert token not in content


def test_key_of_a_refused_form_is_not_shown_again(site):
    page = site.post(ADD, FORM | {"api_key": KEY, "api_base": "http://elsewhere.example.com"})
    assert "Must begin with https://" in page.content.decode()
    assert KEY not in page.content.decode()


def test_key_with_a_space_is_refused(site):
    page = site.post(ADD, FORM | {"api_key": "two words"})
    assert page.context["adminform"].form.errors["api_key"]
    assert not ProviderCredential.objects.exists()


def test_empty_key_field_keeps_the_key_and_a_filled_one_replaces_it(site, credential):
    site.post(page_of(credential), FORM | {"name": "renamed", "api_key": ""})
    assert (ProviderCredential.objects.get().name, stored_key()) == ("renamed", KEY)

    site.post(page_of(credential), FORM | {"api_key": "sk-new"})
    assert stored_key() == "sk-new"
    assert AuditEntry.objects.filter(action="credential.update").count() == 2


def test_second_active_credential_is_refused_on_the_form(site, credential):
    page = site.post(ADD, FORM | {"organization": credential.organization.pk, "api_key": KEY}, follow=True)
    assert "active credential" in page.content.decode()
    assert ProviderCredential.objects.count() == 1


def test_deleted_credential_leaves_an_audit_row(site, credential):
    site.post(page_of(credential, "delete"), {"post": "yes"})
    assert not ProviderCredential.objects.exists()
    assert AuditEntry.objects.filter(action="credential.delete", object_id=str(credential.pk)).exists()


@pytest.mark.parametrize("lookup", ["encrypted_key__startswith", "encrypted_key"])
def test_key_cannot_be_guessed_by_filters(site, credential, lookup):
    found = {site.get(LIST, {lookup: guess}).context["total"] for guess in ("g", "z")}
    assert found == {1}


def test_who_may_only_look_changes_nothing(credential):
    viewer = signed_in(staff("viewer"))
    assert viewer.get(page_of(credential)).status_code == 200
    assert viewer.post(page_of(credential), FORM | {"api_key": "sk-new"}).status_code == 403
    assert stored_key() == KEY
