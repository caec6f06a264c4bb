"""Request bodies that views read without a model of their own."""

from typing import Any

from pydantic import ConfigDict

from apps.api.fields import Names
from apps.core.bodies import Input
from apps.credits.card_terms import TermsInput


class ModelAliases(Input):
    """Names of aliases."""

    model_aliases: Names


class AccessGroups(Input):
    """Names of access groups, which replace the team's."""

    access_groups: Names


class ModelGroups(Input):
    """Names of model groups, which replace the team's."""

    model_groups: Names


def _all_optional(schema: dict[str, Any]) -> None:
    schema.pop("required", None)
    for field in schema["properties"].values():
        field.pop("default", None)


class DraftChanges(TermsInput):
    """Terms of a draft to change. What is not given stays."""

    model_config = ConfigDict(json_schema_extra=_all_optional)


class StripeEvent(Input):
    """An event as Stripe sends it, believed by its signature alone."""

    id: str
    type: str
    data: dict[str, Any]
