"""Providers' keys: encrypted at rest, one active per organization and provider, the organization's before ours."""

import logging

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from apps.catalog import credentials
from apps.catalog.api_base import require_api_base
from apps.catalog.errors import CredentialExists, CredentialNotFound, InvalidProvider
from apps.catalog.models import ProviderCredential
from apps.core import crypto
from apps.core.errors import InvalidField
from apps.core.models import AuditEntry
from tests import make

KEY = "sk-of-the-provider-0123456789"
OTHER_KEY = "sk-another-of-the-provider"

pytestmark = pytest.mark.django_db


def create(organization=None, **more):
    return credentials.create(
        **{"organization": organization, "provider": "openai", "name": "main", "api_key": KEY, "actor": make.TESTER}
        | more
    )


# --- Keeping -------------------------------------------------------------------------------------------------


def test_key_is_kept_encrypted():
    created = create()

    stored = ProviderCredential.objects.values_list("encrypted_key", flat=True).get(pk=created.pk)
    assert KEY not in stored
    assert crypto.decrypt(stored) == KEY


def test_key_is_in_no_repr_audit_row_or_log(caplog):
    caplog.set_level(logging.DEBUG)
    organization = make.organization()

    created = create(organization)
    updated = credentials.update(str(created.pk), {"name": "renamed"}, api_key=OTHER_KEY, actor=make.TESTER)
    usable = credentials.for_call(organization.pk, "openai")
    credentials.delete(str(created.pk), actor=make.TESTER)

    assert usable.api_key == OTHER_KEY
    written = str(list(AuditEntry.objects.filter(object_kind="credential").values()))
    for text in (repr(created), str(updated), repr(vars(updated)), repr(usable), written, caplog.text):
        assert KEY not in text
        assert OTHER_KEY not in text


def test_each_change_leaves_an_audit_row_of_what_changed():
    organization = make.organization("acme-org")
    created = create(organization, reason="asked by Ann")
    credentials.update(str(created.pk), {"name": "main", "is_active": False}, actor=make.TESTER)
    credentials.update(str(created.pk), {}, api_key=OTHER_KEY, actor=make.TESTER)
    credentials.update(str(created.pk), {"name": "main"}, actor=make.TESTER)
    credentials.delete(str(created.pk), actor=make.TESTER)

    rows = AuditEntry.objects.filter(object_id=str(created.pk)).order_by("id")
    shown = {
        "organization_id": "acme-org", "provider": "openai", "name": "main", "api_base": "", "is_active": True
    }  # fmt: skip
    assert list(rows.values_list("action", "before", "after", "reason")) == [
        ("credential.create", {}, shown, "asked by Ann"),
        ("credential.update", {"is_active": True}, {"is_active": False}, ""),
        ("credential.update", {}, {"api_key": "replaced"}, ""),
        ("credential.delete", shown | {"is_active": False}, {}, ""),
    ]


def test_one_credential_of_a_provider_is_active_in_an_organization():
    organization = make.organization("acme-org")
    create(organization)
    create(organization, provider="gemini")
    create(make.organization())

    with pytest.raises(CredentialExists, match="already exists for organization 'acme-org'"):
        create(organization)
    second = create(organization, is_active=False)
    with pytest.raises(CredentialExists):
        credentials.update(str(second.pk), {"is_active": True}, actor=make.TESTER)

    assert ProviderCredential.objects.filter(organization=organization, provider="openai").count() == 2


def test_one_credential_of_a_provider_is_active_for_the_platform():
    create()
    with pytest.raises(CredentialExists, match="the platform"):
        create()
    create(is_active=False)


def test_database_itself_refuses_a_second_active_one():
    organization = make.organization()
    for owner in (organization, None):
        create(owner)
        with pytest.raises(IntegrityError), transaction.atomic():
            ProviderCredential.objects.create(organization=owner, provider="openai", name="x", encrypted_key="x")


@pytest.mark.parametrize("key", ["", "with space", "line\nbreak", "käse", "x" * 2001])
def test_key_that_no_header_could_carry_is_refused_without_being_shown(key):
    with pytest.raises(InvalidField) as refused:
        create(api_key=key)
    assert refused.value.errors[0]["loc"] == ["body", "api_key"]
    assert refused.value.errors[0]["input"] is None
    assert not ProviderCredential.objects.exists()


def test_unknown_providers_are_refused_with_the_known_ones():
    with pytest.raises(InvalidProvider, match=r"Invalid provider: x\. Must be one of: openai, anthropic"):
        create(provider="x")


def test_unknown_credentials_are_not_found():
    for unknown in ("nonsense", "0192e4a0-0000-7000-8000-000000000000"):
        with pytest.raises(CredentialNotFound):
            credentials.find(unknown)
        with pytest.raises(CredentialNotFound):
            credentials.update(unknown, {"name": "x"}, actor=make.TESTER)
        with pytest.raises(CredentialNotFound):
            credentials.delete(unknown, actor=make.TESTER)


def test_lists_do_not_even_read_keys():
    create(make.organization())
    with CaptureQueriesContext(connection) as captured:
        list(credentials.matching()[:10])
    assert len(captured) == 1
    assert "encrypted_key" not in captured[0]["sql"]


# --- Using ---------------------------------------------------------------------------------------------------


def test_organization_s_own_credential_comes_before_the_platform_s():
    organization, stranger = make.organization(), make.organization()
    create(api_key="platform-key")
    own = create(organization, api_base="https://proxy.example.com/v1/")

    found = credentials.for_call(organization.pk, "OpenAI")
    assert (found.api_base, found.api_key) == ("https://proxy.example.com/v1", KEY)
    found = credentials.for_call(stranger.pk, "openai")
    assert (found.api_base, found.api_key) == ("https://api.openai.com/v1", "platform-key")

    credentials.update(str(own.pk), {"is_active": False}, actor=make.TESTER)
    assert credentials.for_call(organization.pk, "openai").api_key == "platform-key"


def test_nobody_is_lent_another_organization_s_credential():
    create(make.organization())
    assert credentials.for_call(make.organization().pk, "openai") is None


def test_credential_is_found_by_one_query():
    organization = make.organization()
    create(organization)
    with CaptureQueriesContext(connection) as captured:
        credentials.for_call(organization.pk, "openai")
    assert len(captured) == 1


def test_credential_without_an_address_serves_openai_alone():
    organization = make.organization()
    create(organization, provider="fireworks")
    assert credentials.for_call(organization.pk, "fireworks") is None


def test_credential_that_no_key_decrypts_serves_nobody(settings):
    organization = make.organization()
    create(organization)
    settings.SECRET_KEY = "another"
    settings.ENCRYPTION_KEYS = []
    assert credentials.for_call(organization.pk, "openai") is None


# --- Addresses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("", ""),
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("https://llm.internal:8443/v1/", "https://llm.internal:8443/v1"),
        ("HTTPS://10.1.2.3/v1", "HTTPS://10.1.2.3/v1"),
        ("https://[2001:db8::1]/v1", "https://[2001:db8::1]/v1"),
    ],
)
def test_addresses_over_tls_are_taken(url, kept):
    assert require_api_base("api_base", url) == kept


@pytest.mark.parametrize(
    "url",
    [
        "http://api.openai.com/v1",
        "http://localhost:8000",
        "ftp://api.openai.com",
        "api.openai.com",
        "https://",
        "https://[::1",
        "https://host:port",
        "https://host/a b",
        "https://user:secret@host/v1",
        "https://secret@host",
        "https://host\\@other/v1",
        "https://host/v1?key=secret",
        "https://host/v1#secret",
        "https://h\u00f6st/v1",
        "https://169.254.169.254/v1",
        "https://169.254.169.254./v1",
        "https://2852039166/v1",
        "https://0xa9.254.0251.254/v1",
        "https://169.254.1.1",
        "https://[fe80::1]/v1",
        "https://[fe80::1%25eth0]/v1",
        "https://[::ffff:169.254.169.254]/v1",
        "https://[64:ff9b::a9fe:a9fe]/v1",
        "https://[2002:a9fe:a9fe::1]/v1",
        "https://[fd00:ec2::254]/v1",
        "https://100.100.100.200/",
        "https://Metadata.Google.Internal/v1",
        "https://0.0.0.0/v1",
        "https://224.0.0.1/v1",
        "https://host/" + "x" * 500,
    ],
)
def test_other_addresses_are_refused_without_being_shown(url, settings):
    settings.EMBEDDED = settings.DEBUG = False
    with pytest.raises(InvalidField) as refused:
        require_api_base("api_base", url)
    assert refused.value.errors[0]["input"] is None
    assert "secret" not in refused.value.message


@pytest.mark.parametrize("setting", ["EMBEDDED", "DEBUG"])
def test_plain_http_is_for_this_machine_and_demos_alone(settings, setting):
    settings.EMBEDDED = settings.DEBUG = False
    setattr(settings, setting, True)
    for url in ("http://localhost:8000/v1", "http://127.0.0.1:9", "http://[::1]:9"):
        assert require_api_base("api_base", url) == url
    with pytest.raises(InvalidField):
        require_api_base("api_base", "http://localhost.example.com/v1")
