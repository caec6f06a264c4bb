"""Answers about providers' credentials."""

from typing_extensions import TypedDict

from apps.openapi.kinds import Id, Instant


class ProviderCredential(TypedDict):
    """A provider's credential, without its key."""

    credential_id: Id
    organization_id: str | None
    provider: str | None
    credential_name: str
    api_base: str | None
    is_active: bool
    created_at: Instant
    updated_at: Instant
    has_api_key: bool


class CredentialSwitched(TypedDict):
    """A credential that was switched on or off."""

    credential_id: Id
    message: str
    is_active: bool


class CredentialDeleted(TypedDict):
    """A credential that is no more."""

    credential_id: Id
    message: str
