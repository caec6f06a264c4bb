"""What is sold: packs of credits at a price."""

from typing import Any

from django.db import IntegrityError, transaction

from apps.core import audit
from apps.core.actors import Actor
from apps.core.errors import InvalidRequest
from apps.core.ids import parse_uuid
from apps.payments.errors import CreditPackNotFound
from apps.payments.models import CreditPack


def create(*, name: str, credits: int, amount_minor: int, currency: str, actor: Actor) -> CreditPack:
    """Offer a pack. Raises: InvalidRequest when the name is taken."""
    try:
        with transaction.atomic():
            pack = CreditPack.objects.create(name=name, credits=credits, amount_minor=amount_minor, currency=currency)
            audit.record("credit_pack.create", actor=actor, kind="credit_pack", id=str(pack.pk), after=_audited(pack))
    except IntegrityError:
        raise InvalidRequest(f"There is a credit pack '{name}' already.") from None
    return pack


def find(pack_id: str, *, for_sale: bool = True) -> CreditPack:
    """Raises: CreditPackNotFound; also for one that is not for sale, unless told otherwise."""
    parsed = parse_uuid(pack_id)
    found = CreditPack.objects.filter(pk=parsed).first() if parsed else None
    if found is None or (for_sale and not found.is_active):
        raise CreditPackNotFound(f"Credit pack '{pack_id}' not found")
    return found


def set_active(pack: CreditPack, is_active: bool, *, actor: Actor) -> CreditPack:
    """Sell it, or no longer. Top-ups of it stop; a page that is open can still be paid. Repeatable."""
    with transaction.atomic():
        found = CreditPack.objects.select_for_update().get(pk=pack.pk)
        if found.is_active != is_active:
            audit.record(
                "credit_pack.update",
                actor=actor,
                kind="credit_pack",
                id=str(found.pk),
                before={"is_active": found.is_active},
                after={"is_active": is_active},
            )
            found.is_active = is_active
            found.save(update_fields=["is_active", "updated_at"])
    return found


def _audited(pack: CreditPack) -> dict[str, Any]:
    return {
        "name": pack.name,
        "credits": pack.credits,
        "amount_minor": pack.amount_minor,
        "currency": pack.currency,
    }
