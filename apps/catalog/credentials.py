"""Providers' keys: kept encrypted, listed without them, and decrypted for a call in the worker alone.

Invariant: a key is in no answer, log, audit row or error; it comes in by `create` and `update` and goes out by
`for_call`.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet

from apps.catalog.api_base import require_api_base
from apps.catalog.errors import CredentialExists, CredentialNotFound, InvalidProvider
from apps.catalog.models import ProviderCredential
from apps.core import audit, crypto
from apps.core.actors import Actor
from apps.core.errors import InvalidField
from apps.core.ids import parse_uuid
from apps.organizations.models import Organization

log = logging.getLogger("saasllm.catalog")
PROVIDERS = tuple(ProviderCredential.Provider.values)
KEY_MAX_LENGTH = 2000
# A space or a line break in it could become a header of its own.
_KEY = re.compile(rf"[!-~]{{1,{KEY_MAX_LENGTH}}}")
_DEFAULT_API_BASE = {"openai": "https://api.openai.com/v1"}
_COLUMNS = ("name", "api_base", "is_active")


@dataclass(frozen=True, slots=True)
class Usable:
    """What a call needs of a credential."""

    api_base: str
    api_key: str = field(repr=False)


def create(
    *,
    organization: Organization | None,
    provider: str,
    name: str,
    api_key: str,
    actor: Actor,
    api_base: str = "",
    is_active: bool = True,
    reason: str = "",
) -> ProviderCredential:
    """Keep a provider's key for an organization, or without one for the platform.

    Raises: InvalidProvider, InvalidField, CredentialExists while another one is active.
    """
    require_provider(provider)
    credential = ProviderCredential(
        organization=organization,
        provider=provider,
        name=_require_name(name),
        api_base=require_api_base("api_base", api_base),
        encrypted_key=crypto.encrypt(require_key("api_key", api_key)),
        is_active=is_active,
    )
    with _one_active(credential), transaction.atomic():
        credential.save(force_insert=True)
        _record("create", credential, actor, after=_snapshot(credential), reason=reason)
    return find(str(credential.pk))


def update(
    credential_id: str, columns: Mapping[str, Any], *, actor: Actor, api_key: str | None = None, reason: str = ""
) -> ProviderCredential:
    """Change a credential (`name`, `api_base`, `is_active`) and, if given, its key; what is not given stays.

    Raises: CredentialNotFound, InvalidField, CredentialExists while another one is active.
    """
    given = {name: columns[name] for name in _COLUMNS if name in columns}
    if "name" in given:
        _require_name(given["name"])
    if "api_base" in given:
        given["api_base"] = require_api_base("api_base", given["api_base"])
    if api_key is not None:
        given["encrypted_key"] = crypto.encrypt(require_key("api_key", api_key))
    with transaction.atomic():
        credential = _locked(credential_id)
        before = _snapshot(credential)
        for name, value in given.items():
            setattr(credential, name, value)
        after = _snapshot(credential)
        changed = [name for name in after if after[name] != before[name]]
        if not changed and api_key is None:
            return credential
        with _one_active(credential), transaction.atomic():
            credential.save(update_fields=[*given, "updated_at"])
        _record(
            "update",
            credential,
            actor,
            before={name: before[name] for name in changed},
            after={name: after[name] for name in changed} | ({"api_key": "replaced"} if api_key is not None else {}),
            reason=reason,
        )
    return credential


def delete(credential_id: str, *, actor: Actor) -> None:
    """Forget a credential and its key. Raises: CredentialNotFound."""
    with transaction.atomic():
        credential = _locked(credential_id)
        _record("delete", credential, actor, before=_snapshot(credential))
        credential.delete()


def find(credential_id: str) -> ProviderCredential:
    """Raises: CredentialNotFound."""
    parsed = parse_uuid(credential_id)
    found = _shown().filter(pk=parsed).first() if parsed else None
    if found is None:
        raise CredentialNotFound(f"Provider credential '{credential_id[:100]}' not found")
    return found


def matching(
    *,
    organization_id: str | None = None,
    provider: str | None = None,
    is_active: bool | None = None,
) -> QuerySet[ProviderCredential]:
    """Credentials with their organization, the oldest first, narrowed by what is given. Raises: InvalidProvider."""
    credentials = _shown().order_by("id")
    if organization_id is not None:
        credentials = credentials.filter(organization__organization_id=organization_id)
    if provider is not None:
        require_provider(provider)
        credentials = credentials.filter(provider=provider)
    if is_active is not None:
        credentials = credentials.filter(is_active=is_active)
    return credentials


def active_of(organization: Organization, provider: str) -> ProviderCredential:
    """An organization's own active credential. Raises: InvalidProvider, CredentialNotFound."""
    require_provider(provider)
    found = _shown().filter(organization=organization, provider=provider, is_active=True).first()
    if found is None:
        raise CredentialNotFound(
            f"Organization '{organization.organization_id}' has no active credential for provider '{provider}'"
        )
    return found


def for_call(organization_pk: int, provider: str) -> Usable | None:
    """The key for an organization's calls to a provider: its own, else the platform's. One query.

    None when there is neither, when it has no address, or when no key of ours decrypts it.
    """
    provider = provider.lower()
    found = (
        ProviderCredential.objects.filter(
            Q(organization=organization_pk) | Q(organization__isnull=True), provider=provider, is_active=True
        )
        .order_by(F("organization").asc(nulls_last=True))
        .only("api_base", "encrypted_key")
        .first()
    )
    if found is None:
        return None
    api_base = found.api_base or _DEFAULT_API_BASE.get(provider, "")
    api_key = crypto.decrypt(found.encrypted_key)
    if api_base and api_key:
        return Usable(api_base, api_key)
    wrong = "no key of ENCRYPTION_KEY decrypts it" if api_base else "it has no api_base"
    log.error("provider credential %s cannot be used: %s", found.pk, wrong)
    return None


def require_provider(provider: str) -> None:
    """Raises: InvalidProvider."""
    if provider not in PROVIDERS:
        raise InvalidProvider(f"Invalid provider: {provider[:100]}. Must be one of: {', '.join(PROVIDERS)}")


def require_key(field: str, api_key: str) -> str:
    """Raises: InvalidField, without the value."""
    if not _KEY.fullmatch(api_key):
        raise InvalidField(field, f"Must be 1 to {KEY_MAX_LENGTH} visible ASCII characters, without spaces.")
    return api_key


def _require_name(name: str) -> str:
    if not 1 <= len(name) <= 255:
        raise InvalidField("credential_name", "Must have 1 to 255 characters.", value=name[:255])
    return name


def _shown() -> QuerySet[ProviderCredential]:
    """With its organization and without its key, which is not even read."""
    return ProviderCredential.objects.select_related("organization").defer("encrypted_key")


def _locked(credential_id: str) -> ProviderCredential:
    credential = find(credential_id)
    locked = ProviderCredential.objects.select_for_update().defer("encrypted_key").filter(pk=credential.pk).first()
    if locked is None:
        raise CredentialNotFound(f"Provider credential '{credential_id}' not found")
    locked.organization = credential.organization
    return locked


@contextmanager
def _one_active(credential: ProviderCredential) -> Iterator[None]:
    """Around a write's own savepoint: a second active credential is a refusal, whoever was first."""
    try:
        yield
    except IntegrityError:
        others = ProviderCredential.objects.filter(
            organization=credential.organization, provider=credential.provider, is_active=True
        )
        if not others.exclude(pk=credential.pk).exists():
            raise
        owner = f"organization '{credential.organization}'" if credential.organization else "the platform"
        raise CredentialExists(
            f"An active credential for provider '{credential.provider}' already exists for {owner}."
            " Deactivate it first."
        ) from None


def _snapshot(credential: ProviderCredential) -> dict[str, Any]:
    """What an audit row shows."""
    organization = credential.organization
    return {
        "organization_id": organization.organization_id if organization else None,
        "provider": credential.provider,
        **{name: getattr(credential, name) for name in _COLUMNS},
    }


def _record(verb: str, credential: ProviderCredential, actor: Actor, **what: Any) -> None:
    audit.record(f"credential.{verb}", actor=actor, kind="credential", id=str(credential.pk), **what)
