"""Teams' credit accounts: balances, ledger entries, lots and grants."""

from apps.api.credits import AddCreditsInput, CheckInput, CreditLineInput, ReplenishInput
from apps.core.money import MAX_CREDITS
from apps.credits.models import Account, Entry, Grant
from apps.openapi import parameters
from apps.openapi.answers.credits import (
    AllLots,
    CreditAccount,
    CreditCheck,
    CreditLine,
    CreditsAdded,
    LedgerEntries,
    Lots,
    PastTeamBalance,
    Replenished,
    Transactions,
    Trends,
)
from apps.openapi.operation import Operation

TAG = "Credits"
MAX_DAYS = 366
TRANSACTIONS = (
    parameters.text("job_types", "Only of the wallet for these job types, by commas; else of the general one."),
    *parameters.page(50),
)

OPERATIONS = {
    "GET /api/credits/entries": Operation(
        "List ledger entries of all accounts",
        answer=LedgerEntries,
        query=(
            *parameters.OWNERS,
            parameters.choice("account", "Only those of accounts of this kind.", Account.Kind.values),
            parameters.choice("kind", "Only those of this kind.", Entry.Kind.values),
            parameters.text("job_id", "Only those of this job."),
            *parameters.SPAN,
            *parameters.long_page("credits"),
        ),
        errors=(400, 404),
    ),
    "GET /api/credits/grants": Operation(
        "List lots of all accounts",
        answer=AllLots,
        query=(
            *parameters.OWNERS,
            parameters.choice("kind", "Only lots of this kind.", Grant.Kind.values),
            parameters.flag("left", "Only lots with something left, or only the others."),
            parameters.instant("expires_before", "Only lots that expire before this instant."),
            *parameters.SPAN,
            *parameters.long_page("expires_at", "credits_remaining"),
        ),
        errors=(400, 404),
    ),
    "GET /api/teams/{team_id}/credits": Operation(
        "Show a team's credit account", answer=CreditAccount | PastTeamBalance, query=(parameters.AT,)
    ),
    "GET /api/teams/{team_id}/credits/transactions": Operation(
        "List a team's ledger entries", answer=Transactions, query=(*TRANSACTIONS,)
    ),
    "GET /api/credits/balance": Operation(
        "Show a team's credit account",
        answer=CreditAccount | PastTeamBalance,
        query=(parameters.TEAM_ID, parameters.AT),
        errors=(404,),
    ),
    "GET /api/credits/transactions": Operation(
        "List a team's ledger entries", answer=Transactions, query=(parameters.TEAM_ID, *TRANSACTIONS), errors=(404,)
    ),
    "GET /api/credits/trends": Operation(
        "Show what jobs of the last days were charged",
        answer=Trends,
        query=(
            parameters.TEAM_ID,
            parameters.whole("days", "How many days, today included.", least=1, most=MAX_DAYS, default=30),
        ),
        errors=(404,),
    ),
    "GET /api/credits/teams/{team_id}/balance": Operation(
        "Show a team's credit account", answer=CreditAccount | PastTeamBalance, query=(parameters.AT,)
    ),
    "POST /api/credits/teams/{team_id}/add": Operation(
        "Grant credits to a team", answer=CreditsAdded, body=AddCreditsInput, idempotent=True, errors=(400,)
    ),
    "POST /api/credits/teams/{team_id}/replenish": Operation(
        "Grant credits that were paid for", answer=Replenished, body=ReplenishInput, idempotent=True, errors=(400,)
    ),
    "GET /api/credits/teams/{team_id}/transactions": Operation(
        "List a team's ledger entries", answer=Transactions, query=(*TRANSACTIONS,)
    ),
    "POST /api/credits/teams/{team_id}/check": Operation(
        "Check whether credits suffice",
        body=CheckInput,
        answer=CreditCheck,
        query=(
            parameters.whole(
                "credits_needed",
                "How many credits; 1 without it. It goes before the body's.",
                least=0,
                most=MAX_CREDITS,
            ),
        ),
        idempotent=True,
    ),
    "GET /api/credits/teams/{team_id}/grants": Operation(
        "List a team's lots of credits",
        answer=Lots,
        query=(
            parameters.choice("all", "Whether spent and expired lots are listed too.", ("true", "false")),
            *parameters.page(50),
        ),
    ),
    "PUT /api/credits/teams/{team_id}/credit-line": Operation(
        "Set how far below zero a team may spend", answer=CreditLine, body=CreditLineInput, errors=(400,)
    ),
}
