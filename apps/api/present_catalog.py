"""Aliases and groups as operators see them on the wire. None of this goes to a virtual key."""

from decimal import Decimal
from typing import Any

from apps.catalog import aliases, model_groups
from apps.catalog.models import AccessGroup, ModelAlias, ModelGroup, ProviderCredential
from apps.catalog.price_models import Price
from apps.catalog.rates import CLASSES, PER_PIECE
from apps.core.clock import iso
from apps.core.money import NANOUSD


def alias(found: ModelAlias, *, access_groups: list[str], teams_using: list[str]) -> dict[str, Any]:
    """An alias. Prices are dollars per million tokens, exact."""
    return {
        "model_alias": found.name,
        "display_name": found.display_name or found.name,
        "provider": found.provider,
        "actual_model": found.provider_model,
        "litellm_model_id": None,
        "access_groups": access_groups,
        "description": found.description or None,
        "pricing_input": _price(found.input_nanousd_per_mtok),
        "pricing_output": _price(found.output_nanousd_per_mtok),
        "status": found.status,
        "teams_using": teams_using,
        "route": found.route,
        "is_open": found.is_open,
        "is_default": found.is_default,
        **{name: getattr(found, name) for name in (*aliases.LIMITS, *aliases.ABILITIES)},
        "created_at": iso(found.created_at),
        "updated_at": iso(found.updated_at),
    }


def by_litellm_model(shown: dict[str, Any]) -> dict[str, Any]:
    """The same alias in the words of /api/model-aliases beside its own."""
    return shown | {
        "alias": shown["model_alias"],
        "litellm_model": shown["actual_model"],
        "active": shown["status"] == ModelAlias.Status.ACTIVE,
        "teams_with_access": len(shown["teams_using"]),
    }


def access_group(found: AccessGroup, *, teams_using: list[str]) -> dict[str, Any]:
    """An access group with its aliases."""
    return {
        "group_name": found.name,
        "display_name": found.display_name or found.name,
        "description": found.description or None,
        "status": found.status,
        "model_aliases": [
            {
                "model_alias": member.alias.name,
                "display_name": member.alias.display_name or member.alias.name,
                "provider": member.alias.provider,
                "actual_model": member.alias.provider_model,
            }
            for member in found.members.all()
        ],
        "teams_using": teams_using,
        "created_at": iso(found.created_at),
        "updated_at": iso(found.updated_at),
    }


def model_group(found: ModelGroup) -> dict[str, Any]:
    """A model group with its models in the order in which they are tried."""
    return {
        "model_group_id": str(found.pk),
        "group_name": found.name,
        "display_name": found.display_name or found.name,
        "description": found.description or None,
        "status": found.status,
        "models": [
            {
                "id": str(member.pk),
                "model_group_id": str(found.pk),
                "model_name": member.model_name,
                "is_alias": member.alias is not None,
                "route": (member.alias or member).route,
                "provider": (member.alias or member).provider or None,
                "priority": member.priority,
                "is_active": member.is_active,
                "created_at": iso(member.created_at),
            }
            for member in model_groups.members_of(found)
        ],
        "created_at": iso(found.created_at),
        "updated_at": iso(found.updated_at),
    }


def price(found: Price) -> dict[str, Any]:
    """A price with its state, in dollars per million tokens (and per request and image). Null: as its parent."""
    state: Any = found
    rates = found.rates
    return {
        "price_id": str(found.pk),
        "model": found.model,
        "currency": "USD",
        **{name: _price(getattr(rates, name)) for name in (*CLASSES, *PER_PIECE)},
        "valid_from": iso(found.valid_from),
        "in_force": state.is_in_force,
        "scheduled": state.is_scheduled,
        "source": found.source or None,
        "created_by": found.created_by,
        "created_at": iso(found.created_at),
    }


def credential(found: ProviderCredential) -> dict[str, Any]:
    """A provider's credential, without its key: none is stored without one."""
    return {
        "credential_id": str(found.pk),
        "organization_id": found.organization.organization_id if found.organization else None,
        "provider": found.provider,
        "credential_name": found.name,
        "api_base": found.api_base or None,
        "is_active": found.is_active,
        "created_at": iso(found.created_at),
        "updated_at": iso(found.updated_at),
        "has_api_key": True,
    }


def _price(nanousd: int | None) -> float | None:
    return None if nanousd is None else float(Decimal(nanousd) / NANOUSD)
