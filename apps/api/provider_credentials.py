"""Providers' credentials, for operators: /api/provider-credentials. A key comes in and is never shown."""

from typing import Annotated, Any

from pydantic import Field, SecretStr, StringConstraints
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import present_catalog as present
from apps.api.authentication import OperatorView
from apps.api.fields import query_error, query_text
from apps.api.idempotent import respond
from apps.api.listing import listed, require_page
from apps.api.parsing import Input, Text255, parse
from apps.catalog import api_base as addresses
from apps.catalog import credentials
from apps.catalog.models import ProviderCredential
from apps.core.errors import InvalidRequest
from apps.organizations import services as organizations
from apps.organizations.rights import Right

ApiKey = Annotated[SecretStr, Field(min_length=1, max_length=credentials.KEY_MAX_LENGTH)]
ApiBase = Annotated[str, StringConstraints(max_length=addresses.MAX_LENGTH)]
Who = Annotated[str, StringConstraints(max_length=255)]
_YES, _NO = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


class CreateCredentialInput(Input):
    """A credential to keep. `organization_id` must be given: null makes it the platform's."""

    secret_fields = frozenset({"api_key", "api_base"})

    organization_id: Text255 | None
    provider: Text255
    api_key: ApiKey
    credential_name: Text255
    api_base: ApiBase | None = None
    created_by: Who | None = None


class UpdateCredentialInput(Input):
    """What is to be different; fields left out stay, and so does what is null but for `api_base`."""

    secret_fields = frozenset({"api_key", "api_base"})

    api_key: ApiKey | None = None
    api_base: ApiBase | None = None
    credential_name: Text255 | None = None
    is_active: bool | None = None
    updated_by: Who | None = None

    def columns(self) -> dict[str, Any]:
        """What was given, by the names of the catalog's columns."""
        given: dict[str, Any] = {}
        if self.credential_name is not None:
            given["name"] = self.credential_name
        if "api_base" in self.model_fields_set:
            given["api_base"] = self.api_base or ""
        if self.is_active is not None:
            given["is_active"] = self.is_active
        return given


_ORDERS = {"credential_name": "name", "provider": "provider", "created_at": "created_at"}


class CredentialView(OperatorView):
    """A view of this resource: whatever is asked, no key is shown."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.GET.get("include_api_key", "false").lower() not in _NO:
            raise InvalidRequest(
                "API keys are never shown: leave out include_api_key. has_api_key says there is one."
            )

    def listed(self, request: Request, *, organization_id: str | None) -> Response:
        """An array, the oldest first: the active ones, or with `active_only=false` all."""
        matching = credentials.matching(
            organization_id=organization_id,
            provider=query_text(request, "provider"),
            is_active=True if _flag(request, "active_only", default=True) else None,
        )
        found = listed(request, matching, default=100, orders=_ORDERS)
        return found.array(present.credential(each) for each in found.rows)


class CreateCredential(CredentialView):
    """POST /api/provider-credentials/create"""

    rights = {"POST": Right.CREDENTIALS_WRITE}

    def post(self, request: Request) -> Response:
        body = parse(CreateCredentialInput, request)

        def effect() -> dict[str, Any]:
            owner = None if body.organization_id is None else organizations.find(body.organization_id)
            made = credentials.create(
                organization=owner,
                provider=body.provider,
                name=body.credential_name,
                api_key=body.api_key.get_secret_value(),
                api_base=body.api_base or "",
                actor=self.caller.actor,
                reason=_on_behalf(body.created_by),
            )
            return {"credential_id": str(made.pk)}

        return respond(
            self,
            request,
            effect=effect,
            render=lambda ids, _: present.credential(credentials.find(ids["credential_id"])),
        )


class CredentialList(CredentialView):
    """GET /api/provider-credentials: narrowed by `organization_id`, `provider` and `active_only`."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        return self.listed(request, organization_id=query_text(request, "organization_id"))


class OneCredential(CredentialView):
    """GET, PUT and DELETE /api/provider-credentials/{credential_id}"""

    rights = {"GET": Right.VIEW, "PUT": Right.CREDENTIALS_WRITE, "DELETE": Right.CREDENTIALS_WRITE}

    def get(self, request: Request, credential_id: str) -> Response:
        return Response(present.credential(credentials.find(credential_id)))

    def put(self, request: Request, credential_id: str) -> Response:
        body = parse(UpdateCredentialInput, request)
        changed = credentials.update(
            credential_id,
            body.columns(),
            api_key=None if body.api_key is None else body.api_key.get_secret_value(),
            actor=self.caller.actor,
            reason=_on_behalf(body.updated_by),
        )
        return Response(present.credential(changed))

    def delete(self, request: Request, credential_id: str) -> Response:
        found = credentials.find(credential_id)
        credentials.delete(credential_id, actor=self.caller.actor)
        return Response(_told(found, "deleted"))


class ActivateCredential(CredentialView):
    """PUT /api/provider-credentials/{credential_id}/activate"""

    rights = {"PUT": Right.CREDENTIALS_WRITE}

    is_active = True

    def put(self, request: Request, credential_id: str) -> Response:
        changed = credentials.update(credential_id, {"is_active": self.is_active}, actor=self.caller.actor)
        done = "activated" if self.is_active else "deactivated"
        return Response(_told(changed, done) | {"is_active": changed.is_active})


class DeactivateCredential(ActivateCredential):
    """PUT /api/provider-credentials/{credential_id}/deactivate"""

    is_active = False


class OrganizationCredentials(CredentialView):
    """GET /api/provider-credentials/organization/{organization_id}"""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, organization_id: str) -> Response:
        require_page(request)
        organizations.find(organization_id)
        return self.listed(request, organization_id=organization_id)


class OrganizationCredential(CredentialView):
    """GET /api/provider-credentials/organization/{organization_id}/provider/{provider}: its own active one."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, organization_id: str, provider: str) -> Response:
        organization = organizations.find(organization_id)
        return Response(present.credential(credentials.active_of(organization, provider)))


def _told(credential: ProviderCredential, done: str) -> dict[str, Any]:
    return {
        "credential_id": str(credential.pk),
        "message": f"Provider credential '{credential.name}' {done} successfully",
    }


def _on_behalf(who: str | None) -> str:
    """For whom a script says that it works. Who called is the audit row's actor."""
    return f"on behalf of {who}" if who else ""


def _flag(request: Request, name: str, *, default: bool) -> bool:
    """A query parameter that is true or false. Raises: InvalidBody."""
    value = request.GET.get(name)
    if value is None:
        return default
    if value.lower() not in (*_YES, *_NO):
        raise query_error(name, "Must be one of: true, false", kind="bool_parsing", value=value)
    return value.lower() in _YES
