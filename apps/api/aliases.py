"""Model aliases, for operators: /api/models, and /api/model-aliases with a shorter vocabulary."""

from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api import present_catalog as present
from apps.api.authentication import OperatorView
from apps.api.fields import Names, exact_number, query_choice, query_text
from apps.api.idempotent import respond
from apps.api.listing import Found, listed
from apps.api.parsing import Input, parse
from apps.catalog import aliases
from apps.catalog.models import ModelAlias
from apps.core.money import NANOUSD
from apps.organizations.rights import Right

CatalogName = Annotated[str, StringConstraints(min_length=1, max_length=100)]
DisplayName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Description = Annotated[str, StringConstraints(max_length=2000)]
Provider = Annotated[str, StringConstraints(min_length=1, max_length=100)]
ProviderModel = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Route = Literal["litellm", "litellm_sdk", "openai", "demo"]
Tokens = Annotated[int, Field(ge=1, le=2_147_483_647)]
# What may be emptied by null; for the others null is as good as nothing.
CLEARABLE = ("pricing_input", "pricing_output", *aliases.LIMITS, *aliases.ABILITIES)
# What the catalog calls otherwise than the wire.
COLUMNS = {
    "actual_model": "provider_model",
    "pricing_input": "input_nanousd_per_mtok",
    "pricing_output": "output_nanousd_per_mtok",
}


def in_nanousd(value: Decimal) -> Decimal:
    """Dollars that are whole nano-dollars and fit. Raises: ValueError."""
    if not 0 <= value < 1_000_000:
        raise ValueError("Dollars per million tokens must be from 0 to below 1000000")
    if value * NANOUSD % 1:
        raise ValueError("Dollars per million tokens may have 9 decimals")
    return value


Price = Annotated[Decimal, BeforeValidator(exact_number), AfterValidator(in_nanousd)]


class AliasInput(Input):
    """What may be said of any alias."""

    access_groups: Names | None = None
    description: Description | None = None
    pricing_input: Price | None = None
    pricing_output: Price | None = None
    route: Route | None = None
    is_open: bool | None = None
    is_default: bool | None = None
    context_window_tokens: Tokens | None = None
    max_output_tokens: Tokens | None = None
    default_output_tokens: Tokens | None = None
    max_choices: Annotated[int, Field(ge=1, le=1000)] | None = None
    timeout_s: Annotated[int, Field(ge=1, le=3600)] | None = None
    supports_vision: bool | None = None
    supports_audio: bool | None = None
    supports_tools: bool | None = None
    supports_json_schema: bool | None = None
    supports_streaming: bool | None = None
    supports_embeddings: bool | None = None

    def columns(self) -> dict[str, Any]:
        """What was given, by the names of the catalog's columns."""
        given: dict[str, Any] = {}
        for name in self.model_fields_set - {"access_groups", "is_default", "model_alias", "alias"}:
            value = getattr(self, name)
            if value is None and name not in CLEARABLE:
                continue
            if isinstance(value, Decimal):
                value = int(value * NANOUSD)
            given[COLUMNS.get(name, name)] = value
        return given


class CreateAliasInput(AliasInput):
    """An alias to make."""

    model_alias: CatalogName
    display_name: DisplayName
    provider: Provider
    actual_model: ProviderModel

    @property
    def name(self) -> str:
        return self.model_alias


class UpdateAliasInput(AliasInput):
    """What is to be different; fields left out stay."""

    display_name: DisplayName | None = None
    provider: Provider | None = None
    actual_model: ProviderModel | None = None
    status: Literal["active", "inactive", "deprecated"] | None = None


class UpdateByLitellmModelInput(AliasInput):
    """The same in the words of /api/model-aliases: `litellm_model` is `provider/model`."""

    litellm_model: ProviderModel | None = None
    active: bool | None = None

    def columns(self) -> dict[str, Any]:
        given = super().columns()
        model, active = given.pop("litellm_model", None), given.pop("active", None)
        if model is not None:
            provider, slash, _ = model.partition("/")
            given |= {"provider_model": model, "provider": provider[:100] if slash else ""}
        if active is not None:
            given["status"] = ModelAlias.Status.ACTIVE if active else ModelAlias.Status.INACTIVE
        return given


class CreateByLitellmModelInput(UpdateByLitellmModelInput):
    """An alias to make, in the words of /api/model-aliases."""

    alias: CatalogName
    litellm_model: ProviderModel

    @property
    def name(self) -> str:
        return self.alias


def shown(found: list[ModelAlias]) -> list[dict[str, Any]]:
    """Aliases as the wire has them: three queries, whatever their number."""
    groups, teams = aliases.groups_by_alias(found), aliases.teams_using(found)
    return [present.alias(each, access_groups=groups[each.pk], teams_using=teams[each.pk]) for each in found]


class CreateAlias(OperatorView):
    """POST /api/models/create"""

    rights = {"POST": Right.CATALOG_WRITE}

    wants: type[CreateAliasInput] | type[CreateByLitellmModelInput] = CreateAliasInput

    def post(self, request: Request) -> Response:
        body = parse(self.wants, request)

        def effect() -> dict[str, Any]:
            made = aliases.create(
                body.name,
                body.columns(),
                access_groups=body.access_groups or [],
                is_default=bool(body.is_default),
                actor=self.caller.actor,
            )
            return {"model_alias": made.name}

        return respond(self, request, effect=effect, render=lambda ids, _: self.as_wire(ids["model_alias"]))

    def as_wire(self, name: str) -> dict[str, Any]:
        return shown([aliases.find(name)])[0]


class AliasList(OperatorView):
    """GET /api/models: an array, narrowed by `status`, `provider`, `access_group` and `q`."""

    orders: ClassVar = {"model_alias": "name"} | {name: name for name in ("provider", "status", "created_at")}

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        found = self.found(request)
        return found.array(shown(found.rows))

    def found(self, request: Request) -> Found[ModelAlias]:
        matching = aliases.matching(
            status=query_choice(request, "status", ModelAlias.Status.values),
            provider=query_text(request, "provider"),
            access_group=query_text(request, "access_group"),
            text=query_text(request, "q"),
        )
        return listed(request, matching, default=100, orders=self.orders)


class OneAlias(OperatorView):
    """GET, PUT and DELETE /api/models/{alias}"""

    rights = {"GET": Right.VIEW, "PUT": Right.CATALOG_WRITE, "DELETE": Right.CATALOG_WRITE}

    wants: type[UpdateAliasInput] | type[UpdateByLitellmModelInput] = UpdateAliasInput

    def get(self, request: Request, alias: str) -> Response:
        return Response(self.as_wire(aliases.find(alias)))

    def put(self, request: Request, alias: str) -> Response:
        body = parse(self.wants, request)
        changed = aliases.update(
            alias,
            body.columns(),
            access_groups=body.access_groups,
            is_default=body.is_default,
            actor=self.caller.actor,
        )
        return Response(self.as_wire(changed))

    def delete(self, request: Request, alias: str) -> Response:
        aliases.delete(alias, actor=self.caller.actor)
        return Response({"message": f"Model alias '{alias}' deleted successfully"})

    def as_wire(self, found: ModelAlias) -> dict[str, Any]:
        return shown([found])[0]


class CreateByLitellmModel(CreateAlias):
    """POST /api/model-aliases/create"""

    wants = CreateByLitellmModelInput

    def as_wire(self, name: str) -> dict[str, Any]:
        return present.by_litellm_model(super().as_wire(name))


class ListByLitellmModel(AliasList):
    """GET /api/model-aliases: under `aliases`."""

    def get(self, request: Request) -> Response:
        found = self.found(request)
        return Response(found.body("aliases", (present.by_litellm_model(each) for each in shown(found.rows))))


class OneByLitellmModel(OneAlias):
    """GET, PUT and DELETE /api/model-aliases/{alias}"""

    wants = UpdateByLitellmModelInput

    def as_wire(self, found: ModelAlias) -> dict[str, Any]:
        return present.by_litellm_model(super().as_wire(found))
