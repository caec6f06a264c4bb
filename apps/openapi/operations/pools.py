"""Organizations' credits, to be given to their teams."""

from apps.api.pools import FundInput, MoveInput
from apps.openapi import parameters
from apps.openapi.answers.pools import Allocated, PastPoolBalance, Pool, PoolFunded, PoolTransactions, Reclaimed
from apps.openapi.operation import Operation

TAG = "Pools"

OPERATIONS = {
    "POST /api/credits/organizations/{organization_id}/add": Operation(
        "Grant credits to an organization's pool", answer=PoolFunded, body=FundInput, idempotent=True
    ),
    "GET /api/credits/organizations/{organization_id}/balance": Operation(
        "Show an organization's pool", answer=Pool | PastPoolBalance, query=(parameters.AT,)
    ),
    "GET /api/credits/organizations/{organization_id}/transactions": Operation(
        "List a pool's ledger entries", answer=PoolTransactions, query=(*parameters.page(50),)
    ),
    "POST /api/credits/organizations/{organization_id}/allocate": Operation(
        "Give credits of the pool to a team", answer=Allocated, body=MoveInput, idempotent=True, errors=(400,)
    ),
    "POST /api/credits/organizations/{organization_id}/reclaim": Operation(
        "Take credits back from a team", answer=Reclaimed, body=MoveInput, idempotent=True, errors=(400,)
    ),
}
