"""Answers about vouchers."""

from typing_extensions import TypedDict

from apps.openapi.answers.shared import Balance, Page, Transaction
from apps.openapi.kinds import Credits, Exact, Id, Instant, LotKind


class Voucher(TypedDict):
    """A voucher without its code."""

    voucher_id: Id
    status: str
    hint: str
    kind: LotKind
    credits: Credits
    credits_exact: Exact
    max_uses: int
    uses: int
    organization_id: str | None
    expires_at: Instant | None
    credits_last_days: int | None
    note: str | None
    created_by: str
    created_at: Instant
    disabled_at: Instant | None


class VoucherCreated(Voucher):
    """A new voucher. Its code is in this answer alone; null in a repeat after ten minutes."""

    code: str | None


class VoucherRedeemed(Balance):
    """The credits of a voucher, and the balance after them."""

    voucher_id: Id
    team_id: str
    credits_added: Credits
    credits_expire_at: Instant | None
    transaction: Transaction


class VoucherRedemption(TypedDict):
    """A team that redeemed the voucher."""

    team_id: str
    redeemed_at: Instant
    transaction_id: Id


class VoucherShown(Voucher):
    """A voucher with who redeemed it."""

    redemptions: list[VoucherRedemption]


class Vouchers(Page):
    """A page of vouchers."""

    vouchers: list[Voucher]
