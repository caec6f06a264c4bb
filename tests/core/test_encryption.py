"""A new ENCRYPTION_KEY reaches everything that is stored encrypted."""

import pytest
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command

from apps.catalog import credentials
from apps.catalog.models import ProviderCredential
from apps.core import crypto, idempotency
from apps.core.models import AuditEntry, IdempotencyKey
from apps.organizations.models import User
from tests import make

pytestmark = pytest.mark.django_db
KEY = "sk-of-the-provider"


@pytest.fixture
def keys(settings):
    """The old key and a new one, the old one in use."""
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.ENCRYPTION_KEYS = [old]
    return old, new


@pytest.fixture
def stored(keys):
    """A credential and the secret of an answer, made under the old key."""
    credential = credentials.create(
        organization=make.organization(), provider="openai", name="main", api_key=KEY, actor=make.TESTER
    )
    for key, secret in (("with", "sk-team"), ("without", "")):
        idempotency.claim(idempotency.Request("operator", key, "f" * 64)).record({}, secret=secret)
    user = User.objects.create_user("ana@example.com", None, role="owner")
    Authenticator.objects.create(user=user, type="totp", data={"secret": crypto.encrypt("totp secret"), "other": 1})
    Authenticator.objects.create(user=user, type="webauthn", data={"name": "a passkey has no secret here"})
    return credential


def rotate(capsys) -> list[str]:
    call_command("rotate_encryption")
    return sorted(capsys.readouterr().out.splitlines())


def test_after_a_rotation_the_old_key_can_go(keys, stored, settings, capsys):
    old, new = keys
    settings.ENCRYPTION_KEYS = [new, old]

    assert rotate(capsys) == [
        "catalog.ProviderCredential.encrypted_key: 1 of 1 encrypted anew",
        "core.IdempotencyKey.secret: 1 of 1 encrypted anew",
        "mfa.Authenticator.data: 1 of 1 encrypted anew",
    ]

    settings.ENCRYPTION_KEYS = [new]
    assert crypto.decrypt(ProviderCredential.objects.get().encrypted_key) == KEY
    assert crypto.decrypt(IdempotencyKey.objects.get(key="with").secret) == "sk-team"
    assert IdempotencyKey.objects.get(key="without").secret == ""
    kept = Authenticator.objects.get(type="totp").data
    assert crypto.decrypt(kept["secret"]) == "totp secret"
    assert kept["other"] == 1


def test_second_rotation_changes_nothing(keys, stored, settings, capsys):
    old, new = keys
    settings.ENCRYPTION_KEYS = [new, old]
    rotate(capsys)
    before = ProviderCredential.objects.get().encrypted_key

    assert all(": 0 of 1 " in line for line in rotate(capsys))

    assert ProviderCredential.objects.get().encrypted_key == before
    assert AuditEntry.objects.filter(action="encryption.rotate").count() == 1
    assert KEY not in str(AuditEntry.objects.filter(action="encryption.rotate").values())


def test_what_no_key_decrypts_is_named_and_kept_while_the_rest_is_rotated(keys, stored, settings, capsys):
    old, new = keys
    lost = Fernet(Fernet.generate_key()).encrypt(b"x").decode()
    IdempotencyKey.objects.filter(key="with").update(secret=lost)
    settings.ENCRYPTION_KEYS = [new, old]

    with pytest.raises(CommandError, match=r"core\.IdempotencyKey\.secret"):
        call_command("rotate_encryption")

    assert IdempotencyKey.objects.get(key="with").secret == lost
    assert crypto.is_newest(ProviderCredential.objects.get().encrypted_key)


def test_rotation_from_no_encryption_key_to_the_first_one(settings, capsys):
    settings.ENCRYPTION_KEYS = []
    credentials.create(organization=None, provider="openai", name="main", api_key=KEY, actor=make.TESTER)
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]

    assert "catalog.ProviderCredential.encrypted_key: 1 of 1 encrypted anew" in rotate(capsys)

    settings.SECRET_KEY = "another"
    assert crypto.decrypt(ProviderCredential.objects.get().encrypted_key) == KEY
