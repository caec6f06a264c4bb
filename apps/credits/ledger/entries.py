"""Entries that were written before: the same operation again returns the first, with other content it is refused."""

from apps.core.errors import IdempotencyConflict
from apps.credits.models import Entry, Grant


def replayed(
    idempotency_key: str,
    *,
    kind: Entry.Kind,
    account_id: int,
    amount_micros: int | None,
    external_id: str | None = None,
    lot_kind: Grant.Kind | None = None,
) -> Entry | None:
    """The first entry of this key, or None; without an amount, of whatever amount.

    Raises: IdempotencyConflict when its content differs.
    """
    first = Entry.objects.filter(idempotency_key=idempotency_key).first()
    if first is None:
        return None
    if (
        first.kind != kind
        or (amount_micros is not None and first.amount_micros != amount_micros)
        or first.external_id != external_id
        or account_id not in (first.debit_account_id, first.credit_account_id)
        or (lot_kind is not None and not first.grants.filter(kind=lot_kind).exists())
    ):
        raise IdempotencyConflict(f"The operation '{idempotency_key}' was done before with other content.")
    return first


def refuse_used_external_id(external_id: str | None) -> None:
    if external_id is not None and Entry.objects.filter(external_id=external_id).exists():
        raise IdempotencyConflict("This external id was used before for another payment.")
