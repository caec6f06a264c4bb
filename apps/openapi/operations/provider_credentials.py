"""Organizations' own accounts with providers."""

from apps.api.provider_credentials import CreateCredentialInput, UpdateCredentialInput
from apps.openapi import parameters
from apps.openapi.answers.provider_credentials import CredentialDeleted, CredentialSwitched, ProviderCredential
from apps.openapi.operation import Operation
from apps.openapi.responses import ARRAY_HEADERS

TAG = "Provider credentials"
HIDDEN = parameters.choice("include_api_key", "Keys are never shown.", ("false",))
LISTED = (
    parameters.text("provider", "Only those for this provider."),
    parameters.choice("active_only", "Whether only active ones are listed; they are without it.", ("true", "false")),
    parameters.order("credential_name", "provider", "created_at"),
    *parameters.page(100),
)

OPERATIONS = {
    "GET /api/provider-credentials": Operation(
        "List providers' credentials",
        answer=list[ProviderCredential],
        query=(parameters.text("organization_id", "Only this organization's."), *LISTED),
        errors=(400,),
        headers=ARRAY_HEADERS,
    ),
    "POST /api/provider-credentials/create": Operation(
        "Store a provider's credential",
        answer=ProviderCredential,
        body=CreateCredentialInput,
        idempotent=True,
        errors=(400, 404),
    ),
    "GET /api/provider-credentials/organization/{organization_id}": Operation(
        "List an organization's credentials",
        answer=list[ProviderCredential],
        query=(*LISTED,),
        errors=(400,),
        headers=ARRAY_HEADERS,
    ),
    "GET /api/provider-credentials/organization/{organization_id}/provider/{provider}": Operation(
        "Show an organization's credential for a provider", answer=ProviderCredential, errors=(400,)
    ),
    "GET /api/provider-credentials/{credential_id}": Operation(
        "Show a credential", answer=ProviderCredential, errors=(400,)
    ),
    "PUT /api/provider-credentials/{credential_id}": Operation(
        "Change a credential", answer=ProviderCredential, body=UpdateCredentialInput
    ),
    "DELETE /api/provider-credentials/{credential_id}": Operation("Delete a credential", answer=CredentialDeleted),
    "PUT /api/provider-credentials/{credential_id}/activate": Operation(
        "Switch a credential on", answer=CredentialSwitched, errors=(400,)
    ),
    "PUT /api/provider-credentials/{credential_id}/deactivate": Operation(
        "Switch a credential off", answer=CredentialSwitched
    ),
}
