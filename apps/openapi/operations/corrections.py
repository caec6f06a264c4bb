"""Ledger entries put right: charges refunded, grants taken back."""

from apps.api.corrections import ReverseInput
from apps.openapi.answers.corrections import Reversal
from apps.openapi.operation import Operation

TAG = "Corrections"

OPERATIONS = {
    "POST /api/credits/entries/{transaction_id}/refund": Operation(
        "Refund a charge, in whole or in part", answer=Reversal, body=ReverseInput, idempotent=True, errors=(400,)
    ),
    "POST /api/credits/entries/{transaction_id}/reverse": Operation(
        "Take a grant back, in whole or in part", answer=Reversal, body=ReverseInput, idempotent=True, errors=(400,)
    ),
}
