"""Why a job cost what it cost."""

from apps.openapi.answers.receipts import Receipt
from apps.openapi.operation import Operation

TAG = "Receipts"

OPERATIONS = {"GET /api/jobs/{job_id}/receipt": Operation("Show why a job cost what it cost", answer=Receipt)}
