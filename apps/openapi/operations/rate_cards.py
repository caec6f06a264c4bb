"""How jobs become credits, in versions that are never changed once in force."""

from apps.api.rate_cards import STATES, ActivateInput
from apps.credits.card_terms import CardInput, TermsInput
from apps.openapi import parameters
from apps.openapi.answers.rate_cards import DraftDiscarded, EffectiveRateCard, RateCard, RateCards, VersionOfCard
from apps.openapi.bodies import DraftChanges
from apps.openapi.operation import Operation, Query

TAG = "Rate cards"
JOB_TYPE = Query(
    "job_type", "Of this job type; empty for every job type.", {"type": "string", "maxLength": 100}, "support-reply"
)

OPERATIONS = {
    "GET /api/rate-cards": Operation(
        "List rate cards",
        answer=RateCards,
        query=(
            parameters.order("job_type", "created_at"),
            parameters.text("organization_id", "Only this organization's."),
            parameters.text("team_id", "Only this team's."),
            JOB_TYPE,
            parameters.choice("state", "Only cards with a version in this state.", STATES),
            *parameters.page(100),
        ),
        errors=(404,),
    ),
    "POST /api/rate-cards": Operation(
        "Create a rate card with its first draft", answer=RateCard, body=CardInput, idempotent=True, errors=(400, 404)
    ),
    "GET /api/rate-cards/effective": Operation(
        "Show what prices a team's job type, and why",
        answer=EffectiveRateCard,
        query=(
            parameters.text("team_id", "The team.", required=True),
            JOB_TYPE,
            parameters.instant("at", "The instant; now without it."),
        ),
        errors=(404,),
    ),
    "GET /api/rate-cards/{card_id}": Operation("Show a rate card", answer=RateCard),
    "POST /api/rate-cards/{card_id}/versions": Operation(
        "Draft a new version of a rate card", answer=VersionOfCard, body=TermsInput, idempotent=True, errors=(409,)
    ),
    "GET /api/rate-cards/{card_id}/versions/{number}": Operation(
        "Show a version of a rate card", answer=VersionOfCard
    ),
    "PATCH /api/rate-cards/{card_id}/versions/{number}": Operation(
        "Change a draft", body=DraftChanges, answer=VersionOfCard, errors=(409,)
    ),
    "DELETE /api/rate-cards/{card_id}/versions/{number}": Operation(
        "Discard a draft", answer=DraftDiscarded, errors=(409,)
    ),
    "POST /api/rate-cards/{card_id}/versions/{number}/activate": Operation(
        "Put a version in force, now or at an instant ahead",
        answer=VersionOfCard,
        body=ActivateInput,
        idempotent=True,
        errors=(409,),
    ),
}
