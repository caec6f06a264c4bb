"""Vouchers: codes that give credits. A code is shown once, kept as a keyed hash, and redeemed once by a team."""

import secrets
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from apps.core import audit, clock, crypto
from apps.core.actors import Actor
from apps.core.errors import InvalidField
from apps.core.ids import new_id, parse_uuid
from apps.core.money import exact_credits
from apps.credits import ledger
from apps.credits.errors import VoucherNotFound, VoucherNotUsable, VoucherRedeemed
from apps.credits.models import Grant, Redemption, Voucher
from apps.organizations.models import Organization
from apps.teams.models import Team

# Crockford's base32: no letter looks like a digit (https://www.crockford.com/base32.html). 100 random bits.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH = 20
_GROUP = 5
_READ_AS = str.maketrans({"O": "0", "I": "1", "L": "1", "-": "", " ": ""})


def matching(*, organization_id: str | None = None, is_usable: bool | None = None) -> QuerySet[Voucher]:
    """Vouchers with their organization, the newest first, narrowed by what is given."""
    found = Voucher.objects.select_related("organization")
    if organization_id is not None:
        found = found.filter(organization__organization_id=organization_id)
    if is_usable is None:
        return found
    usable = Q(disabled_at__isnull=True, uses__lt=F("max_uses")) & (
        Q(expires_at__isnull=True) | Q(expires_at__gt=Now())
    )
    return found.filter(usable) if is_usable else found.exclude(usable)


def create(
    *,
    amount_micros: int,
    actor: Actor,
    kind: Grant.Kind = Grant.Kind.PROMOTIONAL,
    max_uses: int = 1,
    organization: Organization | None = None,
    expires_at: datetime | None = None,
    credits_last_days: int | None = None,
    note: str = "",
    batch: UUID | None = None,
) -> tuple[Voucher, str]:
    """Make a voucher. Returns it and its code, which is kept nowhere. Raises: InvalidField, InvalidRequest."""
    ledger.require_amount(amount_micros)
    if expires_at is not None and expires_at <= clock.db_now():
        raise InvalidField("expires_at", "expires_at must be in the future.")
    code = _generate()
    with transaction.atomic():
        voucher = Voucher.objects.create(
            code_hash=_hash(code),
            hint=code[:_GROUP],
            kind=kind,
            amount_micros=amount_micros,
            max_uses=max_uses,
            organization=organization,
            expires_at=expires_at,
            credits_last_days=credits_last_days,
            note=note,
            batch=batch,
            created_by=str(actor),
        )
        audit.record(
            "voucher.create",
            actor=actor,
            kind="voucher",
            id=str(voucher.pk),
            after={"credits": exact_credits(amount_micros), "max_uses": max_uses, "kind": str(kind)},
        )
    return voucher, code


def find(voucher_id: str) -> Voucher:
    """Raises: VoucherNotFound."""
    parsed = parse_uuid(voucher_id)
    found = Voucher.objects.select_related("organization").filter(pk=parsed).first() if parsed else None
    if found is None:
        raise VoucherNotFound(f"Voucher '{voucher_id}' not found")
    return found


def disable(voucher_id: str, *, actor: Actor) -> Voucher:
    """Let nobody redeem it any more; what was redeemed stays. A repeat changes nothing. Raises: VoucherNotFound."""
    with transaction.atomic():
        found = find(voucher_id)
        if Voucher.objects.filter(pk=found.pk, disabled_at__isnull=True).update(disabled_at=clock.db_now()):
            audit.record(
                "voucher.disable",
                actor=actor,
                kind="voucher",
                id=str(found.pk),
                before={"disabled": False},
                after={"disabled": True, "uses": found.uses, "max_uses": found.max_uses},
            )
    return find(voucher_id)


def create_batch(count: int, *, actor: Actor, **terms: Any) -> tuple[UUID, list[tuple[Voucher, str]]]:
    """Make so many vouchers on the same terms of `create`, all or none. Returns their batch, and them with their
    codes. Raises: InvalidField, InvalidRequest."""
    batch = new_id()
    with transaction.atomic():
        return batch, [create(actor=actor, batch=batch, **terms) for _ in range(count)]


def disable_batch(batch: UUID, *, actor: Actor) -> int:
    """Let nobody redeem what is left of a batch. Returns how many vouchers that were."""
    with transaction.atomic():
        # Locked by id, so that who redeems one meanwhile comes before or after.
        usable = Voucher.objects.select_for_update().filter(batch=batch, disabled_at__isnull=True).order_by("pk")
        left = [voucher for voucher in usable if voucher.uses < voucher.max_uses]
        for voucher in left:
            disable(str(voucher.pk), actor=actor)
    return len(left)


def redeem(team: Team, code: str, *, actor: Actor) -> Redemption:
    """Give the team the voucher's credits, once. The credits' life is counted from now, not from the code's making.

    Raises: VoucherNotFound for an unknown code or another organization's, VoucherNotUsable for one that is expired,
    used up or withdrawn, VoucherRedeemed when the team had it before.
    """
    with transaction.atomic():
        # Its row lock makes those who redeem at once follow each other; accounts are locked after it.
        voucher = Voucher.objects.select_for_update().filter(code_hash=_hash(code)).first()
        if voucher is None:
            raise VoucherNotFound
        if Redemption.objects.filter(voucher=voucher, team=team).exists():
            raise VoucherRedeemed
        now = clock.db_now()
        _require_usable(voucher, team, now)
        voucher.uses += 1
        voucher.save(update_fields=["uses"])
        days = voucher.credits_last_days
        entry = ledger.grant(
            team,
            amount_micros=voucher.amount_micros,
            actor=actor,
            key=f"voucher:{voucher.pk}",
            kind=Grant.Kind(voucher.kind),
            reason=f"Voucher {voucher.hint}…",
            source=f"voucher:{voucher.pk}",
            expires_at=now + timedelta(days=days) if days is not None else None,
        )
        audit.record(
            "voucher.redeem",
            actor=actor,
            kind="voucher",
            id=str(voucher.pk),
            before={"uses": voucher.uses - 1},
            after={"uses": voucher.uses, "team_id": team.team_id, "entry": str(entry.pk)},
        )
        return Redemption.objects.create(voucher=voucher, team=team, entry=entry)


def _require_usable(voucher: Voucher, team: Team, now: datetime) -> None:
    if voucher.organization_id is not None and voucher.organization_id != team.organization_id:
        # Whose it is is nobody else's business.
        raise VoucherNotFound
    if voucher.disabled_at is not None:
        raise VoucherNotUsable("This voucher was withdrawn.")
    if voucher.expires_at is not None and voucher.expires_at <= now:
        raise VoucherNotUsable(f"This voucher expired at {clock.iso(voucher.expires_at)}.")
    if voucher.uses >= voucher.max_uses:
        raise VoucherNotUsable("This voucher was used as often as it can be.")


def _generate() -> str:
    code = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    return "-".join(code[start : start + _GROUP] for start in range(0, _LENGTH, _GROUP))


def _hash(code: str) -> str:
    """Of the code as it is meant: case, hyphens and look-alikes do not matter."""
    return crypto.keyed_hash(f"voucher:{code.strip().upper().translate(_READ_AS)}")
