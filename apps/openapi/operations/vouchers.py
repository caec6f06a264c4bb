"""Codes for credits."""

from apps.api.vouchers import CreateVoucherInput, RedeemInput
from apps.openapi import parameters
from apps.openapi.answers.vouchers import Voucher, VoucherCreated, VoucherRedeemed, Vouchers, VoucherShown
from apps.openapi.operation import Operation

TAG = "Vouchers"

OPERATIONS = {
    "GET /api/vouchers": Operation(
        "List vouchers",
        answer=Vouchers,
        query=(
            parameters.ORGANIZATION_ID,
            parameters.flag("usable", "Only those that can be redeemed now, or only the others."),
            parameters.order("created_at", "expires_at"),
            *parameters.page(50),
        ),
    ),
    "POST /api/vouchers": Operation(
        "Create a voucher", answer=VoucherCreated, body=CreateVoucherInput, idempotent=True, errors=(404,)
    ),
    "POST /api/vouchers/redeem": Operation(
        "Redeem a voucher", answer=VoucherRedeemed, body=RedeemInput, idempotent=True, errors=(400, 404)
    ),
    "GET /api/vouchers/{voucher_id}": Operation("Show a voucher with who redeemed it", answer=VoucherShown),
    "DELETE /api/vouchers/{voucher_id}": Operation("Withdraw a voucher", answer=Voucher),
}
